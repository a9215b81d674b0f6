//! One snapshot that several sessions share, and what must be read while the server is locked for it.
//!
//! Order: tables are locked against change; all statements that make things are read, and the rows of small tables without transactions, which a session of its
//! own keeps from being written to (the backup lock alone lets Aria's be); then commits are held up for a moment, in which every session begins its transaction and the position is read. So whatever was read before is
//! still so at the moment of the snapshot.

use std::collections::HashMap;

use super::catalog::{self, Database, Table};
use super::client::{Answer, Client};
use super::manifest::{Position, Server};
use super::schema::Kind;
use super::server;
use super::{Inner, names, text, users};
use crate::Error;
use crate::data::{Finding, Level};

/// Rows that are read under the lock, by all tables together.
const LOCKED_BYTES_MAX: u64 = 16 << 20;
/// Engines whose rows are others'.
const ELSEWHERE: [&str; 6] = ["mrg_myisam", "federated", "blackhole", "connect", "spider", "s3"];

pub(super) struct Snapshot {
    pub server: Server,
    pub position: Position,
    pub databases: Vec<Database>,
    /// Rows as text, of tables that were read under the lock, by database and table.
    pub locked: HashMap<(String, String), Vec<u8>>,
    pub next: HashMap<(String, String), i64>,
    pub users: Vec<u8>,
    pub accounts: Vec<users::Account>,
    pub sessions: Vec<Client>,
    /// Engines that have snapshots, in small letters.
    engines: Vec<String>,
}

impl Snapshot {
    pub fn transactional(&self, table: &Table) -> bool {
        self.engines.contains(&table.engine.to_lowercase())
    }

    pub fn elsewhere(table: &Table) -> bool {
        ELSEWHERE.contains(&table.engine.to_lowercase().as_str())
    }
}

/// Engines that have transactions.
pub(super) fn engines(client: &mut Client) -> Answer<Vec<String>> {
    let rows = client.texts("SELECT LOWER(ENGINE) FROM information_schema.ENGINES WHERE TRANSACTIONS = 'YES'")?;
    Ok(rows.into_iter().flatten().collect())
}

pub(super) fn take(inner: &Inner) -> Result<Snapshot, Error> {
    let mut client = inner.open()?;
    let failed = inner.failed("read the databases of");
    let server = server::look(&mut client).map_err(&failed)?;
    let engines = engines(&mut client).map_err(&failed)?;
    let names = inner.wanted(&mut client)?;
    let mut sessions = Vec::new();
    for _ in 0..inner.settings.jobs {
        let mut session = inner.open()?;
        let began = session.run("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ");
        began.map_err(inner.failed("prepare a session on"))?;
        sessions.push(session);
    }
    let mut snapshot = Snapshot {
        server,
        position: Position::default(),
        databases: Vec::new(),
        locked: HashMap::new(),
        next: HashMap::new(),
        users: Vec::new(),
        accounts: Vec::new(),
        sessions,
        engines,
    };
    let mut holder = inner.open()?;
    snapshot.server.lock_tables(&mut client).map_err(inner.failed("lock the tables of"))?;
    let read = under_lock(inner, (&mut client, &mut holder), &names, &mut snapshot);
    // A session that ends unlocks as well.
    let unlocked = snapshot.server.unlock(&mut client).map_err(inner.failed("unlock"));
    read.and(unlocked)?;
    for session in &mut snapshot.sessions {
        session.run("SET character_set_results = binary").map_err(inner.failed("prepare a session on"))?;
    }
    Ok(snapshot)
}

fn under_lock(inner: &Inner, (client, holder): (&mut Client, &mut Client), names: &[String], snapshot: &mut Snapshot) -> Result<(), Error> {
    let failed = inner.failed("read what is made in");
    for name in names {
        let found = catalog::read(client, name).map_err(&failed)?;
        let mut database = found.ok_or_else(|| inner.missing(name))?;
        let kept = |table: &str| !inner.excluded(name, table);
        database.tables.retain(|table| kept(&table.name));
        database.objects.retain(|object| !object.kind.holds_rows() || kept(&object.name));
        snapshot.databases.push(database);
    }
    let failed = inner.failed("read, while they were locked, tables of");
    read_locked(client, holder, snapshot).map_err(&failed)?;
    (snapshot.users, snapshot.accounts) = users::read(client, &snapshot.server, names).map_err(inner.failed("read the accounts of"))?;
    let failed = inner.failed("take a snapshot of");
    snapshot.server.lock_commits(client).map_err(&failed)?;
    for session in &mut snapshot.sessions {
        session.run("START TRANSACTION WITH CONSISTENT SNAPSHOT").map_err(&failed)?;
    }
    snapshot.position = snapshot.server.position(client).map_err(&failed)?;
    Ok(())
}

fn read_locked(client: &mut Client, holder: &mut Client, snapshot: &mut Snapshot) -> Answer<()> {
    let (mut next, mut held, mut chosen) = (HashMap::new(), 0, Vec::new());
    for database in &snapshot.databases {
        for table in &database.tables {
            let key = (database.name.clone(), table.name.clone());
            let name = names::of(&database.name, &table.name);
            if table.kind == Kind::Sequence {
                let value = client.one(&format!("SELECT next_not_cached_value FROM {name}"))?;
                next.extend(value.and_then(|value| value.parse().ok()).map(|value: i64| (key, value)));
            } else if !snapshot.transactional(table) && !Snapshot::elsewhere(table) && held + table.bytes <= LOCKED_BYTES_MAX {
                held += table.bytes;
                chosen.push((key, name, table));
            }
        }
    }
    let mut locked = HashMap::new();
    if !chosen.is_empty() {
        let list: Vec<String> = chosen.iter().map(|(_, name, _)| format!("{name} READ")).collect();
        holder.run(format!("LOCK TABLES {}", list.join(", ")))?;
        holder.run("SET character_set_results = binary")?;
    }
    for (key, name, table) in chosen {
        let mut rows = Vec::new();
        holder.each(text::select(&table.columns, &name, ""), |packet| text::push_row(packet, &mut rows))?;
        locked.insert(key, rows);
    }
    (snapshot.locked, snapshot.next) = (locked, next);
    Ok(())
}

/// What an export cannot do well with this table.
pub(super) fn trouble(database: &str, table: &Table, engines: &[String]) -> Option<Finding> {
    let name = format!("{database}.{}", table.name);
    if Snapshot::elsewhere(table) {
        let what = format!("the rows of {name} are not exported: its engine {} keeps them elsewhere", table.engine);
        return Some(Finding::new(Level::Note, what));
    }
    if table.kind == Kind::Sequence || engines.contains(&table.engine.to_lowercase()) || table.bytes <= LOCKED_BYTES_MAX {
        return None;
    }
    let what = format!("{name} is outside the snapshot: its engine {} has none, and it is too large to be locked", table.engine);
    Some(Finding::new(Level::Warning, what).hint("ALTER TABLE … ENGINE = InnoDB"))
}

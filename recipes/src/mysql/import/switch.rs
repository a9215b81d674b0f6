//! All tables of all databases change places in one statement, under readers.
//!
//! The RENAME waits for whoever uses one of the tables, and everybody who comes later waits for it. So it waits a second at most; then those who hold it up are
//! ended, first those in a transaction in these databases, then more and more. Each of them sees a broken connection once, and what it asks next is of the new data.

use super::super::client::{Answer, Client};
use super::super::names::{of, quoted, text};
use super::super::record::{Kept, Side, Switch};
use super::super::{Fault, Inner, catalog};
use crate::Error;

const LOCK_WAIT_TIMEOUT: u16 = 1205;
const ATTEMPTS: usize = 10;

impl Side {
    /// What a rollback of this switch goes back to.
    pub fn kept(&self) -> Kept {
        let (charset, collation) = self.was.clone();
        Kept { database: self.outgoing.clone(), existed: self.existed, charset, collation, stay: self.stay.clone() }
    }
}

pub(super) fn exists(client: &mut Client, database: &str) -> Answer<bool> {
    Ok(made_with(client, database)?.is_some())
}

fn made_with(client: &mut Client, database: &str) -> Answer<Option<(String, String)>> {
    let sql = format!(
        "SELECT SCHEMA_NAME, DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = {}",
        text(database)
    );
    let row = client.texts(&sql)?.into_iter().find(|row| row[0] == database);
    Ok(row.map(|row| (row[1].clone(), row[2].clone())))
}

/// What can be renamed in a database.
pub(super) fn tables(client: &mut Client, database: &str) -> Answer<Vec<String>> {
    let sql = format!(
        "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = {} AND TABLE_TYPE NOT LIKE '%VIEW%' ORDER BY TABLE_NAME",
        text(database)
    );
    Ok(client
        .texts(&sql)?
        .into_iter()
        .filter(|row| row[0] == database)
        .map(|mut row| row.remove(1))
        .collect())
}

/// What the switch of one database is; `None` when there is nothing before and after.
pub(super) fn side(
    client: &mut Client,
    inner: &Inner,
    (live, incoming, outgoing): (&str, &str, &str),
    becomes: Option<(String, String)>,
    stay: Vec<String>,
) -> Answer<Option<Side>> {
    let was = made_with(client, live)?;
    if was.is_none() && becomes.is_none() {
        return Ok(None);
    }
    let mut leave = tables(client, live)?;
    leave.retain(|table| !inner.excluded(live, table) && !stay.contains(table));
    let come = tables(client, incoming)?;
    let (live, incoming, outgoing) = (live.into(), incoming.into(), outgoing.into());
    Ok(Some(Side {
        live,
        incoming,
        outgoing,
        leave,
        stay,
        come,
        existed: was.is_some(),
        was: was.unwrap_or_default(),
        becomes,
    }))
}

/// Whether the RENAME of a switch was made: it is made as a whole, so any table tells.
pub(super) fn happened(client: &mut Client, switch: &Switch) -> Answer<bool> {
    for side in &switch.sides {
        if !side.come.is_empty() {
            return Ok(tables(client, &side.incoming)?.is_empty());
        }
        if !side.leave.is_empty() {
            return Ok(!tables(client, &side.outgoing)?.is_empty());
        }
    }
    Ok(true)
}

pub(super) fn rename(inner: &Inner, client: &mut Client, switch: &Switch) -> Result<(), Error> {
    let failed = inner.failed("switch the databases of");
    let mut moves = Vec::new();
    for side in &switch.sides {
        let default = |made: &(String, String)| format!("CHARACTER SET {} COLLATE {}", quoted(&made.0), quoted(&made.1));
        if let (Some(becomes), false) = (&side.becomes, side.existed) {
            client
                .run(format!("CREATE DATABASE IF NOT EXISTS {} {}", quoted(&side.live), default(becomes)))
                .map_err(&failed)?;
        }
        client.run(format!("CREATE DATABASE IF NOT EXISTS {}", quoted(&side.outgoing))).map_err(&failed)?;
        inner.step("triggers");
        take_off(client, side).map_err(&failed)?;
        moves.extend(side.leave.iter().map(|table| format!("{} TO {}", of(&side.live, table), of(&side.outgoing, table))));
    }
    for side in &switch.sides {
        moves.extend(side.come.iter().map(|table| format!("{} TO {}", of(&side.incoming, table), of(&side.live, table))));
    }
    inner.step("rename");
    if moves.is_empty() {
        return Ok(());
    }
    let sql = format!("RENAME TABLE {}", moves.join(", "));
    client.run("SET lock_wait_timeout = 1").map_err(&failed)?;
    for attempt in 0..ATTEMPTS {
        match client.run(&sql) {
            Ok(()) => return Ok(()),
            Err(Fault::Refused { code: LOCK_WAIT_TIMEOUT, .. }) => end_others(client, switch, attempt).map_err(&failed)?,
            Err(error) => return Err(failed(error)),
        }
    }
    let message = format!("others kept tables in use, though their sessions were ended {ATTEMPTS} times");
    Err(failed(Fault::Refused { code: LOCK_WAIT_TIMEOUT, message }))
}

/// Triggers do not move between databases, and a view may have the name of a table that comes.
fn take_off(client: &mut Client, side: &Side) -> Answer<()> {
    let Some(database) = catalog::read(client, &side.live)? else { return Ok(()) };
    for object in &database.objects {
        let name = of(&side.live, &object.name);
        let word = object.kind.word();
        let leaves = match object.kind {
            super::schema::Kind::Trigger => true,
            super::schema::Kind::View => side.come.contains(&object.name),
            _ => false,
        };
        if leaves {
            client.run(format!("DROP {word} IF EXISTS {name}"))?;
        }
    }
    Ok(())
}

/// Ends sessions that may hold the tables: the later the attempt, the more of them. Never replication's, nor the server's own.
fn end_others(client: &mut Client, switch: &Switch, attempt: usize) -> Answer<()> {
    let in_transaction: Vec<String> = client
        .texts("SELECT TRX_MYSQL_THREAD_ID FROM information_schema.INNODB_TRX")?
        .into_iter()
        .flatten()
        .collect();
    let sessions = client.texts("SELECT ID, USER, DB, COMMAND FROM information_schema.PROCESSLIST")?;
    for row in sessions.iter().filter(|row| row.len() == 4) {
        let [id, user, database, command] = [&row[0], &row[1], &row[2], &row[3]];
        let own = ["system user", "event_scheduler"].contains(&user.as_str()) || *id == client.id.to_string();
        if own || command.starts_with("Binlog") || command.starts_with("Slave") || command == "Daemon" {
            continue;
        }
        let here = switch.sides.iter().any(|side| side.live == *database);
        let busy = in_transaction.contains(id);
        let ends = match attempt {
            0 => here && busy,
            1 => here || busy,
            _ => true,
        };
        if ends {
            match client.run(format!("KILL CONNECTION {id}")) {
                // It went by itself.
                Ok(()) | Err(Fault::Refused { code: 1094, .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

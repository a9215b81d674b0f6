//! Databases beside the live ones, made and loaded by an account that can do nothing elsewhere, and read back.
//!
//! One session a table, the largest first: a table that is empty is filled much faster by one statement than by several. What was loaded is read back as it was
//! exported, and its count and hash compared with the manifest's: that, and not the server's word, says that all is there.

use std::collections::{BTreeSet, VecDeque};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use super::super::client::Client;
use super::super::manifest::{Consistency, Database, Manifest, Piece, Server, Table};
use super::super::names::{beside, of, pattern, quoted};
use super::super::schema::Object;
use super::super::{Inner, Verify, text};
use super::{Account, Import, switch};
use crate::rows::{Counter, Rows};
use crate::{Error, escape};

pub(super) fn run(import: &mut Import, client: &mut Client, server: &Server, manifest: &Manifest) -> Result<(), Error> {
    let inner = import.inner.clone();
    let failed = inner.failed("make databases for the import on");
    let mut schemas = Vec::new();
    for database in &manifest.databases {
        let mut schema = import.schema(database)?;
        if import.partial {
            schema.retain(|object| database.tables.iter().any(|table| table.name == object.name));
        }
        schemas.push(schema);
        arrived(&inner, database)?;
    }
    inner.step("load");
    import.record.own.extend(manifest.databases.iter().map(|database| beside(&database.name, "new")));
    import.save()?;
    let account = import.account(client, server)?;
    for (database, schema) in manifest.databases.iter().zip(&schemas) {
        let name = beside(&database.name, "new");
        let (charset, collation) = (quoted(&database.charset), quoted(&database.collation));
        client
            .run(format!("CREATE DATABASE {} CHARACTER SET {charset} COLLATE {collation}", quoted(&name)))
            .map_err(&failed)?;
        client.run(format!("GRANT ALL ON {}.* TO {}", pattern(&name), account.sql)).map_err(&failed)?;
        tables(&inner, server, &account, database, schema)?;
        made(&inner, client, database)?;
    }
    inner.step("rows");
    rows(&inner, server, &account, manifest)?;
    inner.step("loaded");
    Ok(())
}

/// Whether every piece is there as the manifest says, and nothing else.
fn arrived(inner: &Inner, database: &Database) -> Result<(), Error> {
    for table in &database.tables {
        let folder = folder(inner, database, table);
        let list = || -> io::Result<BTreeSet<(String, u64)>> {
            let mut found = BTreeSet::new();
            for entry in fs::read_dir(&folder)? {
                let entry = entry?;
                let metadata = entry.metadata()?;
                let len = if metadata.is_file() { metadata.len() } else { u64::MAX };
                found.insert((entry.file_name().to_string_lossy().into_owned(), len));
            }
            Ok(found)
        };
        let found = list().map_err(|error| Error::io("list", &folder, error))?;
        let wanted: BTreeSet<(String, u64)> = table.pieces.iter().map(|piece| (Piece::file(piece.number), piece.bytes)).collect();
        if found != wanted {
            return Err(inner.arrived(format!("has not the rows of {:?} that its manifest names", table.name)));
        }
    }
    Ok(())
}

fn folder(inner: &Inner, database: &Database, table: &Table) -> PathBuf {
    inner
        .tree()
        .join("databases")
        .join(escape::name(&database.name))
        .join("tables")
        .join(escape::name(&table.name))
}

/// Makes tables and sequences.
fn tables(inner: &Inner, server: &Server, account: &Account, database: &Database, schema: &[Object]) -> Result<(), Error> {
    let failed = inner.failed("make tables on");
    let mut session = inner.open_as(&account.name, Some(&account.password))?;
    session.run(format!("USE {}", quoted(&beside(&database.name, "new")))).map_err(&failed)?;
    server.settle_load(&mut session).map_err(&failed)?;
    let mut left: Vec<&Object> = schema.iter().filter(|object| object.kind.holds_rows()).collect();
    // A table may need one that comes later: a merge does.
    loop {
        let (before, mut again, mut why) = (left.len(), Vec::new(), None);
        for object in left {
            if let Err(error) = session.run(&object.statement) {
                why = Some((object, error));
                again.push(object);
            }
        }
        let Some((object, error)) = why else { break };
        if again.len() == before {
            return Err(inner.arrived(format!("has a table {:?} of {:?} that cannot be made: {error}", object.name, database.name)));
        }
        left = again;
    }
    for table in database.tables.iter().filter(|table| table.next.is_some()) {
        let name = quoted(&table.name);
        let next = table.next.unwrap_or_default();
        session.run(format!("SELECT SETVAL({name}, {next}, 0)")).map_err(&failed)?;
    }
    Ok(())
}

/// Whether just those tables were made that the manifest has.
fn made(inner: &Inner, client: &mut Client, database: &Database) -> Result<(), Error> {
    let name = beside(&database.name, "new");
    let failed = inner.failed("look at");
    let found: BTreeSet<String> = switch::tables(client, &name).map_err(&failed)?.into_iter().collect();
    let wanted: BTreeSet<String> = database.tables.iter().map(|table| table.name.clone()).collect();
    let sql = "SELECT (SELECT COUNT(*) FROM information_schema.VIEWS WHERE TABLE_SCHEMA = @n) \
               + (SELECT COUNT(*) FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = @n) \
               + (SELECT COUNT(*) FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = @n)";
    client.run(format!("SET @n = {}", super::names::text(&name))).map_err(&failed)?;
    let others = client.one(sql).map_err(&failed)?;
    if found != wanted || others.as_deref() != Some("0") {
        return Err(inner.arrived(format!("makes other tables in {:?} than its manifest has", database.name)));
    }
    Ok(())
}

type Work<'a> = (&'a Database, &'a Table);

fn rows(inner: &Inner, server: &Server, account: &Account, manifest: &Manifest) -> Result<(), Error> {
    let all = manifest
        .databases
        .iter()
        .flat_map(|database| database.tables.iter().map(move |table| (database, table)));
    let loaded = |(_, table): &Work<'_>| table.consistency != Consistency::None && table.next.is_none();
    let mut work: Vec<Work<'_>> = all.filter(loaded).collect();
    let bytes = |table: &Table| table.pieces.iter().map(|piece| piece.bytes).sum::<u64>();
    work.sort_by_key(|(_, table)| std::cmp::Reverse(bytes(table)));
    let queue: Mutex<VecDeque<Work<'_>>> = Mutex::new(work.into());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    std::thread::scope(|scope| {
        let session = || -> Result<(), Error> {
            let mut client = inner.open_as(&account.name, Some(&account.password))?;
            server.settle_load(&mut client).map_err(inner.failed("prepare a session on"))?;
            while let Some((database, table)) = next() {
                let done = table_rows(inner, &mut client, database, table);
                if done.is_err() {
                    // The others need not go on.
                    queue.lock().unwrap_or_else(PoisonError::into_inner).clear();
                }
                done?;
            }
            Ok(())
        };
        let sessions: Vec<_> = (0..inner.settings.jobs).map(|_| scope.spawn(session)).collect();
        sessions.into_iter().try_for_each(|session| session.join().unwrap_or(Err(Error::Thread)))
    })
}

fn table_rows(inner: &Inner, client: &mut Client, database: &Database, table: &Table) -> Result<(), Error> {
    let name = of(&beside(&database.name, "new"), &table.name);
    let failed = inner.failed("load rows into");
    let wrong = |why: String| inner.arrived(format!("has rows of {:?} in {:?} that cannot be loaded: {why}", table.name, database.name));
    if !table.pieces.is_empty() {
        let folder = folder(inner, database, table);
        let files = table.pieces.iter().map(|piece| folder.join(Piece::file(piece.number))).collect();
        let mut pieces = Pieces { files, open: None };
        client.load(&text::load(&table.columns, &name), &mut pieces).map_err(|error| match error.code() {
            0 => failed(error),
            _ => wrong(error.to_string()),
        })?;
    }
    let found = found(inner, client, &name, table, inner.settings.verify)?;
    if found != table.rows {
        let how =
            if found.count == table.rows.count { "they are others".into() } else { format!("{} of {}", found.count, table.rows.count) };
        return Err(wrong(format!("read back, {how}")));
    }
    Ok(())
}

/// What rows a table has, as far as it is looked.
pub(super) fn found(inner: &Inner, client: &mut Client, name: &str, table: &Table, how: Verify) -> Result<Rows, Error> {
    Ok(match how {
        Verify::Full => {
            let mut counter = Counter::default();
            let mut row = Vec::new();
            let failed = inner.failed("read back what was loaded into");
            client.run("SET character_set_results = binary").map_err(&failed)?;
            let read = client.each(text::select(&table.columns, name, ""), |packet| {
                row.clear();
                text::push_row(packet, &mut row)?;
                counter.take(&row);
                Ok(())
            });
            read.and_then(|()| client.run("SET character_set_results = utf8mb4")).map_err(&failed)?;
            counter.rows().unwrap_or_default()
        }
        Verify::Counts => {
            let count = client
                .one(&format!("SELECT COUNT(*) FROM {name}"))
                .map_err(inner.failed("count what was loaded into"))?;
            Rows { count: count.and_then(|count| count.parse().ok()).unwrap_or(0), hash: table.rows.hash }
        }
    })
}

/// A table's pieces as one file.
struct Pieces {
    files: VecDeque<PathBuf>,
    open: Option<File>,
}

impl Read for Pieces {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(file) = &mut self.open {
                let n = file.read(buf)?;
                if n > 0 || buf.is_empty() {
                    return Ok(n);
                }
            }
            let Some(next) = self.files.pop_front() else { return Ok(0) };
            self.open = Some(File::open(next)?);
        }
    }
}

//! A database of a snapshot, made beside those in place: definitions, rows, what follows from rows, and its own properties.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use postgres::Client;

use super::connect::{failed, ident, literal, qualified};
use super::contents::{self, For, Turn};
use super::lanes::PART;
use super::manifest::{Database, Table};
use super::tree::Arrived;
use super::{Inner, TOOL_TIMEOUT, catalog};
use crate::Error;
use crate::command::process::{Output, Process};

/// Makes `side` from what arrived. A database of that name must not be there.
pub(super) fn load(inner: &Inner, client: &mut Client, arrived: &Arrived, database: &Database, side: &str, whom: For) -> Result<(), Error> {
    inner.step("create");
    create(client, database, side)?;
    let folder = arrived.of(database);
    let definitions = folder.join("schema.dump");
    inner.step("define");
    restore(inner, side, &definitions, "--section=pre-data", whom)?;
    inner.step("load");
    rows(inner, arrived, database, side, &database.tables.iter().collect::<Vec<_>>())?;
    let objects = folder.join("large-objects.dump");
    if database.large_objects > 0 {
        restore(inner, side, &objects, "--section=data", whom)?;
    }
    sequences(inner, database, side)?;
    inner.step("index");
    restore(inner, side, &definitions, contents::POST_DATA, whom)?;
    inner.connect(side)?.batch_execute("ANALYZE").map_err(failed("analyze", side))
}

fn create(client: &mut Client, database: &Database, side: &str) -> Result<(), Error> {
    let locale = match (database.provider.as_deref(), &database.locale) {
        (Some("icu"), Some(locale)) => format!(" LOCALE_PROVIDER icu ICU_LOCALE {}", literal(locale)),
        (Some("builtin"), Some(locale)) => format!(" LOCALE_PROVIDER builtin BUILTIN_LOCALE {}", literal(locale)),
        _ => String::new(),
    };
    let statement = format!(
        "CREATE DATABASE {} TEMPLATE template0 ENCODING {} LC_COLLATE {} LC_CTYPE {}{locale}",
        ident(side),
        literal(&database.encoding),
        literal(&database.collate),
        literal(&database.ctype)
    );
    client.batch_execute(&statement).map_err(failed("create", side))
}

/// Makes what a file of definitions has in a section.
pub(super) fn restore(inner: &Inner, side: &str, file: &Path, section: &str, whom: For) -> Result<(), Error> {
    let Some(entries) = contents::entries(inner, file, section, whom)? else {
        return run(inner, side, file, &[section], whom);
    };
    let turns = if section == contents::POST_DATA { contents::turns(entries) } else { vec![Turn { entries, alone: true }] };
    for turn in turns {
        let memory = contents::list(&turn.entries, file)?;
        let list = format!("--use-list=/proc/self/fd/{}", memory.as_raw_fd());
        let jobs = format!("--jobs={}", if turn.alone { 1 } else { inner.settings.jobs });
        run(inner, side, file, &[section, &list, &jobs], whom)?;
    }
    Ok(())
}

fn run(inner: &Inner, side: &str, file: &Path, arguments: &[&str], whom: For) -> Result<(), Error> {
    let mut command = inner.tool("pg_restore", side)?;
    if matches!(whom, For::Look | For::Tables) {
        command.args(["--no-owner", "--no-privileges"]);
    }
    command
        .args(["-w", "--exit-on-error", "--no-tablespaces", "--no-subscriptions", "--dbname"])
        .arg(side_name(side))
        .args(arguments);
    // Nothing of it is in use before all of it is durable.
    command.env(
        "PGOPTIONS",
        "-c synchronous_commit=off -c maintenance_work_mem=256MB -c statement_timeout=0 -c default_transaction_read_only=off",
    );
    inner.give(&mut command, file)?;
    let process =
        Process::start(command, TOOL_TIMEOUT, Output::Words).map_err(|source| Error::Start { program: "pg_restore".into(), source })?;
    process.run().map_err(|source| Error::Ran { program: "pg_restore".into(), source })
}

/// A name as the server's tools take it: what looks like a connection string would be one.
fn side_name(side: &str) -> String {
    format!("dbname='{}'", side.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// Loads tables, the largest first, several at a time.
pub(super) fn rows(inner: &Inner, arrived: &Arrived, database: &Database, side: &str, tables: &[&Table]) -> Result<(), Error> {
    let mut tables = tables.to_vec();
    tables.sort_by_key(|table| table.bytes);
    let left = Mutex::new(tables);
    let work = || -> Result<(), Error> {
        let mut client = inner.connect(side)?;
        client
            .batch_execute("SET synchronous_commit = off; SET session_replication_role = replica")
            .map_err(failed("prepare a session in", side))?;
        loop {
            let Some(table) = left.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop() else { return Ok(()) };
            let loaded = table_rows(&mut client, side, table, &arrived.texts(database, table));
            if loaded.is_err() {
                // Nobody goes on with what cannot become whole.
                left.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clear();
            }
            loaded?;
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..inner.settings.jobs).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or(Err(Error::Thread)))
    })
}

pub(super) fn table_rows(client: &mut Client, side: &str, table: &Table, texts: &[PathBuf]) -> Result<(), Error> {
    let name = qualified(&table.schema, &table.name);
    let columns = table.columns.iter().map(|column| ident(column)).collect::<Vec<_>>().join(", ");
    let columns = if columns.is_empty() { columns } else { format!(" ({columns})") };
    let mut transaction = client.transaction().map_err(failed("begin a transaction in", side))?;
    // Emptied in the same transaction, a table may be written frozen, and without a log where the server keeps none.
    let frozen = if table.filter.is_none() {
        transaction
            .batch_execute(&format!("TRUNCATE ONLY {name}"))
            .map_err(failed("load a table of", side))?;
        " WITH (FREEZE)"
    } else {
        ""
    };
    let mut to = transaction
        .copy_in(&format!("COPY {name}{columns} FROM STDIN{frozen}"))
        .map_err(failed("load a table of", side))?;
    let mut buffer = vec![0; PART];
    for text in texts {
        let mut file = File::open(text).map_err(|error| Error::io("read", text, error))?;
        loop {
            let n = file.read(&mut buffer).map_err(|error| Error::io("read", text, error))?;
            if n == 0 {
                break;
            }
            to.write_all(&buffer[..n]).map_err(|source| Error::Load { table: name.clone(), source })?;
        }
    }
    to.finish().map_err(failed("load a table of", side))?;
    transaction.commit().map_err(failed("end a transaction in", side))
}

pub(super) fn sequences(inner: &Inner, database: &Database, side: &str) -> Result<(), Error> {
    let mut client = inner.connect(side)?;
    for some in database.sequences.chunks(200) {
        let set = |sequence: &super::manifest::Sequence| {
            let name = literal(&qualified(&sequence.schema, &sequence.name));
            format!("SELECT setval({name}::regclass, {}, {});", sequence.last, sequence.called)
        };
        client
            .batch_execute(&some.iter().map(set).collect::<String>())
            .map_err(failed("set the sequences of", side))?;
    }
    Ok(())
}

/// Its owner, grants, comment and configuration, which follow it through renames.
pub(super) fn properties(inner: &Inner, database: &Database, side: &str) -> Result<(), Error> {
    let mut client = inner.connect(catalog::ANY)?;
    let name = ident(side);
    let mut text = format!(
        "ALTER DATABASE {name} OWNER TO {}; ALTER DATABASE {name} CONNECTION LIMIT {};",
        ident(&database.owner),
        database.connection_limit
    );
    if let Some(comment) = &database.comment {
        text += &format!("COMMENT ON DATABASE {name} IS {};", literal(comment));
    }
    if let Some(grants) = &database.grants {
        text += &format!("REVOKE ALL ON DATABASE {name} FROM PUBLIC, {};", ident(&database.owner));
        for grant in grants {
            let privilege = ["CONNECT", "CREATE", "TEMPORARY"].into_iter().find(|known| *known == grant.privilege);
            let Some(privilege) = privilege else { continue };
            let to = grant.to.as_deref().map_or("PUBLIC".to_owned(), ident);
            text += &format!("GRANT {privilege} ON DATABASE {name} TO {to}{};", if grant.grantable { " WITH GRANT OPTION" } else { "" });
        }
        // To read everything is of no use to whom the database itself is closed.
        if let Some(reader) = &inner.settings.reader {
            text += &format!("GRANT CONNECT ON DATABASE {name} TO {};", ident(reader));
        }
    }
    client.batch_execute(&text).map_err(failed("set the properties of", side))?;
    for configuration in &database.configuration {
        let target = match &configuration.role {
            None => format!("DATABASE {name}"),
            Some(role) => format!("ROLE {} IN DATABASE {name}", ident(role)),
        };
        configure(inner, &target, &configuration.settings)?;
    }
    Ok(())
}

/// Gives something its settings, as `name=value` each. The server itself takes lists apart: the value is set here first, and then taken from here.
pub(super) fn configure(inner: &Inner, target: &str, settings: &[String]) -> Result<(), Error> {
    let mut client = inner.connect(catalog::ANY)?;
    for setting in settings {
        let Some((name, value)) = setting.split_once('=') else { continue };
        let parts = name.split('.').map(ident).collect::<Vec<_>>().join(".");
        let here = client.query_one("SELECT set_config($1, $2, false)", &[&name, &value]);
        let statement = match here {
            Ok(_) => format!("ALTER {target} SET {parts} FROM CURRENT"),
            // What is fixed when a session begins cannot be set in one.
            Err(_) => format!("ALTER {target} SET {parts} TO {}", literal(value)),
        };
        client.batch_execute(&statement).map_err(failed("configure", target))?;
    }
    Ok(())
}

//! Whether a copy that arrived is a whole database, before it comes near the live one.
//!
//! Damage refuses the import. Rows that point nowhere are only told: SQLite enforces foreign keys only for applications
//! that ask for it, so the source may well have them. The same for what this SQLite cannot check, because an index needs a
//! function or a collation that only the application has.

use std::fs;
use std::io;
use std::path::Path;

use rusqlite::{Connection, ErrorCode};

use super::connect::{self, Facts, beside};
use crate::Error;
use crate::data::{Finding, Level};

/// How many of a check's answers are told.
const TOLD: usize = 5;

/// A copy that was found whole.
pub(crate) struct Arrived {
    pub database: Connection,
    pub facts: Facts,
}

/// `target` is for the error.
pub(crate) fn open(path: &Path, target: &Path, findings: &mut Vec<Finding>) -> Result<Arrived, Error> {
    let refuse = |reason: String| Error::Arrived { target: target.to_path_buf(), reason };
    alone(path).map_err(|error| refuse(error.to_string()))?;
    let read = |error: rusqlite::Error| match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => refuse("is no SQLite database, or an encrypted one".into()),
        _ => refuse(format!("cannot be read: {error}")),
    };
    let database = connect::arrived(path).map_err(read)?;
    let facts = connect::facts(&database, path, std::time::Duration::ZERO).map_err(|error| match error {
        Error::Sqlite { source, .. } => read(source),
        _ => refuse("is no SQLite database, or an encrypted one".into()),
    })?;
    match answers(&database, "PRAGMA integrity_check(100)", 0) {
        Ok(said) if said == ["ok"] => {}
        Ok(said) => return Err(refuse(format!("is damaged: {}", shown(&said)))),
        Err(error) if unknown(&error) => findings.push(unchecked("integrity_check", target, &error)),
        Err(error) => return Err(refuse(format!("is damaged: {error}"))),
    }
    match answers(&database, "SELECT \"table\" || ' → ' || parent FROM pragma_foreign_key_check", 0) {
        Ok(said) if said.is_empty() => {}
        Ok(said) => {
            let what = format!("{}: {} rows point at rows that are not there: {}", target.display(), said.len(), shown(&said));
            findings.push(Finding::new(Level::Warning, what).hint("they are so in the source: PRAGMA foreign_key_check lists them"));
        }
        Err(error) => findings.push(unchecked("foreign_key_check", target, &error)),
    }
    Ok(Arrived { database, facts })
}

/// One regular file, and nothing beside it that SQLite would take for its WAL or its journal.
fn alone(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => {}
        Ok(_) => return Err(io::Error::other("is no regular file")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(io::Error::other("holds no database.sqlite")),
        Err(error) => return Err(error),
    }
    for ending in ["-wal", "-journal", "-shm"] {
        if fs::symlink_metadata(beside(path, ending)).is_ok() {
            return Err(io::Error::other(format!("has a {ending} beside the database, which no export makes")));
        }
    }
    Ok(())
}

fn answers(database: &Connection, question: &str, column: usize) -> rusqlite::Result<Vec<String>> {
    let mut statement = database.prepare(question)?;
    let rows = statement.query_map([], |row| row.get(column))?;
    rows.collect()
}

/// Whether it failed at what only the application knows, and not at the bytes.
fn unknown(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::Unknown) | None)
}

fn unchecked(what: &str, target: &Path, error: &rusqlite::Error) -> Finding {
    Finding::new(Level::Warning, format!("{}: {what} could not be made in full: {error}", target.display()))
}

fn shown(said: &[String]) -> String {
    let mut distinct: Vec<&str> = said.iter().map(String::as_str).collect();
    distinct.dedup();
    let more = if distinct.len() > TOLD { ", …" } else { "" };
    distinct.truncate(TOLD);
    distinct.join(", ") + more
}

//! Connections, and what SQLite's answers mean here.
//!
//! None of them trusts what a schema says: what arrives in a snapshot may call no function with side effects. Connections
//! to a database that is only read leave its WAL as it is.

use std::path::Path;
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::Error;

const PLAIN: OpenFlags = OpenFlags::SQLITE_OPEN_READ_WRITE
    .union(OpenFlags::SQLITE_OPEN_NO_MUTEX)
    .union(OpenFlags::SQLITE_OPEN_NOFOLLOW);

/// What SQLite said, as an error of this crate.
pub(crate) fn failed(action: &'static str, path: &Path, patience: Duration) -> impl Fn(rusqlite::Error) -> Error + use<> {
    let path = path.to_path_buf();
    move |source| match source.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Error::InUse { action, path: path.clone(), waited: patience },
        Some(ErrorCode::NotADatabase) => Error::NotSqlite { action, path: path.clone() },
        _ => Error::Sqlite { action, path: path.clone(), source },
    }
}

fn open(path: &Path, flags: OpenFlags, patience: Duration) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(patience)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.pragma_update(None, "mmap_size", 0)?;
    Ok(connection)
}

/// A database that is only read. Opened for writing all the same: a journal that a killed application left must be rolled
/// back before anything can be read, and SQLite falls back to reading by itself where writing is not allowed.
pub(crate) fn source(path: &Path, patience: Duration) -> Result<Connection, Error> {
    let failed = failed("open", path, patience);
    let connection = open(path, PLAIN, patience).map_err(&failed)?;
    // A WAL with something in it belongs to others, and stays when this connection is the last one; an empty one is this
    // connection's own, and goes with it.
    let theirs = std::fs::metadata(beside(path, "-wal")).is_ok_and(|wal| wal.len() > 0);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, theirs).map_err(&failed)?;
    connection.pragma_update(None, "query_only", true).map_err(&failed)?;
    Ok(connection)
}

/// The live database of an import.
pub(crate) fn live(path: &Path, patience: Duration) -> Result<Connection, Error> {
    open(path, PLAIN, patience).map_err(failed("open", path, patience))
}

/// A copy that nobody else knows of, with no care for its durability: whoever wants it durable syncs it when it is whole.
pub(crate) fn copy(path: &Path) -> rusqlite::Result<Connection> {
    let connection = open(path, PLAIN | OpenFlags::SQLITE_OPEN_CREATE, Duration::ZERO)?;
    connection.pragma_update(None, "locking_mode", "exclusive")?;
    connection.pragma_update(None, "journal_mode", "off")?;
    connection.pragma_update(None, "synchronous", "off")?;
    Ok(connection)
}

/// A copy that arrived. Nobody else has it open, so it needs no shared memory beside it.
pub(crate) fn arrived(path: &Path) -> rusqlite::Result<Connection> {
    let connection = open(path, PLAIN, Duration::ZERO)?;
    connection.pragma_update(None, "locking_mode", "exclusive")?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

/// What a database says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    pub page_size: u64,
    pub pages: u64,
    pub user_version: i64,
    pub journal_mode: String,
}

impl Facts {
    /// The length of a copy. A database without any page becomes one of one page.
    pub fn bytes(&self) -> u64 {
        self.page_size * self.pages.max(1)
    }
}

pub(crate) fn facts(database: &Connection, path: &Path, patience: Duration) -> Result<Facts, Error> {
    let pragma = |name: &str| database.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let read = || {
        // The first to touch the file: it shows whether it is a database at all.
        database.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        let journal_mode = database.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
        let (page_size, pages) = (pragma("page_size")?.unsigned_abs(), pragma("page_count")?.unsigned_abs());
        Ok(Facts { page_size, pages, user_version: pragma("user_version")?, journal_mode })
    };
    read().map_err(failed("read", path, patience))
}

/// All pages in one step: writers make a backup of several steps begin anew, for ever if they are many.
pub(crate) fn transfer(from: &Connection, to: &mut Connection) -> rusqlite::Result<()> {
    let backup = Backup::new(from, to)?;
    match backup.step(-1)? {
        StepResult::Busy | StepResult::Locked => Err(busy()),
        _ => Ok(()),
    }
}

fn busy() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY), None)
}

/// The file of that ending which SQLite keeps beside a database.
pub(crate) fn beside(path: &Path, ending: &str) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

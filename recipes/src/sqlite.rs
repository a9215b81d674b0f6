//! The `sqlite` recipe: one database file, read and written as its own applications do it.
//!
//! Export: one step of SQLite's backup API into a scratch file, which is one state of the database whatever others write
//! meanwhile; in WAL mode nobody waits for anybody. The copy is pushed as `database.sqlite`. Its pages lie where they lay,
//! and its header's counters begin anew in each copy, so an unchanged database gives the same bytes.
//!
//! Import: the copy that arrived is checked (`integrity_check`, `foreign_key_check`), then written through the backup API
//! into the live file, in one transaction of SQLite's: open readers keep what they see and then see the new data. The file
//! itself is never replaced, since a `-wal` that belonged to the old one would spoil the new one.
//!
//! What holds: the live file is never opened but through SQLite (closing any other descriptor would drop all locks that
//! this process has on it); all waits for others have a bound.
//!
//! Left out on purpose: attached databases (each is a source of its own), encrypted ones, and shipping of the WAL.

mod connect;
mod copy;
mod import;
mod look;
mod target;
mod verify;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::data::{Attributes, Body, Data, Finding, Item, Level, Sink, Staging, Stop};
use crate::{Error, files};

/// The one file of an export, whatever the database is called on this host.
pub const NAME: &[u8] = b"database.sqlite";

/// What a source with this recipe is made of.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Absolute. The database file.
    pub path: PathBuf,
    /// A folder for this source alone, with room for a copy of the database. Made if need be.
    pub scratch: PathBuf,
    /// How long others may keep the database locked.
    pub patience: Duration,
}

impl Settings {
    pub fn new(path: PathBuf, scratch: PathBuf) -> Settings {
        Settings { path, scratch, patience: Duration::from_secs(30) }
    }
}

/// The recipe. Clones share what they are made of.
#[derive(Clone)]
pub struct Sqlite {
    inner: Arc<Inner>,
}

/// Called with the name of each step of an import before it is made.
type Hook = Box<dyn Fn(&'static str) + Send + Sync>;

struct Inner {
    path: PathBuf,
    scratch: PathBuf,
    patience: Duration,
    hook: Option<Hook>,
}

impl Sqlite {
    pub fn new(settings: Settings) -> Result<Sqlite, Error> {
        Sqlite::make(settings, None)
    }

    /// For tests that stop an import between two steps.
    #[doc(hidden)]
    pub fn with_hook(settings: Settings, hook: impl Fn(&'static str) + Send + Sync + 'static) -> Result<Sqlite, Error> {
        Sqlite::make(settings, Some(Box::new(hook)))
    }

    fn make(settings: Settings, hook: Option<Hook>) -> Result<Sqlite, Error> {
        let Settings { path, scratch, patience } = settings;
        for path in [&path, &scratch] {
            if !path.is_absolute() || path.file_name().is_none() {
                let reason = format!("{} is not an absolute path that ends in a name", path.display());
                return Err(Error::Settings { reason });
            }
        }
        Ok(Sqlite { inner: Arc::new(Inner { path, scratch, patience, hook }) })
    }
}

impl Inner {
    fn step(&self, name: &'static str) {
        if let Some(hook) = &self.hook {
            hook(name);
        }
    }

    /// The database without symlinks: SQLite looks for its `-wal` beside the real file.
    fn real(&self) -> Result<PathBuf, Error> {
        let missing = |source| Error::Missing { path: self.path.clone(), source };
        let real = std::fs::canonicalize(&self.path).map_err(missing)?;
        if !std::fs::metadata(&real).map_err(missing)?.is_file() {
            return Err(Error::io("read", &self.path, std::io::Error::other("it is no regular file")));
        }
        Ok(real)
    }

    fn examine(&self, found: &mut Vec<Finding>) -> Result<(), Error> {
        let real = self.real()?;
        let database = connect::source(&real, self.patience)?;
        let facts = connect::facts(&database, &real, self.patience)?;
        if facts.journal_mode != "wal" {
            let what = format!("{} has journal_mode {}", real.display(), facts.journal_mode);
            let hint = "who writes waits while it is copied; in WAL mode nobody would: PRAGMA journal_mode = wal";
            found.push(Finding::new(Level::Note, what).hint(hint));
        }
        if let Some(lack) = copy::lack(&self.scratch, facts.bytes()) {
            found.push(Finding::new(Level::Fault, format!("no room for a copy in {}: {lack}", self.scratch.display())));
        }
        Ok(())
    }
}

/// Whether a copy that was restored somewhere is whole, and answers the questions.
pub fn rehearse(copy: &std::path::Path, questions: &[String]) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    let copy = copy.join(std::str::from_utf8(NAME).expect("it is a word"));
    let arrived = verify::open(&copy, &copy, &mut findings)?;
    for question in questions {
        answered(&arrived.database, &copy, question)?;
    }
    findings.push(Finding::new(Level::Note, "the database is whole, by SQLite's own check"));
    Ok(findings)
}

fn answered(database: &rusqlite::Connection, path: &std::path::Path, question: &str) -> Result<(), Error> {
    let failed = |source| Error::Sqlite { action: "ask a question of", path: path.to_path_buf(), source };
    let mut statement = database.prepare(question).map_err(failed)?;
    let text = |value: rusqlite::types::Value| match value {
        rusqlite::types::Value::Null => None,
        rusqlite::types::Value::Integer(number) => Some(number.to_string()),
        rusqlite::types::Value::Real(number) => Some(if number == 0.0 { "0".into() } else { number.to_string() }),
        rusqlite::types::Value::Text(text) => Some(text),
        rusqlite::types::Value::Blob(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
    };
    let rows = statement.query_map([], |row| row.get(0).map(text)).map_err(failed)?;
    let rows: Vec<Option<String>> = rows.collect::<rusqlite::Result<_>>().map_err(failed)?;
    crate::question::judge(question, rows.iter().map(Option::as_deref))
}

impl Data for Sqlite {
    fn ask(&self, _: Option<&str>, question: &str) -> Option<Result<(), Error>> {
        let inner = &self.inner;
        let asked = || {
            let real = inner.real()?;
            answered(&connect::source(&real, inner.patience)?, &real, question)
        };
        Some(asked())
    }

    fn check(&self) -> Result<Vec<Finding>, Error> {
        let mut found = Vec::new();
        if let Err(error) = self.inner.examine(&mut found) {
            found.push(error.finding());
        }
        found.extend(target::check(&self.inner.path));
        Ok(found)
    }

    fn export(&self, sink: &mut dyn Sink) -> Result<(), Error> {
        let inner = &*self.inner;
        let real = inner.real()?;
        let scratch = copy::Scratch::open(&inner.scratch, &real)?;
        // Looked at before it is opened: whatever changes from here on makes the next look another.
        let looked = look::look(&real, &scratch.now()?)?;
        let database = connect::source(&real, inner.patience)?;
        let size = connect::facts(&database, &real, inner.patience)?.bytes();
        let root = Attributes { mode: 0o755, uid: looked.uid, gid: looked.gid, ..Attributes::default() };
        let stopped = |Stop| Error::Stopped;
        sink.item(Item { path: Vec::new(), attributes: root, stamp: None, body: Body::Folder })
            .map_err(stopped)?;
        let stamp = looked.stamp(size);
        if sink.unchanged(NAME, &stamp).map_err(stopped)? {
            return Ok(());
        }
        let copied = scratch.copy(&database, &real, size, inner.patience, &looked)?;
        let (attributes, stamp) = (looked.attributes(), Some(looked.stamp(copied.len)));
        let body = Body::File { len: copied.len, open: Box::new(copied) };
        sink.item(Item { path: NAME.to_vec(), attributes, stamp, body }).map_err(stopped)
    }

    fn stage(&self) -> Result<Box<dyn Staging>, Error> {
        import::stage(&self.inner)
    }

    fn rollback(&self) -> Result<Vec<Finding>, Error> {
        import::rollback(&self.inner)
    }
}

/// The file's place, made if it may be.
fn place(path: &std::path::Path) -> Result<PathBuf, Error> {
    files::real(path, true)
}

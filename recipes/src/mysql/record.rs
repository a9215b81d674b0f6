//! What is known of an import, in a file that is replaced as a whole: written before the server is told to do what it says.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::replace::replace;

use super::catalog::Event;
use super::manifest::Table;

/// Which databases beside the live ones were made here, and how far it went.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Record {
    /// Databases that this recipe made beside the live ones, and may drop.
    pub own: Vec<String>,
    /// Accounts that it made.
    pub accounts: Vec<String>,
    /// A switch that was begun.
    pub switch: Option<Switch>,
    /// What a rollback goes back to, by the live database.
    pub kept: BTreeMap<String, Kept>,
    /// Databases that imports brought.
    pub imported: Vec<String>,
    /// Events that run at the source, by database.
    pub events: BTreeMap<String, Vec<Event>>,
    pub event_scheduler: bool,
    /// Accounts that imports made, and a hash of what each is.
    pub made: BTreeMap<String, String>,
    /// What the last import made of each table, by the live database.
    pub held: BTreeMap<String, Vec<Held>>,
    /// What was so before the last import.
    pub before: Option<Box<Record>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Held {
    pub table: Table,
    /// The hash of the statement that makes it.
    pub statement: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kept {
    /// The database beside; it holds nothing when the live one did not exist.
    pub database: String,
    pub existed: bool,
    pub charset: String,
    pub collation: String,
    /// Tables that were not touched: they are in the live one, before and after.
    #[serde(default)]
    pub stay: Vec<String>,
}

/// All tables change places in one statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Switch {
    pub rollback: bool,
    pub sides: Vec<Side>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Side {
    pub live: String,
    pub incoming: String,
    pub outgoing: String,
    /// Tables of the live one, which leave it.
    pub leave: Vec<String>,
    /// Others of it, which do not.
    #[serde(default)]
    pub stay: Vec<String>,
    pub come: Vec<String>,
    /// Whether there was a live one, and what it was made with.
    pub existed: bool,
    pub was: (String, String),
    /// What it is to be made with; `None` when it is to be no more.
    pub becomes: Option<(String, String)>,
}

pub(super) fn read<T: DeserializeOwned + Default>(path: &Path) -> io::Result<T> {
    match fs::read(path) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(T::default()),
        Err(error) => Err(error),
    }
}

impl Record {
    pub fn write(&self, path: &Path) -> io::Result<()> {
        replace(path, &serde_json::to_vec_pretty(self)?)
    }
}

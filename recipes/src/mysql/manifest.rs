//! `manifest.json`: what an export holds, so that an import can tell whether it has all, and say before it begins what this server lacks.
//!
//! Read strictly: a field that is not known, a name that is none, a table without its rows are refused. Nothing in it becomes a path: names of files follow from
//! names of tables.

use serde::{Deserialize, Serialize};

use super::catalog::Event;
use super::names;
use super::text::Column;
use super::users::Account;
use crate::rows::Rows;

pub(super) const NAME: &str = "manifest.json";
pub(super) const USERS: &str = "users.sql";
pub(super) const FORMAT: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    pub format: u32,
    /// This program's version.
    pub tool: String,
    pub server: Server,
    pub position: Position,
    pub databases: Vec<Database>,
    /// Those that can do something in the databases.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub accounts: Vec<Account>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Server {
    pub mariadb: bool,
    pub version: String,
    pub sql_mode: String,
    pub character_set: String,
    pub collation: String,
    pub lower_case_table_names: u8,
    pub event_scheduler: bool,
}

/// Where the server's log of changes stood; empty when it keeps none.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Position {
    pub file: String,
    pub offset: String,
    pub gtid: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Database {
    pub name: String,
    pub charset: String,
    pub collation: String,
    /// Of `schema.sql`: how many statements, and their hash.
    pub schema: Rows,
    pub tables: Vec<Table>,
    pub events: Vec<Event>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Consistency {
    /// Read at the snapshot that all others are read at, or locked until then.
    Snapshot,
    /// Its engine has no snapshots and it was too large to be locked: others may have written to it since.
    Own,
    /// Its rows are not its own (a merge, a link to elsewhere) and were not read.
    None,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    pub name: String,
    pub engine: String,
    pub consistency: Consistency,
    pub columns: Vec<Column>,
    pub rows: Rows,
    /// Where the pieces of a large table are cut, so that the next export cuts there as well.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cuts: Option<Cuts>,
    pub pieces: Vec<Piece>,
    /// The next value, of a sequence.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<i64>,
}

/// Piece n holds the keys from `start + n * step` up to the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cuts {
    pub start: i64,
    pub step: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Piece {
    pub number: u32,
    pub bytes: u64,
}

impl Piece {
    pub fn file(number: u32) -> String {
        format!("{number:08x}")
    }
}

impl Manifest {
    pub fn write(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    pub fn read(bytes: &[u8]) -> Result<Manifest, String> {
        #[derive(Deserialize)]
        struct Begin {
            format: u32,
        }
        let begin: Begin = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if begin.format != FORMAT {
            return Err(format!("it has format {}, and this version knows {FORMAT}", begin.format));
        }
        let manifest: Manifest = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        manifest.sound()?;
        Ok(manifest)
    }

    /// Whether all is the same but where the server's log stood.
    pub fn same_data(&self, other: &Manifest) -> bool {
        Manifest { position: Position::default(), ..self.clone() } == Manifest { position: Position::default(), ..other.clone() }
    }

    pub fn database(&self, name: &str) -> Option<&Database> {
        self.databases.iter().find(|database| database.name == name)
    }

    fn sound(&self) -> Result<(), String> {
        let rising = |names: Vec<String>| names.windows(2).all(|pair| pair[0] < pair[1]);
        if !rising(self.databases.iter().map(|database| crate::escape::name(&database.name)).collect()) {
            return Err("its databases are not in order".into());
        }
        for database in &self.databases {
            if !names::fit(&database.name) {
                return Err(format!("{:?} is no database that may be imported", database.name));
            }
            if !rising(database.tables.iter().map(|table| crate::escape::name(&table.name)).collect()) {
                return Err(format!("the tables of {:?} are not in order", database.name));
            }
            for table in &database.tables {
                let bytes: u64 = table.pieces.iter().fold(0, |sum, piece| sum.saturating_add(piece.bytes));
                let pieces = table.pieces.windows(2).all(|pair| pair[0].number < pair[1].number);
                let named = |name: &str| !name.is_empty() && !name.contains('\0') && name.chars().count() <= names::NAME_CHARS_MAX;
                if !named(&table.name) || !table.columns.iter().all(|column| named(&column.name)) || !pieces || bytes < table.rows.count {
                    return Err(format!("{:?} of {:?} cannot be as it is described", table.name, database.name));
                }
            }
        }
        Ok(())
    }
}

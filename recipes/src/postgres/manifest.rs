//! What an export says of itself, as `manifest.json`: enough to make databases, roles and rows again, and to know that all of them came.
//!
//! It holds nothing that changes while the data does not: when all but the positions is as in the last export, the last one is repeated byte by byte.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::rows::Rows;

pub(super) const FORMAT: u32 = 1;
pub(super) const NAME: &[u8] = b"manifest.json";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    pub format: u32,
    pub engine: String,
    /// As the server counts: 150018 is 15.18.
    pub server: u32,
    pub tool: String,
    /// Each database is a snapshot of its own, in this order of time.
    pub databases: Vec<Database>,
    pub roles: Vec<Role>,
    pub memberships: Vec<Membership>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Database {
    pub name: String,
    /// Its folder below `databases`.
    pub folder: String,
    pub owner: String,
    pub encoding: String,
    pub collate: String,
    pub ctype: String,
    /// `libc`, `icu` or `builtin`, where the server tells.
    pub provider: Option<String>,
    pub locale: Option<String>,
    pub collation_version: Option<String>,
    pub connection_limit: i32,
    pub comment: Option<String>,
    /// Null: as a new database has it.
    pub grants: Option<Vec<Grant>>,
    /// For a role in this database, or for all.
    pub configuration: Vec<Configuration>,
    pub extensions: Vec<Extension>,
    pub tables: Vec<Table>,
    pub sequences: Vec<Sequence>,
    pub large_objects: u64,
    pub position: Position,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Position {
    pub lsn: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Grant {
    /// Null is PUBLIC.
    pub to: Option<String>,
    pub privilege: String,
    pub grantable: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Configuration {
    pub role: Option<String>,
    /// As `name=value`.
    pub settings: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Extension {
    pub name: String,
    pub version: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    pub schema: String,
    pub name: String,
    /// Its folder below `tables`.
    pub folder: String,
    /// Those that are not generated.
    pub columns: Vec<String>,
    /// Tables that this one is a part of or inherits from, as `schema.table`.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub within: Vec<String>,
    /// Of an extension's table, which rows are not the extension's own.
    pub filter: Option<String>,
    /// Blocks of the table where each file begins.
    pub ranges: Vec<u64>,
    pub rows: Rows,
    pub bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sequence {
    pub schema: String,
    pub name: String,
    pub last: i64,
    pub called: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Role {
    pub name: String,
    pub superuser: bool,
    pub inherit: bool,
    pub create_role: bool,
    pub create_database: bool,
    pub login: bool,
    pub replication: bool,
    pub bypass_row_security: bool,
    pub connection_limit: i32,
    pub valid_until: Option<String>,
    /// Its verifier, never the password itself; null where it has none or where we may not see it.
    pub password: Option<String>,
    pub settings: Vec<String>,
    pub comment: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Membership {
    pub role: String,
    pub member: String,
    pub admin: bool,
}

impl Table {
    /// Whether one of these names is this table's, or that of a table it is a part of.
    pub fn is_among(&self, names: &[String]) -> bool {
        let whole = format!("{}.{}", self.schema, self.name);
        names
            .iter()
            .any(|name| *name == whole || *name == self.name || self.within.iter().any(|other| is_called(other, name)))
    }
}

/// Whether a name, with its schema or without, is that of `schema.table`.
fn is_called(whole: &str, name: &str) -> bool {
    whole == name || whole.split_once('.').is_some_and(|(_, table)| table == name)
}

impl Manifest {
    pub fn text(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec_pretty(self).expect("texts and numbers can be written");
        text.push(b'\n');
        text
    }

    /// The earlier one, when nothing but positions differs: what was so then still is.
    pub fn or_last(self, last: Option<Manifest>) -> Manifest {
        let Some(last) = last else { return self };
        let positions: BTreeMap<&str, &Position> =
            last.databases.iter().map(|database| (database.name.as_str(), &database.position)).collect();
        let mut alike = self.clone();
        for database in &mut alike.databases {
            if let Some(position) = positions.get(database.name.as_str()) {
                database.position = (*position).clone();
            }
        }
        if alike == last { last } else { self }
    }
}

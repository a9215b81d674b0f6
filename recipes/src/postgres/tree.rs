//! What arrived for an import: read strictly, since it decides what is created, dropped and renamed.

use std::fs;
use std::path::{Path, PathBuf};

use super::manifest::{self, Database, Manifest, Table};
use super::swap;
use crate::{Error, escape};

pub(super) struct Arrived {
    pub folder: PathBuf,
    pub manifest: Manifest,
}

impl Arrived {
    pub fn open(folder: &Path) -> Result<Arrived, Error> {
        let wrong = |reason: String| Error::Arrived { target: folder.to_path_buf(), reason };
        let path = folder.join(std::str::from_utf8(manifest::NAME).expect("it is a word"));
        let text = fs::read(&path).map_err(|error| wrong(format!("has no manifest that can be read: {error}")))?;
        let manifest: Manifest =
            serde_json::from_slice(&text).map_err(|error| wrong(format!("has a manifest that cannot be understood: {error}")))?;
        if manifest.format != manifest::FORMAT || manifest.engine != "postgresql" {
            return Err(wrong(format!(
                "is of {} in format {}, and this version knows postgresql in format {}",
                manifest.engine,
                manifest.format,
                manifest::FORMAT
            )));
        }
        let arrived = Arrived { folder: folder.to_path_buf(), manifest };
        for database in &arrived.manifest.databases {
            arrived.check(database).map_err(wrong)?;
        }
        Ok(arrived)
    }

    fn check(&self, database: &Database) -> Result<(), String> {
        let name = &database.name;
        if database.folder != escape::name(name)
            || swap::is_aside(name)
            || name == super::catalog::ANY
            || name.starts_with("template") && name.len() == 9
        {
            return Err(format!("has a database {name:?} that cannot be one"));
        }
        if self.manifest.databases.iter().filter(|other| other.name == *name).count() != 1 {
            return Err(format!("has the database {name:?} twice"));
        }
        let schema = self.of(database).join("schema.dump");
        fs::metadata(schema).map_err(|error| format!("lacks the definitions of {name:?}: {error}"))?;
        database.tables.iter().try_for_each(|table| self.check_table(database, table))
    }

    fn check_table(&self, database: &Database, table: &Table) -> Result<(), String> {
        let name = || format!("{:?}.{:?} of {:?}", table.schema, table.name, database.name);
        if table.folder != format!("{}/{}", escape::name(&table.schema), escape::name(&table.name)) || table.ranges.is_empty() {
            return Err(format!("has a table {} that cannot be one", name()));
        }
        let mut bytes = 0;
        for file in self.texts(database, table) {
            bytes += fs::metadata(&file).map_err(|error| format!("lacks rows of {}: {error}", name()))?.len();
        }
        if bytes == table.bytes { Ok(()) } else { Err(format!("has {bytes} bytes of {}, where {} were exported", name(), table.bytes)) }
    }

    /// Where a database's files lie.
    pub fn of(&self, database: &Database) -> PathBuf {
        self.folder.join("databases").join(&database.folder)
    }

    /// The files of a table's rows, in order.
    pub fn texts(&self, database: &Database, table: &Table) -> Vec<PathBuf> {
        let folder = self.of(database).join("tables").join(&table.folder);
        table.ranges.iter().map(|block| folder.join(format!("{block:08x}"))).collect()
    }

    pub fn bytes(&self) -> u64 {
        self.manifest.databases.iter().flat_map(|database| &database.tables).map(|table| table.bytes).sum()
    }
}

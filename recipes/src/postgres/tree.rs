//! What arrived for an import: read strictly, since it decides what is created, dropped and renamed.

use std::fs;
use std::path::{Path, PathBuf};

use super::manifest::{self, Database, Manifest, Table};
use super::{cron, swap};
use crate::data::Part;
use crate::{Error, escape};

pub(super) struct Arrived {
    pub folder: PathBuf,
    /// Without what must not come into the databases themselves.
    pub manifest: Manifest,
    /// What pg_cron keeps in them.
    pub jobs: Vec<Database>,
}

/// What says in an error where something arrived.
fn wrong(folder: &Path) -> impl Fn(String) -> Error + use<> {
    let target = folder.to_path_buf();
    move |reason| Error::Arrived { target: target.clone(), reason }
}

impl Arrived {
    pub fn open(folder: &Path) -> Result<Arrived, Error> {
        Arrived::read(folder)?.checked()
    }

    /// What of it belongs to a part: one database, all its tables or some.
    pub fn open_part(folder: &Path, part: &Part) -> Result<Arrived, Error> {
        Arrived::read(folder)?.reduced(part)?.checked()
    }

    /// The paths that a part needs besides the manifest.
    pub fn needs(folder: &Path, part: &Part) -> Result<Vec<Vec<u8>>, Error> {
        let arrived = Arrived::read(folder)?.reduced(part)?;
        let database = &arrived.manifest.databases[0];
        let within = format!("databases/{}", database.folder);
        if part.tables.is_empty() {
            return Ok(vec![within.into_bytes()]);
        }
        let tables = database.tables.iter().map(|table| format!("{within}/tables/{}", table.folder).into_bytes());
        Ok(tables.chain([format!("{within}/schema.dump").into_bytes()]).collect())
    }

    fn reduced(mut self, part: &Part) -> Result<Arrived, Error> {
        let names = |databases: &[Database]| databases.iter().map(|database| database.name.clone()).collect::<Vec<_>>().join(", ");
        let all = names(&self.manifest.databases);
        self.manifest
            .databases
            .retain(|database| part.database.as_ref().is_none_or(|name| *name == database.name));
        let [database] = self.manifest.databases.as_mut_slice() else {
            return Err(Error::NoPart { what: "the one database that is meant".into(), known: all });
        };
        if !part.tables.is_empty() {
            let known = database.tables.clone();
            if let Some(absent) = part
                .tables
                .iter()
                .find(|name| !known.iter().any(|table| table.is_among(std::slice::from_ref(name))))
            {
                let known: Vec<String> = known.iter().map(|table| format!("{}.{}", table.schema, table.name)).collect();
                return Err(Error::NoPart { what: format!("a table {absent:?}"), known: known.join(", ") });
            }
            database.tables.retain(|table| table.is_among(&part.tables));
            database.large_objects = 0;
        }
        Ok(self)
    }

    fn read(folder: &Path) -> Result<Arrived, Error> {
        let mut manifest = Arrived::manifest(folder)?;
        let jobs = manifest.databases.iter_mut().filter_map(cron::take_out).collect();
        Ok(Arrived { folder: folder.to_path_buf(), manifest, jobs })
    }

    fn manifest(folder: &Path) -> Result<Manifest, Error> {
        let wrong = wrong(folder);
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
        Ok(manifest)
    }

    fn checked(self) -> Result<Arrived, Error> {
        for database in &self.manifest.databases {
            self.check(database).map_err(wrong(&self.folder))?;
        }
        Ok(self)
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

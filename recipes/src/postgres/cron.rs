//! Jobs of pg_cron. They would run on a node that stands by, and the extension can be made in one database of a server alone, under its own name. So an import leaves
//! it out, and keeps its definitions and its jobs in files; when the guard is lifted they are made in the database that is the data then.

use std::fs;
use std::path::{Path, PathBuf};

use super::connect::failed;
use super::contents::For;
use super::manifest::Database;
use super::tree::Arrived;
use super::{Inner, import, load};
use crate::data::{Finding, Level};
use crate::lock::make_folder;
use crate::{Error, told};

const EXTENSION: &str = "pg_cron";
/// Where it keeps its tables.
const SCHEMA: &str = "cron";

/// Whether an entry of a table of contents belongs to it, rights to it included.
pub(super) fn is_its(words: &[u8]) -> bool {
    let its = [&b"EXTENSION - pg_cron"[..], b"COMMENT - EXTENSION pg_cron", b"ACL - SCHEMA cron ", b"ACL cron "];
    // Names within names have quotes there.
    let words: Vec<u8> = words.iter().copied().filter(|byte| *byte != b'"').collect();
    its.iter().any(|begin| words.starts_with(begin))
}

/// Takes its tables out of a database that has it; what was taken.
pub(super) fn take_out(database: &mut Database) -> Option<Database> {
    if !database.extensions.iter().any(|extension| extension.name == EXTENSION) {
        return None;
    }
    let mut jobs = database.clone();
    jobs.tables.retain(|table| table.schema == SCHEMA);
    jobs.sequences.retain(|sequence| sequence.schema == SCHEMA);
    database.tables.retain(|table| table.schema != SCHEMA);
    database.sequences.retain(|sequence| sequence.schema != SCHEMA);
    Some(jobs)
}

fn folder(inner: &Inner, database: &Database) -> PathBuf {
    inner.settings.scratch.join("jobs").join(&database.folder)
}

const WHAT: &str = "database.json";

/// Keeps what arrived of it, for when this node is active.
pub(super) fn keep(inner: &Inner, arrived: &Arrived, database: &Database) -> Result<(), Error> {
    let folder = folder(inner, database);
    import::remove(&folder)?;
    let Some(jobs) = arrived.jobs.iter().find(|jobs| jobs.name == database.name) else { return Ok(()) };
    let copy = |from: &Path, to: &Path| -> std::io::Result<()> {
        make_folder(to.parent().unwrap_or(to))?;
        fs::copy(from, to).map(drop)
    };
    let of = arrived.of(database);
    let mut files = vec![of.join("schema.dump")];
    files.extend(jobs.tables.iter().flat_map(|table| arrived.texts(database, table)));
    for file in files {
        let to = folder.join("databases").join(&database.folder).join(file.strip_prefix(&of).unwrap_or(&file));
        copy(&file, &to).map_err(|error| Error::io("keep the jobs in", &to, error))?;
    }
    import::keep(&folder.join(WHAT), jobs)
}

/// Makes the extension and its jobs in the databases that have none. What cannot be made is told: the data is of use without.
pub(super) fn bring_back(inner: &Inner) -> Result<Vec<Finding>, Error> {
    let all = inner.settings.scratch.join("jobs");
    let mut found = Vec::new();
    let Ok(folders) = fs::read_dir(&all) else { return Ok(found) };
    for folder in folders {
        let folder = folder.map_err(|error| Error::io("list", &all, error))?.path();
        let Some(jobs) = import::read::<Database>(&folder.join(WHAT))? else { continue };
        if let Err(error) = make(inner, &folder, &jobs) {
            let what = format!("the jobs of pg_cron in {} were not made: {}", jobs.name, told(&error));
            found.push(
                Finding::new(Level::Warning, what).hint("cron.database_name must name this database, and shared_preload_libraries pg_cron"),
            );
        }
    }
    Ok(found)
}

fn make(inner: &Inner, folder: &Path, jobs: &Database) -> Result<(), Error> {
    let mut client = inner.connect(&jobs.name)?;
    let there = client.query_opt("SELECT 1 FROM pg_extension WHERE extname = $1", &[&EXTENSION]);
    if there.map_err(failed("look for pg_cron in", &jobs.name))?.is_some() {
        return Ok(());
    }
    let of = folder.join("databases").join(&jobs.folder);
    load::restore(inner, &jobs.name, &of.join("schema.dump"), "--section=pre-data", For::Jobs)?;
    for table in &jobs.tables {
        let texts: Vec<PathBuf> = table
            .ranges
            .iter()
            .map(|block| of.join("tables").join(&table.folder).join(format!("{block:08x}")))
            .collect();
        load::table_rows(&mut client, &jobs.name, table, &texts)?;
    }
    load::sequences(inner, jobs, &jobs.name)
}

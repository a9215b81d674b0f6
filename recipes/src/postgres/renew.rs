//! A database that is loaded again only where it differs: the one that was kept for a rollback becomes the new one.
//!
//! It is a whole state, two imports old, in which nobody was. When the definitions are the same bytes, only tables whose rows differ are emptied and filled anew; it
//! is then read back whole, and when it is not what it should be, everything is loaded after all. Readers stay in the one that is in place. While such an
//! import is at work there is nothing to go back to: one that fails half-way leaves what is in place, and no older state beside it.
//!
//! What each database holds stands in a file, by the number that the server gives it, which stays through renames. The entry goes before anything is touched, and all of
//! them go when the guard is lifted.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use postgres::Client;
use serde::{Deserialize, Serialize};

use super::connect::{failed, ident, literal, qualified};
use super::contents::{self, For};
use super::manifest::{Database, Position, Table};
use super::swap::{self, Place};
use super::tree::Arrived;
use super::{Inner, import, load};
use crate::Error;
use crate::rows::Rows;

const HELD: &str = "held.json";

/// What a database holds, as it was imported.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Held {
    database: Database,
    /// Of the file of definitions.
    definitions: String,
}

fn path(inner: &Inner) -> PathBuf {
    inner.settings.scratch.join(HELD)
}

/// Something that cannot be read is no reason to fail: everything is loaded.
fn all(inner: &Inner) -> BTreeMap<u32, Held> {
    import::read(&path(inner)).ok().flatten().unwrap_or_default()
}

/// Keeps what a database that was loaded and compared holds; those that are no more are forgotten.
pub(super) fn hold(inner: &Inner, client: &mut Client, arrived: &Arrived, database: &Database, side: &str) -> Result<(), Error> {
    let mut held = all(inner);
    let numbers = client
        .query("SELECT oid FROM pg_database", &[])
        .map_err(failed("list the databases beside", side))?;
    let there: BTreeSet<u32> = numbers.iter().map(|row| row.get(0)).collect();
    held.retain(|number, _| there.contains(number));
    if let Some(number) = swap::number(client, side)? {
        held.insert(number, Held { database: database.clone(), definitions: definitions(arrived, database)? });
    }
    import::keep(&path(inner), &held)
}

/// Nothing is known of any database: from here on others write to them.
pub(super) fn forget(inner: &Inner) -> Result<(), Error> {
    import::remove(&path(inner))
}

fn definitions(arrived: &Arrived, database: &Database) -> Result<String, Error> {
    let path = arrived.of(database).join("schema.dump");
    let hash = || -> std::io::Result<u128> {
        let (mut hash, mut buffer, mut file) = (xxhash_rust::xxh3::Xxh3::new(), vec![0; 1 << 16], File::open(&path)?);
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(hash.digest128()),
                n => hash.update(&buffer[..n]),
            }
        }
    };
    hash().map(|hash| format!("{hash:032x}")).map_err(|error| Error::io("read", &path, error))
}

/// All but what the rows are.
fn frame(database: &Database) -> Database {
    let mut frame = Database { position: Position::default(), ..database.clone() };
    for table in &mut frame.tables {
        (table.ranges, table.rows, table.bytes) = (vec![], Rows::default(), 0);
    }
    for sequence in &mut frame.sequences {
        (sequence.last, sequence.called) = (0, false);
    }
    frame
}

/// Makes `side` of the database that was kept, if that can be done: whether it was.
pub(super) fn renew(inner: &Inner, client: &mut Client, arrived: &Arrived, database: &Database, place: &Place) -> Result<bool, Error> {
    let (old, side) = (place.old_name(), place.new_name());
    let Some(number) = swap::number(client, &old)? else { return Ok(false) };
    let mut held = all(inner);
    let Some(was) = held.remove(&number) else { return Ok(false) };
    let same = frame(&was.database) == frame(database) && was.definitions == definitions(arrived, database)?;
    if !same || database.large_objects > 0 {
        return Ok(false);
    }
    let changed: Vec<&Table> = database
        .tables
        .iter()
        .zip(&was.database.tables)
        .filter(|(now, was)| now.rows != was.rows)
        .map(|(now, _)| now)
        .collect();
    let bytes = |tables: &mut dyn Iterator<Item = &Table>| tables.map(|table| table.bytes).sum::<u64>();
    let worth_it = bytes(&mut changed.iter().copied()) * 4 <= bytes(&mut database.tables.iter()) * 3;
    if !worth_it || changed.iter().any(|table| table.filter.is_some()) {
        return Ok(false);
    }
    inner.step("renew");
    import::keep(&path(inner), &held)?;
    swap::rename(client, &[(old, side.clone())])?;
    let mut within = inner.connect(&side)?;
    // Neither triggers nor checks of references: all of it is what it was at the source.
    within
        .batch_execute("SET session_replication_role = replica; SET synchronous_commit = off")
        .map_err(failed("prepare a session in", &side))?;
    if acts(&mut within, &side, &changed)? {
        return Ok(false);
    }
    let references = references(&mut within, &side, &changed)?;
    let run = |within: &mut Client, text: String| within.batch_execute(&text).map_err(failed("renew tables of", &side));
    for reference in &references {
        run(&mut within, format!("ALTER TABLE {} DROP CONSTRAINT {}", reference.table, ident(&reference.name)))?;
    }
    load::rows(inner, arrived, database, &side, &changed)?;
    for Reference { table, name, definition, comment } in &references {
        run(&mut within, format!("ALTER TABLE {table} ADD CONSTRAINT {} {definition}", ident(name)))?;
        if let Some(comment) = comment {
            run(&mut within, format!("COMMENT ON CONSTRAINT {} ON {table} IS {}", ident(name), literal(comment)))?;
        }
    }
    load::sequences(inner, database, &side)?;
    for table in &changed {
        run(&mut within, format!("ANALYZE {}", qualified(&table.schema, &table.name)))?;
    }
    if !changed.is_empty() {
        let definitions: &Path = &arrived.of(database).join("schema.dump");
        load::restore(inner, &side, definitions, contents::POST_DATA, For::Refresh)?;
    }
    Ok(true)
}

/// Whether a table has triggers that act even so.
fn acts(within: &mut Client, side: &str, changed: &[&Table]) -> Result<bool, Error> {
    let query = "SELECT n.nspname::text, c.relname::text FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid JOIN pg_namespace n ON n.oid = relnamespace \
                 WHERE NOT tgisinternal AND tgenabled IN ('A', 'R')";
    let rows = within.query(query, &[]).map_err(failed("look for triggers in", side))?;
    let is = |schema: &str, name: &str| changed.iter().any(|table| table.schema == schema && table.name == name);
    Ok(rows.iter().any(|row| is(row.get(0), row.get(1))))
}

/// A foreign key that keeps a table from being emptied.
struct Reference {
    table: String,
    name: String,
    definition: String,
    comment: Option<String>,
}

fn references(within: &mut Client, side: &str, changed: &[&Table]) -> Result<Vec<Reference>, Error> {
    let query = "SELECT fn.nspname::text, f.relname::text, n.nspname::text, c.relname::text, k.conname::text, pg_get_constraintdef(k.oid), \
                 obj_description(k.oid, 'pg_constraint') FROM pg_constraint k JOIN pg_class f ON f.oid = confrelid JOIN pg_namespace fn ON fn.oid = f.relnamespace \
                 JOIN pg_class c ON c.oid = conrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE contype = 'f' AND conparentid = 0";
    let rows = within.query(query, &[]).map_err(failed("look for foreign keys in", side))?;
    let is = |schema: &str, name: &str| {
        let whole = format!("{schema}.{name}");
        changed
            .iter()
            .any(|table| table.schema == schema && table.name == name || table.within.contains(&whole))
    };
    let found = rows.iter().filter(|row| is(row.get(0), row.get(1))).map(|row| Reference {
        table: qualified(row.get(2), row.get(3)),
        name: row.get(4),
        definition: row.get(5),
        comment: row.get(6),
    });
    Ok(found.collect())
}

//! Whether what was loaded is what was exported: the rows of the new database are read back and compared with the manifest.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::connect::{failed, qualified};
use super::manifest::{Database, Table};
use super::wire::Wire;
use super::{Inner, export};
use crate::Error;

/// How much is read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verify {
    /// Every row.
    #[default]
    Full,
    /// Every row of a quarter of the tables, another quarter each time, and counts of the others.
    Sampled,
    /// How many rows there are.
    Counts,
}

/// Compares each table; several at a time. `turn` chooses the sample.
pub(super) fn verify(inner: &Inner, side: &str, database: &Database, how: Verify, turn: usize) -> Result<(), Error> {
    let (next, problems) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || -> Result<(), Error> {
        let (mut client, mut wire) = (inner.connect(side)?, inner.wire(side, export::BEGIN)?);
        client.batch_execute(export::BEGIN).map_err(failed("verify", side))?;
        while let Some(table) = database.tables.get(next.fetch_add(1, Ordering::Relaxed)) {
            let number = database.tables.iter().position(|other| std::ptr::eq(other, table)).unwrap_or_default();
            let whole = match how {
                Verify::Full => true,
                Verify::Sampled => number % 4 == turn % 4,
                Verify::Counts => false,
            };
            if let Some(problem) = differs((&mut client, &mut wire), side, table, whole)? {
                problems.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(problem);
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..inner.settings.jobs).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or(Err(Error::Thread)))
    })?;
    let problems = problems.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    if problems.is_empty() { Ok(()) } else { Err(Error::Differs { database: database.name.clone(), problems }) }
}

fn differs((client, wire): (&mut postgres::Client, &mut Wire), side: &str, table: &Table, whole: bool) -> Result<Option<String>, Error> {
    let name = qualified(&table.schema, &table.name);
    let wanted = table.rows;
    if whole {
        let found = export::count(wire, side, table)?;
        let what =
            if found.count == wanted.count { "other rows".to_owned() } else { format!("{} rows instead of {}", found.count, wanted.count) };
        return Ok((found != wanted).then(|| format!("{name} has {what}")));
    }
    let filter = table.filter.as_deref().unwrap_or_default();
    let row = client
        .query_one(&format!("SELECT count(*) FROM ONLY {name} {filter}"), &[])
        .map_err(failed("count rows in", side))?;
    let found = row.get::<_, i64>(0) as u64;
    Ok((found != wanted.count).then(|| format!("{name} has {found} rows instead of {}", wanted.count)))
}

//! An import from its first step to its last, and what a later run makes of one that was interrupted.
//!
//! 1. What arrived is verified and made durable.
//! 2. The live database is copied to `was`, through the backup API as well, and that made durable.
//! 3. `record` is written.
//! 4. What arrived is written into the live database: one transaction, so it happens wholly or not at all.
//! 5. `was` becomes what a rollback goes back to; all else is removed.
//!
//! So a folder without `record` is removed. With it, the live database is the old or the new one, since SQLite undoes what
//! was not committed: when a fresh copy of it has the same bytes as `was`, the import did not happen and is undone, else it
//! is finished. A rollback is an import of what was kept.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::target::{Record, Target, same, sync};
use super::{Inner, connect, copy, place, verify};
use crate::Error;
use crate::data::{Finding, Level, Mode, Place, Staging};
use crate::lock::Lock;

struct Import {
    inner: Arc<Inner>,
    target: Target,
    places: Vec<Place>,
    findings: Vec<Finding>,
    _lock: Lock,
}

pub(crate) fn stage(inner: &Arc<Inner>) -> Result<Box<dyn Staging>, Error> {
    Ok(Box::new(begin(inner)?))
}

fn begin(inner: &Arc<Inner>) -> Result<Import, Error> {
    let target = Target::new(place(&inner.path)?);
    copy::make_folder(&inner.scratch)?;
    let lock = Lock::take(&inner.scratch.join("import.lock")).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => Error::Busy { path: inner.path.clone() },
        _ => Error::io("lock the scratch folder", &inner.scratch, error),
    })?;
    let failed = |error| Error::io("prepare an import beside", &target.path, error);
    target.exists().map_err(failed)?;
    let mut findings = Vec::new();
    if target.begun().map_err(failed)? {
        recover(inner, &target, &mut findings)?;
    }
    target.begin().map_err(failed)?;
    let places = vec![Place { prefix: Vec::new(), folder: target.tree(), mode: Mode::Switch }];
    Ok(Import { inner: inner.clone(), target, places, findings, _lock: lock })
}

/// Finishes or undoes what an earlier run left.
fn recover(inner: &Inner, target: &Target, findings: &mut Vec<Finding>) -> Result<(), Error> {
    let failed = |error| Error::io("clear up after an interrupted import into", &target.path, error);
    let happened = match target.record().map_err(failed)? {
        None => None,
        Some(Record::Absent) => Some(!recover_absent(inner, target)?),
        // Kept already: only the removing was left.
        Some(Record::Existed) if !target.was().exists() => Some(true),
        Some(Record::Existed) if !target.exists().map_err(failed)? => {
            target.keep().map_err(failed)?;
            Some(true)
        }
        Some(Record::Existed) => {
            let now = target.new.join("now");
            copy::remove(&now).map_err(failed)?;
            let live = connect::source(&target.path, inner.patience)?;
            copy::make(&live, &target.path, &now, inner.patience)?;
            let happened = !same(&now, &target.was()).map_err(failed)?;
            if happened {
                inner.step("keep what was before the interrupted import");
                target.keep().map_err(failed)?;
            }
            Some(happened)
        }
    };
    inner.step("clear up");
    target.clear().map_err(failed)?;
    if let Some(happened) = happened {
        let how = if happened { "finished" } else { "undone" };
        findings.push(Finding::new(Level::Note, format!("an interrupted import into {} was {how}", target.path.display())));
    }
    Ok(())
}

/// An empty database where there was none before is what an import left that did not happen. Whether it was removed.
fn recover_absent(inner: &Inner, target: &Target) -> Result<bool, Error> {
    let failed = |error| Error::io("clear up after an interrupted import into", &target.path, error);
    if !target.exists().map_err(failed)? {
        return Ok(true);
    }
    let live = connect::source(&target.path, inner.patience)?;
    let pages = connect::facts(&live, &target.path, inner.patience)?.pages;
    drop(live);
    if pages == 0 {
        copy::remove(&target.path).map_err(failed)?;
    }
    Ok(pages == 0)
}

impl Import {
    /// Steps 1 to 5, with whatever lies where it arrives.
    fn replace(&mut self) -> Result<(), Error> {
        let Import { inner, target, findings, .. } = self;
        let failed = |error| Error::io("import into", &target.path, error);
        inner.step("verify");
        let arrived = verify::open(&target.arriving(), &target.path, findings)?;
        let existed = target.exists().map_err(failed)?;
        if existed {
            inner.step("copy what is there");
            let live = connect::source(&target.path, inner.patience)?;
            copy::make(&live, &target.path, &target.was(), inner.patience)?;
            sync(&target.was()).map_err(failed)?;
        }
        inner.step("record");
        target.write_record(if existed { Record::Existed } else { Record::Absent }).map_err(failed)?;
        if !existed {
            inner.step("create");
            target.create().map_err(failed)?;
        }
        inner.step("restore");
        restore(inner, target, &arrived)?;
        inner.step("keep what was before");
        if existed {
            target.keep().map_err(failed)?;
        }
        inner.step("clear");
        let verify::Arrived { database, facts } = arrived;
        drop(database);
        target.clear().map_err(failed)?;
        let (size, version) = (facts.page_size, facts.user_version);
        let what = format!("{}: {} pages of {size} bytes, user_version {version}", target.path.display(), facts.pages);
        findings.push(Finding::new(Level::Note, what));
        Ok(())
    }
}

/// Step 4. Synchronous by SQLite's own default, so it is durable when it returns.
fn restore(inner: &Inner, target: &Target, arrived: &verify::Arrived) -> Result<(), Error> {
    let failed = connect::failed("write into", &target.path, inner.patience);
    let mut live = connect::live(&target.path, inner.patience)?;
    let facts = connect::facts(&live, &target.path, inner.patience)?;
    if facts.journal_mode == "wal" && facts.pages > 0 && facts.page_size != arrived.facts.page_size {
        // Pages of another size cannot go through a WAL. This needs the database for a moment without any reader.
        let mode: String = live.pragma_update_and_check(None, "journal_mode", "delete", |row| row.get(0)).map_err(&failed)?;
        if mode != "delete" {
            return Err(Error::InUse { action: "change the page size of", path: target.path.clone(), waited: inner.patience });
        }
    }
    connect::transfer(&arrived.database, &mut live).map_err(&failed)?;
    inner.step("restored");
    // The WAL now holds the whole database. That readers still need it is no failure: whoever writes next goes on with it.
    live.busy_timeout(Duration::ZERO).map_err(&failed)?;
    let _ = live.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    live.close().map_err(|(_, error)| failed(error))
}

impl Staging for Import {
    fn places(&self) -> &[Place] {
        &self.places
    }

    fn commit(mut self: Box<Self>, _: &mut dyn FnMut(&[u8]) -> bool) -> Result<Vec<Finding>, Error> {
        let arriving = self.target.arriving();
        // What cannot be opened is told by the verification.
        if fs::symlink_metadata(&arriving).is_ok_and(|found| found.is_file()) {
            sync(&arriving).map_err(|error| Error::io("sync", &arriving, error))?;
        }
        self.replace()?;
        Ok(std::mem::take(&mut self.findings))
    }
}

impl Drop for Import {
    /// What did not happen is undone, as the next import would. That it fails is no worse than a kill.
    fn drop(&mut self) {
        if self.target.begun().is_ok_and(|begun| begun) {
            let _ = recover(&self.inner, &self.target, &mut Vec::new());
        }
    }
}

pub(crate) fn rollback(inner: &Arc<Inner>) -> Result<Vec<Finding>, Error> {
    let mut import = begin(inner)?;
    let (kept, arriving): (PathBuf, PathBuf) = (import.target.kept(), import.target.arriving());
    if !kept.is_file() {
        let reason = "nothing is kept from before".into();
        return Err(Error::TakeBack { path: inner.path.clone(), reason });
    }
    // A second name, since `kept` is about to be replaced by what is there now.
    fs::hard_link(&kept, &arriving)
        .or_else(|_| fs::copy(&kept, &arriving).map(drop))
        .map_err(|error| Error::io("take back", &inner.path, error))?;
    import.replace()?;
    Ok(std::mem::take(&mut import.findings))
}

//! The switch of one root, and what a later run makes of one that was interrupted.
//!
//! Beside the target NAME lies at most one container `.NAME.resilient-new` with `tree/ENTRY`, and at most one
//! `.NAME.resilient-previous` of the same shape. The order of a switch:
//!
//! 1. What arrived is made durable.
//! 2. `record` is written: the inode of what arrived, and the excluded entries that will be moved.
//! 3. Excluded entries are moved from the target into what arrived.
//! 4. The two are exchanged. This is the moment at which the import happens.
//! 5. Excluded entries that were made meanwhile follow.
//! 6. `record` becomes `done`: the container now holds what was before.
//! 7. The container becomes the previous one; the one before that is emptied of excluded entries and removed.
//!
//! What arrives may have files in common with the previous tree (`Staging::leaves`): from step 4 to 7 the target has them in common with it, and then it is gone.
//! Where there is no target to be exchanged with, the previous tree stays, so then nothing may be taken from it.
//!
//! So a container without `record` and `done` holds nothing of the target and is removed. One with `record` is undone
//! when the target has another inode, and finished when it has that one. One with `done` is moved to its place. A
//! previous tree that is on its way to be the target again has both, so that undoing keeps it.

use std::io;
use std::sync::Arc;

use rustix::fs::RenameFlags;

use super::carry::{self, Moved};
use super::exclude::Excludes;
use super::folder::{Folder, Found, stat_at};
use super::record::{DONE, RECORD, Record};
use super::target::{Target, absent};
use super::{Inner, remove};
use crate::Error;
use crate::data::{Finding, Level};

pub(crate) const TREE: &std::ffi::CStr = c"tree";

/// One root on its way.
pub(crate) struct Switch<'a> {
    pub inner: &'a Inner,
    pub target: &'a Target,
    pub container: &'a Arc<Folder>,
    /// What arrived may have files in common with what is kept of before, which must go then: it does when something is exchanged.
    pub replaces: bool,
    pub findings: &'a mut Vec<Finding>,
}

/// What a container holds, in its tree.
fn held(container: &Arc<Folder>, target: &Target) -> io::Result<Option<(Arc<Folder>, Found)>> {
    let tree = match container.open(TREE) {
        Ok((tree, _)) => tree,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(absent(stat_at(&*tree.fd()?, &target.entry))?.map(|found| (tree, found)))
}

fn as_folder(parent: &Arc<Folder>, name: &std::ffi::CStr, found: Option<Found>) -> io::Result<Option<Arc<Folder>>> {
    match found {
        Some(found) if found.is_folder() => Ok(Some(parent.open(name)?.0)),
        _ => Ok(None),
    }
}

impl Switch<'_> {
    fn error(&self, action: &'static str) -> impl Fn(io::Error) -> Error + use<> {
        let path = self.target.label.clone();
        move |source| Error::Io { action, path: path.clone(), source }
    }

    /// Step 1, and whatever can be refused while nothing was moved yet.
    pub fn prepare(&mut self) -> Result<(), Error> {
        let failed = self.error("prepare the import into");
        let nothing = || io::Error::new(io::ErrorKind::NotFound, "nothing arrived for it");
        let Some((tree, found)) = held(self.container, self.target).map_err(&failed)? else {
            return Err(failed(nothing()));
        };
        let arrived = as_folder(&tree, &self.target.entry, Some(found)).map_err(&failed)?;
        for path in self.excluded().map_err(&failed)? {
            let room = match &arrived {
                Some(arrived) => carry::clear(arrived, &path).map_err(&failed)?,
                None => false,
            };
            if !room {
                let path = std::path::PathBuf::from(String::from_utf8_lossy(&path).into_owned());
                return Err(Error::InTheWay { target: self.target.label.clone(), path });
            }
        }
        self.inner.step("sync");
        self.sync_all().map_err(failed)
    }

    fn sync_all(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&*self.container.fd()?)?)
    }

    fn excluded(&self) -> io::Result<Vec<Vec<u8>>> {
        match as_folder(&self.target.parent, &self.target.name, self.target.live()?)? {
            Some(live) => carry::list(&live, &self.inner.excludes),
            None => Ok(Vec::new()),
        }
    }

    /// Steps 2 to 7.
    pub fn switch(&mut self) -> Result<(), Error> {
        let failed = self.error("switch");
        self.carry_and_exchange().map_err(failed)?;
        self.finish().map_err(self.error("finish the import into"))
    }

    fn carry_and_exchange(&mut self) -> io::Result<()> {
        let (inner, target) = (self.inner, self.target);
        let Some((tree, found)) = held(self.container, target)? else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let live_found = target.live()?;
        if self.replaces && live_found.is_none() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "what it was to replace went away meanwhile"));
        }
        let carried = self.excluded()?;
        let arrived = as_folder(&tree, &target.entry, Some(found))?;
        if let Some(arrived) = &arrived {
            for path in &carried {
                carry::clear(arrived, path)?;
            }
        }
        inner.step("record");
        let record = Record { inode: found.stamp.inode, patterns: inner.excludes.patterns.clone(), carried };
        record.write(self.container)?;
        if let Some(live) = as_folder(&target.parent, &target.name, live_found)?
            && let Some(arrived) = arrived
            && !record.carried.is_empty()
        {
            for path in &record.carried {
                inner.step("carry");
                let moved = carry::entry(&live, &arrived, path)?;
                self.note(path, moved);
            }
            self.sync_all()?;
        }
        inner.step("exchange");
        let flags = if live_found.is_some() { RenameFlags::EXCHANGE } else { RenameFlags::NOREPLACE };
        rustix::fs::renameat_with(&*tree.fd()?, &target.entry, &*target.parent.fd()?, &target.name, flags)?;
        inner.step("sync after the exchange");
        target.sync()?;
        Ok(rustix::fs::fsync(&*tree.fd()?)?)
    }

    fn note(&mut self, path: &[u8], moved: Moved) {
        if let Moved::Kept(place) = moved {
            let (path, place) = (String::from_utf8_lossy(path), String::from_utf8_lossy(&place));
            let what = format!("{}: the excluded {path} was there twice, the second is kept as {place}", self.target.label.display());
            self.findings.push(Finding::new(Level::Warning, what));
        }
    }

    /// Steps 5 to 7, from wherever they stopped.
    fn finish(&mut self) -> io::Result<()> {
        if let Some(record) = Record::read(self.container, RECORD)? {
            self.sweep(self.container.clone(), &record)?;
            self.inner.step("settle");
            Record::settle(self.container)?;
        }
        self.keep_as_previous()
    }

    /// Moves what is excluded and still in a container's tree into the target.
    pub fn sweep(&mut self, container: Arc<Folder>, record: &Record) -> io::Result<()> {
        let Some((tree, found)) = held(&container, self.target)? else {
            return Ok(());
        };
        let left = as_folder(&tree, &self.target.entry, Some(found))?;
        let live = as_folder(&self.target.parent, &self.target.name, self.target.live()?)?;
        let (Some(left), Some(live)) = (left, live) else {
            return Ok(());
        };
        // Excludes that were accepted once are accepted again.
        let excludes = Excludes::new(&record.patterns).map_err(io::Error::other)?;
        for path in carry::list(&left, &excludes)? {
            self.inner.step("sweep");
            let moved = carry::entry(&left, &live, &path)?;
            self.note(&path, moved);
        }
        Ok(())
    }

    fn keep_as_previous(&mut self) -> io::Result<()> {
        let target = self.target;
        if held(self.container, target)?.is_none() {
            self.inner.step("remove the container");
            return remove::whole(&target.parent, target.new.to_bytes());
        }
        let Some(older) = target.container(&target.previous)? else {
            self.inner.step("keep as previous");
            return target.rename(&target.new, &target.previous);
        };
        if let Some(record) = Record::read(&older, DONE)? {
            self.sweep(older, &record)?;
        }
        self.inner.step("exchange with the previous");
        target.exchange(&target.new, &target.previous)?;
        self.inner.step("remove the older");
        remove::whole(&target.parent, target.new.to_bytes())
    }

    /// Finishes or undoes what an earlier run left.
    pub fn recover(&mut self) -> Result<(), Error> {
        self.recover_inner().map_err(self.error("clear up after an interrupted import into"))
    }

    fn recover_inner(&mut self) -> io::Result<()> {
        let target = self.target;
        let live = target.live()?.map(|live| live.stamp.inode);
        let done = Record::read(self.container, DONE)?;
        if let Some(record) = Record::read(self.container, RECORD)? {
            if live == Some(record.inode) {
                return self.finish();
            }
            self.put_back(&record)?;
            self.inner.step("forget the record");
            Record::forget(self.container)?;
        }
        match done {
            // What was before, not yet in its place, or taken from it in vain.
            Some(done) if live == Some(done.inode) => self.keep_as_previous(),
            Some(_) if target.beside(&target.previous)?.is_none() => target.rename(&target.new, &target.previous),
            _ => {
                self.inner.step("discard");
                remove::whole(&target.parent, target.new.to_bytes())
            }
        }
    }

    fn put_back(&mut self, record: &Record) -> io::Result<()> {
        let Some((tree, found)) = held(self.container, self.target)? else {
            return Ok(());
        };
        let arrived = as_folder(&tree, &self.target.entry, Some(found))?;
        let live = as_folder(&self.target.parent, &self.target.name, self.target.live()?)?;
        let Some(arrived) = arrived.filter(|_| !record.carried.is_empty()) else {
            return Ok(());
        };
        let Some(live) = live else {
            return Err(io::Error::other("the folder that excluded entries must go back into is gone"));
        };
        for path in &record.carried {
            self.inner.step("put back");
            let moved = carry::entry(&arrived, &live, path)?;
            self.note(path, moved);
        }
        self.sync_all()
    }
}

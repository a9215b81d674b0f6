//! An import from its first step to its last: places beside the targets, then one switch for each root.
//!
//! Each root is switched by itself; a run that is killed between two of them leaves one new and one old, and the next
//! import mends that. All that can be refused is refused before the first one.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{FlockOperation, Mode as Permissions, RenameFlags};
use rustix::io::Errno;

use super::commit::{Switch, TREE};
use super::folder::{Folder, Handles, stat_at, stat_fd};
use super::names::{Names, buffer};
use super::record::{DONE, Record};
use super::target::Target;
use super::{Inner, Root, remove};
use crate::Error;
use crate::data::{Finding, Level, Mode, Place, Staging, Time};

/// A container that no other import touches.
struct Locked(Arc<Folder>);

impl Locked {
    fn new(container: Arc<Folder>) -> io::Result<Locked> {
        rustix::fs::flock(&*container.fd()?, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Locked(container))
    }
}

impl Drop for Locked {
    /// Closing alone is not enough: a process that is being started meanwhile holds a copy of the descriptor until it
    /// becomes another program.
    fn drop(&mut self) {
        if let Ok(fd) = self.0.fd() {
            let _ = rustix::fs::flock(&*fd, FlockOperation::Unlock);
        }
    }
}

fn locked(container: Arc<Folder>, target: &Target) -> Result<Locked, Error> {
    Locked::new(container).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => Error::Busy { path: target.label.clone() },
        _ => Error::io("lock the import into", &target.label, error),
    })
}

struct Import {
    inner: Arc<Inner>,
    /// The target of each root that is switched, with its container, and whether files may be taken from what goes then.
    switched: Vec<(Target, Locked, bool)>,
    /// The folder and the prefix of each root that is restored in place.
    in_place: Vec<(PathBuf, Vec<u8>)>,
    places: Vec<Place>,
    /// Of each place what is kept of the import before the last one, where it goes with the switch.
    leaves: Vec<Option<OwnedFd>>,
    findings: Vec<Finding>,
}

pub(crate) fn stage(inner: &Arc<Inner>) -> Result<Box<dyn Staging>, Error> {
    let (switched, in_place, places, leaves, findings) = Default::default();
    let mut import = Import { inner: inner.clone(), switched, in_place, places, leaves, findings };
    for root in &inner.roots {
        let Some(target) = Target::resolve(root, true)? else {
            import.in_place(root, root.path.clone(), "it is the root of all")?;
            continue;
        };
        recover(inner, &target, &mut import.findings)?;
        if let Some(reason) = target.fixed(inner) {
            import.in_place(root, target.label, reason)?;
            continue;
        }
        match make_container(&target, inner.single()) {
            Ok(container) => import.switched(root, target, container),
            Err(error) => match not_switchable(&error) {
                Some(reason) => import.in_place(root, target.label, reason)?,
                None => return Err(Error::io("prepare an import beside", &target.label, error)),
            },
        }
    }
    Ok(Box::new(import))
}

fn not_switchable(error: &io::Error) -> Option<&'static str> {
    match Errno::from_io_error(error)? {
        Errno::INVAL | Errno::NOSYS | Errno::NOTSUP => Some("its file system cannot exchange two folders"),
        Errno::ACCESS | Errno::PERM | Errno::ROFS => Some("the folder that holds it cannot be written"),
        Errno::NAMETOOLONG => Some("its name leaves no room for another beside it"),
        Errno::XDEV | Errno::BUSY => Some("it lies on a file system of its own"),
        _ => None,
    }
}

/// Shows as well that the file system can exchange.
fn make_container(target: &Target, single: bool) -> io::Result<Locked> {
    let parent = target.parent.fd()?;
    rustix::fs::mkdirat(&*parent, &target.new, Permissions::RWXU)?;
    let made = (|| {
        let made = target.container(&target.new)?.ok_or(io::ErrorKind::NotFound)?;
        let container = Locked::new(made)?;
        let fd = container.0.fd()?;
        rustix::fs::mkdirat(&*fd, TREE, Permissions::RWXU)?;
        rustix::fs::mkdirat(&*fd, c"probe", Permissions::RWXU)?;
        rustix::fs::renameat_with(&*fd, TREE, &*fd, c"probe", RenameFlags::EXCHANGE)?;
        remove::whole(&container.0, b"probe")?;
        if single {
            let (tree, _) = container.0.open(TREE)?;
            rustix::fs::mkdirat(&*tree.fd()?, &target.entry, Permissions::RWXU)?;
        }
        Ok(container)
    })();
    if made.is_err() {
        remove::whole(&target.parent, target.new.to_bytes())?;
    }
    made
}

/// What is kept of before, in the shape of what arrives. It goes when something is replaced, and only then.
fn leaves(target: &Target, single: bool) -> io::Result<Option<OwnedFd>> {
    let (Some(_), Some(container)) = (target.live()?, target.container(&target.previous)?) else { return Ok(None) };
    let (tree, _) = container.open(TREE)?;
    let folder = if single { tree.open(&target.entry)?.0 } else { tree };
    Ok(Some(folder.fd()?.try_clone()?))
}

fn recover(inner: &Inner, target: &Target, findings: &mut Vec<Finding>) -> Result<(), Error> {
    let failed = |error| Error::io("look for an interrupted import into", &target.label, error);
    let Some(container) = target.container(&target.new).map_err(failed)? else {
        return Ok(());
    };
    let container = locked(container, target)?;
    Switch { inner, target, container: &container.0, replaces: false, findings }.recover()
}

impl Import {
    fn switched(&mut self, root: &Root, target: Target, container: Locked) {
        let single = self.inner.single();
        let mut folder = target.label.with_file_name(OsStr::from_bytes(target.new.to_bytes()));
        folder.push("tree");
        if single {
            folder.push(OsStr::from_bytes(&root.name));
        }
        let prefix = if single { Vec::new() } else { root.name.clone() };
        // Without it, all is written.
        let leaves = leaves(&target, single).ok().flatten();
        let replaces = leaves.is_some();
        self.leaves.push(leaves);
        self.places.push(Place { prefix, folder, mode: Mode::Switch });
        self.switched.push((target, container, replaces));
    }

    fn in_place(&mut self, root: &Root, label: PathBuf, reason: &str) -> Result<(), Error> {
        let shown = label.display();
        let what = format!("the import into {shown} is made in place, not switched in one step: {reason}");
        let failed = |error| Error::io("create", &label, error);
        let single = self.inner.single();
        let file = std::fs::symlink_metadata(&label).is_ok_and(|found| !found.is_dir());
        let (folder, prefix) = if single && !file {
            std::fs::create_dir_all(&label).map_err(failed)?;
            (label.clone(), Vec::new())
        } else {
            let same = label.file_name().is_some_and(|name| name.as_encoded_bytes() == root.name);
            let Some(above) = label.parent().filter(|_| same) else {
                let reason = format!("{shown} can only be restored in place: name it by its own path, not by a symlink");
                return Err(Error::Settings { reason });
            };
            (above.to_path_buf(), root.name.clone())
        };
        self.findings.push(Finding::new(Level::Note, what));
        self.leaves.push(None);
        self.places.push(Place { prefix: prefix.clone(), folder, mode: Mode::InPlace });
        self.in_place.push((label, prefix));
        Ok(())
    }

    fn switch_all(&mut self) -> Result<(), Error> {
        let Import { inner, switched, findings, .. } = self;
        for (target, Locked(container), _) in switched.iter() {
            if inner.single() {
                let failed = |error| Error::io("look at what arrived for", &target.label, error);
                unwrap_lone_file(container, target).map_err(failed)?;
            }
            Switch { inner, target, container, replaces: false, findings }.prepare()?;
        }
        for (target, Locked(container), replaces) in switched.iter() {
            Switch { inner, target, container, replaces: *replaces, findings }.switch()?;
        }
        Ok(())
    }

    fn delete_gone(&mut self, holds: &mut dyn FnMut(&[u8]) -> bool) -> Result<(), Error> {
        let skip = self.inner.skipped();
        for (label, prefix) in &self.in_place {
            let folder = match Folder::root(label, &Handles::new()) {
                Ok(folder) => folder,
                Err(error) if Errno::from_io_error(&error) == Some(Errno::NOTDIR) => continue,
                Err(error) => return Err(Error::io("open", label, error)),
            };
            let bounds = self.inner.bounds(&skip, folder.identity);
            self.findings.extend(remove::gone(&folder, label, bounds, prefix, holds)?);
        }
        Ok(())
    }
}

impl Staging for Import {
    fn places(&self) -> &[Place] {
        &self.places
    }

    fn leaves(&self, place: usize) -> Option<BorrowedFd<'_>> {
        self.leaves.get(place)?.as_ref().map(AsFd::as_fd)
    }

    fn commit(mut self: Box<Self>, holds: &mut dyn FnMut(&[u8]) -> bool) -> Result<Vec<Finding>, Error> {
        self.switch_all()?;
        self.delete_gone(holds)?;
        Ok(std::mem::take(&mut self.findings))
    }
}

impl Drop for Import {
    /// What was not switched is undone, as the next import would. That it fails is no worse than a kill.
    fn drop(&mut self) {
        for (target, container, _) in self.switched.drain(..) {
            // Its lock goes with it.
            drop(container);
            let _ = recover(&self.inner, &target, &mut Vec::new());
        }
    }
}

/// The source was one file: it arrived alone, under its own name, in a root that was made up. See `files`.
fn unwrap_lone_file(container: &Arc<Folder>, target: &Target) -> io::Result<()> {
    let (tree, _) = container.open(TREE)?;
    let (wrap, _) = tree.open(&target.entry)?;
    let fd = wrap.fd()?;
    let names = Names::read(&fd, &mut buffer())?;
    let lone = names.get(0).is_some_and(|(name, _)| name == &*target.entry) && names.get(1).is_none();
    if !lone || stat_fd(&fd)?.stamp.mtime != Time::default() || stat_at(&fd, &target.entry)?.is_folder() {
        return Ok(());
    }
    let (outer, tree) = (container.fd()?, tree.fd()?);
    rustix::fs::renameat(&*tree, &target.entry, &*outer, c"wrap")?;
    rustix::fs::renameat(&*fd, &target.entry, &*tree, &target.entry)?;
    remove::whole(container, b"wrap")
}

pub(crate) fn rollback(inner: &Arc<Inner>) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    let mut back = Vec::new();
    for root in &inner.roots {
        let refuse = |reason: &str| Error::TakeBack { path: root.path.clone(), reason: reason.into() };
        let target = Target::resolve(root, true)?.ok_or_else(|| refuse("it is the root of all"))?;
        recover(inner, &target, &mut findings)?;
        let failed = |error| Error::io("take back", &target.label, error);
        let container = target.container(&target.previous).map_err(failed)?;
        let container = locked(container.ok_or_else(|| refuse("nothing is kept from before"))?, &target)?;
        back.push((target, container));
    }
    for (target, container) in back {
        let switch = Switch { inner, target: &target, container: &container.0, replaces: false, findings: &mut findings };
        if let Err(error) = take_back(switch) {
            drop(container);
            // The first error is the one to tell; what is left of it, the next import tells.
            let _ = recover(inner, &target, &mut findings);
            return Err(error);
        }
    }
    Ok(findings)
}

/// Makes the previous tree one that arrives.
fn take_back(mut switch: Switch<'_>) -> Result<(), Error> {
    let (target, container) = (switch.target, switch.container);
    let failed = |error| Error::io("take back", &target.label, error);
    let found = container.open(TREE).and_then(|(tree, _)| Ok(stat_at(&*tree.fd()?, &target.entry)?));
    let inode = found.map_err(failed)?.stamp.inode;
    if let Some(done) = Record::read(container, DONE).map_err(failed)? {
        switch.sweep(container.clone(), &done).map_err(failed)?;
    }
    let record = Record { inode, patterns: Vec::new(), carried: Vec::new() };
    record.write(container).map_err(failed)?;
    switch.inner.step("take the previous");
    target.rename(&target.previous, &target.new).map_err(failed)?;
    switch.prepare()?;
    switch.switch()
}

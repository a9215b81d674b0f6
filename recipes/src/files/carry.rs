//! Moving what excludes match from one tree into another, by rename, at the same relative place.
//!
//! Nothing is ever overwritten: where something is in the way, what comes is kept beside it under another name. Folders
//! on the way are made like those they come from, and the times of folders that are touched stay as they were.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{FileType, Gid, Mode, RenameFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::exclude::{Excludes, KEPT};
use super::folder::{Folder, Found, stat_at, stat_fd};
use super::remove;
use super::walk::{Bounds, Step, Walk, c_name, name};
use super::xattr;

/// What is no business of imports: excluded entries and sockets. Topmost ones only, in order.
pub(crate) fn list(root: &Arc<Folder>, excludes: &Excludes) -> io::Result<Vec<Vec<u8>>> {
    let bounds = Bounds { excludes, skip: &[], device: None, leavings: true };
    let mut walk = Walk::new(root.clone(), bounds);
    let mut found = Vec::new();
    while let Some(step) = walk.next() {
        match step {
            Step::Excluded => found.push(walk.path().to_vec()),
            Step::Entry { found: entry, .. } if entry.kind == FileType::Socket => found.push(walk.path().to_vec()),
            Step::Entry { .. } | Step::Leave => {}
            Step::Unread(error) | Step::Unlisted(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Makes room in the tree that arrives for what will be carried to `path`. False when a folder on the way is none.
pub(crate) fn clear(root: &Arc<Folder>, path: &[u8]) -> io::Result<bool> {
    match below(root, path) {
        Ok(parent) => {
            let fd = parent.fd()?;
            let was = stat_fd(&fd)?;
            remove::whole(&parent, name(path))?;
            set_times(&fd, &was)?;
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) if not_a_folder(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Moved {
    Done,
    /// It is not there (any more).
    Absent,
    /// Something else was there: kept under this path.
    Kept(Vec<u8>),
}

/// Moves `path` from one tree to the other.
pub(crate) fn entry(from: &Arc<Folder>, to: &Arc<Folder>, path: &[u8]) -> io::Result<Moved> {
    let source = match below(from, path) {
        Ok(source) => source,
        Err(error) if error.kind() == io::ErrorKind::NotFound || not_a_folder(&error) => {
            return Ok(Moved::Absent);
        }
        Err(error) => return Err(error),
    };
    let (source_fd, last) = (source.fd()?, c_name(name(path))?);
    if stat_at(&source_fd, &last).err() == Some(Errno::NOENT) {
        return Ok(Moved::Absent);
    }
    let (target, mut place) = match make_below(from, to, path) {
        Ok(target) => (target, path.to_vec()),
        // The way is barred: the root itself always has room.
        Err(error) if not_a_folder(&error) => (to.clone(), [name(path), KEPT.as_bytes(), b"1"].concat()),
        Err(error) => return Err(error),
    };
    let target_fd = target.fd()?;
    let (source_was, target_was) = (stat_fd(&source_fd)?, stat_fd(&target_fd)?);
    for number in 1.. {
        let as_name = c_name(name(&place))?;
        match rustix::fs::renameat_with(&*source_fd, &last, &*target_fd, &as_name, RenameFlags::NOREPLACE) {
            Ok(()) => break,
            Err(Errno::NOENT) => return Ok(Moved::Absent),
            Err(Errno::EXIST) => {
                let start = if Arc::ptr_eq(&target, to) { name(path) } else { path };
                place = [start, KEPT.as_bytes(), number.to_string().as_bytes()].concat();
            }
            Err(error) => return Err(error.into()),
        }
    }
    set_times(&source_fd, &source_was)?;
    set_times(&target_fd, &target_was)?;
    Ok(if place == path { Moved::Done } else { Moved::Kept(place) })
}

fn not_a_folder(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    code == Some(Errno::NOTDIR.raw_os_error()) || code == Some(Errno::LOOP.raw_os_error())
}

fn parents(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let above = path.len() - name(path).len();
    path[..above].split(|byte| *byte == b'/').filter(|part| !part.is_empty())
}

/// The folder that holds `path`.
fn below(root: &Arc<Folder>, path: &[u8]) -> io::Result<Arc<Folder>> {
    let mut at = root.clone();
    for part in parents(path) {
        at = at.open(&c_name(part)?)?.0;
    }
    Ok(at)
}

/// The same, made where it is missing, as it is in `like`.
fn make_below(like: &Arc<Folder>, root: &Arc<Folder>, path: &[u8]) -> io::Result<Arc<Folder>> {
    let (mut like, mut at) = (like.clone(), root.clone());
    for part in parents(path) {
        let part = c_name(part)?;
        let (model, found) = like.open(&part)?;
        at = match at.open(&part) {
            Ok((folder, _)) => folder,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let above = at.fd()?;
                let was = stat_fd(&above)?;
                rustix::fs::mkdirat(&*above, &part, Mode::RWXU)?;
                let (folder, _) = at.open(&part)?;
                dress(&*folder.fd()?, &found, &xattr::of_fd(&*model.fd()?)?)?;
                set_times(&above, &was)?;
                folder
            }
            Err(error) => return Err(error),
        };
        like = model;
    }
    Ok(at)
}

fn dress(fd: &OwnedFd, found: &Found, xattrs: &xattr::Xattrs) -> io::Result<()> {
    rustix::fs::fchown(fd, Some(Uid::from_raw(found.uid)), Some(Gid::from_raw(found.gid)))?;
    rustix::fs::fchmod(fd, Mode::from_raw_mode(found.mode))?;
    for (name, value) in xattrs {
        rustix::fs::fsetxattr(fd, name.as_slice(), value, XattrFlags::empty())?;
    }
    set_times(fd, found)
}

fn set_times(fd: &OwnedFd, found: &Found) -> io::Result<()> {
    let mtime = found.stamp.mtime;
    let last_modification = Timespec { tv_sec: mtime.seconds, tv_nsec: mtime.nanos.into() };
    let last_access = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT };
    let times = Timestamps { last_access, last_modification };
    match rustix::fs::futimens(fd, &times) {
        // Somebody else's folder in which this process may write: its time is not worth an import.
        Ok(()) | Err(Errno::PERM) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

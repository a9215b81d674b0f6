//! A folder that can be reached without its path: by its own descriptor, or through its parent.
//!
//! Every access is relative to a descriptor and follows no symlink, so nothing that is swapped in meanwhile leads out of
//! the root, and the length of paths does not matter. Descriptors are few: `Handles` closes the oldest when there are
//! too many, and `Folder::fd` opens it again from the nearest open ancestor, checking that it is the same folder.
//! Roots stay open.

use std::collections::VecDeque;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Statx, StatxFlags, StatxTimestamp};
use rustix::process::Resource;

use super::xattr::Xattrs;
use crate::data::{Attributes, Stamp, Time};

/// What identifies a file while it exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    pub device: u64,
    pub inode: u64,
}

/// What statx tells of an entry, in less than half of its space.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    pub kind: FileType,
    pub mode: u32,
    pub links: u32,
    pub uid: u32,
    pub gid: u32,
    pub major: u32,
    pub minor: u32,
    pub stamp: Stamp,
}

impl Found {
    fn new(of: &Statx) -> Found {
        let time = |of: StatxTimestamp| Time { seconds: of.tv_sec, nanos: of.tv_nsec };
        let stamp = Stamp {
            device: rustix::fs::makedev(of.stx_dev_major, of.stx_dev_minor),
            inode: of.stx_ino,
            size: of.stx_size,
            mtime: time(of.stx_mtime),
            ctime: time(of.stx_ctime),
        };
        Found {
            kind: FileType::from_raw_mode(of.stx_mode.into()),
            mode: u32::from(of.stx_mode) & 0o7777,
            links: of.stx_nlink,
            uid: of.stx_uid,
            gid: of.stx_gid,
            major: of.stx_rdev_major,
            minor: of.stx_rdev_minor,
            stamp,
        }
    }

    pub fn identity(&self) -> Identity {
        Identity { device: self.stamp.device, inode: self.stamp.inode }
    }

    pub fn is_folder(&self) -> bool {
        self.kind == FileType::Directory
    }

    pub fn attributes(&self, xattrs: Xattrs) -> Attributes {
        Attributes { mode: self.mode, uid: self.uid, gid: self.gid, mtime: self.stamp.mtime, xattrs }
    }
}

pub(crate) fn stat_at(fd: &OwnedFd, name: &CStr) -> rustix::io::Result<Found> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    rustix::fs::statx(fd, name, flags, StatxFlags::BASIC_STATS).map(|found| Found::new(&found))
}

pub(crate) fn stat_fd(fd: &OwnedFd) -> rustix::io::Result<Found> {
    rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS).map(|found| Found::new(&found))
}

pub(crate) fn open_folder_at(fd: &OwnedFd, name: &CStr) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(fd, name, FOLDER, Mode::empty())
}

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The folders whose descriptors are open, oldest first.
pub(crate) struct Handles {
    limit: usize,
    open: Mutex<VecDeque<Weak<Folder>>>,
}

impl Handles {
    /// As many as leave most of the process's descriptors to others.
    pub fn new() -> Arc<Handles> {
        let allowed = rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(1024);
        Handles::with_limit(usize::try_from(allowed / 8).unwrap_or(usize::MAX).clamp(8, 256))
    }

    pub fn with_limit(limit: usize) -> Arc<Handles> {
        Arc::new(Handles { limit, open: Mutex::new(VecDeque::with_capacity(limit)) })
    }

    fn opened(&self, folder: &Arc<Folder>) {
        // What is closed here is dropped after the lock is released: a dropped folder may close its ancestors too.
        let mut closed = Vec::new();
        let mut open = lock(&self.open);
        while open.len() >= self.limit {
            if let Some(oldest) = open.pop_front().and_then(|weak| weak.upgrade()) {
                closed.push((lock(&oldest.fd).take(), oldest.clone()));
            }
        }
        open.push_back(Arc::downgrade(folder));
    }
}

/// A panic while one of these locks is held leaves what it guards whole: each holds one value that is replaced at once.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) struct Folder {
    parent: Option<Arc<Folder>>,
    name: CString,
    pub identity: Identity,
    handles: Arc<Handles>,
    fd: Mutex<Option<Arc<OwnedFd>>>,
}

impl Folder {
    /// A root. The path is the administrator's, so symlinks on the way to it are followed, but not the last name.
    pub fn root(path: &Path, handles: &Arc<Handles>) -> io::Result<Arc<Folder>> {
        let fd = rustix::fs::openat(CWD, path, FOLDER, Mode::empty())?;
        Ok(Folder::root_of(fd, handles)?)
    }

    pub fn root_of(fd: OwnedFd, handles: &Arc<Handles>) -> rustix::io::Result<Arc<Folder>> {
        let identity = stat_fd(&fd)?.identity();
        let fd = Mutex::new(Some(Arc::new(fd)));
        Ok(Arc::new(Folder { parent: None, name: CString::default(), identity, handles: handles.clone(), fd }))
    }

    /// The folder `name` in this one, and what is true of it.
    pub fn open(self: &Arc<Folder>, name: &CStr) -> io::Result<(Arc<Folder>, Found)> {
        let fd = open_folder_at(&*self.fd()?, name)?;
        let found = stat_fd(&fd)?;
        let folder = Arc::new(Folder {
            parent: Some(self.clone()),
            name: name.to_owned(),
            identity: found.identity(),
            handles: self.handles.clone(),
            fd: Mutex::new(Some(Arc::new(fd))),
        });
        self.handles.opened(&folder);
        Ok((folder, found))
    }

    /// The descriptor. It stays open for as long as the caller holds it. `NotFound` when the folder is no longer where
    /// it was.
    pub fn fd(self: &Arc<Folder>) -> io::Result<Arc<OwnedFd>> {
        let mut closed = Vec::new();
        let mut at = self;
        let mut fd = loop {
            if let Some(fd) = &*lock(&at.fd) {
                break fd.clone();
            }
            closed.push(at);
            // A root is never closed, so a closed folder has a parent.
            at = at.parent.as_ref().ok_or(rustix::io::Errno::NOENT)?;
        };
        while let Some(folder) = closed.pop() {
            let opened = open_folder_at(&fd, &folder.name).map_err(vanished)?;
            if stat_fd(&opened)?.identity() != folder.identity {
                return Err(rustix::io::Errno::NOENT.into());
            }
            fd = Arc::new(opened);
            *lock(&folder.fd) = Some(fd.clone());
            folder.handles.opened(folder);
        }
        Ok(fd)
    }
}

/// A folder that became something else has vanished as the folder it was.
fn vanished(error: rustix::io::Errno) -> rustix::io::Errno {
    match error {
        rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP => rustix::io::Errno::NOENT,
        other => other,
    }
}

impl Drop for Folder {
    /// Without recursion: trees may be deeper than a stack.
    fn drop(&mut self) {
        let mut parent = self.parent.take();
        while let Some(mut folder) = parent.and_then(Arc::into_inner) {
            parent = folder.parent.take();
        }
    }
}

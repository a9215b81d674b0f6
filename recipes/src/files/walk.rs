//! Goes through a tree in an export's order, one step at a time, with a stack of its own: depth costs no recursion.
//!
//! Memory is the names of the folders on the way down. Entries that vanish are passed over; a name that changes its
//! kind while it is looked at is looked at again, bounded. Nothing outside the root is ever touched, since each step is
//! relative to a folder that was opened without following symlinks.

use std::ffi::{CStr, CString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::FileType;
use rustix::io::Errno;

use super::exclude::{Excludes, is_leaving};
use super::folder::{Folder, Found, Identity, stat_at};
use super::names::{Names, buffer};

/// What a walk leaves out.
pub(crate) struct Bounds<'a> {
    pub excludes: &'a Excludes,
    /// Folders that are as if they did not exist.
    pub skip: &'a [Identity],
    /// Folders on other devices are not entered.
    pub device: Option<u64>,
    /// Whether imports' leavings count as excluded.
    pub leavings: bool,
}

pub(crate) enum Step {
    /// `path` is an entry. One with a folder is entered next, and has its `Leave`.
    Entry { found: Found, folder: Option<Arc<Folder>> },
    /// `path` is left out.
    Excluded,
    /// All of the folder `path` was seen.
    Leave,
    /// `path` exists, but cannot be looked at or entered.
    Unread(io::Error),
    /// The folder `path` was entered, but what is in it cannot be listed.
    Unlisted(io::Error),
}

struct Frame {
    folder: Arc<Folder>,
    names: Names,
    at: usize,
    path_length: usize,
}

pub(crate) struct Walk<'a> {
    bounds: Bounds<'a>,
    frames: Vec<Frame>,
    path: Vec<u8>,
    enter: Option<Arc<Folder>>,
    unread: Option<io::Error>,
    /// The last frame's descriptor, held while the walk is in that folder.
    fd: Option<Arc<OwnedFd>>,
    buffer: Vec<MaybeUninit<u8>>,
}

enum Looked {
    Vanished,
    Found(Found, Option<Arc<Folder>>),
    /// A folder that cannot be entered.
    Closed(Found, io::Error),
    Failed(io::Error),
}

impl<'a> Walk<'a> {
    pub fn new(root: Arc<Folder>, bounds: Bounds<'a>) -> Walk<'a> {
        let (frames, path) = (Vec::new(), Vec::new());
        Walk { bounds, frames, path, enter: Some(root), unread: None, fd: None, buffer: buffer() }
    }

    /// Relative to the root.
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    pub fn name(&self) -> &[u8] {
        name(&self.path)
    }

    /// The folder that holds the entry of the last step.
    pub fn parent(&self) -> Option<&Arc<Folder>> {
        self.frames.last().map(|frame| &frame.folder)
    }

    /// None when all was seen.
    pub fn next(&mut self) -> Option<Step> {
        if let Some(error) = self.unread.take() {
            return Some(Step::Unread(error));
        }
        if let Some(folder) = self.enter.take()
            && let Err(error) = self.enter(folder)
        {
            return Some(Step::Unlisted(error));
        }
        loop {
            let frame = self.frames.last_mut()?;
            self.path.truncate(frame.path_length);
            let Some((name, kind)) = frame.names.get(frame.at) else {
                return self.leave();
            };
            frame.at += 1;
            if self.fd.is_none() {
                match frame.folder.fd() {
                    Ok(fd) => self.fd = Some(fd),
                    Err(error) => {
                        frame.at = usize::MAX;
                        if error.kind() == io::ErrorKind::NotFound {
                            continue;
                        }
                        return Some(Step::Unlisted(error));
                    }
                }
            }
            let Some(fd) = &self.fd else { continue };
            if frame.path_length > 0 {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(name.to_bytes());
            let kind = match kind {
                FileType::Unknown => match stat_at(fd, name) {
                    Ok(found) => found.kind,
                    Err(_) => continue,
                },
                known => known,
            };
            if left_out(&self.bounds, &self.path, kind == FileType::Directory) {
                return Some(Step::Excluded);
            }
            match look(&frame.folder, fd, name, kind) {
                Looked::Vanished => {}
                Looked::Failed(error) => return Some(Step::Unread(error)),
                Looked::Closed(found, error) => {
                    self.unread = Some(error);
                    return Some(Step::Entry { found, folder: None });
                }
                Looked::Found(found, folder) => {
                    if found.is_folder() && self.bounds.skip.contains(&found.identity()) {
                        return Some(Step::Excluded);
                    }
                    let elsewhere = self.bounds.device.is_some_and(|device| device != found.stamp.device);
                    let folder = folder.filter(|_| !elsewhere);
                    self.enter = folder.clone();
                    return Some(Step::Entry { found, folder });
                }
            }
        }
    }

    fn enter(&mut self, folder: Arc<Folder>) -> io::Result<()> {
        let listed = folder.fd().and_then(|fd| {
            let names = Names::read(&fd, &mut self.buffer)?;
            self.fd = Some(fd);
            Ok(names)
        });
        let (names, result) = match listed {
            Ok(names) => (names, Ok(())),
            Err(error) => (Names::default(), Err(error)),
        };
        self.frames.push(Frame { folder, names, at: 0, path_length: self.path.len() });
        result
    }

    fn leave(&mut self) -> Option<Step> {
        self.frames.pop();
        self.fd = None;
        (!self.frames.is_empty()).then_some(Step::Leave)
    }
}

fn left_out(bounds: &Bounds<'_>, path: &[u8], folder: bool) -> bool {
    bounds.excludes.matches(path, folder) || bounds.leavings && is_leaving(name(path))
}

pub(crate) fn name(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

/// A name of an entry, for system calls. Names come from the kernel or were checked, so they hold no NUL.
pub(crate) fn c_name(name: &[u8]) -> rustix::io::Result<CString> {
    CString::new(name).map_err(|_| Errno::INVAL)
}

fn look(parent: &Arc<Folder>, fd: &OwnedFd, name: &CStr, mut kind: FileType) -> Looked {
    // Somebody who swaps a folder and a symlink faster than this deserves the trouble.
    for _ in 0..4 {
        if kind == FileType::Directory {
            match parent.open(name) {
                Ok((folder, found)) => return Looked::Found(found, Some(folder)),
                Err(error) if is(&error, Errno::NOENT) => return Looked::Vanished,
                Err(error) if is(&error, Errno::NOTDIR) || is(&error, Errno::LOOP) => kind = FileType::Unknown,
                Err(error) => {
                    return match stat_at(fd, name) {
                        Ok(found) => Looked::Closed(found, error),
                        Err(Errno::NOENT) => Looked::Vanished,
                        Err(_) => Looked::Failed(error),
                    };
                }
            }
        } else {
            match stat_at(fd, name) {
                Ok(found) if found.is_folder() => kind = FileType::Directory,
                Ok(found) => return Looked::Found(found, None),
                Err(Errno::NOENT) => return Looked::Vanished,
                Err(error) => return Looked::Failed(error.into()),
            }
        }
    }
    Looked::Failed(io::Error::other("it keeps changing between a folder and something else"))
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

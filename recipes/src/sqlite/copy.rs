//! The copy that an export hands out: made in the scratch folder, and without a name before anyone reads it, so that
//! nothing is left of it when the last reader is gone, or all are killed.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;

use super::connect;
use super::look::Looked;
use crate::Error;
use crate::data::{Attributes, Contents, Open, Opened, Stamp};
use crate::lock::Lock;

/// The scratch folder, while one export has it for itself.
pub(crate) struct Scratch {
    folder: PathBuf,
    _lock: Lock,
}

const COPY: &str = "copy";

impl Scratch {
    /// `source` is for the error.
    pub fn open(folder: &Path, source: &Path) -> Result<Scratch, Error> {
        make_folder(folder)?;
        let lock = Lock::take(&folder.join("export.lock")).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => Error::StillExporting { path: source.to_path_buf() },
            _ => Error::io("lock the scratch folder", folder, error),
        })?;
        Ok(Scratch { folder: folder.to_path_buf(), _lock: lock })
    }

    /// A file made now, for its times.
    pub fn now(&self) -> Result<Metadata, Error> {
        let path = self.folder.join("now");
        let made = remove(&path).and_then(|()| File::create_new(&path)?.metadata());
        made.map_err(|error| Error::io("write", &path, error))
    }

    pub fn copy(&self, from: &Connection, real: &Path, size: u64, patience: Duration, looked: &Looked) -> Result<Copied, Error> {
        if let Some(lack) = lack(&self.folder, size) {
            let error = io::Error::new(io::ErrorKind::StorageFull, lack);
            return Err(Error::io("copy into the scratch folder", &self.folder, error));
        }
        let path = self.folder.join(COPY);
        let clear = || remove(&path).map_err(|error| Error::io("remove", &path, error));
        clear()?;
        let made = make(from, real, &path, patience).and_then(|()| {
            // Open before its name goes. SQLite has closed it.
            File::open(&path).map_err(|error| Error::io("read", &path, error))
        });
        clear()?;
        let file = made?;
        let found = file.metadata().map_err(|error| Error::io("look at", &path, error))?;
        Ok(Copied { file, len: found.len(), stamp: told(looked, &found), attributes: looked.attributes() })
    }
}

/// What to remember of this copy. Where the look proves nothing, a stamp that no look will ever give: of the copy itself.
fn told(looked: &Looked, copy: &Metadata) -> Stamp {
    let stamp = looked.stamp(copy.len());
    if looked.settled {
        return stamp;
    }
    let ctime = crate::Time { seconds: copy.ctime(), nanos: u32::try_from(copy.ctime_nsec()).unwrap_or_default() };
    Stamp { device: !copy.dev(), inode: copy.ino(), ctime, ..stamp }
}

/// A fresh copy of a database at `path`.
pub(crate) fn make(from: &Connection, real: &Path, path: &Path, patience: Duration) -> Result<(), Error> {
    let mut to = connect::copy(path).map_err(connect::failed("make", path, patience))?;
    connect::transfer(from, &mut to).map_err(|error| match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DiskFull) => Error::io("copy into", path, io::Error::from(io::ErrorKind::StorageFull)),
        _ => connect::failed("copy", real, patience)(error),
    })?;
    to.close().map_err(|(_, error)| connect::failed("finish", path, patience)(error))
}

/// Only its owner can enter.
pub(crate) fn make_folder(folder: &Path) -> Result<(), Error> {
    crate::lock::make_folder(folder).map_err(|error| Error::io("make", folder, error))
}

pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What there is too little of, if so many bytes are to be written below that folder.
pub(crate) fn lack(folder: &Path, bytes: u64) -> Option<String> {
    let there = folder.ancestors().find(|folder| folder.exists())?;
    let found = rustix::fs::statvfs(there).ok()?;
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    (free < bytes).then(|| format!("{bytes} bytes are needed, {free} are free"))
}

/// A copy on its way to its reader.
pub(crate) struct Copied {
    file: File,
    pub len: u64,
    stamp: Stamp,
    attributes: Attributes,
}

impl Open for Copied {
    fn open(self: Box<Self>) -> io::Result<Opened> {
        let Copied { file, len, stamp, attributes } = *self;
        let contents = Arc::new(CopyContents { file, len, stamp });
        Ok(Opened { contents, attributes, stamp, len })
    }
}

struct CopyContents {
    file: File,
    len: u64,
    stamp: Stamp,
}

impl Contents for CopyContents {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }

    /// A copy has no holes.
    fn next_data(&self, offset: u64) -> io::Result<Option<(u64, u64)>> {
        Ok((offset < self.len).then_some((offset, self.len)))
    }

    /// It cannot change while it is read: nobody else has it.
    fn stamp(&self) -> io::Result<Stamp> {
        Ok(self.stamp)
    }
}

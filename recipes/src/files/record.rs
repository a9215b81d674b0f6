//! What an import writes down before it moves anything, so that a later one can finish or undo it.
//!
//! In the container beside the target: `record` while the import is under way, `done` once the container holds what was
//! before. Both name the inode of what was imported: whether the target has that inode tells whether the switch
//! happened. `record` also lists the excluded entries that may have been moved out of the target already.

use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::folder::Folder;

pub(crate) const RECORD: &std::ffi::CStr = c"record";
pub(crate) const DONE: &std::ffi::CStr = c"done";
const DRAFT: &std::ffi::CStr = c"draft";
const MAGIC: &[u8] = b"resilient import 1\0";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub inode: u64,
    /// The excludes of that import: only what they matched may have been left behind in what was before.
    pub patterns: Vec<String>,
    /// Relative to the root.
    pub carried: Vec<Vec<u8>>,
}

impl Record {
    /// Durable, and whole or not at all.
    pub fn write(&self, container: &Arc<Folder>) -> io::Result<()> {
        let fd = container.fd()?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut draft = File::from(rustix::fs::openat(&*fd, DRAFT, flags, Mode::RUSR | Mode::WUSR)?);
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(self.inode.to_string().as_bytes());
        bytes.push(0);
        for pattern in &self.patterns {
            bytes.extend_from_slice(pattern.as_bytes());
            bytes.push(0);
        }
        // An empty field parts the lists: excludes are checked to be not empty, and so is every path.
        bytes.push(0);
        for path in &self.carried {
            bytes.extend_from_slice(path);
            bytes.push(0);
        }
        draft.write_all(&bytes)?;
        draft.sync_all()?;
        rustix::fs::renameat(&*fd, DRAFT, &*fd, RECORD)?;
        Ok(rustix::fs::fsync(&*fd)?)
    }

    pub fn read(container: &Arc<Folder>, name: &std::ffi::CStr) -> io::Result<Option<Record>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mut file = match rustix::fs::openat(&*container.fd()?, name, flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let unreadable = || io::Error::new(io::ErrorKind::InvalidData, "the record of an import is damaged");
        let mut fields = bytes.strip_prefix(MAGIC).ok_or_else(unreadable)?.split(|byte| *byte == 0);
        let inode = fields.next().and_then(|field| std::str::from_utf8(field).ok()?.parse().ok());
        let patterns = fields.by_ref().take_while(|field| !field.is_empty());
        let patterns = patterns.map(|field| String::from_utf8_lossy(field).into_owned()).collect();
        let carried = fields.filter(|field| !field.is_empty()).map(<[u8]>::to_vec).collect();
        Ok(Some(Record { inode: inode.ok_or_else(unreadable)?, patterns, carried }))
    }

    /// From now on the container holds what was before.
    pub fn settle(container: &Arc<Folder>) -> io::Result<()> {
        let fd = container.fd()?;
        rustix::fs::renameat(&*fd, RECORD, &*fd, DONE)?;
        Ok(rustix::fs::fsync(&*fd)?)
    }

    pub fn forget(container: &Arc<Folder>) -> io::Result<()> {
        let fd = container.fd()?;
        match rustix::fs::unlinkat(&*fd, RECORD, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(rustix::fs::fsync(&*fd)?),
            Err(error) => Err(error.into()),
        }
    }
}

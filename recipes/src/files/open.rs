//! Opening a listed file late, and reading it.
//!
//! A name may by then be anything: a symlink is not followed, a fifo does not block, and what is no regular file any
//! more is an error.

use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{FileType, Mode, OFlags, SeekFrom};
use rustix::io::Errno;

use super::folder::{Folder, stat_fd};
use super::xattr;
use crate::data::{Contents, Open, Opened, Stamp};

pub(crate) struct OpenFile {
    pub folder: Arc<Folder>,
    pub name: CString,
}

impl Open for OpenFile {
    fn open(self: Box<Self>) -> io::Result<Opened> {
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let folder = self.folder.fd()?;
        let fd =
            rustix::fs::openat(&*folder, &self.name, flags, Mode::empty()).map_err(|error| {
                match error {
                    Errno::LOOP => replaced(),
                    other => other.into(),
                }
            })?;
        let found = stat_fd(&fd)?;
        if found.kind != FileType::RegularFile {
            return Err(replaced());
        }
        let xattrs = xattr::of_fd(&fd)?;
        let (attributes, stamp) = (found.attributes(xattrs), found.stamp);
        let dense = stamp.size < HOLES_FROM || rustix::fs::fstat(&fd)?.st_blocks as u64 * 512 >= stamp.size;
        Ok(Opened { contents: Arc::new(OpenContents { fd, dense }), attributes, stamp, len: stamp.size })
    }
}

fn replaced() -> io::Error {
    io::Error::other("it was replaced by something that is not a regular file")
}

/// Smaller files are not looked into for holes.
const HOLES_FROM: u64 = 64 << 10;

struct OpenContents {
    fd: OwnedFd,
    /// All its blocks are there: it has no holes, and looking for them would cost as much as reading.
    dense: bool,
}

impl Contents for OpenContents {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        Ok(rustix::io::retry_on_intr(|| {
            rustix::io::pread(&self.fd, &mut *buf, offset)
        })?)
    }

    /// Seeking moves the descriptor's own position, which nothing else here uses.
    fn next_data(&self, offset: u64) -> io::Result<Option<(u64, u64)>> {
        if self.dense {
            return Ok(Some((offset, u64::MAX)));
        }
        match rustix::fs::seek(&self.fd, SeekFrom::Data(offset)) {
            Ok(start) => match rustix::fs::seek(&self.fd, SeekFrom::Hole(start)) {
                Ok(end) => Ok((end > start).then_some((start, end))),
                // Cut off in between.
                Err(Errno::NXIO) => Ok(None),
                Err(error) => Err(error.into()),
            },
            Err(Errno::NXIO) => Ok(None),
            // A file system without holes: all of it is data.
            Err(Errno::INVAL | Errno::NOTSUP) => {
                let len = stat_fd(&self.fd)?.stamp.size;
                Ok((offset < len).then_some((offset, len)))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn stamp(&self) -> io::Result<Stamp> {
        Ok(stat_fd(&self.fd)?.stamp)
    }
}

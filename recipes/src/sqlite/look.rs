//! What tells that a database did not change: the stamps of its file, its WAL and its journal, as one.
//!
//! Every commit writes to one of them, and that shows in its times, unless it happens in the same tick of the kernel's
//! clock as the look. So a look that comes within two seconds of the newest of those times counts for nothing; the
//! kernel's clock is asked by making a file. Of a WAL or a journal it is the time of the last write that counts: SQLite,
//! run by root, sets their owner whenever it opens them, so their ctime would change with each export.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::connect::beside;
use crate::Error;
use crate::data::{Attributes, Stamp, Time};

/// Times of change nearer than this to the look prove nothing. File systems of two seconds exist.
const TICK_SECONDS: i64 = 2;

/// A database as it lies on disk.
#[derive(Debug, Clone)]
pub(crate) struct Looked {
    device: u64,
    /// Of all three files, one number.
    mark: u64,
    mtime: Time,
    ctime: Time,
    mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Whether a change right after the look would show.
    pub settled: bool,
}

impl Looked {
    /// `size` is that of the copy, not of the file: pages may still be in the WAL.
    pub fn stamp(&self, size: u64) -> Stamp {
        Stamp { device: self.device, inode: self.mark, size, mtime: self.mtime, ctime: self.ctime }
    }

    pub fn attributes(&self) -> Attributes {
        Attributes { mode: self.mode, uid: self.uid, gid: self.gid, mtime: self.mtime, xattrs: Vec::new() }
    }
}

/// `now` was made just before.
pub(crate) fn look(path: &Path, now: &Metadata) -> Result<Looked, Error> {
    let found = fs::metadata(path).map_err(|source| Error::Missing { path: path.to_path_buf(), source })?;
    let mut looked = Looked {
        device: found.dev(),
        mark: FNV_OFFSET,
        mtime: Time::default(),
        ctime: Time::default(),
        mode: found.mode() & 0o7777,
        uid: found.uid(),
        gid: found.gid(),
        settled: false,
    };
    looked.add(&found, (found.ctime(), found.ctime_nsec()));
    for ending in ["-wal", "-journal"] {
        let path = beside(path, ending);
        match fs::metadata(&path) {
            // An empty one comes and goes with each who opens the database.
            Ok(found) if found.len() > 0 => looked.add(&found, (found.mtime(), found.mtime_nsec())),
            Ok(_) => looked.mix(0),
            Err(error) if error.kind() == io::ErrorKind::NotFound => looked.mix(0),
            Err(error) => return Err(Error::io("look at", &path, error)),
        }
    }
    looked.settled = looked.ctime.seconds + TICK_SECONDS < now.ctime();
    Ok(looked)
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;

impl Looked {
    fn add(&mut self, found: &Metadata, changed: (i64, i64)) {
        let time = |(seconds, nanos): (i64, i64)| Time { seconds, nanos: u32::try_from(nanos).unwrap_or_default() };
        let (mtime, ctime) = (time((found.mtime(), found.mtime_nsec())), time(changed));
        self.mtime = self.mtime.max(mtime);
        self.ctime = self.ctime.max(ctime);
        for value in [found.dev(), found.ino(), found.len()] {
            self.mix(value);
        }
        for time in [mtime, ctime] {
            self.mix(time.seconds as u64);
            self.mix(u64::from(time.nanos));
        }
    }

    fn mix(&mut self, value: u64) {
        for byte in value.to_le_bytes() {
            self.mark = (self.mark ^ u64::from(byte)).wrapping_mul(FNV_PRIME);
        }
    }
}

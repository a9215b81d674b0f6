//! The lock of a cluster's reigns: whoever changes them, or publishes by them, holds it. Between processes and within one.
//!
//! The file that is locked also counts: what was published, and how often others than the arbiter changed its record. So the arbiter, which looks before each step, need not
//! list the archive or read its record to know that nothing happened. The counts are raised before what they count happens; they are no more than a hint, and after a crash
//! everything is looked at anew.
//!
//! It is never replaced. So where it lies says whether the state folder is the one that the record was written in, or a copy that was brought back.

use link::error::{Error, Result};
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

/// So often, and so long apart, the lock is tried: whoever has it writes one file, or a few.
const TRIES: u32 = 2000;
const PAUSE: Duration = Duration::from_millis(5);

/// Nobody else changes a cluster's reigns, or publishes by them, while this lives.
#[derive(Debug)]
pub struct Held {
    file: File,
    path: PathBuf,
}

/// What the file counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub published: u64,
    /// Changes of the arbiter's record by others than the arbiter.
    pub changed: u64,
    /// A record was written once: when none is there, it is lost.
    pub written: bool,
}

const LENGTH: usize = 24;

impl Held {
    /// Waits for the lock, so long.
    pub(super) fn take(path: &Path) -> Result<Held> {
        let failed = || Error::file("lock", path);
        let file = File::options().create(true).truncate(false).read(true).write(true).open(path).map_err(failed())?;
        for _ in 0..TRIES {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Held { file, path: path.into() }),
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    #[expect(clippy::disallowed_methods, reason = "nothing tells when a lock is given back")]
                    std::thread::sleep(PAUSE);
                }
                Err(error) => return Err(failed()(error.into())),
            }
        }
        Err(failed()(io::ErrorKind::TimedOut.into()))
    }

    pub fn counts(&self) -> Result<Counts> {
        let mut bytes = [0; LENGTH];
        match self.file.read_exact_at(&mut bytes, 0) {
            Ok(()) => {}
            // Nobody counted yet.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Counts::default()),
            Err(error) => return Err(Error::file("read", &self.path)(error)),
        }
        let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|n| bytes[at * 8 + n]));
        Ok(Counts { published: number(0), changed: number(1), written: number(2) != 0 })
    }

    fn count(&self, change: impl FnOnce(&mut Counts)) -> Result<()> {
        let mut counts = self.counts()?;
        let before = counts;
        change(&mut counts);
        if counts == before {
            return Ok(());
        }
        let mut bytes = [0; LENGTH];
        for (at, number) in [counts.published, counts.changed, counts.written.into()].into_iter().enumerate() {
            bytes[at * 8..][..8].copy_from_slice(&number.to_le_bytes());
        }
        self.file.write_all_at(&bytes, 0).map_err(Error::file("write", &self.path))
    }

    /// Something is about to be published.
    pub fn publishes(&self) -> Result<()> {
        self.count(|counts| counts.published = counts.published.wrapping_add(1))
    }

    /// Another than the arbiter is about to change its record.
    pub(super) fn changes(&self) -> Result<()> {
        self.count(|counts| counts.changed = counts.changed.wrapping_add(1))
    }

    pub(super) fn writes(&self) -> Result<()> {
        self.count(|counts| counts.written = true)
    }

    /// Which file this is: another one after the state folder was brought back from a copy.
    pub fn place(&self) -> Result<String> {
        let found = self.file.metadata().map_err(Error::file("look at", &self.path))?;
        // Where the filesystem knows no time of birth, the number alone must do.
        let born = found.created().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        Ok(format!("{}.{}", found.ino(), born.as_nanos()))
    }
}

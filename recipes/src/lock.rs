//! One at a time: a file that is locked while something is at work, and that the kernel unlocks when the process ends.
//!
//! A program that was started with this file as its standard input holds the lock as well, so a program that outlives the
//! one that started it is still seen.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use rustix::fs::FlockOperation;

#[derive(Debug)]
pub(crate) struct Lock(File);

impl Lock {
    /// `WouldBlock` when another holds it. The file is made if need be and stays.
    pub fn take(path: &Path) -> io::Result<Lock> {
        Lock::on(File::options().read(true).append(true).create(true).open(path)?)
    }

    pub fn on(file: File) -> io::Result<Lock> {
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Lock(file))
    }

    pub fn file(&self) -> &File {
        &self.0
    }
}

impl Drop for Lock {
    /// Closing alone is not enough: a process that is being started meanwhile holds a copy of the descriptor until it
    /// becomes another program.
    fn drop(&mut self) {
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

/// A folder for this user alone, with those above it, if it is not there.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

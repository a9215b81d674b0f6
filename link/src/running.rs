//! What every daemon does around its work: one of it for each state folder, an end in order at SIGTERM or SIGINT, and a health address without keys.

use crate::error::{Error, Result};
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::io;
use std::path::Path;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Held while a daemon runs; the kernel drops it with the process.
#[derive(Debug)]
pub struct Alone {
    _file: File,
}

impl Alone {
    /// `None` when another runs on the same state folder.
    pub fn take(state: &Path, daemon: &str) -> Result<Option<Alone>> {
        let path = state.join(format!("{daemon}.lock"));
        archive::store::make_folder(state, 0o700).map_err(Error::file("make", state))?;
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(Error::file("lock", &path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Alone { _file: file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(Error::file("lock", &path)(error.into())),
        }
    }
}

/// Turns true when the process is asked to end.
pub fn until_asked_to_end() -> io::Result<watch::Receiver<bool>> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        stop.send_replace(true);
    });
    Ok(stopped)
}

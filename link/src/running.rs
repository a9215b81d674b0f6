//! What every daemon does around its work: one of it for each state folder, an end in order at SIGTERM or SIGINT, and a health address without keys.

use crate::error::{Error, Result};
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Held while a daemon runs; the kernel drops it with the process.
#[derive(Debug)]
pub struct Alone {
    file: File,
}

/// What another process sees of a daemon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// A process holds its place.
    pub runs: bool,
    /// When it showed last that it lives, in Unix milliseconds.
    pub pulse_ms: Option<u64>,
}

/// Somebody who looks holds the lock for a moment; so often it is tried again.
const TRIES: u32 = 3000;
const PAUSE: Duration = Duration::from_millis(1);

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
        for _ in 0..TRIES {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Some(Alone { file })),
                // Who only looks shares: then no daemon is there.
                Err(rustix::io::Errno::WOULDBLOCK) if shares(&file) => {
                    #[expect(
                        clippy::disallowed_methods,
                        reason = "who looks may have been stopped in the middle of it, and nothing tells when it goes on"
                    )]
                    std::thread::sleep(PAUSE);
                }
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
                Err(error) => return Err(Error::file("lock", &path)(error.into())),
            }
        }
        Ok(None)
    }

    /// Shows that the daemon lives. One that cannot write into its state folder shows nothing, which is right.
    pub fn pulse(&self, now_ms: u64) {
        let _ = self.file.set_modified(UNIX_EPOCH + Duration::from_millis(now_ms));
    }
}

/// Whether nobody has it alone.
fn shares(file: &File) -> bool {
    let free = flock(file, FlockOperation::NonBlockingLockShared).is_ok();
    // What was not taken need not be given back, and closing the file gives it back in any case.
    let _ = flock(file, FlockOperation::Unlock);
    free
}

/// Whether a daemon runs on a state folder, and when it showed so last.
pub fn peek(state: &Path, daemon: &str) -> Seen {
    let Ok(file) = File::open(state.join(format!("{daemon}.lock"))) else { return Seen::default() };
    let modified = file.metadata().and_then(|found| found.modified()).ok();
    let pulse_ms = modified.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).map(|since| since.as_millis() as u64);
    Seen { runs: !shares(&file), pulse_ms }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_is_seen_and_whoever_looks_keeps_none_from_starting() {
        let state = tempfile::tempdir().unwrap();
        assert_eq!(peek(state.path(), "exporter"), Seen::default());
        let alone = Alone::take(state.path(), "exporter").unwrap().expect("it is the only one");
        alone.pulse(1_795_262_400_123);
        assert_eq!(peek(state.path(), "exporter"), Seen { runs: true, pulse_ms: Some(1_795_262_400_123) });
        assert!(Alone::take(state.path(), "exporter").unwrap().is_none());
        drop(alone);
        assert!(!peek(state.path(), "exporter").runs);
        std::thread::scope(|scope| {
            scope.spawn(|| assert!((0..2000).all(|_| peek(state.path(), "exporter").pulse_ms.is_some())));
            for _ in 0..200 {
                assert!(Alone::take(state.path(), "exporter").unwrap().is_some());
            }
        });
    }
}

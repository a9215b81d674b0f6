//! How many bytes of repositories each caller was given, by its key.
//!
//! It is counted in memory while they go out, and written to a file when somebody looks how the host stands, so that it outlives the daemon and `status` can read it.

use crate::error::Result;
use crate::identity::Pin;
use crate::state_file;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What the file has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bytes {
    /// By pin.
    given: BTreeMap<String, u64>,
}

impl Bytes {
    fn path(state: &Path, daemon: &str) -> PathBuf {
        state.join(format!("{daemon}.given.toml"))
    }

    /// What a daemon gave, as it was last written.
    pub fn open(state: &Path, daemon: &str) -> Result<Bytes> {
        Ok(state_file::read(&Bytes::path(state, daemon))?.unwrap_or_default())
    }

    pub fn to(&self, pin: &Pin) -> u64 {
        self.given.get(&pin.to_string()).copied().unwrap_or(0)
    }
}

/// The counters of a daemon.
#[derive(Default)]
pub struct Given {
    path: PathBuf,
    /// What is counted, and whether the file lacks any of it.
    inside: Mutex<(Bytes, bool)>,
}

impl Given {
    /// What cannot be read is counted anew.
    pub fn open(state: &Path, daemon: &str) -> Given {
        let bytes = Bytes::open(state, daemon).unwrap_or_default();
        Given { path: Bytes::path(state, daemon), inside: Mutex::new((bytes, false)) }
    }

    fn inside(&self) -> MutexGuard<'_, (Bytes, bool)> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn count(&self, pin: &Pin, bytes: u64) {
        let (known, lacking) = &mut *self.inside();
        let counted = known.given.entry(pin.to_string()).or_default();
        *counted = counted.saturating_add(bytes);
        *lacking = true;
    }

    /// Writes what is new. Figures that are lost in a power cut are no loss.
    pub fn keep(&self) -> Result<()> {
        // Whoever opened none counts for nobody.
        if self.path.as_os_str().is_empty() {
            return Ok(());
        }
        let bytes = {
            let (known, lacking) = &mut *self.inside();
            if !std::mem::take(lacking) {
                return Ok(());
            }
            known.clone()
        };
        state_file::say_lightly(&self.path, &bytes).inspect_err(|_| self.inside().1 = true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_goes_on_being_counted_after_a_restart() {
        let state = tempfile::tempdir().unwrap();
        let (one, other) = (Pin([1; 32]), Pin([2; 32]));
        let given = Given::open(state.path(), "exporter");
        given.count(&one, 5);
        given.count(&one, 7);
        given.keep().unwrap();
        given.count(&other, 1);
        assert_eq!(Bytes::open(state.path(), "exporter").unwrap().to(&other), 0, "it is not written yet");
        let again = Given::open(state.path(), "exporter");
        again.count(&one, 100);
        again.keep().unwrap();
        let bytes = Bytes::open(state.path(), "exporter").unwrap();
        assert_eq!((bytes.to(&one), bytes.to(&other)), (112, 0));
        std::fs::remove_dir_all(state.path()).unwrap();
        again.count(&one, 1);
        assert!(again.keep().is_err());
        std::fs::create_dir(state.path()).unwrap();
        again.keep().unwrap();
        assert_eq!(Bytes::open(state.path(), "exporter").unwrap().to(&one), 113, "what could not be written is not forgotten");
    }
}

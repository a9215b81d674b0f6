//! What is known of a dataset's imports on this host, in a file: `datasets/NAME/imported.toml`.

use link::error::Result;
use link::message::snapshot_of;
use link::state_file;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// The newest snapshot that is the data here, by name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub snapshot: Option<String>,
    /// When it was captured, and when its import ended.
    #[serde(default)]
    pub captured_ms: u64,
    #[serde(default)]
    pub at_ms: u64,
    /// The evidence of that: the signed record, in hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub evidence: Option<String>,
    /// The snapshot whose import was begun and did not end: the data may be of both.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub begun: Option<String>,
    /// It began where two snapshots were mixed: what was before it is no state to go back to.
    #[serde(default)]
    pub mended: bool,
    /// Imports that failed since then, and why the last did.
    #[serde(default)]
    pub failures: u32,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub trouble: Option<String>,
    #[serde(default)]
    pub failed_ms: u64,
}

impl Imported {
    pub fn path(state: &Path, dataset: &str) -> PathBuf {
        state.join("datasets").join(dataset).join("imported.toml")
    }

    pub fn open(state: &Path, dataset: &str) -> Result<Imported> {
        Ok(state_file::read(&Imported::path(state, dataset))?.unwrap_or_default())
    }

    pub fn keep(&self, state: &Path, dataset: &str) -> Result<()> {
        state_file::say(&Imported::path(state, dataset), self)
    }

    /// When what is the data here was captured.
    pub fn snapshot_captured_ms(&self) -> Option<u64> {
        self.snapshot.as_ref().map(|_| self.captured_ms)
    }

    /// Whether this snapshot, or one that is newer, was imported.
    pub fn has(&self, name: &str) -> bool {
        let position = |name: &str| snapshot_of(name).map(|(at, _)| at);
        self.snapshot.as_deref() == Some(name)
            || self
                .snapshot
                .as_deref()
                .and_then(position)
                .zip(position(name))
                .is_some_and(|(held, asked)| held > asked)
    }
}

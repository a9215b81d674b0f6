//! What is known of a dataset's drills on this host, in a file: `datasets/NAME/drilled.toml`.

use link::error::Result;
use link::state_file;
use serde::{Deserialize, Serialize};
use standing::host::Drill;
use standing::place::moment;
use std::path::{Path, PathBuf};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drilled {
    /// The last one: which snapshot, when it ended, how long it took, and why it failed.
    pub snapshot: String,
    pub at_ms: u64,
    pub took_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub trouble: Option<String>,
    /// When the last good one ended; 0 while there is none.
    #[serde(default)]
    pub good_ms: u64,
}

impl Drilled {
    fn path(state: &Path, dataset: &str) -> PathBuf {
        state.join("datasets").join(dataset).join("drilled.toml")
    }

    pub fn open(state: &Path, dataset: &str) -> Result<Option<Drilled>> {
        state_file::read(&Drilled::path(state, dataset))
    }

    pub fn keep(&self, state: &Path, dataset: &str) -> Result<()> {
        state_file::say(&Drilled::path(state, dataset), self)
    }

    /// As `status` shows it.
    pub fn shown(&self, dataset: &str) -> Drill {
        Drill {
            dataset: dataset.into(),
            snapshot: self.snapshot.clone(),
            at: moment(self.at_ms),
            took_seconds: self.took_ms.div_ceil(1000),
            good: self.trouble.is_none(),
            why: self.trouble.clone(),
            last_good: (self.good_ms > 0).then(|| moment(self.good_ms)),
            at_ms: self.at_ms,
            good_ms: self.good_ms,
        }
    }
}

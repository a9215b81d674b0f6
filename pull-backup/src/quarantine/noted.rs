//! What is noted of a cluster's quarantine: which snapshots a person has seen, and what could not be kept. `state/clusters/NAME/quarantine.toml`.
//!
//! It is no more than what is told: whether it is lost or stale, nothing in quarantine changes.

use link::error::Result;
use link::publishing::Kept;
use link::state_file;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noted {
    /// Ids of snapshots that a person said to have seen.
    #[serde(default)]
    pub seen: BTreeSet<String>,
    /// Names of snapshots that a person dropped, by dataset: they are not taken again.
    #[serde(default)]
    pub dropped: BTreeMap<String, BTreeSet<String>>,
    /// Why snapshots could not be kept, by dataset and name.
    #[serde(default)]
    pub refused: BTreeMap<String, BTreeMap<String, String>>,
}

/// No more are noted of one dataset; that some are refused is seen from one.
const REFUSED_MAX: usize = 100;

impl Noted {
    fn path(state: &Path, cluster: &str) -> PathBuf {
        state.join("clusters").join(cluster).join("quarantine.toml")
    }

    pub fn open(state: &Path, cluster: &str) -> Result<Noted> {
        Ok(state_file::read(&Noted::path(state, cluster))?.unwrap_or_default())
    }

    pub fn keep(&self, state: &Path, cluster: &str) -> Result<()> {
        state_file::say(&Noted::path(state, cluster), self)
    }

    pub fn was_dropped(&self, dataset: &str, name: &str) -> bool {
        self.dropped.get(dataset).is_some_and(|names| names.contains(name))
    }

    /// Notes what could be kept of a dataset and what could not. Whether something changed.
    pub fn take(&mut self, dataset: &str, kept: &[Kept]) -> bool {
        let before = self.clone();
        let of = self.refused.entry(dataset.into()).or_default();
        for Kept { name, trouble } in kept {
            match trouble {
                Some(why) if of.len() < REFUSED_MAX || of.contains_key(name) => _ = of.insert(name.clone(), why.clone()),
                _ => _ = of.remove(name),
            }
        }
        if of.is_empty() {
            self.refused.remove(dataset);
        }
        *self != before
    }
}

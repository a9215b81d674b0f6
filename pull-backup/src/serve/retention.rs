//! Retention by the daemon: each dataset by its rules, once an hour when it has something new.
//!
//! Pinned is the newest snapshot of each member, so that a node that comes back after weeks finds its base here. Times are those of this host's own receipts and of those that it follows.

use super::Daemon;
use crate::cmd::retain::{PATIENCE_MS, TRASH_MS, configured};
use crate::following::{self, Following};
use archive::repository::Repository;
use archive::retain::RetainOptions;
use archive::sign::PublicKey;
use archive::sweep::SweepOptions;
use link::keep::{Kept, keep};
use link::repositories::Dataset;
use link::state_file;
use serde::{Deserialize, Serialize};
use standing::log::Said;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How retention of a dataset went last: `state/retained/CLUSTER.DATASET.toml`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retained {
    pub at_ms: u64,
    pub kept: usize,
    pub dropped: usize,
    /// What the newest snapshot was.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub newest: Option<String>,
    /// Why nothing was dropped.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub trouble: Option<String>,
}

impl Retained {
    pub fn path(state: &Path, dataset: &Dataset) -> PathBuf {
        state.join("retained").join(format!("{}.{}.toml", dataset.cluster, dataset.name))
    }

    pub fn open(state: &Path, dataset: &Dataset) -> link::Result<Retained> {
        Ok(state_file::read(&Retained::path(state, dataset))?.unwrap_or_default())
    }
}

/// How often it is looked whether something is due.
const LOOK: Duration = Duration::from_secs(60);
/// A dataset's turn comes so often.
const EVERY_MS: u64 = 3_600_000;

impl Daemon {
    /// Retains what is due, until `stop` turns true; one that is under way is finished.
    pub(super) async fn retain(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        loop {
            for dataset in self.pulls.repositories.layout().datasets() {
                let (daemon, of) = (self.clone(), dataset.clone());
                if let Err(error) = tokio::task::spawn_blocking(move || daemon.retain_one(&of)).await {
                    self.around.log.say(Said::error("retention", error).dataset(&dataset));
                }
                if *stop.borrow() {
                    return;
                }
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// Retains a dataset when it is due. How it went is kept, and told when there is something to tell.
    pub fn retain_one(&self, dataset: &Dataset) {
        let (state, now_ms) = (&self.file.state, (self.around.clock)());
        let before = Retained::open(state, dataset).unwrap_or_default();
        let newest = self.pulls.repositories.head(dataset).and_then(|head| head.snapshot);
        let is_due = before.at_ms > now_ms || now_ms - before.at_ms >= EVERY_MS;
        if !is_due || (newest == before.newest && before.trouble.is_none()) {
            return;
        }
        let retained = match self.retain_now(dataset, now_ms) {
            // Somebody is at work in it: at the next look.
            Ok(None) => return,
            Ok(Some(kept)) => summary(&kept, now_ms, newest),
            Err(error) => Retained { at_ms: now_ms, trouble: Some(link::pull::chain(&error)), ..before.clone() },
        };
        if let Some(trouble) = &retained.trouble {
            self.around
                .log
                .say(Said::warn("retention", format!("nothing was dropped: {trouble}")).dataset(dataset));
        } else if retained.dropped > 0 {
            let text = format!("{} kept, {} dropped", retained.kept, retained.dropped);
            self.around.log.say(Said::info("retention", text).dataset(dataset));
        }
        if let Err(error) = state_file::say(&Retained::path(state, dataset), &retained) {
            self.around.log.say(Said::error("retention", link::pull::chain(&error)).dataset(dataset));
        }
    }

    fn retain_now(&self, dataset: &Dataset, now_ms: u64) -> archive::Result<Option<Kept>> {
        let options = RetainOptions {
            rules: configured(self.file.retain_for(&dataset.name)),
            now_ms,
            zone: self.around.zone.clone(),
            dry_run: false,
            receivers: self.receivers(),
            trust: self.evidence(&dataset.cluster),
            pins: self.pins(dataset)?,
        };
        let sweeping = SweepOptions { now_ms, patience_ms: PATIENCE_MS, trash_ms: TRASH_MS, dry_run: false, keep_runs: &|_| false };
        keep(&self.pulls.repositories, dataset, &options, &sweeping)
    }

    /// Whose receipts count: this host's own, and those of the pull-backups that it follows.
    fn receivers(&self) -> Vec<PublicKey> {
        // What cannot be read counts for nothing: then times are later, and more is kept.
        let following = Following::open(&self.file.state).unwrap_or_default();
        following.receipts().chain([self.pulls.receipt()]).collect()
    }

    /// Whose evidence counts: members', and those whom the followed ones told.
    pub(super) fn evidence(&self, cluster: &str) -> archive::trust::Trust {
        let told = following::told(&self.file.state, cluster).unwrap_or_default();
        following::trust(self.trust(cluster), &told)
    }

    /// The newest snapshot of each member that was not expelled.
    fn pins(&self, dataset: &Dataset) -> archive::Result<Vec<archive::id::SnapshotId>> {
        let members = self.members.now();
        let mut open: HashSet<PublicKey> = members
            .values()
            .filter(|member| member.cluster == dataset.cluster)
            .filter_map(crate::members::Member::key)
            .collect();
        let repository: Arc<Repository> = self.pulls.repositories.open(dataset)?;
        let mut pins = Vec::new();
        for known in repository.snapshots()?.iter().rev() {
            if open.is_empty() {
                break;
            }
            // What cannot be read is kept in any case.
            let Ok(snapshot) = repository.snapshot(known) else { continue };
            if open.remove(&snapshot.signer) {
                pins.push(known.id);
            }
        }
        Ok(pins)
    }
}

fn summary(kept: &Kept, at_ms: u64, newest: Option<String>) -> Retained {
    let dropped = kept.retained.dropped().count();
    let trouble = kept.retained.refused.clone().or_else(|| kept.swept.as_ref()?.refused.clone());
    let dropped = if trouble.is_some() { 0 } else { dropped };
    Retained { at_ms, kept: kept.retained.decisions.len() - dropped, dropped, newest, trouble }
}

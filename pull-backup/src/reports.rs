//! What the receivers of a dataset said last, by name: `state/reports/CLUSTER/DATASET.toml`. So it is known here which importers hold what.
//!
//! They are claims, and decide nothing about what is kept. What one receiver says is cut where it is long.

use link::error::Result;
use link::message::Report;
use link::node::{Receiver, Receivers};
use link::state_file;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Runs of which segments are lacking; more are not listed.
const LACKING_MAX: usize = 64;
const TEXT_MAX: usize = 300;

pub struct Reports {
    state: PathBuf,
    /// One at a time: what is said is put beside what others said.
    turn: Mutex<()>,
}

fn path(state: &Path, cluster: &str, dataset: &str) -> PathBuf {
    state.join("reports").join(cluster).join(format!("{dataset}.toml"))
}

/// What the receivers of a dataset said last.
pub fn open(state: &Path, cluster: &str, dataset: &str) -> Result<Receivers> {
    Ok(state_file::read(&path(state, cluster, dataset))?.unwrap_or_default())
}

impl Reports {
    pub fn new(state: &Path) -> Reports {
        Reports { state: state.into(), turn: Mutex::default() }
    }

    /// Keeps what a receiver said in the place of what it said before. Cluster and dataset must be ones that there are.
    pub fn keep(&self, name: &str, report: Report, now_ms: u64) -> Result<()> {
        let Report { cluster, dataset, held, captured_ms, mut lacking, imported, trouble, .. } = report;
        lacking.retain(|run| archive::id::RunId::parse(&run.run).is_some());
        lacking.truncate(LACKING_MAX);
        lacking.iter_mut().for_each(|run| run.ranges.truncate(LACKING_MAX));
        let snapshot = |name: Option<String>| name.filter(|name| link::message::snapshot_of(name).is_some() && name.len() < TEXT_MAX);
        let receiver = Receiver {
            said_ms: now_ms,
            held: snapshot(held),
            captured_ms,
            imported: snapshot(imported),
            trouble: trouble.map(|text| text.chars().take(TEXT_MAX).collect()),
            lacking,
            ..Receiver::default()
        };
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = open(&self.state, &cluster, &dataset)?;
        all.receiver.insert(name.into(), receiver);
        state_file::say(&path(&self.state, &cluster, &dataset), &all)
    }
}

//! How the arbiters stand, for those who are not the daemon: it says so every few seconds in `state/arbiters.json`. Where none runs, the records on disk say what was last so.
//!
//! The file is told and nothing rests on it: it is not fsynced, and what cannot be written or read is not shown.

use crate::reigns::Ledger;
use serde::{Deserialize, Serialize};
use standing::arbiter::Arbiter;
use std::path::{Path, PathBuf};

#[derive(Default, Serialize, Deserialize)]
struct Told {
    at_ms: u64,
    arbiters: Vec<Arbiter>,
}

fn path(state: &Path) -> PathBuf {
    state.join("arbiters.json")
}

/// The daemon says how its arbiters stand.
pub fn tell(state: &Path, arbiters: &[Arbiter], now_ms: u64) {
    let (to, draft) = (path(state), state.join(".arbiters.json"));
    let told = Told { at_ms: now_ms, arbiters: arbiters.to_vec() };
    if arbiters.is_empty() && !to.exists() {
        return;
    }
    let text = serde_json::to_vec(&told).unwrap_or_default();
    let _ = std::fs::write(&draft, text).and_then(|()| std::fs::rename(&draft, &to));
}

/// What the daemon said last, where one runs; else what is on disk.
pub fn open(state: &Path, ledger: &Ledger, runs: bool, now_ms: u64) -> Vec<Arbiter> {
    if !runs {
        return at_rest(ledger);
    }
    let told: Told = std::fs::read(path(state))
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok())
        .unwrap_or_default();
    let passed = now_ms.saturating_sub(told.at_ms) / 1000;
    told.arbiters.into_iter().map(|arbiter| arbiter.later(passed)).collect()
}

fn at_rest(ledger: &Ledger) -> Vec<Arbiter> {
    let of = |cluster: String| {
        let record = ledger.document(&cluster).ok()?.arbiter?;
        let holder = record.holder.map(|node| node.0);
        Some(Arbiter { cluster, phase: "unknown".into(), epoch: record.epoch.0, holder, ..Arbiter::default() })
    };
    ledger.clusters().into_iter().filter_map(of).collect()
}

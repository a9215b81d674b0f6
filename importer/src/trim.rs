//! A mirror keeps its last snapshots, and is trimmed when it has many more. What this node alone has, or may need again, stays.

use crate::takeover::kept::Before;
use archive::record::Run;
use archive::retain::RetainOptions;
use archive::sign::PublicKey;
use archive::sweep::SweepOptions;
use archive::trust::Trust;
use console::node_file::NodeFile;
use link::identity::Pin;
use link::keep::keep;
use link::node::{Node, Receivers};
use link::repositories::Dataset;
use link::tail;

const KEPT: u32 = 3;
const TRIM_FROM: usize = 16;

/// Keeps the last three snapshots of a mirror, when there are many more.
pub fn trim(file: &NodeFile, node: &Node, own: PublicKey, dataset: &str, now_ms: u64) -> archive::Result<()> {
    let dataset = Dataset { cluster: file.cluster.clone(), name: dataset.into() };
    let repositories = &node.repositories;
    let repository = repositories.open(&dataset)?;
    let known = repository.snapshots()?;
    let Some(newest) = known.last().filter(|_| known.len() >= TRIM_FROM) else { return Ok(()) };
    // What was closed since then belongs to an export that is under way elsewhere.
    let since_ms = repository.snapshot(newest)?.body.started_ms;
    // What this node alone has, from when it worked, is no mirror of anything.
    let receivers = Receivers::open(&file.node.state, &dataset.name).unwrap_or_default();
    let joined: Vec<Pin> = node.pull_backups().iter().map(|known| known.pin).collect();
    let mut kept = tail::pins(&tail::tail(&repository, own, &receivers, &joined)?);
    // Nor what was the data here before this node took over.
    let before = Before::open(&file.node.state).ok().flatten().unwrap_or_default();
    kept.extend(before.snapshots.get(&dataset.name).and_then(|name| Some(link::message::snapshot_of(name)?.1)));
    drop(repository);
    let trust = Trust { cluster_key: file.seal.cluster_key.map(PublicKey), ..Trust::default() };
    let options = RetainOptions { pins: kept, ..RetainOptions::last(KEPT, trust, now_ms) };
    let under_way = |run: &Run| run.closed_ms >= since_ms;
    let sweeping = SweepOptions { now_ms, patience_ms: 0, trash_ms: 0, dry_run: false, keep_runs: &under_way };
    keep(repositories, &dataset, &options, &sweeping).map(drop)
}

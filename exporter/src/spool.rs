//! The spool: what it may drop, what it has lost, and how full it is.
//!
//! A snapshot that every pull-backup holds may go, but for the newest. While one of them lacks something it stays, up to a bound; at the bound the oldest go all
//! the same, for a full disk would end the exports of today for the sake of those of last week. What was dropped unheld is written down, and `status` says it.
//!
//! What a receiver needs and the spool has no more is stored anew by the next export. A receiver that claims so of what is here is not believed.

use archive::id::{Address, RunId, SnapshotId};
use archive::name;
use archive::record::Run;
use archive::repository::{Access, Known, Repository};
use archive::retain::RetainOptions;
use archive::sweep::SweepOptions;
use archive::trust::Trust;
use console::node_file::{Dataset, NodeFile};
use link::identity::{Pin, signing_key};
use link::keep::keep;
use link::membership::{Membership, NODE_KEY, Reign};
use link::message::snapshot_of;
use link::node::Receivers;
use link::repositories::{Dataset as Key, Repositories};
use link::state_file;
use link::tail;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// How full a spool is, as it was found last: `datasets/NAME/spool.toml`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spool {
    /// What it holds; besides what the newest snapshot needs, when that tells whether the bound is near.
    pub bytes: u64,
    pub bound: u64,
    /// Snapshots that some pull-backup does not hold.
    pub waiting: usize,
    /// Snapshots that were dropped although some pull-backup did not hold them, since all was held last.
    pub dropped: usize,
    pub trimmed_ms: u64,
}

impl Spool {
    pub fn path(state: &Path, dataset: &str) -> PathBuf {
        state.join("datasets").join(dataset).join("spool.toml")
    }

    pub fn open(state: &Path, dataset: &str) -> link::Result<Spool> {
        Ok(state_file::read(&Spool::path(state, dataset))?.unwrap_or_default())
    }

    /// Whether the bound is near, or was reached.
    pub fn is_near(&self) -> bool {
        self.waiting > 1 && self.bytes > self.bound / 10 * 8
    }
}

/// It is trimmed when so many snapshots may go, or some may and it was not for so long.
const TRIM_COUNT: usize = 16;
const TRIM_MS: u64 = 3_600_000;
/// No receiver may name more.
const LOST_MAX: usize = 1 << 20;

/// The highest sequence that a receiver holds: a node that was installed anew goes on above it.
pub fn above(state: &Path, dataset: &str) -> u64 {
    let said = Receivers::open(state, dataset).unwrap_or_default();
    let held = said.receiver.values().filter_map(|receiver| snapshot_of(receiver.held.as_deref()?));
    held.map(|(at, _)| at.sequence).filter(|sequence| *sequence < name::SEQUENCE_MAX).max().unwrap_or(0)
}

/// Drops what need not stay, if it is time. `None` when somebody is at work in the spool, and where this node stands by: then it is the importer's mirror.
pub fn tidy(file: &NodeFile, dataset: &Dataset, repositories: &Repositories, now_ms: u64) -> Result<Option<Spool>, archive::Error> {
    let state = &file.node.state;
    // A role that cannot be read may be that one: what is kept harms nobody.
    if !matches!(Reign::open(state), Ok(None | Some(Reign { active: true, .. }))) {
        return Ok(None);
    }
    let pins: Vec<_> = Membership::open(state)
        .unwrap_or_default()
        .pull_backups
        .into_iter()
        .filter(|known| known.cluster == file.cluster)
        .map(|known| known.pin)
        .collect();
    let key = Key { cluster: file.cluster.clone(), name: dataset.name.clone() };
    let repository = repositories.open(&key)?;
    let known = repository.snapshots()?;
    let receivers = Receivers::open(state, &dataset.name).unwrap_or_default();
    let is_held = |known: &Known| !pins.is_empty() && pins.iter().all(|pin| receivers.holds(pin, &known.name));
    let waiting = known.iter().filter(|known| !is_held(known)).count();
    let before = Spool::open(state, &dataset.name).unwrap_or_default();
    let mut spool = Spool {
        bytes: beyond(&repository, &known, file.node.spool)?,
        bound: file.node.spool,
        waiting,
        ..before.clone()
    };
    if waiting == 0 {
        spool.dropped = 0;
    }
    let over = spool.bytes.saturating_sub(spool.bound);
    let surplus = if over > 0 && waiting > 1 { oldest_above(&repository, &known, over) } else { 0 };
    drop(repository);
    let kept = waiting.max(1).min(known.len().saturating_sub(surplus).max(1));
    let goes = known.len() - kept.min(known.len());
    let due = goes >= TRIM_COUNT || (goes > 0 && now_ms.saturating_sub(before.trimmed_ms) > TRIM_MS) || surplus > 0;
    if due && !pins.is_empty() && !unfinished(state, &dataset.name) {
        let tail = tail_of_older(file, &*repositories.open(&key)?, &receivers, &pins)?;
        let last = RetainOptions::last(u32::try_from(kept).unwrap_or(u32::MAX), Trust::default(), now_ms);
        let options = RetainOptions { pins: tail::pins(&tail), ..last };
        let sweeping = SweepOptions { now_ms, patience_ms: 0, trash_ms: 0, dry_run: false, keep_runs: &|_| false };
        let Some(_) = keep(repositories, &key, &options, &sweeping)? else { return Ok(None) };
        spool.dropped += waiting.saturating_sub(kept);
        spool.waiting = waiting.min(kept);
        let repository = repositories.open(&key)?;
        spool.bytes = beyond(&repository, &repository.snapshots()?, spool.bound)?;
        spool.trimmed_ms = now_ms;
    }
    if spool != before {
        // It is found anew the next time.
        let _ = state_file::say(&Spool::path(state, &dataset.name), &spool);
    }
    Ok(Some(spool))
}

/// What this node exported in reigns before this one, and some pull-backup does not have: no bound drops it, for it is nowhere else.
fn tail_of_older(file: &NodeFile, repository: &Repository, receivers: &Receivers, pins: &[Pin]) -> Result<Vec<Known>, archive::Error> {
    let epoch = match Reign::open(&file.node.state) {
        Ok(Some(reign)) => reign.epoch,
        _ => return Ok(vec![]),
    };
    let Ok(signer) = signing_key(&file.node.state, NODE_KEY) else { return Ok(vec![]) };
    let mut tail = tail::tail(repository, signer.public(), receivers, pins)?;
    tail.retain(|known| (1..epoch).contains(&known.at.epoch));
    Ok(tail)
}

/// Whether an export was broken off: what it wrote is used by the next.
fn unfinished(state: &Path, dataset: &str) -> bool {
    crate::node::local(state, dataset).join("journal").exists()
}

fn size(repository: &Repository) -> Result<u64, archive::Error> {
    let mut bytes = 0;
    for folder in [name::PACKS, name::SNAPSHOTS, name::RUNS] {
        bytes += repository.list(folder)?.iter().map(|listed| listed.len).sum::<u64>();
    }
    Ok(bytes)
}

/// What a spool holds, and near the bound only what it holds besides its newest snapshot: that stays in any case, however large the dataset is.
fn beyond(repository: &Repository, known: &[Known], bound: u64) -> Result<u64, archive::Error> {
    let bytes = size(repository)?;
    match known.last() {
        Some(newest) if bytes > bound / 10 * 8 => Ok(bytes.saturating_sub(needed(repository, newest)?)),
        _ => Ok(bytes),
    }
}

/// How many bytes a snapshot's segments take.
fn needed(repository: &Repository, known: &Known) -> Result<u64, archive::Error> {
    let mut bytes = 0;
    for used in &repository.snapshot(known)?.body.runs {
        let run = repository.run(used)?.body;
        let len = |sequence: u32| run.segments.get(sequence as usize).map_or(0, |segment| u64::from(segment.len));
        bytes += used.sequences().map(len).sum::<u64>();
    }
    Ok(bytes)
}

/// How many of the oldest snapshots added so many bytes together; never all.
fn oldest_above(repository: &Repository, known: &[Known], bytes: u64) -> usize {
    let (mut sum, most) = (0, known.len().saturating_sub(1));
    for (number, known) in known.iter().enumerate().take(most) {
        sum += repository.snapshot(known).map_or(0, |snapshot| snapshot.body.stored_bytes);
        if sum >= bytes {
            return number + 1;
        }
    }
    most
}

/// Segments that receivers need and lack, and that are not here either.
pub fn lost(state: &Path, dataset: &str) -> Vec<Address> {
    let Ok(receivers) = Receivers::open(state, dataset) else { return vec![] };
    if receivers.receiver.values().all(|receiver| receiver.lacking.is_empty()) {
        return vec![];
    }
    let Ok(repository) = Repository::open_folder(&crate::node::repository(state, dataset), Access::Shared) else { return vec![] };
    let mut lost: Vec<Address> = receivers
        .receiver
        .values()
        .flat_map(|receiver| &receiver.lacking)
        .filter_map(|wanted| Some((RunId::parse(&wanted.run)?, &wanted.ranges)))
        .flat_map(|(run, ranges)| ranges.iter().flat_map(move |&(from, to)| (from..to).map(move |sequence| Address { run, sequence })))
        .take(LOST_MAX)
        .collect();
    lost.sort_unstable();
    lost.dedup();
    let mut runs = HashMap::new();
    lost.retain(|address| !is_here(&repository, &mut runs, *address));
    lost
}

/// What some pull-backup keeps aside, of other reigns than this one: it is no history, and what followed it would be none either. Within a reign one snapshot follows the other
/// whatever becomes of them.
pub fn aside(state: &Path, dataset: &str, repository: &Repository, epoch: u64) -> Result<Vec<SnapshotId>, archive::Error> {
    let receivers = Receivers::open(state, dataset).unwrap_or_default();
    let is_aside = |known: &Known| known.at.epoch != epoch && receivers.keep_aside(&known.name);
    Ok(repository.snapshots()?.into_iter().filter(is_aside).map(|known| known.id).collect())
}

/// Whether a segment is here and whole.
fn is_here(repository: &Repository, runs: &mut HashMap<RunId, Option<Run>>, address: Address) -> bool {
    let run = runs.entry(address.run).or_insert_with(|| run_of(repository, address.run));
    run.as_ref()
        .is_some_and(|run| repository.verified_segment(run, address.sequence, &mut Vec::new()).is_ok())
}

/// A run that some snapshot uses.
fn run_of(repository: &Repository, id: RunId) -> Option<Run> {
    let known = repository.snapshots().ok()?;
    let used = known.iter().rev().find_map(|known| {
        let snapshot = repository.snapshot(known).ok()?;
        snapshot.body.runs.into_iter().find(|used| used.run == id)
    })?;
    Some(repository.run(&used).ok()?.body)
}

/// Which of these pull-backups do not hold a snapshot of a dataset yet, by address.
pub fn not_held(file: &NodeFile, dataset: &str, snapshot: &str) -> Vec<String> {
    let state = &file.node.state;
    let receivers = Receivers::open(state, dataset).unwrap_or_default();
    let known = Membership::open(state).unwrap_or_default().pull_backups;
    let ours = known.into_iter().filter(|known| known.cluster == file.cluster);
    debug_assert!(snapshot_of(snapshot).is_some(), "a snapshot's name");
    ours.filter(|known| !receivers.holds(&known.pin, snapshot)).map(|known| known.address).collect()
}

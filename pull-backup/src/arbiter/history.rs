//! What the archive published, as the arbiter is told it: all that it could meet again when it begins, then what is new.
//!
//! Names tell what there is, and cost a listing; how old the data is stands in the snapshots, and is read of those that can matter.

use crate::reigns::Ledger;
use archive::repository::{Known, Repository};
use election::{Point, Published, SnapshotId};
use link::error::Result;
use link::repositories::Dataset;
use std::collections::BTreeMap;
use std::time::Duration;

/// So many of a dataset are told at the beginning. With fewer, a member that is far behind would be taken for one that went another way.
const TOLD_MAX: usize = 2048;
/// Of so many of them it is read how old they are; older ones count as old as the oldest of these.
const READ_MAX: usize = 512;

/// What was told last, by dataset.
#[derive(Clone, Debug, Default)]
pub struct Told {
    last: BTreeMap<String, archive::name::Position>,
}

impl Told {
    /// What is published above what was told, oldest first.
    pub fn news(&mut self, ledger: &Ledger, cluster: &str, now_ms: u64) -> Result<Vec<Published>> {
        let mut news = Vec::new();
        for dataset in ledger.datasets(cluster) {
            let (repository, known) = ledger.repository(&dataset)?;
            let last = self.last.get(&dataset.name).copied();
            let new: Vec<Known> = known.into_iter().filter(|known| last.is_none_or(|last| known.at > last)).collect();
            let Some(newest) = new.last() else { continue };
            self.last.insert(dataset.name.clone(), newest.at);
            news.extend(told(&repository, &dataset, &new[new.len().saturating_sub(TOLD_MAX)..], now_ms));
        }
        Ok(news)
    }
}

fn told(repository: &Repository, dataset: &Dataset, new: &[Known], now_ms: u64) -> Vec<Published> {
    let unread = new.len().saturating_sub(READ_MAX);
    let age = |known: &Known| {
        // One that cannot be read is no younger than any other.
        let captured = repository.snapshot(known).map_or(0, |signed| signed.body.captured_ms);
        Duration::from_millis(now_ms.saturating_sub(captured))
    };
    let ages: Vec<Duration> = new[unread..].iter().map(age).collect();
    let oldest = ages.first().copied().unwrap_or_default();
    let ages = std::iter::repeat_n(oldest, unread).chain(ages);
    let point = |known: &Known| Point {
        epoch: election::Epoch(known.at.epoch),
        sequence: known.at.sequence,
        id: SnapshotId(known.id.to_string()),
    };
    new.iter()
        .zip(ages)
        .map(|(known, age)| Published { dataset: dataset.name.as_str().into(), point: point(known), age })
        .collect()
}

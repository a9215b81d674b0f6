//! Whatever stops an export, and whatever becomes of local state: what was published restores bit for bit, and the next export goes through.

mod journal;
mod local;
mod soak;
mod steps;

use archive::id::SnapshotId;
use archive::name::Position;
use std::collections::BTreeMap;
use tests::plain::PlainTree;
use tests::trial::Trial;

/// What was published so far, by id.
type Published = BTreeMap<SnapshotId, PlainTree>;

/// Asserts that each snapshot that is there restores to what it was taken of: `newest` where it is not known yet. No two share a position.
fn assert_all_good(trial: &Trial, published: &Published, newest: &PlainTree, what: &str) {
    trial.repository.forget_locations();
    let mut positions: Vec<Position> = vec![];
    for known in trial.repository.snapshots().expect("snapshots are listed") {
        trial.assert_is(&known, published.get(&known.id).unwrap_or(newest), what);
        positions.push(known.at);
    }
    let count = positions.len();
    positions.dedup();
    assert_eq!(positions.len(), count, "{what}: two snapshots at one position");
    let there: Vec<SnapshotId> = trial.repository.snapshots().unwrap().iter().map(|known| known.id).collect();
    assert!(published.keys().all(|id| there.contains(id)), "{what}: a snapshot is gone");
}

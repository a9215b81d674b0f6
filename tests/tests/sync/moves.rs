//! What arrives, how much of it, and that nothing is fetched twice.

use super::*;
use archive::id::SnapshotId;
use archive::name::{self, Position};
use archive::store::FolderStore;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use tests::origin::Origin;
use tests::trial::known_in;

#[test]
fn snapshots_travel_from_memory_to_a_folder_and_on_to_memory() {
    for trial in [Trial::new(), Trial::unsealed()] {
        let versions = packed_and_small(&trial);
        let folder = tempfile::tempdir().unwrap();
        let archive = empty(Arc::new(FolderStore::open(folder.path()).unwrap()));
        let report = pull(&*trial.repository, &archive);
        assert!(report.is_complete(), "{report:?}");
        assert_eq!(report.snapshots.len(), 3);
        assert_eq!(report.head.map(|known| known.id), Some(versions[2].0));
        let mirror = memory();
        assert!(pull(&*archive, &mirror).is_complete());
        for repository in [&archive, &mirror] {
            assert_eq!(assert_restores(&trial, repository, &versions, "a copy"), 3);
            assert_eq!(Repository::list(repository, name::HEARTBEATS).unwrap().len(), 1, "the heartbeat came along");
        }
        // What a new process finds on disk is the same.
        drop(archive);
        let again = Repository::open(Arc::new(FolderStore::open(folder.path()).unwrap())).unwrap();
        assert_eq!(assert_restores(&trial, &again, &versions, "reopened"), 3);
    }
}

#[test]
fn a_second_sync_fetches_nothing_and_the_next_export_only_what_is_new() {
    let trial = Trial::new();
    let mut tree = PlainTree::new("s");
    tree.file("s/large", noise(1, 5_000_000));
    trial.export(&tree);
    let origin = Origin::of(&trial.repository);
    let into = memory();
    pull_all(&origin, &into);
    let first = origin.given();
    let again = pull(&origin, &into);
    assert!(again.is_complete() && again.snapshots.is_empty() && again.bytes == 0, "{again:?}");
    assert_eq!(origin.given(), first);
    tree.file("s/more", noise(2, 1_500_000));
    trial.export(&tree);
    let report = pull(&origin, &into);
    assert!(report.is_complete());
    let new = origin.given() - first;
    assert!((2..=3).contains(&new), "1.5 MB and an index are 2 or 3 segments, {new} came");
}

#[test]
fn only_segments_in_live_ranges_are_fetched() {
    let trial = Trial::new();
    let mut tree = PlainTree::new("s");
    tree.file("s/kept", noise(1, 2_500_000));
    tree.file("s/dropped", noise(2, 6_000_000));
    trial.export(&tree);
    tree.remove(b"s/dropped");
    let mut versions = vec![];
    version(&trial, &tree, &mut versions);
    let known = trial.known(versions[0].0);
    let snapshot = trial.repository.snapshot(&known).unwrap();
    let live: BTreeSet<_> = snapshot
        .body
        .runs
        .iter()
        .flat_map(|used| used.sequences().map(|sequence| (used.run, sequence)))
        .collect();
    let origin = Origin::of(&trial.repository);
    let into = memory();
    let report = sync(&origin, &into, &Wanted::Only(known.id), &options()).unwrap();
    assert!(report.is_complete());
    let fetched = origin.addresses.lock().unwrap().clone();
    assert!(fetched.is_subset(&live), "what is not live was fetched");
    assert!(fetched.len() < 6, "the dropped file has more segments than {}", fetched.len());
    assert_eq!(assert_restores(&trial, &into, &versions, "only this one"), 1);
}

#[test]
fn a_small_export_is_one_object_at_every_hop() {
    let trial = Trial::new();
    let mut tree = PlainTree::new("s");
    tree.file("s/a", "hello");
    let mut versions = vec![];
    version(&trial, &tree, &mut versions);
    tree.file("s/b", "world");
    version(&trial, &tree, &mut versions);
    let (first, second) = (memory(), memory());
    let origin = Origin::of(&trial.repository);
    pull_all(&origin, &first);
    assert!(pull(&*first, &second).is_complete());
    assert_eq!(origin.given(), 0, "the object holds its segments");
    for repository in [&first, &second] {
        assert_eq!(repository.list(name::SNAPSHOTS).unwrap().len(), 2);
        assert!(repository.list(name::PACKS).unwrap().is_empty() && repository.list(name::RUNS).unwrap().is_empty());
        assert_eq!(assert_restores(&trial, repository, &versions, "one object"), 2);
    }
}

#[test]
fn an_interrupted_sync_fetches_no_segment_twice() {
    let trial = Trial::new();
    let versions = packed_and_small(&trial);
    let whole = Origin::of(&trial.repository);
    pull_all(&whole, &memory());
    let all = whole.given();
    assert!(all > 5, "only {all} segments");
    for break_at in 0..=all {
        let origin = Origin::of(&trial.repository);
        let into = memory();
        origin.break_at.store(break_at, Ordering::SeqCst);
        let report = pull(&origin, &into);
        assert_eq!(report.stopped.is_some(), break_at < all, "broken off at {break_at}");
        assert_restores(&trial, &into, &versions, "after it broke off");
        origin.break_at.store(u64::MAX, Ordering::SeqCst);
        let fresh = Repository::open(Arc::new(Through(into.clone()))).unwrap();
        assert!(pull(&origin, &fresh).is_complete());
        assert_eq!(origin.given(), all, "broken off at {break_at}");
        assert_eq!(assert_restores(&trial, &fresh, &versions, "after it went on"), 3);
    }
}

/// The store of a repository that is open, for a second one on it.
struct Through(Arc<Repository>);

impl Store for Through {
    fn list(&self, folder: &str) -> std::io::Result<Vec<archive::store::Listed>> {
        self.0.store().list(folder)
    }
    fn read(&self, name: &str, offset: u64, len: usize, out: &mut Vec<u8>) -> std::io::Result<()> {
        self.0.store().read(name, offset, len, out)
    }
    fn draft(&self) -> std::io::Result<Box<dyn archive::store::Draft>> {
        self.0.store().draft()
    }
    fn rename(&self, from: &str, to: &str) -> std::io::Result<()> {
        self.0.store().rename(from, to)
    }
    fn remove(&self, name: &str) -> std::io::Result<()> {
        self.0.store().remove(name)
    }
}

#[test]
fn a_limit_of_bytes_stops_and_the_next_sync_goes_on() {
    let trial = Trial::new();
    let versions = packed_and_small(&trial);
    let origin = Origin::of(&trial.repository);
    let into = memory();
    let narrow = SyncOptions { bytes_max: 4_000_000, ..options() };
    let report = sync(&origin, &into, &ALL, &narrow).unwrap();
    assert!(report.stopped.is_some() && report.snapshots.is_empty() && report.segments == 3, "{report:?}");
    let before = origin.given();
    assert!(pull(&origin, &into).is_complete());
    assert!(before <= 4, "the limit was asked before each segment");
    assert_eq!(assert_restores(&trial, &into, &versions, "after the limit"), 3);
}

#[test]
fn what_the_receiver_dropped_comes_back_with_history_only() {
    let trial = Trial::new();
    let versions = packed_and_small(&trial);
    let into = memory();
    pull_all(&*trial.repository, &into);
    let dropped = known_in(&into, versions[0].0);
    into.store().remove(&dropped.name).unwrap();
    let report = pull(&*trial.repository, &into);
    assert!(report.is_complete() && report.snapshots.is_empty());
    let far = sync(&*trial.repository, &memory(), &Wanted::Above(Position { epoch: 0, sequence: 2 }), &options()).unwrap();
    assert_eq!(far.snapshots.iter().map(|known| known.at.sequence).collect::<Vec<_>>(), [3]);
    let rebuilt = sync(&*trial.repository, &into, &Wanted::History, &options()).unwrap();
    assert_eq!(rebuilt.snapshots, [dropped]);
    assert_eq!(assert_restores(&trial, &into, &versions, "history"), 3);
}

#[test]
fn a_lost_archive_is_rebuilt_from_its_mirror_with_its_own_old_receipts() {
    let trial = Trial::new();
    let versions = packed_and_small(&trial);
    let (archive, mirror, rebuilt) = (memory(), memory(), memory());
    pull_all(&*trial.repository, &archive);
    let node = SyncOptions { receipt: Arc::new(Signer::from_seed(&[55; 32])), ..options() };
    assert!(sync(&*archive, &mirror, &ALL, &node).unwrap().is_complete());
    drop(archive);
    let later = SyncOptions { clock: Arc::new(|| START_MS + 10 * 86_400_000), ..options() };
    assert!(sync(&*mirror, &rebuilt, &Wanted::History, &later).unwrap().is_complete());
    assert_eq!(assert_restores(&trial, &rebuilt, &versions, "rebuilt"), 3);
    for known in rebuilt.snapshots().unwrap() {
        let receipts = rebuilt.receipts(&known).unwrap();
        let own: Vec<u64> = receipts
            .iter()
            .filter(|receipt| receipt.signer == later.receipt.public())
            .map(|receipt| receipt.body.received_ms)
            .collect();
        assert_eq!(own, [START_MS + 86_400_000], "the receipt says when the archive had it first");
        assert_eq!(receipts.len(), 3, "those of exporter, archive and mirror");
    }
}

#[test]
fn runs_come_before_their_snapshot_exists() {
    let trial = Trial::new();
    let versions = packed_and_small(&trial);
    let newest = versions[0].0;
    let mut origin = Origin::of(&trial.repository);
    origin.list_lie = Some(Box::new(|mut listing| {
        listing.snapshots.clear();
        Some(listing)
    }));
    let into = memory();
    let report = pull(&origin, &into);
    assert!(report.is_complete() && report.snapshots.is_empty() && report.segments > 0, "{report:?}");
    let ahead = origin.given();
    pull_all(&origin, &into);
    assert_eq!(origin.given(), ahead, "what came ahead is not fetched again");
    origin.list_lie = None;
    let report = pull(&origin, &into);
    assert!(report.is_complete());
    assert_eq!(report.snapshots.first().map(|known| known.id), Some(newest));
    assert_eq!(origin.given(), ahead, "only snapshots were left to take");
    assert_eq!(assert_restores(&trial, &into, &versions, "after it came ahead"), 3);
}

#[test]
fn a_snapshot_that_is_nowhere_is_named() {
    let trial = Trial::new();
    let wanted = Wanted::Only(SnapshotId([9; 16]));
    assert!(matches!(sync(&*trial.repository, &memory(), &wanted, &options()), Err(archive::Error::NoSnapshot { .. })));
}

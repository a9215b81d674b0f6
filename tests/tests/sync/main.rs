//! Sync: what arrives, what is not fetched twice, what is refused, and what a crash leaves.

mod blind;
mod crash;
mod hostile;
mod moves;

use archive::repository::Repository;
use archive::sign::Signer;
use archive::store::{MemoryStore, Store};
use archive::sync::{Source, SyncOptions, SyncReport, Wanted, sync};
use archive::trust::Trust;
use std::sync::Arc;
use tests::plain::PlainTree;
use tests::trial::{START_MS, Trial, restore_from};

const ALL: Wanted = Wanted::Above(archive::name::Position { epoch: 0, sequence: 0 });

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(len);
    out
}

fn options() -> SyncOptions {
    SyncOptions::new(Trust::default(), Arc::new(Signer::from_seed(&[99; 32])), Arc::new(|| START_MS + 86_400_000))
}

/// An empty repository of the trial's dataset in this store.
fn empty(store: Arc<dyn Store>) -> Arc<Repository> {
    Repository::create(&*store, "shop", "data").expect("a repository is made");
    Arc::new(Repository::open(store).expect("it opens"))
}

fn memory() -> Arc<Repository> {
    empty(Arc::new(MemoryStore::default()))
}

fn pull(source: &dyn Source, into: &Repository) -> SyncReport {
    sync(source, into, &ALL, &options()).expect("our own store does not fail")
}

/// A sync that takes all there is.
fn pull_all(source: &dyn Source, into: &Repository) {
    let report = pull(source, into);
    assert!(report.is_complete(), "{report:?}");
}

/// What was exported, oldest first.
type Versions = Vec<(archive::id::SnapshotId, PlainTree)>;

fn version(trial: &Trial, tree: &PlainTree, versions: &mut Versions) {
    match trial.export(tree).outcome {
        archive::export::Outcome::Snapshot { id, .. } => versions.push((id, tree.clone())),
        other => panic!("something changed, but {other:?}"),
    }
}

/// One export into packs, one small one, and a heartbeat.
fn packed_and_small(trial: &Trial) -> Versions {
    packed(trial, 3_000_000)
}

fn packed(trial: &Trial, len: usize) -> Versions {
    let mut versions = vec![];
    let mut tree = PlainTree::new("s");
    tree.file("s/large", noise(1, len));
    tree.file("s/gone", noise(2, len));
    version(trial, &tree, &mut versions);
    tree.file("s/small", noise(3, 2000));
    version(trial, &tree, &mut versions);
    tree.file("s/other", noise(4, 700_000));
    version(trial, &tree, &mut versions);
    assert!(matches!(trial.export(&tree).outcome, archive::export::Outcome::Unchanged { .. }));
    versions
}

/// Restores every published snapshot; gives how many there are.
fn assert_restores(trial: &Trial, repository: &Repository, versions: &Versions, what: &str) -> usize {
    let known = repository.snapshots().expect("snapshots are listed");
    for known in &known {
        let (_, tree) = versions.iter().find(|(id, _)| *id == known.id).expect("it is one that was exported");
        let target = tempfile::tempdir().expect("a folder to restore to");
        let report = restore_from(repository, known, &mut trial.keyring(), target.path()).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(report.problems.is_empty(), "{what}: {:?}", report.problems);
        tree.assert_same(&PlainTree::read(target.path()), what);
    }
    known.len()
}

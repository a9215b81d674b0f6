//! What a receiver lacks and the spool has lost is stored anew by the next export, whether or not the data changed.

use archive::id::Address;
use archive::name::Position;
use archive::repository::Repository;
use archive::sign::Signer;
use archive::store::{FolderStore, MemoryStore, Store};
use archive::sync::{SyncOptions, SyncReport, Wanted, sync};
use archive::trust::Trust;
use std::sync::Arc;
use tests::chance::noise;
use tests::plain::PlainTree;
use tests::trial::{CLUSTER, DATASET, START_MS, Trial, restore_from};

fn tree() -> PlainTree {
    let mut tree = PlainTree::new("s");
    tree.file("s/large", noise(1, 6_000_000));
    for number in 0..200 {
        tree.file(format!("s/small{number:03}"), noise(10 + number, 3000));
    }
    tree
}

fn pull(from: &Repository, into: &Repository) -> SyncReport {
    let receipt = Arc::new(Signer::from_seed(&[99; 32]));
    let options = SyncOptions::new(Trust::default(), receipt, Arc::new(|| START_MS + 86_400_000));
    from.forget_locations();
    sync(from, into, &Wanted::Above(Position::default()), &options).expect("our own store does not fail")
}

fn archive() -> Repository {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    Repository::create(&*store, CLUSTER, DATASET).unwrap();
    Repository::open(store).unwrap()
}

/// Loses every pack of the spool but the first; what the receiver lacks then.
fn lose(spool: &std::path::Path, archive: &Repository, trial: &Trial) -> Vec<Address> {
    let mut packs: Vec<_> = std::fs::read_dir(spool.join("packs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    packs.sort();
    assert!(!packs.is_empty(), "the trial is large enough to have packs");
    packs.iter().for_each(|pack| std::fs::remove_file(pack).unwrap());
    let report = pull(&trial.repository, archive);
    assert!(!report.lacking.is_empty() && report.snapshots.is_empty(), "{report:?}");
    report.lacking
}

#[test]
fn what_was_lost_is_stored_anew_by_the_next_export() {
    for (case, cache, changes) in [("from the cache", 1 << 30, false), ("by reading again", 0, false), ("and changed", 0, true)] {
        let folder = tempfile::tempdir().unwrap();
        let mut trial = Trial::with(Arc::new(FolderStore::open(folder.path()).unwrap()), true);
        trial.options.cache_bytes = cache;
        let mut tree = tree();
        trial.export(&tree);
        let archive = archive();
        let lacking = lose(folder.path(), &archive, &trial);
        if changes {
            tree.file("s/small007", "changed");
        }
        // Without a word of what is lacking, nothing would ever mend it.
        let report = trial.export(&tree);
        let pulled = pull(&trial.repository, &archive);
        assert!(!pulled.lacking.is_empty(), "{case}: {report:?} {pulled:?}");
        trial.options.lost = lacking.into_iter().chain(pulled.lacking).collect();
        trial.export(&tree);
        let pulled = pull(&trial.repository, &archive);
        assert_eq!(pulled.snapshots.len(), 1, "{case}: {pulled:?}");
        let newest = archive.snapshots().unwrap().pop().unwrap();
        let target = tempfile::tempdir().unwrap();
        let restored = restore_from(&archive, &newest, &mut trial.keyring(), target.path()).unwrap();
        assert!(restored.problems.is_empty(), "{case}: {:?}", restored.problems);
        tree.assert_same(&PlainTree::read(target.path()), case);
        // And what comes after it costs little again.
        trial.options.lost = vec![];
        let report = trial.export(&tree);
        assert!(report.incremental && report.stored_bytes < 10_000, "{case}: {report:?}");
    }
}

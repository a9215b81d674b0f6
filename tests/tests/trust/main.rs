//! Whose word counts: a compromised exporter, a stolen pull-backup, nodes that were expelled, and an archive that lost what it had acknowledged.

mod archive_lost;
mod certificates;
mod expelled;
mod exporter;
mod pull_backup;

use archive::name::Position;
use archive::record::{Certificate, Signed};
use archive::repository::Repository;
use archive::sign::{PublicKey, Signer};
use archive::store::{MemoryStore, Store};
use archive::sync::{Source, SyncOptions, SyncReport, Wanted, sync};
use archive::trust::Trust;
use std::sync::Arc;
use tests::plain::PlainTree;
use tests::trial::{CLUSTER, DATASET, START_MS, Trial, restore_from};

const ALL: Wanted = Wanted::Above(Position { epoch: 0, sequence: 0 });

/// An archive in memory, and the key that it signs receipts with.
struct Keeper {
    store: MemoryStore,
    repository: Arc<Repository>,
    receipt: Arc<Signer>,
}

impl Keeper {
    fn new() -> Keeper {
        Keeper::of(MemoryStore::default(), true)
    }

    fn of(store: MemoryStore, is_new: bool) -> Keeper {
        if is_new {
            Repository::create(&store, CLUSTER, DATASET).unwrap();
        }
        let shared: Arc<dyn Store> = Arc::new(store.clone());
        Keeper {
            store,
            repository: Arc::new(Repository::open(shared).unwrap()),
            receipt: Arc::new(Signer::from_seed(&[90; 32])),
        }
    }

    fn pull(&self, from: &dyn Source, trust: &Trust, at_ms: u64) -> SyncReport {
        let options = SyncOptions::new(trust.clone(), self.receipt.clone(), Arc::new(move || at_ms));
        self.repository.forget_locations();
        sync(from, &self.repository, &ALL, &options).expect("our own store does not fail")
    }

    /// The same, of what is as it should be.
    fn take(&self, from: &dyn Source, trust: &Trust, at_ms: u64) {
        let report = self.pull(from, trust, at_ms);
        assert!(report.is_complete(), "{report:?}");
    }

    fn names(&self) -> Vec<String> {
        self.repository.snapshots().unwrap().into_iter().map(|known| known.name).collect()
    }

    fn assert_newest_is(&self, trial: &Trial, tree: &PlainTree, what: &str) {
        self.repository.forget_locations();
        let newest = self.repository.snapshots().unwrap().pop().expect("there is one");
        let target = tempfile::tempdir().unwrap();
        let report = restore_from(&self.repository, &newest, &mut trial.keyring(), target.path()).unwrap();
        assert!(report.problems.is_empty(), "{what}: {:?}", report.problems);
        tree.assert_same(&PlainTree::read(target.path()), what);
    }
}

fn pins(keys: &[&Signer]) -> Trust {
    Trust { pinned: keys.iter().map(|key| key.public()).collect(), ..Trust::default() }
}

fn rooted(cluster: &Signer) -> Trust {
    Trust { cluster_key: Some(cluster.public()), ..Trust::default() }
}

fn certificate(by: &Signer, node: &str, key: PublicKey) -> Signed<Certificate> {
    Signed::sign(Certificate { cluster: CLUSTER.into(), node: node.into(), key, issued_ms: 1 }, by)
}

fn publish(repository: &Repository, certificate: &Signed<Certificate>) {
    let name = archive::name::node(&certificate.body.key, certificate.id());
    repository.publish_record(&name, certificate).unwrap();
}

/// A tree whose file says which version it is.
fn version(tree: &mut PlainTree, number: u64) {
    tree.file("s/version", format!("version {number}"));
}

fn tree() -> PlainTree {
    let mut tree = PlainTree::new("s");
    tree.file("s/large", tests::chance::noise(1, 3_000_000));
    version(&mut tree, 0);
    tree
}

const LATER_MS: u64 = START_MS + 86_400_000;

//! A snapshot that is published while its epoch is sealed: it is in the sealed base, or it is kept aside; never in the history above the seal.

use crate::alone::Bench;
use archive::name::Position;
use archive::repository::{Access, Repository};
use archive::sign::Signer;
use archive::store::{FolderStore, MemoryStore};
use archive::sync::{SyncOptions, SyncReport, Wanted, sync};
use archive::trust::Trust;
use console::pull_backup_file::PullBackupFile;
use link::repositories::Dataset;
use pull_backup::publishing::Publish;
use std::path::Path;
use std::sync::{Arc, Barrier};
use tests::chance::Chance;
use tests::plain::PlainTree;
use tests::trial::{CLUSTER, DATASET, START_MS, Trial, copy_store};

const ROUNDS: u64 = 200;

fn pull(publish: &Publish, path: &Path, from: &Repository) -> SyncReport {
    let signer = Arc::new(Signer::from_seed(&[9; 32]));
    let trust = Trust { pinned: vec![crate::alone::key("web1")], ..Trust::default() };
    let dataset = Dataset { cluster: CLUSTER.into(), name: DATASET.into() };
    let options = SyncOptions {
        admission: publish.rule_of(&dataset).unwrap(),
        ..SyncOptions::new(trust, signer, Arc::new(|| START_MS))
    };
    let into = Repository::open_folder(path, Access::Shared).unwrap();
    sync(from, &into, &Wanted::Above(Position::default()), &options).unwrap()
}

#[test]
fn a_snapshot_is_in_the_sealed_base_or_kept_aside_whichever_is_first() {
    let mut trial = Trial::with(Arc::new(MemoryStore::default()), false);
    (trial.options.signer, trial.options.node, trial.options.epoch) = (Arc::new(Signer::from_seed(&[1; 32])), "web1".into(), 1);
    let tree = |text: &str| {
        let mut tree = PlainTree::new("s");
        tree.file("s/one", text.as_bytes().to_vec());
        tree
    };
    trial.export(&tree("first"));
    let base = Repository::open(Arc::new(copy_store(trial.repository.store()))).unwrap();
    trial.export(&tree("late"));
    let mut chance = Chance::new(7);
    let (mut sealed_first, mut published_first) = (0, 0);
    for round in 0..ROUNDS {
        let folder = tempfile::tempdir().unwrap();
        let (state, store) = (folder.path().join("state"), folder.path().join("archive"));
        let path = store.join(CLUSTER).join(DATASET);
        std::fs::create_dir_all(&path).unwrap();
        Repository::create(&FolderStore::open(&path).unwrap(), CLUSTER, DATASET).unwrap();
        let text = format!("state = {state:?}\nstore = {{ path = {store:?} }}\n");
        let publish = Publish::new(&PullBackupFile::parse(&text, Path::new("pull-backup.toml")).unwrap(), Arc::new(|| START_MS));
        let mut bench = Bench::new(&state, &store, &["web1", "web2"]);
        assert_eq!(pull(&publish, &path, &base).snapshots.len(), 1, "the first is published");
        let heads = bench.heads();
        bench.begin();
        let offer = bench.offered("web2", heads.clone(), false);
        let (together, turns) = (Barrier::new(2), chance.below(3000) as u64);
        let spin = |turns: u64| (0..turns).for_each(|_| std::hint::spin_loop());
        let (report, grant) = std::thread::scope(|scope| {
            let pulls = scope.spawn(|| {
                together.wait();
                spin(if round % 2 == 0 { turns * 100 } else { 0 });
                pull(&publish, &path, &trial.repository)
            });
            together.wait();
            spin(if round % 2 == 1 { turns * 300 } else { 0 });
            let grant = bench.claims("web2", &offer, heads.clone());
            (pulls.join().unwrap(), grant)
        });
        bench.end();
        let reigns = bench.ledger.open(CLUSTER).unwrap().unwrap();
        match grant {
            Some(_) => {
                sealed_first += 1;
                assert_eq!((reigns.epoch, report.snapshots.len(), report.aside.len()), (2, 0, 1), "sealed first: {report:?}");
                assert_eq!(bench.heads(), heads, "the history ends where it was sealed");
            }
            None => {
                published_first += 1;
                assert_eq!((reigns.epoch, report.snapshots.len(), report.aside.len()), (1, 1, 0), "published first: {report:?}");
            }
        }
    }
    assert!(sealed_first > 0 && published_first > 0, "{sealed_first} sealed first, {published_first} published first: no race");
}

//! A pull-backup's folders without its daemon, and nodes' spools beside it.

use archive::export::Outcome;
use archive::id::SnapshotId;
use archive::name::Position;
use archive::repository::{Access, Known, Repository};
use archive::sign::Signer;
use archive::store::{FolderStore, MemoryStore};
use archive::sync::{Admission, Source, SyncOptions, SyncReport, Wanted, sync};
use archive::trust::Trust;
use console::pull_backup_file::PullBackupFile;
use link::publishing::{Kept, Publishing};
use link::reigns::Holder;
use link::repositories::Dataset;
use pull_backup::publishing::Publish;
use pull_backup::quarantine::Name;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;
use tests::history::noise;
use tests::plain::PlainTree;
use tests::reigning::grant;
use tests::trial::{CLUSTER, DATASET, START_MS, Trial, restore_from};

pub fn signer(seed: u8) -> Arc<Signer> {
    Arc::new(Signer::from_seed(&[seed; 32]))
}

/// A tree that differs for each seed, with much in common.
pub fn tree(seed: u64) -> PlainTree {
    let mut tree = PlainTree::new("s");
    tree.file("s/large", noise(1, 300_000));
    tree.file("s/own", noise(1000 + seed, 20_000));
    tree
}

pub fn dataset() -> Dataset {
    Dataset { cluster: CLUSTER.into(), name: DATASET.into() }
}

pub struct Scene {
    pub folder: TempDir,
    pub file: PullBackupFile,
    pub publish: Publish,
    /// Node `web1`, with key 1: the active one of epoch 1.
    pub first: Trial,
}

impl Scene {
    pub fn new() -> Scene {
        Scene::with("")
    }

    /// With these lines in the configuration.
    pub fn with(more: &str) -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let (state, store) = (folder.path().join("state"), folder.path().join("archive"));
        let text = format!("state = {state:?}\nstore = {{ path = {store:?} }}\n{more}");
        let file = PullBackupFile::parse(&text, Path::new("pull-backup.toml")).unwrap();
        let publish = Publish::new(&file, Arc::new(|| START_MS));
        let mut first = Trial::with(Arc::new(MemoryStore::default()), true);
        (first.options.signer, first.options.epoch) = (signer(1), 1);
        let path = store.join(CLUSTER).join(DATASET);
        std::fs::create_dir_all(&path).unwrap();
        Repository::create(&FolderStore::open(&path).unwrap(), CLUSTER, DATASET).unwrap();
        publish.ledger.first(CLUSTER, Holder::new("web1", signer(1).public()), 1).unwrap();
        Scene { folder, file, publish, first }
    }

    pub fn path(&self) -> PathBuf {
        self.file.store.join(CLUSTER).join(DATASET)
    }

    pub fn archive(&self) -> Repository {
        Repository::open_folder(&self.path(), Access::Shared).unwrap()
    }

    /// Another node that goes on from what this one has now, with a copy of all.
    pub fn branch(&self, of: &Trial, node: &str, seed: u8, epoch: u64) -> Trial {
        let copy = tests::trial::copy_store(of.repository.store());
        let mut branch = of.fork(Arc::new(copy)).unwrap();
        (branch.options.node, branch.options.signer, branch.options.epoch) = (node.into(), signer(seed), epoch);
        branch
    }

    pub fn options(&self) -> SyncOptions {
        let pinned = (1..=3).map(|seed| signer(seed).public()).collect();
        let trust = Trust { pinned, ..Trust::default() };
        SyncOptions::new(trust, signer(9), Arc::new(|| START_MS))
    }

    pub fn rule(&self) -> Arc<dyn Admission> {
        self.publish.rule_of(&dataset()).unwrap().expect("somebody reigns")
    }

    /// Pulls what a node has into the archive, by the rule.
    pub fn pull(&self, from: &dyn Source) -> SyncReport {
        let options = SyncOptions { admission: Some(self.rule()), ..self.options() };
        sync(from, &self.archive(), &Wanted::Above(Position::default()), &options).unwrap()
    }

    /// The same, and what was put aside goes to quarantine.
    pub fn pull_and_keep(&self, from: &dyn Source) -> (SyncReport, Vec<Kept>) {
        let report = self.pull(from);
        let kept = self.publish.keep(&dataset(), &report.aside, from, &self.archive(), &self.options()).unwrap();
        (report, kept)
    }

    /// Pulls, whatever comes of it.
    pub fn takes(&self, from: &dyn Source) {
        drop(self.pull(from));
    }

    /// Pulls, and keeps what is put aside, whatever comes of it.
    pub fn keeps(&self, from: &dyn Source) {
        drop(self.pull_and_keep(from));
    }

    /// Seals the current epoch where the archive is, and gives the next to a node.
    pub fn grant(&self, seal: u64, node: &str, seed: u8) {
        grant(&self.publish.ledger, CLUSTER, seal, seal + 1, (node, signer(seed).public()));
    }

    /// What is published.
    pub fn published(&self) -> Vec<SnapshotId> {
        self.archive().snapshots().unwrap().into_iter().map(|known| known.id).collect()
    }

    pub fn quarantined(&self) -> Vec<(Name, Vec<Known>)> {
        let quarantine = &self.publish.quarantine;
        quarantine.all().into_iter().map(|name| (name.clone(), quarantine.snapshots(&name))).collect()
    }

    /// Asserts that a snapshot in quarantine restores bit for bit from there alone.
    pub fn assert_whole(&self, of: &Trial, id: SnapshotId, tree: &PlainTree, what: &str) {
        let all = self.quarantined();
        let found = all.iter().find_map(|(name, known)| Some((name, known.iter().find(|known| known.id == id)?)));
        let (name, known) = found.unwrap_or_else(|| panic!("{what}: {id} is not in quarantine: {all:?}"));
        let repository = self.publish.quarantine.open(name, Access::Shared).unwrap();
        let target = tempfile::tempdir().unwrap();
        let report = restore_from(&repository, known, &mut of.keyring(), target.path()).unwrap();
        assert!(report.problems.is_empty(), "{what}: {:?}", report.problems);
        tree.assert_same(&PlainTree::read(target.path()), what);
    }
}

/// Exports, and says which snapshot came of it.
pub fn export(trial: &Trial, tree: &PlainTree) -> SnapshotId {
    match trial.export(tree).outcome {
        Outcome::Snapshot { id, .. } => id,
        Outcome::Unchanged { .. } => panic!("it changed"),
    }
}

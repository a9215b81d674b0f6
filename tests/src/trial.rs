//! A repository to try things on: its store, local state, keys, and a clock that goes when told.

use crate::plain::PlainTree;
use archive::entry::Attributes;
use archive::export::item::{Body, Item};
use archive::export::{Export, ExportOptions, ExportReport};
use archive::id::SnapshotId;
use archive::identity::{Keyring, generate};
use archive::local::state::Local;
use archive::read::open::OpenSnapshot;
use archive::read::restore::{RestoreOptions, RestoreReport, restore};
use archive::repository::{Known, Repository};
use archive::root::Source;
use archive::sign::Signer;
use archive::store::{MemoryStore, Store};
use archive::trust::Trust;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// 2026-11-21, noon.
pub const START_MS: u64 = 1_795_262_400_000;

/// What every trial's repository is of.
pub const CLUSTER: &str = "shop";
pub const DATASET: &str = "data";

pub struct Trial {
    pub folder: tempfile::TempDir,
    pub repository: Arc<Repository>,
    pub options: ExportOptions,
    pub identity: PathBuf,
    pub clock: Arc<AtomicU64>,
}

impl Trial {
    /// A sealed one in memory.
    pub fn new() -> Self {
        Self::with(Arc::new(MemoryStore::default()), true)
    }

    pub fn unsealed() -> Self {
        Self::with(Arc::new(MemoryStore::default()), false)
    }

    /// One in this store; the repository is made when it is not there.
    pub fn with(store: Arc<dyn Store>, sealed: bool) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let (private, public) = generate();
        let identity = folder.path().join("identity");
        std::fs::write(&identity, private).expect("the identity is written");
        let clock = Arc::new(AtomicU64::new(START_MS));
        let now = clock.clone();
        let options = ExportOptions {
            node: "web1".into(),
            signer: Arc::new(Signer::from_seed(&[7; 32])),
            recipients: sealed.then(|| vec![public]),
            epoch: 0,
            above: 0,
            level: 2,
            cache_bytes: 1 << 30,
            threads: 2,
            clock: Arc::new(move || now.fetch_add(1, Ordering::SeqCst)),
            sources: vec![Source { name: "s".into(), recipe: "files".into(), manifest: vec![] }],
            lost: vec![],
            aside: vec![],
            advance: Arc::new(|_| ()),
        };
        Repository::create(&*store, CLUSTER, DATASET).expect("a repository is made");
        let repository = Arc::new(Repository::open(store).expect("it opens"));
        Trial { folder, repository, options, identity, clock }
    }

    pub fn local(&self) -> PathBuf {
        self.folder.path().join("local")
    }

    /// Lets time pass.
    pub fn wait_ms(&self, ms: u64) {
        self.clock.fetch_add(ms, Ordering::SeqCst);
    }

    pub fn export(&self, tree: &PlainTree) -> ExportReport {
        self.wait_ms(10_000);
        tree.export(&self.repository, &self.local(), &self.options).expect("the export goes through")
    }

    /// Exports streams: `s/000`, `s/001`, and so on.
    pub fn export_streams(&self, streams: impl Iterator<Item = Box<dyn Read + Send>>) -> ExportReport {
        self.wait_ms(10_000);
        self.try_export_streams(streams).expect("the export goes through")
    }

    pub fn try_export_streams(&self, streams: impl Iterator<Item = Box<dyn Read + Send>>) -> archive::Result<ExportReport> {
        let local = Local::open(&self.local())?;
        let mut export = Export::begin(self.repository.clone(), local, self.options.clone())?;
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let attributes = Attributes { mode: 0o700, uid, gid, ..Attributes::default() };
        let item = |path: String, body| Item { path: path.into_bytes(), attributes: attributes.clone(), stamp: None, body };
        export.add(item("s".into(), Body::Folder))?;
        for (number, stream) in streams.enumerate() {
            export.add(item(format!("s/{number:03}"), Body::Stream(stream)))?;
        }
        export.finish()
    }

    /// Restores the newest snapshot, and compares its streams.
    #[track_caller]
    pub fn assert_streams_are(&self, contents: &[Vec<u8>]) {
        let target = tempfile::tempdir().expect("a folder can be made");
        let known = self.repository.snapshots().expect("snapshots are listed").pop().expect("there is one");
        self.restore(&known, target.path()).expect("it is restored");
        for (number, content) in contents.iter().enumerate() {
            let found = std::fs::read(target.path().join(format!("s/{number:03}"))).expect("the stream is there");
            assert!(found == *content, "stream {number} of {} bytes is another", content.len());
        }
    }

    pub fn keyring(&self) -> Keyring {
        Keyring::from_file(&self.identity, &mut |_| panic!("it has no passphrase")).expect("the identity is read")
    }

    pub fn known(&self, id: SnapshotId) -> Known {
        known_in(&self.repository, id)
    }

    /// Restores a snapshot into a new folder below `to`.
    pub fn restore(&self, known: &Known, to: &Path) -> archive::Result<RestoreReport> {
        restore_from(&self.repository, known, &mut self.keyring(), to)
    }

    /// Restores the newest and compares it.
    pub fn assert_newest_is(&self, tree: &PlainTree, what: &str) {
        self.repository.forget_locations();
        let known = self.repository.snapshots().expect("snapshots are listed").pop().expect("there is one");
        self.assert_is(&known, tree, what);
    }

    pub fn assert_is(&self, known: &Known, tree: &PlainTree, what: &str) {
        let target = tempfile::tempdir().expect("a folder to restore to");
        let report = self.restore(known, target.path()).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(report.problems.is_empty(), "{what}: {:?}", report.problems);
        tree.assert_same(&PlainTree::read(target.path()), what);
    }
}

impl Default for Trial {
    fn default() -> Self {
        Self::new()
    }
}

pub fn known_in(repository: &Repository, id: SnapshotId) -> Known {
    let known = repository.snapshots().expect("snapshots are listed");
    known.into_iter().find(|known| known.id == id).expect("the snapshot is there")
}

pub fn restore_from(repository: &Repository, known: &Known, keyring: &mut Keyring, to: &Path) -> archive::Result<RestoreReport> {
    let opened = OpenSnapshot::open(repository, known, &Trust::default(), keyring)?;
    restore(&opened, to, &RestoreOptions::default())
}

impl Trial {
    /// The same node before another store, with a copy of its local state: what is done to the one leaves the other as it is.
    pub fn fork(&self, store: Arc<dyn Store>) -> archive::Result<Trial> {
        let folder = tempfile::tempdir().expect("a folder for the test");
        copy_folder(self.folder.path(), folder.path());
        let repository = Arc::new(Repository::open(store)?);
        let identity = folder.path().join("identity");
        Ok(Trial { folder, repository, options: self.options.clone(), identity, clock: self.clock.clone() })
    }

    /// Exports and says what came of it.
    pub fn try_export(&self, tree: &PlainTree) -> archive::Result<ExportReport> {
        self.wait_ms(10_000);
        tree.export(&self.repository, &self.local(), &self.options)
    }
}

/// Copies files and folders.
pub fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder can be made");
    for entry in from.read_dir().expect("it is a folder") {
        let entry = entry.expect("it can be listed");
        let there = to.join(entry.file_name());
        if entry.file_type().expect("it was listed").is_dir() {
            copy_folder(&entry.path(), &there);
        } else {
            std::fs::copy(entry.path(), &there).expect("a file can be copied");
        }
    }
}

/// Everything that is in a store, in one of its own.
pub fn copy_store(store: &dyn Store) -> MemoryStore {
    let copy = MemoryStore::default();
    let take = |name: &str| {
        let bytes = archive::store::read_all(store, name, usize::MAX >> 1).expect("it was listed");
        copy.set(name, bytes);
    };
    take(archive::name::CONFIG);
    for folder in archive::name::FOLDERS {
        store.list(folder).expect("it can be listed").iter().for_each(|listed| take(&listed.name));
    }
    copy
}

//! A history to keep, sweep, check and damage: a few exports into a store in memory, and what each held.

use crate::plain::PlainTree;
use crate::trial::{Trial, restore_from};
use archive::export::Outcome;
use archive::id::SnapshotId;
use archive::name;
use archive::repository::{Known, Repository};
use archive::store::{MemoryStore, Store, read_all};
use std::sync::Arc;

/// Bytes that do not compress and can be made again.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
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

/// A store with other bytes than this one's later changes: a copy of everything.
pub fn copy_of(store: &dyn Store) -> MemoryStore {
    let copy = MemoryStore::default();
    for name in names(store) {
        copy.set(&name, read_all(store, &name, 1 << 30).expect("it was listed"));
    }
    copy
}

/// Every object of a repository.
pub fn names(store: &dyn Store) -> Vec<String> {
    let listed = name::FOLDERS.iter().flat_map(|folder| store.list(folder).expect("it lists"));
    let mut names: Vec<String> = listed.map(|listed| listed.name).collect();
    names.extend(store.read(name::CONFIG, 0, 1, &mut Vec::new()).is_ok().then(|| name::CONFIG.to_string()));
    names
}

pub struct History {
    pub trial: Trial,
    pub store: MemoryStore,
    pub snapshots: Vec<(SnapshotId, PlainTree)>,
}

impl History {
    pub fn new(sealed: bool) -> Self {
        let store = MemoryStore::default();
        History { trial: Trial::with(Arc::new(store.clone()), sealed), store, snapshots: vec![] }
    }

    /// One snapshot in packs, and `count` small ones after it, each an hour later, that keep most of what was before them.
    pub fn grown(sealed: bool, count: u64) -> Self {
        let mut history = Self::new(sealed);
        let mut tree = PlainTree::new("s");
        tree.file("s/large", noise(1, 700_000));
        tree.file("s/other", noise(2, 400_000));
        history.export(&tree);
        for n in 0..count {
            tree.file(format!("s/file {n}"), noise(100 + n, 9_000));
            history.trial.wait_ms(3_600_000);
            history.export(&tree);
        }
        history
    }

    pub fn export(&mut self, tree: &PlainTree) -> SnapshotId {
        match self.trial.export(tree).outcome {
            Outcome::Snapshot { id, .. } => {
                self.snapshots.push((id, tree.clone()));
                id
            }
            Outcome::Unchanged { id, .. } => id,
        }
    }

    pub fn tree(&self, id: SnapshotId) -> &PlainTree {
        &self.snapshots.iter().find(|(known, _)| *known == id).expect("it was exported here").1
    }

    /// Restores a snapshot. `Ok(true)`: bit for bit right; `Ok(false)`: it says what it could not restore, and the rest is right.
    pub fn try_restore(&self, repository: &Repository, known: &Known, what: &str) -> Result<bool, archive::Error> {
        let target = tempfile::tempdir().expect("a folder to restore to");
        let report = restore_from(repository, known, &mut self.trial.keyring(), target.path())?;
        let restored = PlainTree::read(target.path());
        if report.problems.is_empty() {
            self.tree(known.id).assert_same(&restored, what);
            return Ok(true);
        }
        let named = |path: &[u8]| report.problems.iter().any(|problem| problem.path == path);
        for (name, (expected, _)) in &self.tree(known.id).entries {
            let same = restored.entries.get(name).is_some_and(|(found, _)| found == expected);
            assert!(same || named(&name.0), "{what}: {} is wrong and nobody says so", String::from_utf8_lossy(&name.0));
        }
        Ok(false)
    }

    /// Asserts that every snapshot that is there restores bit for bit.
    pub fn assert_all_restore(&self, store: &MemoryStore, what: &str) -> Vec<SnapshotId> {
        let repository = Repository::open(Arc::new(store.clone())).expect("it opens");
        let known = repository.snapshots().expect("it lists");
        for known in &known {
            let whole = self
                .try_restore(&repository, known, what)
                .unwrap_or_else(|error| panic!("{what}: {}: {error}", known.name));
            assert!(whole, "{what}: {} has problems", known.name);
        }
        known.iter().map(|known| known.id).collect()
    }
}

//! Local state: which published snapshot it belongs to, its index and stamps, who refers to what.
//!
//! Files named after the snapshot are written first and synced, then `state` is replaced; it holds their hashes. So a crash leaves the old state or the new, and torn files
//! are noticed.

mod bytes;
mod stamp;

use crate::encode::{Put, Take};
use crate::entry::Time;
use crate::error::{Error, Result};
use crate::export::live::Live;
use crate::export::runs::ClosedRun;
use crate::extent::List;
use crate::id::{Hash, RepositoryId, SnapshotId};
use crate::name::Position;
use crate::sign::PublicKey;
use bytes::{decode, encode, take_closed};
pub use stamp::{EntryStamp, STAMP};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The folder, locked: two exports never share it.
pub struct Local {
    files: Arc<LocalFiles>,
    _lock: crate::store::FolderLock,
}

/// The files in it.
pub struct LocalFiles {
    folder: PathBuf,
}

impl std::ops::Deref for Local {
    type Target = LocalFiles;

    fn deref(&self) -> &LocalFiles {
        &self.files
    }
}

/// What belongs to one published snapshot.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    pub repository: RepositoryId,
    pub signer: PublicKey,
    /// For whom the base was sealed; a change starts a new base.
    pub sealing: Hash,
    pub snapshot: SnapshotId,
    pub at: Position,
    pub captured_ms: u64,
    pub heartbeats: u64,
    pub next_ordinal: u64,
    pub entries: u64,
    pub index: List,
    pub index_lists: u64,
    pub next_lists: u64,
    pub live: Live,
    /// BLAKE3 of the index and of the stamps.
    pub files: [Hash; 2],
    /// How the two files are named.
    pub generation: u64,
    /// What `sequence` was when this was saved. None: this node did not publish it, and has built on it since it took over.
    pub mark: Option<Mark>,
}

/// What tells that `sequence` is still the file that was written last. Whoever brings back an older copy of local state makes another, or changes its times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    inode: u64,
    ctime: Time,
}

impl Local {
    /// Opens the folder, makes it when it is not there, and takes its lock.
    pub fn open(folder: &Path) -> Result<Local> {
        crate::store::make_folder(folder, 0o700).map_err(Error::file("make", folder))?;
        let lock = crate::store::FolderLock::take(folder, true).map_err(Error::file("lock", &folder.join("lock")))?;
        let lock = lock.ok_or_else(|| Error::Busy {
            path: folder.into(),
            what: "another export of this dataset, or what it builds on is being made",
        })?;
        Ok(Local { files: Arc::new(LocalFiles { folder: folder.into() }), _lock: lock })
    }

    /// The files, for those who work under the lock of another.
    pub fn files(&self) -> Arc<LocalFiles> {
        self.files.clone()
    }
}

impl LocalFiles {
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub fn index(&self, generation: u64) -> PathBuf {
        self.path(&format!("index.{generation}"))
    }

    pub fn stamps(&self, generation: u64) -> PathBuf {
        self.path(&format!("stamps.{generation}"))
    }

    pub fn lists(&self, number: u64) -> PathBuf {
        self.path(&format!("lists/{number}"))
    }

    /// The state, or none when there is none that can be believed.
    pub fn load(&self) -> Option<State> {
        let bytes = std::fs::read(self.path("state")).ok()?;
        let state = decode(&checked(&bytes)?).ok()?;
        let same = |path: &Path, hash: Hash| hash_file(path).is_ok_and(|found| found == hash);
        let whole = same(&self.index(state.generation), state.files[0]) && same(&self.stamps(state.generation), state.files[1]);
        whole.then_some(state)
    }

    /// Makes a new state the one that counts, and removes files that it does not need.
    pub fn save(&self, state: &State, keep_lists: &std::collections::HashSet<u64>) -> Result<()> {
        self.replace("state", &with_check(encode(state)))?;
        let wanted = [self.index(state.generation), self.stamps(state.generation)];
        for entry in self.folder.read_dir().map_err(Error::file("list", &self.folder))?.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let generation = name.starts_with("index.") || name.starts_with("stamps.");
            if generation && !wanted.contains(&entry.path()) {
                // What stays is removed after the next export.
                let _ = std::fs::remove_file(entry.path());
            }
        }
        let lists = self.path("lists");
        for entry in lists.read_dir().into_iter().flatten().flatten() {
            let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
            if number.is_none_or(|number| !keep_lists.contains(&number)) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
        Ok(())
    }

    /// Replaces a small file, durably.
    pub fn replace(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let (path, draft) = (self.path(name), self.path(&format!(".{name}")));
        let write = || -> std::io::Result<()> {
            let mut file = private(&draft)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            std::fs::rename(&draft, &path)?;
            File::open(&self.folder)?.sync_all()
        };
        write().map_err(Error::file("write", &path))
    }

    /// Writes the levels of a list that is a stream.
    pub fn save_lists(&self, number: u64, levels: &[Vec<u8>]) -> Result<()> {
        let path = self.lists(number);
        let mut bytes = Vec::new();
        bytes.varint(levels.len() as u64);
        levels.iter().for_each(|level| bytes.bytes(level));
        let write = || -> std::io::Result<()> {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(self.path("lists"))?;
            let mut file = private(&path)?;
            file.write_all(&with_check(bytes))?;
            file.sync_all()
        };
        write().map_err(Error::file("write", &path))
    }

    /// Reads them back; none when they are not there or not whole.
    pub fn load_lists(&self, number: u64) -> Option<Vec<Vec<u8>>> {
        let bytes = checked(&std::fs::read(self.lists(number)).ok()?)?;
        let mut take = Take::new(&bytes);
        let count = take.count(1).ok()?;
        (0..count).map(|_| take.bytes().ok().map(<[u8]>::to_vec)).collect()
    }

    /// The highest sequence that was ever about to be published here.
    pub fn last_sequence(&self) -> Option<u64> {
        std::fs::read_to_string(self.path("sequence")).ok()?.trim().parse().ok()
    }

    pub fn mark(&self) -> Option<Mark> {
        let found = std::fs::metadata(self.path("sequence")).ok()?;
        Some(Mark { inode: found.ino(), ctime: Time { seconds: found.ctime(), nanos: found.ctime_nsec() as u32 } })
    }

    pub fn reserve_sequence(&self, sequence: u64) -> Result<()> {
        self.replace("sequence", sequence.to_string().as_bytes())
    }

    /// Closed runs of an export that has not ended.
    pub fn save_journal(&self, sealing: Hash, runs: &[ClosedRun]) -> Result<()> {
        let mut bytes = Vec::new();
        bytes.raw(&sealing.0);
        bytes.varint(runs.len() as u64);
        for run in runs {
            bytes.varint(run.ordinal);
            bytes.raw(&run.id.0);
            bytes.raw(&run.record.0);
            bytes.varint(run.content_lens.len() as u64);
            run.content_lens.iter().for_each(|len| bytes.varint((*len).into()));
        }
        self.replace("journal", &with_check(bytes))
    }

    pub fn load_journal(&self, sealing: Hash) -> Vec<ClosedRun> {
        let read = || {
            let bytes = checked(&std::fs::read(self.path("journal")).ok()?)?;
            let mut take = Take::new(&bytes);
            if take.hash().ok()? != sealing {
                return None;
            }
            let count = take.count(34).ok()?;
            (0..count).map(|_| take_closed(&mut take).ok()).collect()
        };
        read().unwrap_or_default()
    }

    pub fn drop_journal(&self) {
        // One that stays names runs that are published or swept; both are checked before they are used.
        let _ = std::fs::remove_file(self.path("journal"));
    }
}

/// Creates or empties a file that only we may read.
pub fn private(path: &Path) -> std::io::Result<File> {
    std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

fn with_check(mut bytes: Vec<u8>) -> Vec<u8> {
    let hash = blake3::hash(&bytes);
    bytes.extend_from_slice(hash.as_bytes());
    bytes
}

fn checked(bytes: &[u8]) -> Option<Vec<u8>> {
    let (body, hash) = bytes.split_at_checked(bytes.len().checked_sub(32)?)?;
    (blake3::hash(body).as_bytes() == hash).then(|| body.to_vec())
}

pub fn hash_file(path: &Path) -> std::io::Result<Hash> {
    let mut hasher = blake3::Hasher::new();
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 256 << 10];
    loop {
        match std::io::Read::read(&mut file, &mut buffer)? {
            0 => return Ok(Hash(*hasher.finalize().as_bytes())),
            len => hasher.update(&buffer[..len]),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::RunId;

    fn state() -> State {
        let mut live = Live::default();
        live.add_run(3, RunId([1; 16]), crate::id::RecordId([2; 16]), &[10, 20]);
        State {
            repository: RepositoryId([1; 16]),
            signer: PublicKey([2; 32]),
            sealing: Hash([3; 32]),
            snapshot: SnapshotId([4; 16]),
            at: Position { epoch: 1, sequence: 2 },
            captured_ms: 5,
            heartbeats: 6,
            next_ordinal: 7,
            entries: 8,
            index: List { layers: vec![crate::extent::Layer { stored: false, bytes: vec![1, 2, 3] }] },
            index_lists: 0,
            next_lists: 1,
            live,
            files: [Hash::default(); 2],
            generation: 9,
            mark: Some(Mark { inode: 10, ctime: Time { seconds: -11, nanos: 12 } }),
        }
    }

    #[test]
    fn state_comes_back_and_torn_state_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let local = Local::open(folder.path()).unwrap();
        let mut state = state();
        std::fs::write(local.index(9), "index").unwrap();
        std::fs::write(local.stamps(9), "stamps").unwrap();
        state.files = [hash_file(&local.index(9)).unwrap(), hash_file(&local.stamps(9)).unwrap()];
        std::fs::write(local.index(8), "old").unwrap();
        local.save(&state, &Default::default()).unwrap();
        assert_eq!(local.load(), Some(state));
        assert!(!local.index(8).exists());
        let bytes = std::fs::read(local.path("state")).unwrap();
        for cut in 0..bytes.len() {
            std::fs::write(local.path("state"), &bytes[..cut]).unwrap();
            assert!(local.load().is_none(), "cut at {cut}");
        }
        std::fs::write(local.path("state"), &bytes).unwrap();
        std::fs::write(local.index(9), "indey").unwrap();
        assert!(local.load().is_none());
    }

    #[test]
    fn two_exports_never_share_it() {
        let folder = tempfile::tempdir().unwrap();
        let _first = Local::open(folder.path()).unwrap();
        assert!(matches!(Local::open(folder.path()), Err(Error::Busy { .. })));
    }
}

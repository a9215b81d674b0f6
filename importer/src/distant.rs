//! The archive at a pull-backup, read by a command on this node: what it has, and the one snapshot that is wanted, synced into a room below the state folder.
//!
//! Nothing that it says is believed: what is brought is proven as in any sync, and what this node had before is compared with it, so that an archive that was put
//! back to an older state is told. The room is bounded by what the snapshot needs and by the free space, and goes when the command ends; those of commands
//! that were killed go at the next.

use archive::repository::{Access, Known, Repository};
use archive::sign::Signer;
use archive::store::{FolderLock, FolderStore};
use archive::sync::{SyncOptions, SyncReport, Wanted, catalogue, sync};
use archive::trust::Trust;
use console::exit::Failure;
use console::human;
use console::node_file::NodeFile;
use console::output::tell;
use console::progress::Progress;
use link::client::Client;
use link::identity::{Identity, signing_key};
use link::membership::{Membership, NODE_KEY};
use link::message::Heads;
use link::pull::chain;
use link::remote::Remote;
use link::repositories::Dataset;
use lookup::Surroundings;
use lookup::fact::Fact;
use lookup::failure::failure;
use lookup::place::Distant;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::runtime::Runtime;

/// No catalogue is longer.
const CATALOGUE_MAX: u64 = 256 << 20;
/// A segment as it is stored, and a record.
const SEGMENT_MAX: u64 = (1 << 20) + (64 << 10);
const RECORDS_MAX: u64 = 512 << 20;

/// A folder that goes with its owner.
struct Room {
    path: PathBuf,
    /// Says that it is in use.
    _lock: Option<FolderLock>,
}

impl Room {
    fn make(state: &Path) -> Result<Room, Failure> {
        let rooms = state.join("reading");
        let failed = |error: std::io::Error| Failure::failed(format!("cannot make a folder in {}: {error}", rooms.display()));
        archive::store::make_folder(&rooms, 0o700).map_err(failed)?;
        for entry in std::fs::read_dir(&rooms).map_err(failed)?.flatten() {
            if let Ok(Some(_left)) = FolderLock::take(&entry.path(), true) {
                // Another may be at it as well.
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
        let path = rooms.join(archive::id::hex(&archive::sign::random::<8>()));
        archive::store::make_folder(&path, 0o700).map_err(failed)?;
        let lock = FolderLock::take(&path, false).map_err(failed)?;
        Ok(Room { path, _lock: lock })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // The next command removes what stays.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

pub struct Archive {
    address: String,
    dataset: Dataset,
    mirror: PathBuf,
    trust: Trust,
    receipt: Arc<Signer>,
    now_ms: u64,
    room: Room,
    remote: Remote,
    _runtime: Runtime,
}

impl fmt::Debug for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Archive({} at {})", self.dataset, self.address)
    }
}

impl Archive {
    /// The first of the pull-backups that this node joined which answers and has the dataset.
    pub fn reach(
        file: &NodeFile,
        membership: &Membership,
        dataset: Dataset,
        mirror: PathBuf,
        trust: Trust,
        surroundings: &Surroundings,
    ) -> Result<Archive, Failure> {
        let state = &file.node.state;
        let identity = Identity::open_or_make(state).map_err(crate::cmd::failure)?;
        let receipt = signing_key(state, NODE_KEY).map_err(crate::cmd::failure)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(|error| Failure::failed(format!("cannot start: {error}")))?;
        let known: Vec<_> = membership.pull_backups.iter().filter(|known| known.cluster == file.cluster).collect();
        if known.is_empty() {
            return Err(Failure::failed("this node joined no pull-backup").hint("`pull-backup invite` there prints the line to join with"));
        }
        let mut last = None;
        for pull_backup in known {
            let client = Client::dial(&pull_backup.address, &identity, pull_backup.pin).map_err(crate::cmd::failure)?;
            let heads: link::Result<Heads> = runtime.block_on(client.get("/v1/heads"));
            let has = |heads: &Heads| heads.datasets.iter().any(|head| head.cluster == dataset.cluster && head.dataset == dataset.name);
            match heads {
                Ok(heads) if has(&heads) => {
                    let remote = Remote::new(Arc::new(client), runtime.handle().clone(), &dataset.cluster, &dataset.name);
                    let address = pull_backup.address.clone();
                    let (room, now_ms) = (Room::make(state)?, surroundings.now_ms());
                    return Ok(Archive {
                        address,
                        dataset,
                        mirror,
                        trust,
                        receipt: Arc::new(receipt),
                        now_ms,
                        room,
                        remote,
                        _runtime: runtime,
                    });
                }
                Ok(_) => last = Some(Failure::failed(format!("the archive at {} has no dataset {dataset}", pull_backup.address))),
                Err(error) => {
                    let failed = crate::cmd::failure(error);
                    tell(format_args!("passed over: {failed}"));
                    last = Some(failed);
                }
            }
        }
        Err(last.unwrap_or_else(|| Failure::failed("no pull-backup answers")))
    }

    /// Says so when the archive is older than what this node had of it.
    fn compare(&self, there: &Repository) {
        let Ok(here) = Repository::open_folder(&self.mirror, Access::Shared) else { return };
        let newest = |repository: &Repository| newest(repository, &self.trust);
        if let Some(known) = newest(&here)
            && newest(there).is_none_or(|found| found.at < known.at)
        {
            let short = &known.id.to_string()[..8];
            tell(format_args!(
                "warning: the archive at {} is older than what was known: this node holds snapshot {short} ({}), which it had, and it has nothing as new; it was put back, or lost something",
                self.address, known.at
            ));
        }
    }

    /// What a snapshot may need, and what there is room for.
    fn bytes_max(&self, fact: &Fact) -> Result<u64, Failure> {
        let segments: u64 = fact.snapshot.body.runs.iter().flat_map(|used| &used.live).map(|range| u64::from(range.count)).sum();
        let most = segments.saturating_mul(SEGMENT_MAX).saturating_add(RECORDS_MAX);
        let path = &self.room.path;
        let about = rustix::fs::statvfs(path).map_err(|error| Failure::failed(format!("cannot look at {}: {error}", path.display())))?;
        let free = about.f_bavail.saturating_mul(about.f_frsize);
        Ok(most.min(free - free / 20))
    }

    fn judge(&self, report: &SyncReport, fact: &Fact, bytes_max: u64) -> Result<(), Failure> {
        let what = format!("snapshot {} could not be brought from {}", fact.short(), self.address);
        if let Some(refused) = report.refused.first() {
            return Err(Failure::failed(format!("{what}: {} is refused: {}", refused.name, refused.why))
                .hint("another snapshot, or another pull-backup, may be whole"));
        }
        if let Some(error) = &report.stopped {
            let hint = format!("it was given {} below {}", human::bytes(bytes_max), self.room.path.display());
            return Err(Failure::failed(format!("{what}: {}", chain(error))).hint(hint));
        }
        match report.lacking.len() {
            0 => Ok(()),
            count => Err(Failure::failed(format!("{what}: {count} of the segments that it needs are lacking there"))),
        }
    }
}

/// The newest whose signer counts.
fn newest(repository: &Repository, trust: &Trust) -> Option<Known> {
    let certified = repository.certified(trust).ok()?;
    let counts = |known: &Known| {
        let signed = repository.snapshot(known).ok();
        signed.is_some_and(|signed| trust.standing(&certified, &signed.signer, &signed.body.node, &known.name).is_ok())
    };
    repository.snapshots().ok()?.into_iter().rev().find(counts)
}

impl Distant for Archive {
    fn name(&self) -> String {
        self.address.clone()
    }

    fn catalogue(&self) -> Result<Repository, Failure> {
        let found = catalogue(&self.remote, &self.dataset.cluster, &self.dataset.name, CATALOGUE_MAX).map_err(failure)?;
        self.compare(&found);
        Ok(found)
    }

    fn room(&self) -> Result<Repository, Failure> {
        let place = self.room.path.join("repository");
        let failed = |error: std::io::Error| Failure::failed(format!("cannot make {}: {error}", place.display()));
        archive::store::make_folder(&place, 0o700).map_err(failed)?;
        let store = FolderStore::open(&place).map_err(failed)?;
        Repository::create(&store, &self.dataset.cluster, &self.dataset.name).map_err(failure)?;
        Repository::open_folder(&place, Access::Shared).map_err(failure)
    }

    fn bring(&self, fact: &Fact, into: &Repository) -> Result<(), Failure> {
        if into.snapshots().map_err(failure)?.iter().any(|known| known.id == fact.known.id) {
            return Ok(());
        }
        let bytes_max = self.bytes_max(fact)?;
        let progress = Progress::new(format!("fetching {} from {}", fact.short(), self.address), None);
        let (bar, now_ms) = (progress.clone(), self.now_ms);
        let options = SyncOptions {
            bytes_max,
            runs_ahead: false,
            advance: Arc::new(move |bytes| bar.advance(bytes)),
            ..SyncOptions::new(self.trust.clone(), self.receipt.clone(), Arc::new(move || now_ms))
        };
        let outcome = sync(&self.remote, into, &Wanted::Only(fact.known.id), &options);
        progress.finish();
        let report = outcome.map_err(failure)?;
        self.judge(&report, fact, bytes_max)
    }
}

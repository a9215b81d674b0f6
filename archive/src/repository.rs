//! A repository: one dataset of one cluster in a store.
//!
//! Reading verifies as it goes: a record's signature, its place (cluster, dataset, name), a segment's hash against its run. Writing is create-only.
//! Locations are read when first needed and once more when something is missed, for another process may have repacked.

mod records;
mod segments;

use crate::error::{Error, Result};
use crate::id::{RepositoryId, RunId, SnapshotId};
use crate::locate::Locations;
use crate::name::{self, Position};
use crate::record::{self, Body, Run, Signed, Snapshot};
use crate::sign::random;
use crate::store::{FolderLock, FolderStore, Listed, Store, publish, read_all, read_part};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::{Arc, RwLock};

/// What `repository.json` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub id: RepositoryId,
    pub cluster: String,
    pub dataset: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    format: u64,
    id: String,
    cluster: String,
    dataset: String,
}

/// What a process is about to do to a repository. The lock follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read, serve, publish: beside others.
    Shared,
    /// Sweep and repack: alone.
    Exclusive,
}

/// A snapshot as its name tells.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Known {
    pub at: Position,
    pub id: SnapshotId,
    pub name: String,
}

pub struct Repository {
    store: Arc<dyn Store>,
    config: Config,
    locations: RwLock<Option<Locations>>,
    /// The store, when it is a folder.
    folder: Option<Arc<FolderStore>>,
    _lock: Option<FolderLock>,
}

/// No record is longer: a run of 1 GiB in segments of 64 bytes would be.
const RECORD_MAX: usize = 1 << 30;
/// What is read of a file in the hope that its first record is in it.
const HEAD: usize = 16 << 10;

impl Repository {
    /// Makes a repository in an empty store.
    pub fn create(store: &dyn Store, cluster: &str, dataset: &str) -> Result<Config> {
        for name in [cluster, dataset] {
            if !record::valid_name(name) {
                return Err(Error::refused(
                    format!("the name {name:?}"),
                    "use letters, digits, '-', '_' and '.', at most 64, not beginning with '-' or '.'",
                ));
            }
        }
        let config = Config { id: RepositoryId(random()), cluster: cluster.into(), dataset: dataset.into() };
        publish(store, name::CONFIG, &config_file(config.id, cluster, dataset))?;
        Ok(config)
    }

    pub fn open(store: Arc<dyn Store>) -> Result<Repository> {
        let bytes = read_all(&*store, name::CONFIG, 1 << 16)?;
        let config = parse_config(&bytes)?;
        Ok(Repository { store, config, locations: RwLock::default(), folder: None, _lock: None })
    }

    /// Opens a repository in a folder, under a lock.
    pub fn open_folder(path: &Path, access: Access) -> Result<Repository> {
        let not = |why: &str| Error::NotARepository { path: path.into(), why: why.into() };
        let store = match FolderStore::open(path) {
            Ok(store) => store,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(not("there is no such folder")),
            Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => return Err(not("it is not a folder")),
            Err(error) => return Err(Error::file("open", path)(error)),
        };
        match path.join(name::CONFIG).metadata() {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(not("it has no repository.json")),
            Err(error) => return Err(Error::file("open", path)(error)),
        }
        let exclusive = access == Access::Exclusive;
        let lock = match FolderLock::take(path, exclusive) {
            Ok(Some(lock)) => Some(lock),
            Ok(None) if exclusive => return Err(Error::Busy { path: path.into(), what: "reading, serving or publishing" }),
            Ok(None) => return Err(Error::Busy { path: path.into(), what: "sweeping or repacking" }),
            // Without permission to write there is nobody to exclude: whoever only reads a read-only folder may.
            Err(error)
                if !exclusive && matches!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem | std::io::ErrorKind::PermissionDenied) =>
            {
                None
            }
            Err(error) => return Err(Error::file("lock", &path.join("lock"))(error)),
        };
        let store = Arc::new(store);
        let mut repository = Self::open(store.clone())?;
        (repository.folder, repository._lock) = (Some(store), lock);
        Ok(repository)
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// Removes what writers that died left unfinished.
    pub fn remove_old_drafts(&self, now_ms: u64) -> Result<u64> {
        let Some(folder) = &self.folder else { return Ok(0) };
        folder.remove_old_drafts(now_ms / 1000).map_err(Error::store("remove", "old drafts"))
    }

    pub fn list(&self, folder: &'static str) -> Result<Vec<Listed>> {
        self.store.list(folder).map_err(Error::store("list", folder))
    }

    /// Snapshots by position, oldest first.
    pub fn snapshots(&self) -> Result<Vec<Known>> {
        self.known(name::SNAPSHOTS)
    }

    pub fn quarantined(&self) -> Result<Vec<Known>> {
        self.known(name::QUARANTINE)
    }

    fn known(&self, folder: &'static str) -> Result<Vec<Known>> {
        let mut known: Vec<Known> = self
            .list(folder)?
            .into_iter()
            .filter_map(|listed| name::parse_snapshot(&listed.name).map(|(at, id)| Known { at, id, name: listed.name }))
            // Whoever lists may say what he wants, and names go into messages.
            .filter(|known| {
                known.name == name::snapshot(known.at, known.id) || (folder == name::QUARANTINE && name::is_quarantined(&known.name))
            })
            .collect();
        known.sort();
        Ok(known)
    }

    /// Reads a snapshot and checks that it is what its name says.
    pub fn snapshot(&self, known: &Known) -> Result<Signed<Snapshot>> {
        let signed: Signed<Snapshot> = self.first_record(&known.name)?;
        self.check_place(&known.name, &signed.body.cluster, &signed.body.dataset)?;
        let at = Position { epoch: signed.body.epoch, sequence: signed.body.sequence };
        if SnapshotId::of(&signed.hash.0) != known.id || at != known.at {
            return Err(Error::damaged(&known.name, "it holds another snapshot than its name says"));
        }
        Ok(signed)
    }

    pub(crate) fn check_place(&self, name: &str, cluster: &str, dataset: &str) -> Result<()> {
        if cluster == self.config.cluster && dataset == self.config.dataset {
            return Ok(());
        }
        let Config { cluster: ours, dataset: set, .. } = &self.config;
        Err(Error::refused(
            name,
            format!("it belongs to dataset {dataset} of cluster {cluster}, this repository to dataset {set} of cluster {ours}"),
        ))
    }

    /// The first record of a container.
    pub fn first_record<B: Body>(&self, name: &str) -> Result<Signed<B>> {
        let mut bytes = read_part(self.store(), name, 0, HEAD)?;
        let (_, len) = record::frame(&bytes).map_err(|why| Error::damaged(name, why))?;
        if len > bytes.len() && len < RECORD_MAX {
            bytes = read_part(self.store(), name, 0, len)?;
        }
        if len > bytes.len() {
            return Err(Error::damaged(name, "it ends too early"));
        }
        Signed::parse(&bytes[..len]).map_err(|why| Error::damaged(name, why))
    }

    /// Publishes a record as a container of its own. Says whether it is new.
    pub fn publish_record<B: Body>(&self, name: &str, signed: &Signed<B>) -> Result<bool> {
        publish(self.store(), name, &alone(signed))
    }

    /// Publishes a run.
    pub fn publish_run(&self, signed: &Signed<Run>) -> Result<bool> {
        self.publish_record(&name::run(signed.body.id), signed)
    }

    pub(crate) fn add_container(&self, container: &str, items: &[crate::container::Item]) {
        if let Some(locations) = self.write_locations().as_mut() {
            locations.add(container, items);
        }
    }

    pub fn holds_run(&self, id: RunId) -> Result<bool> {
        match read_part(self.store(), &name::run(id), 0, 1) {
            Ok(_) => Ok(true),
            Err(Error::Missing { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// A container with one record.
pub fn alone<B: Body>(signed: &Signed<B>) -> Vec<u8> {
    let mut layout = crate::container::Layout::default();
    layout.add(crate::container::ItemKey::Record(B::KIND, signed.id()), signed.item.len());
    let mut bytes = signed.item.clone();
    bytes.extend_from_slice(&layout.trailer([0; 16]).0);
    bytes
}

pub(crate) fn config_file(id: RepositoryId, cluster: &str, dataset: &str) -> Vec<u8> {
    let file = ConfigFile { format: 1, id: id.to_string(), cluster: cluster.into(), dataset: dataset.into() };
    let mut text = serde_json::to_vec_pretty(&file).expect("four fields can be written");
    text.push(b'\n');
    text
}

pub(crate) fn parse_config(bytes: &[u8]) -> Result<Config> {
    // What stands in the file is repeated in the reason.
    let unreadable = |why: serde_json::Error| Error::damaged(name::CONFIG, crate::entry::display(why.to_string().as_bytes()));
    let value: serde_json::Value = serde_json::from_slice(bytes).map_err(unreadable)?;
    match value.get("format").and_then(serde_json::Value::as_u64) {
        Some(1) => {}
        Some(version) => return Err(Error::Future { name: name::CONFIG.into(), version }),
        None => return Err(Error::damaged(name::CONFIG, "it has no format version")),
    }
    let file: ConfigFile = serde_json::from_value(value).map_err(unreadable)?;
    let id = RepositoryId::parse(&file.id).ok_or_else(|| Error::damaged(name::CONFIG, "its id is not 32 hexadecimal digits"))?;
    if !record::valid_name(&file.cluster) || !record::valid_name(&file.dataset) {
        return Err(Error::damaged(name::CONFIG, "cluster or dataset has an impossible name"));
    }
    Ok(Config { id, cluster: file.cluster, dataset: file.dataset })
}

//! A repository: one dataset of one cluster in a store.
//!
//! Reading verifies as it goes: a record's signature, its place (cluster, dataset, name), a segment's hash against its run. Writing is create-only.
//! Locations are read when first needed and once more when something is missed, for another process may have repacked.

use crate::digest;
use crate::error::{Error, Result};
use crate::id::{Address, IdentityId, RecordId, RepositoryId, RunId, SnapshotId};
use crate::locate::{self, Location, Locations};
use crate::name::{self, Position};
use crate::record::{self, Body, Certificate, Evidence, Receipt, RecordKind, Run, RunUse, SealingIdentity, Signed, Snapshot};
use crate::sign::random;
use crate::store::{FolderLock, FolderStore, Listed, Store, publish, read_all, read_part};
use crate::trust::{Certified, Trust};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

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
        let file = ConfigFile { format: 1, id: config.id.to_string(), cluster: cluster.into(), dataset: dataset.into() };
        let mut text = serde_json::to_vec_pretty(&file).expect("four fields can be written");
        text.push(b'\n');
        publish(store, name::CONFIG, &text)?;
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

    /// The run that a snapshot uses, from `runs/` or from where it was embedded. Its hash is checked.
    pub fn run(&self, used: &RunUse) -> Result<Signed<Run>> {
        let name = name::run(used.run);
        let signed: Signed<Run> = match self.first_record(&name) {
            Ok(signed) if signed.hash == used.record => signed,
            first => match self.embedded_run(RecordId::of(&used.record.0))? {
                Some(signed) => signed,
                None => first.and_then(|_| Err(Error::damaged(&name, "it is not the run that the snapshot lists")))?,
            },
        };
        if signed.hash != used.record || signed.body.id != used.run {
            return Err(Error::damaged(&name, "it is not the run that the snapshot lists"));
        }
        self.check_run(&name, &signed)?;
        Ok(signed)
    }

    /// Checks what a run record says of itself.
    pub fn check_run(&self, name: &str, signed: &Signed<Run>) -> Result<()> {
        self.check_place(name, &signed.body.cluster, &signed.body.dataset)?;
        if record::run_id(&signed.signer, &signed.body.nonce) != signed.body.id {
            return Err(Error::refused(name, "its id was not made by its signer"));
        }
        Ok(())
    }

    pub(crate) fn embedded_run(&self, id: RecordId) -> Result<Option<Signed<Run>>> {
        let found = {
            let locations = self.locations()?;
            let known = locations.as_ref();
            known.and_then(|known| known.record(RecordKind::Run, id).map(|at| (at, known.container(at).to_string())))
        };
        let Some((at, container)) = found else { return Ok(None) };
        let bytes = read_part(self.store(), &container, at.offset.into(), at.len as usize)?;
        Signed::parse(&bytes).map(Some).map_err(|why| Error::damaged(&container, why))
    }

    /// The map of where things lie, read now if it was not.
    pub fn locations(&self) -> Result<RwLockReadGuard<'_, Option<Locations>>> {
        if self.read_locations().is_none() {
            let loaded = locate::load(self.store())?;
            *self.write_locations() = Some(loaded);
        }
        Ok(self.read_locations())
    }

    fn read_locations(&self) -> RwLockReadGuard<'_, Option<Locations>> {
        self.locations.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn write_locations(&self) -> RwLockWriteGuard<'_, Option<Locations>> {
        self.locations.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Reads the map again when it is next needed.
    pub fn forget_locations(&self) {
        *self.write_locations() = None;
    }

    /// Where a segment lies, as far as is known now.
    pub fn locate(&self, address: Address) -> Result<Option<(String, Location)>> {
        let locations = self.locations()?;
        let known = locations
            .as_ref()
            .and_then(|known| known.segment(address).map(|at| (known.container(at).to_string(), at)));
        Ok(known)
    }

    /// Reads a segment's item as it is stored. Looks again, and in the trash, when it was moved meanwhile.
    pub fn segment_item(&self, address: Address, out: &mut Vec<u8>) -> Result<()> {
        match self.try_segment_item(address, out) {
            Err(Error::Missing { .. }) => {
                self.forget_locations();
                match self.try_segment_item(address, out) {
                    Err(Error::Missing { .. }) => self.segment_in_trash(address, out),
                    other => other,
                }
            }
            other => other,
        }
    }

    fn try_segment_item(&self, address: Address, out: &mut Vec<u8>) -> Result<()> {
        let missing = || Error::Missing { name: format!("segment {address}") };
        let (container, at) = self.locate(address)?.ok_or_else(missing)?;
        self.read_location(&container, at, out)
    }

    /// Reads the bytes at a place.
    pub fn read_location(&self, container: &str, at: Location, out: &mut Vec<u8>) -> Result<()> {
        match self.store.read(container, at.offset.into(), at.len as usize, out) {
            Ok(()) if out.len() == at.len as usize => Ok(()),
            Ok(()) => Err(Error::damaged(container, "it ends too early")),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(Error::Missing { name: container.into() }),
            Err(error) => Err(Error::store("read", container)(error)),
        }
    }

    fn segment_in_trash(&self, address: Address, out: &mut Vec<u8>) -> Result<()> {
        for listed in self.list(name::TRASH)? {
            let items = match locate::read_items(self.store(), &listed) {
                Ok((items, _)) => items,
                Err(Error::Missing { .. }) => continue,
                Err(error) => return Err(error),
            };
            if let Some(item) = items.iter().find(|item| item.key == crate::container::ItemKey::Segment(address)) {
                return self.read_location(&listed.name, Location { container: 0, offset: item.offset, len: item.len }, out);
            }
        }
        Err(Error::Missing { name: format!("segment {address}") })
    }

    /// Reads a segment's item and checks it against its run: header, length, hash. Other copies are tried when one is damaged.
    pub fn verified_segment(&self, run: &Run, sequence: u32, out: &mut Vec<u8>) -> Result<()> {
        let address = Address { run: run.id, sequence };
        let expected = run
            .segments
            .get(sequence as usize)
            .ok_or_else(|| Error::damaged(format!("segment {address}"), "its run does not list it"))?;
        let good = |bytes: &[u8]| bytes.len() == expected.len as usize && digest::sha256(bytes) == expected.hash;
        let first = self.segment_item(address, out);
        if first.is_ok() && good(out) {
            return Ok(());
        }
        let others: Vec<(String, Location)> = {
            let locations = self.locations()?;
            locations
                .as_ref()
                .map_or_else(Vec::new, |known| known.others(address).iter().map(|at| (known.container(*at).to_string(), *at)).collect())
        };
        for (container, at) in others {
            if self.read_location(&container, at, out).is_ok() && good(out) {
                return Ok(());
            }
        }
        first?;
        let place = self
            .locate(address)?
            .map_or_else(String::new, |(container, at)| format!(" at byte {} of {container}", at.offset));
        Err(Error::damaged(format!("segment {address}{place}"), "its bytes are not those that were signed"))
    }

    /// Every generation of a sealing identity, from `keys/` and from copies in packs, newest first.
    pub fn sealing_identities(&self, id: IdentityId) -> Result<Vec<Signed<SealingIdentity>>> {
        let mut found = Vec::new();
        for listed in self.list(name::KEYS)? {
            if name::parse_key(&listed.name).is_some_and(|(of, _)| of == id)
                && let Ok(signed) = self.first_record::<SealingIdentity>(&listed.name)
            {
                found.push(signed);
            }
        }
        if found.is_empty() {
            found = self.identity_copies(id)?;
        }
        found.retain(|signed| {
            signed.body.id == id && signed.body.cluster == self.config.cluster && signed.body.dataset == self.config.dataset
        });
        found.sort_by_key(|signed| std::cmp::Reverse(signed.body.generation));
        Ok(found)
    }

    fn identity_copies(&self, id: IdentityId) -> Result<Vec<Signed<SealingIdentity>>> {
        let mut found = self.records_in_containers::<SealingIdentity>()?;
        found.retain(|signed| signed.body.id == id);
        Ok(found)
    }

    /// The readable records of a kind that lie in packs and with snapshots.
    pub(crate) fn records_in_containers<B: Body>(&self) -> Result<Vec<Signed<B>>> {
        let places: Vec<(String, Location)> = {
            let locations = self.locations()?;
            let known = locations.as_ref();
            known.map_or_else(Vec::new, |known| known.records(B::KIND).map(|(_, at)| (known.container(at).to_string(), at)).collect())
        };
        let mut found = Vec::new();
        for (container, at) in places {
            let bytes = read_part(self.store(), &container, at.offset.into(), at.len as usize)?;
            found.extend(Signed::<B>::parse(&bytes).ok());
        }
        Ok(found)
    }

    /// The nodes whose certificates the cluster key made.
    pub fn certified(&self, trust: &Trust) -> Result<Certified> {
        let mut certified = Certified::default();
        for listed in self.list(name::NODES)? {
            if let Ok(signed) = self.first_record::<Certificate>(&listed.name) {
                certified.add(trust, &self.config.cluster, &signed);
            }
        }
        Ok(certified)
    }

    /// Receipts of a snapshot: those that came with it and those that stand alone.
    pub fn receipts(&self, known: &Known) -> Result<Vec<Signed<Receipt>>> {
        let mut found = Vec::new();
        let listed = Listed { name: known.name.clone(), len: self.len_of(&known.name)? };
        for item in locate::read_items(self.store(), &listed)?.0 {
            if let crate::container::ItemKey::Record(RecordKind::Receipt, _) = item.key
                && let Ok(signed) = Signed::<Receipt>::parse(&read_part(self.store(), &known.name, item.offset.into(), item.len as usize)?)
            {
                found.push(signed);
            }
        }
        for listed in self.list(name::RECEIPTS)? {
            if name::subject(&listed.name) == Some(known.id)
                && let Ok(signed) = self.first_record::<Receipt>(&listed.name)
            {
                found.push(signed);
            }
        }
        found.retain(|signed| signed.body.snapshot == known.id);
        Ok(found)
    }

    fn len_of(&self, name: &str) -> Result<u64> {
        let folder = if name.starts_with(name::SNAPSHOTS) { name::SNAPSHOTS } else { name::QUARANTINE };
        let found = self.list(folder)?.into_iter().find(|listed| listed.name == name);
        found.map(|listed| listed.len).ok_or_else(|| Error::Missing { name: name.into() })
    }

    /// Evidence about snapshots, by those who imported or drilled them.
    pub fn evidence(&self) -> Result<Vec<Signed<Evidence>>> {
        let listed = self.list(name::RECORDS)?;
        Ok(listed.iter().filter_map(|listed| self.first_record::<Evidence>(&listed.name).ok()).collect())
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

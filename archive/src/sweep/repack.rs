//! Copies what is still wanted out of packs that are to go, byte for byte and verified.
//!
//! A pack may go when all that is wanted of it was copied, or lies whole in a pack that stays. When something of it is damaged and nowhere whole,
//! or its run cannot be read, the pack stays as it is: damage is for `check --heal`.

use crate::container::{Item, ItemKey};
use crate::digest::sha256;
use crate::error::{Error, Result};
use crate::id::{Address, IdentityId, RunId};
use crate::locate::Location;
use crate::name;
use crate::pack::{PACK_MAX, PackWriter};
use crate::record::{RecordKind, Run, RunUse};
use crate::repository::Repository;
use crate::roots::is_damage;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

pub struct Repack<'r> {
    repository: &'r Repository,
    /// How roots use runs.
    uses: HashMap<RunId, &'r RunUse>,
    /// Packs that are to go.
    going: HashSet<String>,
    runs: HashMap<RunId, Arc<Run>>,
    copied: HashSet<Address>,
    packs: PackWriter,
    identities: BTreeSet<IdentityId>,
    filled: u64,
    pub bytes_copied: u64,
}

/// No more runs than this are remembered.
const RUNS_MAX: usize = 64;
/// Room for a last segment and the copies of sealing identities.
const ROOM: u64 = 2 << 20;

impl<'r> Repack<'r> {
    pub fn new(repository: &'r Repository, uses: HashMap<RunId, &'r RunUse>, going: HashSet<String>) -> Self {
        Repack {
            repository,
            uses,
            going,
            runs: HashMap::new(),
            copied: HashSet::new(),
            packs: PackWriter::default(),
            identities: BTreeSet::new(),
            filled: 0,
            bytes_copied: 0,
        }
    }

    /// Copies what is wanted of a pack. Gives why it must stay, if it must.
    pub fn take(&mut self, container: &str, items: &[Item], wanted: &dyn Fn(Address) -> bool) -> Result<Option<String>> {
        let mut bytes = Vec::new();
        for item in items {
            let ItemKey::Segment(address) = item.key else { continue };
            if !wanted(address) || self.copied.contains(&address) {
                continue;
            }
            let run = match self.run(address.run) {
                Ok(run) => run,
                Err(error) if is_damage(&error) => return Ok(Some(error.to_string())),
                Err(error) => return Err(error),
            };
            let Some(expected) = run.segments.get(address.sequence as usize) else {
                return Ok(Some(format!("it holds segment {address}, which its run does not have")));
            };
            let good = |bytes: &[u8]| bytes.len() == expected.len as usize && sha256(bytes) == expected.hash;
            if self.stays_elsewhere(address, &good, &mut bytes)? {
                continue;
            }
            let here = Location { container: 0, offset: item.offset, len: item.len };
            let read = self.repository.read_location(container, here, &mut bytes);
            if read.is_err() || !good(&bytes) {
                match self.repository.verified_segment(&run, address.sequence, &mut bytes) {
                    Ok(()) => {}
                    Err(error) if is_damage(&error) => return Ok(Some(error.to_string())),
                    Err(error) => return Err(error),
                }
            }
            self.copy(address, &run, &bytes)?;
        }
        Ok(None)
    }

    fn copy(&mut self, address: Address, run: &Run, bytes: &[u8]) -> Result<()> {
        self.packs.segment(self.repository, address, bytes)?;
        self.identities.extend(run.seal.as_ref().map(|seal| seal.identity));
        self.copied.insert(address);
        self.filled += bytes.len() as u64;
        self.bytes_copied += bytes.len() as u64;
        if self.filled + ROOM >= u64::from(PACK_MAX) { self.close() } else { Ok(()) }
    }

    fn run(&mut self, id: RunId) -> Result<Arc<Run>> {
        if let Some(run) = self.runs.get(&id) {
            return Ok(run.clone());
        }
        let signed = match self.uses.get(&id) {
            Some(used) => self.repository.run(used)?,
            None => {
                let name = name::run(id);
                let signed = self.repository.first_record::<Run>(&name)?;
                self.repository.check_run(&name, &signed)?;
                signed
            }
        };
        if self.runs.len() >= RUNS_MAX {
            self.runs.clear();
        }
        let run = Arc::new(signed.body);
        self.runs.insert(id, run.clone());
        Ok(run)
    }

    /// Whether a whole copy lies in a container that does not go.
    fn stays_elsewhere(&self, address: Address, good: &dyn Fn(&[u8]) -> bool, bytes: &mut Vec<u8>) -> Result<bool> {
        let places: Vec<(String, Location)> = {
            let locations = self.repository.locations()?;
            let Some(known) = locations.as_ref() else { return Ok(false) };
            let all = known.segment(address).into_iter().chain(known.others(address).iter().copied());
            all.map(|at| (known.container(at).to_string(), at))
                .filter(|(container, _)| !self.going.contains(container))
                .collect()
        };
        for (container, at) in places {
            match self.repository.read_location(&container, at, bytes) {
                Ok(()) if good(bytes) => return Ok(true),
                Err(error) if !is_damage(&error) => return Err(error),
                _ => {}
            }
        }
        Ok(false)
    }

    fn close(&mut self) -> Result<()> {
        if self.packs.is_empty() {
            return Ok(());
        }
        for id in std::mem::take(&mut self.identities) {
            for identity in self.repository.sealing_identities(id)? {
                self.packs.record(self.repository, RecordKind::Identity, &identity.item)?;
            }
        }
        self.filled = 0;
        self.packs.finish(self.repository)
    }

    /// Makes everything that was copied durable. Gives how many packs that took, and how many bytes.
    pub fn finish(mut self) -> Result<(u64, u64)> {
        self.close()?;
        Ok((self.packs.published, self.bytes_copied))
    }
}

/// Publishes one index of these containers in place of all others, when theirs is stale, damaged, or in many files. Says whether it did.
pub fn renew_index(repository: &Repository, dry_run: bool) -> Result<bool> {
    use crate::locate::{decode_index, encode_index, read_items};
    /// So many index files are read without harm.
    const FILES_MAX: usize = 8;
    let store = repository.store();
    let packs = repository.list(name::PACKS)?;
    let names: HashSet<&str> = packs.iter().map(|listed| listed.name.as_str()).collect();
    let files = repository.list(name::INDEX)?;
    let mut listed = HashSet::new();
    let mut stale = files.len() > FILES_MAX;
    for file in &files {
        let bytes = crate::store::read_all(store, &file.name, 1 << 30)?;
        match decode_index(&bytes) {
            Ok(containers) => listed.extend(containers.into_iter().map(|(container, _)| container)),
            Err(_) => stale = true,
        }
    }
    stale |= listed.iter().any(|container| !names.contains(container.as_str())) || names.iter().any(|name| !listed.contains(*name));
    if !stale || dry_run {
        return Ok(stale);
    }
    let mut containers = Vec::with_capacity(packs.len());
    for pack in &packs {
        let (items, why) = read_items(store, pack)?;
        if why.is_none() {
            containers.push((pack.name.clone(), items));
        }
    }
    let bytes = encode_index(&containers);
    let hash = crate::id::Hash(bytes[bytes.len() - 32..].try_into().expect("an index ends with its hash"));
    let new = name::index(&hash);
    match crate::store::publish(store, &new, &bytes) {
        Err(Error::Conflict { .. }) => {
            store.remove(&new).map_err(Error::store("remove", &new))?;
            crate::store::publish(store, &new, &bytes)?;
        }
        other => drop(other?),
    }
    let changed = files.len() != 1 || files[0].name != new;
    for file in files.iter().filter(|file| file.name != new) {
        store.remove(&file.name).map_err(Error::store("remove", &file.name))?;
    }
    Ok(changed)
}

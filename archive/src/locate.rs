//! Where segments and embedded runs lie: built from index files, from trailers where no index file lists a container, and by a scan where the trailer is damaged.
//!
//! The map is a cache of what the containers say about themselves; whether the bytes at a place are right is for the run's hashes to say. A segment may lie
//! in several containers; the last one read wins, and `others` remembers the rest for healing.

use crate::container::{self, FOOT, Item, ItemKey, Scan};
use crate::encode::{Malformed, Put, Take, Taken};
use crate::error::{Error, Result};
use crate::id::{Address, Hash, RecordId, RunId};
use crate::record::RecordKind;
use crate::store::{Listed, Store, read_part};
use crate::{digest, name};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Where an item lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    pub container: u32,
    pub offset: u32,
    pub len: u32,
}

/// Everything that is found in a repository's containers.
#[derive(Default)]
pub struct Locations {
    containers: Vec<String>,
    known: HashMap<String, u32>,
    /// By run and number; not by place in a list, for a number may be a lie.
    segments: HashMap<RunId, BTreeMap<u32, Location>>,
    records: HashMap<(RecordKind, RecordId), Location>,
    /// Second copies of segments.
    others: HashMap<Address, Vec<Location>>,
    /// Containers whose trailer was damaged, and how.
    pub damaged: Vec<(String, String)>,
    /// Containers that no index file lists.
    pub unlisted: Vec<String>,
}

impl Locations {
    pub fn segment(&self, address: Address) -> Option<Location> {
        self.segments.get(&address.run)?.get(&address.sequence).copied()
    }

    pub fn others(&self, address: Address) -> &[Location] {
        self.others.get(&address).map_or(&[], Vec::as_slice)
    }

    pub fn record(&self, kind: RecordKind, id: RecordId) -> Option<Location> {
        self.records.get(&(kind, id)).copied()
    }

    pub fn records(&self, kind: RecordKind) -> impl Iterator<Item = (RecordId, Location)> + '_ {
        self.records.iter().filter(move |((of, _), _)| *of == kind).map(|((_, id), location)| (*id, *location))
    }

    pub fn container(&self, location: Location) -> &str {
        &self.containers[location.container as usize]
    }

    pub fn containers(&self) -> &[String] {
        &self.containers
    }

    /// Whether a container is part of the map.
    pub fn knows(&self, container: &str) -> bool {
        self.known.contains_key(container)
    }

    /// All segments, with where they lie.
    pub fn segments(&self) -> impl Iterator<Item = (Address, Location)> + '_ {
        self.segments.iter().flat_map(|(run, places)| {
            places.iter().map(|(sequence, place)| (Address { run: *run, sequence: *sequence }, *place))
        })
    }

    /// Adds a container. Adding one again changes nothing.
    pub fn add(&mut self, container: &str, items: &[Item]) {
        if self.known.contains_key(container) {
            return;
        }
        let number = self.containers.len() as u32;
        self.containers.push(container.to_string());
        self.known.insert(container.to_string(), number);
        for item in items {
            let location = Location { container: number, offset: item.offset, len: item.len };
            match item.key {
                ItemKey::Segment(address) => self.add_segment(address, location),
                ItemKey::Record(kind, id) => {
                    self.records.insert((kind, id), location);
                }
            }
        }
    }

    fn add_segment(&mut self, address: Address, location: Location) {
        if let Some(before) = self.segments.entry(address.run).or_default().insert(address.sequence, location) {
            self.others.entry(address).or_default().push(before);
        }
    }

    /// Forgets a container that is gone.
    pub fn forget(&mut self, container: &str) {
        let Some(number) = self.known.remove(container) else { return };
        self.records.retain(|_, location| location.container != number);
        for run in self.segments.values_mut() {
            run.retain(|_, location| location.container != number);
        }
        for (address, mut places) in std::mem::take(&mut self.others) {
            places.retain(|location| location.container != number);
            if self.segment(address).is_none()
                && let Some(place) = places.pop()
                && let Some(run) = self.segments.get_mut(&address.run)
            {
                run.insert(address.sequence, place);
            }
            if !places.is_empty() {
                self.others.insert(address, places);
            }
        }
    }
}

/// Reads the items of a container, by its trailer or, when that is damaged, by a scan. Gives what was wrong with the trailer.
pub fn read_items(store: &dyn Store, listed: &Listed) -> Result<(Vec<Item>, Option<Malformed>)> {
    match read_trailer(store, listed)? {
        Ok((items, _)) => Ok((items, None)),
        Err(why) => {
            let mut read = |offset: u64, len: usize| read_part(store, &listed.name, offset, len);
            Ok((Scan::new(listed.len, &mut read).items()?, Some(why)))
        }
    }
}

/// What is read of a container's end in the hope that the trailer is in it.
const TAIL: u64 = 4 << 10;

/// The items of a container as its trailer lists them, and the trailer's hash.
pub fn read_trailer(store: &dyn Store, listed: &Listed) -> Result<Taken<(Vec<Item>, Hash)>> {
    let tail_start = listed.len.saturating_sub(TAIL);
    let mut tail = read_part(store, &listed.name, tail_start, TAIL as usize)?;
    let Some(foot) = tail.len().checked_sub(FOOT) else { return Ok(Err(Malformed("it is too short"))) };
    let len = match container::trailer_len(&tail[foot..]) {
        Ok(len) => len,
        Err(why) => return Ok(Err(why)),
    };
    let Some(start) = listed.len.checked_sub((len + FOOT) as u64) else {
        return Ok(Err(Malformed("its trailer is longer than it")));
    };
    if len > foot {
        tail = read_part(store, &listed.name, start, len)?;
    } else {
        tail.truncate(foot);
        tail.drain(..foot - len);
    }
    Ok(container::parse_trailer(&tail, start))
}

/// The most that an index file may be long.
const INDEX_MAX: usize = 1 << 30;

/// Encodes an index file that lists these containers.
pub fn encode_index(containers: &[(String, Vec<Item>)]) -> Vec<u8> {
    let mut body = Vec::new();
    body.varint(containers.len() as u64);
    for (name, items) in containers {
        body.bytes(name.as_bytes());
        body.varint(items.len() as u64);
        items.iter().for_each(|item| item.put(&mut body));
    }
    let mut out = Vec::with_capacity(body.len() + 44);
    out.raw(b"RIDX\x01\0\0\0");
    out.raw(&(body.len() as u32).to_le_bytes());
    out.raw(&body);
    let hash = digest::sha256(&out);
    out.raw(&hash.0);
    out
}

/// Decodes an index file.
pub fn decode_index(bytes: &[u8]) -> Taken<Vec<(String, Vec<Item>)>> {
    let (rest, hash) = bytes.split_at_checked(bytes.len().saturating_sub(32)).ok_or(Malformed("it is too short"))?;
    if digest::sha256(rest).0 != hash {
        return Err(Malformed("it has another hash"));
    }
    let mut take = Take::new(rest);
    if take.raw(8)? != b"RIDX\x01\0\0\0" {
        return Err(Malformed("it has an unknown form"));
    }
    if take.u32()? as usize != rest.len() - take.position() {
        return Err(Malformed("it has another length than it says"));
    }
    let count = take.count(2)?;
    let containers = (0..count)
        .map(|_| {
            let name = take.text()?;
            let items = take.count(container::ENTRY)?;
            Ok((name, (0..items).map(|_| Item::take(&mut take)).collect::<Taken<Vec<_>>>()?))
        })
        .collect::<Taken<Vec<_>>>()?;
    take.end()?;
    Ok(containers)
}

/// Finds everything.
pub fn load(store: &dyn Store) -> Result<Locations> {
    let list = |folder: &str| store.list(folder).map_err(Error::store("list", folder));
    let mut there: Vec<Listed> = list(name::SNAPSHOTS)?;
    there.extend(list(name::QUARANTINE)?);
    there.extend(list(name::PACKS)?);
    let by_name: HashMap<&str, u64> = there.iter().map(|listed| (listed.name.as_str(), listed.len)).collect();
    let mut locations = Locations::default();
    let mut listed_in_index = HashSet::new();
    for file in list(name::INDEX)? {
        let bytes = match read_part(store, &file.name, 0, INDEX_MAX) {
            Err(Error::Missing { .. }) => continue,
            other => other?,
        };
        match decode_index(&bytes) {
            Ok(containers) => {
                for (container, items) in containers {
                    let end = items.last().map_or(0, |item| u64::from(item.offset) + u64::from(item.len));
                    if by_name.get(container.as_str()).is_some_and(|len| *len >= end) {
                        locations.add(&container, &items);
                        listed_in_index.insert(container);
                    }
                }
            }
            Err(why) => locations.damaged.push((file.name, why.to_string())),
        }
    }
    for listed in &there {
        if listed_in_index.contains(&listed.name) {
            continue;
        }
        let (items, why) = match read_items(store, listed) {
            Err(Error::Missing { .. }) => continue,
            other => other?,
        };
        if let Some(why) = why {
            locations.damaged.push((listed.name.clone(), why.to_string()));
        }
        locations.add(&listed.name, &items);
        locations.unlisted.push(listed.name.clone());
    }
    Ok(locations)
}

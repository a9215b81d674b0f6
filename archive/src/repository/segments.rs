//! Where things lie, and segments from there: the map of locations, and reading that looks again when it misses something.

use super::Repository;
use crate::digest;
use crate::error::{Error, Result};
use crate::id::Address;
use crate::locate::{self, Location, Locations};
use crate::name;
use crate::record::Run;
use std::sync::{RwLockReadGuard, RwLockWriteGuard};

impl Repository {
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
}

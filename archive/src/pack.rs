//! Writing packs: segments go in as they come, the pack is published when it is full or when a run closes.
//!
//! What comes first is held in memory, so that a small export needs no pack at all and can be published as one object with its snapshot.

use crate::container::{Item, ItemKey, Layout};
use crate::error::{Error, Result};
use crate::id::{Address, RecordId};
use crate::locate::encode_index;
use crate::record::RecordKind;
use crate::repository::Repository;
use crate::store::{Draft, publish};
use crate::{digest, name};

/// A pack is closed when it is this long.
pub const PACK_MAX: u32 = 64 << 20;
/// What is held in memory before a draft is begun.
const HELD_MAX: usize = 256 << 10;

#[derive(Default)]
pub struct PackWriter {
    layout: Layout,
    held: Vec<u8>,
    draft: Option<Box<dyn Draft>>,
    /// How many packs were published.
    pub published: u64,
    /// Bytes that went into packs.
    pub bytes: u64,
}

impl PackWriter {
    pub fn segment(&mut self, repository: &Repository, address: Address, item: &[u8]) -> Result<()> {
        self.add(repository, ItemKey::Segment(address), item)
    }

    pub fn record(&mut self, repository: &Repository, kind: RecordKind, item: &[u8]) -> Result<()> {
        let id = RecordId::of(&digest::sha256(item).0);
        self.add(repository, ItemKey::Record(kind, id), item)
    }

    fn add(&mut self, repository: &Repository, key: ItemKey, item: &[u8]) -> Result<()> {
        if self.layout.end() >= PACK_MAX {
            self.finish(repository)?;
        }
        self.layout.add(key, item.len());
        self.bytes += item.len() as u64;
        if self.draft.is_none() && self.held.len() + item.len() <= HELD_MAX {
            self.held.extend_from_slice(item);
            return Ok(());
        }
        self.begin(repository)?;
        let draft = self.draft.as_mut().expect("begin made a draft");
        draft.append(item).map_err(Error::store("write", "a pack"))
    }

    fn begin(&mut self, repository: &Repository) -> Result<()> {
        if self.draft.is_none() {
            let mut draft = repository.store().draft().map_err(Error::store("begin", "a pack"))?;
            draft.append(&self.held).map_err(Error::store("write", "a pack"))?;
            self.held.clear();
            self.draft = Some(draft);
        }
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        self.layout.items().is_empty()
    }

    /// What is held, if nothing went to a pack since the last one: items and their bytes.
    pub fn take_held(&mut self) -> Option<(Vec<Item>, Vec<u8>)> {
        if self.draft.is_some() {
            return None;
        }
        let layout = std::mem::take(&mut self.layout);
        Some((layout.items().to_vec(), std::mem::take(&mut self.held)))
    }

    /// Publishes what was added, durably, and lists it in the index.
    pub fn finish(&mut self, repository: &Repository) -> Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        self.begin(repository)?;
        let layout = std::mem::take(&mut self.layout);
        let mut draft = self.draft.take().expect("begin made a draft");
        let (trailer, id) = layout.trailer(crate::sign::random());
        let container = name::pack(id);
        draft.append(&trailer).map_err(Error::store("write", &container))?;
        draft.publish(&container).map_err(Error::store("publish", &container))?;
        self.published += 1;
        let items = layout.items().to_vec();
        repository.add_container(&container, &items);
        publish_index(repository, &[(container, items)])
    }
}

/// Publishes an index file.
pub fn publish_index(repository: &Repository, containers: &[(String, Vec<Item>)]) -> Result<()> {
    let bytes = encode_index(containers);
    let hash = crate::id::Hash(bytes[bytes.len() - 32..].try_into().expect("an index ends with its hash"));
    publish(repository.store(), &name::index(&hash), &bytes).map(|_| ())
}

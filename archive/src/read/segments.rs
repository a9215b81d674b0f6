//! Content of segments, by the names that extents use.

use super::assemble;
use crate::digest::BLOCK;
use crate::error::{Error, Result};
use crate::extent::{Extent, Place};
use crate::seal::Decoder;
use std::sync::Arc;

/// What a thread needs to decode segments; reused, so that reading allocates nothing.
#[derive(Default)]
pub struct Workspace {
    pub decoder: Decoder,
    pub item: Vec<u8>,
}

/// Where content comes from: a repository with its keys, or the exporter's local cache.
pub trait Segments: Send + Sync {
    /// Replaces `out` by the content of a segment. `Missing` when it is not to be had.
    fn content(&self, ordinal: u64, sequence: u32, workspace: &mut Workspace, out: &mut Vec<u8>) -> Result<()>;
}

struct Slot {
    key: (u64, u32),
    content: Vec<u8>,
    used: u64,
}

enum Source<'a> {
    Borrowed(&'a dyn Segments),
    Shared(Arc<dyn Segments>),
}

/// The contents of the last few segments, decoded.
pub struct Recent<'a> {
    segments: Source<'a>,
    workspace: Workspace,
    slots: Vec<Slot>,
    limit: usize,
    clock: u64,
    /// How many contents were decoded.
    pub loads: usize,
}

impl<'a> Recent<'a> {
    /// Keeps contents of at most `limit` MiB together.
    pub fn new(segments: &'a dyn Segments, limit: usize) -> Self {
        Recent {
            segments: Source::Borrowed(segments),
            workspace: Workspace::default(),
            slots: Vec::new(),
            limit,
            clock: 0,
            loads: 0,
        }
    }

    /// The same for who cannot borrow.
    pub fn shared(segments: Arc<dyn Segments>, limit: usize) -> Recent<'static> {
        Recent {
            segments: Source::Shared(segments),
            workspace: Workspace::default(),
            slots: Vec::new(),
            limit,
            clock: 0,
            loads: 0,
        }
    }

    /// The content of a whole segment.
    pub fn content(&mut self, ordinal: u64, sequence: u32) -> Result<&[u8]> {
        self.clock += 1;
        let key = (ordinal, sequence);
        let index = match self.slots.iter().position(|slot| slot.key == key) {
            Some(index) => index,
            None => self.load(key)?,
        };
        let slot = &mut self.slots[index];
        slot.used = self.clock;
        Ok(&slot.content)
    }

    fn load(&mut self, key: (u64, u32)) -> Result<usize> {
        let held: usize = self.slots.iter().map(|slot| slot.content.capacity()).sum();
        let index = if held + BLOCK <= self.limit * BLOCK || self.slots.len() < 2 {
            self.slots.push(Slot { key, content: Vec::new(), used: 0 });
            self.slots.len() - 1
        } else {
            let oldest = self.slots.iter().enumerate().min_by_key(|(_, slot)| slot.used);
            oldest.map(|(index, _)| index).expect("there are two at least")
        };
        let slot = &mut self.slots[index];
        // A failed load must not leave a slot that claims to hold something.
        slot.key = (u64::MAX, u32::MAX);
        let segments = match &self.segments {
            Source::Borrowed(segments) => *segments,
            Source::Shared(segments) => &**segments,
        };
        segments.content(key.0, key.1, &mut self.workspace, &mut slot.content)?;
        slot.key = key;
        self.loads += 1;
        Ok(index)
    }

    /// The bytes of many extents, one after the other. A few are read from what is kept; of many, each segment is decoded once.
    pub fn assemble(&mut self, extents: &[Extent]) -> Result<Vec<u8>> {
        if extents.len() <= FEW {
            let mut out = Vec::new();
            for extent in extents {
                let place = extent.place.ok_or_else(|| Error::damaged("a list of extents", "it has a hole in it"))?;
                out.extend_from_slice(self.extent(place, extent.len)?);
            }
            return Ok(out);
        }
        let segments = match &self.segments {
            Source::Borrowed(segments) => *segments,
            Source::Shared(segments) => &**segments,
        };
        assemble::to_memory(segments, extents, 1)
    }

    /// The bytes of an extent.
    pub fn extent(&mut self, place: Place, len: u64) -> Result<&[u8]> {
        let content = self.content(place.ordinal, place.sequence)?;
        let start = place.offset as usize;
        content.get(start..start + len as usize).ok_or_else(|| outside(place))
    }
}

/// So few extents are read one by one.
const FEW: usize = 4;

/// The error for an extent that does not lie in its segment.
pub fn outside(place: Place) -> Error {
    Error::damaged(
        format!("an extent of segment {} of run number {}", place.sequence, place.ordinal),
        "it lies outside of the segment's content",
    )
}

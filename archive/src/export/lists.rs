//! Lists of extents in the making.

use super::base::BaseFile;
use super::layers::{Difference, Held, PieceWriter, Plan, plan};
use super::live::{Uses, count};
use super::region::Cutter;
use crate::error::{Error, Result};
use crate::extent::{self, Extent, LIST_MAX, Layer, List};

/// The longest layer that stands in the entry itself, and the most that all of them take there.
const INLINE_MAX: usize = 1024;
const INLINE_ALL_MAX: usize = 4096;
/// Lists of fewer extents are not compared with the base's.
const COMPARED_FROM: usize = 32;

/// Builds one list.
#[derive(Default)]
pub struct ListBuilder {
    whole: PieceWriter,
    difference: Difference,
    last: Option<Extent>,
    pub uses: Uses,
    pub len: u64,
}

/// A finished list.
pub struct Built {
    pub list: List,
    pub uses: Uses,
    /// The bytes of each layer that is stored, lowest first.
    pub bodies: Vec<Vec<u8>>,
}

/// The list that a new one is compared with.
#[derive(Clone, Copy)]
pub struct BaseLayers<'a> {
    pub file: &'a BaseFile,
    pub layers: &'a [Held],
}

impl BaseLayers<'_> {
    fn is_compared(&self) -> bool {
        self.file.count() >= COMPARED_FROM
    }
}

impl ListBuilder {
    /// Adds an extent. The base must be the same each time.
    pub fn push(&mut self, extent: Extent, base: Option<BaseLayers<'_>>) {
        self.len += extent.len;
        match &mut self.last {
            Some(last) if last.joins(&extent) => last.len += extent.len,
            last => {
                if let Some(ended) = last.replace(extent) {
                    self.ended(ended, base);
                }
            }
        }
    }

    fn ended(&mut self, extent: Extent, base: Option<BaseLayers<'_>>) {
        count(&mut self.uses, &extent);
        self.whole.here(extent);
        if let Some(base) = base.filter(BaseLayers::is_compared) {
            self.difference.push(extent, base.file);
        }
    }

    /// Ends the list, and writes those of its layers that are too long for an entry.
    pub fn finish(mut self, cutter: &mut Cutter, base: Option<BaseLayers<'_>>) -> Result<Built> {
        if let Some(ended) = self.last.take() {
            self.ended(ended, base);
        }
        let whole = self.whole.finish();
        let mut built = Built { list: List::default(), uses: self.uses, bodies: vec![] };
        if whole.is_empty() {
            return Ok(built);
        }
        let Some(base) = base.filter(BaseLayers::is_compared) else {
            built.add(whole, cutter)?;
            return built.checked();
        };
        let (kept, new) = match self.difference.finish(base.file) {
            None => (base.layers.len(), None),
            Some(body) => match plan(base.layers, body, whole.len())? {
                Plan::Whole => (0, Some(whole)),
                Plan::Above { kept, body } => (kept, Some(body)),
            },
        };
        for held in &base.layers[..kept] {
            built.keep(held, cutter)?;
        }
        new.map_or(Ok(()), |body| built.add(body, cutter))?;
        built.checked()
    }
}

impl Built {
    /// Takes a layer of the base over; one that lies in a segment that is to go is written anew.
    fn keep(&mut self, held: &Held, cutter: &mut Cutter) -> Result<()> {
        if !held.stored.iter().all(|extent| cutter.may_stay(extent)) {
            return self.store(held.body.clone(), cutter);
        }
        held.stored.iter().for_each(|extent| count(&mut self.uses, extent));
        if held.layer.stored {
            self.bodies.push(held.body.clone());
        }
        self.list.layers.push(held.layer.clone());
        Ok(())
    }

    fn add(&mut self, body: Vec<u8>, cutter: &mut Cutter) -> Result<()> {
        let short = body.len() <= INLINE_MAX || self.list.layers.is_empty() && body.len() <= INLINE_ALL_MAX;
        if short && self.list.bytes() + body.len() <= INLINE_ALL_MAX {
            self.list.layers.push(Layer { stored: false, bytes: body });
            return Ok(());
        }
        self.store(body, cutter)
    }

    fn store(&mut self, body: Vec<u8>, cutter: &mut Cutter) -> Result<()> {
        let mut extents = Vec::new();
        // Local state keeps it whole: nobody looks for it in the cache.
        cutter.segments.cached = false;
        cutter.segments.write(&body, &mut extents)?;
        extents.iter().for_each(|extent| count(&mut self.uses, extent));
        self.list.layers.push(Layer { stored: true, bytes: extent::encode(&extents) });
        self.bodies.push(body);
        Ok(())
    }

    fn checked(self) -> Result<Built> {
        match self.list.bytes() <= LIST_MAX {
            true => Ok(self),
            false => Err(Error::refused("a file", "it lies in too many pieces for the format")),
        }
    }
}

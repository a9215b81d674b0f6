//! Lists of extents in the making. A list that grows long is a stream itself: it is matched against the base's list and written like any content.

use super::base::BaseFile;
use super::live::{Uses, count};
use super::region::{Cutter, Region};
use crate::error::{Error, Result};
use crate::extent::{DEPTH_MAX, Extent, ExtentEncoder, INLINE_MAX, List, push};
use std::sync::atomic::AtomicI64;

/// How much of a list is gathered before it is written.
const SPILL: usize = 1 << 20;
/// A match in a list must be this long: shorter ones would scatter it.
const MATCH_MIN: u32 = 256;
/// A list of so few bytes is written anew rather than matched into more pieces than this many bytes of list can name.
const ABOVE_MAX: usize = 1024;

#[derive(Default)]
struct Level {
    encoder: ExtentEncoder,
    bytes: Vec<u8>,
    /// The last extent: it may go on with the next.
    last: Option<Extent>,
    /// How much of this level was written.
    spilled: u64,
    drift: AtomicI64,
    /// All bytes of this level, for the local state; only of levels that are streams.
    kept: Vec<u8>,
}

/// Builds one list.
#[derive(Default)]
pub struct ListBuilder {
    levels: Vec<Level>,
    pub uses: Uses,
    pub len: u64,
}

/// A finished list.
pub struct Built {
    pub list: List,
    pub uses: Uses,
    /// The bytes of each level that is a stream, lowest first.
    pub levels: Vec<Vec<u8>>,
}

impl ListBuilder {
    pub fn push(&mut self, extent: Extent, cutter: &mut Cutter, base: &[BaseFile]) -> Result<()> {
        self.len += extent.len;
        self.push_at(0, extent, cutter, base)
    }

    fn push_at(&mut self, depth: usize, extent: Extent, cutter: &mut Cutter, base: &[BaseFile]) -> Result<()> {
        if self.levels.len() == depth {
            if depth > usize::from(DEPTH_MAX) {
                return Err(Error::refused("a file", "it lies in too many pieces for the format"));
            }
            self.levels.push(Level::default());
        }
        let level = &mut self.levels[depth];
        match &mut level.last {
            Some(last) if last.joins(&extent) => last.len += extent.len,
            last => {
                if let Some(ended) = last.replace(extent) {
                    count(&mut self.uses, &ended);
                    level.encoder.put(&ended, &mut level.bytes);
                }
            }
        }
        if self.levels[depth].bytes.len() >= SPILL { self.spill(depth, cutter, base) } else { Ok(()) }
    }

    /// Writes what a level has gathered, as a stretch of a stream whose extents go one level up.
    fn spill(&mut self, depth: usize, cutter: &mut Cutter, base: &[BaseFile]) -> Result<()> {
        let level = &mut self.levels[depth];
        let bytes = std::mem::take(&mut level.bytes);
        let mut extents = Vec::new();
        cutter.begin_file();
        let region = Region {
            data: &bytes,
            offset: level.spilled,
            base: base.get(depth),
            drift: &level.drift,
            match_min: MATCH_MIN,
        };
        cutter.region(&region, &mut extents)?;
        let level = &mut self.levels[depth];
        if level.spilled == 0 && region_is_whole(&bytes) && scattered(&extents) {
            // A short list in many pieces costs more above than it saves here.
            extents.clear();
            cutter.segments.write(&bytes, &mut extents)?;
        }
        level.spilled += bytes.len() as u64;
        level.kept.extend_from_slice(&bytes);
        level.bytes = bytes;
        level.bytes.clear();
        extents.into_iter().try_for_each(|extent| self.push_at(depth + 1, extent, cutter, base))
    }

    /// Ends the list.
    pub fn finish(mut self, cutter: &mut Cutter, base: &[BaseFile]) -> Result<Built> {
        let mut depth = 0;
        loop {
            if self.levels.len() <= depth {
                // Nothing was ever pushed: the content is empty.
                return Ok(Built { list: List::default(), uses: self.uses, levels: vec![] });
            }
            let level = &mut self.levels[depth];
            if let Some(ended) = level.last.take() {
                count(&mut self.uses, &ended);
                level.encoder.put(&ended, &mut level.bytes);
            }
            if level.spilled == 0 && level.bytes.len() <= INLINE_MAX {
                let bytes = std::mem::take(&mut level.bytes);
                let levels = self.levels.into_iter().take(depth).map(|level| level.kept).collect();
                return Ok(Built { list: List { depth: depth as u8, bytes }, uses: self.uses, levels });
            }
            if !level.bytes.is_empty() {
                self.spill(depth, cutter, base)?;
            }
            depth += 1;
        }
    }
}

fn region_is_whole(bytes: &[u8]) -> bool {
    bytes.len() < SPILL
}

fn scattered(extents: &[Extent]) -> bool {
    let mut joined = Vec::new();
    extents.iter().for_each(|extent| push(&mut joined, *extent));
    crate::extent::encode(&joined).len() > ABOVE_MAX
}

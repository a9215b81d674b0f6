//! One region of new content, turned into extents: cut, looked up, matched against the base, and what is left written as literals. DESIGN: an export costs what changed.

use super::base::{Allowed, BaseFile, CachedSegments, Span, Window};
use super::segment::SegmentWriter;
use crate::error::{Error, Result};
use crate::extent::{Extent, Place, push};
use crate::local::chunks::{self, ChunkTable};
use crate::matcher::{Matcher, Piece};
use crate::read::segments::Recent;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// The mean length of chunks. They are at least a quarter of that, and at most four times.
pub const CHUNK: usize = 64 << 10;
/// The same of files that are large, and yet so small that four times as many chunks do not matter: where little changed, little of the base is read to compare.
pub const CHUNK_FINE: usize = 16 << 10;
/// Files up to this length have fine chunks.
pub const FINE_MAX: u64 = 128 << 20;
/// The longest region.
pub const REGION: usize = 4 << 20;
/// MiB of the base's segments that a thread keeps decoded.
const RECENT: usize = 20;

/// What all threads of an export share.
pub struct Shared {
    pub table: ChunkTable,
    pub allowed: Allowed,
    pub cached: Arc<CachedSegments>,
}

/// A stretch of new content, and what is known of its place in the base.
pub struct Region<'a> {
    pub data: &'a [u8],
    pub offset: u64,
    pub base: Option<&'a BaseFile>,
    /// How far the base is ahead of the new content, as last seen.
    pub drift: &'a AtomicI64,
    /// Whether chunks are short.
    pub fine: bool,
    /// Matches shorter than this are not worth an extent.
    pub match_min: u32,
}

/// One for each thread.
pub struct Cutter {
    shared: Arc<Shared>,
    pub segments: SegmentWriter,
    recent: Recent<'static>,
    matcher: Matcher,
    span: Span,
    pieces: Vec<Piece>,
    /// Where a known chunk lies.
    found: Vec<chunks::Place>,
    places: Vec<chunks::Place>,
    /// Chunks of the stretch that is not yet placed.
    pending: Vec<(chunks::ChunkHash, u32)>,
}

impl Cutter {
    pub fn new(shared: Arc<Shared>, segments: SegmentWriter) -> Self {
        Cutter {
            recent: Recent::shared(shared.cached.clone(), RECENT),
            shared,
            segments,
            matcher: Matcher::new(),
            span: Span::default(),
            pieces: vec![],
            found: vec![],
            places: vec![],
            pending: vec![],
        }
    }

    /// Whether an extent of the base may stay as it is.
    pub fn may_stay(&self, extent: &Extent) -> bool {
        self.shared.allowed.may_stay(extent)
    }

    /// Another file follows.
    pub fn begin_file(&mut self) {
        self.span.clear();
    }

    /// Turns a region into extents.
    pub fn region(&mut self, region: &Region<'_>, out: &mut Vec<Extent>) -> Result<()> {
        let (mut done, mut at) = (0, 0);
        while at < region.data.len() {
            let len = next_cut(&region.data[at..], if region.fine { CHUNK_FINE } else { CHUNK });
            let chunk = &region.data[at..at + len];
            let hash = self.shared.table.hash(chunk);
            self.found.clear();
            let allowed = &self.shared.allowed;
            let known =
                self.shared
                    .table
                    .find(&hash, len as u32, &|tag, sequence| allowed.ordinal(tag, sequence).is_some(), &mut self.found);
            if known {
                self.stretch(region, done, at, out)?;
                self.reuse(region, at, out);
                done = at + len;
            } else {
                self.pending.push((hash, len as u32));
            }
            at += len;
        }
        self.stretch(region, done, at, out)
    }

    /// Refers to where a chunk lies already.
    fn reuse(&mut self, region: &Region<'_>, at: usize, out: &mut Vec<Extent>) {
        for (index, place) in self.found.iter().enumerate() {
            let Some(ordinal) = self.shared.allowed.ordinal(place.run, place.sequence) else { unreachable!("it was asked before") };
            let there = Place { ordinal, sequence: place.sequence, offset: place.offset };
            push(out, Extent { place: Some(there), len: place.len.into() });
            if index == 0
                && let Some(base) = region.base
                && let Some(position) = base.position(there)
            {
                region.drift.store(position as i64 - (region.offset + at as u64) as i64, Ordering::Relaxed);
            }
        }
    }

    /// Places what no chunk table knew.
    fn stretch(&mut self, region: &Region<'_>, from: usize, to: usize, out: &mut Vec<Extent>) -> Result<()> {
        if from == to {
            return Ok(());
        }
        // The stretch must not melt into the extent before it, for its chunks are remembered by their extents.
        let mut placed = Vec::new();
        match region.base {
            Some(base) if base.len() > 0 => self.matched(region, base, from, to, &mut placed)?,
            _ => self.segments.write(&region.data[from..to], &mut placed)?,
        }
        self.remember(&placed)?;
        debug_assert_eq!(placed.iter().map(|extent| extent.len).sum::<u64>(), (to - from) as u64);
        placed.into_iter().for_each(|extent| push(out, extent));
        Ok(())
    }

    fn matched(&mut self, region: &Region<'_>, base: &BaseFile, from: usize, to: usize, out: &mut Vec<Extent>) -> Result<()> {
        let new = &region.data[from..to];
        let expected = (region.offset + from as u64) as i64 + region.drift.load(Ordering::Relaxed);
        let guess = expected.clamp(0, base.len() as i64) as u64;
        self.pieces.clear();
        let mut window = Window { file: base, recent: &mut self.recent, segments: &*self.shared.cached, span: &mut self.span };
        let drift = self
            .matcher
            .pieces(new, guess, &mut window, &mut self.pieces)
            .map_err(Error::store("read", "the base"))?;
        if let Some(drift) = drift {
            // The matcher's drift counts from the beginning of the stretch.
            region.drift.store(drift - (region.offset + from as u64) as i64, Ordering::Relaxed);
        }
        let mut at = 0;
        let mut literal = 0;
        for index in 0..self.pieces.len() {
            let (len, copy) = match self.pieces[index] {
                Piece::Copy { base, len } => (len, (len >= region.match_min).then_some(base)),
                Piece::Literal { len } => (len, None),
            };
            if let Some(position) = copy {
                self.segments.write(&new[literal..at], out)?;
                let (allowed, segments) = (&self.shared.allowed, &mut self.segments);
                let mut inside = at;
                base.part(position, len.into(), &mut |extent| {
                    let end = inside + extent.len as usize;
                    if allowed.may_stay(&extent) {
                        push(out, extent);
                    } else {
                        segments.move_here(&new[inside..end], out)?;
                    }
                    inside = end;
                    Ok(())
                })?;
                literal = at + len as usize;
            }
            at += len as usize;
        }
        self.segments.write(&new[literal..], out)
    }

    /// Remembers where the pending chunks came to lie.
    fn remember(&mut self, placed: &[Extent]) -> Result<()> {
        let (mut index, mut skip) = (0, 0);
        for (hash, len) in std::mem::take(&mut self.pending) {
            self.places.clear();
            let mut left = u64::from(len);
            let mut whole = true;
            while left > 0 {
                let part = placed[index].part(skip, left);
                match part.place {
                    Some(place) => match self.shared.allowed.tag(place.ordinal) {
                        Some(run) => {
                            self.places
                                .push(chunks::Place { run, sequence: place.sequence, offset: place.offset, len: part.len as u32 })
                        }
                        None => whole = false,
                    },
                    None => whole = false,
                }
                left -= part.len;
                skip += part.len;
                if skip == placed[index].len {
                    (index, skip) = (index + 1, 0);
                }
            }
            if whole && self.places.len() <= chunks::PLACES_MAX {
                self.shared.table.insert(&hash, &self.places).map_err(Error::store("write", "the chunk table"))?;
            }
        }
        Ok(())
    }

    /// Writes what an extent of the base holds into a segment of this export. `false` when its bytes are not to be had.
    pub fn relocate(&mut self, extent: &Extent, out: &mut Vec<Extent>) -> Result<bool> {
        let place = extent.place.expect("holes stay");
        self.segments.cached = true;
        match self.recent.extent(place, extent.len) {
            Ok(bytes) => {
                self.segments.move_here(bytes, out)?;
                Ok(true)
            }
            Err(_) => Ok(false),
        }
    }
}

/// Where the next chunk of this mean length ends.
pub fn next_cut(data: &[u8], mean: usize) -> usize {
    let (least, most) = (mean / 4, mean * 4);
    if data.len() <= least {
        return data.len();
    }
    let bounded = &data[..data.len().min(most)];
    let cut = fastcdc::v2020::FastCDC::new(bounded, least, mean, most).next();
    cut.map_or(bounded.len(), |chunk| chunk.length)
}

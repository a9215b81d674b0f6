//! Literals gathered into segments: one open segment for each thread, sealed and written when it is full.

use super::runs::{OpenRun, Runs};
use crate::digest::{BLOCK, sha256};
use crate::error::{Error, Result};
use crate::extent::{Extent, Place, push};
use crate::id::Address;
use crate::local::cache::SegmentCache;
use crate::seal::{Encoder, HEADER, seal_segment};
use crate::sign::random;
use std::sync::Arc;

struct OpenSegment {
    run: Arc<OpenRun>,
    sequence: u32,
    content: Vec<u8>,
    cached: bool,
    /// Whether it holds pieces of the base that were moved: they will be read again one by one.
    moved: bool,
}

pub struct SegmentWriter {
    runs: Arc<Runs>,
    cache: Arc<SegmentCache>,
    encoder: Encoder,
    open: Option<OpenSegment>,
    item: Vec<u8>,
    spare: Vec<u8>,
    /// Whether what is written next is worth a place in the local cache: of small files it is cheaper to store them again.
    pub cached: bool,
}

/// Content up to this length is not split when the open segment is nearly full: whole, it is restored in one go.
const KEEP_WHOLE: usize = 64 << 10;
/// Segments of moved pieces end here: to read one of them again, less is decoded.
const MOVED: usize = 256 << 10;

impl SegmentWriter {
    pub fn new(runs: Arc<Runs>, cache: Arc<SegmentCache>, level: i32) -> Result<Self> {
        let encoder = Encoder::new(level).map_err(|why| Error::refused(format!("compression level {level}"), why))?;
        Ok(SegmentWriter { runs, cache, encoder, open: None, item: Vec::new(), spare: Vec::new(), cached: true })
    }

    /// Writes pieces of the base that have to move. Otherwise as `write`.
    pub fn move_here(&mut self, bytes: &[u8], out: &mut Vec<Extent>) -> Result<()> {
        self.write(bytes, out)?;
        let Some(open) = &mut self.open else { return Ok(()) };
        open.moved = true;
        if open.content.len() >= MOVED { self.flush() } else { Ok(()) }
    }

    /// Writes literal bytes; where they came to lie is added to `out`.
    pub fn write(&mut self, mut bytes: &[u8], out: &mut Vec<Extent>) -> Result<()> {
        self.yield_run()?;
        if let Some(open) = &self.open
            && bytes.len() <= KEEP_WHOLE
            && open.content.len() + bytes.len() > BLOCK
        {
            self.flush()?;
        }
        let cached = self.cached;
        while !bytes.is_empty() {
            let open = self.open();
            let part = bytes.len().min(BLOCK - open.content.len());
            let place = Place { ordinal: open.run.ordinal, sequence: open.sequence, offset: open.content.len() as u32 };
            open.content.extend_from_slice(&bytes[..part]);
            open.cached |= cached;
            let full = open.content.len() == BLOCK;
            push(out, Extent { place: Some(place), len: part as u64 });
            bytes = &bytes[part..];
            if full {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn open(&mut self) -> &mut OpenSegment {
        self.open.get_or_insert_with(|| {
            let (run, sequence) = self.runs.begin_segment();
            OpenSegment { run, sequence, content: std::mem::take(&mut self.spare), cached: false, moved: false }
        })
    }

    /// Lets go of a run that was retired.
    pub fn yield_run(&mut self) -> Result<()> {
        if self.open.as_ref().is_some_and(|open| open.run.is_retired()) { self.flush() } else { Ok(()) }
    }

    /// Seals and writes what is open.
    pub fn flush(&mut self) -> Result<()> {
        let Some(OpenSegment { run, sequence, content, cached, .. }) = self.open.take() else { return Ok(()) };
        self.encoder.encode(&content, HEADER, &mut self.item);
        if cached {
            // The cache only helps later exports: what it cannot take, it does without.
            let _ = self.cache.put(run.id.tag(), sequence, &self.item[HEADER..]);
        }
        let key = run.key().map(|key| (key, random()));
        seal_segment(&mut self.item, Address { run: run.id, sequence }, key);
        self.runs.finish_segment(&run, sequence, &self.item, sha256(&self.item), content.len() as u32)?;
        self.spare = content;
        self.spare.clear();
        Ok(())
    }
}

//! The base: a published snapshot whose segments an export may use again, as local state knows it.

use super::live::{Live, Name};
use super::runs::Runs;
use crate::error::{Error, Result};
use crate::extent::{Extent, Place};
use crate::local::RunTag;
use crate::local::cache::SegmentCache;
use crate::matcher;
use crate::read::assemble;
use crate::read::segments::{Recent, Segments, Workspace};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Which segments an export may refer to.
pub struct Allowed {
    base: HashMap<RunTag, u64>,
    live: Live,
    /// Segments of the base that are written anew: nothing may refer to them any more.
    pub rewrites: HashSet<Name>,
    /// Runs of this export, and closed ones of an unfinished export before it.
    runs: Arc<Runs>,
}

impl Allowed {
    pub fn new(live: Live, rewrites: HashSet<Name>, runs: Arc<Runs>) -> Self {
        let base = live.runs.iter().map(|(ordinal, run)| (run.id.tag(), *ordinal)).collect();
        Allowed { base, live, rewrites, runs }
    }

    /// The tag of a run that may be used.
    pub fn tag(&self, ordinal: u64) -> Option<RunTag> {
        self.live.runs.get(&ordinal).map(|run| run.id.tag()).or_else(|| self.runs.tag_of(ordinal))
    }

    /// The ordinal of a run, if this segment of it may be used.
    pub fn ordinal(&self, tag: RunTag, sequence: u32) -> Option<u64> {
        if let Some(&ordinal) = self.base.get(&tag) {
            let name = (ordinal, sequence);
            return (self.live.is_live(name) && !self.rewrites.contains(&name)).then_some(ordinal);
        }
        self.runs.ordinal_of(tag)
    }

    /// Whether an extent of the base may stay as it is.
    pub fn may_stay(&self, extent: &Extent) -> bool {
        extent.place.is_none_or(|place| !self.rewrites.contains(&(place.ordinal, place.sequence)))
    }
}

/// Segments of the base, from the local cache. Never from the repository: the exporter cannot open what it sealed.
pub struct CachedSegments {
    pub cache: Arc<SegmentCache>,
    pub tags: HashMap<u64, RunTag>,
}

impl Segments for CachedSegments {
    fn content(&self, ordinal: u64, sequence: u32, workspace: &mut Workspace, out: &mut Vec<u8>) -> Result<()> {
        let name = || format!("segment {sequence} of run number {ordinal} in the local cache");
        let tag = *self.tags.get(&ordinal).ok_or_else(|| Error::Missing { name: name() })?;
        match self.cache.get(tag, sequence, &mut workspace.item) {
            Ok(true) => workspace.decoder.decode(&workspace.item, out).map_err(|why| Error::damaged(name(), why)),
            Ok(false) => Err(Error::Missing { name: name() }),
            Err(error) => Err(Error::store("read", &name())(error)),
        }
    }
}

/// Where the bytes of a file of the base come from.
enum Bytes {
    /// From cached segments; through a scratch file when more segments were decoded than reading all of it once would take.
    Cached {
        decoded: AtomicUsize,
        segments: usize,
        scratch: Mutex<Option<Option<Arc<File>>>>,
        folder: PathBuf,
    },
    File(File),
    /// Only its extents are asked for.
    None,
}

/// A file, list or index of the base.
pub struct BaseFile {
    extents: Vec<Extent>,
    starts: Vec<u64>,
    len: u64,
    bytes: Bytes,
    /// Extents by place, made when first asked for.
    places: OnceLock<Vec<(Place, u64, u64)>>,
}

impl BaseFile {
    pub fn cached(extents: Vec<Extent>, folder: &Path) -> Self {
        let segments: HashSet<Name> = extents
            .iter()
            .filter_map(|extent| extent.place)
            .map(|place| (place.ordinal, place.sequence))
            .collect();
        let segments = segments.len();
        Self::new(extents, Bytes::Cached { decoded: AtomicUsize::new(0), segments, scratch: Mutex::default(), folder: folder.into() })
    }

    /// One whose bytes lie in a local file.
    pub fn local(extents: Vec<Extent>, file: File) -> Self {
        Self::new(extents, Bytes::File(file))
    }

    /// One whose bytes nobody will ask for.
    pub fn listed(extents: Vec<Extent>) -> Self {
        Self::new(extents, Bytes::None)
    }

    fn new(extents: Vec<Extent>, bytes: Bytes) -> Self {
        let mut len = 0;
        let starts = extents
            .iter()
            .map(|extent| {
                let start = len;
                len += extent.len;
                start
            })
            .collect();
        BaseFile { extents, starts, len, bytes, places: OnceLock::new() }
    }

    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn count(&self) -> usize {
        self.extents.len()
    }

    /// An extent, and where it begins.
    pub fn extent(&self, index: usize) -> (u64, Extent) {
        (self.starts[index], self.extents[index])
    }

    /// The extent that holds a position; looked for first at and behind `hint`.
    pub fn index_of(&self, position: u64, hint: usize) -> Option<usize> {
        let holds = |index: usize| {
            let start = self.starts.get(index)?;
            (position >= *start && position < start + self.extents[index].len).then_some(index)
        };
        let search = || (position < self.len).then(|| self.starts.partition_point(|&at| at <= position) - 1);
        holds(hint).or_else(|| holds(hint + 1)).or_else(search)
    }

    /// The extents of a part of it.
    pub fn part(&self, start: u64, len: u64, each: &mut dyn FnMut(Extent) -> Result<()>) -> Result<()> {
        let mut index = self.starts.partition_point(|&at| at <= start).saturating_sub(1);
        let (mut at, end) = (start, start + len);
        while at < end {
            let extent = self.extents[index].part(at - self.starts[index], end - at);
            at += extent.len;
            index += 1;
            each(extent)?;
        }
        Ok(())
    }

    /// Where in the base the byte at a place stands, if it does.
    pub fn position(&self, place: Place) -> Option<u64> {
        let places = self.places.get_or_init(|| {
            let found = self
                .extents
                .iter()
                .zip(&self.starts)
                .filter_map(|(extent, &start)| Some((extent.place?, extent.len, start)));
            let mut places: Vec<_> = found.collect();
            places.sort_unstable_by_key(|(place, ..)| (place.ordinal, place.sequence, place.offset));
            places
        });
        let key = |place: &Place| (place.ordinal, place.sequence, place.offset);
        let after = places.partition_point(|(known, ..)| key(known) <= key(&place));
        let (known, len, start) = places.get(after.checked_sub(1)?)?;
        let skip = u64::from(place.offset.checked_sub(known.offset)?);
        (known.ordinal == place.ordinal && known.sequence == place.sequence && skip < *len).then_some(start + skip)
    }

    /// Replaces `out` by a stretch of its bytes. `false` when they are not to be had.
    fn read(&self, start: u64, len: usize, recent: &mut Recent<'_>, segments: &dyn Segments, out: &mut Vec<u8>) -> io::Result<bool> {
        out.clear();
        let file = match &self.bytes {
            Bytes::File(file) => return read_file(file, start, len, out).map(|()| true),
            Bytes::None => return Ok(false),
            Bytes::Cached { decoded, segments, .. } if decoded.load(Ordering::Relaxed) < segments * 2 + 64 => None,
            Bytes::Cached { scratch, folder, .. } => {
                let mut scratch = scratch.lock().unwrap_or_else(PoisonError::into_inner);
                let made = scratch.get_or_insert_with(|| assemble::to_scratch(segments, &self.extents, folder, 1).ok().map(Arc::new));
                match made {
                    Some(file) => Some(file.clone()),
                    None => return Ok(false),
                }
            }
        };
        if let Some(file) = file {
            return read_file(&file, start, len, out).map(|()| true);
        }
        let before = recent.loads;
        let whole = self.part(start, len as u64, &mut |extent| {
            match extent.place {
                Some(place) => out.extend_from_slice(recent.extent(place, extent.len)?),
                None => out.resize(out.len() + extent.len as usize, 0),
            }
            Ok(())
        });
        if let Bytes::Cached { decoded, .. } = &self.bytes {
            decoded.fetch_add(recent.loads - before, Ordering::Relaxed);
        }
        Ok(whole.is_ok())
    }

    pub fn extents(&self) -> &[Extent] {
        &self.extents
    }

    /// Whether its mean extent is no longer than a few pages.
    pub fn is_scattered(&self) -> bool {
        self.len / (self.extents.len() as u64 + 1) < SCATTERED
    }

    /// How much to read at once: little where a stretch lies in many segments.
    fn span(&self) -> u64 {
        let mean = self.len / (self.extents.len() as u64 + 1);
        (mean * SPAN_EXTENTS).clamp(SPAN_MIN, SPAN_MAX)
    }
}

fn read_file(file: &File, start: u64, len: usize, out: &mut Vec<u8>) -> io::Result<()> {
    out.resize(len, 0);
    file.read_exact_at(out, start)
}

/// Gives a matcher the bytes of a file of the base, a span at a time.
pub struct Window<'a, 'r> {
    pub file: &'a BaseFile,
    pub recent: &'a mut Recent<'r>,
    pub segments: &'a dyn Segments,
    pub span: &'a mut Span,
}

/// Bytes of the base that were read last.
#[derive(Default)]
pub struct Span {
    start: u64,
    bytes: Vec<u8>,
}

impl Span {
    /// Forgets them: another file follows.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }
}

/// What is read of the base at once.
const SPAN_MAX: u64 = 6 << 20;
const SPAN_MIN: u64 = 64 << 10;
const SPAN_EXTENTS: u64 = 32;
const SCATTERED: u64 = 32 << 10;

impl matcher::Base for Window<'_, '_> {
    fn len(&self) -> u64 {
        self.file.len()
    }

    fn is_scattered(&self) -> bool {
        self.file.is_scattered()
    }

    fn window(&mut self, start: u64, len: usize) -> io::Result<Option<&[u8]>> {
        let end = start + len as u64;
        let span = &mut *self.span;
        let held = start >= span.start && end <= span.start + span.bytes.len() as u64;
        if !held || span.bytes.is_empty() {
            let len = self.file.span();
            span.start = start.saturating_sub(len / 8);
            let span_end = (span.start + len).max(end).min(self.file.len());
            if !self
                .file
                .read(span.start, (span_end - span.start) as usize, self.recent, self.segments, &mut span.bytes)?
            {
                span.bytes.clear();
                return Ok(None);
            }
        }
        let skip = (start - span.start) as usize;
        Ok(span.bytes.get(skip..skip + len))
    }
}

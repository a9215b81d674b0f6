//! The threads of an export: they open, read, cut, match, compress, seal and write. A bounded queue feeds them; what they found goes back to the one who keeps the order.

mod queue;

use super::base::BaseFile;
use super::item::{Contents, Open, Opened, Stamp};
use super::layers::Held;
use super::lists::{BaseLayers, Built, ListBuilder};
use super::region::{Cutter, REGION, Region};
use crate::digest::{self, BLOCK};
use crate::entry::{Attributes, Content};
use crate::error::{Error, Result};
use crate::extent::{Extent, List, push};
use crate::id::Hash;
pub use queue::Queue;
use queue::Taken;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, OnceLock};

/// A file small enough to be read by one thread in one go.
pub struct SmallFile {
    pub number: u64,
    pub open: Open,
    /// What the base has at its path.
    pub base: Option<SmallBase>,
}

pub struct SmallBase {
    pub content: Content,
    pub file: BaseFile,
    pub layers: Vec<Held>,
    /// Whether all its extents may stay.
    pub may_stay: bool,
}

impl SmallBase {
    fn layers(&self) -> BaseLayers<'_> {
        BaseLayers { file: &self.file, layers: &self.layers }
    }
}

/// A file that is worked on by several threads, region by region.
pub struct LargeFile {
    pub number: u64,
    pub base: Option<BaseFile>,
    pub drift: AtomicI64,
    pub fine: bool,
    pub match_min: u32,
}

/// Where a region's bytes come from.
pub enum Source {
    Contents(Arc<dyn Contents>),
    /// At its beginning; the buffer goes back with what was found.
    Bytes(Vec<u8>),
}

pub enum Job {
    Small(Vec<SmallFile>),
    Region { file: Arc<LargeFile>, attempt: u32, index: u64, len: usize, source: Source },
}

pub struct SmallDone {
    pub content: Content,
    pub built: Built,
    pub attributes: Attributes,
    pub stamp: Option<Stamp>,
    pub read_ms: u64,
    /// It is what the base has.
    pub same: bool,
}

pub struct RegionDone {
    pub extents: Vec<Extent>,
    pub hashes: Vec<Hash>,
    pub len: u64,
    /// What the bytes came in.
    pub buffer: Option<Vec<u8>>,
}

pub enum Done {
    Small {
        number: u64,
        result: io::Result<Box<SmallDone>>,
    },
    Region {
        number: u64,
        attempt: u32,
        index: u64,
        result: io::Result<RegionDone>,
    },
    /// The repository or the local state failed: the export ends.
    Failed(Error),
}

/// What a thread needs.
pub struct Hand {
    pub cutter: Cutter,
    buffer: Vec<u8>,
    now_ms: Arc<dyn Fn() -> u64 + Send + Sync>,
    advance: Arc<dyn Fn(u64) + Send + Sync>,
}

impl Hand {
    pub fn new(cutter: Cutter, now_ms: Arc<dyn Fn() -> u64 + Send + Sync>, advance: Arc<dyn Fn(u64) + Send + Sync>) -> Self {
        Hand { cutter, buffer: Vec::new(), now_ms, advance }
    }

    /// Works until the queue is closed and empty.
    pub fn serve(mut self, queue: &Queue, done: &Sender<Done>, stop: &AtomicBool) {
        let outcome = loop {
            match queue.take() {
                Taken::Job(job) => {
                    let yielded = self.cutter.segments.yield_run();
                    if let Err(error) = yielded.and_then(|()| self.job(job, &mut |found| drop(done.send(found)))) {
                        break Err(error);
                    }
                }
                Taken::Nothing => {
                    if let Err(error) = self.cutter.segments.yield_run() {
                        break Err(error);
                    }
                }
                Taken::End if stop.load(Ordering::Relaxed) => break Ok(()),
                Taken::End => break self.cutter.segments.flush(),
            }
        };
        if let Err(error) = outcome {
            queue.abandon();
            // Whoever would hear of it has gone already.
            let _ = done.send(Done::Failed(error));
        }
    }

    /// Does one job, and tells what it found.
    pub fn job(&mut self, job: Job, tell: &mut dyn FnMut(Done)) -> Result<()> {
        match job {
            Job::Small(files) => {
                for file in files {
                    let number = file.number;
                    let result = self.small(file)?.map(Box::new);
                    tell(Done::Small { number, result });
                }
            }
            Job::Region { file, attempt, index, len, source } => {
                let result = self.region(&file, index, len, source)?;
                tell(Done::Region { number: file.number, attempt, index, result });
            }
        }
        Ok(())
    }

    /// The outer error ends the export, the inner one only concerns this file.
    fn small(&mut self, file: SmallFile) -> Result<io::Result<SmallDone>> {
        let Opened { contents, mut attributes, stamp, len } = match (file.open)() {
            Ok(opened) => opened,
            Err(error) => return Ok(Err(error)),
        };
        /// How often a file that changes while it is read is read again.
        const ATTEMPTS: u32 = 3;
        let (mut len, mut before) = (len, stamp);
        for attempt in 1..=ATTEMPTS {
            let read_ms = (self.now_ms)();
            len = before.map_or(len, |stamp| stamp.size);
            let (content, built, same) = match self.whole(&*contents, len, file.base.as_ref())? {
                Ok(found) => found,
                Err(error) => return Ok(Err(error)),
            };
            let after = match contents.stamp() {
                Ok(stamp) => stamp,
                Err(error) => return Ok(Err(error)),
            };
            let torn = before != after || content.len != len;
            if !torn || attempt == ATTEMPTS {
                (self.advance)(content.len);
                let content = Content { torn, ..content };
                attributes.mtime = after.map_or(attributes.mtime, |stamp| stamp.mtime);
                return Ok(Ok(SmallDone { content, built, attributes, stamp: after, read_ms, same: same && !torn }));
            }
            before = after;
        }
        unreachable!("the last attempt returns")
    }

    fn whole(&mut self, contents: &dyn Contents, len: u64, base: Option<&SmallBase>) -> Result<io::Result<(Content, Built, bool)>> {
        let drift = AtomicI64::new(0);
        self.cutter.segments.cached = len >= CACHED_FROM;
        let (mut builder, mut hashes, mut at) = (ListBuilder::default(), Vec::new(), 0);
        while at < len {
            let part = (len - at).min(REGION as u64) as usize;
            let mut buffer = std::mem::take(&mut self.buffer);
            let read = read_region(contents, at, part, &mut buffer);
            if let Ok(read) = read
                && at == 0
                && read as u64 == len
                && let Some(base) = base
                && base.may_stay
                && base.content.len == len
                && digest::of_content(&buffer) == base.content.digest
            {
                self.buffer = buffer;
                let built = Built { list: base.content.list.clone(), uses: Default::default(), bodies: vec![] };
                return Ok(Ok((Content { torn: false, ..base.content.clone() }, built, true)));
            }
            let found = match read {
                Ok(_) => {
                    let region = Ranged { offset: at, base: base.map(|base| &base.file), drift: &drift, fine: false, match_min: 0 };
                    self.extents(contents, &region, &buffer, &mut hashes)
                }
                Err(error) => {
                    self.buffer = buffer;
                    return Ok(Err(error));
                }
            };
            let read = buffer.len();
            self.buffer = buffer;
            for extent in found? {
                builder.push(extent, base.map(SmallBase::layers));
            }
            at += read as u64;
            if read < part {
                break;
            }
        }
        let content = Content { len: at, digest: digest::of_blocks(&hashes), list: List::default(), torn: false };
        let built = builder.finish(&mut self.cutter, base.map(SmallBase::layers))?;
        Ok(Ok((Content { list: built.list.clone(), ..content }, built, false)))
    }

    fn region(&mut self, file: &LargeFile, index: u64, len: usize, source: Source) -> Result<io::Result<RegionDone>> {
        let offset = index * REGION as u64;
        let region = Ranged { offset, base: file.base.as_ref(), drift: &file.drift, fine: file.fine, match_min: file.match_min };
        let (mut hashes, mut extents) = (Vec::new(), Vec::new());
        self.cutter.segments.cached = true;
        let mut given = None;
        let len = match source {
            Source::Bytes(bytes) => {
                hashes.extend(digest::sha256_each(&bytes[..len].chunks(BLOCK).collect::<Vec<_>>()));
                self.cutter.begin_file();
                self.cutter.region(&region.of(&bytes, 0, len), &mut extents)?;
                given = Some(bytes);
                len
            }
            Source::Contents(contents) => match contents.next_data(offset) {
                Err(error) => return Ok(Err(error)),
                Ok(next) if next.is_none_or(|(start, _)| start >= offset + len as u64) => {
                    extents.push(Extent { place: None, len: len as u64 });
                    zero_hashes(len, &mut hashes);
                    len
                }
                Ok(_) => {
                    let mut buffer = std::mem::take(&mut self.buffer);
                    let read = read_region(&*contents, offset, len, &mut buffer);
                    let found = read.map(|_| self.extents(&*contents, &region, &buffer, &mut hashes));
                    let read = buffer.len();
                    self.buffer = buffer;
                    match found {
                        Ok(found) => extents = found?,
                        Err(error) => return Ok(Err(error)),
                    }
                    read
                }
            },
        };
        (self.advance)(len as u64);
        Ok(Ok(RegionDone { extents, hashes, len: len as u64, buffer: given }))
    }

    /// Hashes a region, and turns what is no hole in it into extents.
    fn extents(&mut self, contents: &dyn Contents, region: &Ranged<'_>, data: &[u8], hashes: &mut Vec<Hash>) -> Result<Vec<Extent>> {
        hashes.extend(digest::sha256_each(&data.chunks(BLOCK).collect::<Vec<_>>()));
        let mut out = Vec::new();
        self.cutter.begin_file();
        let mut at = 0;
        while at < data.len() {
            // Holes are looked for in what is large enough to have any.
            let next = if data.len() < HOLES_FROM { None } else { contents.next_data(region.offset + at as u64).ok() };
            let (start, end) = match next {
                None => (at, data.len()),
                Some(None) => (data.len(), data.len()),
                Some(Some((start, end))) => {
                    let inside = |position: u64| (position.saturating_sub(region.offset) as usize).clamp(at, data.len());
                    (inside(start), inside(end))
                }
            };
            if start > at {
                push(&mut out, Extent { place: None, len: (start - at) as u64 });
            }
            if start < end {
                self.cutter.region(&region.of(data, start, end), &mut out)?;
            }
            // A file that changes under our eyes may give an empty stretch; it must not stop us.
            at = if end > at { end } else { data.len() };
        }
        fill_up(&mut out, data.len() as u64);
        Ok(out)
    }
}

/// Makes extents as long as the data: what a vanished stretch left open is a hole, and the digest will say that the file was torn.
fn fill_up(extents: &mut Vec<Extent>, len: u64) {
    let have: u64 = extents.iter().map(|extent| extent.len).sum();
    if have < len {
        push(extents, Extent { place: None, len: len - have });
    }
}

const HOLES_FROM: usize = 64 << 10;
/// Smaller files are stored again when they change, and not matched.
const CACHED_FROM: u64 = 64 << 10;

/// A region whose bytes are still to be chosen.
struct Ranged<'a> {
    offset: u64,
    base: Option<&'a BaseFile>,
    drift: &'a AtomicI64,
    fine: bool,
    match_min: u32,
}

impl<'a> Ranged<'a> {
    fn of(&self, data: &'a [u8], start: usize, end: usize) -> Region<'a>
    where
        Self: 'a,
    {
        Region {
            data: &data[start..end],
            offset: self.offset + start as u64,
            base: self.base,
            drift: self.drift,
            fine: self.fine,
            match_min: self.match_min,
        }
    }
}

fn zero_hashes(len: usize, hashes: &mut Vec<Hash>) {
    static ZERO: OnceLock<Hash> = OnceLock::new();
    let mut left = len;
    while left > 0 {
        let part = left.min(BLOCK);
        hashes.push(if part == BLOCK { *ZERO.get_or_init(|| digest::sha256(&[0; BLOCK])) } else { digest::sha256(&vec![0; part]) });
        left -= part;
    }
}

/// Reads a region; less when the file ends before.
pub fn read_region(contents: &dyn Contents, offset: u64, len: usize, buffer: &mut Vec<u8>) -> io::Result<usize> {
    buffer.resize(len, 0);
    let mut filled = 0;
    while filled < len {
        match contents.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    buffer.truncate(filled);
    Ok(filled)
}

//! A base out of a snapshot that another node wrote: its index, its lists and its runs become local state, so that this node's first export refers to what lies in the
//! repository already. DESIGN: after a takeover the first export is incremental.
//!
//! How files looked when they were read is not known here, so that export reads all of them, and stores what differs. Content of large files and of streams is read once
//! out of the repository, for the chunk table and the cache; smaller files are compared by their digests.
//!
//! Local state is written as an export does it: the old one counts until the new one is whole.

use super::base::BaseFile;
use super::live::{Live, RunLive, SegmentLive};
use super::order::index_file::IndexWriter;
use super::region::{CHUNK, CHUNK_FINE, FINE_MAX, REGION, next_cut};
use super::walk::BaseList;
use super::{SMALL_MAX, sealing};
use crate::digest::Digester;
use crate::entry::{Content, Entry, Node};
use crate::error::{Error, Result};
use crate::extent::{Extent, List};
use crate::local::cache::SegmentCache;
use crate::local::chunks::{self, ChunkTable};
use crate::local::state::{EntryStamp, Local, State};
use crate::name::Position;
use crate::read::assemble;
use crate::read::list::located;
use crate::read::open::OpenSnapshot;
use crate::read::segments::{Recent, Segments, Workspace};
use crate::sign::{PublicKey, random};
use crate::trust::Trust;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// For whom, and with what.
pub struct Adoption<'a> {
    /// Whose exports will build on it.
    pub signer: PublicKey,
    /// Who may say for whom the snapshot is sealed.
    pub trust: &'a Trust,
    pub recipients: Option<&'a [String]>,
    pub cache_bytes: u64,
    pub threads: usize,
    /// Whether what stands at this path may come as a stream: then its chunks are looked up however short it is.
    pub streamed: &'a dyn Fn(&[u8]) -> bool,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Adopted {
    pub entries: u64,
    /// Content that was read out of the repository.
    pub read_bytes: u64,
}

/// So much of a file is put together at once. One that is longer and lies scattered goes through a scratch file, so that no segment is decoded twice.
const WINDOW: u64 = 4 * REGION as u64;
/// MiB of segments with lists that are kept decoded.
const RECENT: usize = 4;

/// Makes local state of a snapshot. None: it belongs to that snapshot already.
pub fn adopt(snapshot: &OpenSnapshot<'_>, local: &Local, adoption: &Adoption<'_>) -> Result<Option<Adopted>> {
    let before = local.load();
    let sealing = sealing::fingerprint(adoption.recipients);
    let is_there = |state: &State| state.snapshot == snapshot.id() && state.signer == adoption.signer && state.sealing == sealing;
    if before.as_ref().is_some_and(is_there) {
        return Ok(None);
    }
    // What it refers to is not sealed anew: others could read it than should, or nobody whole.
    if !snapshot.is_sealed_for(adoption.recipients, adoption.trust)? {
        return Err(Error::refused("the snapshot", "it is not sealed for those for whom this node seals: it is no base here"));
    }
    let generation = before.as_ref().map_or(1, |state| state.generation + 1);
    let file = |what: &'static str, path: std::path::PathBuf| move |source| Error::File { operation: what, path, source };
    let seed = u64::from_le_bytes(random());
    let cache = SegmentCache::open(&local.path("cache"), adoption.cache_bytes, seed).map_err(file("open", local.path("cache")))?;
    let table = ChunkTable::open(&local.path("chunks"), &sealing.0).map_err(file("open", local.path("chunks")))?;
    let mut live = Live::default();
    for (used, segments) in snapshot.runs() {
        let run = RunLive { id: used.run, record: used.record, segments: vec![SegmentLive::default(); segments] };
        live.runs.insert(used.ordinal, run);
    }
    let mut work = Work {
        local,
        adoption,
        kept: Kept { snapshot, cache, lens: Mutex::default() },
        table,
        lists: Lists { next: before.as_ref().map_or(1, |state| state.next_lists), keep: HashSet::new() },
        live,
        done: Adopted::default(),
    };
    let mut index = IndexWriter::create(local, generation)?;
    let mut lists_recent = Recent::new(snapshot, RECENT);
    snapshot.entries(adoption.threads, &mut |entry| {
        let lists = work.entry(&entry, &mut lists_recent)?;
        work.done.entries += 1;
        index.write(&entry, &EntryStamp { racy: true, lists, ..EntryStamp::default() })
    })?;
    let files = index.finish()?;
    is_the_index(&local.index(generation), snapshot)?;
    let (_, index_lists) = work.unroll(&snapshot.root.index, snapshot.root.index_len, &mut lists_recent)?;
    let body = &snapshot.snapshot.body;
    let state = State {
        repository: snapshot.repository().config().id,
        signer: adoption.signer,
        sealing,
        snapshot: snapshot.id(),
        at: Position { epoch: body.epoch, sequence: body.sequence },
        captured_ms: body.captured_ms,
        heartbeats: 0,
        next_ordinal: snapshot.root.next_ordinal,
        entries: work.done.entries,
        index: snapshot.root.index.clone(),
        index_lists,
        next_lists: work.lists.next,
        live: work.live(),
        files,
        generation,
        mark: None,
    };
    local.save(&state, &work.lists.keep)?;
    local.drop_journal();
    Ok(Some(work.done))
}

/// The index as it was written here must be the very bytes that the snapshot refers to.
fn is_the_index(path: &Path, snapshot: &OpenSnapshot<'_>) -> Result<()> {
    let mut digester = Digester::default();
    let mut buffer = vec![0; 256 << 10];
    let mut len = 0;
    let mut file = File::open(path).map_err(Error::file("open", path))?;
    loop {
        match file.read(&mut buffer).map_err(Error::file("read", path))? {
            0 => break,
            read => {
                digester.update(&buffer[..read]);
                len += read as u64;
            }
        }
    }
    let root = &snapshot.root;
    match len == root.index_len && digester.finish() == root.index_digest {
        true => Ok(()),
        false => Err(Error::refused("the index", "it was written by other rules than those of this version: it is no base here")),
    }
}

fn read_at(file: &File, at: u64, len: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; len as usize];
    file.read_exact_at(&mut bytes, at)?;
    Ok(bytes)
}

/// Segments of the snapshot; what passes is put into the local cache.
struct Kept<'a> {
    snapshot: &'a OpenSnapshot<'a>,
    cache: SegmentCache,
    /// The lengths of the contents of those that were read, by run.
    lens: Mutex<HashMap<u64, Vec<u32>>>,
}

impl Segments for Kept<'_> {
    fn content(&self, ordinal: u64, sequence: u32, workspace: &mut Workspace, out: &mut Vec<u8>) -> Result<()> {
        let Workspace { decoder, item } = workspace;
        let (address, plain) = self.snapshot.plain(ordinal, sequence, item)?;
        // The cache only helps later exports: what it cannot take, they do without.
        let _ = self.cache.put(address.run.tag(), sequence, plain);
        decoder.decode(plain, out).map_err(|why| Error::damaged(format!("segment {address}"), why))?;
        let mut lens = self.lens.lock().unwrap_or_else(PoisonError::into_inner);
        let of_run = lens.entry(ordinal).or_default();
        of_run.resize(of_run.len().max(sequence as usize + 1), 0);
        of_run[sequence as usize] = out.len() as u32;
        Ok(())
    }
}

struct Lists {
    next: u64,
    keep: HashSet<u64>,
}

struct Work<'a> {
    local: &'a Local,
    adoption: &'a Adoption<'a>,
    kept: Kept<'a>,
    table: ChunkTable,
    lists: Lists,
    /// How much of each segment is used; of those that were not read the length is as far as anything in them is used.
    live: Live,
    done: Adopted,
}

impl Work<'_> {
    /// Notes what an entry uses. Gives the file under `lists/` that has its list.
    fn entry(&mut self, entry: &Entry, recent: &mut Recent<'_>) -> Result<u64> {
        let Node::File(content) = &entry.node else { return Ok(0) };
        let (list, number) = self.unroll(&content.list, content.len, recent)?;
        let streamed = (self.adoption.streamed)(&entry.path);
        if content.len > 0 && (streamed || content.len > SMALL_MAX) {
            self.learn(content, list.extents, streamed)?;
        }
        Ok(number)
    }

    /// A list with its layers at hand, and the file that keeps those which are stored.
    fn unroll(&mut self, list: &List, len: u64, recent: &mut Recent<'_>) -> Result<(BaseList, u64)> {
        let mut bodies = Vec::new();
        for layer in list.layers.iter().filter(|layer| layer.stored) {
            bodies.push(recent.assemble(&located(&layer.bytes)?)?);
        }
        let number = match bodies.is_empty() {
            true => 0,
            false => {
                let number = self.lists.next;
                self.lists.next += 1;
                self.local.save_lists(number, &bodies)?;
                self.lists.keep.insert(number);
                number
            }
        };
        let unrolled = BaseList::load(self.local, list, number)?;
        let listed = unrolled.extents.iter().try_fold(0u64, |sum, extent| sum.checked_add(extent.len));
        if listed != Some(len) {
            return Err(Error::damaged("a list of extents", "it is of another length than its content"));
        }
        for extent in unrolled.all() {
            let Some(place) = extent.place else { continue };
            let end = u64::from(place.offset) + extent.len;
            let end = u32::try_from(end).map_err(|_| Error::damaged("an extent", "it goes beyond its segment"))?;
            let segment = self.live.segment((place.ordinal, place.sequence));
            let segment = segment.ok_or_else(|| Error::damaged("an extent", "it names no segment of the snapshot"))?;
            (segment.len, segment.used) = (segment.len.max(end), segment.used + extent.len);
        }
        Ok((unrolled, number))
    }

    /// Reads content, and notes where its chunks lie.
    fn learn(&mut self, content: &Content, extents: Vec<Extent>, streamed: bool) -> Result<()> {
        let base = BaseFile::listed(extents);
        let means: &[usize] = match (content.len <= FINE_MAX, streamed) {
            // A recipe's program may hand over a file or a stream.
            (true, true) => &[CHUNK_FINE, CHUNK],
            (true, false) => &[CHUNK_FINE],
            (false, _) => &[CHUNK],
        };
        let scratch = match base.is_scattered() && content.len > WINDOW {
            true => Some(assemble::to_scratch(&self.kept, base.extents(), self.local.folder(), self.adoption.threads)?),
            false => None,
        };
        let mut at = 0;
        while at < content.len {
            let len = (content.len - at).min(WINDOW);
            let mut window = Vec::new();
            base.part(at, len, &mut |extent| {
                window.push(extent);
                Ok(())
            })?;
            let bytes = match &scratch {
                Some(file) => read_at(file, at, len).map_err(Error::file("read scratch file in", self.local.folder()))?,
                None => assemble::to_memory(&self.kept, &window, self.adoption.threads)?,
            };
            self.done.read_bytes += bytes.len() as u64;
            let window = BaseFile::listed(window);
            for (index, region) in bytes.chunks(REGION).enumerate() {
                for mean in means {
                    self.region(&window, (index * REGION) as u64, region, *mean)?;
                }
            }
            at += len;
        }
        Ok(())
    }

    /// Cuts a region as an export does, one stretch between holes after the other.
    fn region(&self, window: &BaseFile, from: u64, region: &[u8], mean: usize) -> Result<()> {
        let mut stretches: Vec<(usize, usize)> = Vec::new();
        let mut at = 0;
        window.part(from, region.len() as u64, &mut |extent| {
            let end = at + extent.len as usize;
            match stretches.last_mut() {
                _ if extent.place.is_none() => {}
                Some(last) if last.1 == at => last.1 = end,
                _ => stretches.push((at, end)),
            }
            at = end;
            Ok(())
        })?;
        for (mut at, end) in stretches {
            while at < end {
                let len = next_cut(&region[at..end], mean);
                self.chunk(window, from + at as u64, &region[at..at + len])?;
                at += len;
            }
        }
        Ok(())
    }

    fn chunk(&self, window: &BaseFile, from: u64, chunk: &[u8]) -> Result<()> {
        let mut places = Vec::new();
        window.part(from, chunk.len() as u64, &mut |extent| {
            let place = extent.place.expect("stretches have no holes");
            let run = self.live.runs.get(&place.ordinal).map(|run| run.id.tag());
            let run = run.ok_or_else(|| Error::damaged("an extent", "it names no run of the snapshot"))?;
            places.push(chunks::Place { run, sequence: place.sequence, offset: place.offset, len: extent.len as u32 });
            Ok(())
        })?;
        self.table
            .insert(&self.table.hash(chunk), &places)
            .map_err(Error::store("write", "the chunk table"))
    }

    /// The accounts, whole.
    fn live(&mut self) -> Live {
        let mut live = std::mem::take(&mut self.live);
        let lens = self.kept.lens.lock().unwrap_or_else(PoisonError::into_inner);
        for (ordinal, of_run) in lens.iter() {
            for (sequence, len) in of_run.iter().enumerate().filter(|(_, len)| **len > 0) {
                if let Some(segment) = live.segment((*ordinal, sequence as u32)) {
                    segment.len = *len;
                }
            }
        }
        live.drop_unused(u64::MAX);
        live
    }
}

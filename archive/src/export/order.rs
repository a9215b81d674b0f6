//! Keeps what comes back from many threads in the order of the index, and writes the index.
//!
//! Entries wait in a queue until their content is done; the front of the queue goes to the index. Small exports are done without any thread: jobs are put off until they
//! are worth one. Memory is bounded: by the jobs that wait and by the entries that wait behind them.

mod hands;
pub(super) mod index_file;
mod large;
mod same;
mod streams;

use super::closing::Closing;
use super::item::{Contents, Stamp};
use super::layers::Held;
use super::lists::{Built, ListBuilder};
use super::live::{Live, Uses};
use super::walk::{BaseEntry, BaseList};
use super::work::{Done, Hand, Job, LargeFile, Queue, RegionDone, SmallDone, SmallFile};
use crate::entry::{self, Content, Entry, Node};
use crate::error::{Error, Result};
use crate::extent::Extent;
use crate::id::Hash;
use crate::local::state::{EntryStamp, LocalFiles};
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use index_file::IndexWriter;
use same::{content_list, same_content, same_list};
use streams::Buffers;

/// Below this much to read, no thread is begun.
const INLINE_BYTES: u64 = 24 << 20;
/// Entries that may wait behind one that is not done.
const PENDING_MAX: usize = 20_000;
/// Small files that are read in one job.
const BATCH_BYTES: u64 = 1 << 20;
const BATCH_FILES: usize = 200;
/// Opening and closing a file costs as much as reading so many bytes.
const FILE_COSTS: u64 = 16 << 10;
/// Times nearer than this to when a file was read do not prove that it stayed the same.
const RACY_MS: u64 = 2000;
/// Files up to this length are read again when they changed meanwhile.
const AGAIN_MAX: u64 = 64 << 20;
const ATTEMPTS: u32 = 3;

/// A file that several threads work on.
struct Large {
    file: Arc<LargeFile>,
    contents: Option<Arc<dyn Contents>>,
    stamp: Option<Stamp>,
    len: u64,
    attempt: u32,
    read_ms: u64,
    builder: ListBuilder,
    layers: Vec<Held>,
    /// Whether the base's extents may stay as they are.
    base_stays: bool,
    hashes: Vec<Hash>,
    next: u64,
    regions: Option<u64>,
    stash: BTreeMap<u64, RegionDone>,
    /// A region was shorter than the file: it was cut while it was read.
    short: bool,
}

enum Progress {
    Ready,
    Small,
    Large(Box<Large>),
    Dropped,
}

struct Pending {
    entry: Entry,
    stamp: EntryStamp,
    base: Option<BaseEntry>,
    progress: Progress,
}

/// What the index came to be.
pub struct Written {
    pub entries: u64,
    pub content_bytes: u64,
    pub generation: u64,
    pub files: [Hash; 2],
    pub keep_lists: HashSet<u64>,
}

pub struct Order {
    local: Arc<LocalFiles>,
    closing: Closing,
    index: IndexWriter,
    pending: VecDeque<Pending>,
    first: u64,
    queue: Arc<Queue>,
    sender: Sender<Done>,
    done: Receiver<Done>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    spare: Vec<Hand>,
    streams: Buffers,
    pub hand: Hand,
    deferred: Vec<Job>,
    deferred_bytes: u64,
    batch: Vec<SmallFile>,
    batch_bytes: u64,
    pub live: Live,
    pub added: Uses,
    pub changed: bool,
    pub read_bytes: u64,
    pub torn: Vec<Vec<u8>>,
    pub troubles: Vec<super::Trouble>,
    keep_lists: HashSet<u64>,
    pub next_lists: u64,
    content_bytes: u64,
    entries: u64,
    generation: u64,
}

/// Something whose content is read later.
pub struct Coming {
    pub entry: Entry,
    pub base: Option<BaseEntry>,
}

/// A built list, its file under `lists/`, and the finished index stream.
pub struct IndexStream {
    pub list: crate::extent::List,
    pub lists: u64,
    pub digest: Hash,
    pub len: u64,
}

impl Order {
    pub fn new(closing: Closing, generation: u64, next_lists: u64, live: Live, mut hands: Vec<Hand>) -> Result<Order> {
        let (sender, done) = channel();
        let hand = hands.pop().expect("there is one more hand than threads");
        Ok(Order {
            index: IndexWriter::create(&closing.local, generation)?,
            local: closing.local.clone(),
            closing,
            pending: VecDeque::new(),
            first: 0,
            queue: Arc::default(),
            sender,
            done,
            stop: Arc::default(),
            threads: vec![],
            streams: Buffers::new(hands.len()),
            spare: hands,
            hand,
            deferred: vec![],
            deferred_bytes: 0,
            batch: vec![],
            batch_bytes: 0,
            live,
            added: Uses::default(),
            changed: false,
            read_bytes: 0,
            torn: vec![],
            troubles: vec![],
            keep_lists: HashSet::new(),
            next_lists,
            content_bytes: 0,
            entries: 0,
            generation,
        })
    }

    /// An entry that stays as the base has it.
    pub fn keep(&mut self, base: BaseEntry) -> Result<()> {
        self.push(Pending { entry: base.entry, stamp: base.stamp, base: None, progress: Progress::Ready })
    }

    /// An entry of the base that is gone, or replaced.
    pub fn gone(&mut self, base: &BaseEntry) -> Result<()> {
        self.changed = true;
        self.release(base)
    }

    fn release(&mut self, base: &BaseEntry) -> Result<()> {
        if let Node::File(content) = &base.entry.node {
            let uses = BaseList::of_content(&self.local, content, base.stamp.lists)?.uses();
            if !self.live.take_away(&uses) {
                return Err(Error::damaged(
                    "the local state",
                    "its accounts do not add up; remove it, and the next export reads everything",
                ));
            }
        }
        Ok(())
    }

    /// An entry without content.
    pub fn simple(&mut self, entry: Entry, stamp: EntryStamp, base: Option<BaseEntry>) -> Result<()> {
        self.compare(&entry, base.as_ref())?;
        self.push(Pending { entry, stamp, base: None, progress: Progress::Ready })
    }

    /// Notes whether an entry differs from the base's, and releases what the base's used if it does.
    fn compare(&mut self, entry: &Entry, base: Option<&BaseEntry>) -> Result<()> {
        match base {
            Some(base) if base.entry == *entry => Ok(()),
            Some(base) => self.gone(base),
            None => {
                self.changed = true;
                Ok(())
            }
        }
    }

    /// An entry that was written anew although it did not change.
    pub fn relocated(&mut self, base: BaseEntry, built: Built) -> Result<()> {
        self.gone(&base)?;
        let BaseEntry { mut entry, mut stamp } = base;
        let (list, lists) = self.take_built(built)?;
        if let Node::File(content) = &mut entry.node {
            content.list = list;
        }
        stamp.lists = lists;
        self.push(Pending { entry, stamp, base: None, progress: Progress::Ready })
    }

    pub fn take_built(&mut self, built: Built) -> Result<(crate::extent::List, u64)> {
        for (name, bytes) in built.uses {
            *self.added.entry(name).or_default() += bytes;
        }
        if built.bodies.is_empty() {
            return Ok((built.list, 0));
        }
        let number = self.next_lists;
        self.next_lists += 1;
        self.local.save_lists(number, &built.bodies)?;
        Ok((built.list, number))
    }

    fn push(&mut self, pending: Pending) -> Result<()> {
        self.pending.push_back(pending);
        self.emit()
    }

    fn next_number(&self) -> u64 {
        self.first + self.pending.len() as u64
    }

    fn small_done(&mut self, number: u64, result: io::Result<Box<SmallDone>>) -> Result<()> {
        let index = (number - self.first) as usize;
        let done = match result {
            Ok(done) => *done,
            Err(error) => return self.unreadable(index, &error),
        };
        self.read_bytes += done.content.len;
        let (list, lists) = if done.same {
            let base = self.pending[index].base.as_ref().expect("only the base can be the same");
            (done.content.list.clone(), base.stamp.lists)
        } else {
            self.take_built(done.built)?
        };
        let content = Content { list, ..done.content };
        self.pending[index].entry.attributes = done.attributes;
        self.content_done(index, content, lists, done.stamp, done.read_ms)
    }

    /// Finishes a file: its content is known.
    fn content_done(&mut self, index: usize, content: Content, lists: u64, stamp: Option<Stamp>, read_ms: u64) -> Result<()> {
        let racy = stamp.is_none_or(|stamp| [stamp.mtime, stamp.ctime].iter().any(|time| is_racy(time, read_ms)));
        let pending = &mut self.pending[index];
        if content.torn {
            self.torn.push(pending.entry.path.clone());
        }
        // Nothing has no digest in an entry.
        pending.entry.node = Node::File(if content.len == 0 { Content { torn: content.torn, ..Content::default() } } else { content });
        pending.stamp = stamp.map_or_else(EntryStamp::default, |stamp| EntryStamp::of(&stamp, racy));
        pending.stamp.lists = lists;
        pending.progress = Progress::Ready;
        let (entry, base) = (pending.entry.clone(), pending.base.take());
        match &base {
            // The same content at the same place: what the base used stays used, and nothing was added.
            Some(base) if same_list(&base.entry, &entry) => self.changed |= base.entry != entry,
            Some(base) => self.gone(base)?,
            None => self.changed = true,
        }
        Ok(())
    }

    /// A large file that could not be opened.
    pub fn not_opened(&mut self, coming: Coming, error: &io::Error) -> Result<()> {
        self.pending
            .push_back(Pending { entry: coming.entry, stamp: EntryStamp::default(), base: coming.base, progress: Progress::Small });
        self.unreadable(self.pending.len() - 1, error)?;
        self.emit()
    }

    /// A file that could not be read. The base's is kept, when there is one.
    fn unreadable(&mut self, index: usize, error: &io::Error) -> Result<()> {
        let pending = &mut self.pending[index];
        if error.kind() != io::ErrorKind::NotFound {
            self.troubles.push(super::Trouble { path: pending.entry.path.clone(), why: error.to_string() });
        }
        match pending.base.take() {
            Some(base) if error.kind() != io::ErrorKind::NotFound && matches!(base.entry.node, Node::File(_)) => {
                pending.entry = base.entry;
                pending.stamp = EntryStamp { racy: true, ..base.stamp };
                pending.progress = Progress::Ready;
                Ok(())
            }
            base => {
                pending.progress = Progress::Dropped;
                base.map_or(Ok(()), |base| self.gone(&base))
            }
        }
    }

    /// Writes what is ready at the front to the index.
    fn emit(&mut self) -> Result<()> {
        while let Some(pending) = self.pending.front() {
            match &pending.progress {
                Progress::Ready => {}
                Progress::Dropped => {
                    self.pending.pop_front();
                    self.first += 1;
                    continue;
                }
                _ => return Ok(()),
            }
            self.index.write(&pending.entry, &pending.stamp)?;
            self.entries += 1;
            if let Node::File(content) = &pending.entry.node {
                self.content_bytes += content.len;
            }
            if pending.stamp.lists > 0 {
                self.keep_lists.insert(pending.stamp.lists);
            }
            self.pending.pop_front();
            self.first += 1;
        }
        Ok(())
    }

    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Ends the index's file.
    pub fn finish_index(&mut self) -> Result<Written> {
        let files = self.index.finish()?;
        Ok(Written {
            entries: self.entries,
            content_bytes: self.content_bytes,
            generation: self.generation,
            files,
            keep_lists: std::mem::take(&mut self.keep_lists),
        })
    }

    /// Ends the threads; everything that is open is written.
    pub fn close(&mut self) -> Result<()> {
        self.queue.close();
        for thread in std::mem::take(&mut self.threads) {
            if thread.join().is_err() {
                return Err(Error::refused("the export", "one of its threads panicked"));
            }
        }
        while let Ok(done) = self.done.try_recv() {
            if let Done::Failed(error) = done {
                return Err(error);
            }
        }
        self.hand.cutter.segments.flush()?;
        self.closing.rest()
    }
}

/// A match in the index must be this long.
const INDEX_MATCH_MIN: u32 = 128;

impl Drop for Order {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.queue.abandon();
        for thread in std::mem::take(&mut self.threads) {
            let _ = thread.join();
        }
    }
}

pub fn is_racy(time: &entry::Time, read_ms: u64) -> bool {
    let ms = time.seconds.saturating_mul(1000).saturating_add(i64::from(time.nanos / 1_000_000));
    ms.saturating_add(RACY_MS as i64) >= read_ms as i64
}
/// The extents of a list that were there before: whether any must be written anew.
pub fn touches(list: &BaseList, stays: &dyn Fn(&Extent) -> bool) -> bool {
    !list.all().all(stays)
}

//! An export: one capture of a dataset, from entries in order to a published snapshot.
//!
//! The caller walks (`keep`, `add`, `trouble`), in the order of the index. What did not change keeps its extents and is not read. The rest goes to `work`'s threads as jobs; `order` keeps what comes back in order and
//! writes the new index; `publish` makes runs and snapshot durable and visible, then makes local state belong to the new snapshot.
//!
//! What it never does: hold a key longer than its run, read the repository back, or publish anything incomplete. An export that fails leaves closed runs, which the next one uses.

pub mod adopt;
mod base;
mod closing;
pub mod item;
mod layers;
mod lists;
pub mod live;
mod order;
mod publish;
mod region;
pub mod runs;
mod sealing;
mod segment;
mod walk;
mod work;

use crate::entry::{self, Entry, Node};
use crate::error::{Error, Result};
use crate::id::{Address, ExportId, Hash, SnapshotId};
use crate::local::cache::SegmentCache;
use crate::local::chunks::ChunkTable;
use crate::local::state::{EntryStamp, Local, State};
use crate::name::Position;
use crate::repository::{Known, Repository};
use crate::root::Source;
use crate::sign::{Signer, random};
use base::{Allowed, CachedSegments};
use closing::Closing;
use item::{Body, Item, Stamp};
use lists::{BaseLayers, Built, ListBuilder};
use live::Live;
use order::{Coming, Order};
use region::{Cutter, Shared};
use runs::{Runs, Writer};
use segment::SegmentWriter;
use std::sync::Arc;
use walk::{BaseEntry, BaseList, BaseWalk};
use work::{Hand, SmallBase, SmallFile};

/// Unix time in milliseconds, as the caller's clock has it.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// How to export.
#[derive(Clone)]
pub struct ExportOptions {
    pub node: String,
    pub signer: Arc<Signer>,
    /// For whom it is sealed; `None` leaves it unsealed.
    pub recipients: Option<Vec<String>>,
    pub epoch: u64,
    /// A sequence that the new snapshot's must be above, besides those that are known here.
    pub above: u64,
    /// zstd's level.
    pub level: i32,
    /// The most that the local cache of segments may take.
    pub cache_bytes: u64,
    pub threads: usize,
    pub clock: Clock,
    pub sources: Vec<Source>,
    /// Segments that a receiver needs and nobody has any more: nothing may refer to them, what they hold is stored anew.
    pub lost: Vec<Address>,
    /// Snapshots that are here and no history: none follows them.
    pub aside: Vec<SnapshotId>,
    /// Hears of bytes as they are read.
    pub advance: Arc<dyn Fn(u64) + Send + Sync>,
}

/// Something that could not be captured, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    pub path: Vec<u8>,
    pub why: String,
}

/// What an export published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Snapshot {
        id: SnapshotId,
        at: Position,
    },
    /// Nothing changed since this snapshot; a heartbeat says so.
    Unchanged {
        id: SnapshotId,
        at: Position,
    },
}

/// What an export did.
#[derive(Clone, Debug)]
pub struct ExportReport {
    pub outcome: Outcome,
    pub entries: u64,
    pub content_bytes: u64,
    /// Bytes that were read.
    pub read_bytes: u64,
    /// Bytes that the repository grew by.
    pub stored_bytes: u64,
    pub runs_used: usize,
    /// Whether there was a base.
    pub incremental: bool,
    pub troubles: Vec<Trouble>,
    /// Files that changed while they were read.
    pub torn: Vec<Vec<u8>>,
}

/// An export under way.
pub struct Export {
    repository: Arc<Repository>,
    local: Local,
    options: ExportOptions,
    sealing: Hash,
    base: Option<State>,
    /// Whether local state is surely the newest there was.
    certain: bool,
    /// The base is not the newest snapshot: that nothing changed since must not be said.
    behind: bool,
    /// Something that the base needs was lost: it is published anew even when nothing changed.
    mending: bool,
    walk: BaseWalk,
    order: Order,
    runs: Arc<Runs>,
    shared: Arc<Shared>,
    started_ms: u64,
    export: ExportId,
    troubles: Vec<Trouble>,
    /// A path that could not be read: what the base has there and below is kept.
    keeping: Option<Vec<u8>>,
}

impl Export {
    /// Begins an export into `repository`, with local state in `local`.
    pub fn begin(repository: Arc<Repository>, local: Local, options: ExportOptions) -> Result<Export> {
        let started_ms = (options.clock)();
        let sealing = sealing::fingerprint(options.recipients.as_deref());
        let base = usable_base(&repository, &local, &options, sealing);
        // In another reign than the base's, others may have published since.
        let is_newest = |state: &State| state.mark.is_some() && state.mark == local.mark() && state.at.epoch == options.epoch;
        let certain = base.as_ref().is_some_and(is_newest);
        let behind = match &base {
            Some(state) if options.aside.contains(&state.snapshot) => true,
            Some(state) if !certain => newest(&repository, &options)?.is_some_and(|newest| newest.at > state.at),
            _ => false,
        };
        let journal = local.load_journal(sealing);
        let export = ExportId(random());
        let keys = sealing::current(&repository, &local, &options, started_ms)?;
        let writer = Writer { node: options.node.clone(), signer: options.signer.clone(), sealing: keys, export };
        let live = base.as_ref().map_or_else(Live::default, |state| state.live.clone());
        let first = base.as_ref().map_or(0, |state| state.next_ordinal);
        let mut adopted = Vec::new();
        for run in journal {
            let is_lost = options.lost.iter().any(|address| address.run == run.id);
            if run.ordinal >= first && !is_lost && repository.holds_run(run.id)? {
                adopted.push(run);
            }
        }
        let next_ordinal = adopted.iter().map(|run| run.ordinal + 1).max().unwrap_or(0).max(first);
        let runs = Arc::new(Runs::new(repository.clone(), writer, next_ordinal, adopted, started_ms));
        let (mut rewrites, lost) = (live.rewrites(), live.named(&options.lost));
        let mending = !lost.is_empty();
        rewrites.extend(lost);
        let file = |what: &'static str, path: std::path::PathBuf| move |source| Error::File { operation: what, path, source };
        let seed = u64::from_le_bytes(random());
        let cache = SegmentCache::open(&local.path("cache"), options.cache_bytes, seed).map_err(file("open", local.path("cache")))?;
        let cache = Arc::new(cache);
        let table = ChunkTable::open(&local.path("chunks"), &sealing.0).map_err(file("open", local.path("chunks")))?;
        let tags = live.runs.iter().map(|(ordinal, run)| (*ordinal, run.id.tag())).collect();
        let cached = Arc::new(CachedSegments { cache: cache.clone(), tags });
        let allowed = Allowed::new(live.clone(), rewrites, runs.clone());
        let shared = Arc::new(Shared { table, allowed, cached });
        let walk = BaseWalk::open(&local, base.as_ref())?;
        let hand = || -> Result<Hand> {
            let segments = SegmentWriter::new(runs.clone(), cache.clone(), options.level)?;
            Ok(Hand::new(Cutter::new(shared.clone(), segments), options.clock.clone(), options.advance.clone()))
        };
        let hands = (0..=options.threads.max(1)).map(|_| hand()).collect::<Result<Vec<_>>>()?;
        let generation = base.as_ref().map_or(1, |state| state.generation + 1);
        let next_lists = base.as_ref().map_or(1, |state| state.next_lists);
        let closing = Closing { runs: runs.clone(), local: local.files(), sealing, clock: options.clock.clone() };
        let order = Order::new(closing, generation, next_lists, live, hands)?;
        Ok(Export {
            repository,
            local,
            options,
            sealing,
            base,
            certain,
            behind,
            mending,
            walk,
            order,
            runs,
            shared,
            started_ms,
            export,
            troubles: vec![],
            keeping: None,
        })
    }
}

/// The newest of the history.
fn newest(repository: &Repository, options: &ExportOptions) -> Result<Option<Known>> {
    let mut known = repository.snapshots()?;
    known.retain(|known| !options.aside.contains(&known.id));
    Ok(known.pop())
}

/// The base, if local state belongs to a snapshot that is still there, of the same repository, key and sealing.
fn usable_base(repository: &Repository, local: &Local, options: &ExportOptions, sealing: Hash) -> Option<State> {
    let state = local.load()?;
    let same = state.repository == repository.config().id && state.signer == options.signer.public() && state.sealing == sealing;
    let name = crate::name::snapshot(state.at, state.snapshot);
    let there = crate::store::read_part(repository.store(), &name, 0, 1).is_ok();
    (same && there && BaseWalk::is_whole(local, &state)).then_some(state)
}

/// Files up to this length are read by one thread in one go.
const SMALL_MAX: u64 = 1 << 20;

impl Export {
    /// Whether the base has this unchanged. If so it is kept, and nothing else is to be done for it.
    pub fn keep(&mut self, path: &[u8], stamp: &Stamp) -> Result<bool> {
        self.pass(path)?;
        if !self.walk.at(path).is_some_and(|base| base.is_unchanged(stamp)) {
            return Ok(false);
        }
        let base = self.walk.at(path).expect("it was looked at").clone();
        let stays = self.stays(&base)?;
        if !stays {
            let Some(built) = self.relocate(&base)? else { return Ok(false) };
            let base = self.walk.take_at(path)?.expect("it was looked at");
            self.order.relocated(base, built)?;
        } else {
            let base = self.walk.take_at(path)?.expect("it was looked at");
            self.order.keep(base)?;
        }
        self.tick()?;
        Ok(true)
    }

    /// Goes past entries of the base that are gone.
    fn pass(&mut self, path: &[u8]) -> Result<()> {
        while let Some(gone) = self.walk.before(path)? {
            match &self.keeping {
                Some(kept) if entry::lies_in(&gone.entry.path, kept) => self.keep_unread(gone)?,
                _ => self.order.gone(&gone)?,
            }
        }
        Ok(())
    }

    /// Keeps what the base has at or below something that cannot be read now; the next export looks again.
    fn keep_unread(&mut self, mut base: BaseEntry) -> Result<()> {
        base.stamp.racy = true;
        if !self.stays(&base)?
            && let Some(built) = self.relocate(&base)?
        {
            return self.order.relocated(base, built);
        }
        // What cannot be written anew stays where it is.
        self.order.keep(base)
    }

    /// Whether an entry of the base may keep its extents.
    fn stays(&self, base: &BaseEntry) -> Result<bool> {
        let Node::File(content) = &base.entry.node else { return Ok(true) };
        if self.shared.allowed.rewrites.is_empty() || content.len == 0 {
            return Ok(true);
        }
        let list = BaseList::of_content(&self.local, content, base.stamp.lists)?;
        Ok(!order::touches(&list, &|extent| self.shared.allowed.may_stay(extent)))
    }

    /// Writes anew what lies in segments that are to go. `None` when their bytes are not to be had.
    fn relocate(&mut self, base: &BaseEntry) -> Result<Option<Built>> {
        let Node::File(content) = &base.entry.node else { unreachable!("only files have extents") };
        let BaseList { extents, layers } = BaseList::of_content(&self.local, content, base.stamp.lists)?;
        let file = base::BaseFile::listed(extents.clone());
        let list = Some(BaseLayers { file: &file, layers: &layers });
        let cutter = &mut self.order.hand.cutter;
        let mut builder = ListBuilder::default();
        for extent in extents {
            if self.shared.allowed.may_stay(&extent) {
                builder.push(extent, list);
                continue;
            }
            let mut moved = Vec::new();
            if !cutter.relocate(&extent, &mut moved)? {
                return Ok(None);
            }
            moved.into_iter().for_each(|extent| builder.push(extent, list));
        }
        builder.finish(cutter, list).map(Some)
    }

    /// Adds an entry. Paths must come in the order of the index, parents first.
    pub fn add(&mut self, item: Item) -> Result<()> {
        self.pass(&item.path)?;
        let base = self.walk.take_at(&item.path)?;
        let Item { path, attributes, stamp, body } = item;
        let read_ms = (self.options.clock)();
        let known = stamp.map_or_else(EntryStamp::default, |stamp| EntryStamp::of(&stamp, order::is_racy(&stamp.ctime, read_ms)));
        let mut entry = Entry { path, attributes, node: Node::Folder };
        entry.node = match body {
            Body::File { len, open } => return self.add_file(Coming { entry, base }, len, open, read_ms),
            Body::Stream(stream) => {
                let list = self.base_list(base.as_ref())?;
                self.order.stream(Coming { entry, base }, stream, list, read_ms)?;
                return self.tick();
            }
            Body::Folder => Node::Folder,
            Body::Symlink(target) => Node::Symlink(target),
            Body::HardLink(to) => Node::HardLink(to),
            Body::Fifo => Node::Fifo,
            Body::CharDevice { major, minor } => Node::CharDevice { major, minor },
            Body::BlockDevice { major, minor } => Node::BlockDevice { major, minor },
        };
        self.order.simple(entry, known, base)?;
        self.tick()
    }

    fn add_file(&mut self, coming: Coming, len: u64, open: item::Open, read_ms: u64) -> Result<()> {
        let base = self.base_list(coming.base.as_ref())?;
        if len <= SMALL_MAX {
            let content = coming.base.as_ref().and_then(|base| match &base.entry.node {
                Node::File(content) => Some(content.clone()),
                _ => None,
            });
            let base = content.zip(base).map(|(content, list)| {
                let may_stay = !order::touches(&list, &|extent| self.shared.allowed.may_stay(extent));
                SmallBase {
                    content,
                    file: base::BaseFile::cached(list.extents, self.local.folder()),
                    layers: list.layers,
                    may_stay,
                }
            });
            self.order.small(coming, len, |number| SmallFile { number, open, base })?;
            return self.tick();
        }
        match open() {
            Ok(opened) => {
                let mut coming = coming;
                coming.entry.attributes = opened.attributes;
                self.order.large(coming, (opened.contents, opened.stamp, opened.len), base, read_ms)?;
            }
            Err(error) => self.order.not_opened(coming, &error)?,
        }
        self.tick()
    }

    fn base_list(&self, base: Option<&BaseEntry>) -> Result<Option<BaseList>> {
        match base.map(|base| (&base.entry.node, base.stamp.lists)) {
            Some((Node::File(content), lists)) if content.len > 0 => BaseList::of_content(&self.local, content, lists).map(Some),
            _ => Ok(None),
        }
    }

    /// Says that something could not be read. What the base has there and below is kept.
    pub fn trouble(&mut self, path: &[u8], why: &str) {
        self.troubles.push(Trouble { path: path.to_vec(), why: why.to_string() });
        self.keeping = Some(path.to_vec());
    }

    fn tick(&mut self) -> Result<()> {
        self.order.breathe()?;
        self.order.close_due()
    }
}

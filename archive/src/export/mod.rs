//! An export: one capture of a dataset, from entries in order to a published snapshot.
//!
//! The caller walks (`keep`, `add`, `trouble`), in the order of the index. What did not change keeps its extents and is not read. The rest goes to `work`'s threads as jobs; `order` keeps what comes back in order and
//! writes the new index; `publish` makes runs and snapshot durable and visible, then makes local state belong to the new snapshot.
//!
//! What it never does: hold a key longer than its run, read the repository back, or publish anything incomplete. An export that fails leaves closed runs, which the next one uses.

mod base;
pub mod item;
pub mod live;
mod lists;
mod order;
mod publish;
mod region;
pub mod runs;
mod sealing;
mod segment;
mod walk;
mod work;

use crate::error::{Error, Result};
use crate::id::{ExportId, Hash, SnapshotId};
use crate::local::cache::SegmentCache;
use crate::local::chunks::ChunkTable;
use crate::local::state::{Local, State};
use crate::name::Position;
use crate::repository::Repository;
use crate::root::Source;
use crate::sign::{Signer, random};
use base::{Allowed, CachedSegments};
use live::Live;
use order::Order;
use region::{Cutter, Shared};
use runs::{Runs, Writer};
use segment::SegmentWriter;
use std::sync::Arc;
use walk::BaseWalk;
use work::Hand;

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
    Snapshot { id: SnapshotId, at: Position },
    /// Nothing changed since this snapshot; a heartbeat says so.
    Unchanged { id: SnapshotId, at: Position },
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
        let journal = local.load_journal(sealing);
        let export = ExportId(random());
        let keys = sealing::current(&repository, &local, &options, started_ms)?;
        let writer = Writer { node: options.node.clone(), signer: options.signer.clone(), sealing: keys, export };
        let live = base.as_ref().map_or_else(Live::default, |state| state.live.clone());
        let first = base.as_ref().map_or(0, |state| state.next_ordinal);
        let mut adopted = Vec::new();
        for run in journal {
            if run.ordinal >= first && repository.holds_run(run.id)? {
                adopted.push(run);
            }
        }
        let next_ordinal = adopted.iter().map(|run| run.ordinal + 1).max().unwrap_or(0).max(first);
        let runs = Arc::new(Runs::new(repository.clone(), writer, next_ordinal, adopted, started_ms));
        let rewrites = live.rewrites();
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
        let order = Order::new(&local, generation, next_lists, live, hands)?;
        Ok(Export { repository, local, options, sealing, base, walk, order, runs, shared, started_ms, export, troubles: vec![], keeping: None })
    }
}

/// The base, if local state belongs to a snapshot that is still there, of the same repository, key and sealing.
fn usable_base(repository: &Repository, local: &Local, options: &ExportOptions, sealing: Hash) -> Option<State> {
    let state = local.load()?;
    let same = state.repository == repository.config().id && state.signer == options.signer.public() && state.sealing == sealing;
    let name = crate::name::snapshot(state.at, state.snapshot);
    let there = crate::store::read_part(repository.store(), &name, 0, 1).is_ok();
    (same && there && BaseWalk::is_whole(local, &state)).then_some(state)
}

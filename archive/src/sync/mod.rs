//! Sync: the one operation that moves snapshots between repositories. The receiver pulls what it lacks.
//!
//! It needs no key: every segment is checked against the signed run as it comes, every run against the snapshot that lists it, every signer through
//! `Trust`, and nothing is stored before that. Order of writes: node certificates and sealing identities, segments in packs with their index, runs, then the
//! snapshot; each durable before the next. So a snapshot is visible only when all that it needs is held, and an interrupted sync goes on where it
//! was: segments that reached a pack are found there. A pack is closed when it is full, every half minute, and also when the sync fails.
//! What a source lies about or lacks is named in the report, and other snapshots go on.
//!
//! It deletes nothing but heartbeats that a newer one of the same node replaced, does not decide what is kept, and never writes to the source.

mod admission;
mod catalogue;
mod equivocation;
pub(crate) mod proof;
pub(crate) mod receive;
mod records;
pub(crate) mod source;
pub(crate) mod take;

pub use admission::{Admission, Aside, Everything, Offer, Verdict};
pub use catalogue::catalogue;

use crate::error::{Error, Kind, Result};
use crate::id::{Address, RecordId, RunId, SnapshotId};
use crate::name::{Position, SEQUENCE_MAX};
use crate::record::{Signed, Snapshot};
use crate::repository::{Known, Repository};
use crate::sign::{PublicKey, Signer};
use crate::trust::Trust;
use receive::{Failure, Receiver};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// What a source has, by name.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// Published snapshots, never those in quarantine.
    pub snapshots: Vec<Known>,
    /// Runs that stand alone, those of unfinished exports among them.
    pub runs: Vec<RunId>,
    /// Names of small records: sealing identities, certificates, receipts, evidence, heartbeats.
    pub records: Vec<String>,
}

/// Takes a segment, by its sequence number, as it is stored.
pub type EachSegment<'a> = &'a mut dyn FnMut(u32, &[u8]) -> Result<()>;
/// Takes a small record's object, by its name.
pub type EachRecord<'a> = &'a mut dyn FnMut(&str, &[u8]) -> Result<()>;

/// Where snapshots come from: a repository, or one behind a connection. Nothing it says is believed.
///
/// An error of kind `Retry` means that the source cannot be reached now and ends a sync; any other is about the one thing that was asked for.
pub trait Source: Send + Sync {
    fn list(&self) -> Result<Listing>;

    /// The object of a snapshot as it is stored: the record first, then receipts, and what was published with it.
    fn snapshot(&self, known: &Known) -> Result<Vec<u8>>;

    /// The item of a run's record; which of several is meant says `record`.
    fn run(&self, id: RunId, record: Option<RecordId>) -> Result<Vec<u8>>;

    /// Calls `each` for every one of these segments that is there, and leaves out the others. An error of `each` ends it and is given back.
    fn segments(&self, run: RunId, sequences: &[u32], each: EachSegment<'_>) -> Result<()>;

    /// Calls `each` for every one of these small records that is there. An error of `each` ends it and is given back.
    fn records(&self, names: &[String], each: EachRecord<'_>) -> Result<()>;
}

/// Which snapshots are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Those above this position and above all that the receiver has: what it dropped does not come back.
    Above(Position),
    /// All that it does not have: a lost archive is rebuilt.
    History,
    Only(SnapshotId),
}

#[derive(Clone)]
pub struct SyncOptions {
    pub trust: Trust,
    /// Whose snapshots are published, of those that `trust` believes; all when nothing is said. What others signed (runs of a base, sealing identities) still counts.
    pub publishers: Option<Vec<PublicKey>>,
    /// Judges what is published, where there is a rule for that.
    pub admission: Option<Arc<dyn Admission>>,
    /// Signs receipts of what is published here.
    pub receipt: Arc<Signer>,
    /// Unix time in milliseconds.
    pub clock: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// No more bytes than this are stored; what was stored by then is kept.
    pub bytes_max: u64,
    /// Whether runs are taken whose snapshot does not exist yet.
    pub runs_ahead: bool,
    /// Is told of bytes as they come.
    pub advance: Arc<dyn Fn(u64) + Send + Sync>,
}

impl SyncOptions {
    /// Without limit, with runs of unfinished exports.
    pub fn new(trust: Trust, receipt: Arc<Signer>, clock: Arc<dyn Fn() -> u64 + Send + Sync>) -> Self {
        SyncOptions {
            trust,
            publishers: None,
            admission: None,
            receipt,
            clock,
            bytes_max: u64::MAX,
            runs_ahead: true,
            advance: Arc::new(|_| ()),
        }
    }
}

/// Something that was not taken, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub name: String,
    pub why: String,
}

impl Refusal {
    fn of(name: impl std::fmt::Display, error: &Error) -> Self {
        let why = match error {
            Error::Damaged { why, .. } | Error::Refused { why, .. } => why.clone(),
            other => other.to_string(),
        };
        Refusal { name: name.to_string(), why }
    }
}

#[derive(Debug, Default)]
#[must_use = "it says what was refused, what is lacking and whether the sync came to its end"]
pub struct SyncReport {
    /// What was published now, oldest first.
    pub snapshots: Vec<Known>,
    /// How many segments were fetched.
    pub segments: u64,
    /// How many runs were stored, those inside a snapshot's object too.
    pub runs: u64,
    /// How many small records were stored.
    pub records: u64,
    /// Bytes that came from the source and were stored.
    pub bytes: u64,
    pub refused: Vec<Refusal>,
    /// What the rule put aside: it is not stored here.
    pub aside: Vec<Aside>,
    /// Addresses that wanted snapshots need and the source could not give.
    pub lacking: Vec<Address>,
    /// Why it ended before its end: the source broke off, or the limit of bytes was reached. What was verified is kept.
    pub stopped: Option<Error>,
    /// The newest snapshot that the receiver has now, of those whose signer counts.
    pub head: Option<Known>,
}

impl SyncReport {
    /// Whether everything wanted was taken.
    pub fn is_complete(&self) -> bool {
        self.stopped.is_none() && self.refused.is_empty() && self.lacking.is_empty()
    }
}

/// Takes from `source` what `into` lacks. An error is one of the receiver's own store, or the source could not even be listed; what was published stays.
pub fn sync(source: &dyn Source, into: &Repository, wanted: &Wanted, options: &SyncOptions) -> Result<SyncReport> {
    let listing = source.list()?;
    if let Wanted::Only(id) = wanted
        && !listing.snapshots.iter().any(|known| known.id == *id)
    {
        return Err(Error::NoSnapshot { wanted: id.to_string() });
    }
    let mut receiver = Receiver::new(source, into, options)?;
    match pull(&mut receiver, &listing, wanted) {
        Ok(()) => {}
        // A pack that could not be written is not to be trusted with an end.
        Err(Failure::Own(error)) => return Err(error),
        Err(Failure::Source(error) | Failure::Refused(error)) => {
            receiver.keep()?;
            receiver.report.stopped = Some(error);
        }
    }
    let head = head_of(&receiver)?;
    let mut report = receiver.finish();
    report.head = head;
    Ok(report)
}

fn pull(receiver: &mut Receiver<'_>, listing: &Listing, wanted: &Wanted) -> Result<(), Failure> {
    let held = receiver.into.snapshots()?;
    receiver.early_records(&listing.records)?;
    let newest = head(receiver, &held)?;
    receiver.newest = newest.as_ref().map(|(at, signed)| (*at, SnapshotId::of(&signed.hash.0)));
    let head = newest.map_or(Position::default(), |(at, _)| at);
    let concerns = |known: &Known| receiver.options.admission.as_ref().is_some_and(|admission| admission.concerns(known));
    let groups = candidates(listing, &held, head, wanted, &concerns);
    if !groups.is_empty() {
        // Another process may have swept since the map was read.
        receiver.into.forget_locations();
    }
    for (at, group) in groups {
        let there: Vec<&Known> = held.iter().filter(|known| known.at == at).collect();
        receiver.take_position(&group, &there, listing, wanted)?;
    }
    if let Wanted::Above(_) = wanted
        && receiver.options.runs_ahead
    {
        receiver.runs_ahead(&listing.runs)?;
    }
    receiver.flush()?;
    receiver.late_records(&listing.records)
}

fn head_of(receiver: &Receiver<'_>) -> Result<Option<Known>> {
    let held = receiver.into.snapshots()?;
    let head = head(receiver, &held)?.map(|(at, signed)| (at, SnapshotId::of(&signed.hash.0)));
    Ok(head.and_then(|head| held.into_iter().find(|known| (known.at, known.id) == head)))
}

/// The newest that we have and believe: damage, strangers and nodes that were expelled must not keep away what comes by what they say at the end of all numbers.
fn head(receiver: &Receiver<'_>, held: &[Known]) -> Result<Option<(Position, Signed<Snapshot>)>> {
    for known in held.iter().rev() {
        match receiver.into.snapshot(known) {
            Ok(signed) if receiver.options.trust.is_former(&signed.signer) && known.at.sequence >= SEQUENCE_MAX => {}
            Ok(signed) if receiver.signers.check(&signed.signer, &signed.body.node, &known.name).is_ok() => {
                return Ok(Some((known.at, signed)));
            }
            Err(error) if error.kind() == Kind::Retry => return Err(error),
            _ => {}
        }
    }
    Ok(None)
}

/// What may be taken, by position. At a position that the receiver has already, whatever has another id: it may prove that a node lies.
fn candidates<'l>(
    listing: &'l Listing,
    held: &[Known],
    head: Position,
    wanted: &Wanted,
    concerns: &dyn Fn(&Known) -> bool,
) -> BTreeMap<Position, Vec<&'l Known>> {
    let ids: HashSet<SnapshotId> = held.iter().map(|known| known.id).collect();
    let positions: HashSet<Position> = held.iter().map(|known| known.at).collect();
    let is_wanted = |known: &Known| match wanted {
        Wanted::Above(position) => known.at > head.max(*position) || positions.contains(&known.at) || concerns(known),
        Wanted::History => true,
        Wanted::Only(id) => known.id == *id,
    };
    let mut groups: BTreeMap<Position, Vec<&Known>> = BTreeMap::new();
    for known in listing.snapshots.iter().filter(|known| !ids.contains(&known.id) && is_wanted(known)) {
        let group = groups.entry(known.at).or_default();
        if !group.contains(&known) {
            group.push(known);
        }
    }
    groups
}

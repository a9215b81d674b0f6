//! The receiving side: fetches segments and runs, proves them, and stores them in the order of writes.
//!
//! What it keeps true: where a run's record is held, every segment of it that is found in this repository was checked against that very record. So
//! after an interruption only segments of runs whose record had not come yet are read again, to be checked; none is fetched twice.

use super::proof::{self, Signers};
use super::source::record_of;
use super::{Listing, Refusal, Source, SyncOptions, SyncReport};
use crate::container::ItemKey;
use crate::error::{Error, Kind, Result};
use crate::id::{Address, IdentityId, RunId, SnapshotId};
use crate::name::{self, Position};
use crate::pack::{PACK_MAX, PackWriter};
use crate::record::{RecordKind, Run, RunUse, Signed};
use crate::repository::Repository;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// A pack is closed when its first segment has been in it this long.
const PACK_AGE_MS: u64 = 30_000;
/// Refusals beyond this many are not listed one by one: a source that lies about everything fills no memory.
const REFUSALS_MAX: usize = 1000;

/// Why something was not taken.
pub(crate) enum Failure {
    /// This one thing is wrong or not there; others go on.
    Refused(Error),
    /// The source broke off, or the limit of bytes is reached.
    Source(Error),
    /// Our own store failed.
    Own(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Own(error)
    }
}

/// What an error of the source means for the sync.
pub(crate) fn from_source(error: Error) -> Failure {
    if error.kind() == Kind::Retry { Failure::Source(error) } else { Failure::Refused(error) }
}

/// A run whose record was proven.
#[derive(Clone)]
pub(crate) struct ProvenRun {
    pub signed: Arc<Signed<Run>>,
    /// Whether its record is in our repository already.
    pub held: bool,
}

pub(crate) struct Receiver<'a> {
    pub source: &'a dyn Source,
    pub into: &'a Repository,
    pub options: &'a SyncOptions,
    pub signers: Signers,
    pub report: SyncReport,
    /// The newest that is held and believed.
    pub newest: Option<(Position, SnapshotId)>,
    runs: HashMap<RunId, ProvenRun>,
    lacking: BTreeSet<Address>,
    packs: PackWriter,
    /// Segments in the open pack, and the sealing identities that their runs use.
    open: HashSet<Address>,
    open_bytes: u64,
    open_since_ms: u64,
    identities: BTreeSet<IdentityId>,
    held_identities: BTreeSet<IdentityId>,
    /// Runs that are published when the pack is closed.
    waiting: Vec<Arc<Signed<Run>>>,
}

impl<'a> Receiver<'a> {
    pub fn new(source: &'a dyn Source, into: &'a Repository, options: &'a SyncOptions) -> Result<Self> {
        Ok(Receiver {
            source,
            into,
            options,
            signers: Signers::of(into, &options.trust)?,
            report: SyncReport::default(),
            newest: None,
            runs: HashMap::new(),
            lacking: BTreeSet::new(),
            packs: PackWriter::default(),
            open: HashSet::new(),
            open_bytes: 0,
            open_since_ms: 0,
            identities: BTreeSet::new(),
            held_identities: BTreeSet::new(),
            waiting: Vec::new(),
        })
    }

    pub fn refuse(&mut self, name: impl std::fmt::Display, error: &Error) {
        if self.report.refused.len() < REFUSALS_MAX {
            self.report.refused.push(Refusal::of(name, error));
        }
    }

    /// A run's record is in our repository from now on.
    pub fn held_now(&mut self, run: &Signed<Run>) {
        if let Some(known) = self.runs.get_mut(&run.body.id) {
            known.held = true;
        }
    }

    /// Puts a refusal into the report; passes on what ends the sync.
    pub fn settle<T>(&mut self, name: &str, outcome: Result<T, Failure>) -> Result<Option<T>, Failure> {
        match outcome {
            Ok(value) => Ok(Some(value)),
            Err(Failure::Refused(error)) => {
                self.refuse(name, &error);
                Ok(None)
            }
            Err(other) => Err(other),
        }
    }

    /// The report, when all is done.
    pub fn finish(mut self) -> SyncReport {
        self.report.lacking = self.lacking.into_iter().collect();
        self.report
    }

    /// Counts what is stored, and stops at the limit.
    pub fn account(&mut self, bytes: usize) -> Result<(), Failure> {
        let bytes = bytes as u64;
        if self.report.bytes.saturating_add(bytes) > self.options.bytes_max {
            let why = format!("the limit of {} bytes is reached", self.options.bytes_max);
            return Err(Failure::Source(Error::Unsuitable { what: "storing more".into(), why }));
        }
        self.report.bytes += bytes;
        (self.options.advance)(bytes);
        Ok(())
    }

    /// The run that a snapshot lists: ours, or the source's. Its segments are not asked for here.
    pub fn proven_run(&mut self, used: &RunUse, embedded: Option<&Signed<Run>>) -> Result<ProvenRun, Failure> {
        let name = name::run(used.run);
        let proven = match self.runs.get(&used.run) {
            Some(proven) => proven.clone(),
            None => self.find_run(used, embedded)?,
        };
        if proven.signed.id() != used.record {
            return Err(Failure::Refused(Error::refused(name, "it is not the run that the snapshot lists")));
        }
        if !proof::ranges_fit(used, &proven.signed.body) {
            return Err(Failure::Refused(Error::refused(name, "the snapshot lists segments that it does not have")));
        }
        self.runs.insert(used.run, proven.clone());
        Ok(proven)
    }

    fn find_run(&mut self, used: &RunUse, embedded: Option<&Signed<Run>>) -> Result<ProvenRun, Failure> {
        let held = match self.into.run(used) {
            Ok(signed) => Some(signed),
            Err(error) if error.kind() == Kind::Retry => return Err(Failure::Own(error)),
            Err(Error::Missing { .. }) => None,
            // Of one id there is one run: what we hold under it is damaged, or one of the two is a lie.
            Err(error) => return Err(Failure::Refused(error)),
        };
        let (signed, held) = match (held, embedded) {
            (Some(signed), _) => (signed, true),
            (None, Some(signed)) => (signed.clone(), false),
            (None, None) => {
                let item = self.source.run(used.run, Some(record_of(used))).map_err(from_source)?;
                let name = name::run(used.run);
                (Signed::<Run>::parse(&item).map_err(|why| Failure::Refused(Error::damaged(name, why)))?, false)
            }
        };
        if signed.body.id != used.run {
            return Err(Failure::Refused(Error::refused(name::run(used.run), "it is another run than was asked for")));
        }
        self.prove_run(&signed)?;
        Ok(ProvenRun { signed: Arc::new(signed), held })
    }

    /// Proves a run, and that its sealing identity is here: without that nobody could ever open it.
    pub fn prove_run(&mut self, signed: &Signed<Run>) -> Result<(), Failure> {
        proof::prove_run(self.into, &self.signers, signed).map_err(Failure::Refused)?;
        let Some(seal) = &signed.body.seal else { return Ok(()) };
        if self.held_identities.contains(&seal.identity) {
            return Ok(());
        }
        if self.into.sealing_identities(seal.identity)?.is_empty() {
            self.early_records(&[name::key(seal.identity, 1)])?;
            if self.into.sealing_identities(seal.identity)?.is_empty() {
                return Err(Failure::Refused(Error::Missing { name: format!("sealing identity {}", seal.identity) }));
            }
        }
        self.held_identities.insert(seal.identity);
        Ok(())
    }

    /// Which of these segments are not here.
    pub fn lacks(&self, run: &ProvenRun, sequences: impl Iterator<Item = u32>) -> Result<Vec<u32>> {
        let id = run.signed.body.id;
        let mut found = Vec::new();
        let mut lacks = Vec::new();
        {
            let locations = self.into.locations()?;
            for sequence in sequences {
                let address = Address { run: id, sequence };
                if self.open.contains(&address) {
                    continue;
                }
                let there = locations.as_ref().is_some_and(|known| known.segment(address).is_some());
                if there { &mut found } else { &mut lacks }.push(sequence);
            }
        }
        if !run.held {
            let mut item = Vec::new();
            for sequence in found {
                match self.into.verified_segment(&run.signed.body, sequence, &mut item) {
                    Ok(()) => {}
                    Err(error) if error.kind() == Kind::Retry => return Err(error),
                    Err(_) => lacks.push(sequence),
                }
            }
            lacks.sort_unstable();
        }
        Ok(lacks)
    }

    /// Fetches what is lacking of these segments; the run is published with the next pack. Says how many could not be had.
    pub fn complete(&mut self, run: &ProvenRun, sequences: impl Iterator<Item = u32>) -> Result<usize, Failure> {
        let wanted = self.lacks(run, sequences)?;
        let id = run.signed.body.id;
        let (given_up, ask): (Vec<u32>, Vec<u32>) =
            wanted.into_iter().partition(|&sequence| self.lacking.contains(&Address { run: id, sequence }));
        let mut open: BTreeSet<u32> = ask.iter().copied().collect();
        let outcome = if ask.is_empty() { Ok(()) } else { self.fetch(&run.signed, &ask, &mut open) };
        if !run.held {
            self.waiting.push(run.signed.clone());
            self.report.runs += 1;
            self.account(run.signed.item.len())?;
            self.runs.insert(id, ProvenRun { held: true, ..run.clone() });
        }
        match outcome {
            Ok(()) => {}
            Err(Failure::Refused(error)) => self.refuse(format!("segments of run {id}"), &error),
            Err(other) => return Err(other),
        }
        self.lacking.extend(open.iter().map(|&sequence| Address { run: id, sequence }));
        Ok(given_up.len() + open.len())
    }

    /// Fetches segments and takes from `open` what came and was right.
    pub fn fetch(&mut self, run: &Signed<Run>, ask: &[u32], open: &mut BTreeSet<u32>) -> Result<(), Failure> {
        let source = self.source;
        let id = run.body.id;
        let mut failed = None;
        let outcome = source.segments(id, ask, &mut |sequence, item| {
            let taken = if open.contains(&sequence) {
                self.segment(run, sequence, item).map(|good| good && open.remove(&sequence))
            } else {
                Err(Failure::Refused(Error::refused(format!("segment {id}:{sequence}"), "nobody asked for it")))
            };
            taken.map(|_| ()).map_err(|failure| {
                failed = Some(failure);
                Error::Unsuitable { what: "going on".into(), why: "what came was not taken".into() }
            })
        });
        match failed {
            Some(failure) => Err(failure),
            None => outcome.map_err(from_source),
        }
    }

    /// Takes a segment that came. Says whether it was what the run lists.
    fn segment(&mut self, run: &Signed<Run>, sequence: u32, item: &[u8]) -> Result<bool, Failure> {
        let address = Address { run: run.body.id, sequence };
        if !proof::is_segment(&run.body, sequence, item) {
            self.refuse(format!("segment {address}"), &Error::refused("", "its bytes are not those that were signed"));
            return Ok(false);
        }
        self.account(item.len())?;
        if let Some(seal) = &run.body.seal {
            self.identities.insert(seal.identity);
        }
        self.report.segments += 1;
        self.keep_item(ItemKey::Segment(address), item)?;
        Ok(true)
    }

    /// Puts a proven item into the open pack, and closes that when it is due.
    pub fn keep_item(&mut self, key: ItemKey, item: &[u8]) -> Result<(), Failure> {
        let now_ms = (self.options.clock)();
        if self.packs.is_empty() {
            self.open_since_ms = now_ms;
        }
        match key {
            ItemKey::Segment(address) => {
                self.packs.segment(self.into, address, item)?;
                self.open.insert(address);
            }
            ItemKey::Record(kind, _) => self.packs.record(self.into, kind, item)?,
        }
        self.open_bytes += item.len() as u64;
        if self.open_bytes >= u64::from(PACK_MAX) || now_ms.saturating_sub(self.open_since_ms) >= PACK_AGE_MS {
            self.flush()?;
        }
        Ok(())
    }

    /// These are needed and the source does not have them.
    pub fn lack(&mut self, addresses: &BTreeSet<Address>) {
        self.lacking.extend(addresses);
    }

    /// Closes the open pack, with copies of the sealing identities that it needs, and publishes the runs that waited for it.
    pub fn flush(&mut self) -> Result<(), Failure> {
        if !self.packs.is_empty() {
            for id in std::mem::take(&mut self.identities) {
                if let Some(signed) = self.into.sealing_identities(id)?.first() {
                    self.packs.record(self.into, RecordKind::Identity, &signed.item)?;
                }
            }
            self.packs.finish(self.into)?;
            self.open.clear();
            self.open_bytes = 0;
        }
        for run in std::mem::take(&mut self.waiting) {
            self.into.publish_run(&run)?;
        }
        Ok(())
    }

    /// Keeps what was verified when a sync ends before its end.
    pub fn keep(&mut self) -> Result<()> {
        match self.flush() {
            Ok(()) => Ok(()),
            Err(Failure::Own(error) | Failure::Source(error) | Failure::Refused(error)) => Err(error),
        }
    }

    /// Takes runs that no snapshot uses yet, so that little is left to fetch when theirs appears. Those that closed before our newest snapshot was
    /// captured are left alone: what was swept here would come back.
    pub fn runs_ahead(&mut self, listed: &[RunId]) -> Result<(), Failure> {
        let head = super::head(self, &self.into.snapshots()?)?.map(|(_, signed)| signed);
        let used: HashSet<RunId> = head.iter().flat_map(|head| head.body.runs.iter().map(|used| used.run)).collect();
        let since_ms = head.as_ref().map_or(0, |head| head.body.captured_ms);
        let listed: BTreeSet<RunId> = listed.iter().copied().filter(|id| !used.contains(id) && !self.runs.contains_key(id)).collect();
        for id in listed {
            let outcome = self.run_ahead(id, since_ms);
            self.settle(&name::run(id), outcome)?;
        }
        Ok(())
    }

    fn run_ahead(&mut self, id: RunId, since_ms: u64) -> Result<(), Failure> {
        let name = name::run(id);
        let held = self.into.holds_run(id)?;
        let signed: Signed<Run> = if held {
            self.into
                .first_record(&name)
                .map_err(|error| if error.kind() == Kind::Retry { Failure::Own(error) } else { Failure::Refused(error) })?
        } else {
            match self.source.run(id, None) {
                // The source swept it meanwhile.
                Err(Error::Missing { .. }) => return Ok(()),
                Err(error) => return Err(from_source(error)),
                Ok(item) => Signed::parse(&item).map_err(|why| Failure::Refused(Error::damaged(&name, why)))?,
            }
        };
        if signed.body.id != id {
            return Err(Failure::Refused(Error::refused(name, "it is another run than was asked for")));
        }
        if signed.body.closed_ms < since_ms || self.options.trust.is_former(&signed.signer) {
            return Ok(());
        }
        self.prove_run(&signed)?;
        let run = ProvenRun { signed: Arc::new(signed), held };
        let count = run.signed.body.segments.len() as u32;
        let before = self.lacking.clone();
        self.complete(&run, 0..count)?;
        // Nobody needs them: what the source swept is not missed.
        self.lacking = before;
        Ok(())
    }
}

impl Listing {
    /// Whether a small record is among those that the source has.
    pub(crate) fn has_record(&self, name: &str) -> bool {
        self.records.iter().any(|listed| listed == name)
    }
}

//! Heal: replaces what is damaged or missing in a repository by what another repository of the same dataset has.
//!
//! It finds by itself what is needed: small records, snapshots with what was published with them, runs, and every segment that a snapshot uses. What a
//! peer gives is proven as in a sync. Nothing is overwritten: a replacement is durable before a damaged pack goes to the trash; a damaged object
//! whose name is needed goes there first, since names are never written over. A heal that is killed between the two leaves what needs that one object unreadable
//! until the next heal, which finds the name free. A second heal changes nothing.
//! The caller holds the repository alone (`Access::Exclusive`), as for every repack.
//!
//! It does not bring back snapshots that are wholly gone: that is a sync with history. It needs no key and proves no content.

mod objects;
mod packs;

use crate::error::{Error, Kind, Result};
use crate::id::{Address, RunId};
use crate::name;
use crate::record::{Run, Signed, Snapshot};
use crate::repository::{Known, Repository};
use crate::store::{publish, read_all};
use crate::sync::proof;
use crate::sync::receive::{Failure, Receiver, from_source};
use crate::sync::source::record_of;
use crate::sync::{Listing, Refusal, Source, SyncOptions};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope<'a> {
    /// Every byte that a snapshot needs.
    Everything,
    /// All records, and of segments only the packs where these should be: what a check found.
    Segments(&'a [Address]),
}

#[derive(Debug, Default)]
#[must_use = "it says what could not be healed"]
pub struct HealReport {
    /// Objects that were replaced or written anew, by name.
    pub healed: Vec<String>,
    /// How many segments came from the peer.
    pub segments: u64,
    /// Bytes that came from the peer and were stored.
    pub bytes: u64,
    /// What is still damaged, and why it could not be replaced.
    pub remaining: Vec<Refusal>,
    /// Segments that snapshots need and that neither repository has.
    pub lacking: Vec<Address>,
    /// Why it ended before its end.
    pub stopped: Option<Error>,
}

impl HealReport {
    /// Whether all that was looked at is whole now.
    pub fn is_whole(&self) -> bool {
        self.stopped.is_none() && self.remaining.is_empty() && self.lacking.is_empty()
    }
}

/// A run that snapshots use, and which of its segments.
pub(crate) struct NeededRun {
    run: Arc<Signed<Run>>,
    sequences: BTreeSet<u32>,
}

pub(crate) struct Healer<'a> {
    receiver: Receiver<'a>,
    repository: &'a Repository,
    listing: Listing,
    needed: BTreeMap<RunId, NeededRun>,
    healed: Vec<String>,
}

/// Replaces what is broken in `repository` by what `from` has. An error is one of our own store, or the peer could not be reached at all.
pub fn heal(repository: &Repository, from: &dyn Source, scope: Scope<'_>, options: &SyncOptions) -> Result<HealReport> {
    let listing = from.list()?;
    repository.forget_locations();
    let receiver = Receiver::new(from, repository, options)?;
    let mut healer = Healer { receiver, repository, listing, needed: BTreeMap::new(), healed: Vec::new() };
    let mut stopped = None;
    match healer.heal(scope) {
        Ok(()) => {}
        Err(Failure::Own(error)) => return Err(error),
        Err(Failure::Source(error) | Failure::Refused(error)) => {
            healer.receiver.keep()?;
            stopped = Some(error);
        }
    }
    repository.forget_locations();
    let report = healer.receiver.finish();
    let (segments, bytes, remaining, lacking) = (report.segments, report.bytes, report.refused, report.lacking);
    Ok(HealReport { healed: healer.healed, segments, bytes, remaining, lacking, stopped })
}

impl Healer<'_> {
    fn heal(&mut self, scope: Scope<'_>) -> Result<(), Failure> {
        self.small_records()?;
        self.snapshots()?;
        self.repository.forget_locations();
        self.runs()?;
        self.lost_identities()?;
        self.segments(scope)?;
        self.index_files()?;
        let names = self.listing.records.clone();
        self.receiver.late_records(&names)
    }

    /// Publishes bytes under a name; what was there goes to the trash.
    fn replace(&mut self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        self.put_aside(name)?;
        publish(self.repository.store(), name, bytes)?;
        self.healed.push(name.to_string());
        Ok(())
    }

    /// Moves an object to the trash, if there is one.
    fn put_aside(&mut self, name: &str) -> Result<()> {
        let mut seconds = (self.receiver.options.clock)() / 1000;
        loop {
            match self.repository.store().rename(name, &name::trash(seconds, name)) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
                // It was thrown away before in this very second.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => seconds += 1,
                Err(error) => return Err(Error::store("rename", name)(error)),
            }
        }
    }

    /// Finds the runs of every snapshot, fetches those that are not readable, and notes which segments are needed.
    fn runs(&mut self) -> Result<(), Failure> {
        let mut known = self.repository.snapshots()?;
        known.extend(self.repository.quarantined()?);
        for known in known {
            match self.repository.snapshot(&known) {
                Ok(snapshot) => self.runs_of(&known, &snapshot)?,
                Err(error) if error.kind() == Kind::Retry => return Err(Failure::Own(error)),
                // Named already when it could not be replaced.
                Err(_) => {}
            }
        }
        Ok(())
    }

    fn runs_of(&mut self, known: &Known, snapshot: &Signed<Snapshot>) -> Result<(), Failure> {
        for used in &snapshot.body.runs {
            let run = match self.needed.get(&used.run) {
                Some(needed) if needed.run.id() == used.record => needed.run.clone(),
                _ => {
                    let found = self.run(used);
                    match self.receiver.settle(&name::run(used.run), found)? {
                        Some(run) => Arc::new(run),
                        None => continue,
                    }
                }
            };
            if !proof::ranges_fit(used, &run.body) {
                self.receiver
                    .refuse(&known.name, &Error::refused(&known.name, "it lists segments that its runs do not have"));
                continue;
            }
            let needed = self.needed.entry(used.run).or_insert_with(|| NeededRun { run, sequences: BTreeSet::new() });
            needed.sequences.extend(used.sequences());
        }
        Ok(())
    }

    /// Of a run that is whole, what stands behind it in its file; it follows from the run.
    fn restore_trailer(&mut self, run: &Signed<Run>) -> Result<(), Failure> {
        let (name, bytes) = (name::run(run.body.id), crate::repository::alone(run));
        match read_all(self.repository.store(), &name, bytes.len() + 1) {
            Ok(there) if there == bytes => Ok(()),
            Ok(_) => self.replace(&name, &bytes),
            // It stands with its snapshot.
            Err(Error::Missing { .. }) => Ok(()),
            Err(error) => Err(Failure::Own(error)),
        }
    }

    fn run(&mut self, used: &crate::record::RunUse) -> Result<Signed<Run>, Failure> {
        match self.repository.run(used) {
            Ok(run) => {
                self.restore_trailer(&run)?;
                return Ok(run);
            }
            Err(error) if error.kind() == Kind::Retry => return Err(Failure::Own(error)),
            Err(_) => {}
        }
        let name = name::run(used.run);
        let item = self.receiver.source.run(used.run, Some(record_of(used))).map_err(from_source)?;
        let run = Signed::<Run>::parse(&item).map_err(|why| Failure::Refused(Error::damaged(&name, why)))?;
        if run.id() != used.record || run.body.id != used.run {
            return Err(Failure::Refused(Error::refused(&name, "it is not the run that the snapshot lists")));
        }
        proof::prove_run(self.repository, &self.receiver.signers, &run).map_err(Failure::Refused)?;
        let bytes = crate::repository::alone(&run);
        self.receiver.account(bytes.len())?;
        self.replace(&name, &bytes)?;
        Ok(run)
    }
}

//! A repository as a source. It serves what it has as it is stored; whether that is right is for the receiver to see.

use super::{EachRecord, EachSegment, Listing, Source};
use crate::error::{Error, Result};
use crate::id::{Address, RecordId, RunId};
use crate::name;
use crate::record::{Run, RunUse, Signed};
use crate::repository::{Known, Repository, alone};
use crate::store::read_all;

/// No object that holds a snapshot is longer: its record lists runs and ranges, what is published with it is small.
pub(crate) const SNAPSHOT_MAX: usize = 256 << 20;
/// No object that holds one small record is longer.
pub(crate) const RECORD_MAX: usize = 1 << 20;

impl Source for Repository {
    fn list(&self) -> Result<Listing> {
        let mut listing = Listing { snapshots: self.snapshots()?, ..Listing::default() };
        for listed in Repository::list(self, name::RUNS)? {
            listing.runs.extend(listed.name.rsplit('/').next().and_then(RunId::parse));
        }
        for folder in [name::NODES, name::KEYS, name::RECEIPTS, name::HEARTBEATS, name::RECORDS] {
            listing.records.extend(Repository::list(self, folder)?.into_iter().map(|listed| listed.name));
        }
        Ok(listing)
    }

    fn snapshot(&self, known: &Known) -> Result<Vec<u8>> {
        read_all(self.store(), &known.name, SNAPSHOT_MAX)
    }

    fn run(&self, id: RunId, record: Option<RecordId>) -> Result<Vec<u8>> {
        let alone: Result<Signed<Run>> = self.first_record(&name::run(id));
        match (alone, record) {
            (Ok(signed), None) => Ok(signed.item),
            (Ok(signed), Some(wanted)) if signed.id() == wanted => Ok(signed.item),
            (first, Some(wanted)) => match self.embedded_run(wanted)? {
                Some(signed) => Ok(signed.item),
                None => first.and_then(|_| Err(Error::Missing { name: format!("record {wanted} of run {id}") })),
            },
            (Err(error), None) => Err(error),
        }
    }

    fn segments(&self, run: RunId, sequences: &[u32], each: EachSegment<'_>) -> Result<()> {
        let mut item = Vec::new();
        for &sequence in sequences {
            match self.good_copy(Address { run, sequence }, &mut item) {
                Ok(()) => each(sequence, &item)?,
                Err(Error::Missing { .. } | Error::Damaged { .. }) => {}
                // A bad sector: lacking it is, and the others are still worth having.
                Err(Error::Store { source, .. }) if source.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn records(&self, names: &[String], each: EachRecord<'_>) -> Result<()> {
        for wanted in names {
            match read_all(self.store(), wanted, RECORD_MAX) {
                Ok(bytes) => each(wanted, &bytes)?,
                Err(Error::Missing { .. }) => {
                    if let Some(bytes) = self.identity_copy(wanted)? {
                        each(wanted, &bytes)?;
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Repository {
    /// Reads a segment. Only where there are several copies it is worth finding out here which of them is good.
    fn good_copy(&self, address: Address, item: &mut Vec<u8>) -> Result<()> {
        let several = self.locations()?.as_ref().is_some_and(|known| !known.others(address).is_empty());
        if several && let Ok(run) = self.any_run(address.run) {
            return self.verified_segment(&run.body, address.sequence, item);
        }
        self.segment_item(address, item)
    }

    fn any_run(&self, id: RunId) -> Result<Signed<Run>> {
        if let Ok(signed) = self.first_record::<Run>(&name::run(id)) {
            return Ok(signed);
        }
        let embedded = self.records_in_containers::<Run>()?.into_iter().find(|signed| signed.body.id == id);
        embedded.ok_or_else(|| Error::Missing { name: format!("run {id}") })
    }

    /// A sealing identity whose own object is lost, from its copy in a pack.
    fn identity_copy(&self, wanted: &str) -> Result<Option<Vec<u8>>> {
        let Some((id, generation)) = name::parse_key(wanted) else { return Ok(None) };
        let found = self.sealing_identities(id)?.into_iter().find(|signed| signed.body.generation == generation);
        Ok(found.map(|signed| alone(&signed)))
    }
}

/// The run as a snapshot names it, for `Source::run`.
pub(crate) fn record_of(used: &RunUse) -> RecordId {
    used.record
}

//! What a dropped snapshot's file holds beside its record: the run and the segments of a small export, which later snapshots may still need.
//!
//! Those move into a pack and `runs/`, byte for byte and verified, and are durable before the file may go. What is held well elsewhere is not moved again.

use crate::container::ItemKey;
use crate::digest::sha256;
use crate::error::{Error, Result};
use crate::id::{Address, IdentityId, SnapshotId};
use crate::locate::{Location, read_items};
use crate::name;
use crate::pack::PackWriter;
use crate::record::{RecordKind, Run, Signed};
use crate::repository::Repository;
use crate::roots::Needed;
use crate::store::{Listed, read_part};
use std::collections::{BTreeSet, HashSet};

/// What a file holds that is to be dropped.
pub enum Holds {
    /// No segments.
    Nothing,
    /// Segments; those that others need are on their way.
    Segments,
    /// Something that others need and that is nowhere whole: the file must stay.
    Damage(String),
}

pub struct Mover<'r> {
    repository: &'r Repository,
    /// What the remaining snapshots need; unknown when one of them cannot be read: then all is moved.
    needed: Option<Needed>,
    going: HashSet<SnapshotId>,
    packs: PackWriter,
    runs: Vec<Signed<Run>>,
    identities: BTreeSet<IdentityId>,
    moved: u64,
}

impl<'r> Mover<'r> {
    pub fn new(repository: &'r Repository, needed: Option<Needed>, going: HashSet<SnapshotId>) -> Self {
        Mover {
            repository,
            needed,
            going,
            packs: PackWriter::default(),
            runs: vec![],
            identities: BTreeSet::new(),
            moved: 0,
        }
    }

    /// Takes out of a file what others need.
    pub fn take(&mut self, listed: &Listed) -> Result<Holds> {
        let (items, why) = read_items(self.repository.store(), listed)?;
        let mut holds = Holds::Nothing;
        if items.iter().any(|item| matches!(item.key, ItemKey::Segment(_))) {
            holds = Holds::Segments;
        }
        if let Some(why) = why
            && matches!(holds, Holds::Segments)
        {
            return Ok(Holds::Damage(why.to_string()));
        }
        for item in items.iter().filter(|item| matches!(item.key, ItemKey::Record(RecordKind::Run, _))) {
            let bytes = read_part(self.repository.store(), &listed.name, item.offset.into(), item.len as usize)?;
            let run = match Signed::<Run>::parse(&bytes) {
                Ok(run) => run,
                Err(why) => return Ok(Holds::Damage(why.to_string())),
            };
            if self.needed.as_ref().is_none_or(|needed| needed.uses(run.body.id))
                && let Some(why) = self.take_run(run)?
            {
                return Ok(Holds::Damage(why));
            }
        }
        Ok(holds)
    }

    /// Gives why the run cannot be taken out.
    fn take_run(&mut self, run: Signed<Run>) -> Result<Option<String>> {
        let there = match self.repository.first_record::<Run>(&name::run(run.body.id)) {
            Ok(there) if there.hash == run.hash => true,
            Ok(_) => return Ok(Some(format!("{} is another run", name::run(run.body.id)))),
            Err(Error::Missing { .. }) => false,
            Err(error) => return Ok(Some(error.to_string())),
        };
        let mut bytes = Vec::new();
        for sequence in 0..run.body.segments.len() as u32 {
            let address = Address { run: run.body.id, sequence };
            if self.needed.as_ref().is_some_and(|needed| !needed.has(address)) || self.stays_elsewhere(&run.body, sequence, &mut bytes)? {
                continue;
            }
            match self.repository.verified_segment(&run.body, sequence, &mut bytes) {
                Ok(()) => {}
                // Of a run that nobody is known to need, some may be gone for good reason.
                Err(Error::Missing { .. }) if self.needed.is_none() => continue,
                Err(error) if crate::roots::is_damage(&error) => return Ok(Some(error.to_string())),
                Err(error) => return Err(error),
            }
            self.packs.segment(self.repository, address, &bytes)?;
            self.moved += 1;
            self.identities.extend(run.body.seal.as_ref().map(|seal| seal.identity));
        }
        if !there {
            self.runs.push(run);
        }
        Ok(None)
    }

    /// Whether a whole copy of a segment lies in a container that is not about to be dropped.
    fn stays_elsewhere(&self, run: &Run, sequence: u32, bytes: &mut Vec<u8>) -> Result<bool> {
        let address = Address { run: run.id, sequence };
        let places: Vec<(String, Location)> = {
            let locations = self.repository.locations()?;
            let Some(known) = locations.as_ref() else { return Ok(false) };
            let all = known.segment(address).into_iter().chain(known.others(address).iter().copied());
            all.map(|at| (known.container(at).to_string(), at)).collect()
        };
        let goes = |container: &str| {
            container.starts_with(name::SNAPSHOTS) && name::parse_snapshot(container).is_some_and(|(_, id)| self.going.contains(&id))
        };
        for (container, at) in places.iter().filter(|(container, _)| !goes(container)) {
            if self.repository.read_location(container, *at, bytes).is_ok() && sha256(bytes) == run.segments[sequence as usize].hash {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Makes what was taken out durable. Gives how many segments it was.
    pub fn finish(mut self) -> Result<u64> {
        if !self.packs.is_empty() {
            for id in &self.identities {
                for identity in self.repository.sealing_identities(*id)? {
                    self.packs.record(self.repository, RecordKind::Identity, &identity.item)?;
                }
            }
            self.packs.finish(self.repository)?;
        }
        for run in &self.runs {
            self.repository.publish_run(run)?;
        }
        Ok(self.moved)
    }
}

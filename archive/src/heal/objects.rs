//! Objects that hold records: small ones, and snapshots with what was published with them. Each is proven; one that is not whole is replaced.

use super::Healer;
use crate::container::{self, ItemKey};
use crate::digest::sha256;
use crate::error::{Error, Kind, Result};
use crate::id::{IdentityId, RecordId};
use crate::name;
use crate::record::{Receipt, Run, SealingIdentity, Signed};
use crate::repository::{Known, alone};
use crate::store::{read_all, read_part};
use crate::sync::proof::{self, Object, Signers};
use crate::sync::receive::{Failure, from_source};
use crate::sync::source::{RECORD_MAX, SNAPSHOT_MAX};
use crate::sync::take::{Embedded, assemble};
use std::collections::{BTreeMap, BTreeSet};

impl Healer<'_> {
    /// Certificates first: they say who counts.
    pub(super) fn small_records(&mut self) -> Result<(), Failure> {
        for folder in [name::NODES, name::KEYS, name::RECEIPTS, name::HEARTBEATS, name::RECORDS] {
            for listed in self.repository.list(folder)? {
                let bytes = match read_all(self.repository.store(), &listed.name, RECORD_MAX) {
                    Ok(bytes) => bytes,
                    Err(error) if is_unreadable(&error) => vec![],
                    Err(error) => return Err(Failure::Own(error)),
                };
                let outcome = self.small_record(&listed.name, &bytes);
                self.receiver.settle(&listed.name, outcome)?;
            }
            self.receiver.signers = Signers::of(self.repository, &self.receiver.options.trust)?;
        }
        let names = self.listing.records.clone();
        self.receiver.early_records(&names)
    }

    fn small_record(&mut self, wanted: &str, bytes: &[u8]) -> Result<(), Failure> {
        let why = match proof::prove_small(self.repository, &self.receiver.signers, wanted, bytes) {
            Ok(small) if small.bytes == bytes => return Ok(()),
            // The record is good, what stands around it is not.
            Ok(small) => return self.replace(wanted, &small.bytes),
            Err(why) => why,
        };
        let mut found = self.copy_in_a_pack(wanted)?;
        if found.is_none() {
            let outcome = self.receiver.source.records(&[wanted.to_string()], &mut |given, bytes| {
                if given == wanted {
                    found = proof::prove_small(self.repository, &self.receiver.signers, wanted, bytes)
                        .ok()
                        .map(|small| small.bytes);
                }
                Ok(())
            });
            outcome.map_err(from_source)?;
        }
        match found {
            Some(good) => {
                self.receiver.account(good.len())?;
                self.replace(wanted, &good)
            }
            None => Err(Failure::Refused(why)),
        }
    }

    /// A sealing identity that we hold in a pack too.
    fn copy_in_a_pack(&self, wanted: &str) -> Result<Option<Vec<u8>>> {
        let Some((id, generation)) = name::parse_key(wanted) else { return Ok(None) };
        let copies = self.repository.records_in_containers::<SealingIdentity>()?;
        let found = copies.into_iter().find(|signed| signed.body.id == id && signed.body.generation == generation);
        let proven = found.map(|signed| proof::prove_small(self.repository, &self.receiver.signers, wanted, &alone(&signed)));
        Ok(proven.and_then(Result::ok).map(|small| small.bytes))
    }

    /// Sealing identities that runs use and that have no object any more.
    pub(super) fn lost_identities(&mut self) -> Result<(), Failure> {
        let there: BTreeSet<IdentityId> = self
            .repository
            .list(name::KEYS)?
            .iter()
            .filter_map(|listed| name::parse_key(&listed.name))
            .map(|(id, _)| id)
            .collect();
        let used: BTreeSet<IdentityId> = self
            .needed
            .values()
            .filter_map(|needed| needed.run.body.seal.as_ref())
            .map(|seal| seal.identity)
            .collect();
        for id in used.difference(&there) {
            let copies = self.repository.sealing_identities(*id)?;
            let names: Vec<String> = match copies.is_empty() {
                true => vec![name::key(*id, 1)],
                false => copies.iter().map(|signed| name::key(*id, signed.body.generation)).collect(),
            };
            for wanted in names {
                let outcome = self.small_record(&wanted, &[]);
                self.receiver.settle(&wanted, outcome)?;
            }
        }
        Ok(())
    }

    /// Replaces snapshots that are not whole, those too that an interrupted heal had thrown away already.
    pub(super) fn snapshots(&mut self) -> Result<(), Failure> {
        let mut known = self.repository.snapshots()?;
        let there: BTreeSet<String> = known.iter().map(|known| known.name.clone()).collect();
        for listed in self.repository.list(name::TRASH)? {
            let old = name::parse_trash(&listed.name)
                .map(|(_, old)| old)
                .filter(|old| old.starts_with(name::SNAPSHOTS) && !there.contains(old));
            if let Some(old) = old
                && let Some((at, id)) = name::parse_snapshot(&old)
            {
                let thrown_away = Known { at, id, name: old };
                let bytes = self.read_object(&listed.name)?;
                if !self.is_whole(&thrown_away, &bytes) && !known.contains(&thrown_away) {
                    known.push(thrown_away);
                }
            }
        }
        for known in known {
            let outcome = self.snapshot(&known);
            self.receiver.settle(&known.name, outcome)?;
        }
        Ok(())
    }

    fn read_object(&self, name: &str) -> Result<Vec<u8>> {
        match read_all(self.repository.store(), name, SNAPSHOT_MAX) {
            Err(error) if is_unreadable(&error) => Ok(vec![]),
            other => other,
        }
    }

    fn is_whole(&self, known: &Known, bytes: &[u8]) -> bool {
        Object::parse(self.repository, &self.receiver.signers, known, bytes.to_vec())
            .is_ok_and(|object| has_only_good_items(&object, bytes))
    }

    fn snapshot(&mut self, known: &Known) -> Result<(), Failure> {
        let bytes = self.read_object(&known.name)?;
        let ours = Object::parse(self.repository, &self.receiver.signers, known, bytes.clone());
        let why = match &ours {
            Ok(object) if has_only_good_items(object, &bytes) => return Ok(()),
            Ok(_) => Error::damaged(&known.name, "something that was published with it is not what it was"),
            Err(why) => Error::damaged(&known.name, why),
        };
        let theirs = match self.receiver.source.snapshot(known) {
            Err(error) if error.kind() == Kind::Retry => return Err(Failure::Source(error)),
            Err(_) => None,
            Ok(bytes) => Object::parse(self.repository, &self.receiver.signers, known, bytes).ok(),
        };
        let ours = ours.ok();
        let both: Vec<&Object> = ours.iter().chain(&theirs).collect();
        let Some(first) = both.first() else { return Err(Failure::Refused(why)) };
        let mut receipts: Vec<&Signed<Receipt>> = Vec::new();
        for receipt in both.iter().flat_map(|object| &object.receipts) {
            if receipts.iter().all(|other| other.signer != receipt.signer) {
                receipts.push(receipt);
            }
        }
        let embedded = embedded(&both);
        let (whole, _) = assemble(first, &receipts, embedded.as_ref());
        self.receiver.account(whole.len())?;
        self.replace(&known.name, &whole)
    }
}

/// The run that was published with a snapshot, and its segments as far as one of these objects has them whole.
fn embedded<'o>(objects: &[&'o Object]) -> Option<Embedded<'o>> {
    let used = &objects.first()?.snapshot.body.runs;
    let mut runs = objects.iter().flat_map(|object| &object.runs);
    let run = runs.find(|run| used.iter().any(|used| used.record == run.id()))?;
    let mut segments = BTreeMap::new();
    for object in objects {
        segments.extend(object.proven_segments(run));
    }
    Some(Embedded { run, segments })
}

/// Whether the trailer is right and every item is what it says, and every segment is what its run lists.
fn has_only_good_items(object: &Object, bytes: &[u8]) -> bool {
    let Ok(items) = container::items(bytes) else { return false };
    let proven: BTreeMap<_, _> = object.runs.iter().map(|run: &Signed<Run>| (run.body.id, object.proven_segments(run))).collect();
    items.iter().all(|item| match item.key {
        ItemKey::Segment(address) => proven.get(&address.run).is_some_and(|segments| segments.contains_key(&address.sequence)),
        ItemKey::Record(_, id) => {
            let part = bytes.get(item.offset as usize..(item.offset + item.len) as usize);
            part.is_some_and(|part| RecordId::of(&sha256(part).0) == id)
        }
    })
}

/// Whether what cannot be read is as good as damaged: it is gone, or its sector is bad.
pub(super) fn is_unreadable(error: &Error) -> bool {
    match error {
        Error::Store { source, .. } => source.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()),
        other => other.kind() == Kind::Corrupt,
    }
}

impl Healer<'_> {
    /// The bytes of an item in a pack; none when they cannot be read.
    pub(super) fn item(&self, container: &str, item: &container::Item) -> Result<Option<Vec<u8>>> {
        match read_part(self.repository.store(), container, item.offset.into(), item.len as usize) {
            Ok(bytes) if bytes.len() == item.len as usize => Ok(Some(bytes)),
            Ok(_) => Ok(None),
            Err(error) if is_unreadable(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

//! Proof: what a source gave is what it was asked for, is of this cluster and dataset, and was signed by somebody who counts. No key is needed.
//!
//! Names under which things are stored are made anew from what was proven, never taken from a source.

use super::source::{RECORD_MAX, SNAPSHOT_MAX};
use crate::container::{self, Item, ItemKey, Scan};
use crate::digest::sha256;
use crate::error::{Error, Result};
use crate::id::{Address, SnapshotId};
use crate::name::{self, Position};
use crate::record::{self, Body, Certificate, Evidence, Heartbeat, Receipt, RecordKind, Run, SealingIdentity, Signed, Snapshot};
use crate::repository::{Known, Repository, alone};
use crate::seal;
use crate::sign::PublicKey;
use crate::trust::{Certified, Trust};
use std::collections::{BTreeMap, BTreeSet};

/// What signers are checked against.
#[derive(Clone)]
pub(crate) struct Signers {
    pub trust: Trust,
    pub certified: Certified,
}

impl Signers {
    pub fn of(repository: &Repository, trust: &Trust) -> Result<Self> {
        Ok(Signers { trust: trust.clone(), certified: repository.certified(trust)? })
    }

    pub fn check(&self, signer: &PublicKey, node: &str, name: &str) -> Result<()> {
        self.trust.standing(&self.certified, signer, node, &name).map(|_| ())
    }
}

/// The object of a snapshot, taken apart. The snapshot is proven, receipts are signed and about it; run and segments are not proven yet.
pub(crate) struct Object {
    pub snapshot: Signed<Snapshot>,
    pub receipts: Vec<Signed<Receipt>>,
    pub runs: Vec<Signed<Run>>,
    bytes: Vec<u8>,
    segments: BTreeMap<Address, Vec<Item>>,
}

/// More receipts of one snapshot than this are not carried on.
const RECEIPTS_MAX: usize = 64;

impl Object {
    /// Takes an object apart by its trailer, or by a scan.
    pub fn parse(repository: &Repository, signers: &Signers, known: &Known, bytes: Vec<u8>) -> Result<Object> {
        let damaged = |why| Error::damaged(&known.name, why);
        if bytes.len() >= SNAPSHOT_MAX {
            return Err(Error::refused(&known.name, "it is larger than any snapshot"));
        }
        let (_, len) = record::frame(&bytes).map_err(damaged)?;
        let first = bytes.get(..len).ok_or_else(|| Error::damaged(&known.name, "it ends too early"))?;
        let snapshot = Signed::<Snapshot>::parse(first).map_err(damaged)?;
        prove_snapshot(repository, signers, known, &snapshot)?;
        let mut object = Object { snapshot, receipts: Vec::new(), runs: Vec::new(), bytes, segments: BTreeMap::new() };
        for item in items(&object.bytes)? {
            object.add(item, known.id);
        }
        Ok(object)
    }

    fn add(&mut self, item: Item, id: SnapshotId) {
        let Some(bytes) = part(&self.bytes, &item) else { return };
        match item.key {
            ItemKey::Segment(address) => self.segments.entry(address).or_default().push(item),
            ItemKey::Record(RecordKind::Run, _) => self.runs.extend(Signed::parse(bytes).ok()),
            ItemKey::Record(RecordKind::Receipt, _) => {
                let receipt = Signed::<Receipt>::parse(bytes).ok().filter(|receipt| is_receipt_of(receipt, &self.snapshot, id));
                if self.receipts.len() < RECEIPTS_MAX {
                    self.receipts
                        .extend(receipt.filter(|receipt| self.receipts.iter().all(|other| other.signer != receipt.signer)));
                }
            }
            ItemKey::Record(..) => {}
        }
    }

    /// The segments of a run that are in this object and are what the run lists.
    pub fn proven_segments(&self, run: &Signed<Run>) -> BTreeMap<u32, &[u8]> {
        let mine = self
            .segments
            .range(Address { run: run.body.id, sequence: 0 }..=Address { run: run.body.id, sequence: u32::MAX });
        let mut proven = BTreeMap::new();
        for (address, items) in mine {
            let good = items
                .iter()
                .filter_map(|item| part(&self.bytes, item))
                .find(|bytes| is_segment(&run.body, address.sequence, bytes));
            proven.extend(good.map(|bytes| (address.sequence, bytes)));
        }
        proven
    }
}

fn part<'b>(bytes: &'b [u8], item: &Item) -> Option<&'b [u8]> {
    bytes.get(item.offset as usize..item.offset as usize + item.len as usize)
}

/// The items of an object in memory.
pub(crate) fn items(bytes: &[u8]) -> Result<Vec<Item>> {
    match container::items(bytes) {
        Ok(items) => Ok(items),
        Err(_) => {
            let mut read = |offset: u64, len: usize| Ok(bytes[offset as usize..offset as usize + len].to_vec());
            Scan::new(bytes.len() as u64, &mut read).items()
        }
    }
}

fn is_receipt_of(receipt: &Signed<Receipt>, snapshot: &Signed<Snapshot>, id: SnapshotId) -> bool {
    let (body, about) = (&receipt.body, &snapshot.body);
    let place = body.cluster == about.cluster && body.dataset == about.dataset;
    place && body.snapshot == id && body.epoch == about.epoch && body.sequence == about.sequence
}

fn prove_snapshot(repository: &Repository, signers: &Signers, known: &Known, snapshot: &Signed<Snapshot>) -> Result<()> {
    let body = &snapshot.body;
    let at = Position { epoch: body.epoch, sequence: body.sequence };
    if SnapshotId::of(&snapshot.hash.0) != known.id || at != known.at {
        return Err(Error::refused(&known.name, "it is another snapshot than its name says"));
    }
    repository.check_place(&known.name, &body.cluster, &body.dataset)?;
    signers.check(&snapshot.signer, &body.node, &known.name)
}

/// Proves a run by itself: place, id and signer. Whether it is the one that a snapshot lists says its hash.
pub(crate) fn prove_run(repository: &Repository, signers: &Signers, run: &Signed<Run>) -> Result<()> {
    let name = name::run(run.body.id);
    repository.check_run(&name, run)?;
    signers.check(&run.signer, &run.body.node, &name)
}

/// Whether these bytes are the segment that a run lists under this number.
pub(crate) fn is_segment(run: &Run, sequence: u32, item: &[u8]) -> bool {
    let Some(expected) = run.segments.get(sequence as usize) else { return false };
    item.len() == expected.len as usize && sha256(item) == expected.hash && seal::header_is(item, Address { run: run.id, sequence })
}

/// A small record that was proven: its name, the object to store, and the snapshot that it is about.
pub(crate) struct Small {
    pub name: String,
    pub bytes: Vec<u8>,
    pub about: Option<SnapshotId>,
    pub signer: PublicKey,
}

impl Small {
    fn of<B: Body>(name: String, signed: &Signed<B>, about: Option<SnapshotId>) -> Small {
        Small { name, bytes: alone(signed), about, signer: signed.signer }
    }
}

/// Proves a small record that was asked for by its name.
pub(crate) fn prove_small(repository: &Repository, signers: &Signers, wanted: &str, bytes: &[u8]) -> Result<Small> {
    let small = match wanted.split('/').next().unwrap_or_default() {
        name::KEYS => {
            let signed = first::<SealingIdentity>(wanted, bytes)?;
            let body = &signed.body;
            repository.check_place(wanted, &body.cluster, &body.dataset)?;
            signers.check(&signed.signer, &body.node, wanted)?;
            Small::of(name::key(body.id, body.generation), &signed, None)
        }
        name::NODES => {
            let signed = first::<Certificate>(wanted, bytes)?;
            if signed.body.cluster != repository.config().cluster {
                return Err(Error::refused(wanted, "it is of another cluster"));
            }
            Small::of(name::node(&signed.body.key, signed.id()), &signed, None)
        }
        name::RECEIPTS => {
            let signed = first::<Receipt>(wanted, bytes)?;
            repository.check_place(wanted, &signed.body.cluster, &signed.body.dataset)?;
            Small::of(name::receipt(signed.body.snapshot, &signed.signer), &signed, Some(signed.body.snapshot))
        }
        name::HEARTBEATS => {
            let signed = first::<Heartbeat>(wanted, bytes)?;
            let body = &signed.body;
            repository.check_place(wanted, &body.cluster, &body.dataset)?;
            signers.check(&signed.signer, &body.node, wanted)?;
            Small::of(name::heartbeat(&signed.signer, body.counter), &signed, Some(body.snapshot))
        }
        name::RECORDS => {
            let signed = first::<Evidence>(wanted, bytes)?;
            let body = &signed.body;
            repository.check_place(wanted, &body.cluster, &body.dataset)?;
            signers.check(&signed.signer, &body.node, wanted)?;
            Small::of(name::evidence(body.snapshot, body.kind, signed.id()), &signed, Some(body.snapshot))
        }
        _ => return Err(Error::refused(wanted, "it is no small record")),
    };
    if small.name != wanted {
        return Err(Error::refused(wanted, "it holds another record than its name says"));
    }
    Ok(small)
}

fn first<B: Body>(name: &str, bytes: &[u8]) -> Result<Signed<B>> {
    if bytes.len() >= RECORD_MAX {
        return Err(Error::refused(name, "it is larger than any small record"));
    }
    let damaged = |why| Error::damaged(name, why);
    let (_, len) = record::frame(bytes).map_err(damaged)?;
    let item = bytes.get(..len).ok_or_else(|| Error::damaged(name, "it ends too early"))?;
    Signed::parse(item).map_err(damaged)
}

/// Whether all segments that a snapshot uses of a run are listed by it. Asked before ranges are walked: they may claim billions.
pub(crate) fn ranges_fit(used: &record::RunUse, run: &Run) -> bool {
    used.live
        .last()
        .is_none_or(|range| u64::from(range.first) + u64::from(range.count) <= run.segments.len() as u64)
}

/// Names of records that were asked for and not given yet; one that nobody asked for is a lie.
pub(crate) fn expect_asked(open: &mut BTreeSet<String>, name: &str) -> Result<()> {
    if open.remove(name) { Ok(()) } else { Err(Error::refused(name, "nobody asked for it")) }
}

//! Takes one snapshot: its runs and segments first, then the snapshot with its receipts, ours among them, as one object.
//!
//! What came in one object with its run and segments goes into one object here as well.

use super::equivocation::divide;
use super::proof::Object;
use super::receive::{Failure, Receiver, from_source};
use super::{Listing, Verdict, Wanted};
use crate::container::{ItemKey, Layout};
use crate::error::{Error, Kind, Result};
use crate::id::{Address, SnapshotId};
use crate::name;
use crate::record::{Body, Receipt, Run, Signed};
use crate::repository::{Known, Repository};
use crate::sign::PublicKey;
use crate::store::publish;
use std::collections::BTreeMap;

/// Segments that came inside an object stay inside when they have no more bytes than this.
const EMBEDDED_MAX: usize = 1 << 20;

/// A run whose segments come to lie in the snapshot's object.
pub(crate) struct Embedded<'o> {
    pub run: &'o Signed<Run>,
    pub segments: BTreeMap<u32, &'o [u8]>,
}

impl Receiver<'_> {
    /// Takes what is offered at one position; `there` is what we have there.
    pub fn take_position(&mut self, group: &[&Known], there: &[&Known], listing: &Listing, wanted: &Wanted) -> Result<(), Failure> {
        let mut offered = Vec::new();
        for known in group {
            let outcome = self.offered(known);
            if let Some(object) = self.settle(&known.name, outcome)? {
                offered.push(((*known).clone(), object));
            }
        }
        let (admitted, offered) = self.admitted(offered, there, wanted)?;
        for (known, object) in admitted {
            let outcome = self.take(&known, &object, listing, wanted);
            self.settle(&known.name, outcome)?;
        }
        let held = self.signers_at(there)?;
        let (stands, refused) = divide(offered, &held);
        for (known, error) in refused {
            self.refuse(&known.name, &error);
        }
        let only_to_prove = !there.is_empty() && matches!(wanted, Wanted::Above(_));
        for (known, object) in stands.into_iter().filter(|_| !only_to_prove) {
            let outcome = self.publishes(&known, &object).and_then(|()| self.take(&known, &object, listing, wanted));
            self.settle(&known.name, outcome)?;
        }
        Ok(())
    }

    fn offered(&mut self, known: &Known) -> Result<Object, Failure> {
        if known.name != name::snapshot(known.at, known.id) {
            return Err(Failure::Refused(Error::refused(&known.name, "a snapshot has another name")));
        }
        let bytes = self.source.snapshot(known).map_err(from_source)?;
        let object = Object::parse(self.into, &self.signers, known, bytes).map_err(Failure::Refused)?;
        self.not_too_late(known, &object)?;
        Ok(object)
    }

    /// Of an expelled node only what was here before comes back: our own receipt says that it was.
    fn not_too_late(&mut self, known: &Known, object: &Object) -> Result<(), Failure> {
        let own = self.options.receipt.public();
        if !self.options.trust.is_former(&object.snapshot.signer)
            || object.receipts.iter().any(|receipt| receipt.signer == own)
            || self.own_old_receipt(&name::receipt(known.id, &own))?.is_some_and(|receipt| receipt.signer == own)
        {
            return Ok(());
        }
        let why = format!("node {} was expelled, and this was not received before", object.snapshot.body.node);
        Err(Failure::Refused(Error::refused(&known.name, why)))
    }

    /// Whether who signed it is one whose snapshots are published.
    fn publishes(&self, known: &Known, object: &Object) -> Result<(), Failure> {
        let signer = object.snapshot.signer;
        if self.options.publishers.as_ref().is_none_or(|publishers| publishers.contains(&signer)) {
            return Ok(());
        }
        let why = format!("node {} signed it, and it is not the one whose snapshots are published", object.snapshot.body.node);
        Err(Failure::Refused(Error::refused(&known.name, why)))
    }

    fn signers_at(&self, there: &[&Known]) -> Result<Vec<PublicKey>> {
        let mut signers = Vec::new();
        for known in there {
            match self.into.snapshot(known) {
                Ok(signed) => signers.push(signed.signer),
                Err(error) if error.kind() == Kind::Retry => return Err(error),
                // Damaged here: nothing can be proven by it.
                Err(_) => {}
            }
        }
        Ok(signers)
    }

    fn take(&mut self, known: &Known, object: &Object, listing: &Listing, wanted: &Wanted) -> Result<(), Failure> {
        let body = &object.snapshot.body;
        let mut embedded: Option<Embedded<'_>> = None;
        let mut lacking = 0;
        for used in &body.runs {
            let inside = object.runs.iter().find(|run| run.id() == used.record);
            let run = self.proven_run(used, inside)?;
            if run.signed.body.seal.is_some() != body.sealed {
                return Err(Failure::Refused(Error::refused(
                    name::run(used.run),
                    "it is sealed and its snapshot is not, or the other way",
                )));
            }
            if let Some(inside) = inside.filter(|_| !run.held && embedded.is_none()) {
                let segments = object.proven_segments(inside);
                let size: usize = segments.values().map(|item| item.len()).sum();
                if size <= EMBEDDED_MAX && used.sequences().all(|sequence| segments.contains_key(&sequence)) {
                    embedded = Some(Embedded { run: inside, segments });
                    continue;
                }
            }
            lacking += self.complete(&run, used.sequences())?;
        }
        if lacking > 0 {
            return Err(Failure::Refused(Error::damaged(
                &known.name,
                format!("{lacking} of the segments that it needs are not to be had"),
            )));
        }
        self.flush()?;
        self.publish(known, object, embedded, listing, wanted)
    }

    fn publish(
        &mut self,
        known: &Known,
        object: &Object,
        embedded: Option<Embedded<'_>>,
        listing: &Listing,
        wanted: &Wanted,
    ) -> Result<(), Failure> {
        let own = self.own_receipt(known, object, listing)?;
        let receipts: Vec<&Signed<Receipt>> = object.receipts.iter().chain(&own).collect();
        let (bytes, layout) = assemble(object, &receipts, embedded.as_ref());
        self.account(bytes.len())?;
        let name = name::snapshot(known.at, known.id);
        let admission = self.options.admission.clone();
        let into = self.into;
        let mut write = || publish(into.store(), &name, &bytes).map(drop);
        let outcome = match admission {
            None => write().map(|()| Verdict::Publish),
            Some(admission) => {
                let rival = into.snapshots()?.iter().any(|other| other.at == known.at && other.id != known.id);
                match admission.publish(&self.offer(known, object, rival, wanted), &mut write) {
                    Ok(Verdict::AsWithout) => write().map(|()| Verdict::Publish),
                    other => other,
                }
            }
        };
        match outcome {
            Ok(Verdict::Aside(why)) => {
                self.put_aside(known, object, why);
                return Ok(());
            }
            Ok(_) => {}
            // Another sync into this repository was faster; its receipt has another time.
            Err(Error::Conflict { .. }) if is_held(self.into, known)? => return Ok(()),
            Err(error) => return Err(Failure::Own(error)),
        }
        self.into.add_container(&name, layout.items());
        if let Some(embedded) = embedded {
            self.report.runs += 1;
            self.report.segments += embedded.segments.len() as u64;
            self.held_now(embedded.run);
        }
        self.report.snapshots.push(known.clone());
        let newest = (known.at, known.id);
        self.newest = Some(self.newest.map_or(newest, |before| before.max(newest)));
        Ok(())
    }

    /// Our receipt, unless one of ours came along: we had this snapshot once, and what counts is when we had it first.
    fn own_receipt(&mut self, known: &Known, object: &Object, listing: &Listing) -> Result<Option<Signed<Receipt>>, Failure> {
        let signer = self.options.receipt.clone();
        if object.receipts.iter().any(|receipt| receipt.signer == signer.public()) {
            return Ok(None);
        }
        let wanted = name::receipt(known.id, &signer.public());
        if listing.has_record(&wanted)
            && let Some(old) = self.own_old_receipt(&wanted)?
        {
            return Ok(Some(old));
        }
        let body = &object.snapshot.body;
        let receipt = Receipt {
            cluster: body.cluster.clone(),
            dataset: body.dataset.clone(),
            snapshot: known.id,
            epoch: body.epoch,
            sequence: body.sequence,
            received_ms: (self.options.clock)(),
        };
        Ok(Some(Signed::sign(receipt, &signer)))
    }
}

fn is_held(into: &Repository, known: &Known) -> Result<bool> {
    let ours = Known { name: name::snapshot(known.at, known.id), ..known.clone() };
    into.forget_locations();
    Ok(SnapshotId::of(&into.snapshot(&ours)?.hash.0) == known.id)
}

/// Puts the object of a snapshot together.
pub(crate) fn assemble(object: &Object, receipts: &[&Signed<Receipt>], embedded: Option<&Embedded<'_>>) -> (Vec<u8>, Layout) {
    let (mut layout, mut bytes) = (Layout::default(), Vec::new());
    add(&mut layout, &mut bytes, &object.snapshot);
    receipts.iter().for_each(|receipt| add(&mut layout, &mut bytes, receipt));
    if let Some(embedded) = embedded {
        add(&mut layout, &mut bytes, embedded.run);
        for (&sequence, item) in &embedded.segments {
            layout.add(ItemKey::Segment(Address { run: embedded.run.body.id, sequence }), item.len());
            bytes.extend_from_slice(item);
        }
    }
    bytes.extend_from_slice(&layout.trailer([0; 16]).0);
    (bytes, layout)
}

fn add<B: Body>(layout: &mut Layout, bytes: &mut Vec<u8>, signed: &Signed<B>) {
    layout.add(ItemKey::Record(B::KIND, signed.id()), signed.item.len());
    bytes.extend_from_slice(&signed.item);
}

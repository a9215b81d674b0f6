//! Small records: certificates and sealing identities before everything else, receipts, evidence and heartbeats behind the snapshots that they are about.
//!
//! What we have under a name stays. Records about snapshots that we do not hold are left alone. Of a node's heartbeats only the newest is kept.

use super::proof::{self, Signers, Small};
use super::receive::{Failure, Receiver, from_source};
use crate::error::{Error, Kind, Result};
use crate::name;
use crate::record::{Receipt, Signed};
use crate::sign::PublicKey;
use crate::store::publish;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Who cannot check certificates keeps no more of them.
const CERTIFICATES_MAX: usize = 1024;
const CERTIFICATES_OF_ONE_MAX: usize = 8;

impl Receiver<'_> {
    /// Takes certificates, then sealing identities.
    pub fn early_records(&mut self, names: &[String]) -> Result<(), Failure> {
        self.certificates(names)?;
        self.signers = Signers::of(self.into, &self.options.trust)?;
        self.small_records(names, name::KEYS, &|_| true)
    }

    /// Takes certificates. Where the cluster key is known, those that it made; else those about keys that count, so few for each that who forges them fills no
    /// disk. Others are nobody's fault: whoever cannot check them passes them on.
    fn certificates(&mut self, names: &[String]) -> Result<(), Failure> {
        let trust = self.options.trust.clone();
        let held: HashSet<String> = self.into.list(name::NODES)?.into_iter().map(|listed| listed.name).collect();
        let mut of: BTreeMap<PublicKey, usize> = BTreeMap::new();
        for key in held.iter().filter_map(|held| name::parse_node(held)) {
            *of.entry(key).or_default() += 1;
        }
        let rooted = trust.cluster_key.is_some();
        let known = |key: &PublicKey| trust.pinned.is_empty() || trust.pinned.contains(key) || trust.former.contains(key);
        let mut room = if rooted { CERTIFICATES_MAX } else { CERTIFICATES_MAX.saturating_sub(held.len()) };
        let listed: BTreeSet<&String> = names.iter().filter(|name| !held.contains(*name)).collect();
        let mut lacking = Vec::new();
        for wanted in listed {
            let Some(key) = name::parse_node(wanted) else { continue };
            let count = of.entry(key).or_default();
            if room == 0 || !(rooted || known(&key) && *count < CERTIFICATES_OF_ONE_MAX) {
                continue;
            }
            (*count, room) = (*count + 1, room - 1);
            lacking.push(wanted.clone());
        }
        self.ask(&lacking, &mut |_, small| Ok(trust.cluster_key.is_none_or(|key| key == small.signer)))
    }

    /// Takes what is about snapshots that we hold.
    pub fn late_records(&mut self, names: &[String]) -> Result<(), Failure> {
        let held: HashSet<_> = self.into.snapshots()?.into_iter().map(|known| known.id).collect();
        let own = self.options.receipt.public();
        let about_held = |wanted: &str| name::subject(wanted).is_some_and(|id| held.contains(&id) && name::receipt(id, &own) != wanted);
        self.small_records(names, name::RECEIPTS, &about_held)?;
        self.small_records(names, name::RECORDS, &about_held)?;
        self.heartbeats(names)
    }

    fn small_records(&mut self, names: &[String], folder: &'static str, is_wanted: &dyn Fn(&str) -> bool) -> Result<(), Failure> {
        let listed: BTreeSet<&String> = names
            .iter()
            .filter(|wanted| wanted.split('/').next() == Some(folder) && is_wanted(wanted))
            .collect();
        if listed.is_empty() {
            return Ok(());
        }
        let held: HashSet<String> = self.into.list(folder)?.into_iter().map(|listed| listed.name).collect();
        let lacking: Vec<String> = listed.into_iter().filter(|wanted| !held.contains(*wanted)).cloned().collect();
        // An expelled node's sealing identities may be needed for its history; nothing that it says now is.
        self.ask(&lacking, &mut |this, small| Ok(folder != name::RECORDS || this.is_current(small)))
    }

    fn is_current(&self, small: &Small) -> bool {
        !self.options.trust.is_former(&small.signer)
    }

    /// Asks for records, proves them and stores those that `accept` takes.
    fn ask(&mut self, names: &[String], accept: &mut dyn FnMut(&mut Self, &Small) -> Result<bool>) -> Result<(), Failure> {
        if names.is_empty() {
            return Ok(());
        }
        let source = self.source;
        let mut open: BTreeSet<String> = names.iter().cloned().collect();
        let mut failed = None;
        let outcome = source.records(names, &mut |wanted, bytes| {
            let proven = proof::expect_asked(&mut open, wanted).and_then(|()| proof::prove_small(self.into, &self.signers, wanted, bytes));
            let stored = proven.map_err(Failure::Refused).and_then(|small| self.store_small(&small, accept));
            self.settle(wanted, stored).map(|_| ()).map_err(|failure| {
                failed = Some(failure);
                Error::Unsuitable { what: "going on".into(), why: "what came was not taken".into() }
            })
        });
        match (failed, outcome.map_err(from_source)) {
            (Some(failure), _) => Err(failure),
            (None, Err(Failure::Refused(error))) => {
                self.refuse("small records", &error);
                Ok(())
            }
            (None, outcome) => outcome,
        }
    }

    fn store_small(&mut self, small: &Small, accept: &mut dyn FnMut(&mut Self, &Small) -> Result<bool>) -> Result<(), Failure> {
        if !accept(self, small)? {
            return Ok(());
        }
        self.account(small.bytes.len())?;
        match publish(self.into.store(), &small.name, &small.bytes) {
            Ok(new) => {
                self.report.records += u64::from(new);
                Ok(())
            }
            Err(error @ Error::Conflict { .. }) => Err(Failure::Refused(error)),
            Err(error) => Err(Failure::Own(error)),
        }
    }

    /// The newest heartbeat of each node, when it is newer than ours and its snapshot is here. Ours goes when the newer is durable.
    fn heartbeats(&mut self, names: &[String]) -> Result<(), Failure> {
        let ours: Vec<String> = self.into.list(name::HEARTBEATS)?.into_iter().map(|listed| listed.name).collect();
        let (ours, theirs) = (newest(&ours), newest(names));
        let wanted: Vec<String> = theirs
            .into_iter()
            .filter(|(node, beat)| ours.get(node).is_none_or(|mine| mine < beat))
            .map(|(_, beat)| beat)
            .collect();
        let held: HashSet<_> = self.into.snapshots()?.into_iter().map(|known| known.id).collect();
        self.ask(&wanted, &mut |this, small| Ok(small.about.is_some_and(|id| held.contains(&id)) && this.is_current(small)))?;
        let now: Vec<String> = self.into.list(name::HEARTBEATS)?.into_iter().map(|listed| listed.name).collect();
        let keep = newest(&now);
        for old in now.iter().filter(|beat| node_of(beat).is_some_and(|node| keep.get(node) != Some(beat))) {
            self.into.store().remove(old).map_err(Error::store("remove", old))?;
        }
        Ok(())
    }

    /// The receipt that we ourselves gave for a snapshot once, before we lost it.
    pub fn own_old_receipt(&mut self, wanted: &str) -> Result<Option<Signed<Receipt>>, Failure> {
        let mut found = None;
        let (into, signers) = (self.into, &self.signers);
        let outcome = self.source.records(&[wanted.to_string()], &mut |_, bytes| {
            if let Ok(small) = proof::prove_small(into, signers, wanted, bytes) {
                let len = crate::record::frame(&small.bytes).map_or(0, |(_, len)| len);
                found = small.bytes.get(..len).and_then(|item| Signed::<Receipt>::parse(item).ok());
            }
            Ok(())
        });
        match outcome {
            Err(error) if error.kind() == Kind::Retry => Err(Failure::Source(error)),
            _ => Ok(found),
        }
    }
}

/// The node in a heartbeat's name.
fn node_of(beat: &str) -> Option<&str> {
    let (node, counter) = beat.strip_prefix(name::HEARTBEATS)?.strip_prefix('/')?.split_once('.')?;
    let digits = |text: &str| text.len() == 16 && text.bytes().all(|digit| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit));
    (digits(node) && digits(counter)).then_some(node)
}

/// The newest heartbeat of each node. Names of one node sort by their counters.
fn newest(names: &[String]) -> BTreeMap<String, String> {
    let mut newest: BTreeMap<String, String> = BTreeMap::new();
    for beat in names {
        if let Some(node) = node_of(beat)
            && newest.get(node).is_none_or(|other| other < beat)
        {
            newest.insert(node.to_string(), beat.clone());
        }
    }
    newest
}

//! What is known of a snapshot without any key: its record, receipts, evidence, and whether its signer counts.

use archive::container::ItemKey;
use archive::id::SnapshotId;
use archive::record::{Evidence, Receipt, RecordKind, Signed, Snapshot};
use archive::repository::{Known, Repository};
use archive::store::{Listed, read_part};
use archive::trust::{Certified, Standing, Trust};
use archive::{Result, locate, name};
use std::collections::HashMap;

/// All that speaks about snapshots from outside of them, read once.
pub struct Facts<'r> {
    repository: &'r Repository,
    trust: Trust,
    certified: Certified,
    receipts: HashMap<SnapshotId, Vec<Signed<Receipt>>>,
    evidence: HashMap<SnapshotId, Vec<Signed<Evidence>>>,
    lengths: HashMap<String, u64>,
}

/// One snapshot.
pub struct Fact {
    pub known: Known,
    pub snapshot: Signed<Snapshot>,
    /// The earliest first.
    pub receipts: Vec<Signed<Receipt>>,
    /// The newest first; that of signers who do not count is left out.
    pub evidence: Vec<Signed<Evidence>>,
    /// Why its signer counts, or why not.
    pub standing: std::result::Result<Standing, String>,
}

impl<'r> Facts<'r> {
    pub fn load(repository: &'r Repository, trust: &Trust) -> Result<Facts<'r>> {
        let certified = repository.certified(trust)?;
        let config = repository.config();
        let ours = |cluster: &str, dataset: &str| cluster == config.cluster && dataset == config.dataset;
        let mut receipts: HashMap<_, Vec<Signed<Receipt>>> = HashMap::new();
        for listed in repository.list(name::RECEIPTS)? {
            if let Ok(signed) = repository.first_record::<Receipt>(&listed.name)
                && ours(&signed.body.cluster, &signed.body.dataset)
            {
                receipts.entry(signed.body.snapshot).or_default().push(signed);
            }
        }
        let mut evidence: HashMap<_, Vec<Signed<Evidence>>> = HashMap::new();
        for signed in repository.evidence()? {
            let counts = trust.standing(&certified, &signed.signer, &signed.body.node, &"evidence").is_ok();
            if counts && ours(&signed.body.cluster, &signed.body.dataset) {
                evidence.entry(signed.body.snapshot).or_default().push(signed);
            }
        }
        let mut lengths = HashMap::new();
        for folder in [name::SNAPSHOTS, name::QUARANTINE] {
            lengths.extend(repository.list(folder)?.into_iter().map(|listed| (listed.name, listed.len)));
        }
        Ok(Facts { repository, trust: trust.clone(), certified, receipts, evidence, lengths })
    }

    /// What is known of one snapshot. Fails when its own record cannot be read.
    pub fn of(&self, known: &Known) -> Result<Fact> {
        let snapshot = self.repository.snapshot(known)?;
        let standing = self.trust.standing(&self.certified, &snapshot.signer, &snapshot.body.node, &known.name);
        let mut receipts = self.receipts.get(&known.id).cloned().unwrap_or_default();
        receipts.extend(self.embedded(known)?);
        receipts.sort_by_key(|signed| signed.body.received_ms);
        receipts.dedup_by_key(|signed| signed.hash);
        let mut evidence = self.evidence.get(&known.id).cloned().unwrap_or_default();
        evidence.sort_by_key(|signed| std::cmp::Reverse(signed.body.finished_ms));
        Ok(Fact {
            known: known.clone(),
            snapshot,
            receipts,
            evidence,
            standing: standing.map_err(|error| error.to_string()),
        })
    }

    /// The receipts in the snapshot's own file.
    fn embedded(&self, known: &Known) -> Result<Vec<Signed<Receipt>>> {
        let listed = Listed { name: known.name.clone(), len: self.lengths.get(&known.name).copied().unwrap_or(0) };
        let (items, _) = locate::read_items(self.repository.store(), &listed)?;
        let mut found = vec![];
        for item in items.iter().filter(|item| matches!(item.key, ItemKey::Record(RecordKind::Receipt, _))) {
            let bytes = read_part(self.repository.store(), &known.name, item.offset.into(), item.len as usize)?;
            found.extend(Signed::<Receipt>::parse(&bytes).ok().filter(|signed| signed.body.snapshot == known.id));
        }
        Ok(found)
    }
}

impl Fact {
    /// The eight digits that people use.
    pub fn short(&self) -> String {
        self.known.id.to_string()[..8].to_owned()
    }

    /// The earliest receipt; what the snapshot's own signer says counts only where nobody else said anything.
    pub fn receipt(&self) -> Option<&Signed<Receipt>> {
        let other = self.receipts.iter().find(|signed| signed.signer != self.snapshot.signer);
        other.or(self.receipts.first())
    }

    /// When it was first received.
    pub fn received_ms(&self) -> Option<u64> {
        self.receipt().map(|signed| signed.body.received_ms)
    }

    pub fn quarantined(&self) -> bool {
        self.known.name.starts_with(name::QUARANTINE)
    }
}

//! What this pull-backup publishes: the reigns' rule put before every sync into the archive, and the quarantine behind it.
//!
//! The rule is asked anew for each snapshot, from the disk, since an arbiter or a command beside the daemon may have sealed an epoch meanwhile. It publishes under the ledger's lock.
//! What is put aside is durable in quarantine before anything is noted of it; a process that dies in between finds it there when it is offered again.

use crate::members::Members;
use crate::quarantine::Quarantine;
use crate::quarantine::noted::Noted;
use crate::reigns::{Held, Ledger, rule};
use archive::id::SnapshotId;
use archive::repository::{Known, Repository};
use archive::sync::{Admission, Aside, Offer, Source, SyncOptions, Verdict};
use console::pull_backup_file::PullBackupFile;
use link::error::Result;
use link::message::Head;
use link::publishing::{Kept, Publishing};
use link::pull::chain;
use link::reigns::{At, Holder, Reigns};
use link::repositories::Dataset;
use std::collections::{BTreeSet, HashSet};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

#[derive(Clone)]
pub struct Publish {
    pub ledger: Ledger,
    pub quarantine: Quarantine,
    members: Arc<Members>,
    state: PathBuf,
    clock: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// One at a time notes what became of what was put aside.
    noting: Arc<Mutex<()>>,
}

impl Publish {
    pub fn new(file: &PullBackupFile, clock: Arc<dyn Fn() -> u64 + Send + Sync>) -> Publish {
        Publish {
            ledger: Ledger::new(&file.state, &file.store),
            quarantine: Quarantine::new(&file.store, file.quarantine),
            members: Arc::new(Members::new(&file.state)),
            state: file.state.clone(),
            clock,
            noting: Arc::default(),
        }
    }

    pub fn now_ms(&self) -> u64 {
        (self.clock)()
    }

    /// The rule of a dataset; `None` where nobody reigns.
    pub fn rule_of(&self, dataset: &Dataset) -> Result<Option<Arc<dyn Admission>>> {
        let Some(reigns) = self.ledger.open(&dataset.cluster)? else { return Ok(None) };
        let kept = self.kept(dataset);
        Ok(Some(Arc::new(Rule { ledger: self.ledger.clone(), dataset: dataset.clone(), reigns, kept })))
    }

    /// What is in quarantine of a dataset.
    fn kept(&self, dataset: &Dataset) -> HashSet<SnapshotId> {
        let names = self.quarantine.of(dataset);
        let there = names.iter().flat_map(|name| self.quarantine.snapshots(name)).map(|known| known.id);
        let gone = self.dropped(dataset);
        there.chain(gone.iter().filter_map(|name| Some(link::message::snapshot_of(name)?.1))).collect()
    }

    /// Names of what was in quarantine, and a person dropped.
    fn dropped(&self, dataset: &Dataset) -> BTreeSet<String> {
        let noted = Noted::open(&self.state, &dataset.cluster).unwrap_or_default();
        noted.dropped.get(&dataset.name).cloned().unwrap_or_default()
    }

    /// The node that signs with a key, as it is enrolled here; as it says itself where it is not.
    fn node(&self, aside: &Aside) -> String {
        let all = self.members.all().unwrap_or_default();
        let enrolled = all.into_iter().find(|member| member.key() == Some(aside.signer));
        enrolled.map_or_else(|| aside.node.clone(), |member| member.name)
    }

    fn note(&self, dataset: &Dataset, kept: &[Kept]) -> Result<()> {
        let _one = self.noting.lock().unwrap_or_else(PoisonError::into_inner);
        let mut noted = Noted::open(&self.state, &dataset.cluster)?;
        if noted.take(&dataset.name, kept) {
            noted.keep(&self.state, &dataset.cluster)?;
        }
        Ok(())
    }
}

impl Publishing for Publish {
    fn rule(&self, dataset: &Dataset, head: &Head) -> Result<Option<Arc<dyn Admission>>> {
        if let Some(told) = &head.reigns {
            self.ledger.told(&dataset.cluster, told)?;
        }
        self.rule_of(dataset)
    }

    fn keep(&self, dataset: &Dataset, aside: &[Aside], from: &dyn Source, held: &Repository, options: &SyncOptions) -> Result<Vec<Kept>> {
        let dropped = self.dropped(dataset);
        let named: Vec<Aside> = aside
            .iter()
            .filter(|aside| !dropped.contains(&aside.known.name))
            .map(|aside| Aside { node: self.node(aside), ..aside.clone() })
            .collect();
        let failed = |error: archive::Error| link::Error::Failed { peer: format!("putting aside {dataset}"), why: chain(&error) };
        let kept = self.quarantine.keep(dataset, &named, from, held, options).map_err(failed)?;
        self.note(dataset, &kept)?;
        for aside in &named {
            let is_kept = kept.iter().any(|kept| kept.name == aside.known.name && kept.trouble.is_none());
            if is_kept {
                let holder = Holder::new(&aside.node, aside.signer);
                self.ledger.claimed(&dataset.cluster, aside.known.at.epoch, holder, self.now_ms())?;
            }
        }
        Ok(kept)
    }

    fn told(&self, dataset: &Dataset) -> (Vec<String>, Vec<String>) {
        let names = self.quarantine.of(dataset);
        let there = names.iter().flat_map(|name| self.quarantine.snapshots(name)).map(|known| known.name);
        let quarantined = there.chain(self.dropped(dataset)).collect();
        // What cannot be read is not told: then the node keeps more.
        let reigns = self.ledger.open(&dataset.cluster).ok().flatten();
        let sealed = reigns.iter().flat_map(|reigns| &reigns.sealed);
        let heads = sealed.filter_map(|sealed| sealed.heads.get(&dataset.name)?.name()).collect();
        (quarantined, heads)
    }
}

struct Rule {
    ledger: Ledger,
    dataset: Dataset,
    /// As they were when this began, for what only saves questions.
    reigns: Reigns,
    kept: HashSet<SnapshotId>,
}

impl Rule {
    fn now(&self) -> archive::Result<Reigns> {
        let reigns = self.ledger.open(&self.dataset.cluster).map_err(|error| self.failed(error))?;
        Ok(reigns.unwrap_or_else(|| self.reigns.clone()))
    }

    fn failed(&self, error: link::Error) -> archive::Error {
        let name = format!("the reigns of cluster {}", self.dataset.cluster);
        archive::Error::Store { operation: "read or write", name, source: io::Error::other(error) }
    }

    fn hold(&self) -> archive::Result<Held> {
        self.ledger.hold(&self.dataset.cluster).map_err(|error| self.failed(error))
    }
}

impl Admission for Rule {
    fn concerns(&self, known: &Known) -> bool {
        !self.kept.contains(&known.id) && rule::concerns(&self.reigns, &self.dataset.name, known)
    }

    fn judge(&self, offer: &Offer<'_>) -> archive::Result<Verdict> {
        Ok(rule::judge(&self.now()?, &self.dataset.name, offer))
    }

    fn publish(&self, offer: &Offer<'_>, publish: &mut dyn FnMut() -> archive::Result<()>) -> archive::Result<Verdict> {
        let held = self.hold()?;
        let reigns = self.now()?;
        let verdict = rule::judge(&reigns, &self.dataset.name, offer);
        if let Verdict::Aside(_) = verdict {
            return Ok(verdict);
        }
        if rule::begins(&reigns, &self.dataset.name, offer.known) {
            let begun = self.ledger.begins(&self.dataset.cluster, &held, &self.dataset.name, At::of(offer.known));
            begun.map_err(|error| self.failed(error))?;
        }
        // What goes as without a rule is news for the arbiter all the same.
        held.publishes().map_err(|error| self.failed(error))?;
        publish()?;
        Ok(Verdict::Publish)
    }
}

//! Reigns as this pull-backup knows them: of each cluster one durable file, `state/clusters/NAME/reigns.toml` (`document`), and what changes it.
//!
//! It is changed under a lock that whoever publishes a snapshot of the cluster holds as well (`lock`, between processes too). So a snapshot is published either
//! before a seal, and then the seal counts it, or after it, and then the rule sees the seal. Sealing one epoch and granting the next is one write: there is no moment in
//! which both are open or none is.
//!
//! Who should reign is not decided here: the arbiter says so (`persist`), an invitation does (`first`), a person does (`crate::quarantine::resolve`), or a pull-backup that is
//! followed (`told`). Where there is an arbiter's record, whatever else changes who reigns changes the record too, and the arbiter begins anew from it.

pub mod document;
pub mod lock;
pub mod rule;

use crate::arbiter::record::{self, crown, pass_over};
use archive::repository::{Known, Repository};
use document::Document;
use election::ledger::How;
use election::{Epoch, Record, Reign};
use link::error::{Error, Result};
use link::reigns::{At, Claim, Holder, Reigns, Sealed, Tops};
use link::repositories::{Dataset, Layout};
pub use lock::{Counts, Held};
use std::path::{Path, PathBuf};

/// Of one cluster no more nodes are noted that claim an epoch.
const CLAIMS_MAX: usize = 64;
/// No claim reaches farther above what was given: whoever takes an epoch takes the next.
const CLAIM_STEP_MAX: u64 = 1000;
const FILE: &str = "reigns.toml";
#[derive(Clone, Debug)]
pub struct Ledger {
    state: PathBuf,
    layout: Layout,
}

impl Ledger {
    pub fn new(state: &Path, store: &Path) -> Ledger {
        Ledger { state: state.into(), layout: Layout::Archive { store: store.into() } }
    }

    fn path(&self, cluster: &str, file: &str) -> PathBuf {
        self.state.join("clusters").join(cluster).join(file)
    }

    /// What is known; `None` where no epoch was ever given.
    pub fn open(&self, cluster: &str) -> Result<Option<Reigns>> {
        Ok(self.document(cluster)?.reigns)
    }

    /// The same, with the arbiter's record.
    pub fn document(&self, cluster: &str) -> Result<Document> {
        Document::open(&self.path(cluster, FILE))
    }

    /// Clusters of which something is known.
    pub fn clusters(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.state.join("clusters")).into_iter().flatten().flatten();
        let mut found: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        found.retain(|name| archive::record::valid_name(name));
        found.sort();
        found
    }

    fn keep(&self, cluster: &str, document: &Document) -> Result<()> {
        document.keep(&self.path(cluster, FILE))
    }

    /// Whether this pull-backup is the arbiter of a cluster, also when what it knew is lost.
    pub fn has_record(&self, cluster: &str) -> Result<bool> {
        Ok(self.hold(cluster)?.counts()?.written)
    }

    /// What is known may be old: the arbiter asks all members before it grants anything. Whether there is one.
    pub fn recover(&self, cluster: &str) -> Result<bool> {
        let held = self.hold(cluster)?;
        let mut document = self.document(cluster)?;
        let Some(record) = &mut document.arbiter else { return Ok(false) };
        record.recovering = true;
        held.changes()?;
        self.keep(cluster, &document).map(|()| true)
    }

    fn change(&self, cluster: &str, change: impl FnOnce(&mut Reigns)) -> Result<()> {
        let mut document = self.document(cluster)?;
        let Some(reigns) = &mut document.reigns else { return Ok(()) };
        change(reigns);
        self.keep(cluster, &document)
    }

    /// Waits for the lock of a cluster, so long.
    pub fn hold(&self, cluster: &str) -> Result<Held> {
        let folder = self.path(cluster, "");
        archive::store::make_folder(&folder, 0o700).map_err(Error::file("make", &folder))?;
        Held::take(&self.path(cluster, "reigns.lock"))
    }

    /// Moves a file aside that nobody can read: what it says is lost, and it may still tell somebody something.
    pub fn put_aside(&self, cluster: &str, _held: &Held, now_ms: u64) -> Result<PathBuf> {
        let (from, to) = (self.path(cluster, FILE), self.path(cluster, &format!("reigns.damaged-{now_ms}.toml")));
        std::fs::rename(&from, &to).map_err(Error::file("put aside", &from))?;
        Ok(to)
    }

    /// The arbiter's record, durable, and the reigns that follow from it, in one write. `holder_of` says with which keys a node signs.
    pub fn persist(
        &self,
        cluster: &str,
        held: &Held,
        record: &Record,
        holder_of: &dyn Fn(&str) -> Option<Holder>,
        now_ms: u64,
    ) -> Result<Option<Reigns>> {
        let before = self.document(cluster)?.reigns;
        let mut reigns = record::view(before.as_ref(), record, holder_of, now_ms);
        let epoch = |reigns: &Option<Reigns>| reigns.as_ref().map(|reigns| reigns.epoch);
        if epoch(&before) != epoch(&reigns)
            && let Some(reigns) = &mut reigns
        {
            // A reign that goes on after the one that was to follow it came to nothing began long ago.
            reigns.begun = self.firsts(cluster, reigns.epoch)?;
        }
        let document = Document { reigns, arbiter: Some(record.clone()), place: Some(held.place()?) };
        self.keep(cluster, &document)?;
        held.writes()?;
        Ok(document.reigns)
    }

    /// A node was invited as the active one: epoch 1 is its own. Who joins anew under the same name keeps the reign, with another key. Nothing is changed where the record is lost,
    /// or its arbiter asks around for it.
    pub fn first(&self, cluster: &str, holder: Holder, now_ms: u64) -> Result<Option<Reigns>> {
        let held = self.hold(cluster)?;
        let mut document = self.document(cluster)?;
        let is_lost = document.is_empty() && held.counts()?.written;
        if is_lost || document.arbiter.as_ref().is_some_and(|record| record.recovering) {
            return Ok(document.reigns);
        }
        let before = document.reigns.take();
        let granted = document.arbiter.as_ref().map_or(0, |record| record.granted.0);
        let (node, ended) = (holder.node.clone(), self.heads(cluster)?);
        let reigns = match before {
            None => Reigns { epoch: granted + 1, ..Reigns::first(holder, now_ms) },
            Some(reigns) if reigns.holder.key == holder.key => return Ok(Some(reigns)),
            Some(mut reigns) if reigns.holder.node == holder.node => {
                let former = std::mem::replace(&mut reigns.holder, holder);
                reigns.holder.former = former.former.into_iter().chain([former.key]).collect();
                document.reigns = Some(reigns);
                self.keep(cluster, &document)?;
                return Ok(document.reigns);
            }
            // Another node in the place of one that was expelled: its epoch is not the other's.
            Some(reigns) => {
                let epoch = granted.max(reigns.epoch) + 1;
                // It may know nothing of what was before: whoever invited it chose that.
                let anew = |dataset: &String| (dataset.clone(), At { epoch, sequence: 0, snapshot: String::new() });
                let begun = ended.keys().map(anew).collect();
                Reigns { begun, ..succeed(reigns, epoch, holder, ended.clone(), now_ms) }
            }
        };
        self.give(cluster, &held, document, reigns, &node, &ended).map(Some)
    }

    /// Writes who reigns now, into the arbiter's record as well, where there is one.
    fn give(&self, cluster: &str, held: &Held, mut document: Document, reigns: Reigns, node: &str, ended: &Tops) -> Result<Reigns> {
        if let Some(record) = &mut document.arbiter {
            crown(record, Reign { epoch: Epoch(reigns.epoch), node: node.into() }, ended, How::Manual);
            held.changes()?;
        }
        self.keep(cluster, &Document { reigns: Some(reigns.clone()), ..document })?;
        Ok(reigns)
    }

    /// Gives an epoch to the node that took it, from where its branch begins. For `resolve`, which holds the lock and says where that is.
    pub fn settle(&self, cluster: &str, held: &Held, claim: &Claim, heads: Tops, begun: Tops, now_ms: u64) -> Result<Reigns> {
        let mut document = self.document(cluster)?;
        let claims = document.reigns.as_ref().map_or(&[][..], |reigns| &reigns.claims);
        let rivals = claims.iter().filter(|other| other.epoch == claim.epoch && other.holder.node != claim.holder.node);
        for rival in rivals {
            let reign = Reign { epoch: Epoch(rival.epoch), node: rival.holder.node.as_str().into() };
            document.arbiter.iter_mut().for_each(|record| pass_over(record, reign.clone()));
        }
        let mut reigns = match document.reigns.take() {
            Some(reigns) => succeed(reigns, claim.epoch, claim.holder.clone(), heads.clone(), now_ms),
            None => Reigns { epoch: claim.epoch, ..Reigns::first(claim.holder.clone(), now_ms) },
        };
        reigns.begun = begun;
        self.give(cluster, held, document, reigns, &claim.holder.node, &heads)
    }

    /// A node signs for an epoch above the current one. Of each node the highest is noted. Whether that is new.
    pub fn claimed(&self, cluster: &str, epoch: u64, holder: Holder, now_ms: u64) -> Result<bool> {
        // Nearly always there is nothing to note, and no lock is needed to see that.
        if self.open(cluster)?.is_none_or(|reigns| epoch <= reigns.epoch) {
            return Ok(false);
        }
        let _held = self.hold(cluster)?;
        let Some(reigns) = self.open(cluster)? else { return Ok(false) };
        let known = reigns.claims.iter().any(|claim| claim.holder.key == holder.key && claim.epoch >= epoch);
        let too_far = epoch > reigns.epoch.saturating_add(CLAIM_STEP_MAX);
        if epoch <= reigns.epoch || known || too_far || reigns.claims.len() >= CLAIMS_MAX {
            return Ok(false);
        }
        let claim = Claim { epoch, since_ms: now_ms, dismissed: false, holder };
        self.change(cluster, |reigns| {
            reigns.claims.retain(|known| known.holder.key != claim.holder.key);
            reigns.claims.push(claim);
        })?;
        Ok(true)
    }

    /// A person said that claims count nothing: the current reign goes on.
    pub fn dismiss(&self, cluster: &str, _held: &Held) -> Result<()> {
        self.change(cluster, |reigns| reigns.claims.iter_mut().for_each(|claim| claim.dismissed = true))
    }

    /// What a pull-backup that is followed knows counts here, when it knows more. Whether it did.
    pub fn told(&self, cluster: &str, told: &Reigns) -> Result<bool> {
        // Who has a record of its own is the arbiter, and is told nothing.
        let newer = |own: &Document| own.arbiter.is_none() && own.reigns.as_ref().is_none_or(|own| knows_more(told, own));
        if !newer(&self.document(cluster)?) {
            return Ok(false);
        }
        let _held = self.hold(cluster)?;
        let own = self.document(cluster)?;
        if !newer(&own) {
            return Ok(false);
        }
        self.keep(cluster, &Document { reigns: Some(Reigns { told: true, ..told.clone() }), ..own })?;
        Ok(true)
    }

    /// Notes the first snapshot of a reign, before it is published. The caller holds the lock.
    pub fn begins(&self, cluster: &str, _held: &Held, dataset: &str, first: At) -> Result<()> {
        self.change(cluster, |reigns| _ = reigns.begun.insert(dataset.into(), first))
    }

    /// What is published here of each dataset of a cluster.
    pub fn heads(&self, cluster: &str) -> Result<Tops> {
        let mut heads = Tops::new();
        for (dataset, known) in self.published(cluster)? {
            // Damage does not make an older one the head.
            heads.extend(known.last().map(|known| (dataset, At::of(known))));
        }
        Ok(heads)
    }

    /// The first of an epoch that is published here, of each dataset.
    fn firsts(&self, cluster: &str, epoch: u64) -> Result<Tops> {
        let published = self.published(cluster)?.into_iter();
        let first = |(dataset, known): (String, Vec<Known>)| Some((dataset, At::of(known.iter().find(|known| known.at.epoch == epoch)?)));
        Ok(published.filter_map(first).collect())
    }

    /// What is published here of each dataset of a cluster, oldest first.
    fn published(&self, cluster: &str) -> Result<Vec<(String, Vec<Known>)>> {
        let of = self.datasets(cluster).into_iter();
        of.map(|dataset| Ok((dataset.name.clone(), self.repository(&dataset)?.1))).collect()
    }

    /// The datasets of a cluster that are kept here.
    pub fn datasets(&self, cluster: &str) -> Vec<Dataset> {
        let mut datasets = self.layout.datasets();
        datasets.retain(|dataset| dataset.cluster == cluster);
        datasets
    }

    /// A dataset's repository, without its lock, and what is published in it: names are enough, and need none; whoever publishes holds the cluster's.
    pub fn repository(&self, dataset: &Dataset) -> Result<(Repository, Vec<Known>)> {
        let failed = |error: archive::Error| Error::Failed { peer: format!("reading {dataset}"), why: link::pull::chain(&error) };
        let store = archive::store::FolderStore::open(&self.layout.path(dataset)).map_err(|source| Error::File {
            operation: "open",
            path: self.layout.path(dataset),
            source,
        })?;
        let repository = Repository::open(std::sync::Arc::new(store)).map_err(failed)?;
        let mut known = repository.snapshots().map_err(failed)?;
        // What leaves no number for another was never a head.
        known.retain(|known| known.at.sequence < archive::name::SEQUENCE_MAX);
        Ok((repository, known))
    }
}

/// The next reign after one that ends with these heads.
fn succeed(before: Reigns, epoch: u64, holder: Holder, heads: Tops, now_ms: u64) -> Reigns {
    let mut sealed = before.sealed;
    sealed.push(Sealed { epoch: before.epoch, sealed_ms: now_ms, holder: before.holder, heads });
    let claims = before.claims.into_iter().filter(|claim| claim.epoch > epoch).collect();
    Reigns { epoch, since_ms: now_ms, told: false, holder, begun: Tops::new(), sealed, claims }
}

fn knows_more(told: &Reigns, own: &Reigns) -> bool {
    let same = told.epoch == own.epoch && told.sealed.len() >= own.sealed.len();
    told.epoch > own.epoch || same && (told.begun.len() > own.begun.len() || told.holder != own.holder || told.claims != own.claims)
}

//! Pulling: what a host says is new is synced into a repository here, one at a time for each dataset, so many at once.
//!
//! What was pulled is told to the host that it came from, once it is durable and verified; with it what is needed and lacking. What is known of each dataset
//! and peer (`Fact`) comes from what was verified, never from the fact that something ran.
//!
//! It keeps no queue: what is lacking is seen from what the other side has, so that a process that was killed goes on where it was.

use crate::budget::Allowance;
use crate::client::Client;
use crate::current::captured;
use crate::error::{Error, Result};
use crate::identity::Pin;
use crate::message::{Head, Report, WantSegments, WantedRun};
use crate::publishing::Publishing;
use crate::remote::Remote;
use crate::repositories::{Dataset, Repositories};
use archive::id::Address;
use archive::name::Position;
use archive::sign::{PublicKey, Signer};
use archive::sync::{Refusal, SyncOptions, SyncReport, Wanted, sync};
use archive::trust::Trust;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

/// What is known of a dataset as one peer has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fact {
    /// What the peer had when all of it was held here.
    pub done: Option<String>,
    pub done_ms: Option<u64>,
    /// The newest snapshot that is held here whole.
    pub held: Option<String>,
    /// When that was last known to be current.
    pub captured_ms: Option<u64>,
    /// Why it is not further.
    pub trouble: Option<String>,
    pub failures: u32,
    pub bytes: u64,
    pub lacking: usize,
}

/// The newest snapshot of a dataset that was imported here, by name, and the evidence of it.
pub type Imported = Box<dyn Fn(&Dataset) -> Option<(String, Option<String>)> + Send + Sync>;

/// Hears of what was pulled.
pub type Pulled = Box<dyn Fn(&Dataset, &SyncReport) + Send + Sync>;

pub struct Pulls {
    pub repositories: Arc<Repositories>,
    receipt: Arc<Signer>,
    clock: Arc<dyn Fn() -> u64 + Send + Sync>,
    at_once: Semaphore,
    busy: Mutex<HashMap<Dataset, Arc<tokio::sync::Mutex<()>>>>,
    facts: Mutex<BTreeMap<(Dataset, Pin), Fact>>,
    /// What is being pulled, and whether it was wanted again meanwhile.
    under_way: Mutex<HashMap<(Dataset, Pin), bool>>,
    pulled: Pulled,
    imported: Imported,
    publishing: Option<Arc<dyn Publishing>>,
}

/// From whom something is pulled.
pub struct Origin {
    pub client: Arc<Client>,
    pub pin: Pin,
    /// Whose signatures count, now, for what it says that it has.
    pub signers: Box<dyn Fn(&Head) -> Signers + Send + Sync>,
    /// How many bytes may come; no bound when there is none.
    pub allowance: Option<Allowance>,
}

/// Whose signatures count.
#[derive(Clone, Debug, Default)]
pub struct Signers {
    pub trust: Trust,
    /// Whose snapshots are published, of those that count; all when nothing is said. Runs and keys of the others still count, since a base uses them.
    pub publishers: Option<Vec<PublicKey>>,
    /// Only what a snapshot uses is taken: whoever offers it stands by, and the runs of its mirror come from elsewhere.
    pub snapshots_only: bool,
}

impl From<Trust> for Signers {
    fn from(trust: Trust) -> Signers {
        Signers { trust, ..Signers::default() }
    }
}

/// A trust with nobody in it would believe anything that is signed at all: here it believes nobody.
pub fn believing(trust: Trust) -> Trust {
    let is_empty = trust.cluster_key.is_none() && trust.pinned.is_empty() && trust.former.is_empty();
    if is_empty { nobody() } else { trust }
}

/// Nobody's signature counts: better closed than open where it is not known whose should.
pub fn nobody() -> Trust {
    Trust { cluster_key: Some(Signer::from_seed(&Signer::new_seed()).public()), ..Trust::default() }
}

impl Pulls {
    pub fn new(
        repositories: Arc<Repositories>,
        receipt: Arc<Signer>,
        clock: Arc<dyn Fn() -> u64 + Send + Sync>,
        at_once: usize,
        pulled: Pulled,
    ) -> Pulls {
        let (busy, facts, under_way) = Default::default();
        Pulls {
            repositories,
            receipt,
            clock,
            at_once: Semaphore::new(at_once),
            busy,
            facts,
            under_way,
            pulled,
            imported: Box::new(|_| None),
            publishing: None,
        }
    }

    /// For a host that keeps history: what it publishes, and where the rest goes.
    pub fn publishing(self, publishing: Arc<dyn Publishing>) -> Pulls {
        Pulls { publishing: Some(publishing), ..self }
    }

    /// For a host that imports: what is said of it to those that it pulls from.
    pub fn importing(self, imported: Imported) -> Pulls {
        Pulls { imported, ..self }
    }

    /// Tells a peer what is held and imported of a dataset that was pulled from it.
    pub async fn tell(&self, origin: &Origin, dataset: &Dataset) -> Result<()> {
        let fact = self.known().get(&(dataset.clone(), origin.pin)).cloned();
        let Some(fact) = fact else { return Ok(()) };
        let said = Report { held: fact.held, captured_ms: fact.captured_ms, trouble: fact.trouble, ..self.report(dataset) };
        origin.client.post("/v1/report", &said).await
    }

    fn report(&self, dataset: &Dataset) -> Report {
        let told = self.publishing.as_ref().map(|publishing| publishing.told(dataset));
        let (quarantined, sealed) = told.unwrap_or_default();
        let (imported, evidence) = (self.imported)(dataset).map_or((None, None), |(name, evidence)| (Some(name), evidence));
        Report {
            cluster: dataset.cluster.clone(),
            dataset: dataset.name.clone(),
            imported,
            evidence,
            quarantined,
            sealed,
            ..Report::default()
        }
    }

    /// With which key receipts are signed.
    pub fn receipt(&self) -> archive::sign::PublicKey {
        self.receipt.public()
    }

    /// What signs them.
    pub fn receipt_signer(&self) -> Arc<Signer> {
        self.receipt.clone()
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<(Dataset, Pin), Fact>> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn facts(&self) -> Vec<(Dataset, Pin, Fact)> {
        self.known().iter().map(|((dataset, pin), fact)| (dataset.clone(), *pin, fact.clone())).collect()
    }

    /// Says that a peer's dataset is about to be pulled. `false` when it is already.
    pub fn begin(&self, dataset: &Dataset, pin: Pin) -> bool {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        match under_way.get_mut(&(dataset.clone(), pin)) {
            Some(again) => {
                *again = true;
                false
            }
            None => under_way.insert((dataset.clone(), pin), false).is_none(),
        }
    }

    /// Says that it was. Whether it was wanted again meanwhile.
    pub fn ended(&self, dataset: &Dataset, pin: Pin) -> bool {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.remove(&(dataset.clone(), pin)).unwrap_or(false)
    }

    /// Whether all of what a peer says it has was held here when it said so last.
    pub fn is_done(&self, pin: Pin, head: &Head) -> bool {
        self.known()
            .get(&(dataset_of(head), pin))
            .is_some_and(|fact| fact.done.as_ref() == Some(&head.change))
    }

    /// Pulls what a peer has and is lacking here. What goes wrong is in the fact as well.
    pub async fn pull(&self, origin: &Origin, head: &Head) -> Result<()> {
        let dataset = dataset_of(head);
        let turn = self.busy.lock().unwrap_or_else(PoisonError::into_inner).entry(dataset.clone()).or_default().clone();
        let _turn = turn.lock().await;
        if self.is_done(origin.pin, head) {
            return Ok(());
        }
        let permit = self.at_once.acquire().await;
        let outcome = self.take(origin, &dataset, head).await;
        drop(permit);
        let said = self.note(origin, &dataset, head, &outcome);
        if let Ok(report) = &outcome {
            (self.pulled)(&dataset, report);
        }
        let told: Result<()> = origin.client.post("/v1/report", &said).await;
        outcome.and_then(|report| match report.stopped {
            Some(error) => Err(Error::Failed { peer: origin.client.peer.clone(), why: chain(&error) }),
            None => told,
        })
    }

    async fn take(&self, origin: &Origin, dataset: &Dataset, head: &Head) -> Result<SyncReport> {
        let what = format!("pulling {dataset}");
        let failed = move |error: archive::Error| Error::Failed { peer: what.clone(), why: chain(&error) };
        let remote = || Remote::new(origin.client.clone(), Handle::current(), &dataset.cluster, &dataset.name);
        // What is put aside has a quota of its own.
        let (remote, beside) = (remote(), remote());
        let Signers { trust, publishers, snapshots_only } = (origin.signers)(head);
        let runs_ahead = !snapshots_only;
        let options = SyncOptions { publishers, runs_ahead, ..SyncOptions::new(trust, self.receipt.clone(), self.clock.clone()) };
        let (publishing, offered) = (self.publishing.clone(), head.clone());
        let (repositories, of, allowance) = (self.repositories.clone(), dataset.clone(), origin.allowance.clone());
        let work = move || {
            let budget = allowance.map(|allowance| allowance(&of)).transpose()?;
            let repository = repositories.open_or_create(&of).map_err(&failed)?;
            let wanted = Wanted::Above(Position::default());
            let admission = publishing.as_ref().map(|publishing| publishing.rule(&of, &offered)).transpose()?.flatten();
            let options = SyncOptions { admission, ..options };
            let mut report = sync(&remote.within(budget), &repository, &wanted, &options).map_err(failed)?;
            if let Some(publishing) = publishing.filter(|_| !report.aside.is_empty()) {
                let kept = publishing.keep(&of, &report.aside, &beside, &repository, &options)?;
                let refused = kept.into_iter().filter_map(|kept| Some(Refusal { name: kept.name, why: kept.trouble? }));
                report.refused.extend(refused);
            }
            Ok(report)
        };
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|error| Error::Failed { peer: format!("pulling {dataset}"), why: error.to_string() })?
    }

    fn note(&self, origin: &Origin, dataset: &Dataset, head: &Head, outcome: &Result<SyncReport>) -> Report {
        let mut said = self.report(dataset);
        let mut facts = self.known();
        let fact = facts.entry((dataset.clone(), origin.pin)).or_default();
        match outcome {
            Ok(report) => {
                fact.bytes += report.bytes;
                fact.lacking = report.lacking.len();
                fact.held = report.head.as_ref().map(|known| known.name.clone());
                fact.captured_ms = report.head.as_ref().and_then(|known| captured(&self.repositories, dataset, known));
                fact.trouble = trouble(report);
                said.lacking = runs(&report.lacking);
                if report.is_complete() {
                    (fact.done, fact.done_ms, fact.failures) = (Some(head.change.clone()), Some((self.clock)()), 0);
                } else {
                    fact.failures += 1;
                }
            }
            Err(error) => {
                fact.trouble = Some(chain(error));
                fact.failures += 1;
            }
        }
        (said.held, said.captured_ms, said.trouble) = (fact.held.clone(), fact.captured_ms, fact.trouble.clone());
        said
    }
}

pub fn dataset_of(head: &Head) -> Dataset {
    Dataset { cluster: head.cluster.clone(), name: head.dataset.clone() }
}

fn trouble(report: &SyncReport) -> Option<String> {
    if let Some(error) = &report.stopped {
        return Some(chain(error));
    }
    if let Some(refused) = report.refused.first() {
        let more = report.refused.len() - 1;
        let rest = if more > 0 { format!(", and {more} more") } else { String::new() };
        return Some(format!("{} is refused: {}{rest}", refused.name, refused.why));
    }
    let lacking = report.lacking.len();
    (lacking > 0).then(|| format!("{lacking} segments are lacking at the source"))
}

fn runs(lacking: &[Address]) -> Vec<WantedRun> {
    let mut by: BTreeMap<_, Vec<u32>> = BTreeMap::new();
    for address in lacking {
        by.entry(address.run).or_default().push(address.sequence);
    }
    let want = |(run, mut sequences): (_, Vec<u32>)| {
        sequences.sort_unstable();
        let WantSegments { run, ranges } = WantSegments::new(run, &sequences);
        WantedRun { run, ranges }
    };
    by.into_iter().map(want).collect()
}

/// An error with its sources, on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = error.source();
    }
    text
}

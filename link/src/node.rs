//! What a node gives to the pull-backups that it joined, and what it hears from them.
//!
//! Who joined while the daemon runs counts at once: the membership file is read anew when it changed. What a receiver says that it holds is kept for each
//! dataset in `receivers.toml`: the spool keeps what any of them lacks, and what one needs and lacks the next export mends.

use crate::error::Result;
use crate::given::Given;
use crate::identity::Pin;
use crate::membership::{Membership, PullBackup};
use crate::message::{Head, Joined, Report, WantedRun};
use crate::post::{Fellows, Said, genuine};
use crate::repositories::{Dataset, Layout, Repositories};
use crate::role::{Caller, Role};
use crate::routes::{Refusal, Shelf, Word};
use crate::server::Upgraded;
use crate::state_file;
use archive::repository::Repository;
use election::Peer;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use watch::Rule;

/// What one receiver said last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receiver {
    pub said_ms: u64,
    /// The newest snapshot that it holds whole.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub held: Option<String>,
    /// When that was last known to be current, as it says.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub captured_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub imported: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub trouble: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub lacking: Vec<WantedRun>,
    /// What it keeps aside from the history.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub quarantined: Vec<String>,
    /// The heads at which reigns ended, as it knows them.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub sealed: Vec<String>,
}

/// What the receivers of a dataset said, by pin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receivers {
    #[serde(default)]
    pub receiver: BTreeMap<String, Receiver>,
}

impl Receivers {
    pub fn path(state: &Path, dataset: &str) -> PathBuf {
        state.join("datasets").join(dataset).join("receivers.toml")
    }

    pub fn open(state: &Path, dataset: &str) -> Result<Receivers> {
        Ok(state_file::read(&Receivers::path(state, dataset))?.unwrap_or_default())
    }

    /// Whether this pull-backup holds this snapshot.
    pub fn holds(&self, pin: &Pin, snapshot: &str) -> bool {
        let held = self.receiver.get(&pin.to_string()).and_then(|receiver| receiver.held.as_deref());
        held.and_then(crate::message::snapshot_of)
            .zip(crate::message::snapshot_of(snapshot))
            .is_some_and(|(held, asked)| held == asked || held.0 > asked.0)
    }
}

/// No pull-backup has more to tell of one dataset that matters.
const TOLD_MAX: usize = 10_000;

/// Is told of a dataset.
pub type Heard = Box<dyn Fn(&Dataset) + Send + Sync>;

/// Takes part in elections on this node.
pub trait Electing: Send + Sync {
    /// The pull-backup that decides.
    fn arbiter(&self) -> Option<Pin>;

    fn fellows(&self) -> Arc<Fellows>;

    /// Hears what a proven peer said, and answers.
    fn hear(&self, from: &Peer, said: Said) -> Said;
}

type Change = Option<(u64, i64, i64)>;

pub struct Node {
    state: PathBuf,
    cluster: String,
    pub repositories: Arc<Repositories>,
    clock: Arc<dyn Fn() -> u64 + Send + Sync>,
    membership: Mutex<(Change, Arc<Membership>)>,
    /// One at a time: what is said is put beside what others said.
    receivers: Mutex<()>,
    /// There is something new at a pull-backup.
    noticed: Heard,
    /// A receiver said what it holds.
    reported: Heard,
    /// When each dataset is exported, by its name.
    rules: BTreeMap<String, Rule>,
    electing: OnceLock<Arc<dyn Electing>>,
    given: Given,
}

impl Node {
    pub fn new(state: &Path, cluster: &str, clock: Arc<dyn Fn() -> u64 + Send + Sync>, noticed: Heard, reported: Heard) -> Node {
        let layout = Layout::Node { state: state.into(), cluster: cluster.into() };
        let repositories = Arc::new(Repositories::new(layout, clock.clone()));
        let (membership, receivers) = Default::default();
        Node {
            state: state.into(),
            cluster: cluster.into(),
            repositories,
            clock,
            membership,
            receivers,
            noticed,
            reported,
            rules: BTreeMap::new(),
            electing: OnceLock::new(),
            given: Given::default(),
        }
    }

    /// Keeps count of what each receiver was given, as this daemon.
    pub fn counting(mut self, daemon: &str) -> Node {
        self.given = Given::open(&self.state, daemon);
        self
    }

    pub fn given(&self) -> &Given {
        &self.given
    }

    /// Lets it tell receivers when each dataset is exported.
    pub fn with_rules(mut self, rules: BTreeMap<String, Rule>) -> Node {
        self.rules = rules;
        self
    }

    /// From now on it takes part in elections. The first word counts.
    pub fn elect_by(&self, electing: Arc<dyn Electing>) {
        let _ = self.electing.set(electing);
    }

    /// The pull-backups that this node joined, as they are now.
    pub fn membership(&self) -> Arc<Membership> {
        let found = std::fs::metadata(Membership::path(&self.state)).ok();
        let change = found.map(|found| (found.ino(), found.mtime(), found.mtime_nsec()));
        let mut known = self.membership.lock().unwrap_or_else(PoisonError::into_inner);
        if known.0 != change {
            // What cannot be read is nobody: better closed than open.
            *known = (change, Arc::new(Membership::open(&self.state).unwrap_or_default()));
        }
        known.1.clone()
    }

    pub fn pull_backups(&self) -> Vec<PullBackup> {
        let of = |known: &&PullBackup| known.cluster == self.cluster;
        self.membership().pull_backups.iter().filter(of).cloned().collect()
    }

    fn take_note(&self, caller: &Caller, report: Report) -> Result<(), Refusal> {
        let Some(pin) = caller.pin else { return Ok(()) };
        let dataset = Dataset { cluster: report.cluster, name: report.dataset };
        if !self.repositories.layout().datasets().contains(&dataset) {
            return Err(Refusal::missing(format!("dataset {dataset}")));
        }
        let failed = |error: crate::Error| Refusal::failed(crate::pull::chain(&error));
        {
            let _one = self.receivers.lock().unwrap_or_else(PoisonError::into_inner);
            let mut all = Receivers::open(&self.state, &dataset.name).map_err(failed)?;
            let Report { held, captured_ms, lacking, imported, trouble, mut quarantined, mut sealed, .. } = report;
            quarantined.truncate(TOLD_MAX);
            sealed.truncate(TOLD_MAX);
            let said_ms = (self.clock)();
            all.receiver
                .insert(pin.to_string(), Receiver { said_ms, held, captured_ms, imported, trouble, lacking, quarantined, sealed });
            state_file::say(&Receivers::path(&self.state, &dataset.name), &all).map_err(failed)?;
        }
        (self.reported)(&dataset);
        Ok(())
    }
}

impl Shelf for Node {
    fn role(&self, pin: &Pin) -> Role {
        let fellow = || {
            let name = self.electing.get()?.fellows().name_of(pin)?.clone();
            Some(Role::Fellow { cluster: self.cluster.clone(), name })
        };
        match self.membership().role(pin) {
            Role::Stranger => fellow().unwrap_or(Role::Stranger),
            role => role,
        }
    }

    fn gave(&self, caller: &Caller, bytes: u64) {
        caller.pin.iter().for_each(|pin| self.given.count(pin, bytes));
    }

    fn heads(&self, caller: &Caller) -> Result<Vec<Head>, Refusal> {
        let mut heads = self.repositories.heads(&|dataset| caller.role.sees(&dataset.cluster));
        heads.iter_mut().for_each(|head| head.rule = self.rules.get(&head.dataset).cloned());
        Ok(heads)
    }

    fn open(&self, _: &Caller, cluster: &str, dataset: &str) -> Result<Arc<Repository>, Refusal> {
        let wanted = Dataset { cluster: cluster.into(), name: dataset.into() };
        if !self.repositories.layout().datasets().contains(&wanted) {
            return Err(Refusal::missing(format!("dataset {wanted}")));
        }
        Ok(self.repositories.open(&wanted)?)
    }

    fn hear(&self, caller: &Caller, word: Word) -> Result<Option<Joined>, Refusal> {
        match word {
            Word::Notice(notice) => (self.noticed)(&Dataset { cluster: notice.cluster, name: notice.dataset }),
            Word::Report(report) => self.take_note(caller, report)?,
            Word::Join(_) => return Err(Refusal::not_yours("a node takes nobody in: join at a pull-backup")),
        }
        Ok(None)
    }

    fn lend(&self, _: &Caller, _: Upgraded) -> Result<(), Refusal> {
        Err(Refusal::not_yours("a node asks over no connection but its own"))
    }

    fn elect(&self, caller: &Caller, mut said: Said) -> Result<Said, Refusal> {
        let electing = self.electing.get().ok_or_else(|| Refusal::not_yours("this node takes no part in elections"))?;
        let from = match &caller.role {
            Role::PullBackup { .. } if caller.pin.is_some() && caller.pin == electing.arbiter() => Peer::Arbiter,
            Role::Fellow { name, .. } => Peer::Node(name.as_str().into()),
            _ => return Err(Refusal::not_yours("only the arbiter and members of this cluster are heard here")),
        };
        said.envelopes = genuine(said.envelopes, &self.cluster, &from);
        Ok(electing.hear(&from, said))
    }
}

//! The arbiter's durable record: who reigns, who reigned, and which snapshots each reign may publish.
//!
//! An epoch's number is given once. [`Record::granted`] is the highest number given or set aside, and only grows; it may be above the current
//! epoch, because a recovered arbiter skips a number that its lost memory may have given. A grant and the seal of the reign before it are one
//! record, so no crash leaves two reigns that may publish.
//!
//! A reign that was granted and never ACTIVE is void: nothing was written under it, so the seal of the reign before is lifted and its tail
//! goes forward, unless the void grant had left snapshots behind; those are in quarantine, and what follows them cannot be published.
//! A reign that was ACTIVE is never void.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{BootId, ClusterId, Dataset, Epoch, Lost, Members, NodeId, Pause, Point, Position, Reign, SnapshotId, Time, Timers};

/// Everything that must be durable before the arbiter says a word about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub cluster: ClusterId,
    /// The current reign's number.
    pub epoch: Epoch,
    /// The highest number given or set aside.
    pub granted: Epoch,
    /// Whose lease may live; none after RELEASE and after a void grant.
    pub holder: Option<NodeId>,
    /// Each member, with the generation in which it joined.
    pub members: BTreeMap<NodeId, u64>,
    pub generation: u64,
    /// The generation that the active holds durably; who joined later is not electable.
    pub acknowledged: u64,
    /// Who alone may begin the first reign.
    /// Where somebody reigns: a node that was given the role for good, before there was an arbiter. Nobody takes over from it by himself.
    pub designated: Option<NodeId>,
    /// An active that is being expelled: no renewal counts.
    pub expelling: Option<NodeId>,
    pub pause: Option<Paused>,
    pub pauses: u64,
    /// The last active said that not every port is behind a gate, and that there is neither watchdog nor STONITH.
    pub unguarded: bool,
    pub ledger: Vec<Entry>,
    pub takeovers: Takeovers,
    /// The memory was lost or is known to be old: nothing is granted before all members were asked.
    pub recovering: bool,
}

/// A pause, and how far it got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paused {
    pub pause: Pause,
    /// The active took it up: it holds out until its end without us.
    pub acknowledged: bool,
    /// A person ended it; it counts until the active says that it lives under it no more.
    pub ending: bool,
}

/// One reign.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub reign: Reign,
    pub how: How,
    pub state: ReignState,
    pub base: Position,
    /// Heads at the end; nothing of this reign is published above them.
    pub sealed: Option<Position>,
    /// The grant left published snapshots behind.
    pub lossy: bool,
    /// Where the last export ended, of a reign that was released.
    pub last: Option<Position>,
    pub timers: Timers,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReignState {
    Granted,
    Active,
    Released,
    Void,
}

/// How a reign came about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    First,
    Automatic,
    Manual,
    Switchover {
        source: NodeId,
    },
    /// The source of a switchover whose candidate did not become active.
    Return,
    /// Found at the members, by an arbiter that did not know of it.
    Recovered,
}

/// Takeovers that nobody asked for, in the arbiter's boot; of an earlier boot they count as just done, since how long ago is unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Takeovers {
    pub boot: Option<BootId>,
    pub times: Vec<Time>,
    pub acknowledged: bool,
}

impl Takeovers {
    pub fn move_to(&mut self, boot: &BootId, now: Time) {
        if self.boot.as_ref() != Some(boot) {
            self.boot = Some(boot.clone());
            self.times.fill(now);
        }
    }

    pub fn within(&self, now: Time, window: Duration) -> usize {
        self.times.iter().filter(|at| now.since(**at) < window).count()
    }
}

/// Whether a snapshot that was received goes into the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    Publish,
    Quarantine(Unfit),
}

/// Why a snapshot is kept aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unfit {
    /// The ledger does not know the reign.
    UnknownReign,
    /// The reign is sealed or void.
    Sealed,
    /// The head has this sequence or a later one, or a later epoch.
    NotAbove,
    /// The first of its epoch does not follow the head at which the epoch before was sealed.
    Forked,
    /// Another branch has the same epoch, and nobody said yet which counts.
    Contested,
}

impl Record {
    /// A new cluster's.
    pub fn new(cluster: ClusterId) -> Record {
        Record {
            cluster,
            epoch: Epoch::default(),
            granted: Epoch::default(),
            holder: None,
            members: BTreeMap::new(),
            generation: 0,
            acknowledged: 0,
            designated: None,
            expelling: None,
            pause: None,
            pauses: 0,
            unguarded: false,
            ledger: Vec::new(),
            takeovers: Takeovers::default(),
            recovering: false,
        }
    }

    /// Of an arbiter that lost its memory: what enrolment still knows. It begins with RECOVERY.
    pub fn lost(cluster: ClusterId, members: &[NodeId]) -> Record {
        let members = members.iter().map(|node| (node.clone(), 0)).collect();
        Record { members, recovering: true, ..Record::new(cluster) }
    }

    pub fn current(&self) -> Option<&Entry> {
        self.ledger.last().filter(|entry| entry.reign.epoch == self.epoch)
    }

    pub(crate) fn current_mut(&mut self) -> Option<&mut Entry> {
        let epoch = self.epoch;
        self.ledger.last_mut().filter(|entry| entry.reign.epoch == epoch)
    }

    pub fn entry(&self, reign: &Reign) -> Option<&Entry> {
        self.ledger.iter().rev().find(|entry| entry.reign == *reign)
    }

    /// The list that the active asks in FAILSAFE.
    pub fn member_list(&self) -> Members {
        Members { generation: self.generation, nodes: self.members.keys().cloned().collect() }
    }

    /// The last reign that was more than a grant.
    pub fn last_reign(&self) -> Option<&Entry> {
        self.ledger.iter().rev().find(|entry| entry.state != ReignState::Void)
    }

    /// May this node be granted the role, as far as membership goes? The last active may go on, or go on again, by the word of the members
    /// that it knows; whoever it does not know must not be granted the role, unless it gave it up.
    pub fn electable(&self, node: &NodeId) -> bool {
        let given_up = self.last_reign().is_none_or(|entry| entry.state == ReignState::Released);
        self.members.get(node).is_some_and(|since| given_up || *since <= self.acknowledged)
    }

    /// Whether a snapshot that was pulled from its node is published. `head` is its dataset's.
    pub fn admit(&self, reign: &Reign, point: &Point, previous: Option<&SnapshotId>, head: Option<&Point>) -> Admission {
        let Some(entry) = self.entry(reign).filter(|entry| entry.reign.epoch == point.epoch) else {
            return Admission::Quarantine(Unfit::UnknownReign);
        };
        if entry.state == ReignState::Void || entry.sealed.is_some() {
            return Admission::Quarantine(Unfit::Sealed);
        }
        let open = |other: &&Entry| other.reign.epoch == reign.epoch && other.state != ReignState::Void && other.sealed.is_none();
        if self.ledger.iter().filter(open).count() > 1 {
            return Admission::Quarantine(Unfit::Contested);
        }
        if head.is_some_and(|head| head.epoch > point.epoch || head.sequence >= point.sequence) {
            return Admission::Quarantine(Unfit::NotAbove);
        }
        let first = head.is_none_or(|head| head.epoch < point.epoch);
        if first && previous != head.map(|head| &head.id) {
            return Admission::Quarantine(Unfit::Forked);
        }
        Admission::Publish
    }

    /// SEAL and GRANT as one: the caller persists the result before it tells anyone.
    pub(crate) fn seal_and_grant(&mut self, node: &NodeId, how: How, base: Position, lossy: bool, timers: Timers) -> Epoch {
        for entry in self.ledger.iter_mut().filter(|entry| entry.sealed.is_none() && entry.state != ReignState::Void) {
            entry.sealed = Some(base.clone());
        }
        let epoch = self.granted.next();
        (self.epoch, self.granted) = (epoch, epoch);
        self.holder = Some(node.clone());
        (self.designated, self.pause) = (None, None);
        let reign = Reign { epoch, node: node.clone() };
        self.ledger
            .push(Entry { reign, how, state: ReignState::Granted, base, sealed: None, lossy, last: None, timers });
        epoch
    }

    /// The current reign was never ACTIVE. Gives the reign whose tail may go forward again.
    pub(crate) fn void(&mut self) -> Option<Reign> {
        self.holder = None;
        let entry = self.current_mut()?;
        entry.state = ReignState::Void;
        let lossy = entry.lossy;
        let before = self.ledger.iter_mut().rev().find(|entry| entry.state != ReignState::Void)?;
        if lossy {
            return None;
        }
        before.sealed = None;
        Some(before.reign.clone())
    }

    /// Published snapshots above their reign's seal: a grant left them behind, and they belong into quarantine.
    pub fn orphans<'a>(&self, published: impl Iterator<Item = (&'a Dataset, &'a Point)>) -> Vec<Lost> {
        let seal = |epoch| self.ledger.iter().rev().find(|entry| entry.reign.epoch == epoch)?.sealed.as_ref();
        let above = |(dataset, point): &(&Dataset, &Point)| {
            seal(point.epoch).is_some_and(|sealed| sealed.0.get(*dataset).is_none_or(|last| last.number() < point.number()))
        };
        let lost = published.filter(above);
        lost.map(|(dataset, point)| Lost { dataset: dataset.clone(), point: point.clone() }).collect()
    }
}

//! Arbiter A: decides who is active, alone, from what it is told.
//!
//! `LEASED -> EXPIRED -> POLL -> CATCH-UP -> OFFER -> GRANTED`, or BLOCKED, naming which snapshots would be lost. One process of the pull-backup
//! runs one arbiter for each cluster, carries its messages, and reports what its archive published.
//!
//! **Outputs are an ordered list.** [`Output::Persist`] must be durable before any output after it is carried out, and a caller that cannot make it
//! so ends the process. The other way, holding outputs back until a later input confirms the write, would let inputs in between see a state that
//! the disk does not have; each handler would have to be right for both. Writes are rare (grants, releases, membership; never a heartbeat) and
//! small, so waiting for one costs nothing that matters, and whatever time it takes is covered because all deadlines are absolute.
//!
//! Keeps true: a grant follows only on a lease that is over (last renewal, or own start, plus TTL + G), a RELEASE, a confirmed STONITH or a
//! person's word; an epoch's number is given once; seal and grant are one record; whoever joined unbeknown to the active is not electable.
//!
//! Does not: read a clock, look into an archive, judge applications, or trust its own memory when a member knows a higher epoch.

mod elect;
mod grant;
mod lease;
mod order;
mod recovery;
mod view;

use std::collections::{BTreeMap, BTreeSet};

use crate::ledger::ReignState;
use crate::message::{Answer, Envelope, Message, Outside, Refusal, Standing};
use crate::position::{History, Lost, Published};
use crate::{BootId, Epoch, NodeId, Peer, Policy, Position, Record, Reign, Stamp, Time, Timers};

pub use elect::Ineligible;
pub use order::Order;
pub use view::{Phase, Plan};

/// What happens to an arbiter.
#[derive(Clone, Debug)]
pub enum Input {
    /// The time that [`Output::Wake`] named has come, or any other.
    Tick,
    Received(Box<Envelope>),
    /// The archive published a snapshot; with the archive's lock held, so that no seal comes between.
    Published(Published),
    /// What members held above the archive's heads was pulled, as far as they could be reached.
    Gathered,
    /// The hook confirmed that this node is off.
    Stonith {
        node: NodeId,
        epoch: Epoch,
    },
    Order(Order),
}

/// What to do, in this order.
#[derive(Clone, Debug)]
pub enum Output {
    /// Durable before anything that follows.
    Persist(Box<Record>),
    Send(Box<Envelope>),
    /// These published snapshots are no part of the history any more: move them aside. Told again at start, so a crash before it is no loss.
    Quarantine(Vec<Lost>),
    /// This reign may publish (again): judge what is in its quarantine anew. Told again at start.
    Readmit(Reign),
    /// Pull newer heads from all members, then say [`Input::Gathered`].
    Gather,
    /// Turn this node off, then say [`Input::Stonith`].
    Stonith {
        node: NodeId,
        epoch: Epoch,
    },
    Alert(Alert),
    Refused(Refusal),
    /// Say [`Input::Tick`] at this time; replaces the time named before.
    Wake(Time),
}

/// What a person should hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Alert {
    Expired {
        reign: Reign,
    },
    Granted {
        reign: Reign,
    },
    TookOver {
        reign: Reign,
    },
    Void {
        reign: Reign,
    },
    Blocked(Blocked),
    /// A planned exchange came to nothing, and why; the source goes on.
    NotHandedOver {
        to: NodeId,
        blocked: Blocked,
    },
    /// These members have not answered: nothing is granted before they did, or a person vouched for them.
    Recovery {
        missing: BTreeSet<NodeId>,
    },
    Recovered {
        reign: Option<Reign>,
        granted: Epoch,
    },
    Conflict {
        branches: Vec<Reign>,
    },
    /// The final export did not arrive in its time; what it holds is in the node's spool.
    FinalExportMissing {
        reign: Reign,
        position: Position,
    },
}

/// Why there is no takeover, and what one would lose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    pub why: Why,
    /// Exactly what going on regardless would leave behind.
    pub lost: Vec<Lost>,
    pub members: BTreeMap<NodeId, Ineligible>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    SwitchOff,
    Paused {
        until: Time,
    },
    /// A takeover happened less than the block ago, and nobody acknowledged it.
    Unacknowledged {
        until: Time,
    },
    TooMany {
        within_window: usize,
    },
    /// A person gave this node the role, for good: it never had a lease that could be over.
    Given {
        node: NodeId,
    },
    /// Not every port is behind a gate, and there is neither watchdog nor STONITH.
    Unguarded,
    /// One of two hosts carries the arbiter too.
    TwoHosts,
    TooOld {
        dataset: crate::Dataset,
        age: std::time::Duration,
    },
    NobodyEligible,
}

/// Why an election runs; a person's word or the source of a switchover stands above the switches.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Cause {
    Automatic,
    Manual { node: Option<NodeId>, accept_loss: bool },
    Switchover { source: NodeId, to: NodeId, position: Position },
    Return { source: NodeId },
}

#[derive(Clone, Debug)]
enum State {
    /// No reign yet.
    Vacant,
    Leased,
    /// No lease lives; `retry` is when to try (again).
    Expired {
        since: Time,
        cause: Cause,
        retry: Time,
    },
    Electing(elect::Election),
    Recovery(recovery::Recovery),
    Conflict(Vec<Reign>),
}

/// What the last renewal said of its sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfHolder {
    pub at: Time,
    pub standing: Standing,
    pub outside: Outside,
}

/// The arbiter of one cluster.
#[derive(Clone, Debug)]
pub struct Arbiter {
    record: Record,
    policy: Policy,
    boot: BootId,
    now: Time,
    started: Time,
    history: History,
    state: State,
    renewed: Option<Time>,
    of_holder: Option<(NodeId, OfHolder)>,
    last_sent: Option<Stamp>,
    /// Of the holder, before the one that it renews from.
    past_boots: BTreeSet<BootId>,
    paused_since: Time,
    /// Leases that RECOVERY found may live until then.
    forgotten_until: Time,
    /// A person or a hook said that the holder is off.
    vouched: bool,
    stonith_asked: Option<Epoch>,
    /// Where the final export of the reign that was released ended, and how long its arrival is waited for.
    awaited: Option<(Position, Time)>,
    activation_until: Option<Time>,
    /// The activation took longer than it may.
    overdue: bool,
    cooldown: BTreeMap<NodeId, Time>,
    answers: BTreeMap<NodeId, (Time, Answer)>,
    blocked: Option<Blocked>,
    /// Offers are told apart by their stamps, also two of one millisecond.
    last_stamp: Time,
    outputs: Vec<Output>,
}

impl Arbiter {
    /// Begins from what was durable. `published` is what the archive has, oldest first; it need not go back further than a takeover could.
    pub fn open(now: Time, boot: BootId, mut record: Record, policy: Policy, published: Vec<Published>) -> (Arbiter, Vec<Output>) {
        let mut history = History::default();
        let all: Vec<_> = published.iter().map(|known| (&known.dataset, &known.point)).collect();
        let orphans = record.orphans(all.into_iter());
        for known in published {
            let orphan = orphans.iter().any(|lost| lost.dataset == known.dataset && lost.point == known.point);
            if !orphan {
                history.add(now, known);
            }
        }
        record.takeovers.move_to(&boot, now);
        let granted = record.current().is_some_and(|entry| entry.state == ReignState::Granted);
        let activation_max = policy.activation_max;
        let state = if record.epoch == Epoch::default() { State::Vacant } else { State::Leased };
        let mut arbiter = Arbiter {
            policy,
            boot,
            now,
            started: now,
            history,
            state,
            renewed: None,
            of_holder: None,
            last_sent: None,
            past_boots: BTreeSet::new(),
            paused_since: now,
            forgotten_until: Time::default(),
            vouched: false,
            stonith_asked: None,
            awaited: None,
            activation_until: granted.then(|| now + activation_max),
            overdue: false,
            cooldown: BTreeMap::new(),
            answers: BTreeMap::new(),
            blocked: None,
            last_stamp: Time::default(),
            outputs: Vec::new(),
            record,
        };
        arbiter.persist();
        arbiter.await_last();
        if !orphans.is_empty() {
            arbiter.outputs.push(Output::Quarantine(orphans));
        }
        let open = arbiter
            .record
            .ledger
            .iter()
            .filter(|entry| entry.sealed.is_none() && entry.state != ReignState::Void);
        let open: Vec<Output> = open.map(|entry| Output::Readmit(entry.reign.clone())).collect();
        arbiter.outputs.extend(open);
        if arbiter.record.recovering || arbiter.history.heads().epoch() > arbiter.record.epoch {
            arbiter.recover();
        }
        arbiter.advance();
        let outputs = arbiter.take();
        (arbiter, outputs)
    }

    /// The only way in.
    pub fn step(&mut self, now: Time, input: Input) -> Vec<Output> {
        self.now = self.now.max(now);
        // What time has done comes first: a process that slept must not act on a message as if the deadline before it had not passed.
        self.advance();
        match input {
            Input::Tick => (),
            Input::Received(envelope) => self.receive(*envelope, None),
            Input::Published(published) => self.history.add(self.now, published),
            Input::Gathered => self.gathered(),
            Input::Stonith { node, epoch } => {
                self.vouched |= epoch == self.record.epoch && self.record.holder.as_ref() == Some(&node);
            }
            Input::Order(order) => self.order(order),
        }
        self.advance();
        self.take()
    }

    fn take(&mut self) -> Vec<Output> {
        let wake = self.next_wake();
        self.outputs.push(Output::Wake(wake));
        std::mem::take(&mut self.outputs)
    }

    fn receive(&mut self, envelope: Envelope, via: Option<&NodeId>) {
        let Peer::Node(from) = &envelope.from else { return };
        let known = self.record.members.contains_key(from) || matches!(envelope.message, Message::Renew(_));
        if envelope.cluster != self.record.cluster || envelope.to != Peer::Arbiter || !known {
            return;
        }
        if envelope.seen > self.record.epoch && !matches!(self.state, State::Recovery(_)) {
            self.recover();
        }
        let from = from.clone();
        match envelope.message {
            Message::Renew(renew) => self.renew(&from, via, renew),
            Message::Active { epoch } => self.active(&from, epoch),
            Message::Release { epoch, position } => self.release(&from, epoch, position),
            Message::Answer(answer) => self.answer(&from, envelope.seen, answer),
            Message::Claim { offer, sent, position } => self.claim(&from, &offer, sent, position),
            Message::Declined { offer, held } => self.declined(&from, &offer, held),
            Message::Activate { accept_loss, heard } => self.asked_to_activate(&from, accept_loss, heard),
            Message::Relay { inner, .. } if via.is_none() && matches!(inner.message, Message::Renew(_)) => {
                self.receive(*inner, Some(&from))
            }
            _ => (),
        }
    }

    /// Everything that happens by the passing of time; one thing may lead to the next.
    fn advance(&mut self) {
        for _ in 0..8 {
            let moved = match &self.state {
                State::Vacant | State::Conflict(_) => false,
                State::Leased => self.check_lease(),
                State::Expired { retry, .. } => self.now >= *retry && self.consider(),
                State::Electing(_) => self.drive(),
                State::Recovery(_) => self.ask_again(),
            };
            if !moved {
                return;
            }
        }
    }

    /// Those of the current reign; of the next one where there is none.
    fn timers(&self) -> Timers {
        self.record.ledger.last().map_or(self.policy.timers, |entry| entry.timers)
    }

    fn holds(&self, node: &NodeId, epoch: Epoch) -> bool {
        let alive = |state| matches!(state, ReignState::Granted | ReignState::Active);
        self.record.holder.as_ref() == Some(node)
            && self.record.current().is_some_and(|entry| entry.reign.epoch == epoch && alive(entry.state))
    }

    fn stamp(&mut self) -> Stamp {
        let at = if self.now > self.last_stamp { self.now } else { Time::from_ms(self.last_stamp.as_ms() + 1) };
        self.last_stamp = at;
        Stamp { boot: self.boot.clone(), at }
    }

    fn persist(&mut self) {
        self.outputs.push(Output::Persist(Box::new(self.record.clone())));
    }

    fn alert(&mut self, alert: Alert) {
        self.outputs.push(Output::Alert(alert));
    }

    fn send(&mut self, to: &NodeId, message: Message) {
        let envelope = self.envelope(to, message);
        self.outputs.push(Output::Send(Box::new(envelope)));
    }

    /// The answer takes the way of the question.
    fn reply(&mut self, to: &NodeId, via: Option<&NodeId>, message: Message) {
        let envelope = self.envelope(to, message);
        match via {
            None => self.outputs.push(Output::Send(Box::new(envelope))),
            Some(via) => self.send(via, Message::Relay { inner: Box::new(envelope), proof: String::new() }),
        }
    }

    fn envelope(&self, to: &NodeId, message: Message) -> Envelope {
        let (cluster, seen) = (self.record.cluster.clone(), self.record.epoch);
        Envelope { cluster, from: Peer::Arbiter, to: Peer::Node(to.clone()), seen, message }
    }
}

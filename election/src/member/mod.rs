//! A member: renews a lease and steps down in time when it is active, stands ready and keeps its word when it is not.
//!
//! Active: `ACTIVE -> FAILSAFE -> FENCING -> FENCED`. Standby: `PASSIVE -> SYNCING -> READY -> CLAIMING -> ACTIVATING -> ACTIVE`; CLOSED takes no part.
//! One process of the importer runs one member on each node, carries its messages, and does what its outputs say.
//!
//! **Outputs are an ordered list**, as the arbiter's, and for its reasons: what follows a [`Output::Persist`] waits until it is durable. Closing a
//! gate comes before a record for that reason: a slow disk must not keep a gate open. [`Output::Role`] need only survive the process, not a
//! power cut: after a reboot no lease counts, and nothing of ours runs.
//!
//! Keeps true: the gate's end is the time that a renewal (or a complete round of HOLDs, or a claim) was *sent*, plus TTL, minus W, never later;
//! it opens only after ACTIVE(epoch) was recorded; an acknowledged HOLD refuses every grant for TTL + G, also after a restart; nothing of an
//! earlier boot is believed; a reign that may have been passed on is resumed only on a word younger than the stop.
//!
//! A FENCED node goes on under its epoch when the arbiter, or every member, says that nobody else has: no takeover is then needed.
//!
//! Does not: read a clock, start or stop anything itself, compare data, decide that its own application is ill.

mod down;
mod lease;
mod record;
mod rival;
mod standby;
mod up;

use std::collections::BTreeSet;
use std::time::Duration;

use crate::message::{Envelope, Message, Readiness, Refusal};
use crate::{BootId, ClusterId, Epoch, NodeId, Peer, Position, Stamp, Time, Timers};

pub use record::{Hold, MemberRecord, Own, Role};

/// What the administrator said of this node.
#[derive(Clone, Debug)]
pub struct Config {
    pub cluster: ClusterId,
    pub node: NodeId,
    /// Used where no grant brought others: in a forced reign.
    pub timers: Timers,
    pub final_export_max: Duration,
    /// Of a forced reign; a grant brings its own.
    pub activation_max: Duration,
    /// How long a planned exchange may keep the service closed.
    pub pause_max: Duration,
    /// How often a node that stands by says so.
    pub report_every: Duration,
    /// Without a word from arbiter or active for this long, a person is told.
    pub alone_after: Duration,
}

/// What happens to a member.
#[derive(Clone, Debug)]
pub enum Input {
    Tick,
    Received(Box<Envelope>),
    /// Whenever it changes.
    Readiness(Readiness),
    /// Who else is in the cluster, as this host was told; at the beginning, and whenever it changes.
    Fellows(BTreeSet<NodeId>),
    /// What [`Output::Start`] asked for runs behind the closed gate and is well.
    Started {
        epoch: Epoch,
    },
    StartFailed {
        epoch: Epoch,
    },
    /// The processes are gone; only now may a watchdog be disarmed.
    Stopped,
    /// The final export is held by the archive, or as complete as it gets.
    Exported {
        epoch: Epoch,
        position: Position,
    },
    /// The service is down after its local restarts.
    ServiceDown,
    Order(Order),
}

/// A person's wish at this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Ask the arbiter for the role; `adopt` takes over services that run already.
    Activate {
        accept_loss: bool,
        adopt: bool,
    },
    /// Take the role without the arbiter; the person swore that `off` is off.
    Force {
        off: NodeId,
    },
    Switchover {
        to: NodeId,
        /// The service is closed for no longer; else as configured.
        within: Option<Duration>,
    },
    Close,
    /// Out of CLOSED.
    Reopen,
}

/// What to do, in this order.
#[derive(Clone, Debug)]
pub enum Output {
    /// Durable before anything that follows.
    Persist(Box<MemberRecord>),
    Role(Role),
    Send(Box<Envelope>),
    /// Open, or keep open, what the kernel closes by itself at `until`: gate, addresses, watchdog. If `until` has passed, do nothing. Kernels take
    /// durations: read the clock again after it is set, and set it anew if that took over 100 ms.
    OpenGate {
        until: Time,
    },
    CloseGate,
    /// Import up to `base` if that lacks, start services behind the closed gate, check them; a new reign's or one that goes on.
    Start {
        epoch: Epoch,
        base: Option<Position>,
        adopt: bool,
    },
    /// Stop the services, and kill what is left at `kill_at`.
    Stop {
        kill_at: Time,
    },
    /// The last export of this reign, no longer than `until`.
    Export {
        epoch: Epoch,
        until: Time,
    },
    /// Pull and import up to these heads now.
    Import {
        heads: Position,
    },
    Alert(Alert),
    Refused(Refusal),
    Wake(Time),
}

/// What a person should hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Alert {
    Failsafe {
        epoch: Epoch,
    },
    Fencing {
        epoch: Epoch,
    },
    Superseded {
        epoch: Epoch,
        by: Epoch,
    },
    Active {
        epoch: Epoch,
    },
    /// Neither arbiter nor active is heard: only a person can promote.
    Alone,
    /// Another node was forced into the same epoch. One of the two waits until a person says which counts.
    Rival {
        epoch: Epoch,
        node: NodeId,
        /// This one waits.
        waits: bool,
    },
    ExchangeFailed {
        to: NodeId,
        /// What the arbiter said, where it said something.
        why: Option<Refusal>,
    },
}

#[derive(Clone, Debug)]
enum State {
    Passive,
    Claiming(standby::Claim),
    Activating(up::Activation),
    Active,
    Failsafe,
    SteppingDown(down::Descent),
    Fencing,
    /// Nothing runs here; goes on if nobody else has. Only words sent after `since` count.
    Fenced {
        since: Time,
    },
    Closed,
}

/// The member of one node.
#[derive(Clone, Debug)]
pub struct Member {
    config: Config,
    record: MemberRecord,
    boot: BootId,
    now: Time,
    state: State,
    readiness: Readiness,
    /// Of the own reign.
    lease_until: Time,
    beat: lease::Beat,
    adopt: bool,
    /// A person's, to hand the role over, as soon as that can be.
    hand_to: Option<(NodeId, Duration)>,
    /// A person's, to activate with or without loss; void soon, since nobody waits for ever.
    wish: Option<(bool, Time)>,
    known: rival::Known,
    /// Told until the arbiter heard it.
    release: Option<(Epoch, Position)>,
    heard: Time,
    alone_told: bool,
    next_report: Time,
    last_stamp: Time,
    outputs: Vec<Output>,
}

impl Member {
    /// Begins from what was durable. `role` is the last [`Output::Role`], if it survived.
    pub fn open(
        now: Time,
        boot: BootId,
        record: MemberRecord,
        role: Option<Role>,
        readiness: Readiness,
        config: Config,
    ) -> (Member, Vec<Output>) {
        let beat = lease::Beat::new(now);
        let mut member = Member {
            config,
            record,
            boot,
            now,
            state: State::Passive,
            readiness,
            lease_until: now,
            beat,
            adopt: false,
            hand_to: None,
            wish: None,
            known: rival::Known::default(),
            release: None,
            heard: now,
            alone_told: false,
            next_report: now,
            last_stamp: Time::default(),
            outputs: Vec::new(),
        };
        member.take_up_hold();
        member.take_up_role(role.filter(|role| role.boot == member.boot));
        member.advance();
        let outputs = member.take();
        (member, outputs)
    }

    /// The only way in.
    pub fn step(&mut self, now: Time, input: Input) -> Vec<Output> {
        self.now = self.now.max(now);
        // What time has done comes first: a process that slept must not act on a message as if its lease still lived.
        self.lapse();
        match input {
            Input::Tick => (),
            Input::Received(envelope) => self.receive(*envelope),
            Input::Readiness(readiness) => {
                // Somebody may wait for it.
                if readiness.position != self.readiness.position {
                    self.next_report = self.now;
                }
                let before = self.standing();
                self.readiness = readiness;
                if self.standing() != before {
                    self.tell_role();
                }
            }
            Input::Fellows(fellows) => self.known.fellows = fellows,
            Input::Started { epoch } => self.started(epoch),
            Input::StartFailed { epoch } => self.start_failed(epoch),
            Input::Stopped => self.stopped(),
            Input::Exported { epoch, position } => self.exported(epoch, position),
            Input::ServiceDown => self.step_down(down::Purpose::Release),
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

    fn receive(&mut self, envelope: Envelope) {
        if envelope.cluster != self.config.cluster {
            return;
        }
        if envelope.to != Peer::Node(self.config.node.clone()) {
            return;
        }
        self.learn(envelope.seen);
        let arbiter = envelope.from == Peer::Arbiter;
        if arbiter {
            self.hear();
        }
        match (envelope.message, &envelope.from) {
            (Message::Relay { inner, proof }, _) => self.relay(*inner, proof, &envelope.from),
            (message, Peer::Arbiter) => self.heed_arbiter(message, true),
            (Message::Hold { epoch, sent, wait }, Peer::Node(from)) => self.asked_to_hold(from, epoch, sent, wait),
            (Message::Held { sent }, Peer::Node(from)) => self.held(from, &sent),
            _ => (),
        }
    }

    fn heed_arbiter(&mut self, message: Message, direct: bool) {
        match message {
            Message::Renewed(renewed) => self.renewed(renewed, direct),
            Message::Hear { stamp } => self.heard(stamp),
            Message::Stale { asked } => self.stale(asked),
            Message::ActiveRecorded { epoch } => self.recorded(epoch),
            Message::Released { epoch } => self.release = self.release.take().filter(|(own, _)| *own != epoch),
            Message::Poll { asked } => self.answer(Some(asked)),
            Message::CatchUp { heads } => self.outputs.push(Output::Import { heads }),
            Message::Offer { offer, epoch, timers } => self.offered(offer, epoch, timers),
            Message::Granted(grant) => self.granted(grant),
            Message::Withdrawn { offer } => self.withdrawn(&offer),
            Message::Refused { refusal } => self.refused(refusal),
            _ => (),
        }
    }

    fn order(&mut self, order: Order) {
        match order {
            Order::Activate { accept_loss, adopt } if self.record.own.is_none() && !self.record.closed => {
                self.adopt = adopt;
                self.wish = Some((accept_loss, self.now + self.config.timers.request() * 2));
                self.send(&Peer::Arbiter, Message::Activate { accept_loss, heard: None });
            }
            Order::Force { off } if self.record.own.is_none() && !self.record.closed => self.force(off),
            Order::Force { off } if matches!(self.state, State::Fenced { .. }) => self.force_on(off),
            Order::Switchover { to, within } => self.hand_over(to, within),
            Order::Close if self.record.own.is_some() => self.step_down(down::Purpose::Close),
            Order::Close => self.close(),
            Order::Reopen if self.record.closed => {
                self.record.closed = false;
                self.persist();
                self.enter(State::Passive);
            }
            _ => self.refuse(),
        }
    }

    fn refuse(&mut self) {
        let standing = self.standing();
        self.outputs.push(Output::Refused(Refusal::Standing { standing }));
    }

    fn timers(&self) -> Timers {
        self.record.own.as_ref().map_or(self.config.timers, |own| own.timers)
    }

    fn others(&self) -> BTreeSet<NodeId> {
        self.record.members.nodes.iter().filter(|node| **node != self.config.node).cloned().collect()
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.tell_role();
    }

    fn tell_role(&mut self) {
        let epoch = self.record.own.as_ref().map_or(self.record.seen, |own| own.epoch);
        let (standing, lease_until, boot) = (self.standing(), self.lease_until, self.boot.clone());
        let (renewed, paused) = (self.beat.renewed, self.beat.paused());
        let (forced, rival) = (self.leases_itself(), self.known.rival.clone());
        let handed = self.record.own.as_ref().is_some_and(|own| own.handed);
        let role = Role { epoch, standing, lease_until, boot, renewed, forced, rival, paused, handed };
        self.outputs.push(Output::Role(role));
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

    fn send(&mut self, to: &Peer, message: Message) {
        let envelope = self.envelope(to, message);
        self.outputs.push(Output::Send(Box::new(envelope)));
    }

    fn envelope(&self, to: &Peer, message: Message) -> Envelope {
        let from = Peer::Node(self.config.node.clone());
        Envelope { cluster: self.config.cluster.clone(), from, to: to.clone(), seen: self.record.seen, message }
    }
}

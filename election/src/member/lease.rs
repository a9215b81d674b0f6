//! The active's lease: renewals, FAILSAFE with its rounds of HOLD, the gate's end, the pause.
//!
//! Everything counts from the time of sending. An answer that is late extends less, one that is very late nothing; no answer's own time matters.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Alert, Member, Output, State};
use crate::message::{Envelope, Handing, Message, Renew, Renewed, Standing};
use crate::{Epoch, NodeId, Pause, Peer, Stamp, Time};

/// When what is said next, and what was answered last.
#[derive(Clone, Debug)]
pub(super) struct Beat {
    next: Time,
    /// When the youngest renewal that was answered had been sent.
    pub renewed: Time,
    direct: Time,
    heard: Option<Stamp>,
    round: Option<Round>,
    next_round: Time,
    /// Until then members may be bound by their word to us.
    binds: Time,
    pause: PauseHere,
}

#[derive(Clone, Debug)]
struct Round {
    sent: Stamp,
    /// Only asked whether they would: a fenced node must not bind members that others may need.
    binding: bool,
    held: BTreeSet<NodeId>,
}

/// A pause as this node lives it.
#[derive(Clone, Debug, Default)]
struct PauseHere {
    asked: Option<Pause>,
    until: Option<Time>,
    ended: Option<u64>,
}

impl Beat {
    pub fn new(now: Time) -> Beat {
        Beat {
            next: now,
            renewed: Time::default(),
            direct: now,
            heard: None,
            round: None,
            next_round: now,
            binds: Time::default(),
            pause: PauseHere::default(),
        }
    }

    /// A reign begins whose first word was sent then.
    pub fn begin(&mut self, now: Time, sent: Time) {
        *self = Beat { renewed: sent, binds: self.binds, ..Beat::new(now) };
    }

    /// Members are asked no sooner.
    pub fn ask_members_from(&mut self, at: Time) {
        self.next_round = at;
    }

    /// While a member is bound, nobody can hand over to it.
    pub fn binds(&self) -> Time {
        self.binds
    }

    /// The pause that is lived under.
    pub fn paused(&self) -> Option<Pause> {
        self.pause.asked.filter(|_| self.pause.until.is_some())
    }

    pub fn take_up_pause(&mut self, pause: Option<Pause>, until: Time) {
        self.pause = PauseHere { asked: pause, until: pause.map(|_| until), ended: None };
    }

    /// Something must be said now.
    pub fn hurry(&mut self, now: Time) {
        self.next = now;
    }
}

impl Member {
    /// What is over by the clock alone.
    pub(super) fn lapse(&mut self) {
        let now = self.now;
        let fencing = self.lease_until - self.timers().fencing();
        let reigns = matches!(self.state, State::Active | State::Failsafe | State::Activating(_));
        if reigns && self.leases_itself() && now < fencing {
            self.extend(now + self.timers().lease());
        } else if reigns && now >= fencing {
            self.fence();
        }
        match &self.state {
            State::Claiming(claim) if now >= claim.until => self.enter(State::Passive),
            State::SteppingDown(descent) if descent.waits_for_successor() && now >= fencing => self.fenced(),
            _ => (),
        }
    }

    pub(super) fn leases_itself(&self) -> bool {
        self.record.own.as_ref().is_some_and(|own| own.forced.is_some())
    }

    pub(super) fn advance(&mut self) {
        self.lapse();
        self.drive_activation();
        self.drive_descent();
        self.drive_handing();
        let now = self.now;
        let quiet = now >= self.quiet_at();
        if matches!(self.state, State::Active) && quiet && !self.leases_itself() {
            (self.beat.round, self.beat.next_round) = (None, now);
            self.alert(Alert::Failsafe { epoch: self.record.seen });
            self.enter(State::Failsafe);
        }
        if self.record.own.is_some() && now >= self.beat.next && !matches!(self.state, State::Fencing) {
            self.renew();
        }
        let going_on = matches!(&self.state, State::Activating(activation) if activation.goes_on) && quiet;
        if (going_on || matches!(self.state, State::Failsafe | State::Fenced { .. })) && now >= self.beat.next_round {
            self.due_round();
        }
        self.drive_standby();
    }

    /// From when on an active that heard nothing asks the members; not while a pause carries it.
    fn quiet_at(&self) -> Time {
        let timers = self.timers();
        let paused = self.beat.pause.until.map(|until| until - timers.lease() + timers.failsafe());
        paused.unwrap_or_default().max(self.beat.renewed + timers.failsafe())
    }

    fn renew(&mut self) {
        let Some(epoch) = self.record.own.as_ref().map(|own| own.epoch) else { return };
        let (sent, pause) = (self.stamp(), &self.beat.pause);
        let asked = pause.asked.map(|pause| pause.number);
        let paused = asked.filter(|_| pause.until.is_none()).filter(|_| matches!(self.state, State::Active));
        let handing = match &self.state {
            State::SteppingDown(descent) => descent.handing(),
            _ => None::<Handing>,
        };
        let (guarded, resuming) = (self.readiness.guarded, matches!(self.state, State::Fenced { .. }));
        let (heard, outside) = (self.beat.heard.take(), self.readiness.outside.clone());
        let (generation, pause_ended) = (self.record.members.generation, pause.ended);
        let message = Message::Renew(Renew { epoch, sent, generation, paused, pause_ended, handing, guarded, resuming, outside, heard });
        self.send(&Peer::Arbiter, message.clone());
        // Nobody answers one that was forced while the arbiter is lost; whoever reigns in the same epoch should soon hear of it.
        let (forced, timers) = (self.leases_itself(), self.timers());
        self.beat.next = self.now + if forced { timers.request() } else { timers.heartbeat() };
        if forced || self.now.since(self.beat.direct) >= timers.heartbeat() * 2 {
            let inner = Box::new(self.envelope(&Peer::Arbiter, message));
            for node in self.carriers() {
                self.send(&Peer::Node(node), Message::Relay { inner: inner.clone(), proof: String::new() });
            }
        }
    }

    /// The arbiter wants to hear it again: at once.
    pub(super) fn heard(&mut self, stamp: Stamp) {
        if self.record.own.is_some() {
            self.beat.heard = Some(stamp);
            self.beat.hurry(self.now);
        } else if let Some((accept_loss, until)) = self.wish.take()
            && self.now <= until
        {
            self.send(&Peer::Arbiter, Message::Activate { accept_loss, heard: Some(stamp) });
        }
    }

    /// Carries what is not ours on, to the arbiter or back; takes what is.
    pub(super) fn relay(&mut self, inner: Envelope, proof: String, from: &Peer) {
        if inner.to == Peer::Node(self.config.node.clone()) {
            if inner.from == Peer::Arbiter && matches!(inner.message, Message::Renewed(_) | Message::Stale { .. } | Message::Hear { .. }) {
                self.learn(inner.seen);
                self.heed_arbiter(inner.message, false);
            }
        } else if *from == inner.from || *from == Peer::Arbiter {
            if let (Peer::Node(node), Message::Renew(renew)) = (from, &inner.message) {
                self.meet(node, renew.epoch, !renew.resuming);
            }
            let to = inner.to.clone();
            self.send(&to, Message::Relay { inner: Box::new(inner), proof });
        }
    }

    pub(super) fn renewed(&mut self, renewed: Renewed, direct: bool) {
        let Some(own) = self.record.own.as_mut().filter(|own| own.epoch == renewed.epoch && renewed.sent.boot == self.boot) else { return };
        let (sent, youngest) = (renewed.sent.at.min(self.now), renewed.sent.at > self.beat.renewed);
        self.known.rival = None;
        if own.forced.take().is_some() {
            self.persist();
        }
        if direct {
            self.beat.direct = self.now;
        }
        if youngest {
            self.beat.renewed = sent;
            if let Some(members) = renewed.members.filter(|members| members.generation != self.record.members.generation) {
                self.record.members = members;
                self.persist();
                // Told at once: until it is acknowledged, who joined cannot be elected.
                self.beat.next = self.now;
            }
            self.heed_pause(renewed.pause, renewed.paused, sent);
        }
        self.extend(sent + self.timers().lease());
        match &self.state {
            State::Failsafe if self.now < self.beat.renewed + self.timers().failsafe() => self.enter(State::Active),
            State::Fenced { since } if renewed.sent.at >= *since => self.resume(),
            _ => (),
        }
    }

    fn heed_pause(&mut self, pause: Option<Pause>, begins: bool, sent: Time) {
        let here = &mut self.beat.pause;
        if let (Some(pause), true) = (pause, begins) {
            here.until = Some(sent + pause.length);
            here.asked = Some(pause);
            return self.extend(sent + pause.length);
        }
        match (pause, here.asked) {
            (Some(pause), _) => here.asked = Some(pause),
            (None, Some(asked)) => {
                *here = PauseHere { asked: None, until: None, ended: Some(asked.number) };
                // Shrinks before the arbiter hears of it, with the next renewal.
                self.lease_until = sent + self.timers().lease();
                self.beat.next = self.now;
                self.keep_gate();
            }
            (None, None) => (),
        }
    }

    /// The lease lives until then; never shorter by this.
    pub(super) fn extend(&mut self, until: Time) {
        if until > self.lease_until {
            self.lease_until = until;
            self.keep_gate();
        }
    }

    pub(super) fn keep_gate(&mut self) {
        if matches!(self.state, State::Active | State::Failsafe) {
            self.outputs.push(Output::OpenGate { until: self.lease_until - self.timers().watchdog() });
        }
        self.tell_role();
    }

    fn due_round(&mut self) {
        self.begin_round(!matches!(self.state, State::Fenced { .. }));
    }

    /// Asks every member to refuse grants, or whether it would. One that is silent is enough to end us, so each round is a new one.
    fn begin_round(&mut self, binding: bool) {
        let Some(epoch) = self.record.own.as_ref().map(|own| own.epoch) else { return };
        let sent = self.stamp();
        let wait = if binding { self.timers().over() } else { Duration::ZERO };
        if binding {
            // Each counts from when it hears it.
            self.beat.binds = self.now + wait + self.timers().request();
        }
        for node in self.others() {
            self.send(&Peer::Node(node), Message::Hold { epoch, sent: sent.clone(), wait });
        }
        self.beat.round = Some(Round { sent, binding, held: BTreeSet::new() });
        self.beat.next_round = self.now + self.timers().request();
        self.count_round();
    }

    pub(super) fn held(&mut self, from: &NodeId, sent: &Stamp) {
        if let Some(round) = self.beat.round.as_mut().filter(|round| round.sent == *sent) {
            round.held.insert(from.clone());
            self.count_round();
        }
    }

    fn count_round(&mut self) {
        let others = self.others();
        let Some(round) = self.beat.round.take_if(|round| others.is_subset(&round.held)) else { return };
        if self.record.members.nodes.is_empty() {
            return;
        }
        if !round.binding {
            return self.begin_round(true);
        }
        let sent = round.sent.at.min(self.now);
        self.beat.next_round = self.now.max(sent + self.timers().heartbeat());
        match &self.state {
            State::Failsafe => self.extend(sent + self.timers().lease()),
            State::Activating(activation) if activation.goes_on => self.extend(sent + self.timers().lease()),
            State::Fenced { since } if round.sent.at >= *since => {
                self.extend(sent + self.timers().lease());
                self.resume();
            }
            _ => (),
        }
    }

    /// A higher epoch than ours was granted to somebody: ours is over, whatever else we believe.
    pub(super) fn learn(&mut self, seen: Epoch) {
        if seen <= self.record.seen {
            return;
        }
        let ended = self.record.own.as_ref().map(|own| own.epoch).filter(|own| *own < seen);
        self.record.seen = seen;
        match ended {
            Some(epoch) => {
                self.alert(Alert::Superseded { epoch, by: seen });
                self.lose_reign();
            }
            None => self.persist(),
        }
    }

    /// The arbiter's word that a reign is over.
    pub(super) fn stale(&mut self, asked: Epoch) {
        if self.record.own.as_ref().is_some_and(|own| own.epoch == asked) {
            self.lose_reign();
        }
    }

    pub(super) fn next_wake(&self) -> Time {
        let timers = self.timers();
        let fencing = self.lease_until - timers.fencing();
        let own = self.record.own.is_some();
        let never = self.now + Duration::from_secs(3600);
        let beat = if own { self.beat.next } else { never };
        let state = match &self.state {
            State::Active if self.leases_itself() => fencing,
            State::Active if self.hand_to.is_some() => fencing.min(self.quiet_at()).min(self.beat.binds),
            State::Active => fencing.min(self.quiet_at()),
            State::Failsafe => fencing.min(self.beat.next_round),
            State::Activating(activation) => fencing
                .min(activation.next())
                .min(self.beat.next_round.max(self.quiet_at()).max(self.now + timers.request() / 4)),
            State::Fenced { .. } => self.beat.next_round,
            State::Claiming(claim) => claim.next(),
            State::SteppingDown(descent) => descent.next().min(fencing.max(self.now + timers.request())),
            State::Passive | State::Closed | State::Fencing => never,
        };
        let standby = if self.stands_by() { self.next_standby() } else { never };
        let at = if matches!(self.state, State::Fencing) { never } else { beat.min(state).min(standby) };
        at.max(self.now + Duration::from_millis(1))
    }

    /// How long the lease lives, for what people see.
    pub fn lease_remaining(&self) -> Duration {
        if self.record.own.is_some() { self.lease_until.since(self.now) } else { Duration::ZERO }
    }

    pub fn standing(&self) -> Standing {
        match &self.state {
            State::Passive if self.readiness.importing => Standing::Syncing,
            State::Passive if self.readiness.verified => Standing::Ready,
            State::Passive => Standing::Passive,
            State::Claiming(_) => Standing::Claiming,
            State::Activating(_) => Standing::Activating,
            State::Active => Standing::Active,
            State::Failsafe => Standing::Failsafe,
            State::SteppingDown(_) => Standing::SteppingDown,
            State::Fencing => Standing::Fencing,
            State::Fenced { .. } => Standing::Fenced,
            State::Closed => Standing::Closed,
        }
    }
}

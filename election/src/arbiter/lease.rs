//! The lease as the arbiter sees it: renewals, RELEASE, ACTIVE, the pause, and when it is over.

use std::collections::BTreeMap;

use super::{Alert, Arbiter, Cause, OfHolder, Output, State};
use crate::ledger::{How, ReignState};
use crate::message::{Message, Renew, Renewed, Standing};
use crate::timers::drift;
use crate::{Epoch, NodeId, Position, Reign, Stamp, Time};

impl Arbiter {
    /// By anyone's clock, after this the holder's lease is over.
    pub(super) fn lease_ends(&self) -> Time {
        let since = self.renewed.map_or(self.started, |at| at.max(self.started));
        let ends = since + self.timers().over();
        let ends = ends.max(self.forgotten_until);
        self.paused_until().map_or(ends, |until| ends.max(until))
    }

    /// While an acknowledged pause runs, the active holds out without us.
    pub(super) fn paused_until(&self) -> Option<Time> {
        let paused = self.record.pause.filter(|paused| paused.acknowledged)?;
        let length = paused.pause.length + drift(paused.pause.length);
        Some(self.paused_since.max(self.started) + length + self.timers().over())
    }

    pub(super) fn lease_is_over(&self) -> bool {
        // RECOVERY that found no holder leaves no entry either: then only time tells.
        let released = self.record.holder.is_none() && self.record.current().is_some();
        self.record.granted == Epoch::default() || released || self.vouched || self.now > self.lease_ends()
    }

    pub(super) fn check_lease(&mut self) -> bool {
        let granted = self.record.current().is_some_and(|entry| entry.state == ReignState::Granted);
        let too_long = granted && self.activation_until.is_some_and(|until| self.now > until);
        if self.record.pause.is_some_and(|paused| paused.acknowledged) && self.paused_until().is_some_and(|until| self.now > until) {
            self.record.pause = None;
            self.persist();
        }
        if self.lease_is_over() {
            self.lease_ended();
            return true;
        }
        // Its renewals count no more; the role goes on when its lease is over.
        self.overdue |= too_long;
        false
    }

    fn lease_ended(&mut self) {
        let mut cause = Cause::Automatic;
        let reign = self.record.current().map(|entry| entry.reign.clone());
        if let Some(node) = self.record.expelling.take() {
            self.remove(&node);
        }
        match self.record.current().map(|entry| entry.state) {
            Some(ReignState::Granted) => cause = self.void_current(),
            Some(ReignState::Active) => self.outputs.extend(reign.map(|reign| Output::Alert(Alert::Expired { reign }))),
            _ => (),
        }
        self.state = State::Expired { since: self.now, cause, retry: self.now };
    }

    /// The grant came to nothing: the next candidate is tried under the same cause.
    pub(super) fn void_current(&mut self) -> Cause {
        let Some(entry) = self.record.current() else { return Cause::Automatic };
        let (reign, how) = (entry.reign.clone(), entry.how.clone());
        // One of which nothing was heard since may never have had the grant: then it is the next that is tried first, and soon this one again.
        let long = if self.last_sent.is_some() { self.policy.cooldown } else { self.timers().over() };
        let until = self.cooldown.entry(reign.node.clone()).or_default();
        *until = (*until).max(self.now + long);
        let readmitted = self.record.void();
        (self.activation_until, self.overdue) = (None, false);
        self.persist();
        self.alert(Alert::Void { reign });
        self.outputs.extend(readmitted.map(Output::Readmit));
        match how {
            How::Switchover { source } => Cause::Return { source },
            How::Manual | How::First => Cause::Manual { node: None, accept_loss: false },
            How::Return | How::Automatic | How::Recovered => Cause::Automatic,
        }
    }

    pub(super) fn renew(&mut self, from: &NodeId, via: Option<&NodeId>, renew: Renew) {
        if matches!(self.state, State::Recovery(_) | State::Conflict(_)) {
            return;
        }
        if !self.holds(from, renew.epoch) || self.record.expelling.as_ref() == Some(from) || self.overdue {
            let reign = Reign { epoch: renew.epoch, node: from.clone() };
            // A late word of a reign that a lost memory granted is no branch: there, nobody else has the number.
            let twice = self.record.current().is_some_and(|entry| entry.reign.epoch == renew.epoch) && self.record.entry(&reign).is_none();
            if twice && self.record.members.contains_key(from) {
                return self.conflict(reign);
            }
            return self.reply(from, via, Message::Stale { asked: renew.epoch });
        }
        if self.last_sent.as_ref().is_some_and(|last| !renew.sent.is_after(last)) {
            return;
        }
        if self.past_boots.contains(&renew.sent.boot) {
            return;
        }
        let before = self.last_sent.as_ref().map(|last| last.boot.clone()).filter(|boot| *boot != renew.sent.boot);
        if (renew.resuming || renew.handing.is_some() || before.is_some()) && !self.is_of_now(renew.heard.as_ref()) {
            let stamp = self.stamp();
            return self.reply(from, via, Message::Hear { stamp });
        }
        self.past_boots.extend(before);
        self.last_sent = Some(renew.sent.clone());
        (self.renewed, self.vouched) = (Some(self.now), false);
        let granted = self.record.current().is_some_and(|entry| entry.state == ReignState::Granted);
        let standing = match renew.handing {
            Some(_) => Standing::SteppingDown,
            None if renew.resuming => Standing::Fenced,
            None if granted => Standing::Activating,
            None => Standing::Active,
        };
        self.of_holder = Some((from.clone(), OfHolder { at: self.now, standing, outside: renew.outside.clone() }));
        // A role that was given for good has a lease from its first renewal on.
        if self.record.unguarded == renew.guarded || self.record.designated.is_some() {
            (self.record.unguarded, self.record.designated) = (!renew.guarded, None);
            self.persist();
        }
        let paused = self.heed_pause(&renew);
        if renew.generation > self.record.acknowledged && renew.generation <= self.record.generation {
            self.record.acknowledged = renew.generation;
            self.persist();
        }
        self.heed_handing(from, &renew);
        let pause = self.record.pause.filter(|paused| !paused.ending).map(|paused| paused.pause);
        let members = (renew.generation != self.record.generation).then(|| self.record.member_list());
        self.reply(from, via, Message::Renewed(Renewed { epoch: renew.epoch, sent: renew.sent, members, pause, paused }));
    }

    /// Was this said after we spoke, not long ago?
    pub(super) fn is_of_now(&self, heard: Option<&Stamp>) -> bool {
        heard.is_some_and(|heard| heard.boot == self.boot && self.now.since(heard.at) <= self.timers().heartbeat())
    }

    /// A renewal under which the active goes on stops whatever was begun in its place; one behind a closed gate begins an exchange.
    fn heed_handing(&mut self, from: &NodeId, renew: &Renew) {
        let exchange = matches!(&self.state, State::Electing(election) if matches!(election.cause, Cause::Switchover { .. }));
        match &renew.handing {
            Some(_) if exchange => (),
            Some(handing) if self.record.electable(&handing.to) && handing.to != *from => {
                self.give_up_election();
                let (to, position) = (handing.to.clone(), handing.position.clone());
                self.begin(Cause::Switchover { source: from.clone(), to, position });
            }
            Some(handing) => {
                let node = handing.to.clone();
                self.send(from, Message::Refused { refusal: crate::message::Refusal::Unknown { node } });
            }
            None => {
                self.give_up_election();
                self.blocked = None;
                self.state = State::Leased;
            }
        }
    }

    /// Gives whether this renewal begins the pause.
    fn heed_pause(&mut self, renew: &Renew) -> bool {
        let Some(paused) = &mut self.record.pause else { return false };
        if renew.pause_ended == Some(paused.pause.number) && paused.ending {
            self.record.pause = None;
            self.persist();
            return false;
        }
        if renew.paused != Some(paused.pause.number) || paused.ending {
            return false;
        }
        self.paused_since = self.now;
        if !paused.acknowledged {
            paused.acknowledged = true;
            self.persist();
        }
        true
    }

    pub(super) fn active(&mut self, from: &NodeId, epoch: Epoch) {
        if matches!(self.state, State::Recovery(_) | State::Conflict(_)) {
            return;
        }
        if !self.holds(from, epoch) || self.record.expelling.as_ref() == Some(from) || self.overdue {
            return self.send(from, Message::Stale { asked: epoch });
        }
        let (boot, now) = (self.boot.clone(), self.now);
        if let Some(entry) = self.record.current_mut().filter(|entry| entry.state == ReignState::Granted) {
            entry.state = ReignState::Active;
            let (reign, automatic) = (entry.reign.clone(), entry.how == How::Automatic);
            if automatic {
                self.record.takeovers.move_to(&boot, now);
                self.record.takeovers.times.push(now);
                self.record.takeovers.acknowledged = false;
            }
            self.activation_until = None;
            self.persist();
            self.alert(Alert::TookOver { reign });
        }
        self.send(from, Message::ActiveRecorded { epoch });
    }

    pub(super) fn release(&mut self, from: &NodeId, epoch: Epoch, position: Position) {
        if matches!(self.state, State::Recovery(_) | State::Conflict(_)) {
            return;
        }
        if self.holds(from, epoch) {
            self.give_up_election();
            let never_active = self.record.current().is_some_and(|entry| entry.state == ReignState::Granted);
            if never_active {
                let cause = self.void_current();
                self.state = State::Expired { since: self.now, cause, retry: self.now };
            } else {
                self.cooldown.insert(from.clone(), self.now + self.policy.cooldown);
                self.record.holder = None;
                if let Some(entry) = self.record.current_mut() {
                    (entry.state, entry.last) = (ReignState::Released, Some(position));
                }
                self.persist();
                self.await_last();
                self.state = State::Expired { since: self.now, cause: Cause::Automatic, retry: self.now };
            }
            if self.record.expelling.take_if(|node| node == from).is_some() {
                self.remove(from);
            }
        }
        self.send(from, Message::Released { epoch });
    }

    /// A released reign's last export may still be on its way, also past a restart. What was written in a reign before it is published, or sealed out and never comes.
    pub(super) fn await_last(&mut self) {
        let released = self.record.current().filter(|entry| entry.state == ReignState::Released);
        let last = released.and_then(|entry| {
            let mut last = entry.last.clone()?;
            last.0.retain(|_, point| point.epoch >= entry.reign.epoch);
            Some(last)
        });
        self.awaited = last.map(|position| (position, self.now + self.policy.final_export_max));
    }

    pub(super) fn next_wake(&self) -> Time {
        let at = match &self.state {
            State::Vacant | State::Conflict(_) => self.now + self.timers().lease(),
            State::Leased => {
                let ends = self.lease_ends() + std::time::Duration::from_millis(1);
                self.activation_until
                    .filter(|_| !self.overdue)
                    .map_or(ends, |until| ends.min(until + std::time::Duration::from_millis(1)))
            }
            State::Expired { retry, .. } => *retry,
            State::Electing(election) => election.next(),
            State::Recovery(recovery) => recovery.next(self.now),
        };
        at.max(self.now + std::time::Duration::from_millis(1))
    }

    pub(super) fn forget_cooldowns(&mut self) {
        let now = self.now;
        let kept: BTreeMap<_, _> = std::mem::take(&mut self.cooldown).into_iter().filter(|(_, until)| *until > now).collect();
        self.cooldown = kept;
    }
}

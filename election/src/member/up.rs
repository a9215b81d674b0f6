//! Becoming active: start behind the closed gate, have ACTIVE recorded, open.

use super::{Alert, Member, Output, State};
use crate::message::Message;
use crate::{Epoch, NodeId, Own, Peer, Position, Time};

#[derive(Clone, Debug)]
pub(super) struct Activation {
    started: bool,
    again: Time,
    until: Time,
    /// ACTIVE was recorded long ago: this goes on with a reign that was interrupted.
    pub goes_on: bool,
}

impl Activation {
    pub fn next(&self) -> Time {
        if self.started && !self.goes_on { self.again.min(self.until) } else { self.until }
    }
}

impl Member {
    /// Starts what the reign needs; the lease is there already.
    pub(super) fn activate(&mut self, base: Option<Position>, goes_on: bool) {
        let Some(own) = &self.record.own else { return };
        let (epoch, until) = (own.epoch, self.now + own.activation_max);
        let adopt = std::mem::take(&mut self.adopt);
        self.enter(State::Activating(Activation { started: false, again: self.now, until, goes_on }));
        self.outputs.push(Output::Start { epoch, base, adopt });
    }

    /// A reign that was interrupted goes on: somebody who would know said that nobody else has it.
    pub(super) fn resume(&mut self) {
        if self.now < self.lease_until - self.timers().fencing() {
            self.activate(None, true);
        }
    }

    pub(super) fn force(&mut self, off: NodeId) {
        let epoch = self.record.seen.next();
        let (timers, activation_max) = (self.config.timers, self.config.activation_max);
        self.record.seen = epoch;
        self.record.own = Some(Own { epoch, active: true, timers, activation_max, forced: Some(off), handed: false });
        self.persist();
        self.lease_until = self.now + timers.lease();
        self.beat.begin(self.now, self.now);
        self.activate(None, true);
    }

    /// A person swears again, for a reign that was ACTIVE and would have waited for somebody's word.
    pub(super) fn force_on(&mut self, off: NodeId) {
        let Some(own) = self.record.own.as_mut().filter(|own| own.active) else { return self.refuse() };
        own.forced = Some(off);
        self.known.rival = None;
        self.persist();
        self.lease_until = self.now + self.timers().lease();
        self.beat.begin(self.now, self.now);
        self.activate(None, true);
    }

    pub(super) fn started(&mut self, started: Epoch) {
        let Some(own) = self.record.own.as_ref().filter(|own| own.epoch == started) else { return };
        let recorded = own.active;
        let State::Activating(activation) = &mut self.state else { return };
        (activation.started, activation.again) = (true, self.now);
        if recorded {
            self.open_gate();
        }
    }

    pub(super) fn start_failed(&mut self, failed: Epoch) {
        if matches!(self.state, State::Activating(_)) && self.record.own.as_ref().is_some_and(|own| own.epoch == failed) {
            self.step_aside();
        }
    }

    pub(super) fn recorded(&mut self, epoch: Epoch) {
        let started = matches!(&self.state, State::Activating(activation) if activation.started);
        let Some(own) = self.record.own.as_mut().filter(|own| started && own.epoch == epoch && !own.active) else { return };
        own.active = true;
        self.persist();
        self.open_gate();
    }

    fn open_gate(&mut self) {
        let epoch = self.record.own.as_ref().map_or(self.record.seen, |own| own.epoch);
        self.state = State::Active;
        self.keep_gate();
        self.alert(Alert::Active { epoch });
    }

    pub(super) fn drive_activation(&mut self) {
        let request = self.timers().request();
        let Some(epoch) = self.record.own.as_ref().map(|own| own.epoch) else { return };
        let State::Activating(activation) = &mut self.state else { return };
        if self.now >= activation.until {
            return self.step_aside();
        }
        if activation.started && !activation.goes_on && self.now >= activation.again {
            activation.again = self.now + request;
            self.send(&Peer::Arbiter, Message::Active { epoch });
        }
    }
}

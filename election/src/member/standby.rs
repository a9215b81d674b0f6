//! Standing by: answers, claims, grants, and the word given to an active that lost its arbiter.

use std::time::Duration;

use super::{Alert, Hold, Member, State};
use crate::message::{Answer, Grant, Message, OwnReign, Refusal};
use crate::{Epoch, NodeId, Own, Peer, Stamp, Time, Timers};

/// An offer taken; a grant counts only if it echoes this.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    offer: Stamp,
    sent: Stamp,
    /// Sent + TTL - F.
    pub until: Time,
    again: Time,
}

impl Claim {
    pub fn next(&self) -> Time {
        self.until.min(self.again)
    }
}

impl Member {
    pub(super) fn hear(&mut self) {
        (self.heard, self.alone_told) = (self.now, false);
    }

    /// A HOLD survives a restart; after a reboot, whose clock says nothing about how long it was, it runs anew.
    pub(super) fn take_up_hold(&mut self) {
        let (boot, now) = (self.boot.clone(), self.now);
        if let Some(hold) = self.record.hold.as_mut().filter(|hold| hold.boot != boot) {
            hold.until = now + hold.wait;
            hold.boot = boot;
            self.persist();
        }
    }

    pub(super) fn is_held(&self) -> bool {
        self.record.hold.as_ref().is_some_and(|hold| self.now <= hold.until)
    }

    pub(super) fn answer(&mut self, asked: Option<Stamp>) {
        let own = self.record.own.as_ref();
        let forced = own.and_then(|own| own.forced.clone());
        let lease_left = self.lease_remaining();
        let own = own.map(|own| OwnReign { epoch: own.epoch, active: own.active, timers: own.timers, lease_left });
        let (standing, generation, held) = (self.standing(), self.record.members.generation, self.is_held());
        let readiness = self.readiness.clone();
        self.send(&Peer::Arbiter, Message::Answer(Answer { asked, standing, own, forced, generation, held, readiness }));
    }

    pub(super) fn offered(&mut self, offer: Stamp, epoch: Epoch, timers: Timers) {
        let repeated = matches!(&self.state, State::Claiming(claim) if claim.offer == offer);
        if repeated {
            return;
        }
        let free = matches!(self.state, State::Passive | State::Claiming(_)) && self.record.own.is_none() && self.release.is_none();
        let willing = free && !self.is_held() && epoch > self.record.seen && self.readiness.verified && !self.readiness.importing;
        if !willing {
            let held = self.is_held();
            return self.send(&Peer::Arbiter, Message::Declined { offer, held });
        }
        let sent = self.stamp();
        let until = self.now + timers.lease().saturating_sub(timers.fencing());
        self.enter(State::Claiming(Claim { offer, sent, until, again: self.now }));
    }

    fn repeat_claim(&mut self) {
        let (now, again) = (self.now, self.now + self.config.timers.request());
        let State::Claiming(claim) = &mut self.state else { return };
        if now >= claim.again {
            claim.again = again;
            let (offer, sent) = (claim.offer.clone(), claim.sent.clone());
            let position = self.readiness.position.clone();
            self.send(&Peer::Arbiter, Message::Claim { offer, sent, position });
        }
    }

    pub(super) fn withdrawn(&mut self, offer: &Stamp) {
        if matches!(&self.state, State::Claiming(claim) if claim.offer == *offer) {
            self.enter(State::Passive);
        }
    }

    pub(super) fn granted(&mut self, grant: Grant) {
        if self.record.own.as_ref().is_some_and(|own| own.epoch == grant.epoch) {
            return;
        }
        let pending = matches!(&self.state, State::Claiming(claim) if claim.sent == grant.sent && claim.offer == grant.offer);
        let fencing = grant.timers.lease().saturating_sub(grant.timers.fencing());
        let in_time = self.now < grant.sent.at + fencing;
        if !pending || !in_time || self.is_held() || self.record.own.is_some() || grant.epoch < self.record.seen {
            // The epoch is burnt. The arbiter need not wait for its lease: no claim of ours can take it up any more.
            if grant.epoch == self.record.seen && self.record.own.is_none() && self.release.is_none() {
                self.give_back(grant.epoch);
            }
            return;
        }
        let Grant { epoch, sent, timers, members, base, activation_max, handed, .. } = grant;
        self.record.own = Some(Own { epoch, active: false, timers, activation_max, forced: None, handed });
        self.record.members = members;
        self.persist();
        self.lease_until = sent.at + timers.lease();
        self.beat.begin(self.now, sent.at);
        self.activate(Some(base), false);
    }

    /// A HOLD is acknowledged only by one who stands by with no claim pending, and binds before it is acknowledged.
    pub(super) fn asked_to_hold(&mut self, from: &NodeId, epoch: Epoch, sent: Stamp, wait: Duration) {
        let stands_by = matches!(self.state, State::Passive | State::Closed) && self.record.own.is_none();
        let to = Peer::Node(from.clone());
        self.meet(from, epoch, !wait.is_zero());
        if !stands_by || epoch < self.record.seen {
            return self.send(&to, Message::NotHeld { sent });
        }
        self.hear();
        if wait.is_zero() {
            return self.send(&to, Message::Held { sent });
        }
        let until = self.now + wait;
        let before = self.record.hold.as_ref().map_or(until, |hold| hold.until);
        self.record.hold = Some(Hold { epoch, boot: self.boot.clone(), until: until.max(before), wait });
        self.persist();
        self.send(&to, Message::Held { sent });
    }

    /// Reports, claims and releases that are due, and whether anybody is heard.
    pub(super) fn drive_standby(&mut self) {
        self.repeat_claim();
        if !self.stands_by() || self.now < self.next_report {
            return;
        }
        self.next_report = self.now + self.config.report_every;
        match self.release.clone() {
            Some((epoch, position)) => {
                self.next_report = self.now + self.config.timers.request();
                self.send(&Peer::Arbiter, Message::Release { epoch, position });
            }
            None => self.answer(None),
        }
        if self.now.since(self.heard) > self.config.alone_after && !self.alone_told {
            self.alone_told = true;
            self.alert(Alert::Alone);
        }
    }

    pub(super) fn stands_by(&self) -> bool {
        self.record.own.is_none() && matches!(self.state, State::Passive | State::Claiming(_) | State::Closed)
    }

    pub(super) fn next_standby(&self) -> Time {
        self.next_report
    }

    pub(super) fn refused(&mut self, refusal: Refusal) {
        if let State::SteppingDown(descent) = &mut self.state
            && descent.waits_for_successor()
        {
            return self.exchange_failed(Some(refusal));
        }
        self.outputs.push(super::Output::Refused(refusal));
    }
}

//! Stepping down: by force of time (FENCING), in order (a service that is down, a person, a successor), and after a restart.
//!
//! The gate is closed first, always; then what runs is stopped; only when it is gone is anybody told. A planned exchange can be taken back
//! only by a word younger than the taking back: the arbiter may just have passed the role on.

use super::{Alert, Member, Output, Role, State};
use crate::message::{Handing, Refusal, Standing};
use crate::{Epoch, NodeId, Position, Time};
use std::time::Duration;

/// Why one steps down in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Release,
    Close,
    HandOver { to: NodeId, cancelled: bool },
}

#[derive(Clone, Debug)]
pub(super) struct Descent {
    purpose: Purpose,
    stage: Stage,
    /// Of the planned exchange.
    closed_until: Time,
}

#[derive(Clone, Debug)]
enum Stage {
    Stopping,
    Exporting { until: Time },
    Waiting { position: Position },
}

impl Descent {
    pub fn waits_for_successor(&self) -> bool {
        matches!(self.stage, Stage::Waiting { .. })
    }

    pub fn handing(&self) -> Option<Handing> {
        match (&self.stage, &self.purpose) {
            (Stage::Waiting { position }, Purpose::HandOver { to, .. }) => Some(Handing { to: to.clone(), position: position.clone() }),
            _ => None,
        }
    }

    pub fn next(&self) -> Time {
        match &self.stage {
            Stage::Exporting { until } => *until,
            _ => self.closed_until,
        }
    }
}

impl Member {
    /// A process that begins anew where one of the same boot ended: what ran may still run.
    pub(super) fn take_up_role(&mut self, role: Option<Role>) {
        let now = self.now;
        let Some(role) = role else {
            // Nothing of ours runs after a reboot. What was never ACTIVE is given back, what was may go on.
            match self.record.own.clone() {
                Some(own) if own.active && !self.record.closed => {
                    self.fenced();
                }
                Some(own) => self.give_back(own.epoch),
                None => (),
            }
            self.settle();
            return;
        };
        let own = self.record.own.as_ref().filter(|own| own.epoch == role.epoch).cloned();
        self.lease_until = role.lease_until;
        let alive = own.as_ref().is_some_and(|own| own.active && now < role.lease_until - own.timers.fencing());
        match role.standing {
            Standing::Active | Standing::Failsafe if alive => {
                self.beat.begin(now, role.renewed);
                self.beat.take_up_pause(role.paused, role.lease_until);
                self.state = State::Active;
                self.keep_gate();
            }
            Standing::Active | Standing::Failsafe | Standing::Activating | Standing::SteppingDown | Standing::Fencing => self.fence(),
            _ if own.as_ref().is_some_and(|own| own.active) => {
                self.fenced();
            }
            _ => {
                if let Some(own) = self.record.own.clone() {
                    self.give_back(own.epoch);
                }
                self.settle();
            }
        }
    }

    /// Nothing runs. Whatever lease there was, a pause's too, is given up: only a new word counts. The arbiter's is waited for a moment: members that gave
    /// theirs could not be handed the role for as long as it binds them.
    pub(super) fn fenced(&mut self) {
        self.beat.begin(self.now, Time::default());
        self.beat.ask_members_from(self.now + self.timers().request());
        self.lease_until = self.now;
        self.enter(State::Fenced { since: self.now });
    }

    /// Where a node without a reign belongs.
    fn settle(&mut self) {
        if self.record.own.is_none() {
            let state = if self.record.closed { State::Closed } else { State::Passive };
            self.next_report = self.now;
            self.enter(state);
        }
    }

    /// A reign is over and the arbiter should know.
    pub(super) fn give_back(&mut self, epoch: Epoch) {
        self.known.rival = None;
        if self.record.own.take_if(|own| own.epoch == epoch).is_some() {
            self.persist();
        }
        self.release = Some((epoch, self.readiness.position.clone()));
        self.next_report = self.now;
    }

    /// The lease ends: close, stop. A reign that was ACTIVE may go on later, if nobody else's began.
    pub(super) fn fence(&mut self) {
        self.outputs.push(Output::CloseGate);
        if let Some(own) = self.record.own.clone() {
            self.alert(Alert::Fencing { epoch: own.epoch });
            if !own.active {
                self.give_back(own.epoch);
            }
        }
        self.stop();
        self.enter(State::Fencing);
    }

    fn stop(&mut self) {
        let kill_at = (self.lease_until - self.timers().watchdog()).max(self.now);
        self.outputs.push(Output::Stop { kill_at });
    }

    /// The activation failed: down again, and the next candidate is tried.
    pub(super) fn step_aside(&mut self) {
        self.outputs.push(Output::CloseGate);
        if let Some(own) = self.record.own.clone() {
            self.give_back(own.epoch);
        }
        self.stop();
        self.enter(State::Fencing);
    }

    /// Another's reign began, or ours was ended.
    pub(super) fn lose_reign(&mut self) {
        let running = match &self.state {
            State::Activating(_) | State::Active | State::Failsafe => true,
            State::SteppingDown(descent) => matches!(descent.stage, Stage::Stopping),
            _ => false,
        };
        if running {
            self.outputs.push(Output::CloseGate);
            self.stop();
        }
        let fencing = running || matches!(self.state, State::Fencing);
        if let Some(own) = self.record.own.clone() {
            if let State::SteppingDown(descent) = &self.state {
                self.record.closed |= descent.purpose == Purpose::Close;
            }
            self.give_back(own.epoch);
        }
        if fencing { self.enter(State::Fencing) } else { self.settle() }
    }

    pub(super) fn stopped(&mut self) {
        let now = self.now;
        match &mut self.state {
            State::Fencing if self.record.own.is_some() => {
                self.fenced();
            }
            State::Fencing => self.settle(),
            State::SteppingDown(descent) if matches!(descent.stage, Stage::Stopping) => {
                let until = now + self.config.final_export_max;
                descent.stage = Stage::Exporting { until };
                let epoch = self.record.own.as_ref().map_or(self.record.seen, |own| own.epoch);
                self.outputs.push(Output::Export { epoch, until });
            }
            _ => (),
        }
    }

    pub(super) fn exported(&mut self, epoch: Epoch, position: Position) {
        if self.record.own.as_ref().is_some_and(|own| own.epoch == epoch) {
            self.readiness.position = position;
            self.exported_all();
        }
    }

    fn exported_all(&mut self) {
        let position = self.readiness.position.clone();
        let Some(epoch) = self.record.own.as_ref().map(|own| own.epoch) else { return };
        let State::SteppingDown(descent) = &mut self.state else { return };
        if !matches!(descent.stage, Stage::Exporting { .. }) {
            return;
        }
        match &descent.purpose {
            Purpose::HandOver { cancelled: false, .. } => {
                descent.stage = Stage::Waiting { position };
                self.beat.hurry(self.now);
            }
            Purpose::HandOver { .. } => self.fenced(),
            purpose => {
                self.record.closed |= *purpose == Purpose::Close;
                self.give_back(epoch);
                self.settle();
            }
        }
    }

    /// A person wants the role elsewhere. While members are bound by their word to us, we go on.
    pub(super) fn hand_over(&mut self, to: NodeId, within: Option<Duration>) {
        if !matches!(self.state, State::Active | State::Failsafe) {
            return self.refuse();
        }
        self.hand_to = Some((to, within.unwrap_or(self.config.pause_max)));
    }

    pub(super) fn drive_handing(&mut self) {
        match &self.state {
            State::Active if self.now > self.beat.binds() => {
                if let Some((to, within)) = self.hand_to.take() {
                    self.step_down_within(Purpose::HandOver { to, cancelled: false }, within);
                }
            }
            State::Active | State::Failsafe => {}
            // Something else came first.
            _ => self.hand_to = None,
        }
    }

    pub(super) fn step_down(&mut self, purpose: Purpose) {
        self.step_down_within(purpose, self.config.pause_max);
    }

    fn step_down_within(&mut self, purpose: Purpose, within: Duration) {
        if !matches!(self.state, State::Active | State::Failsafe) {
            if purpose != Purpose::Release {
                self.refuse();
            }
            return;
        }
        self.outputs.push(Output::CloseGate);
        self.stop();
        let closed_until = self.now + within;
        self.enter(State::SteppingDown(Descent { purpose, stage: Stage::Stopping, closed_until }));
    }

    pub(super) fn drive_descent(&mut self) {
        let now = self.now;
        let State::SteppingDown(descent) = &mut self.state else { return };
        let late = now >= descent.closed_until;
        if let (Purpose::HandOver { cancelled, .. }, true) = (&mut descent.purpose, late) {
            // One that is stopping or exporting finishes that first.
            *cancelled = true;
            if descent.waits_for_successor() {
                return self.exchange_failed(None);
            }
        }
        if matches!(descent.stage, Stage::Exporting { until } if now >= until) {
            self.exported_all();
        }
    }

    /// The source goes on, once it knows that nobody was granted the role meanwhile.
    pub(super) fn exchange_failed(&mut self, why: Option<Refusal>) {
        if let State::SteppingDown(Descent { purpose: Purpose::HandOver { to, .. }, .. }) = &self.state {
            let to = to.clone();
            self.alert(Alert::ExchangeFailed { to, why });
            self.fenced();
        }
    }

    pub(super) fn close(&mut self) {
        if self.record.own.is_none() && !matches!(self.state, State::Fencing) {
            self.record.closed = true;
            self.persist();
            self.enter(State::Closed);
        } else {
            self.refuse();
        }
    }
}

//! From EXPIRED to GRANTED: what must be so before the role is given, and the one record that gives it.

use std::time::Duration;

use super::{Alert, Arbiter, Blocked, Cause, Output, State, Why};
use crate::ledger::How;
use crate::message::{Grant, Message};
use crate::{NodeId, Position, Reign, Stamp, Time};

impl Arbiter {
    /// No lease lives: wait for what must be waited for, then ask around.
    pub(super) fn consider(&mut self) -> bool {
        let State::Expired { since, cause, .. } = self.state.clone() else { return false };
        let since = since.min(self.now);
        if let Some(until) = self.waits(since, &cause) {
            self.state = State::Expired { since, cause, retry: until };
            return false;
        }
        if cause == Cause::Automatic
            && let Some(why) = self.forbidden()
        {
            let lost = Vec::new();
            self.block(Blocked { why, lost, members: std::collections::BTreeMap::new() });
            return false;
        }
        self.begin(cause);
        if let State::Electing(election) = &mut self.state {
            election.since = since;
        }
        true
    }

    /// Until when to wait before asking around, if at all.
    fn waits(&mut self, since: Time, cause: &Cause) -> Option<Time> {
        if let Some((position, until)) = self.awaited.clone() {
            if self.history.heads().covers(&position) {
                self.awaited = None;
            } else if self.now < until {
                return Some(until.min(self.now + self.timers().request()));
            } else {
                self.awaited = None;
                let reign = self.record.current().map(|entry| entry.reign.clone());
                self.outputs.extend(reign.map(|reign| Output::Alert(Alert::FinalExportMissing { reign, position })));
            }
        }
        let due = since + self.policy.delay;
        if *cause == Cause::Automatic && self.now < due {
            return Some(due);
        }
        // Nobody is turned off for a takeover that may not be, nor by asking for the role that it has.
        if *cause == Cause::Automatic && self.forbidden().is_some() {
            return None;
        }
        let itself = matches!(cause, Cause::Manual { node: Some(node), .. } if self.record.holder.as_ref() == Some(node));
        if let Some(holder) = self.record.holder.clone().filter(|_| self.policy.stonith && !self.vouched && !itself) {
            let epoch = self.record.epoch;
            if self.stonith_asked != Some(epoch) {
                self.stonith_asked = Some(epoch);
                self.outputs.push(Output::Stonith { node: holder, epoch });
            }
            return Some(self.now + self.timers().heartbeat());
        }
        None
    }

    /// What forbids a takeover that nobody asked for.
    pub(super) fn forbidden(&self) -> Option<Why> {
        if !self.policy.automatic {
            return Some(Why::SwitchOff);
        }
        if let Some(node) = self.record.designated.clone().filter(|_| self.record.holder.is_some()) {
            return Some(Why::Given { node });
        }
        if let Some(until) = self.paused_until().filter(|until| self.now <= *until) {
            return Some(Why::Paused { until });
        }
        let takeovers = &self.record.takeovers;
        let last = takeovers.times.last().filter(|_| !takeovers.acknowledged);
        if let Some(until) = last.map(|at| *at + self.policy.block).filter(|until| self.now < *until) {
            return Some(Why::Unacknowledged { until });
        }
        let within_window = takeovers.within(self.now, self.policy.takeovers_window);
        if within_window >= self.policy.takeovers_max {
            return Some(Why::TooMany { within_window });
        }
        if self.record.unguarded && !self.policy.stonith {
            return Some(Why::Unguarded);
        }
        let standby = |node: &NodeId| self.record.last_reign().is_none_or(|entry| entry.reign.node != *node);
        let beside = self.policy.beside.as_ref().filter(|node| self.record.members.contains_key(*node));
        let alone = self.record.members.len() == 2 && beside.is_some_and(standby);
        if alone && !self.policy.two_hosts_fence {
            return Some(Why::TwoHosts);
        }
        let old = self.history.too_old(self.now, &self.policy.age_max);
        old.map(|(dataset, age)| Why::TooOld { dataset, age })
    }

    /// The offer was taken: everything is looked at once more, then seal and grant are written as one.
    pub(super) fn claim(&mut self, from: &NodeId, offer: &Stamp, sent: Stamp, position: Position) {
        let State::Electing(election) = &self.state else { return };
        let cause = election.cause.clone();
        if election.offered(offer) != Some(from) || !self.electable(from) {
            return;
        }
        let exchange = matches!(cause, Cause::Switchover { .. });
        if !exchange && !self.lease_is_over() {
            return;
        }
        // The archive may have published more since the member was asked.
        let at_heads = position == *self.history.heads() && self.history.divergence(&position).is_none();
        let behind = !at_heads && !self.loss_is_allowed(&position, &cause);
        if behind || self.history.divergence(&position).is_some() {
            return self.back_to_catch_up();
        }
        let how = match cause {
            Cause::Automatic => How::Automatic,
            Cause::Manual { .. } if self.record.ledger.is_empty() => How::First,
            Cause::Manual { .. } => How::Manual,
            Cause::Switchover { source, .. } => How::Switchover { source },
            Cause::Return { .. } => How::Return,
        };
        self.grant(from, offer.clone(), sent, position, how);
    }

    fn grant(&mut self, node: &NodeId, offer: Stamp, sent: Stamp, base: Position, how: How) {
        let timers = self.policy.timers;
        let lost = self.history.above(&base);
        let handed = matches!(how, How::Switchover { .. });
        let epoch = self.record.seal_and_grant(node, how, base.clone(), !lost.is_empty(), timers);
        self.persist();
        if !lost.is_empty() {
            self.history.cut(&base);
            self.outputs.push(Output::Quarantine(lost));
        }
        let activation_max = self.policy.activation_max;
        (self.renewed, self.last_sent, self.paused_since) = (Some(self.now), None, self.now);
        (self.vouched, self.awaited, self.blocked, self.overdue) = (false, None, None, false);
        self.past_boots.clear();
        self.activation_until = Some(self.now + activation_max);
        self.state = State::Leased;
        let members = self.record.member_list();
        self.send(node, Message::Granted(Grant { epoch, offer, sent, timers, members, base, activation_max, handed }));
        self.alert(Alert::Granted { reign: Reign { epoch, node: node.clone() } });
    }

    /// How long a lease may still live, for what people see.
    pub fn lease_remaining(&self) -> Duration {
        if self.lease_is_over() { Duration::ZERO } else { self.lease_ends().since(self.now) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arbiter::{Input, Order};
    use crate::timers::Values;
    use crate::{BootId, Policy, Record, Timers};

    /// An arbiter of a cluster in which web1 reigned when it began, at a time when that lease is over by any clock.
    fn expired(automatic: bool, change: impl FnOnce(&mut Record)) -> (Arbiter, Vec<Output>) {
        let timers = Timers::new(Values::FAST, Duration::ZERO).unwrap();
        let mut record = Record::new("shop".into());
        record.members = [("web1".into(), 0), ("web2".into(), 0)].into();
        record.seal_and_grant(&"web1".into(), How::First, Position::default(), false, timers);
        record.ledger[0].state = crate::ledger::ReignState::Active;
        change(&mut record);
        let policy = Policy { automatic, stonith: true, ..Policy::new(timers, vec![]) };
        let (mut arbiter, _) = Arbiter::open(Time::from_ms(1000), BootId("a".into()), record, policy, vec![]);
        let outputs = arbiter.step(Time::from_ms(1001) + timers.over(), Input::Tick);
        (arbiter, outputs)
    }

    #[test]
    fn a_last_export_of_a_reign_that_is_sealed_is_not_waited_for() {
        let awaited = |epoch: u64| {
            let point = crate::Point { epoch: crate::Epoch(epoch), sequence: 7, id: crate::SnapshotId("of web1".into()) };
            let released = |record: &mut Record| {
                record.ledger[0].state = crate::ledger::ReignState::Released;
                record.ledger[0].last = Some(Position([("shop".into(), point)].into()));
            };
            let (arbiter, _) = expired(true, released);
            arbiter.awaited.is_some()
        };
        assert!(awaited(1), "its own is waited for");
        assert!(!awaited(0), "web1 exported nothing in its reign, and what it has from before never comes");
    }

    fn turns_off(outputs: &[Output]) -> bool {
        outputs.iter().any(|output| matches!(output, Output::Stonith { .. }))
    }

    #[test]
    fn nobody_is_turned_off_for_a_takeover_that_may_not_be() {
        assert!(turns_off(&expired(true, |_| ()).1));
        assert!(!turns_off(&expired(false, |_| ()).1), "the switch is off");
        let (arbiter, outputs) = expired(true, |record| record.designated = Some("web1".into()));
        assert!(!turns_off(&outputs), "it was given the role for good");
        assert_eq!(arbiter.blocked().map(|blocked| blocked.why.clone()), Some(Why::Given { node: "web1".into() }));
    }

    #[test]
    fn a_node_that_asks_for_its_own_role_is_not_turned_off() {
        let (mut arbiter, _) = expired(false, |_| ());
        let asked = |node: &str| Input::Order(Order::Elect { node: Some(node.into()), accept_loss: false });
        assert!(!turns_off(&arbiter.clone().step(Time::from_ms(20_000), asked("web1"))));
        assert!(turns_off(&arbiter.step(Time::from_ms(20_000), asked("web2"))));
    }
}

//! RECOVERY: an arbiter that lost its memory, or was given an old one, asks all members and grants nothing before all have answered.
//!
//! The truth about reigns is in three places: this record, the members' records, and what the archive published. When one of the others knows a
//! higher epoch than this record, the record is old. Every member must answer, in one round, with no claim pending: one that is silent could
//! be the active, or hold a claim that the lost memory granted. A person may vouch for one that is off. Then the next number is set two above
//! the highest, because the one after it may have been granted by the lost memory to somebody who has not heard of it.
//!
//! Two members that were forced into one epoch are a CONFLICT, which only a person resolves.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Alert, Arbiter, Output, State};
use crate::ledger::{Entry, How, ReignState};
use crate::message::{Answer, Message, OwnReign, Standing};
use crate::timers::drift;
use crate::{Epoch, NodeId, Reign, Stamp, Time, Timers};

#[derive(Clone, Debug)]
pub(super) struct Recovery {
    asked: Stamp,
    again: Time,
    answers: BTreeMap<NodeId, (Epoch, Answer)>,
    /// Of any round: a person vouched for them.
    off: BTreeSet<NodeId>,
    gathering: bool,
    gathered: bool,
    told: BTreeSet<NodeId>,
    /// Between rounds; grows, so that a slow network is waited for.
    every: Duration,
}

impl Recovery {
    pub fn answer(&mut self, from: &NodeId, seen: Epoch, answer: Answer) {
        if answer.asked.as_ref() == Some(&self.asked) {
            self.off.extend(answer.forced.clone());
            self.answers.insert(from.clone(), (seen, answer));
        }
    }

    /// While heads are gathered, only [`super::Input::Gathered`] goes on.
    pub fn next(&self, now: Time) -> Time {
        if self.gathering { now + self.every } else { self.again }
    }

    pub fn vouch(&mut self, node: &NodeId) {
        self.off.insert(node.clone());
    }
}

impl Arbiter {
    pub(super) fn recover(&mut self) {
        self.give_up_election();
        if !self.record.recovering {
            self.record.recovering = true;
            self.persist();
        }
        let (asked, off) = (self.stamp(), BTreeSet::new());
        let (again, every) = (self.now, self.timers().request() * 2);
        self.state = State::Recovery(Recovery {
            asked,
            again,
            answers: BTreeMap::new(),
            off,
            gathering: false,
            gathered: false,
            told: BTreeSet::new(),
            every,
        });
    }

    pub(super) fn gathered(&mut self) {
        if let State::Recovery(recovery) = &mut self.state {
            recovery.gathered = true;
        }
    }

    /// Asks whoever has not answered; goes on when all have. Gives whether something changed.
    pub(super) fn ask_again(&mut self) -> bool {
        let State::Recovery(recovery) = &self.state else { return false };
        let missing = self.missing(recovery);
        if missing.is_empty() && !self.record.members.is_empty() {
            if recovery.gathered {
                self.recovered();
                return true;
            }
            if let State::Recovery(recovery) = &mut self.state
                && !recovery.gathering
            {
                recovery.gathering = true;
                self.outputs.push(Output::Gather);
            }
            return false;
        }
        if self.now < recovery.again {
            return false;
        }
        // A new round: what was answered before may be no longer so.
        let asked = self.stamp();
        let members: Vec<NodeId> = self.record.members.keys().cloned().collect();
        members.iter().for_each(|node| self.send(node, Message::Poll { asked: asked.clone() }));
        let every_most = self.timers().lease();
        let first_round = matches!(&self.state, State::Recovery(recovery) if recovery.answers.is_empty() && recovery.told.is_empty());
        if let State::Recovery(recovery) = &mut self.state {
            (recovery.asked, recovery.again) = (asked, self.now + recovery.every);
            recovery.every = (recovery.every * 2).min(every_most);
            recovery.answers.clear();
            let news = !first_round && recovery.told != missing;
            if news {
                recovery.told.clone_from(&missing);
                self.alert(Alert::Recovery { missing });
            }
        }
        false
    }

    fn missing(&self, recovery: &Recovery) -> BTreeSet<NodeId> {
        let settled = |node: &NodeId| recovery.answers.get(node).is_some_and(|(_, answer)| answer.standing != Standing::Claiming);
        let members = self.record.members.keys();
        members.filter(|node| !settled(node) && !recovery.off.contains(*node)).cloned().collect()
    }

    fn recovered(&mut self) {
        let State::Recovery(recovery) = &self.state else { return };
        let seen = recovery.answers.values().map(|(seen, _)| *seen);
        let highest = seen.chain([self.record.epoch, self.history.heads().epoch()]).max().unwrap_or_default();
        let owner = |(node, (_, answer)): (&NodeId, &(Epoch, Answer))| {
            let OwnReign { epoch, active, timers, .. } = answer.own?;
            (epoch == highest).then(|| (Reign { epoch, node: node.clone() }, active, timers))
        };
        let owners: Vec<(Reign, bool, Timers)> = recovery.answers.iter().filter_map(owner).collect();
        (self.record.recovering, self.record.epoch) = (false, highest);
        self.record.granted = self.record.granted.max(highest.next());
        (self.started, self.renewed, self.last_sent, self.vouched) = (self.now, None, None, false);
        let left = recovery
            .answers
            .values()
            .filter_map(|(_, answer)| Some(answer.own?.lease_left))
            .max()
            .unwrap_or_default();
        self.forgotten_until = self.now + left + drift(left) + self.timers().over();
        (self.record.holder, self.record.acknowledged) = (None, 0);
        // What the active knows of the members is unknown: until it acknowledged this list, nobody is electable.
        let generations = recovery.answers.values().map(|(_, answer)| answer.generation);
        let generation = generations.chain([self.record.generation]).max().unwrap_or_default() + 1;
        self.record.generation = generation;
        self.record.members.values_mut().for_each(|since| *since = generation);
        if owners.len() > 1 {
            let branches: Vec<Reign> = owners.iter().map(|(reign, ..)| reign.clone()).collect();
            owners.iter().for_each(|(reign, _, timers)| self.enter(reign, true, *timers));
            self.record.holder = None;
            self.persist();
            self.alert(Alert::Conflict { branches: branches.clone() });
            self.state = State::Conflict(branches);
            return;
        }
        let owner = owners.into_iter().next();
        if let Some((reign, active, timers)) = &owner {
            self.enter(reign, *active, *timers);
        } else {
            self.record.acknowledged = self.record.generation;
        }
        self.persist();
        let (granted, reign) = (self.record.granted, owner.map(|(reign, ..)| reign));
        // What arrived before the reign was known lies in quarantine.
        self.outputs.extend(reign.clone().map(Output::Readmit));
        self.alert(Alert::Recovered { reign, granted });
        self.state = if highest == Epoch::default() { State::Vacant } else { State::Leased };
    }

    /// Makes this reign the current one; it may have been known.
    fn enter(&mut self, reign: &Reign, active: bool, timers: Timers) {
        let base = self.history.heads().clone();
        let state = if active { ReignState::Active } else { ReignState::Granted };
        for entry in self
            .record
            .ledger
            .iter_mut()
            .filter(|entry| entry.reign.epoch < reign.epoch && entry.sealed.is_none())
        {
            entry.sealed = Some(base.clone());
        }
        match self.record.ledger.iter_mut().find(|entry| entry.reign == *reign) {
            Some(entry) => (entry.state, entry.sealed, entry.timers) = (state, None, timers),
            None => {
                let (reign, how) = (reign.clone(), How::Recovered);
                self.record
                    .ledger
                    .push(Entry { reign, how, state, base, sealed: None, lossy: false, last: None, timers });
            }
        }
        (self.record.holder, self.record.acknowledged) = (Some(reign.node.clone()), 0);
        self.activation_until = (!active).then(|| self.now + self.policy.activation_max);
    }

    /// A second branch of the current epoch showed up.
    pub(super) fn conflict(&mut self, other: Reign) {
        let mut branches: Vec<Reign> = self.record.current().map(|entry| entry.reign.clone()).into_iter().collect();
        // Which timers the other branch lives by is unknown: the longest that are known.
        let known = self.record.ledger.iter().map(|entry| entry.timers).chain([self.policy.timers]);
        let timers = known.max_by_key(Timers::over).unwrap_or(self.policy.timers);
        let base = self.history.heads().clone();
        let (reign, how) = (other.clone(), How::Recovered);
        self.record
            .ledger
            .push(Entry { reign, how, state: ReignState::Active, base, sealed: None, lossy: false, last: None, timers });
        branches.push(other);
        self.give_up_election();
        self.record.holder = None;
        self.persist();
        self.alert(Alert::Conflict { branches: branches.clone() });
        self.state = State::Conflict(branches);
    }

    /// A person chose one branch. The others' snapshots stay in quarantine.
    pub(super) fn resolve(&mut self, winner: &NodeId) -> bool {
        let State::Conflict(branches) = &self.state else { return false };
        let Some(reign) = branches.iter().find(|reign| reign.node == *winner).cloned() else { return false };
        let losers: Vec<Reign> = branches.iter().filter(|branch| **branch != reign).cloned().collect();
        let timers = self.record.entry(&reign).map_or(self.policy.timers, |entry| entry.timers);
        self.record.ledger.retain(|entry| entry.reign != reign);
        for entry in self.record.ledger.iter_mut().filter(|entry| losers.contains(&entry.reign)) {
            entry.state = ReignState::Void;
        }
        self.enter(&reign, true, timers);
        (self.started, self.renewed, self.last_sent) = (self.now, None, None);
        self.persist();
        self.state = State::Leased;
        true
    }
}

//! What people see of an arbiter: its phase, and what a takeover would do now.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::{Arbiter, Blocked, Cause, Ineligible, OfHolder, State, Why};
use crate::message::Answer;
use crate::position::Lost;
use crate::{NodeId, Position, Record, Time};

/// Where the protocol stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Vacant,
    Leased,
    Expired,
    Poll,
    CatchUp,
    Offer,
    /// Granted, not yet ACTIVE.
    Granted,
    Blocked,
    Recovery,
    Conflict,
}

/// What would happen, from the last word of each member: nothing is asked or changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Nothing happens by itself, and why.
    pub forbidden: Option<Why>,
    /// Best first: who could take over, and what each would leave behind if it had to go as it stands.
    pub candidates: Vec<(NodeId, Vec<Lost>)>,
    pub ineligible: BTreeMap<NodeId, Ineligible>,
}

impl Arbiter {
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The last word of each member, and when it came.
    pub fn answers(&self) -> impl Iterator<Item = (&NodeId, Time, &Answer)> {
        self.answers.iter().map(|(node, (at, answer))| (node, *at, answer))
    }

    /// What the holder said of itself when it renewed last.
    pub fn of_holder(&self) -> Option<&OfHolder> {
        let (node, said) = self.of_holder.as_ref()?;
        Some(said).filter(|_| self.record.holder.as_ref() == Some(node))
    }

    /// How many published snapshots a position lacks.
    pub fn lacking(&self, position: &Position) -> usize {
        self.history.above(position).len()
    }

    /// s*, as the archive reported it.
    pub fn heads(&self) -> &Position {
        self.history.heads()
    }

    pub fn blocked(&self) -> Option<&Blocked> {
        self.blocked.as_ref()
    }

    pub fn phase(&self) -> Phase {
        match &self.state {
            State::Vacant => Phase::Vacant,
            State::Leased if self.activation_until.is_some() => Phase::Granted,
            State::Leased => Phase::Leased,
            State::Expired { .. } if self.blocked.is_some() => Phase::Blocked,
            State::Expired { .. } => Phase::Expired,
            State::Electing(election) if election.is_offering() => Phase::Offer,
            State::Electing(_) if self.blocked.is_some() => Phase::Blocked,
            State::Electing(election) if election.is_catching_up() => Phase::CatchUp,
            State::Electing(_) => Phase::Poll,
            State::Recovery(_) => Phase::Recovery,
            State::Conflict(_) => Phase::Conflict,
        }
    }

    /// `takeover plan` and `elect --dry-run`.
    pub fn plan(&self) -> Plan {
        let cause = Cause::Automatic;
        let (mut candidates, mut ineligible) = (Vec::new(), BTreeMap::new());
        for node in self.record.members.keys().filter(|node| self.record.holder.as_ref() != Some(*node)) {
            let answer = self.answers.get(node).map(|(_, answer)| answer);
            match answer.map_or(Err(Ineligible::NoAnswer), |answer| self.judge(node, answer, &cause, false)) {
                Ok(_) => candidates.extend(answer.map(|answer| (node.clone(), answer.readiness.position.clone()))),
                Err(reason) => drop(ineligible.insert(node.clone(), reason)),
            }
        }
        let priority = |node: &NodeId| self.policy.priorities.get(node).copied().unwrap_or_default();
        candidates.sort_by(|(a, at_a), (b, at_b)| {
            let by_position = at_b.compare(at_a, &self.policy.datasets);
            by_position.then((Reverse(priority(a)), a).cmp(&(Reverse(priority(b)), b)))
        });
        let candidates = candidates.into_iter().map(|(node, position)| (node, self.history.above(&position))).collect();
        Plan { forbidden: self.forbidden(), candidates, ineligible }
    }
}

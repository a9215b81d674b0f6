//! POLL, CATCH-UP, OFFER: who takes over.
//!
//! All members are asked with a nonce, so that an answer is about now. Who stands at the heads is offered the role, best first. When nobody does,
//! those behind pull from the archive, for a bounded time, and are asked again. When time is up, one that is behind within the allowed lag is
//! offered it; else nobody is, and what going on would lose is named.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Alert, Arbiter, Blocked, Cause, Output, State, Why};
use crate::ledger::ReignState;
use crate::message::{Answer, Message, Refusal, Standing};
use crate::{Dataset, Epoch, NodeId, Position, Stamp, Time};

/// Why a member cannot take over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ineligible {
    NoAnswer,
    Busy(Standing),
    Held,
    Unverified,
    Diverged(Dataset),
    Excluded,
    Cooldown {
        until: Time,
    },
    Refused,
    Blind,
    SwitchOff,
    /// Nothing is taken over by itself with data that was not tried out.
    Undrilled,
    /// It joined after the active last acknowledged the list of members.
    Unacknowledged,
    /// It was offered the role in this election and did not take it.
    Tried,
    Behind {
        snapshots: usize,
    },
}

#[derive(Clone, Debug)]
pub(super) struct Election {
    pub cause: Cause,
    pub since: Time,
    stage: Stage,
    answers: BTreeMap<NodeId, Answer>,
    tried: BTreeSet<NodeId>,
    catch_up_until: Option<Time>,
}

#[derive(Clone, Debug)]
enum Stage {
    Poll { asked: Stamp, until: Time, again: Time },
    CatchUp { again: Time },
    Offer { offer: Stamp, node: NodeId, until: Time },
}

impl Election {
    pub fn next(&self) -> Time {
        match &self.stage {
            Stage::Poll { until, again, .. } => *until.min(again),
            Stage::CatchUp { again } => *again,
            Stage::Offer { until, .. } => *until,
        }
    }

    pub fn offered(&self, offer: &Stamp) -> Option<&NodeId> {
        match &self.stage {
            Stage::Offer { offer: made, node, .. } if made == offer => Some(node),
            _ => None,
        }
    }

    pub fn is_catching_up(&self) -> bool {
        self.catch_up_until.is_some()
    }

    pub fn is_offering(&self) -> bool {
        matches!(self.stage, Stage::Offer { .. })
    }
}

impl Arbiter {
    pub(super) fn begin(&mut self, cause: Cause) {
        let (asked, until, again) = self.poll(&cause);
        let stage = Stage::Poll { asked, until, again };
        let (answers, tried) = (BTreeMap::new(), BTreeSet::new());
        self.forget_cooldowns();
        self.state = State::Electing(Election { cause, since: self.now, stage, answers, tried, catch_up_until: None });
    }

    fn poll(&mut self, cause: &Cause) -> (Stamp, Time, Time) {
        let asked = self.stamp();
        for node in self.wanted(cause) {
            self.send(&node, Message::Poll { asked: asked.clone() });
        }
        let request = self.policy.timers.request();
        (asked, self.now + request * 2, self.now + request)
    }

    /// Whom this election is about.
    fn wanted(&self, cause: &Cause) -> Vec<NodeId> {
        let wanted = |node: &&NodeId| match cause {
            Cause::Switchover { to, .. } => *node == to,
            Cause::Manual { node: Some(chosen), .. } => *node == chosen,
            _ => true,
        };
        self.record.members.keys().filter(wanted).cloned().collect()
    }

    /// What the passing of time does to an election.
    pub(super) fn drive(&mut self) -> bool {
        let now = self.now;
        let State::Electing(election) = &mut self.state else { return false };
        if matches!(election.cause, Cause::Switchover { .. }) && self.lease_is_over() {
            self.give_up_election();
            self.state = State::Leased;
            return true;
        }
        let State::Electing(election) = &mut self.state else { return false };
        match &mut election.stage {
            Stage::Poll { asked, until, again } => {
                let asked = asked.clone();
                let (over, repeat) = (now >= *until, now >= *again);
                *again = if repeat { *until } else { *again };
                let (cause, answered) = (election.cause.clone(), election.answers.keys().cloned().collect::<BTreeSet<_>>());
                let missing: Vec<NodeId> = self.wanted(&cause).into_iter().filter(|node| !answered.contains(node)).collect();
                // The node whose lease ended is most likely dead: once the others have answered, it alone is not waited for.
                let holder = self.record.holder.as_ref();
                let enough = !answered.is_empty() && missing.iter().all(|node| Some(node) == holder);
                if over || missing.is_empty() || enough {
                    self.decide();
                    return true;
                }
                if repeat {
                    missing.iter().for_each(|node| self.send(node, Message::Poll { asked: asked.clone() }));
                }
                false
            }
            Stage::CatchUp { again } if now >= *again => {
                let cause = election.cause.clone();
                let (asked, until, again) = self.poll(&cause);
                let State::Electing(election) = &mut self.state else { return false };
                (election.stage, election.answers) = (Stage::Poll { asked, until, again }, BTreeMap::new());
                true
            }
            Stage::Offer { offer, node, until } if now >= *until => {
                let (offer, node) = (offer.clone(), node.clone());
                election.tried.insert(node.clone());
                self.send(&node, Message::Withdrawn { offer });
                self.decide();
                true
            }
            _ => false,
        }
    }

    pub(super) fn answer(&mut self, from: &NodeId, seen: Epoch, answer: Answer) {
        self.answers.insert(from.clone(), (self.now, answer.clone()));
        if answer.asked.is_none() {
            let holder = self.record.holder.clone();
            return self.send(from, Message::Noted { holder });
        }
        match &mut self.state {
            State::Recovery(recovery) => recovery.answer(from, seen, answer),
            State::Electing(election) => {
                if matches!(&election.stage, Stage::Poll { asked, .. } if answer.asked.as_ref() == Some(asked)) {
                    let gave_up = answer.own.is_none();
                    election.answers.insert(from.clone(), answer);
                    if gave_up {
                        self.given_up(from);
                    }
                }
            }
            _ => (),
        }
    }

    /// Asked after its reign, the last active says that it holds none: that is a RELEASE whose message was lost.
    fn given_up(&mut self, node: &NodeId) {
        let last = self.record.ledger.iter_mut().rev().find(|entry| entry.state != ReignState::Void);
        if let Some(entry) = last.filter(|entry| entry.reign.node == *node && entry.state == ReignState::Active) {
            entry.state = ReignState::Released;
            self.record.holder.take_if(|holder| holder == node);
            self.persist();
        }
    }

    /// A joiner that the active may not know of is electable only when somebody vouched that the active is off.
    pub(super) fn electable(&self, node: &NodeId) -> bool {
        self.record.electable(node) || (self.vouched && self.record.members.contains_key(node))
    }

    /// May this member take over, and does it stand at the heads?
    pub(super) fn judge(&self, node: &NodeId, answer: &Answer, cause: &Cause, tried: bool) -> Result<bool, Ineligible> {
        let ready = &answer.readiness;
        let refuse = |condition, reason| if condition { Err(reason) } else { Ok(()) };
        refuse(tried, Ineligible::Tried)?;
        refuse(!self.electable(node), Ineligible::Unacknowledged)?;
        refuse(answer.held, Ineligible::Held)?;
        let source = matches!(cause, Cause::Return { source } if source == node);
        let chosen = matches!(cause, Cause::Manual { node: Some(chosen), .. } | Cause::Switchover { to: chosen, .. } if chosen == node);
        let standing_by = matches!(answer.standing, Standing::Passive | Standing::Ready | Standing::Syncing | Standing::Claiming);
        refuse(!standing_by, Ineligible::Busy(answer.standing))?;
        refuse(ready.blind && !chosen, Ineligible::Blind)?;
        refuse(!ready.valid, Ineligible::Refused)?;
        if !chosen && !source {
            refuse(self.policy.excluded.contains(node), Ineligible::Excluded)?;
            let until = self.cooldown.get(node).copied().filter(|until| *until > self.now);
            until.map_or(Ok(()), |until| Err(Ineligible::Cooldown { until }))?;
        }
        // Of a switchover that failed it is the source that somebody wanted, and nobody else.
        let by_itself = matches!(cause, Cause::Automatic | Cause::Return { .. }) && !source;
        refuse(by_itself && !ready.automatic, Ineligible::SwitchOff)?;
        refuse(by_itself && ready.undrilled, Ineligible::Undrilled)?;
        if let Some(dataset) = self.history.divergence(&ready.position) {
            return Err(Ineligible::Diverged(dataset));
        }
        let heads = self.history.heads();
        let at_heads = ready.position == *heads && ready.verified;
        Ok(match cause {
            Cause::Switchover { position, .. } => at_heads && heads.covers(position),
            _ => at_heads,
        })
    }

    fn decide(&mut self) {
        let State::Electing(election) = &self.state else { return };
        let cause = election.cause.clone();
        let (mut at_heads, mut behind, mut strayed, mut reasons) = (Vec::new(), Vec::new(), Vec::new(), BTreeMap::new());
        for node in self.wanted(&cause) {
            let tried = election.tried.contains(&node);
            let judged = election
                .answers
                .get(&node)
                .map_or(Err(Ineligible::NoAnswer), |answer| self.judge(&node, answer, &cause, tried));
            match judged {
                Ok(true) => at_heads.push(node),
                Ok(false) => behind.push(node),
                Err(reason) => {
                    // One that came back with a tail of its own stands elsewhere until it imported what is newer.
                    if matches!(&reason, Ineligible::Diverged(dataset) if self.history.passed(dataset, &election.answers[&node].readiness.position))
                    {
                        strayed.push(node.clone());
                    }
                    reasons.insert(node, reason);
                }
            }
        }
        let answers = election.answers.clone();
        let until = election.catch_up_until.unwrap_or(self.now + self.policy.catch_up_max);
        if let Some(best) = self.best(at_heads, &answers, &cause) {
            return self.offer(best);
        }
        let catching_up = behind.iter().chain(&strayed);
        if catching_up.clone().next().is_some() && self.now < until {
            let heads = self.history.heads().clone();
            catching_up.for_each(|node| self.send(node, Message::CatchUp { heads: heads.clone() }));
            let again = self.now + self.policy.timers.request();
            let State::Electing(election) = &mut self.state else { return };
            (election.stage, election.catch_up_until) = (Stage::CatchUp { again }, Some(until));
            return;
        }
        let allowed: Vec<NodeId> = behind
            .iter()
            .filter(|node| self.loss_is_allowed(&answers[*node].readiness.position, &cause))
            .cloned()
            .collect();
        let allowed = allowed.into_iter().filter(|node| answers[node].readiness.verified).collect();
        match self.best(allowed, &answers, &cause) {
            Some(best) => self.offer(best),
            None => self.nobody(&behind, &answers, reasons),
        }
    }

    /// Is this position near enough to the heads, or did a person accept what would be lost?
    pub(super) fn loss_is_allowed(&self, position: &Position, cause: &Cause) -> bool {
        match cause {
            Cause::Manual { accept_loss: true, .. } => true,
            Cause::Switchover { .. } | Cause::Return { .. } => false,
            _ => self
                .history
                .lag(self.now, position)
                .is_some_and(|lag| lag <= self.policy.lag_max && self.policy.lag_max > Duration::ZERO),
        }
    }

    /// Position, priority, estimated time, id; the source of a switchover that failed stands before all.
    fn best(&self, nodes: Vec<NodeId>, answers: &BTreeMap<NodeId, Answer>, cause: &Cause) -> Option<NodeId> {
        let source = |node: &NodeId| matches!(cause, Cause::Return { source } if source == node);
        let priority = |node: &NodeId| self.policy.priorities.get(node).copied().unwrap_or_default();
        nodes.into_iter().max_by(|a, b| {
            let (first, second) = (&answers[a].readiness, &answers[b].readiness);
            let by_position = first.position.compare(&second.position, &self.policy.datasets);
            let rest = |node: &NodeId, activation| (priority(node), Reverse(activation), Reverse(node.clone()));
            let by_rest = rest(a, first.activation).cmp(&rest(b, second.activation));
            source(a).cmp(&source(b)).then(by_position).then(by_rest)
        })
    }

    fn offer(&mut self, node: NodeId) {
        let offer = self.stamp();
        let (epoch, timers) = (self.record.granted.next(), self.policy.timers);
        self.send(&node, Message::Offer { offer: offer.clone(), epoch, timers });
        let until = self.now + timers.request() * 2;
        if let State::Electing(election) = &mut self.state {
            election.stage = Stage::Offer { offer, node, until };
        }
    }

    pub(super) fn declined(&mut self, from: &NodeId, offer: &Stamp, held: bool) {
        let State::Electing(election) = &mut self.state else { return };
        if election.offered(offer) == Some(from) {
            election.tried.insert(from.clone());
            if let (true, Some(answer)) = (held, election.answers.get_mut(from)) {
                answer.held = true;
            }
            self.decide();
        }
    }

    fn nobody(&mut self, behind: &[NodeId], answers: &BTreeMap<NodeId, Answer>, mut reasons: BTreeMap<NodeId, Ineligible>) {
        let lost_by = |node: &NodeId| self.history.above(&answers[node].readiness.position);
        reasons.extend(behind.iter().map(|node| {
            let behind = Ineligible::Behind { snapshots: lost_by(node).len() };
            (node.clone(), if answers[node].readiness.verified { behind } else { Ineligible::Unverified })
        }));
        let best = behind.iter().max_by(|a, b| {
            let (a, b) = (&answers[*a].readiness.position, &answers[*b].readiness.position);
            a.compare(b, &self.policy.datasets)
        });
        let lost = best.map_or_else(|| self.history.above(&Position::default()), lost_by);
        // Members that stand at the heads and are only held back or busy would lose nothing.
        let complete = answers.values().any(|answer| answer.readiness.position == *self.history.heads());
        let lost = if complete { Vec::new() } else { lost };
        self.block(Blocked { why: Why::NobodyEligible, lost, members: reasons });
    }

    pub(super) fn block(&mut self, blocked: Blocked) {
        let (since, cause) = match &self.state {
            State::Electing(election) => (election.since, election.cause.clone()),
            State::Expired { since, cause, .. } => (*since, cause.clone()),
            _ => (self.now, Cause::Automatic),
        };
        self.give_up_election();
        if let Cause::Switchover { source, to, .. } = cause {
            self.send(&source, Message::Refused { refusal: Refusal::Blocked { lost: blocked.lost.clone() } });
            self.alert(Alert::NotHandedOver { to, blocked });
            self.state = State::Leased;
            return;
        }
        if let Cause::Manual { node, .. } = &cause {
            let refusal = Refusal::Blocked { lost: blocked.lost.clone() };
            node.iter().for_each(|node| self.send(node, Message::Refused { refusal: refusal.clone() }));
            self.outputs.push(Output::Refused(refusal));
        }
        // A person's wish is not kept for later: who asked is told, and asks again.
        let cause = if matches!(cause, Cause::Manual { .. }) { Cause::Automatic } else { cause };
        let news = self.blocked.as_ref().is_none_or(|before| !before.same_reason(&blocked));
        if news {
            self.alert(Alert::Blocked(blocked.clone()));
        }
        self.blocked = Some(blocked);
        if self.record.granted == Epoch::default() {
            self.state = State::Vacant;
            return;
        }
        self.state = State::Expired { since, cause, retry: self.now + self.timers().heartbeat() };
    }

    /// An offer that no longer stands is taken back, so that its claim keeps nobody from acknowledging a HOLD.
    pub(super) fn give_up_election(&mut self) {
        let State::Electing(election) = &self.state else { return };
        if let Stage::Offer { offer, node, .. } = &election.stage {
            let (offer, node) = (offer.clone(), node.clone());
            self.send(&node, Message::Withdrawn { offer });
        }
        self.state = State::Leased;
    }

    pub(super) fn back_to_catch_up(&mut self) {
        let (now, until) = (self.now, self.now + self.policy.catch_up_max);
        if let State::Electing(election) = &mut self.state {
            election.stage = Stage::CatchUp { again: now };
            election.catch_up_until.get_or_insert(until);
        }
    }
}

impl Blocked {
    /// Times in it change with each look; the reason is what a person hears once.
    fn same_reason(&self, other: &Blocked) -> bool {
        std::mem::discriminant(&self.why) == std::mem::discriminant(&other.why) && self.lost == other.lost
    }
}

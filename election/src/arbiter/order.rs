//! What people order: at the arbiter's host, or at a member.

use super::{Arbiter, Cause, Output, State};
use crate::ledger::{Paused, ReignState};
use crate::message::{Message, Pause, Refusal};
use crate::{NodeId, Stamp, Time};

/// A person's wish, typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// A node was enrolled; `active` gives it the first reign.
    Join {
        node: NodeId,
        active: bool,
    },
    /// The active goes only by `force`, which fences it first. In RECOVERY nobody knows who is active: there `force` is the person's oath that
    /// this node is off.
    Expel {
        node: NodeId,
        force: bool,
    },
    Pause {
        length: std::time::Duration,
    },
    Resume,
    /// The last takeover was seen: the block ends.
    Acknowledge,
    /// The person swears that this node is off.
    Attest {
        off: NodeId,
    },
    /// Take over now, to this node or to the best, though a switch is off; `accept_loss` leaves behind what BLOCKED named.
    Elect {
        node: Option<NodeId>,
        accept_loss: bool,
    },
    Resolve {
        winner: NodeId,
    },
}

impl Arbiter {
    pub(super) fn order(&mut self, order: Order) {
        let done = match order {
            Order::Join { node, active } => self.join(node, active),
            Order::Expel { node, force } => self.expel(&node, force),
            Order::Pause { length } => self.pause(length),
            Order::Resume => self.resume(),
            Order::Acknowledge => {
                self.record.takeovers.acknowledged = true;
                self.persist();
                self.look_again();
                Ok(())
            }
            Order::Attest { off } => self.attest(&off),
            Order::Elect { node, accept_loss } => self.elect(node, accept_loss),
            Order::Resolve { winner } if self.resolve(&winner) => Ok(()),
            Order::Resolve { winner } => Err(Refusal::NoBranch { node: winner }),
        };
        self.outputs.extend(done.err().map(Output::Refused));
    }

    fn join(&mut self, node: NodeId, active: bool) -> Result<(), Refusal> {
        if active && !matches!(self.state, State::Vacant) {
            return Err(Refusal::Leased { holder: self.record.holder.clone() });
        }
        if !self.record.members.contains_key(&node) {
            self.record.generation += 1;
            self.record.members.insert(node.clone(), self.record.generation);
        }
        if active {
            self.record.designated = Some(node);
        }
        self.persist();
        Ok(())
    }

    fn expel(&mut self, node: &NodeId, force: bool) -> Result<(), Refusal> {
        if !self.record.members.contains_key(node) {
            return Err(Refusal::Unknown { node: node.clone() });
        }
        // Whoever is silent in RECOVERY may be the active; by force, the person vouches for it.
        match &mut self.state {
            State::Recovery(_) if !force => return Err(Refusal::Recovering),
            State::Conflict(_) => return Err(Refusal::Conflict),
            State::Recovery(recovery) => recovery.vouch(node),
            _ => (),
        }
        let may_go_on = self
            .record
            .last_reign()
            .is_some_and(|entry| entry.reign.node == *node && entry.state == ReignState::Active);
        if may_go_on && !force {
            return Err(Refusal::ExpelsActive);
        }
        if self.record.holder.as_ref() != Some(node) {
            self.remove(node);
            return Ok(());
        }
        if !force {
            return Err(Refusal::ExpelsActive);
        }
        self.record.expelling = Some(node.clone());
        self.persist();
        Ok(())
    }

    pub(super) fn remove(&mut self, node: &NodeId) {
        if self.record.members.remove(node).is_some() {
            self.record.generation += 1;
        }
        self.persist();
    }

    fn pause(&mut self, length: std::time::Duration) -> Result<(), Refusal> {
        if !matches!(self.state, State::Leased) || self.record.holder.is_none() {
            return Err(Refusal::Nothing);
        }
        if self.record.pause.is_some() {
            return Err(Refusal::Paused);
        }
        self.record.pauses += 1;
        let pause = Pause { number: self.record.pauses, length };
        self.record.pause = Some(Paused { pause, acknowledged: false, ending: false });
        self.persist();
        Ok(())
    }

    fn resume(&mut self) -> Result<(), Refusal> {
        let paused = self.record.pause.as_mut().ok_or(Refusal::Nothing)?;
        paused.ending = true;
        // One that nobody took up yet might be taken up by a renewal that is under way: that renewal is not counted for it any more.
        if !paused.acknowledged {
            self.record.pause = None;
        }
        self.persist();
        Ok(())
    }

    fn attest(&mut self, off: &NodeId) -> Result<(), Refusal> {
        match &mut self.state {
            State::Recovery(recovery) => recovery.vouch(off),
            _ if self.record.last_reign().is_some_and(|entry| entry.reign.node == *off) => self.vouched = true,
            _ => return Err(Refusal::Nothing),
        }
        Ok(())
    }

    fn look_again(&mut self) {
        let now = self.now;
        if let State::Expired { retry, .. } = &mut self.state {
            *retry = now;
        }
    }

    fn elect(&mut self, node: Option<NodeId>, accept_loss: bool) -> Result<(), Refusal> {
        if let Some(unknown) = node.as_ref().filter(|node| !self.record.members.contains_key(*node)) {
            return Err(Refusal::Unknown { node: unknown.clone() });
        }
        match &self.state {
            State::Recovery(_) => return Err(Refusal::Recovering),
            State::Conflict(_) => return Err(Refusal::Conflict),
            State::Vacant if self.record.designated.as_ref().is_some_and(|chosen| node.as_ref() != Some(chosen)) => {
                return Err(Refusal::Leased { holder: self.record.designated.clone() });
            }
            State::Vacant => (),
            State::Electing(election) if election.is_offering() => return Err(Refusal::Busy),
            _ if !self.lease_is_over() => return Err(Refusal::Leased { holder: self.record.holder.clone() }),
            _ => (),
        }
        self.displace(node.as_ref());
        self.give_up_election();
        let cause = Cause::Manual { node, accept_loss };
        self.state = State::Expired { since: self.now, cause, retry: self.now };
        Ok(())
    }

    /// A later wish takes the place of one that nobody was offered the role for yet: whoever waits for that one is told.
    fn displace(&mut self, by: Option<&NodeId>) {
        let before = match &self.state {
            State::Electing(election) => Some(&election.cause),
            State::Expired { cause, .. } => Some(cause),
            _ => None,
        };
        if let Some(Cause::Manual { node: Some(node), .. }) = before
            && by != Some(node)
        {
            let node = node.clone();
            self.send(&node, Message::Refused { refusal: Refusal::Busy });
        }
    }

    /// A wish that arrives late is no wish any more: it must be said again, now.
    pub(super) fn asked_to_activate(&mut self, from: &NodeId, accept_loss: bool, heard: Option<Stamp>) {
        if !self.is_of_now(heard.as_ref()) {
            let stamp = self.stamp();
            return self.send(from, Message::Hear { stamp });
        }
        if let Err(refusal) = self.elect(Some(from.clone()), accept_loss) {
            self.send(from, Message::Refused { refusal });
        }
    }

    /// Until when the arbiter grants nothing, for what people see.
    pub fn grants_nothing_until(&self) -> Time {
        self.lease_ends()
    }
}

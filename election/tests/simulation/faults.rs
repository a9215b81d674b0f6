//! Known-bad variants of the protocol, made by bending the world around the very code: what is forgotten, forged, or held too long.
//!
//! Nothing in the crate knows of them, but for timers that are built without their checks.

use std::time::Duration;

use election::{Envelope, MemberRecord, Message, NodeId, Peer, Time, Timers, member};

use crate::host::Input;
use crate::world::{ARBITER, World, name};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    None,
    /// An arbiter that starts believes that it has been there all the time.
    NoGrace,
    /// Nothing closes but our own process.
    NoWatchdog,
    /// The watchdog runs from when it was last set.
    KickWatchdog,
    /// In FAILSAFE, more than half are enough.
    Majority,
    /// The arbiter counts a member that the active does not know.
    Unacknowledged,
    /// A HOLD is forgotten by a restart.
    VolatileHold,
    /// The lease runs from when the answer came.
    LeaseFromAnswer,
    /// W = 0 and G = 0.
    NoMargins,
}

pub fn opening_time(mutant: Mutant, at: Time, timers: Timers) -> Time {
    if mutant == Mutant::NoGrace { at - timers.over() - Duration::from_millis(1) } else { at }
}

pub fn forget(mutant: Mutant, record: &mut MemberRecord) {
    if mutant == Mutant::VolatileHold {
        record.hold = None;
    }
}

pub fn gate_end(mutant: Mutant, until: Time, now: Time, timers: Timers) -> Time {
    match mutant {
        Mutant::NoWatchdog => Time::from_ms(u64::MAX / 2000),
        Mutant::KickWatchdog => now + timers.lease() - timers.watchdog(),
        _ => until,
    }
}

pub fn on_the_way(mutant: Mutant, mut envelope: Envelope, at: Time) -> Envelope {
    match &mut envelope.message {
        Message::Renewed(renewed) if mutant == Mutant::LeaseFromAnswer => renewed.sent.at = at,
        // The last node is one that joined unbeknown to the active.
        Message::Granted(grant) if mutant == Mutant::Unacknowledged => drop(grant.members.nodes.pop_last()),
        _ => (),
    }
    envelope
}

/// Forges the words that are missing once more than half of the cluster, the asker included, gave theirs.
pub fn majority(world: &mut World, from: usize, to: usize, delay: u64, envelope: &Envelope) {
    if world.mutant != Mutant::Majority || !matches!(envelope.message, Message::Held { .. }) || from == ARBITER {
        return;
    }
    let nodes = world.hosts.len() - 1;
    if nodes < 3 {
        return;
    }
    let missing: Vec<NodeId> = (1..=nodes)
        .filter(|node| *node != from && *node != to)
        .map(name)
        .take(nodes - (nodes / 2 + 1))
        .collect();
    for node in missing {
        let forged = Envelope { from: Peer::Node(node), ..envelope.clone() };
        world.feed_later(to, delay, Input::Member(member::Input::Received(Box::new(forged))));
    }
}

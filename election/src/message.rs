//! What arbiter and members say to each other: plain data, carried over the binaries' link.
//!
//! Each envelope carries the highest epoch that its sender knows, so that every answer, whatever it is about, fences a node whose reign
//! is over, and tells an arbiter that lost its memory so. Messages may be lost, late, doubled and out of order: each that asks carries a
//! [`Stamp`], each that answers echoes it, and none means anything without it. Nobody waits for an answer; who lacks one asks again.
//!
//! A relay is an envelope in an envelope: any member carries a renewal to the arbiter, and the answer back, and reads neither. Nothing else is heard that way.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::position::Lost;
use crate::{ClusterId, Epoch, NodeId, Peer, Position, Stamp, Timers};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    pub cluster: ClusterId,
    pub from: Peer,
    pub to: Peer,
    /// The highest epoch that the sender knows.
    pub seen: Epoch,
    pub message: Message,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Message {
    // The active and the arbiter.
    Renew(Renew),
    Renewed(Renewed),
    /// What was said counts when it is said again with this echoed: it must be of now, and the way back must be open.
    Hear {
        stamp: Stamp,
    },
    /// The asker's reign is over.
    Stale {
        asked: Epoch,
    },
    /// ACTIVE(epoch): services run behind the closed gate.
    Active {
        epoch: Epoch,
    },
    ActiveRecorded {
        epoch: Epoch,
    },
    /// Gate closed, services stopped; `position` is where the final export ended. Of a reign that never was active: the act failed.
    Release {
        epoch: Epoch,
        position: Position,
    },
    Released {
        epoch: Epoch,
    },

    // The arbiter and those who stand by.
    Poll {
        asked: Stamp,
    },
    Answer(Answer),
    /// Says that the arbiter lives, to a report that it did not ask for.
    Noted {
        holder: Option<NodeId>,
    },
    CatchUp {
        heads: Position,
    },
    Offer {
        offer: Stamp,
        epoch: Epoch,
        timers: Timers,
    },
    Declined {
        offer: Stamp,
        held: bool,
    },
    Claim {
        offer: Stamp,
        sent: Stamp,
        position: Position,
    },
    Granted(Grant),
    /// An offer that no longer stands, so that its claim need not be waited for.
    Withdrawn {
        offer: Stamp,
    },
    /// A person at a member asks for the role, without force.
    Activate {
        accept_loss: bool,
        heard: Option<Stamp>,
    },
    Refused {
        refusal: Refusal,
    },

    // The active and the members, while the arbiter is lost.
    Hold {
        epoch: Epoch,
        sent: Stamp,
        wait: Duration,
    },
    Held {
        sent: Stamp,
    },
    NotHeld {
        sent: Stamp,
    },

    Relay {
        inner: Box<Envelope>,
        /// That the inner one is of whom it says. Made and looked at by those who bring envelopes; here it is carried along.
        #[serde(default)]
        proof: String,
    },
}

/// The active's heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renew {
    pub epoch: Epoch,
    pub sent: Stamp,
    /// Of the list of members that the sender holds durably.
    pub generation: u64,
    /// The pause that the sender would begin with this renewal.
    pub paused: Option<u64>,
    /// The last pause that the sender does not live under any more.
    pub pause_ended: Option<u64>,
    /// Set while the sender stands behind its closed gate and waits for another to take over.
    pub handing: Option<Handing>,
    /// Every service port is behind a gate, or a watchdog or a STONITH hook is there.
    pub guarded: bool,
    /// The sender is fenced and would go on.
    pub resuming: bool,
    /// Nothing is decided by it.
    #[serde(default)]
    pub outside: Outside,
    /// The stamp of a [`Message::Hear`]. Without one of just now, neither going on nor handing over counts, nor a new boot: a node whose answers
    /// are all lost would keep everybody waiting for ever, and a late word of an earlier boot would hand over what a later boot took back.
    pub heard: Option<Stamp>,
}

/// A planned exchange: the source has stopped, exported the last, and names its successor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handing {
    pub to: NodeId,
    pub position: Position,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewed {
    pub epoch: Epoch,
    pub sent: Stamp,
    /// Only when the renewal named another generation.
    pub members: Option<Members>,
    pub pause: Option<Pause>,
    /// The renewal that is answered holds for the pause's whole length.
    pub paused: bool,
}

/// A pause that a person asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    pub number: u64,
    pub length: Duration,
}

/// Who belongs to the cluster; the active asks all of them when the arbiter is lost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members {
    pub generation: u64,
    pub nodes: BTreeSet<NodeId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    pub epoch: Epoch,
    pub offer: Stamp,
    /// The claim's stamp; the lease runs from it.
    pub sent: Stamp,
    pub timers: Timers,
    pub members: Members,
    /// Where the reign begins.
    pub base: Position,
    /// How long activation may take, renewals included.
    pub activation_max: Duration,
    /// Somebody who worked handed it over.
    #[serde(default)]
    pub handed: bool,
}

/// What a member says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The poll's stamp; none when nobody asked.
    pub asked: Option<Stamp>,
    pub standing: Standing,
    pub own: Option<OwnReign>,
    /// A person swore that this node is off when the reign was forced.
    pub forced: Option<NodeId>,
    /// Of the list of members that it holds.
    pub generation: u64,
    /// A HOLD forbids it to take a grant.
    pub held: bool,
    pub readiness: Readiness,
}

/// The reign that a member holds, told to an arbiter that may not know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnReign {
    pub epoch: Epoch,
    /// It was ACTIVE.
    pub active: bool,
    pub timers: Timers,
    /// How long the lease still lives; under a pause that the arbiter forgot, long.
    pub lease_left: Duration,
}

/// What a member's binary knows of its data and of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// Imported and verified; on an active, exported.
    pub position: Position,
    pub importing: bool,
    pub verified: bool,
    /// The validation hook exited 0.
    pub valid: bool,
    /// The cluster's own switch, in this node's file.
    pub automatic: bool,
    /// It cannot open what it mirrors.
    pub blind: bool,
    /// Every service port is behind a gate, or a watchdog or a STONITH hook is there.
    pub guarded: bool,
    /// Its node file asks for a good drill, and the last one is none, or long ago.
    #[serde(default)]
    pub undrilled: bool,
    /// The last measured activation.
    pub activation: Duration,
    /// Nothing is decided by it.
    #[serde(default)]
    pub outside: Outside,
}

/// Where a member sees the cluster's addresses and names, in words for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Outside {
    /// By address: `here`, a link address, `nobody`, `conflict` or `unknown`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub vip: BTreeMap<String, String>,
    /// By domain: `here`, a node, `elsewhere`, `2 of 3 web1` or `unknown`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub dns: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    Passive,
    Syncing,
    Ready,
    Claiming,
    Activating,
    Active,
    Failsafe,
    /// In an orderly way down: for a person, a service that is down, or a successor.
    SteppingDown,
    Fencing,
    /// Fenced, and trying to go on under the same epoch.
    Fenced,
    Closed,
}

/// Why a person's wish was not granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// A lease lives, or may live.
    Leased {
        holder: Option<NodeId>,
    },
    Paused,
    Recovering,
    Conflict,
    /// This node is no member.
    Unknown {
        node: NodeId,
    },
    /// What the wish is about is not so.
    Nothing,
    /// Another election runs.
    Busy,
    /// The active is expelled only by force.
    ExpelsActive,
    /// Nobody named here was forced into the epoch that is in conflict.
    NoBranch {
        node: NodeId,
    },
    /// Nobody, or not the one that was named, can take over; this is what going on would leave behind.
    Blocked {
        lost: Vec<Lost>,
    },
    /// The node holds a reign, or holds none, or is on its way.
    Standing {
        standing: Standing,
    },
}

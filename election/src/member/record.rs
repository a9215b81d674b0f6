//! What a member must not forget: over a reboot, the record; over a restart of its process, the role.
//!
//! The role changes with each renewal and is not fsynced: within a boot the kernel keeps what was written, and after one no lease counts.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::message::{Members, Standing};
use crate::{BootId, Epoch, NodeId, Pause, Time, Timers};

/// Durable before anything is said that rests on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberRecord {
    /// The highest epoch seen.
    pub seen: Epoch,
    pub hold: Option<Hold>,
    pub own: Option<Own>,
    pub members: Members,
    pub closed: bool,
}

/// A HOLD that was acknowledged: no grant above `epoch` is taken before `until`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    pub epoch: Epoch,
    pub boot: BootId,
    pub until: Time,
    /// Runs anew after a reboot.
    pub wait: Duration,
}

/// The reign that this node holds or held last and was not told to be over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Own {
    pub epoch: Epoch,
    /// ACTIVE(epoch) was recorded.
    pub active: bool,
    pub timers: Timers,
    pub activation_max: Duration,
    /// A person began this reign and swore that this node is off; until the arbiter knows of it, the reign leases itself.
    pub forced: Option<NodeId>,
    /// A node that worked handed the role over.
    #[serde(default)]
    pub handed: bool,
}

/// `state/role`: what the exporter reads, and where a restarted process of the same boot goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    pub epoch: Epoch,
    pub standing: Standing,
    pub lease_until: Time,
    pub boot: BootId,
    /// When the last renewal that was answered had been sent.
    pub renewed: Time,
    /// A person began this reign, and the arbiter has not said that it counts.
    #[serde(default)]
    pub forced: bool,
    /// Another node reigns in the same epoch, by its own word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rival: Option<NodeId>,
    /// The pause that the lease's end is of.
    pub paused: Option<Pause>,
    /// A node that worked handed this reign over: it is where somebody wanted it.
    #[serde(default)]
    pub handed: bool,
}

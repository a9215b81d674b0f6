//! What a recipe for an act is: one thing that must be so on the active node and on no other, taken and released.
//!
//! Every call carries a deadline and the epoch it is done for. What an act is about to do stands in its record, durable, before
//! it is done (`record`): so whoever releases it undoes exactly that, another process as well, after a kill at any moment and
//! after a change of the configuration. A call for an epoch below the recorded one is refused and changes nothing.
//!
//! What holds of every act:
//! - `take` and `release` can be repeated, in any order, by any process; each brings about what it says, however far one before it came.
//! - `take` that returns well holds; `release` that returns well leaves nothing of it.
//! - One at a time: a call waits for another of the same act, within its deadline. A program that outlived the process that
//!   started it still counts, until it ends.
//! - Nothing waits longer than its deadline, but for a kernel that does not let a process go.
//!
//! No clock is read: deadlines are durations, counted by the kernel's timers (`budget`). Whether an act *may* be taken is
//! decided elsewhere; acts know nothing of leases, elections or other nodes.

mod budget;
mod cgroup;
pub mod conform;
pub mod dns;
pub mod gate;
pub mod granted;
pub mod hook;
#[cfg(test)]
mod nearly;
mod processes;
mod program;
mod record;
pub mod services;
pub mod systemd;
pub mod vip;

use std::time::Duration;

use crate::Error;
use crate::data::Finding;

pub use dns::Dns;
pub use gate::Gate;
pub use hook::Hook;
pub use services::Services;
pub use systemd::Units;
pub use vip::Vip;

/// What an act is done for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub cluster: String,
    pub epoch: u64,
    pub node: String,
    /// It fails when it is not done by then.
    pub within: Duration,
    /// How long what the kernel keeps may live without us, counted from the beginning of the call. The gate and addresses ask for it.
    pub lifetime: Option<Duration>,
}

/// Whether an act holds, as the world has it and not as the record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    Yes,
    No,
    /// Some of it: a take or release that was cut short, or something that ended by itself.
    Partly,
    /// It cannot be seen.
    Unknown,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    pub holds: Holds,
    /// Faults say that it would not work.
    pub findings: Vec<Finding>,
}

/// One act. Every implementation passes `conform::suite`.
pub trait Act: Send + Sync {
    /// What messages call it.
    fn name(&self) -> &str;

    /// Whether it would work, and whether it holds now. Changes nothing, and waits for nobody.
    fn check(&self, call: &Call) -> Result<Checked, Error>;

    fn take(&self, call: &Call) -> Result<Vec<Finding>, Error>;

    /// Keeps alive, for another lifetime, what ends without us. `NotHeld` when this epoch has not taken it.
    fn extend(&self, call: &Call) -> Result<Vec<Finding>, Error> {
        let _ = call;
        Ok(Vec::new())
    }

    /// Undoes what the record says was taken; with no record, sees to it that nothing of it holds, where that can be seen.
    fn release(&self, call: &Call) -> Result<Vec<Finding>, Error>;
}

//! What a node knows and keeps for itself, beside the repository: nothing here is published, and all of it can be lost.

pub mod cache;
pub mod chunks;

/// The first eight bytes of a run id: enough to tell apart the runs that one node's local state speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunTag(pub u64);

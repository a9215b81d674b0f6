//! What a node keeps beside its repository, so that an export costs what changed: the base's index and stamps, its lists of extents, the chunk table, the cache of segments,
//! and the journal of an unfinished export.
//!
//! All of it can be lost: the next export then reads everything and starts anew. None of it is ever believed without a check. It is protected like the
//! live data, for the cache holds content in the clear.

pub mod cache;
pub mod chunks;
pub mod state;

/// The first eight bytes of a run id: enough to tell apart the runs that one node's local state speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunTag(pub u64);

//! Bytes at rest: the repository format and everything that reads or writes it.
//!
//! FORMAT.md says what the bytes are. Here, from the ground up: `encode`, `digest`, `sign`, `seal` make and check bytes; `record`, `container`, `extent` and
//! `entry` are the format; `store` holds objects; what follows stands on these.
//!
//! What is absent: no network, no clock of its own (times are arguments), no knowledge of databases or of who is active.

pub mod check;
pub mod container;
pub mod digest;
pub mod encode;
pub mod entry;
mod error;
pub mod export;
pub mod extent;
pub mod heal;
pub mod id;
pub mod identity;
pub mod local;
pub mod locate;
pub mod matcher;
pub mod name;
pub mod pack;
pub mod read;
pub mod record;
pub mod repository;
pub mod reseal;
pub mod retain;
pub mod root;
pub mod roots;
pub mod seal;
pub mod sign;
pub mod store;
pub mod sweep;
pub mod sync;
pub mod trust;

pub use error::{Error, Kind, Result};

/// How many threads to use where the caller has no wish: one for each processor.
pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from)
}

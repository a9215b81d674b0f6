//! Bytes at rest: the repository format and everything that reads or writes it.
//!
//! FORMAT.md says what the bytes are. Here, from the ground up: `encode`, `digest`, `sign`, `seal` make and check bytes; `record`, `container`, `extent` and
//! `entry` are the format; `store` holds objects; what follows stands on these.
//!
//! What is absent: no network, no clock of its own (times are arguments), no knowledge of databases or of who is active.

pub mod container;
pub mod digest;
pub mod encode;
pub mod entry;
mod error;
pub mod extent;
pub mod id;
pub mod name;
pub mod record;
pub mod seal;
pub mod sign;
pub mod store;

pub use error::{Error, Kind, Result};

//! Bytes at rest: the repository format and everything that reads or writes it.

pub mod local;
pub mod matcher;

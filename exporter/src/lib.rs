//! The side that works: captures datasets into the spool, on a host that is active.
//!
//! Recipes and the archive meet in the crate `sources`; `node` keeps what makes this host itself: its signing key and where its state lies; `certified` says
//! whether that key counts, and `protected` holds what only a person opens;
//! `attempt` keeps how exports went, `status` finds out how the node stands; `cmd` has a file for each command, `serve` is the daemon. It never reads back what it sealed: it could not.

pub mod announce;
pub mod attempt;
pub mod certified;
pub mod cmd;
pub mod export;
pub mod node;
pub mod protected;
pub mod serve;
pub mod spool;
pub mod status;
pub mod until_pulled;

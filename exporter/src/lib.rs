//! The side that works: captures datasets into the spool, on a host that is active.
//!
//! `capture` adapts recipes to the archive, which do not know each other; `source` makes a recipe of what the node file says; `node` keeps what makes this host itself: its signing key and where its state lies;
//! `attempt` keeps how exports went, `status` finds out how the node stands; `cmd` has a file for each command, `serve` is the daemon. It never reads back what it sealed: it could not.

pub mod announce;
pub mod attempt;
pub mod capture;
pub mod cmd;
pub mod node;
pub mod serve;
pub mod source;
pub mod status;

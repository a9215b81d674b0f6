//! The epoch in the data: what is published, what goes to quarantine, and that nothing is lost on the way; on real repositories, and between daemons.

mod branches;
mod commands;
mod killed;
#[path = "../hop/place.rs"]
#[allow(dead_code, reason = "the way between hosts has more means than are needed here")]
mod place;
mod returning;
mod rule;
mod scene;
mod sealed;
mod spool;

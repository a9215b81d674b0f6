//! The arbiter at work: in a daemon with real connections and keys, with members that the test plays, killed and starved of disk; and its thread alone, by a clock that the test sets.

mod alone;
mod commands;
mod killed;
#[path = "../hop/place.rs"]
#[allow(dead_code, reason = "the way between hosts has more means than are needed here")]
mod place;
mod race;
mod reigning;
mod scene;
mod starved;

//! When something is due, and how well it goes: decisions that the daemons of `exporter`, `pull-backup` and `importer` share.
//!
//! Floor 1, a crate of its own because all three need the same answers, and because answers can be tested only where time is
//! an argument. A daemon asks [`Timer::due`] and starts what is due; it gathers [`Evidence`] at each hop and has it judged
//! ([`health::judge`]); each judgement goes to [`Incidents::observe`], which says what to tell whom. None of them reads a
//! clock, sleeps, or knows a network: both clocks come as a [`Clock`]. Only `deliver` and `mail` touch the outside: they run a
//! command and wait for it no longer than they were told.

pub mod clock;
pub mod deliver;
pub mod error;
pub mod health;
pub mod incident;
pub mod mail;
pub mod message;
pub mod metrics;
pub mod outbox;
pub mod ping;
pub mod place;
pub mod schedule;
pub mod timer;

mod cron;
mod words;

pub use clock::Clock;
pub use error::Error;
pub use health::{Evidence, Status, Verdict, Word};
pub use incident::{Incidents, Policy};
pub use message::Message;
pub use place::{Hop, Place};
pub use schedule::{Rule, Schedule};
pub use timer::{Due, Past, Timer};

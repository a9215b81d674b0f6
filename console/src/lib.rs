//! What a person sees and writes: configuration files, exit statuses, output, progress.
//!
//! Floor 2: the three commands share it, so that one mistake reads the same in each of them. It knows the words of the
//! configuration and nothing of what the archive or a recipe does with them.
//! It deliberately keeps no time of its own: `now` is an argument wherever a time is meant.

pub mod error;
pub mod exit;
pub mod human;
pub mod located;
pub mod node_file;
pub mod output;
pub mod passphrase;
pub mod place;
pub mod progress;
pub mod pull_backup_file;
pub mod quantity;
pub mod ranges;
pub mod table;
pub mod when;

mod alert;
mod cron;
mod databases;
mod dataset;
mod domains;
mod nearest;
mod takeover;

pub use error::Error;

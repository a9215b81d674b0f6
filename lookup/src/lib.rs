//! Commands that read a repository, in a folder or on another host: `snapshots`, `ls`, `find`, `diff`, `restore`, `check`.
//!
//! `pull-backup` and `importer` offer the same ones, and whoever restores in a bad night should find that they behave the same; so they stand here, once,
//! each in a file of its own in `cmd`. The binaries add their own commands beside them.
//!
//! It decides what to read and how to say it; how bytes are read and proven is the archive's. It writes nothing but what `restore` and `check --heal`
//! are asked to write. Its shapes of JSON are in docs/json.md.

pub mod choose;
pub mod cmd;
pub mod fact;
pub mod failure;
pub mod open;
pub mod place;
pub mod show;

pub use open::Surroundings;

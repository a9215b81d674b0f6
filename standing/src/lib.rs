//! How a host stands: computed from its disk, shown by `status`, watched and told by its daemon.
//!
//! A crate of its own because the three binaries need the same, and because it stands between `link`, whose positions and reports it reads, and them.
//! `holding` says how old the data in a repository is, `kept` what a daemon that pulls knows of its peers, `receiving` what those who pull here said; the
//! binaries put that together (`Host`), for the command and the daemon alike, so that `status` tells the same with and without a daemon.
//!
//! In a daemon `look` does so every few seconds, tells incidents (`deliver`, `hook`), pings, and keeps the newest for `health`. `log` is what daemons say. `outside`
//! is where addresses and names are, as a daemon of a node saw it last.
//!
//! The words themselves (ok, late, failing, never) and when something is told are decided in `watch`. Nothing here writes into a repository or asks a peer.

pub mod arbiter;
pub mod deliver;
pub mod error;
pub mod health;
pub mod holding;
pub mod hook;
pub mod host;
pub mod kept;
pub mod log;
pub mod look;
pub mod memory;
pub mod outside;
pub mod place;
pub mod receiving;
pub mod show;

pub use error::{Error, Result};
pub use host::{Host, Line};
pub use log::Log;

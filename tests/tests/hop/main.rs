//! The way between hosts, in one process: a node's shelf and the daemon of a pull-backup over real connections on loopback.

mod place;
mod pull;
mod retention;
mod trust;

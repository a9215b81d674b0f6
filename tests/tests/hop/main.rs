//! The way between hosts, in one process: a node's shelf and the daemon of a pull-backup over real connections on loopback.

mod followers;
mod hostile;
mod lent;
mod place;
mod publish;
mod pull;
mod retention;
mod trust;

//! What can go wrong while it is found out how a host stands, or told.
//!
//! A hook's URL may be a secret, so no message has more of it than the host.

use std::io;
use std::time::Duration;

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read what is held")]
    Holding { source: archive::Error },
    #[error("the URL of {what} is none that can be asked")]
    Url { what: &'static str },
    #[error("cannot reach {host}")]
    Connect { host: String, source: io::Error },
    #[error("{host} broke off: {why}")]
    Broken { host: String, why: String },
    #[error("{host} gave no answer within {} s", after.as_secs())]
    Deadline { host: String, after: Duration },
    #[error("{host} answered with status {status}")]
    Answer { host: String, status: u16 },
    #[error("this host trusts no certificate authority: {why}")]
    Roots { why: String },
    #[error("cannot begin a thread")]
    Thread { source: io::Error },
}

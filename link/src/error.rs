//! What can go wrong between hosts.
//!
//! A variant is named by what failed and carries the peer. `is_worth_another_try` tells whether waiting helps. The source is never repeated in a message.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// What failed where a daemon of this host was asked something.
pub(crate) const ASK_DAEMON: &str = "ask the daemon at";

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {operation} {}", path.display())]
    File { operation: &'static str, path: PathBuf, source: io::Error },
    #[error("{} is damaged: {why}", path.display())]
    Damaged { path: PathBuf, why: String },
    #[error("cannot reach {peer}")]
    Connect { peer: String, source: io::Error },
    #[error("{peer} shows another key than the one that was pinned when this host joined")]
    Stranger { peer: String },
    #[error("{peer} broke off")]
    Broken { peer: String, source: io::Error },
    #[error("{peer} gave no answer within {} s ({what})", after.as_secs_f32())]
    Deadline { peer: String, what: &'static str, after: Duration },
    #[error("{peer} is too slow: {bytes} bytes in {} s", within.as_secs())]
    Slow { peer: String, bytes: u64, within: Duration },
    #[error("{peer} refused: {why}")]
    Refused { peer: String, why: String },
    #[error("{peer} does not have {what}")]
    Missing { peer: String, what: String },
    #[error("{peer} failed: {why}")]
    Failed { peer: String, why: String },
    #[error("{peer} answered with something else than was asked for: {why}")]
    Nonsense { peer: String, why: String },
    #[error("{why}")]
    Quota { why: String },
    #[error("this is no invitation: {why}")]
    Invitation { why: &'static str },
    #[error("cannot make a key or certificate: {why}")]
    Key { why: String },
}

impl Error {
    /// Whether the same request may succeed later.
    pub fn is_worth_another_try(&self) -> bool {
        !matches!(self, Error::Refused { .. } | Error::Missing { .. } | Error::Invitation { .. } | Error::Stranger { .. })
    }

    /// What an operator can do, when there is something.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Error::Stranger { .. } => {
                Some("if that host was installed anew, invite and join again; if not, somebody is between the two: do not go on")
            }
            Error::Connect { source, .. } if source.kind() == io::ErrorKind::ConnectionRefused => {
                Some("is its daemon running, and does a firewall let this host through?")
            }
            Error::Connect { .. } => Some("check the address, the network and the firewall between the two hosts"),
            Error::File { operation: ASK_DAEMON, source, .. } if source.kind() == io::ErrorKind::UnexpectedEof => {
                Some("what was asked may have been begun: see `status`, and ask again when the daemon runs")
            }
            Error::Invitation { .. } => Some("copy the whole line that `pull-backup invite` printed, in quotes"),
            _ => None,
        }
    }

    pub fn file(operation: &'static str, path: &std::path::Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_path_buf();
        move |source| Error::File { operation, path, source }
    }
}

/// A remote failure as the archive sees the failure of a source: what may pass ends a sync, what is lacking or refused concerns one thing.
impl From<Error> for archive::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Missing { peer, what } => archive::Error::Missing { name: format!("{what} at {peer}") },
            Error::Refused { peer, why } => archive::Error::Refused { name: format!("what was asked of {peer}"), why },
            other => archive::Error::Store { operation: "pull from", name: "the source".into(), source: io::Error::other(other) },
        }
    }
}

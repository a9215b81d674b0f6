//! What can go wrong with bytes at rest.
//!
//! A variant is named by the operation that failed and carries the name of the object. `kind` tells a caller what to do about it:
//! try again, give up because something is not allowed, or treat bytes as damaged. The source is never repeated in a message.

use std::io;
use std::path::{Path, PathBuf};

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a caller can do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The environment failed (disk full, permission, input/output): the same call may work later.
    Retry,
    /// Not allowed or not trusted: the same call fails again.
    Refuse,
    /// Bytes are missing or not what they should be.
    Corrupt,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {operation} {name}")]
    Store { operation: &'static str, name: String, source: io::Error },
    #[error("cannot {operation} {}", path.display())]
    File { operation: &'static str, path: PathBuf, source: io::Error },
    #[error("{name} is not there")]
    Missing { name: String },
    #[error("{name} is damaged: {why}")]
    Damaged { name: String, why: String },
    #[error("{name} is refused: {why}")]
    Refused { name: String, why: String },
    #[error("{name} exists already with other bytes")]
    Conflict { name: String },
    #[error("{} is not a repository: {why}", path.display())]
    NotARepository { path: PathBuf, why: String },
    #[error("{name} has format version {version}; this program reads version 1 and is too old for it")]
    Future { name: String, version: u64 },
    #[error("{} is in use by another process ({what})", path.display())]
    Busy { path: PathBuf, what: &'static str },
    #[error("no identity opens {name}")]
    Sealed { name: String },
    #[error("identity {}: {why}", path.display())]
    Identity { path: PathBuf, why: String },
    #[error("no snapshot {wanted}")]
    NoSnapshot { wanted: String },
    #[error("{what} is not possible: {why}")]
    Unsuitable { what: String, why: String },
}

impl Error {
    pub fn kind(&self) -> Kind {
        match self {
            Error::Store { .. } | Error::File { .. } | Error::Busy { .. } => Kind::Retry,
            Error::Missing { .. } | Error::Damaged { .. } => Kind::Corrupt,
            _ => Kind::Refuse,
        }
    }

    pub(crate) fn damaged(name: impl std::fmt::Display, why: impl std::fmt::Display) -> Self {
        Error::Damaged { name: name.to_string(), why: why.to_string() }
    }

    pub(crate) fn refused(name: impl std::fmt::Display, why: impl std::fmt::Display) -> Self {
        Error::Refused { name: name.to_string(), why: why.to_string() }
    }

    /// An input/output error on a local file, for `map_err`.
    pub(crate) fn file(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_path_buf();
        move |source| Error::File { operation, path, source }
    }

    /// An input/output error on an object of a store, for `map_err`.
    pub(crate) fn store(operation: &'static str, name: &str) -> impl FnOnce(io::Error) -> Error {
        let name = name.to_string();
        move |source| Error::Store { operation, name, source }
    }

    /// What an operator can do, when there is something.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Error::Store { source, .. } | Error::File { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    Some("make room and run it again; nothing that was published is lost")
                }
                io::ErrorKind::PermissionDenied => Some("run it as the user who owns the repository and the data"),
                io::ErrorKind::ReadOnlyFilesystem => {
                    Some("the file system is mounted read-only; mount it writable or choose another place")
                }
                _ => None,
            },
            Error::Missing { .. } | Error::Damaged { .. } => {
                Some("`check --heal FROM` fetches what is broken from another repository of this dataset")
            }
            Error::Sealed { .. } => Some("give the identity of one of the recipients with --identity FILE"),
            Error::Busy { .. } => Some("wait for the other process to end, or end it"),
            Error::Future { .. } => Some("install a newer version"),
            _ => None,
        }
    }
}

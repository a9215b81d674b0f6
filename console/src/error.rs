//! The errors of this crate, each named by what failed.
//!
//! Messages are lower case, without a full stop; the source is not repeated in them, because the chain is printed once, in
//! `exit`. No variant ever holds a secret.

use std::io;
use std::path::PathBuf;

use crate::located::Mistakes;

/// What failed, on what.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("reading the configuration {}", path.display())]
    ReadConfiguration { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Configuration(Mistakes),
    #[error("--at {text:?}: {why}")]
    When { text: String, why: String },
    #[error("reading the passphrase from {}", path.display())]
    ReadPassphrase { path: PathBuf, source: io::Error },
    #[error("the passphrase in {}: {why}", path.display())]
    Passphrase { path: PathBuf, why: &'static str },
    #[error("asking for a passphrase: there is no terminal")]
    NoTerminal { source: io::Error },
    #[error("asking for a passphrase: {why}")]
    Ask { why: &'static str },
    #[error("writing output")]
    Write { source: io::Error },
}

impl Error {
    /// What an operator can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::ReadConfiguration { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Some("write this file, or name another one with --config FILE or RESILIENT_CONFIG".into())
            }
            Error::When { .. } => Some(crate::when::FORMS.into()),
            Error::Passphrase { path, why } if *why == crate::passphrase::OPEN_TO_OTHERS => Some(format!("chmod 600 {}", path.display())),
            Error::NoTerminal { .. } => Some("give the passphrase with --passphrase-file FILE".into()),
            _ => None,
        }
    }
}

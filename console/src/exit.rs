//! How a command ends: its exit status, and one error with what to do about it.
//!
//! The chain of an error is printed here and nowhere else, once, on one line: `error: what failed on what: why`. What an
//! operator can do follows as `hint: …`.

use std::error::Error as StdError;
use std::fmt;
use std::process::ExitCode;

use crate::output::tell;

/// The exit statuses of every command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    Done = 0,
    Failed = 1,
    /// Wrong usage or configuration.
    Usage = 2,
    /// It could be done and would be unsafe.
    Refused = 3,
    /// What could be done was; the rest was named.
    Partial = 4,
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> ExitCode {
        ExitCode::from(status as u8)
    }
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub struct Failure {
    pub status: Status,
    pub hint: Option<String>,
    cause: Box<dyn StdError + Send + Sync>,
}

impl Failure {
    pub fn new(status: Status, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Failure {
        Failure { status, hint: None, cause: cause.into() }
    }

    pub fn failed(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Failure {
        Failure::new(Status::Failed, cause)
    }

    pub fn usage(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Failure {
        Failure::new(Status::Usage, cause)
    }

    pub fn refused(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Failure {
        Failure::new(Status::Refused, cause)
    }

    /// Adds what to do about it.
    pub fn hint(mut self, text: impl Into<String>) -> Failure {
        self.hint = Some(text.into());
        self
    }
}

impl fmt::Display for Failure {
    /// The whole chain. Some libraries repeat their source in their own message; it is not said twice.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = self.cause.to_string();
        write!(f, "{last}")?;
        let mut source = self.cause.source();
        while let Some(error) = source {
            let message = error.to_string();
            if !last.ends_with(&message) {
                write!(f, ": {message}")?;
                last = message;
            }
            source = error.source();
        }
        Ok(())
    }
}

impl From<crate::Error> for Failure {
    fn from(error: crate::Error) -> Failure {
        use crate::Error::{Configuration, Passphrase, ReadConfiguration, When};
        let usage = matches!(error, Configuration(_) | ReadConfiguration { .. } | When { .. } | Passphrase { .. });
        let hint = error.hint();
        Failure { status: if usage { Status::Usage } else { Status::Failed }, hint, cause: Box::new(error) }
    }
}

/// Ends a command: prints the failure, if any, and gives the status. For `main`'s last line.
pub fn end(outcome: Result<Status, Failure>) -> ExitCode {
    match outcome {
        Ok(status) => status.into(),
        Err(failure) => {
            tell(format_args!("error: {failure}"));
            if let Some(hint) = &failure.hint {
                tell(format_args!("hint: {hint}"));
            }
            failure.status.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::{Path, PathBuf};

    use super::*;

    #[test]
    fn a_chain_stands_on_one_line_and_nothing_twice() {
        let source = io::Error::new(io::ErrorKind::PermissionDenied, "permission denied");
        let failure = Failure::from(crate::Error::ReadConfiguration { path: PathBuf::from("/etc/resilient/node.toml"), source });
        insta::assert_snapshot!(failure, @"reading the configuration /etc/resilient/node.toml: permission denied");
        assert_eq!(failure.status, Status::Usage);

        let repeated = io::Error::other(crate::Error::When { text: "x".into(), why: "y".into() });
        assert_eq!(Failure::failed(repeated).to_string(), "--at \"x\": y");
    }

    #[test]
    fn a_missing_configuration_says_what_to_do() {
        let error = crate::node_file::NodeFile::open(Path::new("/nowhere/node.toml")).unwrap_err();
        let failure = Failure::from(error);
        insta::assert_snapshot!(format!("{failure}\n{}", failure.hint.as_deref().unwrap_or("")), @r#"
        reading the configuration /nowhere/node.toml: No such file or directory (os error 2)
        write this file, or name another one with --config FILE or RESILIENT_CONFIG
        "#);
    }

    #[test]
    fn statuses_are_the_documented_numbers() {
        let all = [Status::Done, Status::Failed, Status::Usage, Status::Refused, Status::Partial];
        assert_eq!(all.map(|status| status as u8), [0, 1, 2, 3, 4]);
        assert_eq!(Failure::refused("held by web1").hint("wait").status, Status::Refused);
    }
}

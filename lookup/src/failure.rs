//! The archive's errors as ends of a command: exit status and hint.
//!
//! What the command line names wrongly is 2, what would be unsafe to believe or to do is 3, and the rest 1.

use archive::Error;
use console::exit::{Failure, Status};

/// The end of a command that met this error.
pub fn failure(error: Error) -> Failure {
    let status = match &error {
        Error::NotARepository { .. } | Error::Identity { .. } => Status::Usage,
        Error::Refused { .. } | Error::Conflict { .. } | Error::Unsuitable { .. } => Status::Refused,
        _ => Status::Failed,
    };
    let hint = error.hint();
    let failure = Failure::new(status, error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// An error on one line, its sources included, for a list of problems.
pub fn line(error: Error) -> String {
    failure(error).to_string()
}

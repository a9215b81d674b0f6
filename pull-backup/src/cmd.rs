//! The commands of a pull-backup that are its own, one file each.

pub mod init;
pub mod invite;
pub mod reseal;
pub mod retain;
pub mod serve;
pub mod status;

use console::exit::Failure;

/// An error between hosts, with what can be done about it.
pub(crate) fn failure(error: link::Error) -> Failure {
    let hint = error.hint();
    let failure = Failure::failed(error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

//! The commands of a pull-backup that are its own, one file each.

pub mod init;
pub mod invite;
pub mod join;
pub mod rebuild;
pub mod reseal;
pub mod retain;
pub mod serve;
pub mod status;

use console::exit::Failure;

/// What a command waits with.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|error| Failure::failed(format!("cannot start: {error}")))
}

/// An error between hosts, with what can be done about it.
pub(crate) fn failure(error: link::Error) -> Failure {
    let hint = error.hint();
    let failure = Failure::failed(error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

//! The commands of a pull-backup that are its own, one file each.

pub mod asking;
pub mod elect;
pub mod epoch;
pub mod init;
pub mod invite;
pub mod join;
pub mod order;
pub mod quarantine;
pub mod rebuild;
pub mod reseal;
pub mod retain;
pub mod serve;
pub mod status;
pub mod takeover;

use console::exit::Failure;

/// The clock that daemons and commands are given.
pub(crate) fn now_ms() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "a command is where the clock is read")]
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

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

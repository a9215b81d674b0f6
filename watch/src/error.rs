//! The errors of this crate, each named by what failed.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

/// What failed, on what.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("an interval of {} s is none of 5 s to 24 h", given.as_secs())]
    Interval { given: Duration },
    #[error("the cron expression `{text}`: {why}")]
    Cron { text: String, why: String },
    #[error("the cron expression `{text}` is never due: no such day exists")]
    CronNever { text: String },
    #[error("finding the time zone {name}")]
    Zone { name: String, source: jiff::Error },
    #[error("reading the state of incidents")]
    ReadIncidents { source: serde_json::Error },
    #[error("the state of incidents has version {found}; this program knows {known}")]
    IncidentsVersion { found: u32, known: u32 },
    #[error("{address:?} is no mail address")]
    MailAddress { address: String },
    #[error("an alert's command is empty")]
    CommandEmpty,
    #[error("running {program}")]
    Run { program: String, source: io::Error },
    #[error("{program} did not end within {} s and was killed", after.as_secs())]
    CommandTime { program: String, after: Duration },
    #[error("{program}: {status}{}", told(said))]
    CommandFailed { program: String, status: ExitStatus, said: String },
}

fn told(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!(": {said}") }
}

impl Error {
    /// What an operator can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Interval { .. } => Some("write a longer rhythm as a cron expression: at = \"0 3 * * 1\"".into()),
            Error::Cron { .. } | Error::CronNever { .. } => {
                Some("five fields: minute hour day month weekday, as \"0 3 * * *\" for three in the morning".into())
            }
            Error::Zone { .. } => Some("install the zone files (package tzdata), or set the zone of this host".into()),
            Error::ReadIncidents { .. } | Error::IncidentsVersion { .. } => {
                Some("move this file away: what is wrong then is told once more".into())
            }
            Error::Run { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Some("name a program that this host has, with its whole path".into())
            }
            _ => None,
        }
    }
}

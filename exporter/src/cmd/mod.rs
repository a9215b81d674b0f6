//! The commands of `exporter`.

mod certify;
mod check;
mod init;
mod join;
pub(crate) mod run;
mod serve;
mod status;

use clap::{Parser, Subcommand};
use console::exit::{Failure, Status};
pub(crate) use sources::import::failure;
use std::path::PathBuf;

/// Captures a host's databases and files, for a pull-backup to fetch.
#[derive(Debug, Parser)]
#[command(name = "exporter", version, about)]
pub struct Exporter {
    /// The node file.
    #[arg(long, global = true, value_name = "FILE", env = "RESILIENT_CONFIG", default_value = console::place::NODE)]
    config: PathBuf,
    /// Print JSON instead of text.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Set this host up: keys, and a node file where there is none.
    Init(init::Init),
    /// Certify a node's key, where the cluster key is.
    Certify(certify::Certify),
    /// Take the line that `certify` printed.
    Certificate(certify::Certificate),
    /// Say whether everything that an export needs is in place.
    Check(check::Check),
    /// Export now: one dataset, or all.
    Run(run::Run),
    /// Join a pull-backup, with the line of an invitation.
    Join(join::Join),
    /// Export when it is due, and offer the spool, until asked to end.
    Serve(serve::Serve),
    /// Show what was exported when, what waits, and whether each pull-backup holds it.
    Status(status::Show),
}

impl Exporter {
    pub fn run(self) -> Result<Status, Failure> {
        match self.command {
            Command::Check(check) => check.run(&self.config, self.json),
            Command::Run(run) => run.run(&self.config, self.json),
            Command::Init(init) => init.run(&self.config),
            Command::Certify(certify) => certify.run(&self.config),
            Command::Certificate(certificate) => certificate.run(&self.config),
            Command::Join(join) => join.run(&self.config),
            Command::Serve(serve) => serve.run(&self.config),
            Command::Status(status) => status.run(&self.config, self.json),
        }
    }
}

/// An error between hosts, with what can be done about it.
pub(crate) fn link_failure(error: link::Error) -> Failure {
    let hint = error.hint();
    let failure = Failure::failed(error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

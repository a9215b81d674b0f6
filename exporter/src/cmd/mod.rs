//! The commands of `exporter`.

mod join;
pub(crate) mod run;
mod serve;

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
    /// Export now: one dataset, or all.
    Run(run::Run),
    /// Join a pull-backup, with the line of an invitation.
    Join(join::Join),
    /// Export when it is due, and offer the spool, until asked to end.
    Serve(serve::Serve),
}

impl Exporter {
    pub fn run(self) -> Result<Status, Failure> {
        match self.command {
            Command::Run(run) => run.run(&self.config, self.json),
            Command::Join(join) => join.run(&self.config),
            Command::Serve(serve) => serve.run(&self.config),
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

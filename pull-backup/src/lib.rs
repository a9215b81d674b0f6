//! The command line of `pull-backup`: one variant a command, each in a file of its own.
//!
//! What only reads a repository stands in `lookup`, because `importer` has it too. Here is what keeps an archive healthy, the members (`members`) and the daemon
//! (`serve`); `reports` keeps what importers say, `status` finds out how all of it stands. No key is needed for that but for `reseal`, and this crate knows no recipe: it cannot know what it keeps.

use clap::{Parser, Subcommand};
use console::exit::{Failure, Status};
use lookup::Surroundings;
use lookup::cmd as reading;
use lookup::place::Means;
use std::path::PathBuf;

pub mod arbiter;
pub mod cmd;
pub mod evidence;
pub mod following;
pub mod members;
pub mod publishing;
pub mod quarantine;
pub mod quota;
pub mod reigns;
pub mod reports;
pub mod resolve;
pub mod serve;
pub mod status;

/// Keeps the history of datasets, and gives it back by date
#[derive(Parser, Debug)]
#[command(name = "pull-backup", version, max_term_width = 110)]
#[command(after_help = "Exit status: 0 done, 1 failed, 2 wrong usage or configuration, 3 refused because unsafe, 4 done in part.")]
pub struct CommandLine {
    #[command(subcommand)]
    pub command: Command,
    /// The configuration, instead of RESILIENT_CONFIG or /etc/resilient/pull-backup.toml
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    Snapshots(reading::snapshots::Snapshots),
    Ls(reading::ls::Ls),
    Find(reading::find::Find),
    Diff(reading::diff::Diff),
    Restore(reading::restore::Restore),
    Check(reading::check::Check),
    Retain(cmd::retain::Retain),
    Reseal(cmd::reseal::Reseal),
    Init(cmd::init::Init),
    Invite(cmd::invite::Invite),
    Expel(cmd::invite::Expel),
    Join(cmd::join::Join),
    Rebuild(cmd::rebuild::Rebuild),
    Quarantine(cmd::quarantine::Quarantine),
    Epoch(cmd::epoch::Epoch),
    Elect(cmd::elect::Elect),
    Takeover(cmd::takeover::Takeover),
    Pause(cmd::order::Pause),
    Resume(cmd::order::Resume),
    Ack(cmd::order::Ack),
    Attest(cmd::order::Attest),
    Serve(cmd::serve::Serve),
    Status(cmd::status::Show),
}

impl Command {
    /// What a command that reads a repository is about.
    fn means(&mut self) -> Option<Means<'_>> {
        Some(match self {
            Command::Snapshots(command) => command.means(),
            Command::Ls(command) => command.reading.means(None),
            Command::Find(command) => command.reading.means(None),
            Command::Diff(command) => command.reading.means(None),
            Command::Restore(command) => command.means(),
            Command::Check(command) => command.means(),
            Command::Retain(command) => command.means(),
            _ => return None,
        })
    }
}

/// Runs one command.
pub fn run(mut line: CommandLine, surroundings: &Surroundings) -> Result<Status, Failure> {
    let config = line.config.clone();
    if let Some(means) = line.command.means().filter(|means| means.place.repository.is_none()) {
        resolve::fill(means, config.as_deref(), surroundings)?;
    }
    match &line.command {
        Command::Snapshots(command) => command.run(surroundings),
        Command::Ls(command) => command.run(surroundings),
        Command::Find(command) => command.run(surroundings),
        Command::Diff(command) => command.run(surroundings),
        Command::Restore(command) => command.run(surroundings),
        Command::Check(command) => command.run(surroundings),
        Command::Retain(command) => command.run(surroundings),
        Command::Reseal(command) => command.run(surroundings),
        Command::Init(command) => command.run(surroundings),
        Command::Invite(command) => command.run(surroundings),
        Command::Expel(command) => command.run(surroundings),
        Command::Join(command) => command.run(surroundings),
        Command::Rebuild(command) => command.run(surroundings),
        Command::Quarantine(command) => command.run(config.as_deref(), surroundings),
        Command::Epoch(command) => command.run(config.as_deref(), surroundings),
        Command::Elect(command) => command.run(config.as_deref(), surroundings),
        Command::Takeover(command) => command.run(config.as_deref(), surroundings),
        Command::Pause(command) => command.run(config.as_deref(), surroundings),
        Command::Resume(command) => command.run(config.as_deref(), surroundings),
        Command::Ack(command) => command.run(config.as_deref(), surroundings),
        Command::Attest(command) => command.run(config.as_deref(), surroundings),
        Command::Serve(command) => command.run(surroundings),
        Command::Status(command) => command.run(surroundings),
    }
}

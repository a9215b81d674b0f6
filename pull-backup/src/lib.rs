//! The command line of `pull-backup`: one variant a command, each in a file of its own.
//!
//! What only reads a repository stands in `lookup`, because `importer` has it too. Here is what keeps an archive healthy, the members (`members`) and the daemon
//! (`serve`). No key is needed for that but for `reseal`, and this crate knows no recipe: it cannot know what it keeps.

use clap::{Parser, Subcommand};
use console::exit::{Failure, Status};
use lookup::Surroundings;
use lookup::cmd as reading;

pub mod cmd;
pub mod following;
pub mod members;
pub mod quota;
pub mod serve;

/// Keeps the history of datasets, and gives it back by date
#[derive(Parser, Debug)]
#[command(name = "pull-backup", version, max_term_width = 110)]
#[command(after_help = "Exit status: 0 done, 1 failed, 2 wrong usage or configuration, 3 refused because unsafe, 4 done in part.")]
pub struct CommandLine {
    #[command(subcommand)]
    pub command: Command,
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
    Serve(cmd::serve::Serve),
}

/// Runs one command.
pub fn run(line: &CommandLine, surroundings: &Surroundings) -> Result<Status, Failure> {
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
        Command::Serve(command) => command.run(surroundings),
    }
}

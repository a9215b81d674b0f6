//! The command line of `importer`: one variant a command, each in a file of its own.
//!
//! Today it has the commands that read a repository, a mirror or any other; they stand in `lookup`, because `pull-backup` has them too.

use clap::{Parser, Subcommand};
use console::exit::{Failure, Status};
use lookup::{Surroundings, cmd};

/// Stands by with the data of another host, and gives it back by date
#[derive(Parser, Debug)]
#[command(name = "importer", version, max_term_width = 110)]
#[command(after_help = "Exit status: 0 done, 1 failed, 2 wrong usage or configuration, 3 refused because unsafe, 4 done in part.")]
pub struct CommandLine {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    Snapshots(cmd::snapshots::Snapshots),
    Ls(cmd::ls::Ls),
    Find(cmd::find::Find),
    Diff(cmd::diff::Diff),
    Restore(cmd::restore::Restore),
    Check(cmd::check::Check),
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
    }
}

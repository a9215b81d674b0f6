//! The command line of `importer`: one variant a command, each in a file of its own.
//!
//! The commands that read a repository, a mirror or any other, stand in `lookup`, because `pull-backup` has them too. `serve` is the daemon,
//! `import` brings what it pulled into the data of this host, `base` makes of that what exports build on, `status` finds out how the node stands, `takeover` is its part in who is active.

use clap::{Parser, Subcommand};
use console::exit::{Failure, Status};
use lookup::Surroundings;
use lookup::cmd as reading;
use lookup::place::Means;
use resolve::From;
use std::path::PathBuf;

mod base;
pub mod cmd;
pub mod distant;
pub mod drilled;
pub mod import;
pub mod imported;
pub mod keys;
mod pause;
pub mod resolve;
pub mod serve;
pub mod status;
pub mod takeover;
mod trim;

/// Stands by with the data of another host, and gives it back by date
#[derive(Parser, Debug)]
#[command(name = "importer", version, max_term_width = 110)]
#[command(after_help = "Exit status: 0 done, 1 failed, 2 wrong usage or configuration, 3 refused because unsafe, 4 done in part.")]
pub struct CommandLine {
    #[command(subcommand)]
    pub command: Command,
    /// The node file, instead of RESILIENT_CONFIG or /etc/resilient/node.toml: it has identity and cluster key
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Read from the archive at the pull-backup instead of this node's mirror
    #[arg(long, value_name = "PLACE", global = true)]
    pub from: Option<From>,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    Activate(cmd::takeover::Activate),
    Close(cmd::takeover::Close),
    Failback(cmd::takeover::Failback),
    Switchover(cmd::takeover::Switchover),
    Snapshots(reading::snapshots::Snapshots),
    Ls(reading::ls::Ls),
    Find(reading::find::Find),
    Diff(reading::diff::Diff),
    Restore(cmd::restore::Restore),
    Check(reading::check::Check),
    Dns(cmd::dns::Point),
    Drill(cmd::drill::Drill),
    Guard(cmd::guard::Guard),
    Join(cmd::join::Join),
    Rollback(cmd::rollback::Rollback),
    Serve(cmd::serve::Serve),
    Status(cmd::status::Show),
    Sync(cmd::sync::Sync),
    Vip(cmd::vip::Vip),
}

impl Command {
    /// What a command that reads a repository is about.
    fn means(&mut self) -> Option<Means<'_>> {
        Some(match self {
            Command::Activate(_) | Command::Close(_) | Command::Failback(_) | Command::Switchover(_) | Command::Vip(_) => return None,
            Command::Dns(_) => return None,
            Command::Guard(_) | Command::Join(_) | Command::Rollback(_) | Command::Serve(_) | Command::Status(_) | Command::Sync(_) => {
                return None;
            }
            Command::Snapshots(command) => command.means(),
            Command::Ls(command) => command.reading.means(None),
            Command::Find(command) => command.reading.means(None),
            Command::Diff(command) => command.reading.means(None),
            Command::Restore(command) => command.whole.means(),
            Command::Drill(command) => command.means(),
            Command::Check(command) => command.means(),
        })
    }
}

/// Runs one command.
pub fn run(mut line: CommandLine, surroundings: &Surroundings) -> Result<Status, Failure> {
    let (config, from) = (line.config.clone(), line.from);
    if let Some(means) = line.command.means() {
        resolve::fill(means, config.as_deref(), from, surroundings)?;
    }
    match &line.command {
        Command::Activate(command) => command.run(line.config.as_ref(), surroundings),
        Command::Close(command) => command.run(line.config.as_ref(), surroundings),
        Command::Failback(command) => command.run(line.config.as_ref(), surroundings),
        Command::Switchover(command) => command.run(line.config.as_ref(), surroundings),
        Command::Snapshots(command) => command.run(surroundings),
        Command::Ls(command) => command.run(surroundings),
        Command::Find(command) => command.run(surroundings),
        Command::Diff(command) => command.run(surroundings),
        Command::Restore(command) => command.run(line.config.as_ref(), surroundings),
        Command::Check(command) => command.run(surroundings),
        Command::Dns(command) => command.run(line.config.as_ref(), surroundings),
        Command::Drill(command) => command.run(line.config.as_ref(), surroundings),
        Command::Guard(command) => command.run(line.config.as_ref(), surroundings),
        Command::Join(command) => command.run(line.config.as_ref(), surroundings),
        Command::Rollback(command) => command.run(line.config.as_ref(), surroundings),
        Command::Serve(command) => command.run(line.config.as_ref(), surroundings),
        Command::Status(command) => command.run(line.config.as_ref(), surroundings),
        Command::Sync(command) => command.run(line.config.as_ref(), surroundings),
        Command::Vip(command) => command.run(line.config.as_ref(), surroundings),
    }
}

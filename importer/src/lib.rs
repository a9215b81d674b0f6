//! The command line of `importer`: one variant a command, each in a file of its own.
//!
//! The commands that read a repository, a mirror or any other, stand in `lookup`, because `pull-backup` has them too. `serve` is the daemon,
//! `import` brings what it pulled into the data of this host.

use archive::sign::PublicKey;
use clap::{Parser, Subcommand};
use console::exit::{Failure, Status};
use console::node_file::NodeFile;
use console::place;
use lookup::Surroundings;
use lookup::cmd as reading;
use lookup::open::{Identity, Roots};
use std::path::PathBuf;

pub mod cmd;
pub mod import;
pub mod imported;
pub mod serve;

/// Stands by with the data of another host, and gives it back by date
#[derive(Parser, Debug)]
#[command(name = "importer", version, max_term_width = 110)]
#[command(after_help = "Exit status: 0 done, 1 failed, 2 wrong usage or configuration, 3 refused because unsafe, 4 done in part.")]
pub struct CommandLine {
    #[command(subcommand)]
    pub command: Command,
    /// Identity and cluster key from this node file, or the one in RESILIENT_CONFIG
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
    Join(cmd::join::Join),
    Serve(cmd::serve::Serve),
    Sync(cmd::sync::Sync),
}

impl Command {
    /// What opens sealed content and whose signatures count, as the command line says.
    fn means(&mut self) -> Option<(Option<&mut Identity>, &mut Roots)> {
        let reading = match self {
            Command::Join(_) | Command::Serve(_) | Command::Sync(_) => return None,
            Command::Snapshots(command) => return Some((None, &mut command.roots)),
            Command::Check(command) => return Some((None, &mut command.roots)),
            Command::Ls(command) => &mut command.reading,
            Command::Find(command) => &mut command.reading,
            Command::Diff(command) => &mut command.reading,
            Command::Restore(command) => &mut command.reading,
        };
        Some((Some(&mut reading.identity), &mut reading.roots))
    }
}

/// Fills in from the node file what no flag gives.
fn fill(line: &mut CommandLine, surroundings: &Surroundings) -> Result<(), Failure> {
    let variable = surroundings.config.as_deref().filter(|text| !text.is_empty());
    if line.config.is_none() && variable.is_none() {
        return Ok(());
    }
    let file = NodeFile::open(&place::of(line.config.as_deref(), variable, place::NODE))?;
    let Some((identity, roots)) = line.command.means() else { return Ok(()) };
    if let Some(identity) = identity
        && identity.identity.as_ref().is_none_or(|path| path.is_empty())
    {
        identity.identity = file.node.identity.map(PathBuf::into_os_string);
    }
    if roots.cluster_key.is_none() && roots.signer.is_empty() {
        roots.cluster_key = file.seal.cluster_key.map(PublicKey);
    }
    Ok(())
}

/// Runs one command.
pub fn run(mut line: CommandLine, surroundings: &Surroundings) -> Result<Status, Failure> {
    fill(&mut line, surroundings)?;
    match &line.command {
        Command::Snapshots(command) => command.run(surroundings),
        Command::Ls(command) => command.run(surroundings),
        Command::Find(command) => command.run(surroundings),
        Command::Diff(command) => command.run(surroundings),
        Command::Restore(command) => command.run(surroundings),
        Command::Check(command) => command.run(surroundings),
        Command::Join(command) => command.run(line.config.as_ref(), surroundings),
        Command::Serve(command) => command.run(line.config.as_ref(), surroundings),
        Command::Sync(command) => command.run(line.config.as_ref(), surroundings),
    }
}

//! `takeover`: what would happen if the active were gone.

use clap::{Args, Subcommand};
use console::exit::{Failure, Status};
use lookup::Surroundings;
use std::path::Path;

/// Says what would happen if the active were gone
#[derive(Args, Debug)]
pub struct Takeover {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Plan(Plan),
}

/// Says who would take over, what would be left behind, and why others cannot: nothing is asked or changed
#[derive(Args, Debug)]
struct Plan {
    /// The cluster; may be left out when there is one
    cluster: Option<String>,
    /// One JSON document on standard output
    #[arg(long)]
    json: bool,
}

impl Takeover {
    pub fn run(&self, config: Option<&Path>, surroundings: &Surroundings) -> Result<Status, Failure> {
        let Command::Plan(Plan { cluster, json }) = &self.command;
        super::elect::plan(config, surroundings, cluster.as_deref(), *json)
    }
}

//! `importer status`: how this node stands, from its disk, with or without a daemon.

use crate::status::Looking;
use clap::Args;
use console::exit::{Failure, Status};
use console::output::Output;
use lookup::Surroundings;
use standing::{look, show};
use std::path::PathBuf;
use watch::Word;

/// Shows how old the data of the mirror is, and what was imported
#[derive(Args, Debug)]
#[command(after_help = "Exit status: 0 only when all is ok, else 1; 2 wrong usage or configuration.")]
pub struct Show {
    /// One JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

impl Show {
    pub fn run(&self, config: Option<&PathBuf>, surroundings: &Surroundings) -> Result<Status, Failure> {
        let file = super::open(config, surroundings)?;
        let (incidents, trouble) = look::incidents(&file.node.state, "importer", &file.alert, &file.node.name);
        let zone = surroundings.now.time_zone().clone();
        let host = Looking::new(file, zone).look(surroundings.now_ms()).with(&incidents, trouble);
        let mut output = Output::stdout();
        output.line(if self.json { host.json() } else { show::text(&host) })?;
        output.finish()?;
        Ok(if host.word == Word::Ok { Status::Done } else { Status::Failed })
    }
}

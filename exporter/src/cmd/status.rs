//! `exporter status`: how this node stands, from its disk, with or without a daemon.

use crate::status::Looking;
use clap::Args;
use console::exit::{Failure, Status};
use console::node_file::NodeFile;
use console::output::Output;
use standing::{look, show};
use std::path::Path;
use watch::Word;

#[derive(Debug, Args)]
#[command(after_help = "Exit status: 0 only when all is ok, else 1; 2 wrong usage or configuration.")]
pub struct Show {}

impl Show {
    pub fn run(self, config: &Path, json: bool) -> Result<Status, Failure> {
        let file = NodeFile::open(config)?;
        let (incidents, trouble) = look::incidents(&file.node.state, "exporter", &file.alert, &file.node.name);
        let host = Looking::new(file, jiff::tz::TimeZone::system())
            .look(super::run::now_ms())
            .with(&incidents, trouble);
        let mut output = Output::stdout();
        output.line(if json { host.json() } else { show::text(&host) })?;
        output.finish()?;
        Ok(if host.word == Word::Ok { Status::Done } else { Status::Failed })
    }
}

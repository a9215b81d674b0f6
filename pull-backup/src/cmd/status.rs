//! `status`: how this pull-backup stands, from its disk, with or without a daemon.

use crate::status::Looking;
use clap::Args;
use console::exit::{Failure, Status};
use console::output::Output;
use console::place;
use console::pull_backup_file::PullBackupFile;
use lookup::open::Surroundings;
use standing::{look, show};
use std::path::PathBuf;
use watch::Word;

/// Shows how old the data of each node is here, who holds it further on, and the members
#[derive(Args, Debug)]
#[command(after_help = "Exit status: 0 only when all is ok, else 1; 2 wrong usage or configuration.")]
pub struct Show {
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Expelled members as well, and what only they had
    #[arg(long)]
    pub all: bool,
    /// One JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

impl Show {
    pub fn run(&self, surroundings: &Surroundings) -> Result<Status, Failure> {
        let path = place::of(self.config.as_deref(), surroundings.config.as_deref(), place::PULL_BACKUP);
        let file = PullBackupFile::open(&path)?;
        let mut looking = Looking::new(&file);
        looking.all = self.all;
        let host = looking.look(surroundings.now_ms());
        let (incidents, trouble) = look::incidents(&file.state, "pull-backup", &file.alert, &host.host);
        let host = host.with(&incidents, trouble);
        let mut output = Output::stdout();
        output.line(if self.json { host.json() } else { show::text(&host) })?;
        output.finish()?;
        Ok(if host.word == Word::Ok { Status::Done } else { Status::Failed })
    }
}

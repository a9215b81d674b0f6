//! `importer sync`: pulls and imports once.

use crate::serve::Daemon;
use clap::Args;
use console::exit::{Failure, Status};
use console::node_file::Dataset;
use console::output::tell;
use link::identity::Identity as Ours;
use lookup::Surroundings;
use lookup::open::Identity;
use standing::Log;
use std::path::PathBuf;

/// Pulls what is new into the mirror and imports it, once
#[derive(Args, Debug)]
pub struct Sync {
    /// The dataset; all of them when none is named
    pub dataset: Option<String>,
    #[command(flatten)]
    pub means: Identity,
}

impl Sync {
    pub fn run(&self, config: Option<&PathBuf>, surroundings: &Surroundings) -> Result<Status, Failure> {
        let file = super::open(config, surroundings)?;
        let chosen: Vec<Dataset> = match &self.dataset {
            None => file.datasets.clone(),
            Some(name) => vec![super::dataset(&file, name)?.clone()],
        };
        let imports = super::imports(&file, &self.means)?;
        let identity = Ours::open_or_make(&file.node.state).map_err(super::failure)?;
        let runtime = super::runtime()?;
        let daemon = Daemon::new(file, identity, imports, super::around(Log::plain()));
        let wrong = runtime.block_on(daemon.once(&chosen.iter().collect::<Vec<_>>()));
        match wrong.split_last() {
            None => Ok(Status::Done),
            Some((last, others)) => {
                others.iter().for_each(|line| tell(format_args!("error: {line}")));
                Err(Failure::failed(last.clone()))
            }
        }
    }
}

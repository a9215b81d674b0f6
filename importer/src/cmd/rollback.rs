//! `importer rollback`: what was before the last import is the data again.

use crate::import::Imports;
use clap::Args;
use console::exit::{Failure, Status};
use console::output::{Output, tell};
use lookup::Surroundings;
use lookup::open::Identity;
use std::path::PathBuf;

/// Takes back the last import of a dataset: what was before it is the data again
#[derive(Args, Debug)]
pub struct Rollback {
    pub dataset: String,
}

impl Rollback {
    pub fn run(&self, config: Option<&PathBuf>, surroundings: &Surroundings) -> Result<Status, Failure> {
        let file = super::open(config, surroundings)?;
        let dataset = super::dataset(&file, &self.dataset)?;
        let imports: Imports = super::imports(&file, &Identity { identity: None, passphrase_file: None })?;
        let (snapshot, findings) = imports.take_back(dataset)?;
        for (source, finding) in findings {
            tell(format_args!("{source}: {}", finding.what));
        }
        let mut output = Output::stdout();
        output.line(format_args!(
            "dataset {}: what was before {snapshot} is the data again; it stays so until a newer snapshot comes",
            dataset.name
        ))?;
        output.finish()?;
        Ok(Status::Done)
    }
}

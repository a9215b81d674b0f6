//! `importer guard`: sees to it that nobody writes to the databases of a node that stands by; for their unit to call before it starts them.

use super::drill::FindingShape;
use clap::Args;
use console::exit::{Failure, Status};
use console::node_file::Dataset;
use console::output::Output;
use link::membership::Reign;
use lookup::Surroundings;
use std::path::PathBuf;

/// Keeps everybody but imports from writing to the databases of a node that stands by
#[derive(Args, Debug)]
#[command(after_help = "Before the server starts: ExecStartPre=importer guard, with `hba_file` or `option_file` in the node file. \
                        On the active node, and on one without a role, it does nothing.")]
pub struct Guard {
    /// The dataset; all of them when none is named
    pub dataset: Option<String>,
}

impl Guard {
    pub fn run(&self, config: Option<&PathBuf>, surroundings: &Surroundings) -> Result<Status, Failure> {
        let file = super::open(config, surroundings)?;
        let chosen: Vec<&Dataset> = match &self.dataset {
            None => file.datasets.iter().collect(),
            Some(name) => vec![super::dataset(&file, name)?],
        };
        let mut output = Output::stdout();
        let idle = match Reign::open(&file.node.state).map_err(super::failure)? {
            Some(Reign { active: false, .. }) => None,
            Some(_) => Some("this is the active node: its databases are written, and nothing is guarded"),
            None => Some("this node was given no role: nothing is guarded"),
        };
        if let Some(why) = idle {
            output.line(why)?;
            output.finish()?;
            return Ok(Status::Done);
        }
        let (mut guarded, mut failed) = (0, None);
        for (dataset, source) in chosen.iter().copied().flat_map(Dataset::with_sources) {
            let data = sources::recipe::data(source, &file.node.state, &dataset.name)?;
            let Some(served) = data.served() else { continue };
            // The others are guarded in any case.
            match served.guard() {
                Ok(found) => {
                    guarded += 1;
                    for finding in found {
                        output.line(FindingShape::of(&(source.name.clone(), finding)).line())?;
                    }
                }
                Err(error) => failed = Some(sources::recipe::failure(&source.name, error)),
            }
        }
        output.line(format_args!("{guarded} guarded: nobody but imports writes to them"))?;
        output.finish()?;
        failed.map_or(Ok(Status::Done), Err)
    }
}

//! `importer join`: this node joins a pull-backup; the same as `exporter join`, since nodes join and not programs.

use clap::Args;
use console::exit::{Failure, Status};
use console::output::Output;
use link::identity::signing_key;
use link::membership::{Joining, NODE_KEY};
use link::message::Ports;
use lookup::Surroundings;
use std::path::PathBuf;

/// Joins a pull-backup, with the line of an invitation
#[derive(Args, Debug)]
pub struct Join {
    /// The line that `pull-backup invite` printed, in quotes
    pub line: String,
}

impl Join {
    pub fn run(&self, config: Option<&PathBuf>, surroundings: &Surroundings) -> Result<Status, Failure> {
        let file = super::open(config, surroundings)?;
        let signer = signing_key(&file.node.state, NODE_KEY).map_err(super::failure)?;
        let joining = Joining {
            state: &file.node.state,
            name: &file.node.name,
            cluster: &file.cluster,
            signing: signer.public(),
            listen: file.node.listen,
            ports: Ports::of_node(file.node.dials_out),
        };
        let joined = joining.with(&self.line).map_err(super::failure)?;
        let mut output = Output::stdout();
        for line in joined.words(signer.public(), file.seal.cluster_key.is_some()) {
            output.line(line)?;
        }
        output.finish()?;
        Ok(Status::Done)
    }
}

//! `exporter join`: this node joins a pull-backup, with the line that `pull-backup invite` printed there. The administrator's files stay as they are.

use super::link_failure;
use crate::{certified, node};
use clap::Args;
use console::exit::{Failure, Status};
use console::node_file::NodeFile;
use console::output::Output;
use link::membership::Joining;
use link::message::Ports;
use std::path::Path;

#[derive(Debug, Args)]
pub struct Join {
    /// The line that `pull-backup invite` printed, in quotes
    line: String,
}

impl Join {
    pub fn run(self, config: &Path) -> Result<Status, Failure> {
        let file = NodeFile::open(config)?;
        let signer = node::signer(&file.node.state)?;
        let joining = Joining {
            state: &file.node.state,
            name: &file.node.name,
            cluster: &file.cluster,
            signing: signer.public(),
            listen: file.node.listen,
            ports: Ports::of_node(file.node.dials_out),
        };
        let joined = joining.with(&self.line).map_err(link_failure)?;
        let uncertified = file.seal.cluster_key.is_some() && certified::own(&file)?.is_none();
        let mut output = Output::stdout();
        for line in joined.words(signer.public(), uncertified) {
            output.line(line)?;
        }
        output.finish()?;
        Ok(Status::Done)
    }
}

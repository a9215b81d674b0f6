//! `importer join`: this node joins a pull-backup; the same as `exporter join`, since nodes join and not programs.

use archive::sign::PublicKey;
use clap::Args;
use console::exit::{Failure, Status};
use console::output::Output;
use link::certificate::Subject;
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
        let cluster_key = file.seal.cluster_key.map(PublicKey);
        let own = Subject { cluster: &file.cluster, node: &file.node.name, key: signer.public(), cluster_key };
        let uncertified = cluster_key.is_some() && own.certificate(&file.node.state).map_err(super::failure)?.is_none();
        let mut output = Output::stdout();
        for line in joined.words(signer.public(), uncertified) {
            output.line(line)?;
        }
        output.finish()?;
        Ok(Status::Done)
    }
}

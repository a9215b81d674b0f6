//! Whether this node is certified, and what to do when it is not. Importers that know the cluster key believe nothing of a node without a certificate.

use crate::cmd::link_failure;
use crate::node;
use archive::record::{Certificate, Signed};
use archive::repository::{Access, Repository};
use archive::sign::PublicKey;
use console::exit::Failure;
use console::node_file::NodeFile;
use link::certificate::{self, Subject};

/// Whose certificate this node needs.
pub fn subject(file: &NodeFile) -> Result<Subject<'_>, Failure> {
    Ok(Subject {
        cluster: &file.cluster,
        node: &file.node.name,
        key: node::signer(&file.node.state)?.public(),
        cluster_key: file.seal.cluster_key.map(PublicKey),
    })
}

/// The node's certificate, if it has one that counts.
pub fn own(file: &NodeFile) -> Result<Option<Signed<Certificate>>, Failure> {
    subject(file)?.certificate(&file.node.state).map_err(link_failure)
}

/// What to tell when the cluster key is known and this node is not certified by it.
pub fn warning(file: &NodeFile) -> Option<String> {
    file.seal.cluster_key?;
    let why = match own(file) {
        Ok(Some(_)) => return None,
        Ok(None) => String::new(),
        Err(failure) => format!(" ({failure})"),
    };
    let key = node::signer(&file.node.state).ok()?.public();
    Some(format!(
        "warning: {} is not certified by the cluster key{why}: nobody who knows that key believes what it exports\n  \
         where the cluster key is: exporter certify {key} --node {}\n  then here: exporter certificate 'LINE', with the line that it prints",
        file.node.name, file.node.name
    ))
}

/// Publishes the node's certificate into a dataset's repository, so that it travels with what the node exports.
pub fn publish(file: &NodeFile, repository: &Repository) -> Result<(), Failure> {
    // What is wrong with it is a warning elsewhere, and keeps no export from going on.
    let Ok(Some(own)) = own(file) else { return Ok(()) };
    certificate::publish(repository, &own).map(drop).map_err(crate::cmd::failure)
}

/// Publishes it wherever the node has a repository already. In how many it is new.
pub fn publish_everywhere(file: &NodeFile) -> Result<usize, Failure> {
    let mut new = 0;
    let Some(own) = own(file)? else { return Ok(0) };
    for dataset in &file.datasets {
        let place = node::repository(&file.node.state, &dataset.name);
        if !place.join(archive::name::CONFIG).exists() {
            continue;
        }
        let repository = Repository::open_folder(&place, Access::Shared).map_err(crate::cmd::failure)?;
        new += usize::from(certificate::publish(&repository, &own).map_err(crate::cmd::failure)?);
    }
    Ok(new)
}

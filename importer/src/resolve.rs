//! What the node file says of what a command reads: the mirror of a dataset, or the archive at a pull-backup; the identity, and the cluster key.

use crate::distant::Archive;
use archive::sign::PublicKey;
use clap::ValueEnum;
use console::exit::Failure;
use console::node_file::NodeFile;
use console::place;
use link::membership::Membership;
use link::repositories::{Dataset, Layout};
use lookup::Surroundings;
use lookup::place::{Means, Peers, which};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a command reads from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum From {
    Mirror,
    Archive,
}

/// Fills in what the command line leaves out. With a folder and without a node file there is nothing to fill in.
pub fn fill(means: Means<'_>, config: Option<&Path>, from: Option<From>, surroundings: &Surroundings) -> Result<(), Failure> {
    let variable = surroundings.config.as_deref().filter(|text| !text.is_empty());
    let path = place::of(config, variable, place::NODE);
    if means.place.repository.is_some() {
        if from == Some(From::Archive) {
            return Err(Failure::usage("--repository names a folder, and --from archive none").hint("give one of the two"));
        }
        if config.is_none() && variable.is_none() {
            return Ok(());
        }
    } else if !path.exists() {
        let what = format!("no repository is named, and there is no node file {}", path.display());
        return Err(Failure::usage(what).hint("name the folder of a repository with --repository DIR, or the node file with --config FILE"));
    }
    let file = NodeFile::open(&path)?;
    if let Some(identity) = means.identity
        && identity.identity.as_ref().is_none_or(|path| path.is_empty())
    {
        identity.identity = file.node.identity.clone().map(PathBuf::into_os_string);
    }
    if means.roots.is_empty() {
        means.roots.cluster_key = file.seal.cluster_key.map(PublicKey);
    }
    if means.place.repository.is_some() {
        return Ok(());
    }
    let layout = Layout::Node { state: file.node.state.clone(), cluster: file.cluster.clone() };
    let known: Vec<_> = file.datasets.iter().map(|dataset| (file.cluster.clone(), dataset.name.clone())).collect();
    let (cluster, name) = which(means.dataset.as_deref(), &known, &format!("the node file {}", path.display()))?;
    let dataset = Dataset { cluster: cluster.clone(), name: name.clone() };
    let mirror = layout.path(&dataset);
    let membership = Membership::open(&file.node.state).map_err(crate::cmd::failure)?;
    means.place.peers = peers(&membership);
    match from {
        Some(From::Archive) => {
            let trust = means.roots.trust();
            let archive = Archive::reach(&file, &membership, dataset, mirror, trust, surroundings)?;
            means.place.distant = Some(Arc::new(archive));
        }
        _ if mirror.join(archive::name::CONFIG).exists() => means.place.repository = Some(mirror),
        _ => {
            let what = format!("this node has no mirror of dataset {name} yet");
            return Err(Failure::failed(what).hint("`importer serve` keeps one; `--from archive` reads from the pull-backup"));
        }
    }
    Ok(())
}

/// Who signs receipts, as far as this node knows them.
fn peers(membership: &Membership) -> Peers {
    let known = membership.pull_backups.iter();
    let receivers = known.filter_map(|known| Some((PublicKey::parse(&known.receipt)?, known.address.clone())));
    Peers { receivers: receivers.collect(), ..Peers::default() }
}

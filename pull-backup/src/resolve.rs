//! What a dataset's name means here: the archive in `store`, the members whose signatures count, and what is known of who holds what.

use crate::cmd::init::RECEIPT_KEY;
use crate::members::Members;
use crate::reports;
use archive::sign::PublicKey;
use console::exit::Failure;
use console::place;
use console::pull_backup_file::PullBackupFile;
use link::identity::signing_key;
use link::repositories::{Dataset, Layout};
use lookup::Surroundings;
use lookup::place::{Holder, Means, Peers, which};
use std::collections::HashMap;
use std::path::Path;

/// Fills in what the command line leaves out.
pub fn fill(means: Means<'_>, config: Option<&Path>, surroundings: &Surroundings) -> Result<(), Failure> {
    let path = place::of(config, surroundings.config.as_deref(), place::PULL_BACKUP);
    if !path.exists() {
        let what = format!("no repository is named, and there is no configuration {}", path.display());
        return Err(
            Failure::usage(what).hint("name the folder of a repository with --repository DIR, or the configuration with --config FILE")
        );
    }
    let file = PullBackupFile::open(&path)?;
    let layout = Layout::Archive { store: file.store.clone() };
    let datasets: Vec<_> = layout.datasets().into_iter().map(|dataset| (dataset.cluster, dataset.name)).collect();
    let (cluster, name) = which(means.dataset.as_deref(), &datasets, &format!("the archive {}", file.store.display()))?;
    means.place.repository = Some(layout.path(&Dataset { cluster: cluster.clone(), name: name.clone() }));
    if means.roots.is_empty() {
        let cluster_key = file.clusters.get(cluster).and_then(|known| known.cluster_key).map(PublicKey);
        let trust = Members::new(&file.state).trust_by(cluster, cluster_key);
        (means.roots.cluster_key, means.roots.signer, means.roots.former) = (trust.cluster_key, trust.pinned, trust.former);
    }
    means.place.peers = peers(&file, cluster, name);
    Ok(())
}

/// What is known of other hosts; what cannot be read is not known.
fn peers(file: &PullBackupFile, cluster: &str, name: &str) -> Peers {
    let (mut receivers, mut own) = (HashMap::new(), None);
    let all = Members::new(&file.state).all().unwrap_or_default();
    for member in all.iter().filter(|member| member.cluster == cluster || member.is_follower()) {
        receivers.extend(member.key().map(|key| (key, member.name.clone())));
    }
    if file.state.join(RECEIPT_KEY).exists()
        && let Ok(signer) = signing_key(&file.state, RECEIPT_KEY)
    {
        own = Some(signer.public());
        receivers.insert(signer.public(), "this host".into());
    }
    let said = reports::open(&file.state, cluster, name).unwrap_or_default().receiver;
    let id = |name: &Option<String>| name.as_deref().and_then(link::message::snapshot_of).map(|(_, id)| id);
    let holders =
        said.into_iter()
            .map(|(name, said)| Holder { held: id(&said.held), imported: id(&said.imported), said_ms: said.said_ms, name });
    Peers { receivers, holders: holders.collect(), own }
}

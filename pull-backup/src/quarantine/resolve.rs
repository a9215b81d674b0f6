//! A person says which of several branches counts: of nodes that each took an epoch by force, or of one that took it while nobody could grant it.
//!
//! The branch that is chosen begins somewhere: the head of the older reign is sealed there, not where the archive happens to be. What was published above goes to
//! quarantine like every other branch. Nobody's data goes anywhere else.

use super::Name;
use crate::publishing::Publish;
use archive::repository::{Access, Repository};
use link::error::{Error, Result};
use link::reigns::{At, Claim, Reigns, Tops};
use link::repositories::{Dataset, Layout};
use std::path::Path;

/// What a person's word meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// The node's branch counts from now on.
    Kept(Reigns),
    /// The node reigns as before, and the claims of others count nothing.
    Stays(Reigns),
    /// This node claims nothing.
    NoClaim(Reigns),
    /// Nobody reigns in this cluster.
    NoReign,
    /// Its arbiter asks all members what they know; nobody can say yet whose branches there are.
    Recovering,
}

/// Keeps the branch of a node.
pub fn resolve(publish: &Publish, store: &Path, cluster: &str, node: &str) -> Result<Resolved> {
    let held = publish.ledger.hold(cluster)?;
    let document = publish.ledger.document(cluster)?;
    if document.arbiter.is_some_and(|record| record.recovering) {
        return Ok(Resolved::Recovering);
    }
    let Some(reigns) = document.reigns else { return Ok(Resolved::NoReign) };
    let claim = reigns
        .open_claims()
        .filter(|claim| claim.holder.node == node)
        .max_by_key(|claim| claim.epoch)
        .cloned();
    match claim {
        Some(claim) => {
            let (heads, begun) = begin(publish, store, cluster, &claim)?;
            publish.ledger.settle(cluster, &held, &claim, heads, begun, publish.now_ms()).map(Resolved::Kept)
        }
        None if reigns.holder.node == node && reigns.open_claims().next().is_some() => {
            publish.ledger.dismiss(cluster, &held)?;
            Ok(Resolved::Stays(publish.ledger.open(cluster)?.unwrap_or(reigns)))
        }
        None => Ok(Resolved::NoClaim(reigns)),
    }
}

/// Where the older reign ends: at what the branch goes on from. Of a dataset that the branch does not have, at what is published; where what it goes on from is not here, there
/// too, and its first is accepted as it is.
fn begin(publish: &Publish, store: &Path, cluster: &str, claim: &Claim) -> Result<(Tops, Tops)> {
    let mut heads = publish.ledger.heads(cluster)?;
    let mut begun = Tops::new();
    let layout = Layout::Archive { store: store.into() };
    for name in publish.quarantine.all() {
        if name.cluster != cluster || name.epoch != claim.epoch || !is_of(&name, claim) {
            continue;
        }
        let failed = |error: archive::Error| Error::Failed { peer: format!("reading {name}"), why: link::pull::chain(&error) };
        let Some(first) = publish.quarantine.snapshots(&name).into_iter().next() else { continue };
        let branch = publish.quarantine.open(&name, Access::Shared).map_err(failed)?;
        let previous = branch.snapshot(&first).map_err(failed)?.body.previous;
        let path = layout.path(&Dataset { cluster: cluster.into(), name: name.dataset.clone() });
        let archived = match path.join(archive::name::CONFIG).exists() {
            true => Repository::open_folder(&path, Access::Shared)
                .and_then(|archive| archive.snapshots())
                .map_err(failed)?,
            false => vec![],
        };
        match archived.iter().find(|known| known.id == previous) {
            Some(base) => _ = heads.insert(name.dataset.clone(), At::of(base)),
            None => _ = begun.insert(name.dataset.clone(), At::of(&first)),
        }
    }
    Ok((heads, begun))
}

fn is_of(name: &Name, claim: &Claim) -> bool {
    let key = archive::sign::PublicKey::parse(&claim.holder.key);
    key.is_some_and(|key| *name == Name::of(&name.dataset(), name.epoch, &claim.holder.node, &key))
}

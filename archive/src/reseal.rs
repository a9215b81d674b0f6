//! Reseal: what was sealed for some recipients becomes readable for others. Every sealing identity that a keyring opens gets a next generation, wrapped
//! for the new recipients and published beside the old ones; sync carries it on.
//!
//! Nothing is sealed anew and nothing is taken away: who could open before still can. Reseal is not revocation.

use crate::error::{Error, Kind, Result};
use crate::id::IdentityId;
use crate::identity::{Keyring, Maker};
use crate::name;
use crate::record::{SealingIdentity, Signed};
use crate::repository::Repository;
use crate::sign::Signer;
use std::collections::BTreeSet;

/// Who reseals, for whom, and when.
pub struct ResealOptions<'a> {
    pub recipients: &'a [String],
    /// The node whose certified key signs.
    pub node: &'a str,
    pub signer: &'a Signer,
    pub now_ms: u64,
}

#[derive(Debug, Default)]
#[must_use = "it says which sealing identities could not be opened"]
pub struct ResealReport {
    /// Published now: sealing identity and generation.
    pub resealed: Vec<(IdentityId, u64)>,
    /// Whose newest generation has exactly these recipients already.
    pub unchanged: Vec<IdentityId>,
    /// Which no identity of the keyring opens, or which are damaged, and why.
    pub failed: Vec<(IdentityId, String)>,
}

/// Another process may publish the same generation at the same time; after this many it is no accident.
const ATTEMPTS_MAX: usize = 8;

/// Adds a generation to every sealing identity of a repository.
pub fn reseal(repository: &Repository, keyring: &mut Keyring, options: &ResealOptions<'_>) -> Result<ResealReport> {
    let mut report = ResealReport::default();
    for id in identities(repository)? {
        match reseal_one(repository, keyring, options, id) {
            Ok(Some(generation)) => report.resealed.push((id, generation)),
            Ok(None) => report.unchanged.push(id),
            Err(error) if error.kind() == Kind::Retry => return Err(error),
            Err(error @ (Error::Sealed { .. } | Error::Missing { .. } | Error::Damaged { .. })) => report.failed.push((id, error.to_string())),
            Err(Error::Refused { why, name }) if name.contains(&id.to_string()) => report.failed.push((id, why)),
            Err(error) => return Err(error),
        }
    }
    Ok(report)
}

/// Every sealing identity that has an object or a copy in a pack.
fn identities(repository: &Repository) -> Result<BTreeSet<IdentityId>> {
    let mut found: BTreeSet<IdentityId> =
        repository.list(name::KEYS)?.iter().filter_map(|listed| name::parse_key(&listed.name)).map(|(id, _)| id).collect();
    for signed in repository.records_in_containers::<SealingIdentity>()? {
        found.insert(signed.body.id);
    }
    Ok(found)
}

fn reseal_one(repository: &Repository, keyring: &mut Keyring, options: &ResealOptions<'_>, id: IdentityId) -> Result<Option<u64>> {
    let wanted: BTreeSet<&String> = options.recipients.iter().collect();
    for _ in 0..ATTEMPTS_MAX {
        let generations = repository.sealing_identities(id)?;
        let newest = generations.first().ok_or_else(|| Error::Missing { name: format!("sealing identity {id}") })?;
        if newest.body.recipients.iter().collect::<BTreeSet<_>>() == wanted {
            return Ok(None);
        }
        let next = next_generation(repository, id, newest)?;
        open(keyring, &generations, id)?;
        let config = repository.config();
        let maker = Maker { cluster: config.cluster.clone(), dataset: config.dataset.clone(), node: options.node.into() };
        let body = keyring.reseal(&maker, id, next, options.recipients, options.now_ms)?;
        match repository.publish_record(&name::key(id, next), &Signed::sign(body, options.signer)) {
            Ok(_) => return Ok(Some(next)),
            Err(Error::Conflict { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Err(Error::Conflict { name: format!("the next generation of sealing identity {id}") })
}

/// Above all that is readable, and above names whose objects are damaged.
fn next_generation(repository: &Repository, id: IdentityId, newest: &Signed<SealingIdentity>) -> Result<u64> {
    let named = repository.list(name::KEYS)?.into_iter().filter_map(|listed| name::parse_key(&listed.name));
    let highest = named.filter(|(of, _)| *of == id).map(|(_, generation)| generation).max().unwrap_or(0);
    let next = highest.max(newest.body.generation).checked_add(1);
    next.ok_or_else(|| Error::refused(format!("sealing identity {id}"), "its generations have no end"))
}

fn open(keyring: &mut Keyring, generations: &[Signed<SealingIdentity>], id: IdentityId) -> Result<()> {
    let mut refused = None;
    for signed in generations {
        match keyring.open_sealing_identity(&signed.body) {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(error) => refused = Some(error),
        }
    }
    Err(refused.unwrap_or_else(|| Error::Sealed { name: format!("sealing identity {id}") }))
}

//! Evidence of imports and drills, as nodes send it with their reports. Retention keeps the newest snapshot that was proven so.
//!
//! It is the node's own signed word and believed as no more than that: of each node and kind the last is kept, in the repository of the dataset.

use crate::members::Member;
use archive::name;
use archive::record::{Evidence, Signed};
use archive::repository::Repository;

/// No evidence is longer.
const EVIDENCE_MAX: usize = 4096;

/// Keeps evidence of a member in the place of what it sent before. Whether it could be believed.
pub fn keep(repository: &Repository, member: &Member, text: &str) -> archive::Result<bool> {
    let Some(evidence) = read(text).filter(|evidence| is_of(evidence, repository, member)) else { return Ok(false) };
    let body = &evidence.body;
    if !repository.snapshots()?.iter().any(|known| known.id == body.snapshot) {
        return Ok(false);
    }
    let name = name::evidence(body.snapshot, body.kind, evidence.id());
    if !repository.publish_record(&name, &evidence)? {
        return Ok(true);
    }
    for listed in repository.list(name::RECORDS)?.into_iter().filter(|listed| listed.name != name) {
        let is_older = |known: Signed<Evidence>| known.signer == evidence.signer && known.body.kind == body.kind;
        if repository.first_record::<Evidence>(&listed.name).is_ok_and(is_older) {
            repository.store().remove(&listed.name).map_err(|source| archive::Error::Store {
                operation: "remove",
                name: listed.name.clone(),
                source,
            })?;
        }
    }
    Ok(true)
}

fn read(text: &str) -> Option<Signed<Evidence>> {
    let bytes = (text.len() <= 2 * EVIDENCE_MAX).then(|| archive::id::unhex_all(text))??;
    Signed::parse(&bytes).ok()
}

fn is_of(evidence: &Signed<Evidence>, repository: &Repository, member: &Member) -> bool {
    let (body, config) = (&evidence.body, repository.config());
    Some(evidence.signer) == member.key() && body.node == member.name && body.cluster == config.cluster && body.dataset == config.dataset
}

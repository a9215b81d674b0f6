//! Equivocation: one node signed two snapshots for one position. Nobody can tell which is the true one, so neither is taken, and both are named.
//!
//! What we hold already stays. Two nodes at one position are no lie: that is two reigns that did not know of each other.

use super::proof::Object;
use crate::error::Error;
use crate::repository::Known;
use crate::sign::PublicKey;

/// Divides what is offered at one position into what stands and what is refused. `held` are the signers of what we have there.
pub(crate) fn divide(offered: Vec<(Known, Object)>, held: &[PublicKey]) -> (Vec<(Known, Object)>, Vec<(Known, Error)>) {
    let signers: Vec<PublicKey> = offered.iter().map(|(_, object)| object.snapshot.signer).chain(held.iter().copied()).collect();
    let (mut stands, mut refused) = (Vec::new(), Vec::new());
    for (known, object) in offered {
        let signer = object.snapshot.signer;
        if signers.iter().filter(|other| **other == signer).count() > 1 {
            let why = format!("node {} signed several snapshots for position {}", object.snapshot.body.node, known.at);
            let error = Error::refused(&known.name, why);
            refused.push((known, error));
        } else {
            stands.push((known, object));
        }
    }
    (stands, refused)
}

//! Whose signature counts.
//!
//! A node's signing key counts when the cluster key certified it, or when it was pinned by hand. Where there is neither a cluster key nor a pin,
//! anything that is signed at all is read, and commands say "signer unverified". Certificates travel with the repository and are
//! believed only by their own signature; a key may have several, and counts for each node that one of them names.
//!
//! A certificate does not end. Whoever pins keys can say that a node was expelled: its key goes on to count for what is here, and for what comes back with our
//! own receipt; `sync` takes nothing else of it. So history stays readable and later snapshots may use its runs, and what is signed with a stolen key comes too late.

use crate::error::{Error, Result};
use crate::record::{Certificate, Signed};
use crate::sign::PublicKey;
use std::collections::{BTreeSet, HashMap};

/// What there is to check signers against.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    pub cluster_key: Option<PublicKey>,
    pub pinned: Vec<PublicKey>,
    /// Keys of nodes that were expelled: what was received of them before stays theirs.
    pub former: Vec<PublicKey>,
}

/// Why a signer counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Certified,
    Pinned,
    /// There is no root to check against.
    Unverified,
}

impl Standing {
    pub fn words(self) -> &'static str {
        match self {
            Standing::Certified => "certified by the cluster key",
            Standing::Pinned => "pinned",
            Standing::Unverified => "signer unverified",
        }
    }
}

/// The certified nodes of a repository.
#[derive(Clone, Debug, Default)]
pub struct Certified {
    nodes: HashMap<PublicKey, BTreeSet<String>>,
}

impl Certified {
    /// Takes over a certificate if the cluster key made it.
    pub fn add(&mut self, trust: &Trust, cluster: &str, certificate: &Signed<Certificate>) -> bool {
        let body = &certificate.body;
        let good = trust.cluster_key == Some(certificate.signer) && body.cluster == cluster;
        if good {
            self.nodes.entry(body.key).or_default().insert(body.node.clone());
        }
        good
    }
}

impl Trust {
    /// Whether a key counts for what was received before, and for nothing new.
    pub fn is_former(&self, signer: &PublicKey) -> bool {
        self.former.contains(signer) && !self.pinned.contains(signer)
    }

    /// Whether `signer` may speak for `node`.
    pub fn standing(&self, certified: &Certified, signer: &PublicKey, node: &str, what: &dyn std::fmt::Display) -> Result<Standing> {
        if self.pinned.contains(signer) || self.former.contains(signer) {
            return Ok(Standing::Pinned);
        }
        match (self.cluster_key, certified.nodes.get(signer)) {
            (Some(_), Some(names)) if names.contains(node) => Ok(Standing::Certified),
            (Some(_), Some(names)) => {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                Err(Error::refused(what, format!("it says it is from node {node}, its signer is node {}", names.join(" or "))))
            }
            (Some(_), None) => Err(Error::refused(what, format!("its signer {signer} was not certified by the cluster key"))),
            (None, _) if self.pinned.is_empty() && self.former.is_empty() => Ok(Standing::Unverified),
            (None, _) => Err(Error::refused(what, format!("its signer {signer} is not the pinned one"))),
        }
    }
}

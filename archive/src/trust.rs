//! Whose signature counts.
//!
//! A node's signing key counts when the cluster key certified it, or when it was pinned by hand. Where there is neither a cluster key nor a pin,
//! anything that is signed at all is read, and commands say "signer unverified". Certificates travel with the repository and are
//! believed only by their own signature.

use crate::error::{Error, Result};
use crate::record::{Certificate, Signed};
use crate::sign::PublicKey;
use std::collections::HashMap;

/// What there is to check signers against.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    pub cluster_key: Option<PublicKey>,
    pub pinned: Vec<PublicKey>,
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
    nodes: HashMap<PublicKey, String>,
}

impl Certified {
    /// Takes over a certificate if the cluster key made it.
    pub fn add(&mut self, trust: &Trust, cluster: &str, certificate: &Signed<Certificate>) -> bool {
        let body = &certificate.body;
        let good = trust.cluster_key == Some(certificate.signer) && body.cluster == cluster;
        if good {
            self.nodes.insert(body.key, body.node.clone());
        }
        good
    }
}

impl Trust {
    /// Whether `signer` may speak for `node`.
    pub fn standing(&self, certified: &Certified, signer: &PublicKey, node: &str, what: &dyn std::fmt::Display) -> Result<Standing> {
        if self.pinned.contains(signer) {
            return Ok(Standing::Pinned);
        }
        match (self.cluster_key, certified.nodes.get(signer)) {
            (Some(_), Some(name)) if name == node => Ok(Standing::Certified),
            (Some(_), Some(name)) => Err(Error::refused(what, format!("it says it is from node {node}, its signer is node {name}"))),
            (Some(_), None) => Err(Error::refused(what, format!("its signer {signer} was not certified by the cluster key"))),
            (None, _) if self.pinned.is_empty() => Ok(Standing::Unverified),
            (None, _) => Err(Error::refused(what, format!("its signer {signer} is not the pinned one"))),
        }
    }
}

//! This node's certificate: the cluster key's word that the node's signing key is its own. It is kept in the state folder, and published into the repositories that
//! the node writes to; from there sync carries it to every other host.

use crate::error::{Error, Result};
use crate::state_file;
use archive::record::{Certificate, Signed};
use archive::repository::Repository;
use archive::sign::PublicKey;
use std::io;
use std::path::{Path, PathBuf};

pub fn path(state: &Path) -> PathBuf {
    state.join("node.certificate")
}

/// Puts it in the place of an older one.
pub fn keep(state: &Path, certificate: &Signed<Certificate>) -> Result<()> {
    state_file::replace(&path(state), format!("{}\n", certificate.line()).as_bytes())
}

/// The one that is kept, whatever it says.
pub fn open(state: &Path) -> Result<Option<Signed<Certificate>>> {
    let path = path(state);
    match std::fs::read_to_string(&path) {
        Ok(line) => Signed::from_line(&line).map(Some).map_err(|why| Error::Damaged { path, why: why.into() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::file("read", &path)(error)),
    }
}

/// Of whom a certificate must be, and by whom.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    pub cluster: &'a str,
    pub node: &'a str,
    pub key: PublicKey,
    /// Where it is known.
    pub cluster_key: Option<PublicKey>,
}

impl Subject<'_> {
    /// Why a certificate is not this node's.
    pub fn differs(&self, certificate: &Signed<Certificate>) -> Option<String> {
        let body = &certificate.body;
        if body.key != self.key {
            return Some(format!("it is for another key ({}) than this node's ({})", body.key, self.key));
        }
        if body.cluster != self.cluster || body.node != self.node {
            return Some(format!("it is for node {} of cluster {}, this is {} of {}", body.node, body.cluster, self.node, self.cluster));
        }
        let signer = certificate.signer;
        self.cluster_key
            .filter(|key| *key != signer)
            .map(|key| format!("{signer} made it, and the cluster key is {key}"))
    }

    /// The node's certificate, if it has one that counts.
    pub fn certificate(&self, state: &Path) -> Result<Option<Signed<Certificate>>> {
        Ok(open(state)?.filter(|certificate| self.differs(certificate).is_none()))
    }
}

/// Publishes a certificate into a repository. Says whether it is new there.
pub fn publish(repository: &Repository, certificate: &Signed<Certificate>) -> archive::Result<bool> {
    repository.publish_record(&archive::name::node(&certificate.body.key, certificate.id()), certificate)
}

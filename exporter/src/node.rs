//! What makes a host this node: its signing key, and where its state lies.

use crate::cmd::link_failure;
use archive::sign::Signer;
use console::exit::Failure;
use link::identity::signing_key;
use link::membership::NODE_KEY;
use std::path::{Path, PathBuf};

/// Where a dataset's repository lies: the spool, and the mirror on a standby.
pub fn repository(state: &Path, dataset: &str) -> PathBuf {
    state.join("datasets").join(dataset).join("repository")
}

/// Where what helps the next export lies.
pub fn local(state: &Path, dataset: &str) -> PathBuf {
    state.join("datasets").join(dataset).join("local")
}

/// The node's signing key; made at the first export.
pub fn signer(state: &Path) -> Result<Signer, Failure> {
    signing_key(state, NODE_KEY).map_err(|error| {
        link_failure(error).hint(
            "`state` in the node file must be a folder that this user may write; without its key from before, the node must join anew",
        )
    })
}

//! What makes a host this node: its signing key, and where its state lies.

use archive::sign::Signer;
use console::exit::Failure;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Where the daemons of a node listen, and where the exporter's tells without keys that it lives.
pub const EXPORTER_PORT: u16 = 8023;
pub const IMPORTER_PORT: u16 = 8024;
pub const EXPORTER_HEALTH: u16 = 8027;

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
    let path = state.join("node.key");
    match std::fs::read_to_string(&path) {
        Ok(text) => archive::id::unhex(text.trim()).map(|seed| Signer::from_seed(&seed)).ok_or_else(|| {
            Failure::failed(format!("{} is not a signing key", path.display()))
                .hint("put back the file from before; without it the node must join the cluster anew")
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => make_signer(state, &path),
        Err(error) => Err(Failure::failed(format!("cannot read {}: {error}", path.display()))),
    }
}

fn make_signer(state: &Path, path: &Path) -> Result<Signer, Failure> {
    let seed = Signer::new_seed();
    let draft = state.join(".node.key");
    let write = || -> std::io::Result<()> {
        archive::store::make_folder(state, 0o700)?;
        // A draft that a killed process left is nobody's key.
        let _ = std::fs::remove_file(&draft);
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        writeln!(file, "{}", archive::id::hex(&seed))?;
        file.sync_all()?;
        // Whoever was first has made the node's key; nobody replaces it.
        match std::fs::hard_link(&draft, path) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        std::fs::remove_file(&draft)?;
        std::fs::File::open(state)?.sync_all()
    };
    write().map_err(|error| {
        Failure::failed(format!("cannot make the node's signing key in {}: {error}", state.display()))
            .hint("`state` in the node file must be a folder that this user may write")
    })?;
    signer(state)
}

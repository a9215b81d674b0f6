//! The two secrets that a person keeps: the age identity, which opens snapshots, and the cluster key, which certifies nodes. Each is a file of its own, protected by a
//! passphrase as `age -p` does it; neither is ever needed for an export.

use crate::cmd::failure;
use archive::identity::{Keyring, generate, protect, read_protected};
use archive::sign::Signer;
use console::exit::Failure;
use console::passphrase::{self, Passphrase};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// How the cluster key stands in its file.
const SECRET: &str = "cluster-key-ed25519:";

/// Creates a file whole, for its owner alone, and never in place of another.
pub fn create(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::failed(format!("cannot write {}: {error}", path.display()));
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(failed)?;
    let draft = folder.join(format!(".draft-{}", archive::id::hex(&archive::sign::random::<8>())));
    let written = (|| {
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::hard_link(&draft, path)?;
        std::fs::File::open(folder)?.sync_all()
    })();
    // The name that counts is the other one.
    let _ = std::fs::remove_file(&draft);
    written.map_err(failed)
}

/// Makes an age identity. Its public half.
pub fn make_identity(path: &Path, passphrase: &Passphrase) -> Result<String, Failure> {
    let (private, public) = generate();
    let text = format!("# opens the snapshots that are sealed to it\n# public key: {public}\n{private}\n");
    create(path, &protect(&text, passphrase.expose()), 0o600)?;
    Ok(public)
}

/// The public half of an identity that is there.
pub fn identity(path: &Path, passphrase: Option<&Path>) -> Result<String, Failure> {
    let keyring = ask(path, passphrase, |path, ask| Keyring::from_file(path, ask))?;
    keyring
        .recipients()
        .pop()
        .ok_or_else(|| Failure::usage(format!("{} holds no identity", path.display())))
}

/// Makes a cluster key.
pub fn make_cluster_key(path: &Path, passphrase: &Passphrase) -> Result<Signer, Failure> {
    let seed = Signer::new_seed();
    let signer = Signer::from_seed(&seed);
    let text = format!("# certifies the nodes of a cluster\n# public key: {}\n{SECRET}{}\n", signer.public(), archive::id::hex(&seed));
    create(path, &protect(&text, passphrase.expose()), 0o600)?;
    Ok(signer)
}

/// The cluster key that is there.
pub fn cluster_key(path: &Path, passphrase: Option<&Path>) -> Result<Signer, Failure> {
    let text = ask(path, passphrase, |path, ask| read_protected(path, ask))?;
    let seed = text.lines().find_map(|line| archive::id::unhex(line.trim().strip_prefix(SECRET)?));
    seed.map(|seed| Signer::from_seed(&seed))
        .ok_or_else(|| Failure::usage(format!("{} holds no cluster key", path.display())))
}

type Ask<'a> = archive::identity::AskPassphrase<'a>;

fn ask<T>(path: &Path, file: Option<&Path>, open: impl FnOnce(&Path, Ask<'_>) -> archive::Result<T>) -> Result<T, Failure> {
    let mut refused = None;
    let opened = open(path, &mut |path| {
        let read = passphrase::read(&format!("Passphrase of {}", path.display()), file);
        read.map(|phrase| phrase.expose().to_owned()).map_err(|error| {
            refused = Some(error);
            archive::Error::Identity { path: path.into(), why: "its passphrase was not given".into() }
        })
    });
    match (opened, refused) {
        (_, Some(error)) => Err(error.into()),
        (opened, None) => opened.map_err(failure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_is_made_opens_with_its_passphrase_and_is_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let phrase = folder.path().join("phrase");
        create(&phrase, b"horse staple\n", 0o600).unwrap();
        let passphrase = passphrase::read("x", Some(&phrase)).unwrap();
        let (id, key) = (folder.path().join("sub/identity.age"), folder.path().join("cluster-key.age"));
        let public = make_identity(&id, &passphrase).unwrap();
        assert_eq!(identity(&id, Some(&phrase)).unwrap(), public);
        let made = make_cluster_key(&key, &passphrase).unwrap();
        assert_eq!(cluster_key(&key, Some(&phrase)).unwrap().public(), made.public());
        assert!(make_cluster_key(&key, &passphrase).is_err());
        assert_eq!(cluster_key(&key, Some(&phrase)).unwrap().public(), made.public());
        assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(cluster_key(&id, Some(&phrase)).unwrap_err().to_string().contains("no cluster key"));
        assert!(!String::from_utf8_lossy(&std::fs::read(&key).unwrap()).contains("ed25519:"));
    }
}

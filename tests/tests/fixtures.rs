//! Repositories that older versions wrote stay readable: a fixture for each version of the format, never edited.

use archive::identity::Keyring;
use archive::repository::Repository;
use archive::store::FolderStore;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn fixture(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(version)
}

fn open(version: &str) -> Repository {
    let store = FolderStore::open(&fixture(version).join("repository")).expect("the fixture is there");
    Repository::open(Arc::new(store)).expect("the fixture opens")
}

#[test]
fn version_1_restores_as_it_was() {
    let repository = open("v1");
    let target = tempfile::tempdir().unwrap();
    let mut keyring = Keyring::from_file(&fixture("v1").join("identity"), &mut |_| panic!("it has no passphrase")).unwrap();
    let newest = repository.snapshots().unwrap().pop().unwrap();
    let report = tests::trial::restore_from(&repository, &newest, &mut keyring, target.path()).unwrap();
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    let expected: serde_json::Value = serde_json::from_slice(&std::fs::read(fixture("v1").join("expected.json")).unwrap()).unwrap();
    let expected = expected.as_object().unwrap();
    let root = target.path().join("files");
    let mut seen = 0;
    for entry in walkdir::WalkDir::new(&root).min_depth(1) {
        let entry = entry.unwrap();
        let name = archive::id::hex(entry.path().strip_prefix(&root).unwrap().as_os_str().as_bytes());
        let known = &expected[&name];
        let metadata = entry.metadata().unwrap();
        if known["kind"] == "file" {
            assert!(metadata.is_file());
            let content = std::fs::read(entry.path()).unwrap();
            assert_eq!(archive::id::hex(&archive::digest::sha256(&content).0), known["sha256"].as_str().unwrap());
            assert_eq!(metadata.nlink(), known["links"].as_u64().unwrap());
        }
        if known["kind"] == "symlink" {
            let to = std::fs::read_link(entry.path()).unwrap();
            assert_eq!(archive::id::hex(to.as_os_str().as_bytes()), known["target"].as_str().unwrap());
        } else {
            assert_eq!(u64::from(metadata.permissions().mode() & 0o7777), known["mode"].as_u64().unwrap(), "{name}");
        }
        seen += 1;
    }
    assert_eq!(seen, expected.len());
}

#[test]
fn version_1_is_whole() {
    let repository = open("v1");
    let options = archive::check::CheckOptions { read: Some(archive::check::Part { number: 0, of: 1 }), ..Default::default() };
    let report = archive::check::check(&repository, &options).unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    assert_eq!(report.snapshots, 6);
}

#[test]
fn version_1_shows_lists_of_several_layers() {
    let repository = open("v1");
    let mut keyring = Keyring::from_file(&fixture("v1").join("identity"), &mut |_| panic!("it has no passphrase")).unwrap();
    let newest = repository.snapshots().unwrap().pop().unwrap();
    let opened = archive::read::open::OpenSnapshot::open(&repository, &newest, &Default::default(), &mut keyring).unwrap();
    let mut layers = vec![];
    opened
        .entries(1, &mut |entry| {
            if let archive::entry::Node::File(content) = entry.node {
                layers.push(content.list.layers);
            }
            Ok(())
        })
        .unwrap();
    assert!(
        layers
            .iter()
            .any(|layers| layers.len() > 2 && layers[1..].iter().any(|layer| layer.stored) && layers.iter().any(|layer| !layer.stored))
    );
}

//! What a receiver without any key has on its disk.

use super::*;
use archive::digest;
use archive::id::hex;
use archive::store::FolderStore;

/// What must not be found: a name for it, and the bytes.
fn traces(name: &str, content: &[u8]) -> Vec<(String, Vec<u8>)> {
    let hashes = [digest::sha256(content).0.to_vec(), digest::of_content(content).0.to_vec(), blake3::hash(content).as_bytes().to_vec()];
    let mut traces = vec![(format!("the name {name}"), name.as_bytes().to_vec())];
    for hash in hashes {
        let text = hex(&hash);
        traces.push((format!("a hash of {name}, upper case"), text.to_uppercase().into_bytes()));
        traces.push((format!("a hash of {name}, as text"), text.into_bytes()));
        // A cut hash gives as much away.
        traces.push((format!("a hash of {name}"), hash[..8].to_vec()));
    }
    traces
}

fn find(all: &[u8], wanted: &[u8]) -> bool {
    all.windows(wanted.len()).any(|window| window == wanted)
}

#[test]
fn the_archive_of_a_sealed_dataset_has_no_names_contents_or_hashes() {
    let secret = b"the-secret-that-nobody-may-find".as_slice();
    let contents: Vec<(&str, Vec<u8>)> = vec![
        ("s/marker-of-a-small-file", secret.to_vec()),
        ("s/marker-of-a-text", [secret, b"\n"].concat().repeat(50_000)),
        ("s/marker-of-noise", [noise(8, 300_000), secret.to_vec()].concat()),
    ];
    // Unsealed, the search finds what it looks for: it could fail.
    for sealed in [true, false] {
        let trial = if sealed { Trial::new() } else { Trial::unsealed() };
        let mut tree = PlainTree::new("s");
        for (name, content) in &contents {
            tree.file(name, content.clone());
        }
        trial.export(&tree);
        tree.file("s/marker-added-later", "more");
        trial.export(&tree);
        let folder = tempfile::tempdir().unwrap();
        let archive = empty(Arc::new(FolderStore::open(folder.path()).unwrap()));
        let report = pull(&*trial.repository, &archive);
        assert!(report.is_complete() && report.snapshots.len() == 2);
        let mut all = Vec::new();
        for entry in walkdir::WalkDir::new(folder.path()) {
            let entry = entry.unwrap();
            all.extend_from_slice(entry.path().as_os_str().as_encoded_bytes());
            if entry.file_type().is_file() {
                all.extend(std::fs::read(entry.path()).unwrap());
            }
        }
        let mut found: Vec<String> = if find(&all, secret) { vec!["content".into()] } else { vec![] };
        for (name, content) in &contents {
            let last = name.rsplit('/').next().unwrap();
            found.extend(traces(last, content).into_iter().filter(|(_, bytes)| find(&all, bytes)).map(|(what, _)| what));
        }
        assert_eq!(found.is_empty(), sealed, "found {found:?}");
    }
}

#[test]
fn no_key_is_near_when_a_sealed_dataset_is_synced() {
    let trial = Trial::new();
    let versions = packed_and_small(&trial);
    let identity = std::fs::read(&trial.identity).unwrap();
    std::fs::remove_file(&trial.identity).unwrap();
    let archive = memory();
    assert!(pull(&*trial.repository, &archive).is_complete());
    std::fs::write(&trial.identity, identity).unwrap();
    assert_eq!(assert_restores(&trial, &archive, &versions, "blind"), 3);
}

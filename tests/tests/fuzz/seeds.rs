//! What to begin with: the bytes of repositories that were really made.

use archive::container::{ItemKey, items};
use archive::entry::{Entry, Node};
use archive::read::open::OpenSnapshot;
use archive::record::{Certificate, Evidence, EvidenceKind, RecordKind, Signed};
use archive::store::{MemoryStore, Store, read_all};
use archive::trust::Trust;
use std::sync::Arc;
use tests::chance::{Chance, noise};
use tests::plain::{Plain, PlainTree};
use tests::trial::Trial;

pub struct Seeds {
    pub trials: Vec<(Trial, MemoryStore, PlainTree)>,
    pub containers: Vec<Vec<u8>>,
    pub indexes: Vec<Vec<u8>>,
    /// Record items by kind.
    pub records: Vec<(RecordKind, Vec<u8>)>,
    pub segments: Vec<Vec<u8>>,
    pub lists: Vec<Vec<u8>>,
    pub entries: Vec<Vec<u8>>,
    pub roots: Vec<Vec<u8>>,
    pub names: Vec<Vec<u8>>,
}

fn tree() -> PlainTree {
    let mut tree = PlainTree::new("s");
    tree.put("s/sub", Plain::Folder);
    tree.file("s/large", noise(1, 400_000));
    tree.file("s/empty", "");
    tree.file(b"s/with\nbytes\xff", "text\n".repeat(100));
    tree.put("s/link", Plain::Symlink(b"../elsewhere".to_vec()));
    tree.put("s/fifo", Plain::Fifo);
    tree.put("s/twin", Plain::HardLink(b"s/large".to_vec()));
    (0..30).for_each(|n| tree.file(format!("s/sub/{n:02}"), noise(n, 500)));
    tree
}

/// A repository with a few exports: a pack, tiny ones, a heartbeat, a certificate, evidence.
fn made(sealed: bool) -> (Trial, MemoryStore, PlainTree) {
    let store = MemoryStore::default();
    let trial = Trial::with(Arc::new(store.clone()), sealed);
    let (mut tree, mut chance) = (tree(), Chance::new(1));
    trial.export(&tree);
    for round in 0..3 {
        let mut large = tree.content(b"s/large").unwrap().to_vec();
        for _ in 0..30 {
            let at = chance.below(large.len() - 50);
            let new = chance.noise(30);
            large.splice(at..at, new);
        }
        tree.file("s/large", large);
        tree.file(format!("s/sub/new{round}"), chance.noise(700));
        trial.export(&tree);
    }
    trial.export(&tree);
    let signer = &trial.options.signer;
    let known = trial.repository.snapshots().unwrap().pop().unwrap();
    let certificate = Signed::sign(Certificate { cluster: "shop".into(), node: "web1".into(), key: signer.public(), issued_ms: 1 }, signer);
    trial
        .repository
        .publish_record(&archive::name::node(&signer.public(), certificate.id()), &certificate)
        .unwrap();
    let evidence = Evidence {
        cluster: "shop".into(),
        dataset: "data".into(),
        node: "web1".into(),
        snapshot: known.id,
        kind: EvidenceKind::Import,
        started_ms: 1,
        finished_ms: 2,
        good: true,
        text: "it came up".into(),
    };
    let evidence = Signed::sign(evidence, signer);
    trial
        .repository
        .publish_record(&archive::name::evidence(known.id, EvidenceKind::Import, evidence.id()), &evidence)
        .unwrap();
    (trial, store, tree)
}

pub fn gather() -> Seeds {
    let trials = vec![made(true), made(false)];
    let mut seeds = Seeds {
        trials: vec![],
        containers: vec![],
        indexes: vec![],
        records: vec![],
        segments: vec![],
        lists: vec![],
        entries: vec![],
        roots: vec![],
        names: vec![],
    };
    for (trial, store, _) in &trials {
        for folder in archive::name::FOLDERS {
            for listed in store.list(folder).unwrap() {
                let bytes = read_all(store, &listed.name, 1 << 30).unwrap();
                seeds.names.push(listed.name.into_bytes());
                if folder == archive::name::INDEX {
                    seeds.indexes.push(bytes);
                    continue;
                }
                for item in items(&bytes).unwrap() {
                    let part = bytes[item.offset as usize..(item.offset + item.len) as usize].to_vec();
                    match item.key {
                        ItemKey::Segment(_) => seeds.segments.push(part),
                        ItemKey::Record(kind, _) => seeds.records.push((kind, part)),
                    }
                }
                seeds.containers.push(bytes);
            }
        }
        for known in trial.repository.snapshots().unwrap() {
            let opened = OpenSnapshot::open(&trial.repository, &known, &Trust::default(), &mut trial.keyring()).unwrap();
            seeds.roots.push(opened.root.bytes());
            let mut entries: Vec<Entry> = vec![];
            opened
                .entries(1, &mut |entry| {
                    entries.push(entry);
                    Ok(())
                })
                .unwrap();
            for entry in &entries {
                if let Node::File(content) = &entry.node {
                    seeds.lists.extend(content.list.layers.iter().map(|layer| layer.bytes.clone()));
                }
            }
            entries[1].attributes.xattrs = vec![(b"user.note".to_vec(), b"value".to_vec())];
            seeds.entries.push(tests::forge::index_of(&entries));
        }
    }
    seeds.trials = trials;
    seeds
}

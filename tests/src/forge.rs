//! An enemy with a valid signing key: repositories made by hand, in which any number can lie. Unsealed, so that any bytes can be put anywhere.

use archive::container::{ItemKey, Layout};
use archive::digest;
use archive::entry::{self, Attributes, Content, Entry, Node};
use archive::extent::{Extent, List, Place, encode};
use archive::id::{Address, ExportId, Hash, RunId, SnapshotId};
use archive::identity::Keyring;
use archive::name::{self, Position};
use archive::read::open::OpenSnapshot;
use archive::read::restore::{RestoreOptions, RestoreReport, restore};
use archive::record::{LiveRange, Run, RunUse, SegmentRecord, Signed, Snapshot, run_id};
use archive::repository::{Known, Repository, alone};
use archive::root::{Root, Source};
use archive::seal::{Encoder, HEADER, seal_segment};
use archive::sign::{Signer, random};
use archive::store::MemoryStore;
use archive::trust::Trust;
use std::path::Path;
use std::sync::Arc;

pub struct Forge {
    pub store: MemoryStore,
    pub signer: Signer,
    pub runs: Vec<RunUse>,
    sequence: u64,
}

/// What the root of a snapshot says of its index.
pub struct Index {
    pub list: List,
    pub len: u64,
    pub digest: Hash,
}

impl Default for Forge {
    fn default() -> Self {
        Self::new()
    }
}

impl Forge {
    pub fn new() -> Self {
        let store = MemoryStore::default();
        Repository::create(&store, "shop", "data").expect("a repository is made");
        Forge { store, signer: Signer::from_seed(&[66; 32]), runs: vec![], sequence: 0 }
    }

    /// A segment's item from its plain form.
    pub fn item(address: Address, plain: &[u8]) -> Vec<u8> {
        let mut item = vec![0; HEADER];
        item.extend_from_slice(plain);
        seal_segment(&mut item, address, None);
        item
    }

    /// The plain form of content.
    pub fn plain(content: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        Encoder::new(3).expect("level 3 is one").encode(content, 0, &mut plain);
        plain
    }

    pub fn pack(items: &[(ItemKey, Vec<u8>)]) -> (String, Vec<u8>) {
        let (mut layout, mut bytes) = (Layout::default(), Vec::new());
        for (key, item) in items {
            layout.add(*key, item.len());
            bytes.extend_from_slice(item);
        }
        let (trailer, id) = layout.trailer(random());
        bytes.extend_from_slice(&trailer);
        (name::pack(id), bytes)
    }

    pub fn run_body(&self, nonce: [u8; 32], segments: Vec<SegmentRecord>) -> Run {
        Run {
            cluster: "shop".into(),
            dataset: "data".into(),
            node: "web1".into(),
            id: run_id(&self.signer.public(), &nonce),
            nonce,
            export: ExportId([1; 16]),
            started_ms: 1,
            closed_ms: 2,
            seal: None,
            segments,
        }
    }

    /// Publishes a run of segments with these plain forms. Gives its ordinal.
    pub fn run_of_plains(&mut self, plains: &[Vec<u8>]) -> u64 {
        let nonce = random();
        let id: RunId = run_id(&self.signer.public(), &nonce);
        let address = |sequence: usize| Address { run: id, sequence: sequence as u32 };
        let items: Vec<_> = plains
            .iter()
            .enumerate()
            .map(|(n, plain)| (ItemKey::Segment(address(n)), Self::item(address(n), plain)))
            .collect();
        let segments = items
            .iter()
            .map(|(_, item)| SegmentRecord { len: item.len() as u32, hash: digest::sha256(item) })
            .collect();
        let (pack, bytes) = Self::pack(&items);
        self.store.set(&pack, bytes);
        let signed = Signed::sign(self.run_body(nonce, segments), &self.signer);
        self.store.set(&name::run(id), alone(&signed));
        let ordinal = self.runs.len() as u64;
        self.runs.push(RunUse {
            ordinal,
            run: id,
            record: signed.id(),
            live: vec![LiveRange { first: 0, count: plains.len() as u32 }],
        });
        ordinal
    }

    /// Publishes a run of segments with this content.
    pub fn run(&mut self, contents: &[&[u8]]) -> u64 {
        let plains: Vec<_> = contents.iter().map(|content| Self::plain(content)).collect();
        self.run_of_plains(&plains)
    }

    /// Puts an index into a run of its own.
    pub fn index(&mut self, bytes: &[u8]) -> Index {
        if bytes.is_empty() {
            return Index { list: List::default(), len: 0, digest: digest::of_content(bytes) };
        }
        let chunks: Vec<&[u8]> = bytes.chunks(1 << 20).collect();
        let ordinal = self.run(&chunks);
        let extents: Vec<_> = chunks
            .iter()
            .enumerate()
            .map(|(n, chunk)| extent(ordinal, n as u32, 0, chunk.len() as u64))
            .collect();
        Index { list: List::inline(encode(&extents)), len: bytes.len() as u64, digest: digest::of_content(bytes) }
    }

    pub fn snapshot_body(&self, index: &Index) -> Snapshot {
        let source = Source { name: "s".into(), recipe: "files".into(), manifest: vec![] };
        let root = Root {
            next_ordinal: 1000,
            index_len: index.len,
            index_digest: index.digest,
            index: index.list.clone(),
            sources: vec![source],
        };
        Snapshot {
            cluster: "shop".into(),
            dataset: "data".into(),
            node: "web1".into(),
            epoch: 0,
            sequence: self.sequence,
            previous: SnapshotId::NONE,
            base: SnapshotId::NONE,
            export: ExportId([1; 16]),
            started_ms: 1,
            captured_ms: 2,
            entries: 1,
            content_bytes: 1,
            stored_bytes: 1,
            sealed: false,
            key_ordinal: self.runs.last().map_or(0, |run| run.ordinal),
            runs: self.runs.clone(),
            salt: [0; 16],
            root: Self::plain(&root.bytes()),
        }
    }

    /// Signs and publishes a snapshot under the name that is its.
    pub fn publish(&mut self, body: Snapshot) -> Known {
        self.sequence += 1;
        let at = Position { epoch: body.epoch, sequence: body.sequence };
        let signed = Signed::sign(body, &self.signer);
        let id = SnapshotId::of(&signed.hash.0);
        let name = name::snapshot(at, id);
        self.store.set(&name, alone(&signed));
        Known { at, id, name }
    }

    /// A snapshot with this index.
    pub fn snapshot(&mut self, index: &[u8]) -> Known {
        let index = self.index(index);
        self.publish(self.snapshot_body(&index))
    }

    /// A snapshot of these entries.
    pub fn tree(&mut self, entries: &[Entry]) -> Known {
        self.snapshot(&index_of(entries))
    }

    pub fn repository(&self) -> Repository {
        Repository::open(Arc::new(self.store.clone())).expect("it opens")
    }

    pub fn restore(&self, known: &Known, target: &Path) -> archive::Result<RestoreReport> {
        let repository = self.repository();
        let opened = OpenSnapshot::open(&repository, known, &Trust::default(), &mut Keyring::default())?;
        restore(&opened, target, &RestoreOptions { threads: 2, ..RestoreOptions::default() })
    }
}

pub fn extent(ordinal: u64, sequence: u32, offset: u32, len: u64) -> Extent {
    Extent { place: Some(Place { ordinal, sequence, offset }), len }
}

pub fn hole(len: u64) -> Extent {
    Extent { place: None, len }
}

pub fn attributes() -> Attributes {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    Attributes { mode: 0o755, uid, gid, ..Attributes::default() }
}

pub fn entry(path: impl AsRef<[u8]>, node: Node) -> Entry {
    Entry { path: path.as_ref().to_vec(), attributes: attributes(), node }
}

pub fn folder(path: impl AsRef<[u8]>) -> Entry {
    entry(path, Node::Folder)
}

/// A file whose list says what it wants.
pub fn file(path: impl AsRef<[u8]>, len: u64, digest: Hash, list: List) -> Entry {
    entry(path, Node::File(Content { len, digest, list, torn: false }))
}

/// A file with these extents and this content.
pub fn honest(path: impl AsRef<[u8]>, content: &[u8], extents: &[Extent]) -> Entry {
    file(path, content.len() as u64, digest::of_content(content), List::inline(encode(extents)))
}

/// Entries one after the other, whatever they say.
pub fn index_of(entries: &[Entry]) -> Vec<u8> {
    let (mut bytes, mut previous) = (Vec::new(), Vec::new());
    for entry in entries {
        entry::put(entry, &previous, &mut bytes);
        previous.clone_from(&entry.path);
    }
    bytes
}

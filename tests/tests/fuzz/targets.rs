//! The parsers, each with what must hold of whatever it accepts.

use super::seeds::{Seeds, gather};
use super::whole;
use archive::container::{self, FOOT, Scan};
use archive::digest;
use archive::encode::{Put, Take, Taken};
use archive::entry::{Entry, EntryDecoder};
use archive::extent::{self, Piece, PieceDecoder};
use archive::identity::Keyring;
use archive::local::state::{EntryStamp, Local};
use archive::locate::{decode_index, encode_index};
use archive::record::{self, Body, FRAME, RecordKind, SIGNATURE, Signed};
use archive::repository::Repository;
use archive::root::Root;
use archive::seal::{Decoder, HEADER, Header};
use archive::sign::Signer;
use archive::store::MemoryStore;
use std::cell::RefCell;
use std::sync::Arc;
use tests::chance::Chance;

pub struct Target {
    pub name: &'static str,
    pub seeds: Vec<Vec<u8>>,
    /// How often it is tried by default.
    pub cases: usize,
    /// Panics when something does not hold.
    pub parse: Box<dyn Fn(&[u8], &mut Chance)>,
}

fn target(name: &'static str, seeds: Vec<Vec<u8>>, cases: usize, parse: impl Fn(&[u8], &mut Chance) + 'static) -> Target {
    assert!(!seeds.is_empty(), "{name} has nothing to begin with");
    Target { name, seeds, cases, parse: Box::new(parse) }
}

pub fn all() -> Vec<Target> {
    let seeds = gather();
    let mut all = containers(&seeds);
    all.extend(records(&seeds));
    all.extend(segments(&seeds));
    all.extend(lists(&seeds));
    all.extend(configuration(&seeds));
    all.extend(local(&seeds));
    all.extend(identities(&seeds));
    all.push(whole::target(seeds));
    all
}

/// The body of a record that says whatever it says, to be signed like any other.
struct Raw<const KIND: u8>(Vec<u8>);

impl<const KIND_NUMBER: u8> Body for Raw<KIND_NUMBER> {
    const KIND: RecordKind = match KIND_NUMBER {
        1 => RecordKind::Run,
        2 => RecordKind::Snapshot,
        3 => RecordKind::Receipt,
        4 => RecordKind::Identity,
        5 => RecordKind::Certificate,
        6 => RecordKind::Heartbeat,
        _ => RecordKind::Evidence,
    };

    fn put(&self, out: &mut Vec<u8>) {
        out.raw(&self.0);
    }

    fn take(take: &mut Take<'_>) -> Taken<Self> {
        let mut rest = vec![];
        while !take.is_empty() {
            rest.push(take.u8()?);
        }
        Ok(Raw(rest))
    }
}

/// A record whose signature is right and whose body is anything: what is accepted has one encoding.
fn body<B: Body + 'static, const KIND: u8>(name: &'static str, seeds: &Seeds) -> Target {
    assert_eq!(B::KIND as u8, KIND);
    let bodies = seeds
        .records
        .iter()
        .filter(|(kind, _)| *kind == B::KIND)
        .map(|(_, item)| item[FRAME..item.len() - SIGNATURE].to_vec());
    let signer = Signer::from_seed(&[3; 32]);
    target(name, bodies.collect(), 2500, move |bytes, _| {
        let item = Signed::sign(Raw::<KIND>(bytes.to_vec()), &signer).item;
        if let Ok(parsed) = Signed::<B>::parse(&item) {
            assert_eq!(Signed::sign(parsed.body, &signer).item, item, "it has two encodings");
        }
    })
}

fn records(seeds: &Seeds) -> Vec<Target> {
    let items = seeds.records.iter().map(|(_, item)| item.clone()).collect();
    let frame = target("record", items, 3000, |bytes, _| {
        if let Ok((_, len)) = record::frame(bytes) {
            assert!(len >= FRAME + SIGNATURE);
        }
        let known = [
            Signed::<record::Run>::parse(bytes).is_ok(),
            Signed::<record::Snapshot>::parse(bytes).is_ok(),
            Signed::<record::Receipt>::parse(bytes).is_ok(),
            Signed::<record::SealingIdentity>::parse(bytes).is_ok(),
            Signed::<record::Certificate>::parse(bytes).is_ok(),
            Signed::<record::Heartbeat>::parse(bytes).is_ok(),
            Signed::<record::Evidence>::parse(bytes).is_ok(),
        ];
        assert!(known.iter().filter(|known| **known).count() <= 1, "it is a record of two kinds");
    });
    vec![
        frame,
        body::<record::Run, 1>("run", seeds),
        body::<record::Snapshot, 2>("snapshot", seeds),
        body::<record::Receipt, 3>("receipt", seeds),
        body::<record::SealingIdentity, 4>("sealing identity", seeds),
        body::<record::Certificate, 5>("certificate", seeds),
        body::<record::Heartbeat, 6>("heartbeat", seeds),
        body::<record::Evidence, 7>("evidence", seeds),
    ]
}

/// The trailer of a container, without what follows its hash, and without the hash.
fn trailer_body(bytes: &[u8]) -> Vec<u8> {
    let foot = bytes.len() - FOOT;
    let len = container::trailer_len(&bytes[foot..]).expect("it has a trailer");
    bytes[foot - len..foot - 32].to_vec()
}

fn scanned(bytes: &[u8]) -> Vec<container::Item> {
    let mut read = |offset: u64, len: usize| Ok(bytes[offset as usize..(offset as usize + len).min(bytes.len())].to_vec());
    Scan::new(bytes.len() as u64, &mut read).items().expect("memory can be read")
}

fn containers(seeds: &Seeds) -> Vec<Target> {
    let trailers = seeds.containers.iter().map(|bytes| trailer_body(bytes)).collect();
    let whole = target("container", seeds.containers.clone(), 1500, |bytes, _| {
        for item in container::items(bytes).unwrap_or_default() {
            assert!(u64::from(item.offset) + u64::from(item.len) <= bytes.len() as u64);
        }
        let mut end = 0;
        for item in scanned(bytes) {
            assert!(u64::from(item.offset) >= end, "items overlap");
            end = u64::from(item.offset) + u64::from(item.len);
            assert!(end <= bytes.len() as u64, "an item lies outside");
        }
    });
    let trailer = target("trailer", trailers, 15_000, |bytes, _| {
        let whole = [bytes, &digest::sha256(bytes).0[..]].concat();
        // Wherever it says that its items end.
        let told = bytes.len().checked_sub(8).map(|at| {
            u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as u64
                + u32::from_le_bytes(bytes[at + 4..].try_into().unwrap()) as u64
        });
        for start in [0, told.unwrap_or(0), u64::MAX] {
            if let Ok((items, _)) = container::parse_trailer(&whole, start) {
                let mut again = bytes[..24].to_vec();
                again.raw(&(items.len() as u32).to_le_bytes());
                items.iter().for_each(|item| item.put(&mut again));
                assert_eq!(again, bytes);
            }
        }
    });
    let bodies = seeds.indexes.iter().map(|bytes| bytes[..bytes.len() - 32].to_vec()).collect();
    let index = target("index file", bodies, 15_000, |bytes, chance| {
        let mut bytes = bytes.to_vec();
        // Half of them with the length that they have.
        if bytes.len() > 12 && chance.one_in(2) {
            let len = bytes.len() as u32 - 12;
            bytes[8..12].copy_from_slice(&len.to_le_bytes());
        }
        let hash = digest::sha256(&bytes);
        bytes.extend_from_slice(&hash.0);
        if let Ok(containers) = decode_index(&bytes) {
            assert_eq!(encode_index(&containers), bytes);
        }
    });
    vec![whole, trailer, index]
}

fn segments(seeds: &Seeds) -> Vec<Target> {
    let headers = seeds.segments.iter().map(|item| item[..HEADER].to_vec()).collect();
    let header = target("segment header", headers, 20_000, |bytes, _| {
        if let Ok(header) = Header::parse(bytes) {
            assert_eq!(&header.bytes()[..], &bytes[..HEADER]);
            assert!(header.payload as usize <= archive::seal::PAYLOAD_MAX);
        }
    });
    let small: Vec<Vec<u8>> = [&b""[..], b"x", &[7; 5000], &[9; 1 << 20], b"some text, again and again. ".repeat(100).as_slice()]
        .map(tests::forge::Forge::plain)
        .to_vec();
    let (decoder, content) = (RefCell::new(Decoder::default()), RefCell::new(Vec::new()));
    let plain = target("plain form", small, 15_000, move |bytes, _| {
        let mut content = content.borrow_mut();
        if decoder.borrow_mut().decode(bytes, &mut content).is_ok() {
            assert!(content.len() <= 1 << 20);
        }
        assert!(content.capacity() <= 4 << 20);
    });
    let unsealed: Vec<Vec<u8>> = seeds.segments.iter().filter(|item| item[5] == 0 && item.len() < 10_000).cloned().collect();
    let item = target("segment", unsealed, 5000, |bytes, _| {
        let mut item = bytes.to_vec();
        if archive::seal::open_segment(&mut item, None).is_ok() {
            assert_eq!(item, bytes);
        }
    });
    vec![header, plain, item]
}

fn read_entries(bytes: &[u8]) -> (Vec<Entry>, bool) {
    let (mut take, mut decoder, mut entries) = (Take::new(bytes), EntryDecoder::default(), vec![]);
    while !take.is_empty() {
        match decoder.next(&mut take) {
            Ok(entry) => entries.push(entry),
            Err(_) => return (entries, false),
        }
    }
    (entries, true)
}

fn lists(seeds: &Seeds) -> Vec<Target> {
    let list = target("list of extents", seeds.lists.clone(), 30_000, |bytes, _| {
        let (mut take, mut decoder, mut pieces) = (Take::new(bytes), PieceDecoder::default(), vec![]);
        let mut read = || -> Taken<()> {
            while !take.is_empty() {
                pieces.push(decoder.next(&mut take)?);
            }
            Ok(())
        };
        let whole = read().is_ok();
        let extents: Vec<_> = pieces
            .iter()
            .filter_map(|piece| if let Piece::Here(extent) = piece { Some(*extent) } else { None })
            .collect();
        assert_eq!(extent::decode(bytes).is_ok(), whole && extents.len() == pieces.len());
        for extent in &extents {
            assert!(extent.len > 0 && extent.place.is_none_or(|place| u64::from(place.offset) + extent.len <= 1 << 20));
        }
        let again = extent::encode(&extents);
        assert_eq!(extent::decode(&again).unwrap(), extents);
    });
    let entry = target("entries", seeds.entries.clone(), 6000, |bytes, _| {
        let (entries, whole) = read_entries(bytes);
        for pair in entries.windows(2) {
            assert_eq!(archive::entry::compare(&pair[0].path, &pair[1].path), std::cmp::Ordering::Less);
        }
        for entry in &entries {
            assert!(
                entry
                    .path
                    .split(|byte| *byte == b'/')
                    .all(|part| !part.is_empty() && part != b"." && part != b".." && !part.contains(&0))
            );
            assert!(!archive::entry::display(&entry.path).chars().any(char::is_control));
        }
        if whole {
            let again = tests::forge::index_of(&entries);
            assert_eq!(read_entries(&again), (entries, true));
        }
    });
    let root = target("root", seeds.roots.clone(), 20_000, |bytes, _| {
        if let Ok(root) = Root::parse(bytes) {
            assert_eq!(root.bytes(), bytes);
        }
    });
    vec![list, entry, root]
}

fn configuration(seeds: &Seeds) -> Vec<Target> {
    let (_, store, _) = &seeds.trials[0];
    let config = archive::store::read_all(store, archive::name::CONFIG, 1 << 16).unwrap();
    let file = target("repository.json", vec![config], 8000, |bytes, _| {
        let store = MemoryStore::default();
        store.set(archive::name::CONFIG, bytes.to_vec());
        match Repository::open(Arc::new(store)) {
            Ok(repository) => assert!(record::valid_name(&repository.config().cluster) && record::valid_name(&repository.config().dataset)),
            Err(error) => assert!(!error.to_string().chars().any(char::is_control), "{error}"),
        }
    });
    let names = target("names", seeds.names.clone(), 30_000, |bytes, _| {
        let name = String::from_utf8_lossy(bytes);
        if let Some((at, id)) = archive::name::parse_snapshot(&name) {
            assert!(name.ends_with(archive::name::snapshot(at, id).strip_prefix("snapshots/").unwrap()));
        }
        let _ = (
            archive::name::parse_key(&name),
            archive::name::parse_trash(&name),
            archive::name::subject(&name),
            archive::name::parse_heartbeat(&name),
        );
    });
    vec![file, names]
}

/// Adds the check that local files end with.
fn checked(bytes: &[u8]) -> Vec<u8> {
    [bytes, blake3::hash(bytes).as_bytes()].concat()
}

fn local(seeds: &Seeds) -> Vec<Target> {
    let (trial, ..) = &seeds.trials[0];
    let unchecked = |path: std::path::PathBuf| std::fs::read(path).ok().map(|bytes| bytes[..bytes.len() - 32].to_vec());
    let folder = tempfile::tempdir().unwrap();
    tests::trial::copy_folder(&trial.local(), folder.path());
    let local = Local::open(folder.path()).unwrap();
    let state = unchecked(trial.local().join("state")).into_iter().collect();
    let runs = vec![archive::export::runs::ClosedRun {
        ordinal: 3,
        id: archive::id::RunId([5; 16]),
        record: archive::id::RecordId([7; 16]),
        content_lens: vec![10, 20, 1 << 20],
    }];
    let sealing = digest::sha256(b"sealing");
    local.save_journal(sealing, &runs).unwrap();
    local.save_lists(7, &[vec![1; 300], vec![2; 40]]).unwrap();
    let (journal, lists) = (unchecked(local.path("journal")).into_iter().collect(), unchecked(local.lists(7)).into_iter().collect());
    let shared = std::rc::Rc::new((folder, local));
    let with = |name: &'static str, file: std::path::PathBuf, seeds, read: fn(&Local)| {
        let shared = shared.clone();
        target(name, seeds, 2000, move |bytes, chance| {
            let bytes = if chance.one_in(10) { bytes.to_vec() } else { checked(bytes) };
            std::fs::write(&file, bytes).unwrap();
            read(&shared.1);
        })
    };
    let (state_path, journal_path, lists_path) = (shared.1.path("state"), shared.1.path("journal"), shared.1.lists(7));
    let stamp = target("stamp", vec![vec![1; 40]], 2000, |bytes, _| {
        if let Ok(bytes) = bytes.try_into() {
            let stamp = EntryStamp::parse(bytes);
            assert_eq!(EntryStamp::parse(&stamp.bytes()), stamp);
        }
    });
    vec![
        with("local state", state_path, state, |local| drop(local.load())),
        with("journal", journal_path, journal, |local| drop(local.load_journal(digest::sha256(b"sealing")))),
        with("local lists", lists_path, lists, |local| drop(local.load_lists(7))),
        stamp,
    ]
}

fn identities(seeds: &Seeds) -> Vec<Target> {
    let (trial, ..) = &seeds.trials[0];
    let plain = std::fs::read(&trial.identity).unwrap();
    let with_comments = [b"# created: 2026\n# public key: age1\n\n", &plain[..], b"\n"].concat();
    // As a passphrase protects it. To make a real one takes a second and half a GiB; this one is never opened.
    let header = b"age-encryption.org/v1\n-> scrypt 9qvfmEi0I5njSKmOLAd5OA 19\nnQdBWh1vFeHsLC+Agg5smYmnW9Xe5axboWaDFfVpwp0\n--- Hh+xTwf/zWyfWO1VmtnrqlqSbTDIGV68crWVIUJqAhg\n";
    let protected = [&header[..], &tests::chance::noise(1, 120)].concat();
    let folder = tempfile::tempdir().unwrap();
    let file = target("identity file", vec![plain, with_comments, protected], 1500, move |bytes, _| {
        let path = folder.path().join("identity");
        std::fs::write(&path, bytes).unwrap();
        let asked = archive::Error::NoSnapshot { wanted: "nothing: the passphrase is not known".into() };
        let mut asked = Some(asked);
        if let Err(error) = Keyring::from_file(&path, &mut |_| Err(asked.take().expect("it is asked once"))) {
            assert!(!error.to_string().chars().any(char::is_control), "{error}");
        }
    });
    let (kind, item) = seeds
        .records
        .iter()
        .find(|(kind, _)| *kind == RecordKind::Identity)
        .expect("a sealed repository has one");
    assert_eq!(*kind, RecordKind::Identity);
    let record = Signed::<record::SealingIdentity>::parse(item).unwrap().body;
    let identity = trial.identity.clone();
    let text = std::fs::read(identity).unwrap();
    let own = tempfile::tempdir().unwrap();
    let path = own.path().join("identity");
    std::fs::write(&path, text).unwrap();
    let wrapped = target("wrapped identity", vec![record.wrapped.clone()], 1500, move |bytes, _| {
        let _ = &own;
        let mut keyring = Keyring::from_file(&path, &mut |_| unreachable!("it has no passphrase")).unwrap();
        let changed = record::SealingIdentity { wrapped: bytes.to_vec(), ..record.clone() };
        if keyring.open_sealing_identity(&changed).is_ok_and(|opened| opened) {
            assert!(keyring.has(record.id));
        }
    });
    let keys: Vec<Vec<u8>> = seeds.segments.iter().filter(|item| item[5] == 1).map(|item| item[..HEADER].to_vec()).collect();
    let sealed = target("sealed segment without a key", keys, 1000, |bytes, _| {
        let mut item = bytes.to_vec();
        assert!(archive::seal::open_segment(&mut item, None).is_err() || bytes.get(5) == Some(&0));
    });
    vec![file, wrapped, sealed]
}

//! Claims of more than there is: each is tried in a process of its own, whose memory is limited and measured.

use archive::container::{ItemKey, Layout};
use archive::digest;
use archive::encode::Put;
use archive::entry::{Attributes, Entry, Node};
use archive::extent::{Extent, Layer, List, Piece, PieceEncoder, encode};
use archive::id::{Address, Hash, RunId};
use archive::identity::Keyring;
use archive::locate::encode_index;
use archive::read::open::OpenSnapshot;
use archive::record::LiveRange;
use archive::repository::Known;
use archive::trust::Trust;
use std::time::Duration;
use tests::apart::{ask, bound_memory, part, peak_kib};
use tests::canary::Canary;
use tests::forge::{Forge, Index, attributes, entry, extent, file, folder, hole, index_of};

/// What a bomb may cost, besides what the test itself needs to make it.
const PEAK_KIB_MAX: u64 = 200 << 10;

type Bomb = (&'static str, fn() -> String);

const BOMBS: [Bomb; 19] = [
    ("decompression", decompression),
    ("sequences in an index file", sequences_in_index),
    ("sequences in a trailer", sequences_in_trailer),
    ("counts in an index file", counts_in_index),
    ("lengths of a trailer", trailer_lengths),
    ("an index of tebibytes", long_index),
    ("an index in lists of lists", deep_index),
    ("a file in lists of lists", deep_file),
    ("a file of tebibytes of one segment", repeated_file),
    ("a sparse file of 2^60 bytes", || sparse(1 << 60, 1)),
    ("many sparse files of 64 TiB", || sparse(64 << 40, 20)),
    ("many sparse files of 1 TiB", || sparse(1 << 40, 10)),
    ("holes without end", endless_holes),
    ("scattered files that all lie", scattered_lies),
    ("long paths", long_paths),
    ("long paths of hard links", long_links),
    ("files that all lie", all_lies),
    ("extended attributes", attributes_without_end),
    ("live ranges", live_ranges),
];

#[test]
fn bombs_cost_little_memory() {
    match part() {
        Some(part) => {
            bound_memory(6 << 30);
            let bomb = BOMBS.iter().find(|(name, _)| *name == part).expect("it is one of them").1;
            let end = bomb();
            println!("answer: {} {end}", peak_kib());
        }
        None => {
            for (name, _) in BOMBS {
                let answer = ask("bombs::bombs_cost_little_memory", name, Duration::from_secs(240));
                let (peak, end) = answer.split_once(' ').expect("a number and words");
                let peak: u64 = peak.parse().expect("a number");
                println!("{name}: {} MiB, {end}", peak >> 10);
                assert!(peak < PEAK_KIB_MAX, "{name} took {peak} KiB ({end})");
            }
        }
    }
}

/// Restores, and says how it ended.
fn restored(forge: &Forge, known: &Known) -> String {
    let canary = Canary::new();
    // What can be written without end is bounded by the space there is, here by a limit for each file.
    let limit = rustix::process::Rlimit { current: Some(1 << 62), maximum: Some(1 << 62) };
    rustix::process::setrlimit(rustix::process::Resource::Fsize, limit).expect("limits can be lowered");
    let end = match forge.restore(known, &canary.target()) {
        Ok(report) => format!(
            "{} entries, {} problems: {}",
            report.entries,
            report.problems.len(),
            report.problems.first().map_or("", |problem| &problem.why)
        ),
        Err(error) => error.to_string(),
    };
    canary.assert_untouched("a bomb");
    end
}

fn decompression() -> String {
    let mut forge = Forge::new();
    let frame = &Forge::plain(&[0; 1 << 20])[4..];
    // Frames one behind the other are one content.
    let mut plain = vec![1];
    plain.varint(1 << 20);
    (0..20_000).for_each(|_| plain.extend_from_slice(frame));
    let ordinal = forge.run_of_plains(&[plain]);
    let known = forge.tree(&[folder("s"), file("s/a", 1 << 20, Hash([1; 32]), List::inline(encode(&[extent(ordinal, 0, 0, 1 << 20)])))]);
    restored(&forge, &known)
}

fn lying_items() -> Vec<archive::container::Item> {
    let address = |run: u32, sequence| Address { run: RunId::of(&digest::sha256(&run.to_le_bytes()).0), sequence };
    let far = [u32::MAX, (1 << 24) - 1, (1 << 31) + 7];
    (0..2000u32)
        .flat_map(|run| far.map(|sequence| ItemKey::Segment(address(run, sequence))))
        .map(|key| archive::container::Item { key, offset: 0, len: 0 })
        .collect()
}

fn located(forge: &Forge) -> String {
    let repository = forge.repository();
    let locations = repository.locations().expect("it loads");
    let known = locations.as_ref().expect("they were just read");
    format!("{} segments, {} damaged", known.segments().count(), known.damaged.len())
}

fn sequences_in_index() -> String {
    let mut forge = Forge::new();
    forge.run(&[b"x"]);
    let pack = archive::store::Store::list(&forge.store, "packs").unwrap().pop().unwrap().name;
    forge.store.set("index/00112233445566778899aabbccddeeff", encode_index(&[(pack, lying_items())]));
    located(&forge)
}

fn sequences_in_trailer() -> String {
    let forge = Forge::new();
    let mut layout = Layout::default();
    lying_items().iter().for_each(|item| layout.add(item.key, 0));
    forge.store.set("packs/00112233445566778899aabbccddeeff", layout.trailer([0; 16]).0);
    located(&forge)
}

fn counts_in_index() -> String {
    let forge = Forge::new();
    for claimed in [1u64 << 20, 1 << 40, u64::MAX] {
        for inner in [false, true] {
            let mut body = Vec::new();
            body.varint(if inner { 1 } else { claimed });
            if inner {
                body.bytes(b"packs/x");
                body.varint(claimed);
            }
            let mut bytes = b"RIDX\x01\0\0\0".to_vec();
            bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
            bytes.extend_from_slice(&body);
            let hash = digest::sha256(&bytes);
            bytes.extend_from_slice(&hash.0);
            forge.store.set(&format!("index/{claimed}{inner}"), bytes);
        }
    }
    located(&forge)
}

fn trailer_lengths() -> String {
    let forge = Forge::new();
    for len in [0u32, 59, 60, 100, u32::MAX] {
        let mut bytes = vec![b'R'; 3000];
        bytes.extend_from_slice(&len.to_le_bytes());
        bytes.extend_from_slice(b"RPKE");
        forge.store.set(&format!("packs/{len:032x}"), bytes);
        let mut record = b"RREC\x01\x01\0\0".to_vec();
        record.extend_from_slice(&len.to_le_bytes());
        forge.store.set(&format!("runs/{len:032x}"), record.clone());
        assert!(forge.repository().first_record::<archive::record::Run>(&format!("runs/{len:032x}")).is_err());
        forge.store.set(&format!("packs/1{len:031x}"), record);
    }
    located(&forge)
}

fn full(ordinal: u64) -> Extent {
    extent(ordinal, 0, 0, 1 << 20)
}

/// A list of one extent, again and again, until it fills a segment; of that segment, again and again; and above so many layers that keep what is below.
/// Gives it, and the length of its content.
fn pyramid(forge: &mut Forge, bottom: Extent, above: usize) -> (List, u64) {
    let repeated = |one: Extent, room: usize| {
        // Those that follow the first are shorter or as long.
        let each = (encode(&[one, one]).len() - encode(&[one]).len()).max(1);
        vec![one; (room - encode(&[one]).len()) / each]
    };
    let extents = repeated(bottom, 1 << 20);
    let body = encode(&extents);
    assert!(body.len() <= 1 << 20);
    let ordinal = forge.run(&[&body]);
    let stored = repeated(extent(ordinal, 0, 0, body.len() as u64), 15_000);
    let len = bottom.len.saturating_mul(extents.len() as u64).saturating_mul(stored.len() as u64);
    let mut list = List::stored(&stored);
    for _ in 0..above {
        let (mut encoder, mut bytes) = (PieceEncoder::default(), vec![]);
        encoder.put(&Piece::Below { skip: 0, len: len.min((1 << 60) - 1) }, &mut bytes);
        list.layers.push(Layer { stored: false, bytes });
    }
    (list, len)
}

fn long_index() -> String {
    let mut forge = Forge::new();
    let entries = index_of(&[folder("s")]);
    let mut segment = entries.clone();
    segment.resize(1 << 20, 0);
    let ordinal = forge.run(&[&segment]);
    let (list, len) = pyramid(&mut forge, full(ordinal), 0);
    let known = forge.publish(forge.snapshot_body(&Index { list, len, digest: Hash([1; 32]) }));
    restored(&forge, &known)
}

fn deep_index() -> String {
    let mut ends = vec![];
    for depth in [0, 31] {
        let mut forge = Forge::new();
        let ordinal = forge.run(&[b"x"]);
        let (list, len) = pyramid(&mut forge, extent(ordinal, 0, 0, 1), depth);
        // Once with the length that it has, once with one that is allowed.
        for len in [len, 60 << 30] {
            let known = forge.publish(forge.snapshot_body(&Index { list: list.clone(), len, digest: Hash([1; 32]) }));
            ends.push(restored(&forge, &known));
        }
    }
    ends.join("; ")
}

fn deep_file() -> String {
    let mut ends = vec![];
    for (depth, bottom) in [(0, None), (0, Some(1)), (31, Some(1))] {
        let mut forge = Forge::new();
        let ordinal = forge.run(&[b"x"]);
        let (list, _) = pyramid(&mut forge, bottom.map_or(hole(1), |len| extent(ordinal, 0, 0, len)), depth);
        // So long that all of memory would be needed, so short that it ends in time.
        let known = forge.tree(&[folder("s"), file("s/a", 3_000_000, Hash([1; 32]), list)]);
        ends.push(restored(&forge, &known));
    }
    ends.join("; ")
}

fn repeated_file() -> String {
    let mut forge = Forge::new();
    let ordinal = forge.run(&[&vec![7; 1 << 20]]);
    let (list, len) = pyramid(&mut forge, full(ordinal), 0);
    let lie = file("s/a", len, Hash([1; 32]), list);
    let known = forge.tree(&[folder("s"), lie.clone()]);
    // Not restored, for it would fill the disk, as any large file may; shown, with nowhere to go.
    let repository = forge.repository();
    let opened = OpenSnapshot::open(&repository, &known, &Trust::default(), &mut Keyring::default()).unwrap();
    struct Full(u64);
    impl std::io::Write for Full {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len() as u64;
            if self.0 > 64 << 20 { Err(std::io::ErrorKind::StorageFull.into()) } else { Ok(bytes.len()) }
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let Node::File(content) = &lie.node else { unreachable!("it is a file") };
    let folder = tempfile::tempdir().unwrap();
    archive::read::view::cat(&opened, content, folder.path(), &mut Full(0))
        .expect_err("there is no end")
        .to_string()
}

fn sparse(len: u64, count: usize) -> String {
    let mut forge = Forge::new();
    let list = List::inline(encode(&[hole(len - 1), hole(1)]));
    let mut entries = vec![folder("s")];
    entries.extend((0..count).map(|n| file(format!("s/{n:04}"), len, Hash([1; 32]), list.clone())));
    let known = forge.tree(&entries);
    restored(&forge, &known)
}

/// One hole after the other, each a block.
fn endless_holes() -> String {
    let mut forge = Forge::new();
    let (mut encoder, mut bytes) = (PieceEncoder::default(), vec![]);
    let piece = Piece::Here(hole(1 << 20));
    while bytes.len() < 1 << 20 {
        encoder.put(&piece, &mut bytes);
    }
    let ordinal = forge.run(&[&bytes]);
    let list = List::stored(&vec![full(ordinal); 40]);
    let len = (40 << 18) << 20;
    let known = forge.tree(&[folder("s"), file("s/a", len, Hash([1; 32]), list)]);
    restored(&forge, &known)
}

/// More files than may be open at once, each put together from two pieces and then found to be another. A good one is restored all the same.
fn scattered_lies() -> String {
    let limit = rustix::process::Rlimit { current: Some(256), maximum: Some(256) };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).expect("limits can be lowered");
    let mut forge = Forge::new();
    let ordinal = forge.run(&[b"abcdef"]);
    let extents = [extent(ordinal, 0, 0, 1), extent(ordinal, 0, 3, 1)];
    let mut entries = vec![folder("s")];
    entries.extend((0..2000).map(|n| file(format!("s/{n:04}"), 2, Hash([1; 32]), List::inline(encode(&extents)))));
    entries.push(tests::forge::honest("s/good", b"ad", &extents));
    let known = forge.tree(&entries);
    let canary = Canary::new();
    let report = forge.restore(&known, &canary.target()).expect("it goes on");
    assert_eq!((report.problems.len(), report.files_written), (2000, 1), "{:?}", report.problems.last());
    canary.assert_untouched("files that lie");
    report.problems[1999].why.clone()
}

/// A path nearly as long as is read, and `count` more beside its end.
fn siblings(count: usize, node: impl Fn(usize) -> Node) -> Vec<u8> {
    let part = [b'x'; 200];
    let (mut path, mut entries) = (b"s".to_vec(), vec![folder("s")]);
    while path.len() < 190_000 {
        path.push(b'/');
        path.extend_from_slice(&part);
        entries.push(folder(path.clone()));
    }
    let mut bytes = index_of(&entries);
    let mut previous = path.clone();
    for n in 0..count {
        let next = Entry {
            path: [&path[..], format!("/{n:06}").as_bytes()].concat(),
            attributes: Attributes::default(),
            node: node(n),
        };
        archive::entry::put(&next, &previous, &mut bytes);
        previous = next.path;
    }
    bytes
}

fn long_paths() -> String {
    let mut forge = Forge::new();
    let known = forge.snapshot(&siblings(4000, |_| Node::Folder));
    let first = restored(&forge, &known);
    let ordinal = forge.run(&[b"x"]);
    let list = List::inline(encode(&[extent(ordinal, 0, 0, 1)]));
    let content = archive::entry::Content { len: 1, digest: digest::sha256(b"x"), list, torn: true };
    let known = forge.snapshot(&siblings(4000, |_| Node::File(content.clone())));
    format!("{first}; {}", restored(&forge, &known))
}

fn long_links() -> String {
    let mut forge = Forge::new();
    let known = forge.snapshot(&siblings(4000, |_| Node::HardLink(b"a".to_vec())));
    restored(&forge, &known)
}

fn all_lies() -> String {
    let mut forge = Forge::new();
    let list = List::inline(encode(&vec![extent(1 << 40, 0, 0, 1); 60]));
    let mut entries = vec![folder("s")];
    entries.extend((0..100_000).map(|n| file(format!("s/{n:06}"), 60, Hash([1; 32]), list.clone())));
    let bytes = index_of(&entries);
    drop(entries);
    let known = forge.snapshot(&bytes[..]);
    restored(&forge, &known)
}

fn attributes_without_end() -> String {
    let mut forge = Forge::new();
    let mut large = entry("s/a", Node::Fifo);
    large.attributes = Attributes {
        xattrs: (0..1000).map(|n| (format!("user.{n}").into_bytes(), vec![7; 20_000])).collect(),
        ..attributes()
    };
    let known = forge.tree(&[folder("s"), large]);
    restored(&forge, &known)
}

fn live_ranges() -> String {
    let mut forge = Forge::new();
    forge.run(&[b"x"]);
    for _ in 0..50 {
        forge.run(&[b"x"]);
    }
    forge.runs.iter_mut().for_each(|run| run.live = vec![LiveRange { first: 0, count: u32::MAX }]);
    let known = forge.tree(&[folder("s")]);
    restored(&forge, &known)
}

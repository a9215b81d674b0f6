//! Extents, lengths, digests and lists that lie: the file that they are of is named, the rest is restored.

use super::assert_harmless;
use archive::digest;
use archive::entry::Entry;
use archive::extent::{Extent, Layer, List, Piece, PieceEncoder, encode};
use archive::id::Hash;
use archive::identity::Keyring;
use archive::read::open::OpenSnapshot;
use archive::read::view;
use archive::record::LiveRange;
use archive::trust::Trust;
use tests::canary::Canary;
use tests::chance::noise;
use tests::forge::{Forge, extent, file, folder, hole, honest, index_of};

/// Restores one file that lies, between two good ones. It must be named, alone, and must not be there; `cat` must refuse it too.
fn assert_named(what: &str, lies: impl FnOnce(&mut Forge) -> Entry) {
    let (mut forge, canary) = (Forge::new(), Canary::new());
    let content = noise(1, 100_000);
    forge.run(&[&content, b"second", b"not live"]);
    forge.runs[0].live = vec![LiveRange { first: 0, count: 2 }];
    let bad = lies(&mut forge);
    let good = |path: &str| honest(path, &content[..5000], &[extent(0, 0, 0, 5000)]);
    let known = forge.tree(&[folder("s"), good("s/a"), bad.clone(), good("s/z")]);
    let report = forge.restore(&known, &canary.target()).unwrap_or_else(|error| panic!("{what}: {error}"));
    let named: Vec<_> = report.problems.iter().map(|problem| problem.path.clone()).collect();
    assert_eq!(named, vec![bad.path.clone()], "{what}: {:?}", report.problems);
    report.problems.iter().for_each(|problem| assert_harmless(&problem.why));
    for good in ["s/a", "s/z"] {
        assert_eq!(std::fs::read(canary.target().join(good)).unwrap(), &content[..5000], "{what}");
    }
    assert!(!canary.target().join("s/bad").exists(), "{what}: something is there that looks restored");
    let left: Vec<_> = canary.target().join("s").read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{what}: {left:?}");
    let (repository, mut out) = (forge.repository(), Vec::new());
    let opened = OpenSnapshot::open(&repository, &known, &Trust::default(), &mut Keyring::default()).unwrap();
    let archive::entry::Node::File(content) = &bad.node else { unreachable!("it is a file") };
    let error = view::cat(&opened, content, canary.target().as_path(), &mut out).expect_err(what);
    assert_harmless(&error.to_string());
}

fn bad(len: u64, extents: &[Extent]) -> Entry {
    file("s/bad", len, Hash([9; 32]), List::inline(encode(extents)))
}

#[test]
fn extents_that_lie_outside_are_named() {
    assert_named("behind the content", |_| bad(10, &[extent(0, 0, 99_995, 10)]));
    assert_named("far behind the content", |_| bad(1000, &[extent(0, 1, 1 << 19, 1000)]));
    assert_named("all of a segment that is short", |_| bad(1 << 20, &[extent(0, 1, 0, 1 << 20)]));
    assert_named("a segment that is not live", |_| bad(8, &[extent(0, 2, 0, 8)]));
    assert_named("a segment that is not in the run", |_| bad(8, &[extent(0, 77, 0, 8)]));
    assert_named("the last segment there can be", |_| bad(8, &[extent(0, u32::MAX, 0, 8)]));
    assert_named("a run that is not listed", |_| bad(8, &[extent(500, 0, 0, 8)]));
    assert_named("the last run there can be", |_| bad(8, &[extent(u64::MAX, 0, 0, 8)]));
    assert_named("one good, one outside", |_| bad(3_000_000, &[extent(0, 0, 0, 1000), hole(2_998_999), extent(0, 7, 0, 1)]));
}

#[test]
fn lengths_and_digests_that_lie_are_named() {
    assert_named("another digest", |_| bad(1000, &[extent(0, 0, 0, 1000)]));
    assert_named("another digest of a hole", |_| bad(2_000_000, &[hole(2_000_000)]));
    assert_named("shorter than it says", |_| bad(2000, &[extent(0, 0, 0, 1000)]));
    assert_named("longer than it says", |_| bad(500, &[extent(0, 0, 0, 1000)]));
    assert_named("nothing at all", |_| bad(500, &[]));
    assert_named("a hole without end", |_| bad(1000, &[hole((1 << 60) - 1)]));
    assert_named("lengths that add up to more than there are numbers", |_| bad(1000, &[hole((1 << 60) - 1); 20]));
    let sum = ((1u64 << 60) - 1).wrapping_mul(20).wrapping_add(1000);
    assert_named("lengths that add up to the right one by running over", |_| {
        bad(sum, &[&[hole((1 << 60) - 1); 20][..], &[extent(0, 0, 0, 1000)]].concat())
    });
}

#[test]
fn lists_that_lie_are_named() {
    assert_named("no list", |_| file("s/bad", 1000, Hash([9; 32]), List::inline(vec![0xff; 100])));
    assert_named("a cursor that is not there", |_| file("s/bad", 1000, Hash([9; 32]), List::inline(vec![0x13, 0])));
    assert_named("a list with a hole in it", |_| file("s/bad", 1000, Hash([9; 32]), List::stored(&[hole(1000)])));
    assert_named("a list in a segment that is not live", |_| file("s/bad", 1000, Hash([9; 32]), List::stored(&[extent(0, 2, 0, 4)])));
    assert_named("a list that is content", |_| file("s/bad", 1000, Hash([9; 32]), List::stored(&[extent(0, 0, 0, 50_000)])));
    assert_named("a lowest layer that keeps something", |_| file("s/bad", 1000, Hash([9; 32]), List::inline(keeping(0, 1000))));
    assert_named("a layer that keeps more than there is", |_| layered(1000, &[encode(&[extent(0, 0, 0, 500)]), keeping(0, 1000)]));
    assert_named("a layer that leaves out more than there is", |_| {
        layered(100, &[encode(&[extent(0, 0, 0, 1000)]), keeping(u64::MAX, 100)])
    });
    assert_named("layers that keep all there is of nothing", |_| layered(1000, &[vec![], keeping(0, 1000), keeping(0, 1000)]));
    assert_named("a list that is cut", |forge| {
        let bytes = encode(&[extent(0, 0, 0, 1000), extent(0, 1, 0, 5)]);
        let ordinal = forge.run(&[&bytes]);
        file("s/bad", 1005, Hash([9; 32]), List::stored(&[extent(ordinal, 0, 0, bytes.len() as u64 - 1)]))
    });
    assert_named("a list that holds itself", |forge| {
        // The list says: all of the segment that I stand in.
        let ordinal = forge.runs.len() as u64;
        let mut bytes = encode(&[extent(ordinal, 0, 0, 1)]);
        (0..3).for_each(|_| bytes = encode(&[extent(ordinal, 0, 0, bytes.len() as u64)]));
        let len = bytes.len() as u64;
        assert_eq!(forge.run(&[&bytes]), ordinal);
        file("s/bad", 1 << 30, Hash([9; 32]), List::stored(&[extent(ordinal, 0, 0, len)]))
    });
}

/// A list that goes on behind the end of its file: that the beginning is right does not make it good.
#[test]
fn what_is_given_up_is_not_written() {
    let (mut forge, canary) = (Forge::new(), Canary::new());
    let content = noise(6, 2000);
    forge.run(&[&content]);
    let known = forge.tree(&[folder("s"), honest("s/a", &content, &[extent(0, 0, 0, 2000), extent(0, 0, 0, 1)])]);
    let report = forge.restore(&known, &canary.target()).unwrap();
    assert_eq!((report.problems.len(), report.files_written), (1, 0));
    assert!(!canary.target().join("s/a").exists());
}

/// A layer that keeps something of what lies below.
fn keeping(skip: u64, len: u64) -> Vec<u8> {
    let mut bytes = vec![];
    PieceEncoder::default().put(&Piece::Below { skip, len }, &mut bytes);
    bytes
}

fn layered(len: u64, layers: &[Vec<u8>]) -> Entry {
    let layers = layers.iter().map(|bytes| Layer { stored: false, bytes: bytes.clone() }).collect();
    file("s/bad", len, Hash([9; 32]), List { layers })
}

#[test]
fn longer_lists_and_more_layers_than_there_are_end_it() {
    let layer = |len: usize| Layer { stored: false, bytes: vec![0x1f; len] };
    for layers in [vec![layer(16_385)], vec![layer(8000), layer(8400)], vec![layer(1); 33]] {
        let mut forge = Forge::new();
        let known = forge.tree(&[folder("s"), file("s/bad", 1, Hash([9; 32]), List { layers })]);
        assert!(forge.restore(&known, &Canary::new().target()).is_err());
    }
}

#[test]
fn segments_that_lie_are_named() {
    let zstd = |content: &[u8]| Forge::plain(content)[4..].to_vec();
    let frame = zstd(&[7; 1 << 20]);
    let claim = |method: u8, claimed: u64, stored: &[u8]| {
        let mut plain = vec![method];
        archive::encode::Put::varint(&mut plain, claimed);
        plain.extend_from_slice(stored);
        plain
    };
    let lies = [
        ("nothing", vec![]),
        ("no length", vec![0]),
        ("a method from the future", claim(2, 10, b"0123456789")),
        ("stored, shorter than claimed", claim(0, 11, b"0123456789")),
        ("stored, longer than claimed", claim(0, 9, b"0123456789")),
        ("more than 1 MiB", claim(0, 1 << 21, &[0; 100])),
        ("more than there is memory", claim(1, u64::MAX, &frame)),
        ("a frame that is longer than it says", claim(1, 1000, &frame)),
        ("a frame that is shorter than it says", claim(1, 1000, &zstd(&[7; 900]))),
        ("no frame", claim(1, 1000, &noise(3, 500))),
    ];
    for (what, plain) in lies {
        assert_named(what, |forge| {
            let ordinal = forge.run_of_plains(&[plain]);
            bad(10, &[extent(ordinal, 0, 0, 10)])
        });
    }
}

#[test]
fn a_segment_is_what_its_run_lists_and_no_other() {
    use archive::container::ItemKey;
    use archive::id::Address;
    let content = noise(4, 3000);
    // A second content under the same address, in packs that are read before and after the first.
    for _ in 0..8 {
        let (mut forge, canary) = (Forge::new(), Canary::new());
        forge.run(&[&content]);
        let address = Address { run: forge.runs[0].run, sequence: 0 };
        let (name, bytes) = Forge::pack(&[(ItemKey::Segment(address), Forge::item(address, &Forge::plain(&noise(5, 3000))))]);
        forge.store.set(&name, bytes);
        let known = forge.tree(&[folder("s"), honest("s/a", &content, &[extent(0, 0, 0, 3000)])]);
        let report = forge.restore(&known, &canary.target()).unwrap();
        assert_eq!(report.problems, vec![]);
        assert_eq!(std::fs::read(canary.target().join("s/a")).unwrap(), content);
    }
    // Alone it is refused, and so is a segment of another address with a header that says so.
    for (run, sequence) in [(0, 0), (1, 0), (0, 1)] {
        let (mut forge, canary) = (Forge::new(), Canary::new());
        forge.run(&[&content, &content]);
        forge.run(&[&content]);
        let address = Address { run: forge.runs[0].run, sequence: 0 };
        let inside = Address { run: forge.runs[run].run, sequence };
        let packs = archive::store::Store::list(&forge.store, "packs").unwrap();
        packs.iter().for_each(|pack| archive::store::Store::remove(&forge.store, &pack.name).unwrap());
        let (name, bytes) = Forge::pack(&[(ItemKey::Segment(address), Forge::item(inside, &Forge::plain(&noise(5, 3000))))]);
        forge.store.set(&name, bytes);
        let known = forge.tree(&[folder("s"), honest("s/a", &content, &[extent(0, 0, 0, 3000)])]);
        let report = forge.restore(&known, &canary.target()).unwrap();
        assert_eq!(report.problems.len(), 1);
    }
}

#[test]
fn an_index_that_is_not_what_the_root_says_writes_nothing() {
    let entries = index_of(&[folder("s"), folder("s/sub")]);
    let lies: [&dyn Fn(&mut tests::forge::Index); 5] = [
        &|index| index.len += 1,
        &|index| index.len = u64::MAX,
        &|index| index.digest = digest::sha256(b"other"),
        &|index| index.list = List::inline(encode(&[hole(index.len)])),
        &|index| index.list = List::inline(encode(&[&[hole((1 << 60) - 1); 16][..], &[hole(index.len + 16)]].concat())),
    ];
    for (number, lie) in lies.iter().enumerate() {
        let (mut forge, canary) = (Forge::new(), Canary::new());
        let mut index = forge.index(&entries);
        lie(&mut index);
        let known = forge.publish(forge.snapshot_body(&index));
        assert!(forge.restore(&known, &canary.target()).is_err(), "lie {number}");
        assert!(!canary.target().join("s").exists());
    }
}

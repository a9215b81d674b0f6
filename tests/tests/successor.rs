//! A node that takes over builds on what the one before it published: its first export stores what differs, and everything comes back.

use archive::export::adopt::{Adopted, Adoption, adopt};
use archive::export::{ExportReport, Outcome};
use archive::local::state::Local;
use archive::read::open::OpenSnapshot;
use archive::repository::Known;
use archive::sign::Signer;
use archive::trust::Trust;
use std::path::Path;
use std::sync::Arc;
use tests::chance::{Chance, noise};
use tests::plain::{Plain, PlainTree};
use tests::trial::Trial;

/// All that a tree can have: small files and large ones, one whose list is a stream with layers, links.
fn tree() -> PlainTree {
    let mut tree = PlainTree::new("s");
    tree.put("s/sub", Plain::Folder);
    tree.file("s/empty", vec![]);
    tree.file("s/large", noise(1, 9_000_000));
    tree.file("s/text", "a line of text\n".repeat(200_000));
    tree.put("s/link", Plain::Symlink(b"text".to_vec()));
    (0..300).for_each(|n| tree.file(format!("s/sub/{n:03}"), noise(1000 + n, 3000)));
    tree
}

fn scatter(tree: &mut PlainTree, seed: u64) {
    let mut content = tree.content(b"s/large").unwrap().to_vec();
    for n in 0..2000 {
        let at = n * 4100 + seed as usize;
        content[at..at + 40].copy_from_slice(&noise(seed * 10_000 + n as u64, 40));
    }
    tree.file("s/large", content);
}

/// The node that takes over: another key, another epoch, its own folder.
fn successor(trial: &Trial, seed: u8, epoch: u64) -> Trial {
    let folder = tempfile::tempdir().unwrap();
    let identity = folder.path().join("identity");
    std::fs::copy(&trial.identity, &identity).unwrap();
    let mut options = trial.options.clone();
    (options.node, options.epoch) = (format!("web{seed}"), epoch);
    options.signer = Arc::new(Signer::from_seed(&[seed; 32]));
    Trial { folder, repository: trial.repository.clone(), options, identity, clock: trial.clock.clone() }
}

fn try_adopt(trial: &Trial, streamed: bool) -> archive::Result<Option<Adopted>> {
    trial.repository.forget_locations();
    let known = trial.repository.snapshots()?.pop().unwrap();
    try_adopt_this(trial, &known, streamed)
}

fn try_adopt_this(trial: &Trial, known: &Known, streamed: bool) -> archive::Result<Option<Adopted>> {
    let snapshot = OpenSnapshot::open(&trial.repository, known, &Trust::default(), &mut trial.keyring())?;
    let adoption = Adoption {
        signer: trial.options.signer.public(),
        trust: &Trust::default(),
        recipients: trial.options.recipients.as_deref(),
        cache_bytes: trial.options.cache_bytes,
        threads: 2,
        streamed: &|_| streamed,
    };
    adopt(&snapshot, &Local::open(&trial.local())?, &adoption)
}

/// Gives a tree times that no node has seen: those of files that were written by an import.
fn imported(tree: &PlainTree) -> PlainTree {
    let mut again = PlainTree::default();
    // The clock of a tree counts what was put into it.
    (0..10_000).for_each(|n| again.put(format!("{n}"), Plain::Folder));
    let all: Vec<Vec<u8>> = again.entries.keys().map(|name| name.0.clone()).collect();
    all.iter().for_each(|path| again.remove(path));
    tree.entries.iter().for_each(|(name, (what, _))| again.put(&name.0, what.clone()));
    again
}

fn stored(report: &ExportReport) -> u64 {
    assert!(report.incremental, "{report:?}");
    assert!(matches!(report.outcome, Outcome::Snapshot { .. }), "the first export says who exports now: {report:?}");
    report.stored_bytes
}

#[test]
fn the_first_export_stores_what_differs() {
    for sealed in [true, false] {
        let web1 = if sealed { Trial::new() } else { Trial::unsealed() };
        let mut tree = tree();
        web1.export(&tree);
        for seed in 1..4 {
            scatter(&mut tree, seed);
            web1.export(&tree);
        }
        let web2 = successor(&web1, 2, 1);
        let adopted = try_adopt(&web2, false).unwrap().unwrap();
        assert_eq!(adopted.entries, tree.entries.len() as u64);
        // The two files above a mebibyte.
        assert_eq!(adopted.read_bytes, 12_000_000);
        assert_eq!(try_adopt(&web2, false).unwrap(), None, "it is there already");
        let mut tree = imported(&tree);
        let first = web2.export(&tree);
        assert!(stored(&first) < 60_000, "nothing but times differs: {first:?}");
        web2.assert_newest_is(&tree, "the first export");
        let again = web2.export(&tree);
        assert!(matches!(again.outcome, Outcome::Unchanged { .. }), "{again:?}");
        tree.file("s/sub/007", noise(9, 5000));
        let mut large = tree.content(b"s/large").unwrap().to_vec();
        large.splice(4_000_000..4_000_000, noise(10, 3000));
        tree.file("s/large", large);
        let next = web2.export(&tree);
        assert!(stored(&next) < 40_000, "{next:?}");
        web2.assert_newest_is(&tree, "the second export");
    }
}

#[test]
fn what_was_written_before_the_first_export_is_all_that_it_stores() {
    let web1 = Trial::new();
    let mut tree = tree();
    web1.export(&tree);
    scatter(&mut tree, 1);
    web1.export(&tree);
    // Half of the cache is all that there is room for: chunks are known without it.
    let mut web2 = successor(&web1, 2, 1);
    web2.options.cache_bytes = 4 << 20;
    try_adopt(&web2, false).unwrap();
    let mut tree = imported(&tree);
    let mut large = tree.content(b"s/large").unwrap().to_vec();
    large[5_000_000..5_000_100].copy_from_slice(&noise(11, 100));
    tree.file("s/large", large);
    tree.remove(b"s/sub/003");
    let first = web2.export(&tree);
    assert!(stored(&first) < 250_000, "a few chunks at most: {first:?}");
    web2.assert_newest_is(&tree, "the first export");
}

/// Three nodes, each taking over from the one before, the first one twice: what each publishes comes back.
#[test]
fn reigns_follow_each_other_and_all_of_them_come_back() {
    let web1 = Trial::new();
    let mut tree = tree();
    web1.export(&tree);
    let (web2, web3) = (successor(&web1, 2, 1), successor(&web1, 3, 2));
    // It comes back with what it had.
    let again = successor(&web1, 7, 3);
    tests::trial::copy_folder(&web1.local(), &again.local());
    let mut chance = Chance::new(3);
    let mut published = vec![];
    for node in [&web2, &web3, &again] {
        let adopted = try_adopt(node, false).unwrap();
        assert!(adopted.is_some());
        tree = imported(&tree);
        for _ in 0..3 {
            scatter(&mut tree, chance.below(50) as u64);
            tree.file(format!("s/sub/{:03}", chance.below(300)), chance.noise(2500));
            let report = node.export(&tree);
            assert!(stored(&report) < 400_000, "{report:?}");
            let Outcome::Snapshot { id, .. } = report.outcome else { unreachable!() };
            published.push((id, tree.clone()));
        }
    }
    again.repository.forget_locations();
    for (id, tree) in &published {
        again.assert_is(&again.known(*id), tree, &id.to_string());
    }
}

/// A file whose pages lie all over the repository goes through a scratch file, and nothing of that stays.
#[test]
fn a_long_file_that_lies_scattered_is_found_page_by_page() {
    let web1 = Trial::new();
    let mut tree = PlainTree::new("s");
    let mut content = noise(1, 24 << 20);
    tree.file("s/database", content.clone());
    web1.export(&tree);
    for round in 0..3 {
        for page in (round..24 << 8).step_by(5) {
            content[page << 12..(page << 12) + 4096].copy_from_slice(&noise((round << 20 | page) as u64, 4096));
        }
        tree.file("s/database", content.clone());
        web1.export(&tree);
    }
    let web2 = successor(&web1, 2, 1);
    assert_eq!(try_adopt(&web2, false).unwrap().unwrap().read_bytes, 24 << 20);
    content[10 << 20..(10 << 20) + 100].fill(b'x');
    let mut tree = imported(&tree);
    tree.file("s/database", content);
    let first = web2.export(&tree);
    assert!(stored(&first) < 250_000, "a page and its list: {first:?}");
    web2.assert_newest_is(&tree, "the first export");
    let left: Vec<String> = files(&web2.local())
        .into_iter()
        .map(|(path, _)| path)
        .filter(|path| path.contains("scratch"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn tables_that_come_as_streams_are_found_however_short() {
    let web1 = Trial::new();
    let mut contents: Vec<Vec<u8>> = (0..40).map(|n| noise(n, 20_000)).collect();
    contents.push(noise(50, 6_000_000));
    streams(&web1, &contents);
    let web2 = successor(&web1, 2, 1);
    let adopted = try_adopt(&web2, true).unwrap().unwrap();
    assert_eq!(adopted.read_bytes, 6_800_000);
    contents[40][3_000_000..3_000_010].fill(b'x');
    contents[5] = noise(77, 20_000);
    let first = streams(&web2, &contents);
    assert!(stored(&first) < 60_000, "{first:?}");
    web2.assert_streams_are(&contents);
}

fn streams(trial: &Trial, contents: &[Vec<u8>]) -> ExportReport {
    trial.export_streams(contents.iter().map(|content| Box::new(std::io::Cursor::new(content.clone())) as _))
}

fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let all = walkdir::WalkDir::new(folder).sort_by_file_name().into_iter().map(|entry| entry.unwrap());
    let kept = all.filter(|entry| entry.file_type().is_file() && entry.file_name() != "lock");
    kept.map(|entry| (entry.path().display().to_string(), std::fs::read(entry.path()).unwrap()))
        .collect()
}

/// Whatever of it is torn or gone, the export after it publishes what is right.
#[test]
fn a_base_that_is_torn_or_whose_making_was_broken_off_is_none() {
    let web1 = Trial::new();
    let mut before = tree();
    web1.export(&before);
    scatter(&mut before, 1);
    web1.export(&before);
    let whole = successor(&web1, 2, 1);
    try_adopt(&whole, false).unwrap();
    let tree = imported(&before);
    for (path, bytes) in files(&whole.local()) {
        let name = Path::new(&path).strip_prefix(whole.local()).unwrap().to_owned();
        for change in ["gone", "cut", "flipped"] {
            let web2 = successor(&web1, 2, 1);
            tests::trial::copy_folder(&whole.local(), &web2.local());
            let at = web2.local().join(&name);
            match change {
                "gone" => std::fs::remove_file(&at).unwrap(),
                "cut" => std::fs::write(&at, &bytes[..bytes.len() / 2]).unwrap(),
                _ => {
                    let mut bytes = bytes.clone();
                    let middle = bytes.len() / 2;
                    bytes[middle] ^= 0x40;
                    std::fs::write(&at, bytes).unwrap();
                }
            }
            let web2 = web2.fork(Arc::new(tests::trial::copy_store(web2.repository.store()))).unwrap();
            web2.export(&tree);
            web2.assert_newest_is(&tree, &format!("{} {change}", name.display()));
        }
    }
}

/// Files that could not be opened, for their segments are gone, are no base; the export begins anew and has everything.
#[test]
fn what_cannot_be_read_is_no_base() {
    let web1 = Trial::new();
    let tree = tree();
    web1.export(&tree);
    let store = tests::trial::copy_store(web1.repository.store());
    let pack = archive::store::Store::list(&store, archive::name::PACKS).unwrap().pop().unwrap();
    archive::store::Store::remove(&store, &pack.name).unwrap();
    let web2 = successor(&web1, 2, 1).fork(Arc::new(store)).unwrap();
    assert!(try_adopt(&web2, false).is_err());
    let tree = imported(&tree);
    let report = web2.export(&tree);
    assert!(!report.incremental, "{report:?}");
    web2.assert_newest_is(&tree, "after nothing could be adopted");
}

/// Whoever seals for others than the node before it did, or not at all, begins anew: what its snapshots refer to would be open to those who should not have it, and closed to those
/// who should.
#[test]
fn what_is_sealed_for_others_is_no_base() {
    let (one, other) = (Trial::new(), Trial::new());
    let of = |trial: &Trial| trial.options.recipients.clone().unwrap();
    let both = [of(&one), of(&other)].concat();
    let ways = [
        (None, Some(of(&one)), &one),
        (Some(of(&one)), None, &one),
        (Some(of(&one)), Some(of(&other)), &other),
        (Some(of(&one)), Some(both.clone()), &other),
        (Some(both.clone()), Some(of(&one)), &one),
    ];
    let tree = tree();
    let before = |recipients| {
        let mut web1 = Trial::new();
        web1.options.recipients = recipients;
        std::fs::copy(&one.identity, &web1.identity).unwrap();
        web1.export(&tree);
        web1
    };
    for (number, (sealed, seals, opens)) in ways.into_iter().enumerate() {
        let mut web2 = successor(&before(sealed), 2, 1);
        web2.options.recipients = seals;
        let refused = try_adopt(&web2, false).unwrap_err();
        assert!(refused.to_string().contains("it is not sealed for those"), "way {number}: {refused}");
        let tree = imported(&tree);
        assert!(!web2.export(&tree).incremental, "way {number}");
        std::fs::copy(&opens.identity, &web2.identity).unwrap();
        web2.assert_newest_is(&tree, &format!("way {number}"));
    }
    let mut web2 = successor(&before(Some(both.clone())), 2, 1);
    web2.options.recipients = Some(both.into_iter().rev().collect());
    assert!(try_adopt(&web2, false).unwrap().is_some(), "their order is no matter");
}

/// A reign of its own came to nothing, and what it wrote then is kept aside; taking over again, it follows the history, whether it could build on that or not.
#[test]
fn what_is_kept_aside_is_followed_by_nothing() {
    for adopts in [true, false] {
        let web1 = Trial::new();
        let mut tree = tree();
        web1.export(&tree);
        let head = web1.repository.snapshots().unwrap().pop().unwrap();
        let mut web2 = successor(&web1, 2, 1);
        tree.file("s/sub/007", noise(9, 5000));
        let Outcome::Snapshot { id: aside, .. } = web2.export(&tree).outcome else { unreachable!() };
        web2.options.epoch = 2;
        web2.options.aside = vec![aside];
        if adopts {
            assert!(try_adopt_this(&web2, &head, false).unwrap().is_some());
        }
        let mut last = head.id;
        for seed in 0..3 {
            tree.file("s/sub/008", noise(100 + seed, 5000));
            let Outcome::Snapshot { id, at } = web2.export(&tree).outcome else { unreachable!() };
            let previous = web2.repository.snapshot(&web2.known(id)).unwrap().body.previous;
            assert_eq!((previous, at.epoch), (last, 2), "export {seed}, with what it imported as base: {adopts}");
            last = id;
        }
        web2.assert_newest_is(&tree, "the last");
    }
}

/// The accounts of what is used are those of the node that wrote it: by them it is decided what is stored anew, and what a snapshot lists.
#[test]
fn the_accounts_are_those_of_the_node_before() {
    let web1 = Trial::new();
    let mut tree = tree();
    web1.export(&tree);
    for seed in 1..6 {
        scatter(&mut tree, seed);
        tree.file("s/copy", tree.content(b"s/large").unwrap()[..5_000_000].to_vec());
        web1.export(&tree);
    }
    let web2 = successor(&web1, 2, 1);
    try_adopt(&web2, false).unwrap();
    let live = |trial: &Trial| Local::open(&trial.local()).unwrap().load().unwrap().live.runs;
    let (before, after) = (live(&web1), live(&web2));
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    for (before, after) in before.values().zip(after.values()) {
        assert_eq!((before.id, before.record, before.segments.len()), (after.id, after.record, after.segments.len()));
        for (before, after) in before.segments.iter().zip(&after.segments) {
            assert_eq!(before.used, after.used);
            assert!(after.used == 0 || after.len <= before.len && after.len > 0, "{before:?} {after:?}");
        }
    }
}

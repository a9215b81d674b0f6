//! Parts of a snapshot, single files, what damage costs, and what is left of files that could not be restored.

use super::{newest, opened, restored};
use archive::container::ItemKey;
use archive::entry::Node;
use archive::extent::Extent;
use archive::read::restore::{RestoreOptions, restore};
use archive::read::view;
use archive::store::{MemoryStore, read_all};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use tests::chance::noise;
use tests::forge::{Forge, extent, folder, hole, honest};
use tests::plain::{Plain, PlainTree};
use tests::trial::Trial;

fn tree() -> PlainTree {
    let mut tree = PlainTree::new("s");
    for name in ["a", "ab", "b"] {
        tree.put(format!("s/{name}"), Plain::Folder);
        tree.put(format!("s/{name}/sub"), Plain::Folder);
        (0..20).for_each(|n| tree.file(format!("s/{name}/sub/{n:02}"), noise(n, 3000)));
    }
    tree.file("s/a/large", noise(9, 2_500_000));
    tree.put("s/b/twin", Plain::HardLink(b"s/a/large".to_vec()));
    tree.put("s/b/twin too", Plain::HardLink(b"s/a/large".to_vec()));
    tree
}

fn paths(paths: &[&str]) -> RestoreOptions<'static> {
    RestoreOptions { paths: paths.iter().map(|path| path.as_bytes().to_vec()).collect(), ..RestoreOptions::default() }
}

#[test]
fn a_part_is_that_part_and_no_more() {
    let (trial, tree) = (Trial::new(), tree());
    trial.export(&tree);
    let target = tempfile::tempdir().unwrap();
    let report = restored(&trial, target.path(), &paths(&["s/a/sub", "s/ab/sub/07"]));
    assert_eq!((report.problems.len(), report.files_written), (0, 21));
    let got = PlainTree::read(target.path());
    let mut expected = tree.clone();
    let wanted =
        |path: &[u8]| path.starts_with(b"s/a/sub") || path == b"s/ab/sub/07" || [&b"s"[..], b"s/a", b"s/ab", b"s/ab/sub"].contains(&path);
    expected.entries.retain(|name, _| wanted(&name.0));
    expected.assert_same(&got, "a part");
    let nothing = opened(&trial, |opened| restore(opened, target.path(), &paths(&["s/no such", "\x1b[2J"])).unwrap_err());
    assert!(!nothing.to_string().chars().any(char::is_control), "{nothing}");
}

#[test]
fn a_hard_link_whose_file_lies_outside_of_the_part_is_that_file() {
    let (trial, tree) = (Trial::new(), tree());
    trial.export(&tree);
    let target = tempfile::tempdir().unwrap();
    let report = restored(&trial, target.path(), &paths(&["s/b"]));
    assert_eq!(report.problems, vec![]);
    let content = tree.content(b"s/a/large").unwrap();
    assert_eq!(&std::fs::read(target.path().join("s/b/twin")).unwrap(), &**content);
    let inode = |name: &str| std::os::unix::fs::MetadataExt::ino(&target.path().join("s/b").join(name).metadata().unwrap());
    assert_eq!(inode("twin"), inode("twin too"), "the two are still one file");
    assert!(!target.path().join("s/a").exists());
    let again = restored(&trial, target.path(), &paths(&["s/b"]));
    assert_eq!((again.files_written, again.problems.len()), (0, 0));
    let one = tempfile::tempdir().unwrap();
    assert_eq!(restored(&trial, one.path(), &paths(&["s/b/twin too"])).problems, vec![]);
    assert_eq!(&std::fs::read(one.path().join("s/b/twin too")).unwrap(), &**content);
}

#[test]
fn single_files_are_written_out() {
    let (trial, tree) = (Trial::new(), tree());
    trial.export(&tree);
    opened(&trial, |opened| {
        let scratch = tempfile::tempdir().unwrap();
        for path in ["s/a/large", "s/b/sub/03"] {
            let Some(Node::File(content)) = view::entry_at(opened, path.as_bytes()).unwrap().map(|entry| entry.node) else {
                panic!("{path} is a file")
            };
            let mut out = Vec::new();
            view::cat(opened, &content, scratch.path(), &mut out).unwrap();
            assert_eq!(&out, &**tree.content(path.as_bytes()).unwrap(), "{path}");
        }
        assert_eq!(scratch.path().read_dir().unwrap().count(), 0);
        assert!(view::entry_at(opened, b"s/no such").unwrap().is_none());
    });
}

/// The path of each file that needs a segment.
fn needing(trial: &Trial, sequence: u32, ordinal: u64) -> Vec<Vec<u8>> {
    opened(trial, |opened| {
        let mut needing = vec![];
        let mut files = vec![];
        opened
            .entries(1, &mut |entry| {
                files.push(entry);
                Ok(())
            })
            .unwrap();
        for entry in files {
            let Node::File(content) = &entry.node else { continue };
            let mut needs = false;
            view::extents(opened, content, &mut |extent| {
                needs |= extent.place.is_some_and(|place| place.ordinal == ordinal && place.sequence == sequence);
                Ok(())
            })
            .unwrap();
            if needs {
                needing.push(entry.path);
            }
        }
        needing
    })
}

#[test]
fn a_damaged_segment_costs_only_the_files_that_need_it() {
    let store = MemoryStore::default();
    let trial = Trial::with(Arc::new(store.clone()), true);
    let tree = tree();
    trial.export(&tree);
    let run = opened(&trial, |opened| opened.snapshot.body.runs[0].clone());
    let mut hurt = 0;
    for sequence in run.sequences() {
        let files = needing(&trial, sequence, run.ordinal);
        let (container, at) = trial.repository.locate(archive::id::Address { run: run.run, sequence }).unwrap().unwrap();
        let good = read_all(&store, &container, 1 << 30).unwrap();
        let mut bad = good.clone();
        bad[(at.offset + at.len / 2) as usize] ^= 1;
        store.set(&container, bad);
        trial.repository.forget_locations();
        let target = tempfile::tempdir().unwrap();
        match trial.restore(&newest(&trial), target.path()) {
            // The index lies in it.
            Err(error) => assert!(error.to_string().contains(&run.run.to_string()), "{error}"),
            Ok(report) => {
                hurt += 1;
                let mut links: Vec<Vec<u8>> = files.clone();
                if files.iter().any(|path| path == b"s/a/large") {
                    links.extend([b"s/b/twin".to_vec(), b"s/b/twin too".to_vec()]);
                }
                links.sort_by(|a, b| archive::entry::compare(a, b));
                let named: Vec<Vec<u8>> = report.problems.iter().map(|problem| problem.path.clone()).collect();
                assert_eq!(named, links, "segment {sequence}");
                assert!(report.problems[0].why.contains(&run.run.to_string()), "it is named: {}", report.problems[0].why);
                let mut expected = tree.clone();
                links.iter().for_each(|path| expected.remove(path));
                expected.assert_same(&PlainTree::read(target.path()), "all the rest");
            }
        }
        store.set(&container, good);
    }
    assert!(hurt >= 2, "only {hurt} segments held files alone");
    trial.assert_newest_is(&tree, "mended");
}

/// Files over several windows: what fails or is only holes in one of them, and what that does to those before and behind.
#[test]
fn long_files_end_well_whatever_a_window_of_theirs_holds() {
    const MIB: usize = 1 << 20;
    let mut forge = Forge::new();
    let block = noise(7, MIB);
    let ordinal = forge.run(&[&block, &block[..1000]]);
    let (data, hole) = (|blocks: usize| vec![extent(ordinal, 0, 0, MIB as u64); blocks], |blocks: usize| vec![hole((blocks * MIB) as u64)]);
    // It is shorter than this says.
    let bad = || vec![extent(ordinal, 1, 0, MIB as u64)];
    let bytes = |extents: &[Extent]| -> Vec<u8> {
        let part =
            |extent: &Extent| if extent.place.is_some() { block[..extent.len as usize].to_vec() } else { vec![0; extent.len as usize] };
        extents.iter().flat_map(part).collect()
    };
    let files = [
        ("s/a", [data(18), hole(40)].concat(), true),
        ("s/b", [bad(), data(18), hole(40)].concat(), false),
        ("s/c", [data(33), bad(), data(1)].concat(), false),
        ("s/d", [hole(40), data(17), hole(3), vec![extent(ordinal, 0, 0, 7)]].concat(), true),
        ("s/e", [bad(), data(34)].concat(), false),
        ("s/f", [data(17), hole(1), data(16), hole(1)].concat(), true),
        ("s/g", [hole(3)].concat(), true),
    ];
    let mut entries = vec![folder("s")];
    entries.extend(files.iter().map(|(path, extents, _)| honest(path, &bytes(extents), extents)));
    // One is given up in a window behind its first.
    entries.push(honest("s/h", &bytes(&data(20)), &data(21)));
    let known = forge.tree(&entries);
    let target = tempfile::tempdir().unwrap();
    let there = |path: &str| target.path().join(path);
    for again in [false, true] {
        if again {
            files.iter().for_each(|(path, ..)| std::fs::write(there(path), "an old one").unwrap());
        }
        let report = forge.restore(&known, target.path()).unwrap();
        let named: Vec<&[u8]> = report.problems.iter().map(|problem| &problem.path[..]).collect();
        assert_eq!(named, [b"s/b", b"s/c", b"s/e", b"s/h"]);
        assert_eq!(report.files_written, 4);
        for (path, extents, good) in &files {
            match std::fs::read(there(path)) {
                Ok(found) if *good => assert!(found == bytes(extents), "{path}"),
                Ok(found) => assert!(again && found == b"an old one", "{path}"),
                Err(error) => assert!(!good && !again && error.kind() == std::io::ErrorKind::NotFound, "{path}: {error}"),
            }
        }
        assert_eq!(there("s").read_dir().unwrap().count(), if again { 7 } else { 4 });
    }
    let open = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
    assert_eq!(open.filter(|path| path.starts_with(target.path())).count(), 0, "nothing of it is held open");
}

/// What is written beside a file that then cannot take its place does not stay there.
#[test]
fn nothing_is_left_beside_a_file_that_could_not_be_replaced() {
    let mut forge = Forge::new();
    let content = noise(4, 2_000_000);
    let ordinal = forge.run(&[&content[..1 << 20], &content[1 << 20..]]);
    let all = [extent(ordinal, 0, 0, 1 << 20), extent(ordinal, 1, 0, 2_000_000 - (1 << 20))];
    let mut entries = vec![
        folder("s"),
        honest("s/empty", b"", &[]),
        honest("s/large", &content, &all),
        honest("s/small", &content[..10], &[extent(ordinal, 0, 0, 10)]),
    ];
    // No system has attributes of this name.
    entries[1..]
        .iter_mut()
        .for_each(|entry| entry.attributes.xattrs = vec![(b"none.such".to_vec(), b"x".to_vec())]);
    let known = forge.tree(&entries);
    let target = tempfile::tempdir().unwrap();
    std::fs::create_dir(target.path().join("s")).unwrap();
    let names = ["empty", "large", "small"];
    names
        .iter()
        .for_each(|name| std::fs::write(target.path().join("s").join(name), "what was there").unwrap());
    let report = forge.restore(&known, target.path()).unwrap();
    assert_eq!((report.problems.len(), report.files_written), (3, 0), "{:?}", report.problems);
    let mut left: Vec<_> = target.path().join("s").read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, names);
    names
        .iter()
        .for_each(|name| assert_eq!(std::fs::read(target.path().join("s").join(name)).unwrap(), b"what was there"));
}

/// Where there is no room for all of it, a file is not there by half.
#[test]
fn a_file_that_could_not_be_written_is_not_there_by_half() {
    const NAME: &str = "part::a_file_that_could_not_be_written_is_not_there_by_half";
    const TARGET: &str = "RESILIENT_TEST_TARGET";
    let Some(target) = std::env::var_os(TARGET) else {
        let target = tempfile::tempdir().unwrap();
        // Files end at some hundred KiB in there, and no signal tells of it.
        let bounded = Command::new("sh")
            .args(["-c", "trap '' XFSZ; ulimit -f 200; exec \"$0\" --exact \"$1\" --nocapture"])
            .arg(std::env::current_exe().unwrap())
            .arg(NAME)
            .env(TARGET, target.path())
            .output()
            .unwrap();
        assert!(bounded.status.success(), "{}", String::from_utf8_lossy(&bounded.stderr));
        let left: Vec<_> = target.path().join("s").read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["good"]);
        return;
    };
    let mut forge = Forge::new();
    let content = noise(5, 800_000);
    let ordinal = forge.run(&[&content]);
    let whole = |path, len: u32| honest(path, &content[..len as usize], &[extent(ordinal, 0, 0, len.into())]);
    let halves = [extent(ordinal, 0, 400_000, 400_000), extent(ordinal, 0, 0, 400_000)];
    let known = forge.tree(&[
        folder("s"),
        whole("s/good", 1000),
        honest("s/halves", &[&content[400_000..], &content[..400_000]].concat(), &halves),
        whole("s/whole", 800_000),
    ]);
    let report = forge.restore(&known, Path::new(&target)).unwrap();
    assert_eq!((report.problems.len(), report.files_written), (2, 1), "{:?}", report.problems);
}

/// A link is never made to what the target happens to have where a file could not be restored, and what lies under the link's name stays.
#[test]
fn a_link_to_a_file_that_is_not_restored_is_named_too() {
    let store = MemoryStore::default();
    let trial = Trial::with(Arc::new(store.clone()), true);
    let tree = tree();
    trial.export(&tree);
    let run = opened(&trial, |opened| opened.snapshot.body.runs[0].clone());
    let sequence = run
        .sequences()
        .find(|&sequence| needing(&trial, sequence, run.ordinal) == [b"s/a/large".to_vec()])
        .unwrap();
    let target = tempfile::tempdir().unwrap();
    restored(&trial, target.path(), &RestoreOptions::default());
    let path = |name: &str| target.path().join("s").join(name);
    std::fs::remove_file(path("a/large")).unwrap();
    std::fs::write(path("a/large"), "an old one").unwrap();
    let (container, at) = trial.repository.locate(archive::id::Address { run: run.run, sequence }).unwrap().unwrap();
    let mut bad = read_all(&store, &container, 1 << 30).unwrap();
    bad[(at.offset + at.len / 2) as usize] ^= 1;
    store.set(&container, bad);
    trial.repository.forget_locations();
    let report = restored(&trial, target.path(), &RestoreOptions::default());
    let named: Vec<&[u8]> = report.problems.iter().map(|problem| &problem.path[..]).collect();
    assert_eq!(named, [&b"s/a/large"[..], b"s/b/twin", b"s/b/twin too"]);
    assert_eq!(std::fs::read(path("a/large")).unwrap(), b"an old one");
    assert_eq!(&std::fs::read(path("b/twin")).unwrap(), &**tree.content(b"s/a/large").unwrap(), "what was right is still there");
}

#[test]
fn damaged_trailers_and_lost_indexes_cost_nothing() {
    let store = MemoryStore::default();
    let trial = Trial::with(Arc::new(store.clone()), true);
    let tree = tree();
    trial.export(&tree);
    for listed in trial.repository.list("index").unwrap() {
        trial.repository.store().remove(&listed.name).unwrap();
    }
    trial.assert_newest_is(&tree, "without an index");
    for listed in trial.repository.list("packs").unwrap() {
        let mut bytes = read_all(&store, &listed.name, 1 << 30).unwrap();
        let items = archive::container::items(&bytes).unwrap();
        assert!(items.iter().any(|item| matches!(item.key, ItemKey::Segment(_))));
        let end = bytes.len();
        bytes[end - 40] ^= 1;
        store.set(&listed.name, bytes.clone());
        trial.assert_newest_is(&tree, "with a damaged trailer");
        bytes.truncate(end - 20);
        store.set(&listed.name, bytes);
        trial.assert_newest_is(&tree, "with half a trailer");
    }
}

//! Parts of a snapshot, single files, and what damage costs.

use super::{newest, opened, restored};
use archive::container::ItemKey;
use archive::entry::Node;
use archive::read::restore::{RestoreOptions, restore};
use archive::read::view;
use archive::store::{MemoryStore, read_all};
use std::sync::Arc;
use tests::chance::noise;
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

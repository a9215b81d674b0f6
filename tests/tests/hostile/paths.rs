//! Paths and links that lead out of the target.

use super::assert_harmless;
use archive::Error;
use archive::encode::Put;
use archive::entry::{Entry, Node};
use archive::read::restore::RestoreReport;
use tests::canary::Canary;
use tests::forge::{Forge, entry, extent, folder, honest};

/// Restores entries with one file to be had, whose content is `evil`, beside a canary.
fn restored(what: &str, before: &dyn Fn(&Canary), entries: &dyn Fn(&Canary) -> Vec<Entry>) -> (archive::Result<RestoreReport>, Canary) {
    let (mut forge, mut canary) = (Forge::new(), Canary::new());
    forge.run(&[b"evil"]);
    std::fs::create_dir(canary.target()).unwrap();
    before(&canary);
    canary.look_again();
    let known = forge.tree(&entries(&canary));
    let result = forge.restore(&known, &canary.target());
    canary.assert_untouched(what);
    match &result {
        Ok(report) => report.problems.iter().for_each(|problem| assert_harmless(&problem.why)),
        Err(error) => assert_harmless(&error.to_string()),
    }
    (result, canary)
}

fn evil(path: impl AsRef<[u8]>) -> Entry {
    honest(path, b"evil", &[extent(0, 0, 0, 4)])
}

#[test]
fn paths_that_climb_or_start_at_the_root_are_refused() {
    let bad: [&[u8]; 12] =
        [b"/etc", b"../outside/file", b"..", b"s/../../outside/file", b"s/..", b"s//file", b"s/", b"s/./file", b".", b"", b"s/a\0b", b"/"];
    for path in bad {
        let what = format!("{:?}", String::from_utf8_lossy(path));
        let (result, canary) = restored(&what, &|_| (), &|_| vec![folder("s"), evil("s/good"), evil(path)]);
        assert!(matches!(result, Err(Error::Refused { .. })), "{what}: {result:?}");
        assert!(!canary.target().join("etc").exists());
    }
    let (result, _) = restored("absolute", &|_| (), &|canary| vec![evil(canary.outside().join("file").as_os_str().as_encoded_bytes())]);
    assert!(matches!(result, Err(Error::Refused { .. })));
}

#[test]
fn nothing_lies_below_a_link_or_a_file_or_twice() {
    let outside = |canary: &Canary| entry("s/a", Node::Symlink(canary.outside().as_os_str().as_encoded_bytes().to_vec()));
    let trees: [(&str, &dyn Fn(&Canary) -> Vec<Entry>); 7] = [
        ("below a symbolic link", &|canary| vec![folder("s"), outside(canary), evil("s/a/file")]),
        ("a folder after a link", &|canary| vec![folder("s"), outside(canary), folder("s/a"), evil("s/a/file")]),
        ("a link after a folder", &|canary| vec![folder("s"), folder("s/a"), outside(canary), evil("s/a/file")]),
        ("below a file", &|_| vec![folder("s"), evil("s/a"), evil("s/a/file")]),
        ("below a fifo", &|_| vec![folder("s"), entry("s/a", Node::Fifo), evil("s/a/file")]),
        ("the same twice", &|_| vec![folder("s"), evil("s/a"), evil("s/a")]),
        ("not sorted", &|_| vec![folder("s"), evil("s/b"), evil("s/a")]),
    ];
    for (what, entries) in trees {
        let (result, _) = restored(what, &|_| (), entries);
        assert!(matches!(result, Err(Error::Refused { .. })), "{what}: {result:?}");
    }
}

#[test]
fn links_that_are_in_the_target_already_are_not_followed() {
    use std::os::unix::fs::symlink;
    let entries = |_: &Canary| vec![folder("s"), folder("s/sub"), evil("s/sub/file"), evil("s/sub/other")];
    let before = |canary: &Canary| symlink(canary.outside(), canary.target().join("s")).unwrap();
    let (result, canary) = restored("the source is a link", &before, &entries);
    assert_eq!(result.unwrap().problems, vec![]);
    assert_eq!(std::fs::read(canary.target().join("s/sub/file")).unwrap(), b"evil");
    let before = |canary: &Canary| {
        std::fs::create_dir_all(canary.target().join("s/sub")).unwrap();
        symlink(canary.outside().join("sub/file"), canary.target().join("s/sub/file")).unwrap();
        std::fs::write(canary.target().join("mine"), "mine").unwrap();
        std::fs::hard_link(canary.target().join("mine"), canary.target().join("s/sub/other")).unwrap();
    };
    let (result, canary) = restored("files are links", &before, &entries);
    assert_eq!(result.unwrap().problems, vec![]);
    for name in ["file", "other"] {
        let path = canary.target().join("s/sub").join(name);
        assert!(path.symlink_metadata().unwrap().is_file());
        assert_eq!(std::fs::read(path).unwrap(), b"evil");
    }
    assert_eq!(std::fs::read(canary.target().join("mine")).unwrap(), b"mine", "it was not written through");
}

#[test]
fn hard_links_lead_to_files_that_stand_before_and_nowhere_else() {
    let hard = |path: &str, to: &[u8]| entry(path, Node::HardLink(to.to_vec()));
    let absolute = |canary: &Canary| canary.outside().join("file").as_os_str().as_encoded_bytes().to_vec();
    let trees: [(&str, &dyn Fn(&Canary) -> Vec<Entry>); 9] = [
        ("outside, climbing", &|_| vec![folder("s"), hard("s/x", b"../outside/file")]),
        ("outside, climbing from below", &|_| vec![folder("s"), hard("s/x", b"s/../../outside/file")]),
        ("outside, absolute", &|canary| vec![folder("s"), hard("s/x", &absolute(canary))]),
        ("to itself", &|_| vec![folder("s"), hard("s/x", b"s/x")]),
        ("to what comes after", &|_| vec![folder("s"), hard("s/x", b"s/y"), evil("s/y")]),
        ("to a folder", &|_| vec![folder("s"), folder("s/f"), hard("s/x", b"s/f")]),
        ("to the parent", &|_| vec![folder("s"), hard("s/x", b"s/..")]),
        ("to a symbolic link", &|canary| vec![folder("s"), entry("s/l", Node::Symlink(absolute(canary))), hard("s/x", b"s/l")]),
        ("through a symbolic link", &|_| {
            vec![folder("s"), entry("s/l", Node::Symlink(b"../../outside".to_vec())), hard("s/x", b"s/l/file")]
        }),
    ];
    for (what, entries) in trees {
        let (result, canary) = restored(what, &|_| (), entries);
        match result {
            Ok(report) => assert_eq!(report.problems.len(), 1, "{what}"),
            Err(error) => assert!(matches!(error, Error::Refused { .. }), "{what}: {error}"),
        }
        assert!(canary.target().join("s/x").symlink_metadata().is_err(), "{what}: it was made");
    }
    let (result, canary) = restored("a good one", &|_| (), &|_| vec![folder("s"), evil("s/a"), hard("s/x", b"s/a")]);
    assert_eq!(result.unwrap().problems, vec![]);
    assert_eq!(std::fs::read(canary.target().join("s/x")).unwrap(), b"evil");
}

#[test]
fn a_hard_link_does_not_lead_to_what_only_the_target_has() {
    let before = |canary: &Canary| std::fs::write(canary.target().join("private"), "mine").unwrap();
    let (result, canary) = restored("the target's own", &before, &|_| vec![folder("s"), entry("s/x", Node::HardLink(b"private".to_vec()))]);
    assert!(result.is_err() || !result.unwrap().problems.is_empty());
    assert!(!canary.target().join("s/x").exists());
}

#[test]
fn names_cannot_steer_a_terminal() {
    let name = b"s/\x1b]0;owned\x07\x1b[2J\xff";
    let broken = || honest(name, b"other", &[extent(0, 0, 0, 4)]);
    let (result, _) = restored("a file", &|_| (), &|_| vec![folder("s"), broken()]);
    let report = result.unwrap();
    assert_eq!(report.problems.len(), 1);
    assert_harmless(&archive::entry::display(&report.problems[0].path));
    let hard = |_: &Canary| vec![folder("s"), entry("s/x", Node::HardLink(name.to_vec()))];
    drop(restored("a hard link", &|_| (), &hard));
    let attribute = |_: &Canary| {
        let mut file = evil("s/file");
        file.attributes.xattrs = vec![(b"\x1b[2Jno.such".to_vec(), b"1".to_vec())];
        vec![folder("s"), file]
    };
    drop(restored("an extended attribute", &|_| (), &attribute));
    // A store that lists what it wants.
    let mut forge = Forge::new();
    let known = forge.tree(&[folder("s")]);
    let bytes = archive::store::read_all(&forge.store, &known.name, 1 << 20).unwrap();
    forge.store.set(&known.name.replace("snapshots/", "snapshots/\x1b[2J/"), bytes);
    let names: Vec<String> = forge.repository().snapshots().unwrap().into_iter().map(|known| known.name).collect();
    assert_eq!(names, vec![known.name]);
}

#[test]
fn entries_that_are_cut_or_have_impossible_numbers_are_refused() {
    let good = tests::forge::index_of(&[folder("s"), evil("s/a")]);
    for cut in 1..good.len() {
        let (mut forge, canary) = (Forge::new(), Canary::new());
        forge.run(&[b"evil"]);
        let known = forge.snapshot(&good[..cut]);
        let result = forge.restore(&known, &canary.target());
        // Cut behind the first entry, it is a whole index of one.
        assert!(result.is_err() || result.unwrap().entries == 1, "cut at {cut}");
    }
    let mut huge = Vec::new();
    huge.varint(u64::MAX);
    huge.bytes(b"s");
    let mut shared = good.clone();
    shared.varint(1 << 40);
    shared.varint(1 << 50);
    for index in [huge, shared] {
        let mut forge = Forge::new();
        let known = forge.snapshot(&index);
        assert!(forge.restore(&known, &Canary::new().target()).is_err());
    }
}

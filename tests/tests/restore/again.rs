//! Onto what is there already: only what differs is touched. After a stop at any moment: the rest is done.

use super::{newest, restored};
use archive::read::restore::RestoreOptions;
use archive::repository::{Access, Repository};
use archive::store::FolderStore;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tests::apart::{begin, part};
use tests::chance::{Chance, budget, noise};
use tests::plain::{Plain, PlainTree};
use tests::trial::{Trial, restore_from};

fn tree() -> PlainTree {
    let mut tree = PlainTree::new("s");
    tree.put("s/sub", Plain::Folder);
    tree.file("s/large", noise(1, 5_000_000));
    tree.file("s/empty", "");
    tree.put("s/link", Plain::Symlink(b"large".to_vec()));
    tree.put("s/fifo", Plain::Fifo);
    tree.put("s/twin", Plain::HardLink(b"s/large".to_vec()));
    (0..200).for_each(|n| tree.file(format!("s/sub/{n:03}"), noise(n, 100 + n as usize * 40)));
    tree
}

/// Inode and times of each file.
fn look(folder: &Path) -> BTreeMap<PathBuf, (u64, i64, i64)> {
    let files = walkdir::WalkDir::new(folder)
        .into_iter()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().is_file());
    files
        .map(|entry| (entry.path().into(), entry.metadata().unwrap()))
        .map(|(path, found)| (path, (found.ino(), found.mtime(), found.ctime_nsec())))
        .collect()
}

#[test]
fn what_is_right_already_is_not_touched() {
    let (trial, tree) = (Trial::new(), tree());
    trial.export(&tree);
    let target = tempfile::tempdir().unwrap();
    restored(&trial, target.path(), &RestoreOptions::default());
    let before = look(target.path());
    let report = restored(&trial, target.path(), &RestoreOptions::default());
    assert_eq!((report.files_written, report.bytes_written, report.files_kept), (0, 0, 202));
    assert_eq!(look(target.path()), before, "not even a time changed");
}

#[test]
fn only_what_differs_is_written() {
    let (trial, tree) = (Trial::new(), tree());
    trial.export(&tree);
    let target = tempfile::tempdir().unwrap();
    let path = |name: &str| target.path().join("s").join(name);
    restored(&trial, target.path(), &RestoreOptions::default());
    let before = look(target.path());
    // The same length and time and other bytes: only the digest tells.
    let kept = std::fs::metadata(path("sub/007")).unwrap();
    let mut bytes = std::fs::read(path("sub/007")).unwrap();
    bytes[50] ^= 1;
    std::fs::write(path("sub/007"), bytes).unwrap();
    let file = std::fs::File::options().write(true).open(path("sub/007")).unwrap();
    file.set_times(std::fs::FileTimes::new().set_modified(kept.modified().unwrap())).unwrap();
    std::fs::write(path("sub/100"), "longer or shorter").unwrap();
    std::fs::remove_file(path("sub/150")).unwrap();
    std::fs::remove_file(path("link")).unwrap();
    std::fs::write(path("link"), "a file where a link was").unwrap();
    std::fs::remove_file(path("twin")).unwrap();
    std::fs::write(path("twin"), "no twin").unwrap();
    std::fs::write(path("more"), "not of the snapshot").unwrap();
    let report = restored(&trial, target.path(), &RestoreOptions::default());
    assert_eq!(report.problems, vec![]);
    assert_eq!((report.files_written, report.files_kept), (3, 199));
    let after = look(target.path());
    let touched: Vec<_> = before
        .iter()
        .filter(|(path, seen)| after.get(*path) != Some(seen))
        .map(|(path, _)| path.file_name().unwrap().to_owned())
        .collect();
    // Large and its twin share an inode, whose link count changed.
    assert!(touched.iter().all(|name| ["007", "100", "150", "twin", "large"].iter().any(|known| name == known)), "{touched:?}");
    assert_eq!(std::fs::read(path("more")).unwrap(), b"not of the snapshot");
    std::fs::remove_file(path("more")).unwrap();
    tree.assert_same(&PlainTree::read(target.path()), "restored onto what was there");
}

#[test]
fn what_the_snapshot_does_not_have_goes_only_when_asked_for() {
    let (trial, tree) = (Trial::new(), tree());
    trial.export(&tree);
    let target = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("file"), "x").unwrap();
    restored(&trial, target.path(), &RestoreOptions::default());
    let more = target.path().join("s/more/deep");
    std::fs::create_dir_all(&more).unwrap();
    std::fs::write(more.join("file"), "x").unwrap();
    std::os::unix::fs::symlink(outside.path(), more.join("link")).unwrap();
    std::fs::write(target.path().join("s/sub/excluded"), "x").unwrap();
    std::fs::remove_file(target.path().join("s/sub/009")).unwrap();
    std::fs::create_dir_all(target.path().join("s/sub/009/in the way")).unwrap();
    let report = restored(&trial, target.path(), &RestoreOptions::default());
    assert_eq!(report.removed, 0);
    assert_eq!(report.problems.len(), 1, "a folder is not replaced unasked: {:?}", report.problems);
    assert!(more.join("file").exists());
    let keep = |path: &[u8]| path == b"s/sub/excluded";
    let report = restored(&trial, target.path(), &RestoreOptions { delete: Some(&keep), ..RestoreOptions::default() });
    assert_eq!(report.problems, vec![]);
    assert!(!target.path().join("s/more").exists());
    assert!(outside.path().join("file").exists(), "a link's target stays");
    std::fs::remove_file(target.path().join("s/sub/excluded")).unwrap();
    tree.assert_same(&PlainTree::read(target.path()), "with deleting");
}

/// What is written beside a long file is not taken for something that has to go, though its folder is left long before the file is whole.
#[test]
fn deleting_spares_what_is_being_written() {
    let trial = Trial::new();
    let mut tree = PlainTree::new("s");
    tree.put("s/a", Plain::Folder);
    tree.put("s/b", Plain::Folder);
    // More than two windows: the first is settled when the folder is left.
    tree.file("s/a/long", noise(1, 36 << 20));
    tree.file("s/b/other", noise(2, 100));
    trial.export(&tree);
    let target = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(target.path().join("s/a")).unwrap();
    std::fs::write(target.path().join("s/a/long"), "something else").unwrap();
    std::fs::write(target.path().join("s/a/.resilient-restoring-0123456789abcdef"), "of a restore that was stopped").unwrap();
    let report = restored(&trial, target.path(), &RestoreOptions { delete: Some(&|_| false), ..RestoreOptions::default() });
    assert_eq!((report.problems, report.removed), (vec![], 1));
    tree.assert_same(&PlainTree::read(target.path()), "with deleting");
}

/// A trial in folders that another process can open.
fn on_disk(folder: &Path) -> (Trial, PlainTree) {
    let tree = tree();
    let store = folder.join("repository");
    std::fs::create_dir_all(&store).unwrap();
    let trial = Trial::with(Arc::new(FolderStore::open(&store).unwrap()), true);
    trial.export(&tree);
    std::fs::copy(&trial.identity, folder.join("identity")).unwrap();
    (trial, tree)
}

#[test]
fn a_restore_that_is_killed_is_finished_by_the_next() {
    if let Some(part) = part() {
        // The process that is killed.
        let folder = Path::new(&part);
        let repository = Repository::open_folder(&folder.join("repository"), Access::Shared).unwrap();
        let known = repository.snapshots().unwrap().pop().unwrap();
        let mut keyring = archive::identity::Keyring::from_file(&folder.join("identity"), &mut |_| panic!("it has no passphrase")).unwrap();
        println!("begins");
        restore_from(&repository, &known, &mut keyring, &folder.join("target")).unwrap();
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (trial, tree) = on_disk(folder.path());
    let (mut chance, mut unfinished) = (Chance::new(7), 0);
    for round in 0..budget(15) {
        let target = folder.path().join("target");
        let _ = std::fs::remove_dir_all(&target);
        std::fs::create_dir(&target).unwrap();
        for _ in 0..2 {
            let mut child = begin("again::a_restore_that_is_killed_is_finished_by_the_next", folder.path().to_str().unwrap());
            // Killed when so many names have come, or when it is done.
            let wanted = chance.below(230);
            let count = || walkdir::WalkDir::new(&target).into_iter().filter(|entry| entry.is_ok()).count();
            while child.try_wait().unwrap().is_none() && count() < wanted {
                std::thread::yield_now();
            }
            child.kill().unwrap();
            unfinished += usize::from(!child.wait().unwrap().success());
        }
        let report = trial.restore(&newest(&trial), &target).unwrap();
        assert_eq!(report.problems, vec![], "round {round}");
        let left = PlainTree::read(&target);
        let drafts: Vec<_> = left
            .entries
            .keys()
            .filter(|name| name.0.windows(10).any(|window| window == b".resilient"))
            .collect();
        assert!(drafts.is_empty(), "round {round}: {drafts:?}");
        tree.assert_same(&left, &format!("round {round}"));
        let again = trial.restore(&newest(&trial), &target).unwrap();
        assert_eq!(again.files_written, 0, "round {round}: nothing is left to do");
    }
    assert!(unfinished > 0, "none was killed in time");
}

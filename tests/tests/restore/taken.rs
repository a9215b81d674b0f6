//! What a tree that is about to go has as it should be is not written again.

use super::restored;
use archive::read::restore::{RestoreOptions, RestoreReport};
use std::fs::{self, File, FileTimes};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tests::chance::noise;
use tests::plain::{Plain, PlainTree};
use tests::trial::Trial;

/// A tree that was restored.
struct Stand {
    trial: Trial,
    tree: PlainTree,
    old: TempDir,
}

impl Stand {
    fn new() -> Stand {
        let (trial, mut tree) = (Trial::new(), PlainTree::new("s"));
        for folder in ["s/a", "s/b"] {
            tree.put(folder, Plain::Folder);
            (0..20).for_each(|n| tree.file(format!("{folder}/{n:02}"), noise(n, 3000)));
        }
        tree.file("s/large", noise(1, 5_000_000));
        tree.file("s/empty", "");
        trial.export(&tree);
        let old = tempfile::tempdir().unwrap();
        restored(&trial, old.path(), &RestoreOptions::default());
        Stand { trial, tree, old }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.old.path().join("s").join(name)
    }

    fn restores(&self, to: &Path) -> RestoreReport {
        let old = File::open(self.old.path()).unwrap();
        restored(&self.trial, to, &RestoreOptions { like: Some(old.as_fd()), ..RestoreOptions::default() })
    }

    /// Restores the newest snapshot; it is right, and these files were written.
    #[track_caller]
    fn writes(&self, what: &str, written: &[&str]) -> (TempDir, RestoreReport) {
        let new = tempfile::tempdir_in(self.old.path().parent().unwrap()).unwrap();
        let report = self.restores(new.path());
        assert_eq!(report.problems, vec![], "{what}");
        self.tree.assert_same(&PlainTree::read(new.path()), what);
        let inode = |path: &Path| fs::symlink_metadata(path).map(|found| found.ino()).ok();
        let all = self.tree.files();
        let names = all.iter().map(|path| std::str::from_utf8(path).unwrap().strip_prefix("s/").unwrap());
        let made: Vec<&str> = names.filter(|name| inode(&new.path().join("s").join(name)) != inode(&self.at(name))).collect();
        assert_eq!(made, written, "{what}");
        assert_eq!((report.files_written, report.files_kept), (written.len() as u64, (all.len() - written.len()) as u64), "{what}");
        (new, report)
    }
}

/// Writes what has the same length, and sets the time that it had.
fn forge(path: &Path) {
    let before = fs::metadata(path).unwrap();
    let mut bytes = fs::read(path).unwrap();
    bytes[7] ^= 1;
    fs::write(path, bytes).unwrap();
    let file = File::options().write(true).open(path).unwrap();
    file.set_times(FileTimes::new().set_modified(before.modified().unwrap())).unwrap();
}

#[test]
fn nothing_is_written_when_nothing_changed_and_the_same_tree_serves_one() {
    let stand = Stand::new();
    let (new, report) = stand.writes("the same", &["empty"]);
    assert_eq!((report.bytes_written, report.entries), (0, 45));
    // What has another name already would come to have a third.
    let all = stand.tree.files();
    let names: Vec<&str> = all.iter().map(|path| std::str::from_utf8(&path[2..]).unwrap()).collect();
    stand.writes("a second beside the first", &names);
    drop(new);
    stand.writes("when that is gone", &["empty"]);
}

#[test]
fn only_what_changed_is_written() {
    let mut stand = Stand::new();
    stand.tree.file("s/a/03", noise(77, 3000));
    stand.tree.file("s/a/more", "more");
    stand.tree.remove(b"s/b/19");
    // The same bytes at another time.
    stand.tree.file("s/b/07", noise(7, 3000));
    stand.tree.put("s/twin", Plain::HardLink(b"s/large".to_vec()));
    stand.trial.export(&stand.tree);
    let (new, report) = stand.writes("after changes", &["a/03", "a/more", "b/07", "empty"]);
    assert_eq!(report.bytes_written, 6004);
    assert_eq!(fs::metadata(new.path().join("s/twin")).unwrap().ino(), fs::metadata(stand.at("large")).unwrap().ino());
}

#[test]
fn what_somebody_touched_is_not_taken() {
    let stand = Stand::new();
    let (elsewhere, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    forge(&stand.at("a/01"));
    fs::set_permissions(stand.at("a/02"), std::os::unix::fs::PermissionsExt::from_mode(0o4755)).unwrap();
    fs::hard_link(stand.at("a/04"), elsewhere.path().join("one more name")).unwrap();
    fs::remove_file(stand.at("a/05")).unwrap();
    fs::remove_file(stand.at("a/06")).unwrap();
    symlink(stand.at("a/07"), stand.at("a/06")).unwrap();
    fs::remove_file(stand.at("a/08")).unwrap();
    fs::create_dir(stand.at("a/08")).unwrap();
    fs::write(stand.at("a/09"), "").unwrap();
    let note = rustix::fs::setxattr(stand.at("a/10"), "user.note", b"mine", rustix::fs::XattrFlags::empty());
    std::os::unix::fs::chown(stand.at("a/11"), Some(65534), None).unwrap();
    // A folder through which a link leads elsewhere, where all is as it was.
    fs::rename(stand.at("b"), outside.path().join("b")).unwrap();
    symlink(outside.path().join("b"), stand.at("b")).unwrap();
    let touched = ["a/01", "a/02", "a/04", "a/05", "a/06", "a/08", "a/09", "a/10", "a/11", "empty"].map(str::to_owned);
    let lost = (0..20).map(|n| format!("b/{n:02}"));
    let written: Vec<String> = touched.into_iter().filter(|name| note.is_ok() || name != "a/10").chain(lost).collect();
    // Through the link the inodes would look the same, so names are counted.
    let new = tempfile::tempdir().unwrap();
    let report = stand.restores(new.path());
    stand.tree.assert_same(&PlainTree::read(new.path()), "after somebody touched it");
    for name in &written {
        assert_eq!(fs::metadata(new.path().join("s").join(name)).unwrap().nlink(), 1, "{name}");
    }
    assert_eq!((report.problems, report.files_written), (vec![], written.len() as u64));
}

#[test]
fn from_an_empty_tree_nothing_is_taken() {
    let mut stand = Stand::new();
    stand.old = tempfile::tempdir().unwrap();
    let all = stand.tree.files();
    let names: Vec<&str> = all.iter().map(|path| std::str::from_utf8(&path[2..]).unwrap()).collect();
    stand.writes("an empty tree", &names);
}

//! What a tree that is about to go has as it was is not written again.

use super::{opened, restored};
use archive::read::restore::{RestoreOptions, RestoreReport, Tags};
use std::fs::{self, File, FileTimes};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tests::chance::noise;
use tests::plain::{Plain, PlainTree};
use tests::trial::Trial;

/// A tree of which everything is remembered.
struct Stand {
    trial: Trial,
    tree: PlainTree,
    old: TempDir,
    tags: Tags,
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
        let tags = opened(&trial, |opened| Tags::of(opened, &RestoreOptions::default(), old.path(), b"").unwrap());
        assert_eq!(tags.len(), 42);
        Stand { trial, tree, old, tags: Tags::from_bytes(&tags.to_bytes()) }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.old.path().join("s").join(name)
    }

    /// Restores the newest snapshot; it is right, and these files were written.
    #[track_caller]
    fn writes(&self, what: &str, written: &[&str]) -> (TempDir, RestoreReport) {
        let new = tempfile::tempdir_in(self.old.path().parent().unwrap()).unwrap();
        let options = RestoreOptions { like: Some((self.old.path(), &self.tags)), ..RestoreOptions::default() };
        let report = restored(&self.trial, new.path(), &options);
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
fn nothing_is_written_when_nothing_changed_and_the_same_tree_serves_once() {
    let stand = Stand::new();
    let (_, report) = stand.writes("the same", &[]);
    assert_eq!((report.bytes_written, report.entries), (0, 45));
    // Each name that a file gets or loses shows.
    let all = stand.tree.files();
    let names: Vec<&str> = all.iter().map(|path| std::str::from_utf8(&path[2..]).unwrap()).collect();
    stand.writes("a second time", &names);
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
    let (new, report) = stand.writes("after changes", &["a/03", "a/more", "b/07"]);
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
    fs::copy(stand.at("a/10"), stand.at("a/copy")).unwrap();
    let times = fs::metadata(stand.at("a/10")).unwrap().modified().unwrap();
    File::options().write(true).open(stand.at("a/copy")).unwrap().set_modified(times).unwrap();
    fs::rename(stand.at("a/copy"), stand.at("a/10")).unwrap();
    // A folder through which a link leads elsewhere, where all is as it was.
    fs::rename(stand.at("b"), outside.path().join("b")).unwrap();
    symlink(outside.path().join("b"), stand.at("b")).unwrap();
    let touched = ["a/01", "a/02", "a/04", "a/05", "a/06", "a/08", "a/10"].map(str::to_owned);
    let lost = (0..20).map(|n| format!("b/{n:02}"));
    let written: Vec<String> = touched.into_iter().chain(lost).collect();
    // Through the link the inodes would look the same, so names are counted.
    let new = tempfile::tempdir().unwrap();
    let options = RestoreOptions { like: Some((stand.old.path(), &stand.tags)), ..RestoreOptions::default() };
    let report = restored(&stand.trial, new.path(), &options);
    stand.tree.assert_same(&PlainTree::read(new.path()), "after somebody touched it");
    for name in &written {
        assert_eq!(fs::metadata(new.path().join("s").join(name)).unwrap().nlink(), 1, "{name}");
    }
    assert_eq!((report.problems, report.files_written), (vec![], written.len() as u64));
}

#[test]
fn without_a_tree_or_with_tags_of_another_all_is_written() {
    let mut stand = Stand::new();
    let all = stand.tree.files();
    let names: Vec<&str> = all.iter().map(|path| std::str::from_utf8(&path[2..]).unwrap()).collect();
    let right = std::mem::take(&mut stand.tags);
    stand.writes("nothing remembered", &names);
    for damaged in [&b"resilient files as restored 1\n"[..], b"something else", &noise(1, 4096), &right.to_bytes()[..40]] {
        assert!(Tags::from_bytes(damaged).len() < 2);
    }
    stand.tags = Stand::new().tags;
    stand.writes("tags of another tree", &names);
    (stand.tags, stand.old) = (right, tempfile::tempdir().unwrap());
    stand.writes("an empty tree", &names);
}

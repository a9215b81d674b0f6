//! What imports of the `files` recipe do to what is there.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use recipes::data::conform::{Collect, Taken, import, write_tree};
use recipes::data::{Level, Mode};
use recipes::{Data, Error, Files, Settings};

fn settings(paths: Vec<PathBuf>) -> Settings {
    let exclude = ["*.log", "/cache/", "!keep.log"].map(str::to_owned).to_vec();
    Settings { paths, exclude, ..Settings::default() }
}

fn recipe(path: PathBuf) -> Files {
    Files::new(settings(vec![path])).unwrap()
}

fn make(base: &Path, entries: &[(&str, &str)]) {
    for (path, content) in entries {
        let path = base.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

/// What a source with these files sends.
fn sent(entries: &[(&str, &str)]) -> Vec<Taken> {
    let base = tempfile::tempdir().unwrap();
    let root = base.path().join("data");
    fs::create_dir(&root).unwrap();
    make(&root, entries);
    Collect::of(&Files::new(Settings { paths: vec![root], ..Settings::default() }).unwrap()).taken
}

fn text(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// Names in a folder and below, sorted.
fn names(path: &Path) -> Vec<String> {
    let mut found: Vec<String> = walkdir::WalkDir::new(path)
        .min_depth(1)
        .into_iter()
        .map(|entry| entry.unwrap().path().strip_prefix(path).unwrap().to_str().unwrap().to_owned())
        .collect();
    found.sort();
    found
}

/// What is gone in the source goes, what is excluded stays where it is, with its folder and its times.
#[test]
fn excluded_entries_survive() {
    let base = tempfile::tempdir().unwrap();
    let target = base.path().join("data");
    make(&target, &[("old", "old"), ("gone/old", ""), ("gone/a.log", "log"), ("cache/x", "cached"), ("b/keep.log", "k")]);
    make(&target, &[("b/c.log", "c")]);
    let _socket = std::os::unix::net::UnixListener::bind(target.join("socket")).unwrap();
    let log = fs::metadata(target.join("gone/a.log")).unwrap();
    let arriving = sent(&[("new", "new"), ("b/c.log", "from elsewhere"), ("b/d", "d")]);
    let wanted = arriving.iter().find(|taken| taken.path == b"b").unwrap().attributes.mtime;
    import(&recipe(target.clone()), &arriving);
    let there = ["b", "b/c.log", "b/d", "cache", "cache/x", "gone", "gone/a.log", "new", "socket"].map(str::to_owned);
    assert_eq!(names(&target), there);
    assert_eq!(text(target.join("b/c.log")).unwrap(), "c", "the target's own excluded entry wins");
    let now = fs::metadata(target.join("gone/a.log")).unwrap();
    assert_eq!((now.ino(), now.mtime_nsec()), (log.ino(), log.mtime_nsec()), "it was moved, not copied");
    let folder = fs::metadata(target.join("b")).unwrap();
    assert_eq!((folder.mtime(), folder.mtime_nsec()), (wanted.seconds, wanted.nanos.into()), "times of folders hold");
    let previous = base.path().join(".data.resilient-previous/tree/data");
    assert_eq!(names(&previous), ["b", "b/keep.log", "gone", "gone/old", "old"].map(str::to_owned));
    assert!(!base.path().join(".data.resilient-new").exists());
}

/// Taken back, the data is as before, and excluded entries as they are now; taken back twice, it is as it was.
#[test]
fn rollback() {
    let base = tempfile::tempdir().unwrap();
    let target = base.path().join("data");
    make(&target, &[("old", "old"), ("a.log", "first")]);
    let data = recipe(target.clone());
    assert!(matches!(data.rollback(), Err(Error::TakeBack { .. })), "nothing was imported");
    import(&data, &sent(&[("new", "new")]));
    make(&target, &[("a.log", "second"), ("b.log", "b")]);
    data.rollback().unwrap();
    assert_eq!(names(&target), ["a.log", "b.log", "old"].map(str::to_owned));
    assert_eq!(text(target.join("a.log")).unwrap(), "second");
    data.rollback().unwrap();
    assert_eq!(names(&target), ["a.log", "b.log", "new"].map(str::to_owned));
}

/// Folders on the way to a target are made; a symlink to a target is followed and stays.
#[test]
fn missing_and_linked_targets() {
    let base = tempfile::tempdir().unwrap();
    let at = |name: &str| base.path().join(name);
    let arriving = sent(&[("a/b", "content")]);
    import(&recipe(at("not/yet/there")), &arriving);
    assert_eq!(text(at("not/yet/there/a/b")).unwrap(), "content");
    fs::create_dir_all(at("real/target")).unwrap();
    symlink(at("real/target"), at("link")).unwrap();
    import(&recipe(at("link")), &arriving);
    assert_eq!(text(at("real/target/a/b")).unwrap(), "content");
    assert!(at("link").is_symlink() && at("real/.target.resilient-previous").is_dir());
    symlink(at("nowhere"), at("dangling")).unwrap();
    assert!(matches!(recipe(at("dangling")).stage().err(), Some(Error::Missing { .. })));
}

/// An excluded entry below a folder that arrives as a file: refused, and nothing is touched.
#[test]
fn in_the_way() {
    let base = tempfile::tempdir().unwrap();
    let target = base.path().join("data");
    make(&target, &[("name/a.log", "log"), ("other", "o")]);
    let data = recipe(target.clone());
    let staging = data.stage().unwrap();
    write_tree(&sent(&[("name", "a file now")]), &staging.places()[0]);
    let refused = staging.commit(&mut |_| true);
    assert!(matches!(refused, Err(Error::InTheWay { .. })), "{refused:?}");
    assert_eq!(names(&target), ["name", "name/a.log", "other"].map(str::to_owned));
    assert!(!base.path().join(".data.resilient-new").exists(), "what was staged is cleared away");
}

/// Only one import at a time.
#[test]
fn busy() {
    let base = tempfile::tempdir().unwrap();
    let data = recipe(base.path().join("data"));
    let staging = data.stage().unwrap();
    assert!(matches!(data.stage().err(), Some(Error::Busy { .. })));
    drop(staging);
    assert!(data.stage().is_ok());
}

/// A log that is made anew while the old one is being moved: both are kept.
#[test]
fn excluded_entries_that_meet() {
    let base = tempfile::tempdir().unwrap();
    let target = base.path().join("data");
    make(&target, &[("a.log", "first"), ("old", "")]);
    let again = target.clone();
    let hook = move |step: &str| {
        if step == "exchange" {
            fs::write(again.join("a.log"), "second").unwrap();
        }
    };
    let data = Files::with_hook(settings(vec![target.clone()]), hook).unwrap();
    let staging = data.stage().unwrap();
    write_tree(&sent(&[("new", "")]), &staging.places()[0]);
    let findings = staging.commit(&mut |_| true).unwrap();
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(names(&target), ["a.log", "a.log.resilient-kept-1", "new"].map(str::to_owned));
    assert_eq!(text(target.join("a.log")).unwrap(), "first");
    assert_eq!(text(target.join("a.log.resilient-kept-1")).unwrap(), "second");
    assert!(!Collect::of(&data).paths().contains(&b"a.log.resilient-kept-1".as_slice()), "it is not exported");
}

/// An exclude that is new since the last import neither brings back what was deleted nor doubles what is there.
#[test]
fn excludes_that_change() {
    let base = tempfile::tempdir().unwrap();
    let target = base.path().join("data");
    let plain = Files::new(Settings { paths: vec![target.clone()], ..Settings::default() }).unwrap();
    import(&plain, &sent(&[("a.log", "1"), ("deleted.log", "1")]));
    import(&plain, &sent(&[("a.log", "2")]));
    import(&recipe(target.clone()), &sent(&[("new", "")]));
    import(&recipe(target.clone()), &sent(&[("new", "")]));
    assert_eq!(names(&target), ["a.log", "new"].map(str::to_owned));
}

/// Where a skipped folder lies in the target nothing is moved: it is restored in place, and what is gone is deleted
/// through descriptors, never through a symlink.
#[test]
fn in_place() {
    let base = tempfile::tempdir().unwrap();
    let at = |name: &str| base.path().join(name);
    make(&at("data"), &[("state/db", "mine"), ("gone/x/y", ""), ("a.log", "log"), ("sub/b.log", "log"), ("stay", "old")]);
    make(&at("outside"), &[("precious", "p")]);
    symlink(at("outside"), at("data/link")).unwrap();
    let settings = Settings { skip: vec![at("data/state")], ..settings(vec![at("data")]) };
    let data = Files::new(settings).unwrap();
    let inode = fs::metadata(at("data")).unwrap().ino();
    let arriving = sent(&[("stay", "new"), ("more/z", "")]);
    let staging = data.stage().unwrap();
    assert_eq!(staging.places()[0].mode, Mode::InPlace);
    assert_eq!(staging.places()[0].folder, at("data"));
    write_tree(&arriving, &staging.places()[0]);
    let mut holds = |path: &[u8]| arriving.iter().any(|taken| taken.path == path);
    let findings = staging.commit(&mut holds).unwrap();
    assert_eq!(findings.iter().map(|finding| finding.level).collect::<Vec<_>>(), [Level::Note], "{findings:?}");
    let there = ["a.log", "more", "more/z", "state", "state/db", "stay", "sub", "sub/b.log"].map(str::to_owned);
    assert_eq!(names(&at("data")), there);
    assert_eq!(text(at("outside/precious")).unwrap(), "p");
    assert_eq!(fs::metadata(at("data")).unwrap().ino(), inode);
    assert!(matches!(data.rollback(), Err(Error::TakeBack { .. })));
}

/// A mount point is restored in place, and so is what has one below it.
#[test]
fn mount_points() {
    let base = tempfile::tempdir().unwrap();
    let at = |name: &str| base.path().join(name);
    fs::create_dir_all(at("data/mount point")).unwrap();
    let run = |program: &str, args: &[&std::ffi::OsStr]| {
        assert!(std::process::Command::new(program).args(args).status().unwrap().success(), "{program} {args:?}");
    };
    let mounted = at("data/mount point");
    run("mount", &["-t".as_ref(), "tmpfs".as_ref(), "none".as_ref(), mounted.as_ref()]);
    let modes = [at("data"), mounted.clone()].map(|path| recipe(path).stage().map(|staging| staging.places()[0].mode));
    make(&mounted, &[("inside", "")]);
    let across = Collect::of(&recipe(at("data"))).taken.len();
    let bounded = Settings { one_file_system: true, ..settings(vec![at("data")]) };
    let within = Collect::of(&Files::new(bounded).unwrap()).taken.len();
    run("umount", &[mounted.as_ref()]);
    assert!(matches!(modes, [Ok(Mode::InPlace), Ok(Mode::InPlace)]), "{modes:?}");
    assert_eq!((across, within), (3, 2), "the mount point itself is sent, its content only when wanted");
}

/// A tree deeper than a path can be is switched in, carried over and cleared away.
#[test]
fn deep_targets() {
    let base = tempfile::tempdir().unwrap();
    let target = base.path().join("data");
    fs::create_dir(&target).unwrap();
    let folder = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY;
    let mut at = rustix::fs::openat(rustix::fs::CWD, &target, folder, rustix::fs::Mode::empty()).unwrap();
    for _ in 0..2_500 {
        rustix::fs::mkdirat(&at, "dd", rustix::fs::Mode::RWXU).unwrap();
        at = rustix::fs::openat(&at, "dd", folder, rustix::fs::Mode::empty()).unwrap();
    }
    let log = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY;
    drop(rustix::fs::openat(&at, "deep.log", log, rustix::fs::Mode::RUSR).unwrap());
    let data = recipe(target.clone());
    import(&data, &sent(&[("new", "")]));
    // Excluded: so it is seen only by a recipe without excludes.
    let all = Files::new(Settings { paths: vec![target.clone()], ..Settings::default() }).unwrap();
    let deepest = Collect::of(&all).taken.iter().map(|taken| taken.path.len()).max();
    assert_eq!(deepest, Some(2_500 * 3 + 8));
    import(&all, &sent(&[("new", "")]));
    import(&all, &sent(&[("new", "")]));
    assert_eq!(names(&target), ["new"]);
    assert!(names(&base.path().join(".data.resilient-previous/tree/data")).iter().all(|name| name == "new"));
}

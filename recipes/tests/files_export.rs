//! What the `files` recipe exports of trees that are unlike the usual ones.

use std::ffi::{CString, OsStr};
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use recipes::data::conform::{Collect, Ends, Kind};
use recipes::{Body, Data, Error, Files, Item, Settings, Sink, Stamp, Stop};
use rustix::fs::{CWD, FileType, Mode, OFlags, XattrFlags};

fn files(root: &Path, exclude: &[&str]) -> Files {
    let exclude = exclude.iter().map(|pattern| (*pattern).to_owned()).collect();
    Files::new(Settings { paths: vec![root.to_path_buf()], exclude, ..Settings::default() }).unwrap()
}

fn kind<'a>(sink: &'a Collect, path: &[u8]) -> &'a Kind {
    &sink.get(path).unwrap_or_else(|| panic!("{:?} is missing", String::from_utf8_lossy(path))).kind
}

/// Each kind of entry arrives as what it is; a socket does not.
#[test]
fn kinds() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    fs::write(at("file"), "content").unwrap();
    symlink("nowhere/at all", at("dangling")).unwrap();
    rustix::fs::mknodat(CWD, at("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    fs::set_permissions(at("file"), fs::Permissions::from_mode(0o6755)).unwrap();
    let device = rustix::fs::makedev(1, 3);
    rustix::fs::mknodat(CWD, at("null"), FileType::CharacterDevice, Mode::RUSR, device).expect("needs CAP_MKNOD");
    let device = rustix::fs::makedev(7, 300);
    rustix::fs::mknodat(CWD, at("loop"), FileType::BlockDevice, Mode::RUSR, device).expect("needs CAP_MKNOD");
    let sink = Collect::of(&files(root.path(), &[]));
    let paths: Vec<&[u8]> = vec![b"", b"dangling", b"fifo", b"file", b"loop", b"null"];
    assert_eq!(sink.paths(), paths);
    assert_eq!(*kind(&sink, b"dangling"), Kind::Symlink(b"nowhere/at all".to_vec()));
    assert_eq!(*kind(&sink, b"fifo"), Kind::Fifo);
    assert_eq!(*kind(&sink, b"null"), Kind::CharDevice(1, 3));
    assert_eq!(*kind(&sink, b"loop"), Kind::BlockDevice(7, 300));
    assert_eq!(sink.get(b"file").unwrap().attributes.mode, 0o6755);
}

/// Extended attributes and ACLs of files, folders and symlinks arrive, sorted.
#[test]
fn attributes() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    fs::write(at("file"), "").unwrap();
    fs::create_dir(at("folder")).unwrap();
    symlink("file", at("link")).unwrap();
    for name in ["user.b", "user.a"] {
        rustix::fs::setxattr(at("file"), name, name.as_bytes(), XattrFlags::empty()).unwrap();
    }
    rustix::fs::setxattr(at("folder"), "user.large", &[7; 3000], XattrFlags::empty()).unwrap();
    rustix::fs::lsetxattr(at("link"), "trusted.of.link", b"link", XattrFlags::empty()).unwrap();
    for target in ["file", "folder"] {
        assert!(Command::new("setfacl").args(["-m", "u:1234:r"]).arg(at(target)).status().unwrap().success());
    }
    let sink = Collect::of(&files(root.path(), &[]));
    let names = |path: &[u8]| {
        let xattrs = &sink.get(path).unwrap().attributes.xattrs;
        xattrs.iter().map(|(name, _)| String::from_utf8(name.clone()).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(names(b"file"), ["system.posix_acl_access", "user.a", "user.b"]);
    assert_eq!(names(b"folder"), ["system.posix_acl_access", "user.large"]);
    assert_eq!(names(b"link"), ["trusted.of.link"]);
    let large = sink.get(b"folder").unwrap().attributes.xattrs.iter().find(|(name, _)| name == b"user.large");
    assert_eq!(large.unwrap().1, [7; 3000]);
}

/// The first name holds the content, also when it is unchanged or in another root; names outside do not matter.
#[test]
fn hard_links() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    for folder in ["one", "two", "out"] {
        fs::create_dir(at(folder)).unwrap();
    }
    fs::write(at("one/b"), "content").unwrap();
    for name in ["one/c", "two/a", "out/x"] {
        fs::hard_link(at("one/b"), at(name)).unwrap();
    }
    let data = Files::new(Settings { paths: vec![at("two"), at("one")], ..Settings::default() }).unwrap();
    let sink = Collect::of(&data);
    let paths: Vec<&[u8]> = vec![b"", b"one", b"one/b", b"one/c", b"two", b"two/a"];
    assert_eq!(sink.paths(), paths);
    assert_eq!(*kind(&sink, b"one/b"), Kind::File(b"content".to_vec()));
    for later in [b"one/c", b"two/a"] {
        assert_eq!(*kind(&sink, later), Kind::HardLink(b"one/b".to_vec()));
    }
    let mut sink = Collect { unchanged: true, ..Collect::default() };
    data.export(&mut sink).unwrap();
    assert_eq!(sink.paths(), [b"".as_slice(), b"one/c", b"two/a"], "later names come though the first is unchanged");
}

/// A sink that looks at one file with the reader that the recipe gives.
struct Ranges(Vec<(u64, u64)>);

impl Sink for Ranges {
    fn unchanged(&mut self, _: &[u8], _: &Stamp) -> Result<bool, Stop> {
        Ok(false)
    }

    fn item(&mut self, item: Item) -> Result<(), Stop> {
        let Body::File { open, .. } = item.body else {
            return Ok(());
        };
        let opened = open.open().map_err(|_| Stop)?;
        let mut at = 0;
        while let Some((start, end)) = opened.contents.next_data(at).map_err(|_| Stop)? {
            self.0.push((start, end));
            at = end;
        }
        assert_eq!(opened.contents.stamp().unwrap(), item.stamp.unwrap());
        Ok(())
    }

    fn trouble(&mut self, path: &[u8], error: std::io::Error) {
        panic!("{path:?}: {error}");
    }
}

/// Only data is read of a file with holes, and a file of nothing but a hole has none.
#[test]
fn sparse() {
    let root = tempfile::tempdir().unwrap();
    let file = fs::File::create(root.path().join("sparse")).unwrap();
    file.write_all_at(b"first", 1 << 20).unwrap();
    file.write_all_at(b"second", 8 << 20).unwrap();
    file.set_len(16 << 20).unwrap();
    fs::File::create(root.path().join("void")).unwrap().set_len(1 << 30).unwrap();
    let mut sink = Ranges(Vec::new());
    files(root.path(), &[]).export(&mut sink).unwrap();
    let [(first, first_end), (second, second_end)] = sink.0[..] else { panic!("{:?}", sink.0) };
    assert!(first <= 1 << 20 && ((1 << 20) + 5..2 << 20).contains(&first_end), "{:?}", sink.0);
    assert!(second <= 8 << 20 && ((8 << 20) + 6..9 << 20).contains(&second_end), "{:?}", sink.0);
}

/// gitignore's syntax: names anywhere, anchored ones, folders, negation, and names that are no UTF-8.
#[test]
fn excludes() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &[u8]| root.path().join(OsStr::from_bytes(name));
    for folder in ["cache", "deep/cache", "logs"] {
        fs::create_dir_all(at(folder.as_bytes())).unwrap();
    }
    let names: [&[u8]; 9] =
        [b"a.tmp", b"keep.tmp", b"deep/b.tmp", b"cache/x", b"deep/cache/y", b"logs/1.log", b"logs/keep.log", b"\xff.tmp", b"\xff.dat"];
    for name in names {
        fs::write(at(name), "").unwrap();
    }
    let rules = ["*.tmp", "!keep.tmp", "/cache/", "logs/*", "!logs/keep.log", "", "# nothing"];
    let sink = Collect::of(&files(root.path(), &rules));
    let mut wanted: Vec<&[u8]> = vec![b"", b"deep", b"deep/cache", b"deep/cache/y", b"keep.tmp", b"logs", b"logs/keep.log", b"\xff.dat"];
    wanted.sort();
    assert_eq!(sink.paths(), wanted);
    let refused = Files::new(Settings { paths: vec!["/x".into()], exclude: vec!["a{".into()], ..Settings::default() });
    assert!(matches!(refused, Err(Error::Exclude { .. })));
}

/// Skipped folders are not entered, whatever path leads to them, and are not there at all.
#[test]
fn skip() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    fs::create_dir_all(at("var/state/datasets")).unwrap();
    symlink(at("var"), at("other")).unwrap();
    let settings =
        |path: &str| Settings { paths: vec![at(path)], skip: vec![at("other/state"), at("does not exist")], ..Settings::default() };
    let sink = Collect::of(&Files::new(settings("")).unwrap());
    assert_eq!(sink.paths(), [b"".as_slice(), b"other", b"var"]);
    let inside = Files::new(settings("var/state/datasets")).unwrap();
    assert!(matches!(inside.export(&mut Collect::default()), Err(Error::Settings { .. })));
}

/// A missing path fails the whole source, before anything is sent; so do settings that cannot work.
#[test]
fn missing_and_wrong() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("there")).unwrap();
    let paths = vec![root.path().join("there"), root.path().join("gone")];
    let mut sink = Collect::default();
    let data = Files::new(Settings { paths, ..Settings::default() }).unwrap();
    let Err(error @ Error::Missing { .. }) = data.export(&mut sink) else { panic!("not missing") };
    assert!(error.to_string().ends_with("gone") && sink.taken.is_empty());
    assert_eq!(data.check().unwrap().len(), 1);
    for paths in [vec![], vec!["relative"], vec!["/a/x", "/b/x"], vec!["/", "/a"], vec!["/a/.."]] {
        let paths = paths.iter().map(Into::into).collect();
        assert!(matches!(Files::new(Settings { paths, ..Settings::default() }), Err(Error::Settings { .. })));
    }
}

/// What an unprivileged process cannot read is trouble, by name; the rest is exported.
#[test]
fn unreadable() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(at("closed")).unwrap();
    fs::write(at("closed/inside"), "").unwrap();
    fs::create_dir(at("blind")).unwrap();
    fs::write(at("blind/inside"), "").unwrap();
    fs::write(at("secret"), "secret").unwrap();
    fs::write(at("zebra"), "readable").unwrap();
    for (name, mode) in [("closed", 0o000), ("blind", 0o444), ("secret", 0o000), ("zebra", 0o644)] {
        fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    let data = files(root.path(), &[]);
    // Credentials belong to threads, and threads inherit them: nobody else is affected.
    let unprivileged = std::thread::spawn(move || {
        let (user, group) = (rustix::thread::Uid::from_raw(65534), rustix::thread::Gid::from_raw(65534));
        rustix::thread::set_thread_groups(&[]).unwrap();
        rustix::thread::set_thread_res_gid(group, group, group).unwrap();
        rustix::thread::set_thread_res_uid(user, user, user).unwrap();
        let sink = Collect::of(&data);
        (sink.troubles.clone(), sink)
    });
    let (troubles, sink) = unprivileged.join().unwrap();
    let troubled: Vec<&[u8]> = troubles.iter().map(|(path, _)| path.as_slice()).collect();
    assert_eq!(troubled, [b"blind/inside".as_slice(), b"closed", b"secret"]);
    assert_eq!(*kind(&sink, b"closed"), Kind::Folder, "what is known of a closed folder is sent");
    assert_eq!(*kind(&sink, b"zebra"), Kind::File(b"readable".to_vec()));
}

fn open_folder(path: &Path) -> OwnedFd {
    rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap()
}

/// A path of 9,000 bytes, deeper than the kernel takes and than descriptors are kept open, with files on the way that
/// come after the deeper ones.
#[test]
fn deep() {
    let root = tempfile::tempdir().unwrap();
    let depth = 3_000;
    let mut at = open_folder(root.path());
    for _ in 0..depth {
        rustix::fs::mkdirat(&at, "dd", Mode::RWXU).unwrap();
        at = rustix::fs::openat(&at, "dd", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        let flags = OFlags::CREATE | OFlags::WRONLY;
        drop(rustix::fs::openat(&at, "zz", flags, Mode::RUSR).unwrap());
    }
    let sink = Collect::of(&files(root.path(), &[]));
    assert!(sink.troubles.is_empty(), "{:?}", sink.troubles.first());
    assert_eq!(sink.taken.len(), 1 + 2 * depth);
    let deepest = sink.taken.iter().map(|taken| taken.path.len()).max();
    assert_eq!(deepest, Some(3 * depth + 2));
    assert!(
        sink.taken
            .iter()
            .filter(|taken| taken.path.ends_with(b"zz"))
            .all(|taken| taken.kind == Kind::File(vec![]))
    );
    // The standard library removes by path or by recursion, which is not for such trees.
    assert!(Command::new("rm").arg("-r").arg(root.path().join("dd")).status().unwrap().success());
}

/// Counts only.
#[derive(Default)]
struct Count(usize, Vec<u8>);

impl Sink for Count {
    fn unchanged(&mut self, path: &[u8], _: &Stamp) -> Result<bool, Stop> {
        assert!(self.0 == 0 || recipes::data::compare_paths(&self.1, path).is_lt());
        self.1 = path.to_vec();
        self.0 += 1;
        Ok(true)
    }

    fn item(&mut self, _: Item) -> Result<(), Stop> {
        Err(Stop)
    }

    fn trouble(&mut self, path: &[u8], error: std::io::Error) {
        panic!("{path:?}: {error}");
    }
}

/// A hundred thousand files in one folder come in order.
#[test]
fn wide() {
    let root = tempfile::tempdir().unwrap();
    let at = open_folder(root.path());
    for number in 0..100_000u32 {
        let name = CString::new(format!("{}-{number}", number % 977)).unwrap();
        rustix::fs::mknodat(&at, &name, FileType::RegularFile, Mode::RUSR, 0).unwrap();
    }
    let mut sink = Count::default();
    files(root.path(), &[]).export(&mut sink).unwrap();
    assert_eq!(sink.0, 100_001);
}

/// While a folder is swapped with a symlink that leads outside, nothing of the outside is ever exported.
#[test]
fn swapped() {
    let base = tempfile::tempdir().unwrap();
    let at = |name: &str| base.path().join(name);
    fs::create_dir_all(at("outside/inner")).unwrap();
    fs::create_dir_all(at("root/folder/inner")).unwrap();
    for number in 0..50 {
        fs::write(at(&format!("outside/inner/{number}")), "outside").unwrap();
        fs::write(at(&format!("root/folder/inner/{number}")), "inside").unwrap();
    }
    symlink(at("outside"), at("link")).unwrap();
    let ended = AtomicBool::new(false);
    let (folder, link) = (at("root/folder"), at("link"));
    let data = files(&at("root"), &[]);
    let mut seen = [false; 2];
    std::thread::scope(|scope| {
        let ends = Ends(&ended);
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(CWD, &folder, CWD, &link, flags).unwrap();
            }
        });
        for _ in 0..300 {
            let mut sink = Collect::default();
            data.export(&mut sink).unwrap();
            for taken in &sink.taken {
                assert_ne!(taken.kind, Kind::File(b"outside".to_vec()), "{:?}", taken.path);
                seen[0] |= matches!(taken.kind, Kind::Symlink(_));
                seen[1] |= matches!(taken.kind, Kind::File(_));
            }
        }
        drop(ends);
    });
    assert_eq!(seen, [true, true], "both states were met");
}

/// A file that vanishes between listing and opening is NotFound, one that became a fifo or a symlink is an error.
#[test]
fn replaced_before_opening() {
    struct Swap<'a>(&'a Path, Vec<String>);
    impl Sink for Swap<'_> {
        fn unchanged(&mut self, _: &[u8], _: &Stamp) -> Result<bool, Stop> {
            Ok(false)
        }
        fn item(&mut self, item: Item) -> Result<(), Stop> {
            let Body::File { open, .. } = item.body else {
                return Ok(());
            };
            let path = self.0.join(OsStr::from_bytes(&item.path));
            fs::remove_file(&path).unwrap();
            match item.path.as_slice() {
                b"fifo" => rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::RUSR, 0).unwrap(),
                b"link" => symlink("/etc/passwd", &path).unwrap(),
                _ => {}
            }
            let error = open.open().err().expect("it is not what was listed");
            self.1.push(format!("{:?}", error.kind()));
            Ok(())
        }
        fn trouble(&mut self, path: &[u8], error: std::io::Error) {
            panic!("{path:?}: {error}");
        }
    }
    let root = tempfile::tempdir().unwrap();
    for name in ["fifo", "gone", "link"] {
        fs::write(root.path().join(name), name).unwrap();
    }
    let mut sink = Swap(root.path(), Vec::new());
    files(root.path(), &[]).export(&mut sink).unwrap();
    assert_eq!(sink.1, ["Other", "NotFound", "Other"]);
}

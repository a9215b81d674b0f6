//! From a real disk and back: the files recipe walks, a restore writes, and each attribute is compared.

use super::{opened, restored};
use archive::entry::Attributes;
use archive::export::item::{Body, Contents, Item, Opened, Stamp};
use archive::export::{Export, ExportReport};
use archive::local::state::Local;
use archive::read::restore::RestoreOptions;
use recipes::data::{self, Data, Sink, Stop};
use recipes::files::{Files, Settings};
use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use tests::chance::noise;
use tests::trial::Trial;

/// Hands what a recipe finds to an export, below the folder of the source.
struct Into {
    export: Export,
    failed: Option<archive::Error>,
}

struct Read(Arc<dyn data::Contents>);

fn time(time: data::Time) -> archive::entry::Time {
    archive::entry::Time { seconds: time.seconds, nanos: time.nanos }
}

fn stamp(stamp: &data::Stamp) -> Stamp {
    Stamp {
        device: stamp.device,
        inode: stamp.inode,
        size: stamp.size,
        mtime: time(stamp.mtime),
        ctime: time(stamp.ctime),
    }
}

fn attributes(attributes: data::Attributes) -> Attributes {
    let data::Attributes { mode, uid, gid, mtime, xattrs } = attributes;
    Attributes { mode, uid, gid, mtime: time(mtime), xattrs }
}

impl Contents for Read {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<(u64, u64)>> {
        self.0.next_data(offset)
    }

    fn stamp(&self) -> io::Result<Option<Stamp>> {
        self.0.stamp().map(|found| Some(stamp(&found)))
    }
}

fn named(path: &[u8]) -> Vec<u8> {
    if path.is_empty() { b"s".to_vec() } else { [b"s/", path].concat() }
}

impl Into {
    fn stop(&mut self, result: archive::Result<()>) -> Result<(), Stop> {
        result.map_err(|error| {
            self.failed = Some(error);
            Stop
        })
    }
}

impl Sink for Into {
    fn unchanged(&mut self, path: &[u8], found: &data::Stamp) -> Result<bool, Stop> {
        match self.export.keep(&named(path), &stamp(found)) {
            Ok(kept) => Ok(kept),
            Err(error) => self.stop(Err(error)).map(|()| false),
        }
    }

    fn item(&mut self, item: data::Item) -> Result<(), Stop> {
        let data::Item { path, attributes: found, stamp: at, body } = item;
        let body = match body {
            data::Body::Folder => Body::Folder,
            data::Body::Stream(stream) => Body::Stream(stream),
            data::Body::Symlink(to) => Body::Symlink(to),
            data::Body::HardLink(to) => Body::HardLink(named(&to)),
            data::Body::Fifo => Body::Fifo,
            data::Body::CharDevice { major, minor } => Body::CharDevice { major, minor },
            data::Body::BlockDevice { major, minor } => Body::BlockDevice { major, minor },
            data::Body::File { len, open } => {
                let open = move || {
                    let data::Opened { contents, attributes: found, stamp: at, len } = open.open()?;
                    let contents: Arc<dyn Contents> = Arc::new(Read(contents));
                    Ok(Opened { contents, attributes: attributes(found), stamp: Some(stamp(&at)), len })
                };
                Body::File { len, open: Box::new(open) }
            }
        };
        let added = self
            .export
            .add(Item { path: named(&path), attributes: attributes(found), stamp: at.as_ref().map(stamp), body });
        self.stop(added)
    }

    fn trouble(&mut self, path: &[u8], error: io::Error) {
        self.export.trouble(&named(path), &error.to_string());
    }
}

fn export(trial: &Trial, folder: &Path) -> ExportReport {
    let files = Files::new(Settings { paths: vec![folder.into()], ..Settings::default() }).unwrap();
    let export = Export::begin(trial.repository.clone(), Local::open(&trial.local()).unwrap(), trial.options.clone()).unwrap();
    let mut into = Into { export, failed: None };
    files.export(&mut into).unwrap_or_else(|error| panic!("{error}: {:?}", into.failed));
    into.export.finish().unwrap()
}

fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; 4096];
    let Ok(len) = rustix::fs::llistxattr(path, &mut names[..]) else { return BTreeMap::new() };
    let mut found = BTreeMap::new();
    for name in names[..len].split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 4096];
        let len = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
        found.insert(name.to_vec(), value[..len].to_vec());
    }
    found
}

/// All that must come back of a tree.
fn look(folder: &Path) -> BTreeMap<Vec<u8>, String> {
    let mut seen = BTreeMap::new();
    let mut first: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    for entry in walkdir::WalkDir::new(folder).sort_by_file_name() {
        let entry = entry.unwrap();
        let path = entry.path();
        let name = path.strip_prefix(folder).unwrap().as_os_str().as_encoded_bytes().to_vec();
        let found = path.symlink_metadata().unwrap();
        let content = if found.is_file() {
            blake3::hash(&std::fs::read(path).unwrap()).to_string()
        } else {
            format!("{:?}", std::fs::read_link(path).ok())
        };
        let twin =
            if found.nlink() > 1 && !found.is_dir() { first.entry(found.ino()).or_insert_with(|| name.clone()).clone() } else { vec![] };
        let len = if found.is_dir() { 0 } else { found.len() };
        seen.insert(
            name,
            format!(
                "{:o} {}:{} {len} {}.{} {} {content} {twin:?} {:?}",
                found.mode(),
                found.uid(),
                found.gid(),
                found.mtime(),
                found.mtime_nsec(),
                found.rdev(),
                xattrs(path)
            ),
        );
    }
    seen
}

/// Whether extended attributes can be set here; asked of the disk, not guessed.
fn takes(path: &Path, name: &str, value: &[u8]) -> bool {
    rustix::fs::lsetxattr(path, name, value, rustix::fs::XattrFlags::empty()).is_ok()
}

/// An ACL: owner rw, user 1234 r, group r, mask r, others nothing.
const ACL: [u8; 44] = [
    2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 210, 4, 0, 0, 4, 0, 4, 0, 255, 255, 255, 255, 16, 0, 4, 0, 255, 255, 255, 255,
    32, 0, 0, 0, 255, 255, 255, 255,
];

fn fill(folder: &Path) {
    let path = |name: &str| folder.join(name);
    std::fs::create_dir_all(path("sub/closed")).unwrap();
    std::fs::create_dir(path("sticky")).unwrap();
    std::fs::write(path("sub/file"), noise(1, 3_000_000)).unwrap();
    std::fs::write(path("sub/closed/file"), "inside").unwrap();
    std::fs::write(path("program"), "#!/bin/sh\n").unwrap();
    std::fs::write(path("empty"), "").unwrap();
    std::fs::write(folder.join(std::ffi::OsString::from_vec_of(b"\xff\xfe name\n")), "bytes").unwrap();
    std::fs::hard_link(path("sub/file"), path("sub/twin")).unwrap();
    symlink("sub/file", path("link")).unwrap();
    symlink("/no/such/place", path("dangling")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, path("fifo"), rustix::fs::FileType::Fifo, 0o620.into(), 0).unwrap();
    let modes = [
        ("program", 0o4755),
        ("empty", 0o000),
        ("sub/file", 0o640),
        ("sticky", 0o1777),
        ("sub/closed", 0o500),
        ("sub/closed/file", 0o400),
        ("fifo", 0o621),
    ];
    for (name, mode) in modes {
        std::fs::set_permissions(path(name), std::fs::Permissions::from_mode(mode)).unwrap();
    }
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(path("sub/file"), Some(1234), Some(2345)).unwrap();
        std::os::unix::fs::lchown(path("dangling"), Some(77), Some(88)).unwrap();
        std::os::unix::fs::chown(path("sticky"), Some(12), None).unwrap();
    }
    for name in ["sub/file", "sub", "program"] {
        let _ = takes(&path(name), "user.note", b"\0 any bytes \xff");
        let _ = takes(&path(name), "system.posix_acl_access", &ACL);
    }
    let _ = takes(&path("sub"), "system.posix_acl_default", &ACL);
    let old = rustix::fs::Timestamps {
        last_access: rustix::fs::Timespec { tv_sec: -5, tv_nsec: 7 },
        last_modification: rustix::fs::Timespec { tv_sec: -1000, tv_nsec: 999_999_999 },
    };
    rustix::fs::utimensat(rustix::fs::CWD, path("dangling"), &old, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
    rustix::fs::utimensat(rustix::fs::CWD, path("sub/closed"), &old, rustix::fs::AtFlags::empty()).unwrap();
}

trait OfBytes {
    fn from_vec_of(bytes: &[u8]) -> Self;
}

impl OfBytes for std::ffi::OsString {
    fn from_vec_of(bytes: &[u8]) -> Self {
        std::os::unix::ffi::OsStringExt::from_vec(bytes.to_vec())
    }
}

#[test]
fn everything_that_a_disk_holds_comes_back() {
    let (source, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let folder = source.path().join("data");
    std::fs::create_dir(&folder).unwrap();
    fill(&folder);
    let trial = Trial::new();
    // Long after the files were written, so that their times are proof.
    let changed = rustix::fs::stat(&folder).unwrap().st_ctime as u64;
    trial.clock.fetch_max((changed + 3600) * 1000, std::sync::atomic::Ordering::SeqCst);
    let report = export(&trial, &folder);
    assert!(report.troubles.is_empty() && report.torn.is_empty(), "{:?}", report.troubles);
    let report = restored(&trial, target.path(), &RestoreOptions::default());
    assert_eq!(report.problems, vec![]);
    let restored_folder = target.path().join("s");
    assert_eq!(look(&restored_folder), look(&folder));
    assert_eq!(look(&folder).len(), 13);
    // Unchanged, nothing is read; changed attributes are seen and come back.
    let again = export(&trial, &folder);
    assert_eq!(again.read_bytes, 0, "times two seconds old are proof");
    std::fs::set_permissions(folder.join("program"), std::fs::Permissions::from_mode(0o700)).unwrap();
    let _ = rustix::fs::removexattr(folder.join("sub/file"), "user.note");
    std::fs::remove_file(folder.join("link")).unwrap();
    symlink("program", folder.join("link")).unwrap();
    export(&trial, &folder);
    let report = restored(&trial, target.path(), &RestoreOptions { delete: Some(&|_| false), ..RestoreOptions::default() });
    assert_eq!(report.problems, vec![]);
    assert_eq!(report.bytes_written, 0, "only attributes differ");
    assert_eq!(look(&restored_folder), look(&folder));
}

#[test]
fn sparse_files_stay_sparse() {
    let (source, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let folder = source.path().join("data");
    std::fs::create_dir(&folder).unwrap();
    let sparse = |name: &str, len: u64, data: &[(u64, usize)]| {
        let file = std::fs::File::create(folder.join(name)).unwrap();
        file.set_len(len).unwrap();
        for (at, len) in data {
            std::os::unix::fs::FileExt::write_all_at(&file, &noise(*at, *len), *at).unwrap();
        }
    };
    sparse("end", 300 << 20, &[((300 << 20) - 5000, 5000)]);
    sparse("begin", 200 << 20, &[(0, 100_000)]);
    sparse("middle", 200 << 20, &[(77 << 20, 1 << 20), (150_000_001, 10)]);
    sparse("nothing", 1 << 30, &[]);
    sparse("little", 100_000, &[]);
    let trial = Trial::new();
    let report = export(&trial, &folder);
    assert!(report.stored_bytes < 2 << 20, "holes are stored nowhere: {}", report.stored_bytes);
    let report = restored(&trial, target.path(), &RestoreOptions::default());
    assert_eq!(report.problems, vec![]);
    for name in ["end", "begin", "middle", "nothing", "little"] {
        let (before, after) = (folder.join(name), target.path().join("s").join(name));
        let (a, b) = (before.metadata().unwrap(), after.metadata().unwrap());
        assert_eq!(a.len(), b.len());
        assert!(b.blocks() <= a.blocks() + 64, "{name}: {} blocks for {}", b.blocks(), a.blocks());
        assert_eq!(blake3::hash(&std::fs::read(before).unwrap()), blake3::hash(&std::fs::read(after).unwrap()), "{name}");
    }
    opened(&trial, |opened| assert_eq!(opened.snapshot.body.content_bytes, (1724 << 20) + 100_000));
}

#[test]
fn very_deep_folders_come_back() {
    use std::os::fd::{AsFd, OwnedFd};
    let (source, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let folder = source.path().join("data");
    std::fs::create_dir(&folder).unwrap();
    let depth = 1500;
    let open = |at: &dyn AsFd, name: &str| -> OwnedFd {
        rustix::fs::openat(at.as_fd(), name, rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty()).unwrap()
    };
    let mut at = open(&rustix::fs::CWD, folder.to_str().unwrap());
    for _ in 0..depth {
        rustix::fs::mkdirat(&at, "deep", 0o755.into()).unwrap();
        at = open(&at, "deep");
    }
    let flags = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY;
    let file = rustix::fs::openat(&at, "file", flags, 0o644.into()).unwrap();
    rustix::io::write(&file, b"at the end").unwrap();
    let trial = Trial::new();
    let report = export(&trial, &folder);
    assert!(report.troubles.is_empty(), "{:?}", report.troubles.len());
    let report = restored(&trial, target.path(), &RestoreOptions::default());
    let whys: Vec<_> = report.problems.iter().map(|problem| problem.why.clone()).take(3).collect();
    assert_eq!(whys, Vec::<String>::new(), "{} problems", report.problems.len());
    let mut at = open(&rustix::fs::CWD, target.path().join("s").to_str().unwrap());
    for _ in 0..depth {
        at = open(&at, "deep");
    }
    let file = rustix::fs::openat(&at, "file", rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty()).unwrap();
    let mut bytes = [0; 20];
    let len = rustix::io::read(&file, &mut bytes).unwrap();
    assert_eq!(&bytes[..len], b"at the end");
}

//! A tree in memory, to export and to compare with what was restored.

use archive::entry::{Attributes, Time, compare};
use archive::export::item::{Body, Contents, Item, Opened, Stamp};
use archive::export::{Export, ExportOptions, ExportReport};
use archive::local::state::Local;
use archive::repository::Repository;
use std::collections::BTreeMap;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plain {
    Folder,
    File(Arc<Vec<u8>>),
    Symlink(Vec<u8>),
    HardLink(Vec<u8>),
    Fifo,
}

/// A path in the order of the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(pub Vec<u8>);

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        compare(&self.0, &other.0)
    }
}

/// A tree. The version of each entry stands for its times: a change must raise it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlainTree {
    pub entries: BTreeMap<Name, (Plain, u64)>,
    clock: u64,
}

struct Bytes(Arc<Vec<u8>>);

impl Contents for Bytes {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = self.0.get(offset as usize..).unwrap_or_default();
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<(u64, u64)>> {
        Ok((offset < self.0.len() as u64).then_some((offset, self.0.len() as u64)))
    }

    fn stamp(&self) -> io::Result<Option<Stamp>> {
        Ok(None)
    }
}

impl PlainTree {
    /// A tree with the folder of one source.
    pub fn new(source: &str) -> Self {
        let mut tree = PlainTree::default();
        tree.put(source, Plain::Folder);
        tree
    }

    /// Puts something at a path; parents must be there.
    pub fn put(&mut self, path: impl AsRef<[u8]>, what: Plain) {
        self.clock += 1;
        self.entries.insert(Name(path.as_ref().to_vec()), (what, self.clock));
    }

    pub fn file(&mut self, path: impl AsRef<[u8]>, content: impl Into<Vec<u8>>) {
        self.put(path, Plain::File(Arc::new(content.into())));
    }

    /// Removes a path and what is below it.
    pub fn remove(&mut self, path: &[u8]) {
        self.entries.retain(|name, _| !archive::entry::lies_in(&name.0, path));
    }

    pub fn files(&self) -> Vec<Vec<u8>> {
        let files = self.entries.iter().filter(|(_, (what, _))| matches!(what, Plain::File(_)));
        files.map(|(name, _)| name.0.clone()).collect()
    }

    pub fn content(&self, path: &[u8]) -> Option<&Arc<Vec<u8>>> {
        match self.entries.get(&Name(path.to_vec())) {
            Some((Plain::File(content), _)) => Some(content),
            _ => None,
        }
    }

    fn stamp(version: u64, what: &Plain) -> Stamp {
        let time = Time { seconds: 1_600_000_000 + version as i64, nanos: 5 };
        let size = if let Plain::File(content) = what { content.len() as u64 } else { 0 };
        Stamp { device: 1, inode: version, size, mtime: time, ctime: time }
    }

    fn attributes(version: u64, what: &Plain) -> Attributes {
        let mode = if matches!(what, Plain::Folder) { 0o755 } else { 0o640 };
        Attributes {
            mode,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            mtime: Self::stamp(version, what).mtime,
            xattrs: vec![],
        }
    }

    /// Walks the tree into an export.
    pub fn walk(&self, export: &mut Export) -> archive::Result<()> {
        for (name, (what, version)) in &self.entries {
            let stamp = Self::stamp(*version, what);
            if !matches!(what, Plain::HardLink(_)) && export.keep(&name.0, &stamp)? {
                continue;
            }
            let attributes = Self::attributes(*version, what);
            let body = match what {
                Plain::Folder => Body::Folder,
                Plain::Symlink(to) => Body::Symlink(to.clone()),
                Plain::HardLink(to) => Body::HardLink(to.clone()),
                Plain::Fifo => Body::Fifo,
                Plain::File(content) => {
                    let (content, attributes) = (content.clone(), attributes.clone());
                    let len = content.len() as u64;
                    let open = move || Ok(Opened { contents: Arc::new(Bytes(content)) as Arc<dyn Contents>, attributes, stamp: None, len });
                    Body::File { len, open: Box::new(open) }
                }
            };
            export.add(Item { path: name.0.clone(), attributes, stamp: Some(stamp), body })?;
        }
        Ok(())
    }

    /// Exports the tree.
    pub fn export(&self, repository: &Arc<Repository>, local: &Path, options: &ExportOptions) -> archive::Result<ExportReport> {
        let mut export = Export::begin(repository.clone(), Local::open(local)?, options.clone())?;
        self.walk(&mut export)?;
        export.finish()
    }

    /// Reads a tree from disk; versions are not known.
    pub fn read(folder: &Path) -> Self {
        let mut tree = PlainTree::default();
        let mut inodes: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        let mut found: Vec<Name> = Vec::new();
        for entry in walkdir::WalkDir::new(folder).min_depth(1) {
            let entry = entry.expect("the restored tree is readable");
            let path = entry.path().strip_prefix(folder).expect("it lies below").as_os_str().as_bytes().to_vec();
            found.push(Name(path));
        }
        found.sort();
        for name in found {
            let path = folder.join(std::ffi::OsStr::from_bytes(&name.0));
            let metadata = path.symlink_metadata().expect("it was listed");
            let kind = metadata.file_type();
            let what = if kind.is_dir() {
                Plain::Folder
            } else if kind.is_symlink() {
                Plain::Symlink(std::fs::read_link(&path).expect("it is a link").into_os_string().into_vec())
            } else if kind.is_fifo() {
                Plain::Fifo
            } else if let Some(first) = inodes.get(&metadata.ino()).filter(|_| metadata.nlink() > 1) {
                Plain::HardLink(first.clone())
            } else {
                inodes.insert(metadata.ino(), name.0.clone());
                assert_eq!(metadata.permissions().mode() & 0o7777, 0o640);
                Plain::File(Arc::new(std::fs::read(&path).expect("it is readable")))
            };
            tree.entries.insert(name, (what, 0));
        }
        tree
    }

    /// Asserts that two trees are equal, and says where they are not.
    pub fn assert_same(&self, other: &PlainTree, what: &str) {
        let names = |tree: &PlainTree| tree.entries.keys().map(|name| archive::entry::display(&name.0)).collect::<Vec<_>>();
        assert_eq!(names(self), names(other), "{what}: other paths");
        for (name, (mine, _)) in &self.entries {
            let theirs = &other.entries[name].0;
            assert!(mine == theirs, "{what}: {} differs", archive::entry::display(&name.0));
        }
    }
}

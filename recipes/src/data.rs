//! What a recipe for data is: it lets the data be seen as a tree of items, and takes such a tree back.
//!
//! Export pushes items into a `Sink`, in one order that is the same for every run, so that the receiver can go through
//! its last index beside it. Contents are opened late, on whatever thread reads them. Import is in three steps: the
//! recipe gives places, the caller writes the tree there, the recipe switches (`Staging::commit`). Until the switch the
//! data is as it was; a staging that is dropped leaves it so.
//!
//! What holds of every export:
//! - Items come by path, compared as bytes with `/` taken as 0: a folder before its content, siblings by name.
//! - Paths are relative to the source. The empty path is the source's own root folder.
//! - Every folder on the way to an item comes before it.
//!
//! Recipes know nothing of segments, extents or snapshots.

pub mod conform;

use std::io::{self, Read};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Error;

/// A point in time as the file system keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time {
    pub seconds: i64,
    pub nanos: u32,
}

/// What tells cheaply whether a file may have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stamp {
    pub device: u64,
    pub inode: u64,
    pub size: u64,
    pub mtime: Time,
    pub ctime: Time,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attributes {
    /// Permissions, setuid, setgid and sticky; not the kind of the file.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: Time,
    /// Sorted by name. ACLs are among them, as `system.posix_acl_*`. Empty for regular files: see `Opened`.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

pub enum Body {
    Folder,
    File {
        len: u64,
        open: Box<dyn Open>,
    },
    /// Bytes that can be read once, whose length is not known before.
    Stream(Box<dyn Read + Send>),
    Symlink(Vec<u8>),
    /// One more name of the file whose path this is. That file came earlier in the same export.
    HardLink(Vec<u8>),
    Fifo,
    CharDevice {
        major: u32,
        minor: u32,
    },
    BlockDevice {
        major: u32,
        minor: u32,
    },
}

/// A file that can be opened later, on another thread, while the export goes on.
pub trait Open: Send {
    /// `NotFound` means that it vanished since it was listed, which is no trouble.
    fn open(self: Box<Self>) -> io::Result<Opened>;
}

/// An open file, and what is true of the very file that was opened: it may have replaced the one that was listed, so
/// these attributes are the ones to keep beside its contents.
pub struct Opened {
    pub contents: Arc<dyn Contents>,
    pub attributes: Attributes,
    pub stamp: Stamp,
    pub len: u64,
}

pub trait Contents: Send + Sync {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// The next range (start, end) that holds data, at or after `offset`; what lies between such ranges is a hole.
    fn next_data(&self, offset: u64) -> io::Result<Option<(u64, u64)>>;

    /// The stamp as it is now. One that differs from the stamp at opening says that the file changed while it was read.
    fn stamp(&self) -> io::Result<Stamp>;
}

pub struct Item {
    pub path: Vec<u8>,
    pub attributes: Attributes,
    /// None where there is no cheap way to tell a change.
    pub stamp: Option<Stamp>,
    pub body: Body,
}

/// The receiver wants no more. Why, it knows itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stop;

/// Receives an export.
pub trait Sink {
    /// Whether what the receiver has of `path` still holds, so that no item need be made. Only true when it has an
    /// entry of the same stamp that is not a hard link: hard links are always sent again.
    fn unchanged(&mut self, path: &[u8], stamp: &Stamp) -> Result<bool, Stop>;

    fn item(&mut self, item: Item) -> Result<(), Stop>;

    /// `path` could not be read, nor what lies below it; the rest goes on. It is not deleted: what the receiver has of
    /// it should stay. The run ends as done in part.
    fn trouble(&mut self, path: &[u8], error: io::Error);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Worth knowing.
    Note,
    /// It works, but not as one might expect.
    Warning,
    /// It will not work.
    Fault,
}

/// One thing found by a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub level: Level,
    pub what: String,
    pub hint: Option<String>,
}

impl Finding {
    pub fn new(level: Level, what: impl Into<String>) -> Finding {
        Finding { level, what: what.into(), hint: None }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Finding {
        self.hint = Some(hint.into());
        self
    }
}

/// How a place becomes the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// What is written there becomes visible in one step at commit.
    Switch,
    /// The place is the data itself: what is written is visible at once, and commit deletes what is gone.
    InPlace,
}

/// Where the caller writes one part of the tree: every item whose path is `prefix` or lies below it goes to
/// `folder`/path, with its whole path (so an empty prefix means everything, and the empty path is `folder` itself).
/// `folder` exists. Where `mode` is `InPlace` it may hold entries of other kinds, to be replaced without following
/// symlinks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub prefix: Vec<u8>,
    pub folder: PathBuf,
    pub mode: Mode,
}

/// An import between its first and its last step. Dropped, it leaves the data as it was.
pub trait Staging {
    fn places(&self) -> &[Place];

    /// A tree of the same shape as the place of this number, which goes for good when that one is switched: files that are there as they should be may be taken from it,
    /// by one more name.
    fn leaves(&self, _place: usize) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Does what takes long, and finds out whether the rest can be done, while the data is as it was: a dataset's sources are prepared one after the other, and
    /// only then switched. Called once, when everything was written into the places.
    fn prepare(&mut self) -> Result<(), Error> {
        Ok(())
    }

    /// Makes what was written the data. `holds` says whether the imported tree has an entry of that path; it is asked
    /// only where a place is `InPlace`.
    fn commit(self: Box<Self>, holds: &mut dyn FnMut(&[u8]) -> bool) -> Result<Vec<Finding>, Error>;
}

/// One kind of data. Every implementation passes `conform::suite`.
pub trait Data: Send + Sync {
    /// Whether everything needed is in place. Changes nothing.
    fn check(&self) -> Result<Vec<Finding>, Error>;

    /// Pushes every item. A source that is missing is an error, never an empty export.
    fn export(&self, sink: &mut dyn Sink) -> Result<(), Error>;

    /// Begins an import, after finishing or undoing one that was interrupted.
    fn stage(&self) -> Result<Box<dyn Staging>, Error>;

    /// Takes back the last import: what was before it is the data again.
    fn rollback(&self) -> Result<Vec<Finding>, Error>;

    /// Asks something of the data as it is now, changing nothing; well answered when the first column of each row is true, and there is one. Of this
    /// database, which may be left out where there is one. `None` where nothing can be asked.
    fn ask(&self, _database: Option<&str>, _question: &str) -> Option<Result<(), Error>> {
        None
    }

    /// What can be done with it besides, where it stands behind a server.
    fn served(&self) -> Option<&dyn Served> {
        None
    }
}

/// Data behind a server: it must not be written by anybody while this node stands by, and what was captured of it can be loaded beside what is there.
pub trait Served {
    /// Sees to it that nobody but imports writes, whether the server runs or is about to be started. Done again and again, it does no more.
    fn guard(&self) -> Result<Vec<Finding>, Error>;

    /// Takes the guard away: this node's data is the one that counts from here on.
    fn lift(&self) -> Result<Vec<Finding>, Error>;

    /// The paths that a part needs, by the manifest in this folder.
    fn needs(&self, folder: &Path, part: &Part) -> Result<Vec<Vec<u8>>, Error>;

    /// Loads what was written into this folder beside what is there, compares it with what was exported, asks the questions of it, and removes it again.
    fn rehearse(&self, folder: &Path, questions: &[String]) -> Result<Vec<Finding>, Error>;

    /// Loads a part of what was written into this folder, as a database of its own, or writes it as SQL.
    fn bring(&self, folder: &Path, part: &Part, to: To<'_>) -> Result<Vec<Finding>, Error>;
}

/// What of a source's databases.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Part {
    /// May be left out where there is only one.
    pub database: Option<String>,
    /// All, where there are none. With a schema before a dot, or without.
    pub tables: Vec<String>,
}

/// Where a part goes.
pub enum To<'a> {
    /// A database of this name, which must not be there.
    Database(&'a str),
    Sql(&'a mut (dyn io::Write + Send)),
}

/// Compares paths in the order of an export.
pub fn compare_paths(a: &[u8], b: &[u8]) -> std::cmp::Ordering {
    let key = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
    a.iter().map(key).cmp(b.iter().map(key))
}

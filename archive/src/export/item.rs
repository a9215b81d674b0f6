//! What a caller hands to an export: entries in order, and how to read their content later, on another thread.

use crate::entry::{Attributes, Time};
use std::io::{self, Read};
use std::sync::Arc;

/// What tells that something did not change since it was last read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    pub device: u64,
    pub inode: u64,
    pub size: u64,
    pub mtime: Time,
    pub ctime: Time,
}

/// A file's content, read in any order.
pub trait Contents: Send + Sync {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// The next stretch that is no hole, from `offset` on: its beginning and end.
    fn next_data(&self, offset: u64) -> io::Result<Option<(u64, u64)>>;

    /// The stamp as it is now, to see whether the file changed while it was read. `None` when that cannot be told.
    fn stamp(&self) -> io::Result<Option<Stamp>>;
}

/// A file that was opened, with what was true of it then.
pub struct Opened {
    pub contents: Arc<dyn Contents>,
    pub attributes: Attributes,
    pub stamp: Option<Stamp>,
    pub len: u64,
}

/// Opens a file when its turn comes.
pub type Open = Box<dyn FnOnce() -> io::Result<Opened> + Send>;

pub enum Body {
    Folder,
    File {
        /// As it was when listed; the content decides.
        len: u64,
        open: Open,
    },
    /// Content that is read once, in order.
    Stream(Box<dyn Read + Send>),
    Symlink(Vec<u8>),
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

/// Something in the tree.
pub struct Item {
    pub path: Vec<u8>,
    pub attributes: Attributes,
    pub stamp: Option<Stamp>,
    pub body: Body,
}

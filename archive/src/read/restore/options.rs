//! What a restore is told, and what it tells.

use crate::entry::{self, Entry, Node};
use crate::error::Result;
use crate::read::open::OpenSnapshot;
use std::os::fd::BorrowedFd;

/// How to restore.
pub struct RestoreOptions<'a> {
    /// This folder of the snapshot is the target itself: only what lies in it counts, and paths begin behind it. The snapshot's own root when empty.
    pub within: Vec<u8>,
    /// Only these paths and what lies below them; all when empty.
    pub paths: Vec<Vec<u8>>,
    /// Remove what the snapshot does not have, except where this says to keep it.
    pub delete: Option<&'a (dyn Fn(&[u8]) -> bool + Sync)>,
    /// A tree that is about to go: files that are there as they should be are taken from it.
    pub like: Option<BorrowedFd<'a>>,
    pub threads: usize,
    /// Hears of bytes as they are done.
    pub advance: &'a (dyn Fn(u64) + Sync),
}

impl Default for RestoreOptions<'_> {
    fn default() -> Self {
        RestoreOptions { within: vec![], paths: vec![], delete: None, like: None, threads: crate::threads(), advance: &|_| () }
    }
}

impl RestoreOptions<'_> {
    /// Calls `each` for every entry that counts, with its path as it is below the target.
    pub(super) fn entries(&self, snapshot: &OpenSnapshot<'_>, each: &mut dyn FnMut(Entry) -> Result<()>) -> Result<()> {
        snapshot.entries(self.threads, &mut |mut entry| {
            let Some(path) = behind(&entry.path, &self.within) else { return Ok(()) };
            entry.path = path.to_vec();
            if let Node::HardLink(to) = &mut entry.node {
                // What leads out of it leads nowhere.
                *to = behind(to, &self.within).unwrap_or_default().to_vec();
            }
            each(entry)
        })
    }

    /// Whether it was asked for, or lies in what was.
    pub(super) fn wants(&self, path: &[u8]) -> bool {
        self.paths.is_empty() || self.paths.iter().any(|wanted| entry::lies_in(path, wanted))
    }
}

/// A path behind that of the folder it lies in; none when it lies elsewhere.
fn behind<'p>(path: &'p [u8], folder: &[u8]) -> Option<&'p [u8]> {
    let inside = entry::lies_in(path, folder);
    let skip = if folder.is_empty() || path.len() == folder.len() { folder.len() } else { folder.len() + 1 };
    inside.then(|| &path[skip..])
}

/// Something that could not be restored, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub path: Vec<u8>,
    pub why: String,
}

/// What a restore did.
#[derive(Clone, Debug, Default)]
pub struct RestoreReport {
    pub entries: u64,
    pub files_written: u64,
    pub files_kept: u64,
    pub bytes_written: u64,
    pub removed: u64,
    pub problems: Vec<Problem>,
    /// Files that changed while they were captured.
    pub torn: Vec<Vec<u8>>,
}

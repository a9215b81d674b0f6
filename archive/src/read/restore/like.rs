//! Files that are taken from a tree that was restored before, in place of being written again.
//!
//! A file that is there with the right length, time, owner and permissions, and whose digest is right, gets one more name, in the tree that is being restored: it is read, and
//! neither decoded nor written. What is written to the one is then written to the other, so the tree that files are taken from must be one that is about to go.

use super::file::digest_of_file;
use super::last_part;
use crate::entry::{self, Attributes, Entry, Node};
use crate::read::tree::{self, Owners, Tree};
use rustix::fs::{AtFlags, CWD, FileType, Stat, fstat};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// The tree that files are taken from.
pub(super) struct Like {
    tree: Tree,
    /// The folder of the last file: it stays open for all files in it.
    folder: Option<(Vec<u8>, OwnedFd)>,
}

impl Like {
    pub fn new(tree: BorrowedFd<'_>) -> io::Result<Like> {
        Ok(Like { tree: Tree::of(tree.try_clone_to_owned()?), folder: None })
    }

    /// Gives a file its place, if it is there as it should be. `false` when it is to be written.
    pub fn take(&mut self, entry: &Entry, into: BorrowedFd<'_>, owners: Owners) -> bool {
        // Whatever is in the way of it, is not in the way of writing.
        self.try_take(entry, into, owners).unwrap_or(false)
    }

    fn try_take(&mut self, entry: &Entry, into: BorrowedFd<'_>, owners: Owners) -> io::Result<bool> {
        let Entry { path, attributes, node: Node::File(content) } = entry else { return Ok(false) };
        if content.len == 0 {
            return Ok(false);
        }
        let file = tree::open_file(self.below(entry::parent(path))?, last_part(path), false)?;
        let before = fstat(&file)?;
        let right = before.st_nlink == 1 && before.st_size as u64 == content.len && has(&file, &before, attributes, owners)?;
        if !right || digest_of_file(&file, content.len)? != content.digest {
            return Ok(false);
        }
        // The very file that was read, whatever has its name by now.
        let read = format!("/proc/self/fd/{}", file.as_raw_fd());
        rustix::fs::linkat(CWD, read, into, last_part(path), AtFlags::SYMLINK_FOLLOW)?;
        let after = fstat(&file)?;
        let same = |stat: &Stat| (stat.st_size, stat.st_mtime, stat.st_mtime_nsec, stat.st_mode, stat.st_uid, stat.st_gid);
        if same(&before) == same(&after) && after.st_nlink == 2 {
            return Ok(true);
        }
        tree::remove(into, last_part(path))?;
        Ok(false)
    }

    fn below(&mut self, path: &[u8]) -> io::Result<BorrowedFd<'_>> {
        if self.folder.as_ref().is_none_or(|(known, _)| known != path) {
            self.folder = Some((path.to_vec(), self.tree.folder(path)?));
        }
        self.folder.as_ref().map(|(_, fd)| fd.as_fd()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// Whether a file has these attributes, and no others that a restore would take away.
fn has(file: &File, stat: &Stat, attributes: &Attributes, owners: Owners) -> io::Result<bool> {
    let Attributes { mode, uid, gid, mtime, xattrs } = attributes;
    let same = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        && stat.st_mode & 0o7777 == *mode
        && (stat.st_mtime, stat.st_mtime_nsec) == (mtime.seconds, u64::from(mtime.nanos))
        && (!owners.0 || (stat.st_uid, stat.st_gid) == (*uid, *gid));
    Ok(same && tree::has_xattrs(file.as_fd(), xattrs)?)
}

//! Files that are taken from a tree that was restored before, in place of being written again.
//!
//! Of each file of a tree that was restored, a tag is remembered: of its path, content and attributes as the snapshot has them, and of what the file system says of it. As long as a
//! file still gives a tag that is known, nobody wrote to it or changed it since it was checked, for that would change its ctime. Such a file gets one more name, in the
//! tree that is being restored; nothing is read, decoded or written for it.
//!
//! What is written to the one is then written to the other, so the tree that files are taken from must be one that is about to go. And since a file's ctime changes with
//! each name that it gets or loses, tags are remembered when that tree is gone.

use super::options::{RestoreOptions, behind};
use crate::digest;
use crate::entry::{self, Entry, Node};
use crate::error::{Error, Result};
use crate::read::open::OpenSnapshot;
use crate::read::tree::{self, Tree};
use rustix::fs::{AtFlags, FileType, Stat};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

type Tag = [u8; 16];

/// Of more files than this no tags are kept: they are written anew.
const TAGS_MAX: usize = 1_000_000;

const MAGIC: &[u8] = b"resilient files as restored 1\n";

/// What is remembered of the files of a tree, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tags(Vec<Tag>);

impl Tags {
    /// Looks at what was restored by `options`, which now lies at `tree`, without the part of its paths that is `strip`.
    pub fn of(snapshot: &OpenSnapshot<'_>, options: &RestoreOptions<'_>, tree: &Path, strip: &[u8]) -> Result<Tags> {
        let tree = Tree::existing(tree).map_err(Error::file("open", tree))?;
        let (mut tags, mut folder) = (Tags::default(), Folder::default());
        options.entries(snapshot, &mut |entry| {
            let Some(path) = behind(&entry.path, strip) else { return Ok(()) };
            if !options.wants(&entry.path) || tags.0.len() >= TAGS_MAX {
                return Ok(());
            }
            // What cannot be looked at is written again, the next time.
            if let Ok(Some(tag)) = folder.below(&tree, entry::parent(path)).and_then(|folder| tag(&entry, &look(folder, path)?)) {
                tags.0.push(tag);
            }
            Ok(())
        })?;
        tags.0.sort_unstable();
        Ok(tags)
    }

    fn has(&self, tag: &Tag) -> bool {
        self.0.binary_search(tag).is_ok()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(MAGIC.len() + self.0.len() * size_of::<Tag>());
        bytes.extend_from_slice(MAGIC);
        self.0.iter().for_each(|tag| bytes.extend_from_slice(tag));
        bytes
    }

    /// Anything else than what was written is no tag of any file.
    pub fn from_bytes(bytes: &[u8]) -> Tags {
        let (tags, _) = bytes.strip_prefix(MAGIC).unwrap_or_default().as_chunks();
        let mut tags: Vec<Tag> = tags.iter().take(TAGS_MAX).copied().collect();
        tags.sort_unstable();
        Tags(tags)
    }
}

/// A folder stays open for all files in it.
#[derive(Default)]
struct Folder(Option<(Vec<u8>, OwnedFd)>);

impl Folder {
    fn below(&mut self, tree: &Tree, path: &[u8]) -> io::Result<BorrowedFd<'_>> {
        if self.0.as_ref().is_none_or(|(known, _)| known != path) {
            self.0 = Some((path.to_vec(), tree.folder(path)?));
        }
        self.0.as_ref().map(|(_, fd)| fd.as_fd()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

fn look(folder: BorrowedFd<'_>, path: &[u8]) -> io::Result<Stat> {
    Ok(rustix::fs::statat(folder, super::last_part(path), AtFlags::SYMLINK_NOFOLLOW)?)
}

/// None for what is no file of its own with that length and time.
fn tag(entry: &Entry, stat: &Stat) -> io::Result<Option<Tag>> {
    let Node::File(content) = &entry.node else { return Ok(None) };
    let Entry { path, attributes, .. } = entry;
    let time = (attributes.mtime.seconds, u64::from(attributes.mtime.nanos));
    let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    if !is_file || stat.st_nlink != 1 || stat.st_size as u64 != content.len || (stat.st_mtime, stat.st_mtime_nsec) != time {
        return Ok(None);
    }
    let mut bytes = Vec::with_capacity(256);
    let mut words = |part: &[u8]| {
        bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
        bytes.extend_from_slice(part);
    };
    words(path);
    words(&content.digest.0);
    attributes.xattrs.iter().for_each(|(name, value)| {
        words(name);
        words(value);
    });
    let asked = [content.len, attributes.mode.into(), attributes.uid.into(), attributes.gid.into(), time.0 as u64, time.1];
    let found = [stat.st_ino, stat.st_mode.into(), stat.st_uid.into(), stat.st_gid.into(), stat.st_ctime as u64, stat.st_ctime_nsec];
    [asked, found].iter().flatten().for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
    let mut tag = Tag::default();
    tag.copy_from_slice(&digest::sha256(&bytes).0[..size_of::<Tag>()]);
    Ok(Some(tag))
}

/// The tree that files are taken from.
pub(super) struct Like<'a> {
    tree: Tree,
    tags: &'a Tags,
    folder: Folder,
}

impl<'a> Like<'a> {
    /// None where there is no such tree.
    pub fn open(tree: &Path, tags: &'a Tags) -> Option<Like<'a>> {
        Some(Like { tree: Tree::existing(tree).ok()?, tags, folder: Folder::default() })
    }

    /// Gives a file its place, if it is there and as it was. `false` when it is to be written.
    pub fn take(&mut self, entry: &Entry, into: BorrowedFd<'_>) -> bool {
        self.try_take(entry, into).unwrap_or(false)
    }

    fn try_take(&mut self, entry: &Entry, into: BorrowedFd<'_>) -> io::Result<bool> {
        let (path, name) = (&entry.path, super::last_part(&entry.path));
        let folder = self.folder.below(&self.tree, entry::parent(path))?;
        let stat = look(folder, path)?;
        if tag(entry, &stat)?.is_none_or(|tag| !self.tags.has(&tag)) {
            return Ok(false);
        }
        rustix::fs::linkat(folder, name, into, name, AtFlags::empty())?;
        // It may have been replaced since it was looked at.
        let taken = look(into, path)?;
        if (taken.st_ino, taken.st_size, taken.st_mtime, taken.st_mtime_nsec)
            == (stat.st_ino, stat.st_size, stat.st_mtime, stat.st_mtime_nsec)
        {
            return Ok(true);
        }
        tree::remove(into, name)?;
        Ok(false)
    }
}

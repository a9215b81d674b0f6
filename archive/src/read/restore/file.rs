//! One file that is being restored: written beside what is in its place, checked against its digest, put in its place.
//!
//! Its blocks come in any order and from several threads; hashes of blocks are handed over in order, so no thread reads a file again at the end.

use super::last_part;
use crate::digest::{self, BLOCK, OfBlocks};
use crate::entry::{Attributes, Content, Entry, Node};
use crate::id::Hash;
use crate::read::tree::{self, Found, Owners};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// A folder that files are made in.
pub(super) struct Below {
    pub fd: OwnedFd,
    /// Whose the files are that are made in it, once one was.
    owner: OnceLock<(u32, u32)>,
}

impl Below {
    pub fn new(fd: OwnedFd) -> Self {
        Below { fd, owner: OnceLock::new() }
    }

    /// Whose a file is that was just made in it: the first one tells it of all.
    fn owner_of(&self, file: &File) -> io::Result<(u32, u32)> {
        if let Some(owner) = self.owner.get() {
            return Ok(*owner);
        }
        let stat = rustix::fs::fstat(file)?;
        Ok(*self.owner.get_or_init(|| (stat.st_uid, stat.st_gid)))
    }
}

/// Opens the folder that a file belongs in.
pub(super) type Folder<'a> = &'a dyn Fn() -> io::Result<Arc<Below>>;

pub(super) struct FileJob {
    pub path: Vec<u8>,
    pub attributes: Attributes,
    pub content: Content,
    /// What is in its place now.
    pub found: Option<Found>,
    /// Of the blocks of earlier windows.
    digest: Mutex<Option<Box<OfBlocks>>>,
    file: Mutex<Option<Arc<File>>>,
    failure: Mutex<Option<String>>,
}

/// Nothing longer is restored: the digest of so many empty blocks alone takes minutes.
const LEN_MAX: u64 = 64 << 40;

/// The name under which a file is written that replaces another.
const BESIDE: &[u8] = b".resilient-restoring-";

/// The name of what will replace the file of this name.
pub(super) fn beside(name: &[u8]) -> Vec<u8> {
    let short = digest::sha256(name);
    [BESIDE, crate::id::hex(&short.0[..8]).as_bytes()].concat()
}

impl FileJob {
    pub fn new(entry: Entry, found: Option<Found>) -> Self {
        let Entry { path, attributes, node } = entry;
        let Node::File(content) = node else { unreachable!("only files are jobs") };
        FileJob {
            path,
            attributes,
            found,
            digest: Mutex::default(),
            file: Mutex::default(),
            failure: Mutex::default(),
            content,
        }
    }

    /// What it takes in memory, about.
    pub fn weight(&self) -> usize {
        let xattrs: usize = self.attributes.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.path.len() + self.content.list.bytes() + xattrs
    }

    /// Why it is not restored at all, if so.
    pub fn is_impossible(&self) -> bool {
        self.content.len > LEN_MAX
    }

    pub fn fail(&self, why: impl std::fmt::Display) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| why.to_string());
    }

    pub fn has_failed(&self) -> bool {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    pub fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn written_name(&self) -> Vec<u8> {
        let name = last_part(&self.path);
        if self.found.is_some() { beside(name) } else { name.to_vec() }
    }

    /// Whether what is in its place has the right length and time and content already.
    pub fn is_there(&self, folder: BorrowedFd<'_>, owners: Owners) -> io::Result<bool> {
        let Some(found) = self.found else { return Ok(false) };
        if found.len != self.content.len || found.mtime != self.attributes.mtime {
            return Ok(false);
        }
        let file = tree::open_file(folder, last_part(&self.path), false)?;
        if self.content.len > 0 && digest_of_file(&file, self.content.len)? != self.content.digest {
            return Ok(false);
        }
        let same =
            found.mode == self.attributes.mode && (!owners.0 || (found.uid == self.attributes.uid && found.gid == self.attributes.gid));
        tree::drop_xattrs(file.as_fd(), &self.attributes.xattrs)?;
        if !same || !self.attributes.xattrs.is_empty() {
            tree::set_attributes(file.as_fd(), &self.attributes, owners)?;
        }
        Ok(true)
    }

    /// Writes the whole content at once, whose digest this is.
    pub fn write_whole(&self, folder: &Below, content: &[u8], digest: Hash, owners: Owners) -> io::Result<()> {
        self.check(digest)?;
        let file = self.create(folder.fd.as_fd())?;
        if !content.is_empty()
            && let Err(error) = io::Write::write_all(&mut &file, content)
        {
            self.remove_written(folder.fd.as_fd());
            return Err(error);
        }
        let wanted = (self.attributes.uid, self.attributes.gid);
        let owned = owners.0 && folder.owner_of(&file)? == wanted;
        self.finish(folder.fd.as_fd(), &file, Owners(owners.0 && !owned))
    }

    fn check(&self, digest: Hash) -> io::Result<()> {
        if self.content.len > 0 && digest != self.content.digest {
            return Err(io::Error::other("its content has another digest than the snapshot says"));
        }
        Ok(())
    }

    fn create(&self, folder: BorrowedFd<'_>) -> io::Result<File> {
        let name = self.written_name();
        if self.found.is_some() {
            tree::remove(folder, &name)?;
        }
        tree::create_file(folder, &name)
    }

    fn finish(&self, folder: BorrowedFd<'_>, file: &File, owners: Owners) -> io::Result<()> {
        let set = tree::set_attributes(file.as_fd(), &self.attributes, owners);
        if self.found.is_none() {
            return set;
        }
        let placed = set.and_then(|()| Ok(rustix::fs::renameat(folder, self.written_name(), folder, last_part(&self.path))?));
        if placed.is_err() {
            self.remove_written(folder);
        }
        placed
    }

    fn remove_written(&self, folder: BorrowedFd<'_>) {
        // What cannot be removed has another time than the snapshot says, so the next restore replaces it.
        let _ = tree::remove(folder, &self.written_name());
    }

    fn open(&self, folder: Folder<'_>) -> io::Result<Arc<File>> {
        let mut slot = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = &*slot {
            return Ok(file.clone());
        }
        let folder = folder()?;
        let file = Arc::new(self.create(folder.fd.as_fd())?);
        if let Err(error) = file.set_len(self.content.len) {
            self.remove_written(folder.fd.as_fd());
            return Err(error);
        }
        *slot = Some(file.clone());
        Ok(file)
    }

    /// Writes parts of a block that lies at `start`.
    pub fn write_block(&self, folder: Folder<'_>, start: u64, block: &[u8], parts: impl Iterator<Item = Range<usize>>) -> io::Result<()> {
        let file = self.open(folder)?;
        for part in parts {
            file.write_all_at(&block[part.clone()], start + part.start as u64)?;
        }
        Ok(())
    }

    /// Hands over the hashes of the next blocks, each so many times.
    pub fn push(&self, hashes: impl Iterator<Item = (Hash, u64)>) {
        let mut slot = self.digest.lock().unwrap_or_else(PoisonError::into_inner);
        let digest = slot.get_or_insert_default();
        for (hash, times) in hashes {
            (0..times).for_each(|_| digest.push(hash));
        }
    }

    /// Checks the whole and puts it in its place.
    pub fn complete(&self, folder: Folder<'_>, owners: Owners) -> io::Result<()> {
        let file = self.open(folder)?;
        let digest = self.digest.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default();
        self.check(digest.finish())?;
        self.finish(folder()?.fd.as_fd(), &file, owners)?;
        self.close_file();
        Ok(())
    }

    pub fn close_file(&self) {
        self.file.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Removes what was written, after a failure. Something half-written must not look restored.
    pub fn discard(&self, folder: BorrowedFd<'_>) {
        let begun = self.file.lock().unwrap_or_else(PoisonError::into_inner).take().is_some();
        if begun {
            self.remove_written(folder);
        }
    }
}

/// How long the block is that begins at `start` in a file of this length.
pub(super) fn block_len(len: u64, start: u64) -> usize {
    (len - start).min(BLOCK as u64) as usize
}

/// The digest of a file. Holes are not read.
pub(super) fn digest_of_file(file: &File, len: u64) -> io::Result<Hash> {
    let (mut digest, mut data, mut start, mut buffer) = (OfBlocks::default(), 0, 0, vec![0; BLOCK]);
    while start < len {
        let block = block_len(len, start);
        let end = start + block as u64;
        if data < end {
            data = next_data(file, start, len);
        }
        digest.push(if data >= end && block == BLOCK {
            digest::of_zeros()
        } else {
            file.read_exact_at(&mut buffer[..block], start)?;
            digest::sha256(&buffer[..block])
        });
        start = end;
    }
    Ok(digest.finish())
}

/// Where the next byte that is no hole lies; where that cannot be told, here.
fn next_data(file: &File, from: u64, len: u64) -> u64 {
    match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(from)) {
        Ok(at) => at,
        Err(rustix::io::Errno::NXIO) => len,
        Err(_) => from,
    }
}

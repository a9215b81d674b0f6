//! One file that is being restored. Its pieces come in any order and from several threads; each block of 1 MiB is checked as soon as it is whole, so that no thread reads a large file again at the end.

use super::last_part;
use crate::digest::{self, BLOCK};
use crate::entry::{Attributes, Content, Entry, Node};
use crate::id::Hash;
use crate::read::tree::{self, Found, Owners};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

pub(super) struct FileJob {
    pub path: Vec<u8>,
    pub attributes: Attributes,
    pub content: Content,
    /// What is in its place now.
    pub found: Option<Found>,
    /// Bytes of each block that are still to come. Of none in a file longer than `TRACKED_MAX`: that is read again at the end, for its length may be a lie
    /// and memory is not to follow it.
    missing: Vec<AtomicU32>,
    hashes: Mutex<Vec<Option<Hash>>>,
    /// Blocks (of a very long file, bytes) that are still to come, and one more until the list of pieces is complete.
    open_blocks: AtomicU64,
    file: Mutex<Option<Arc<File>>>,
    failure: Mutex<Option<String>>,
}

/// Up to this length each block is checked as soon as it is whole.
const TRACKED_MAX: u64 = 1 << 40;
/// Nothing longer is restored: the digest of so many empty blocks alone takes minutes.
const LEN_MAX: u64 = 64 << 40;

/// The name under which a file is written that replaces another.
const BESIDE: &[u8] = b".resilient-restoring-";

impl FileJob {
    pub fn new(entry: Entry, found: Option<Found>) -> Self {
        let Entry { path, attributes, node } = entry;
        let Node::File(content) = node else { unreachable!("only files are jobs") };
        let blocks = if content.len > TRACKED_MAX { 0 } else { content.len.div_ceil(BLOCK as u64) as usize };
        let open = if blocks > 0 { blocks as u64 } else { content.len };
        let missing = (0..blocks).map(|block| AtomicU32::new(block_len(content.len, block) as u32)).collect();
        FileJob {
            path,
            attributes,
            found,
            missing,
            hashes: Mutex::new(vec![None; blocks]),
            open_blocks: AtomicU64::new(open.saturating_add(1)),
            file: Mutex::default(),
            failure: Mutex::default(),
            content,
        }
    }

    /// What it takes in memory, about.
    pub fn weight(&self) -> usize {
        let xattrs: usize = self.attributes.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.path.len() + self.content.list.bytes() + xattrs + self.missing.len() * (4 + size_of::<Option<Hash>>())
    }

    /// Why it is not restored at all, if so.
    pub fn is_impossible(&self) -> bool {
        self.content.len > LEN_MAX
    }

    pub fn fail(&self, why: impl std::fmt::Display) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| why.to_string());
    }

    pub fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn written_name(&self) -> Vec<u8> {
        let name = last_part(&self.path);
        if self.found.is_some() {
            let short = digest::sha256(name);
            [BESIDE, crate::id::hex(&short.0[..8]).as_bytes()].concat()
        } else {
            name.to_vec()
        }
    }

    /// Whether what is in its place has the right length and time and content already.
    pub fn is_there(&self, folder: BorrowedFd<'_>, owners: Owners) -> io::Result<bool> {
        let Some(found) = self.found else { return Ok(false) };
        if found.len != self.content.len || found.mtime != self.attributes.mtime {
            return Ok(false);
        }
        let file = tree::open_file(folder, last_part(&self.path), false)?;
        if self.content.len > 0 && digest_of_file(&file, self.content.len, &|_| None)? != self.content.digest {
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

    /// Writes the whole content at once.
    pub fn write_whole(&self, folder: BorrowedFd<'_>, content: &[u8], owners: Owners) -> io::Result<()> {
        if !content.is_empty() && digest::of_content(content) != self.content.digest {
            return Err(io::Error::other("its content has another digest than the snapshot says"));
        }
        let file = self.create(folder)?;
        io::Write::write_all(&mut &file, content)?;
        self.finish(folder, &file, owners)
    }

    fn create(&self, folder: BorrowedFd<'_>) -> io::Result<File> {
        let name = self.written_name();
        if self.found.is_some() {
            tree::remove(folder, &name)?;
        }
        tree::create_file(folder, &name)
    }

    fn finish(&self, folder: BorrowedFd<'_>, file: &File, owners: Owners) -> io::Result<()> {
        tree::set_attributes(file.as_fd(), &self.attributes, owners)?;
        if self.found.is_some() {
            rustix::fs::renameat(folder, self.written_name(), folder, last_part(&self.path))?;
        }
        Ok(())
    }

    fn open(&self, folder: &dyn Fn() -> io::Result<Arc<std::os::fd::OwnedFd>>) -> io::Result<Arc<File>> {
        let mut slot = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = &*slot {
            return Ok(file.clone());
        }
        let file = Arc::new(self.create(folder()?.as_fd())?);
        file.set_len(self.content.len)?;
        *slot = Some(file.clone());
        Ok(file)
    }

    /// Writes a piece. Says whether the file is complete now.
    pub fn write_piece(&self, folder: &dyn Fn() -> io::Result<Arc<std::os::fd::OwnedFd>>, at: u64, bytes: &[u8]) -> io::Result<bool> {
        let file = self.open(folder)?;
        file.write_all_at(bytes, at)?;
        self.settle(at, bytes.len() as u64, Some(&file))
    }

    /// Counts bytes that have come, or that are a hole. Says whether the file is complete now.
    pub fn settle(&self, at: u64, len: u64, file: Option<&File>) -> io::Result<bool> {
        if self.missing.is_empty() {
            return Ok(self.open_blocks.fetch_sub(len, Ordering::AcqRel) == len);
        }
        let mut complete = false;
        let (mut at, end) = (at, at + len);
        while at < end {
            let block = (at / BLOCK as u64) as usize;
            let part = (end - at).min(BLOCK as u64 - at % BLOCK as u64) as u32;
            if self.missing[block].fetch_sub(part, Ordering::AcqRel) == part {
                if let Some(file) = file {
                    let hash = hash_block(file, self.content.len, block)?;
                    self.hashes.lock().unwrap_or_else(PoisonError::into_inner)[block] = Some(hash);
                }
                complete |= self.open_blocks.fetch_sub(1, Ordering::AcqRel) == 1;
            }
            at += u64::from(part);
        }
        Ok(complete)
    }

    /// Says that all pieces are known. Gives whether the file is complete now.
    pub fn close_list(&self) -> bool {
        self.open_blocks.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Checks the whole and puts it in its place.
    pub fn complete(&self, folder: &dyn Fn() -> io::Result<Arc<std::os::fd::OwnedFd>>, owners: Owners) -> io::Result<()> {
        let file = self.open(folder)?;
        let hashes = std::mem::take(&mut *self.hashes.lock().unwrap_or_else(PoisonError::into_inner));
        if self.content.len > 0 && digest_of_file(&file, self.content.len, &|block| *hashes.get(block)?)? != self.content.digest {
            return Err(io::Error::other("its content has another digest than the snapshot says"));
        }
        self.finish(folder()?.as_fd(), &file, owners)?;
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
            // What cannot be removed has another time than the snapshot says, so the next restore replaces it.
            let _ = tree::remove(folder, &self.written_name());
        }
    }
}

fn block_len(len: u64, block: usize) -> usize {
    (len - (block * BLOCK) as u64).min(BLOCK as u64) as usize
}

fn hash_block(file: &File, len: u64, block: usize) -> io::Result<Hash> {
    thread_local! { static BUFFER: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) } }
    BUFFER.with_borrow_mut(|buffer| {
        buffer.resize(BLOCK, 0);
        let bytes = &mut buffer[..block_len(len, block)];
        file.read_exact_at(bytes, (block * BLOCK) as u64)?;
        Ok(digest::sha256(bytes))
    })
}

/// The digest of a file of which some blocks are known already. Holes are not read.
fn digest_of_file(file: &File, len: u64, known: &dyn Fn(usize) -> Option<Hash>) -> io::Result<Hash> {
    let blocks = len.div_ceil(BLOCK as u64) as usize;
    let (mut digest, mut data, mut zeros) = (digest::OfBlocks::default(), 0, None);
    for block in 0..blocks {
        let (start, end) = ((block * BLOCK) as u64, (block * BLOCK + block_len(len, block)) as u64);
        if let Some(hash) = known(block) {
            digest.push(hash);
            continue;
        }
        if data < end {
            data = next_data(file, start, len);
        }
        digest.push(match data >= end && end - start == BLOCK as u64 {
            true => *zeros.get_or_insert_with(|| digest::sha256(&vec![0; BLOCK])),
            false => hash_block(file, len, block)?,
        });
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

//! A window of files: gathered until there is enough of it, then each segment is decoded once and its pieces are put where they belong (`scatter`).
//!
//! Memory is bounded by the window, whatever the size of the tree or of one file: a file may be spread over several windows, which are cut where its blocks are.

use super::file::{Below, FileJob, block_len};
use super::slots::{Room, Slots};
use super::{Problem, RestoreOptions, RestoreReport};
use crate::digest::{self, BLOCK};
use crate::entry::{self, Entry};
use crate::error::{Error, Result};
use crate::extent::{Extent, List};
use crate::id::Hash;
use crate::read::open::OpenSnapshot;
use crate::read::segments::outside;
use crate::read::tree::{Found, Owners, Tree};
use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

const FILES_MAX: usize = 60_000;
/// What the files of a window take in memory.
const WEIGHT_MAX: usize = 32 << 20;

/// A file of a window.
pub(super) struct Job {
    pub file: Arc<FileJob>,
    /// Its slots in this window.
    first: usize,
    end: usize,
    /// Slots in the buffer that are still to be written.
    pub left: AtomicU32,
    /// Whether its last slot is in this window.
    pub closed: bool,
}

pub(super) struct Window<'a> {
    pub snapshot: &'a OpenSnapshot<'a>,
    tree: &'a Tree,
    pub options: &'a RestoreOptions<'a>,
    pub owners: Owners,
    pub jobs: Vec<Job>,
    pub slots: Slots,
    /// How much of the last job was laid out, while its list is read.
    current: Option<u64>,
    weight: usize,
    problems: Mutex<Vec<Problem>>,
    pub written: AtomicU64,
    pub bytes: AtomicU64,
    kept: u64,
}

thread_local! {
    /// The folder that this thread wrote to last: files of one folder come one after the other.
    static FOLDER: RefCell<Option<(u64, Vec<u8>, Arc<Below>)>> = const { RefCell::new(None) };
}

/// Tells restores of one process apart in `FOLDER`.
static GENERATION: AtomicU64 = AtomicU64::new(0);

impl<'a> Window<'a> {
    pub fn new(snapshot: &'a OpenSnapshot<'a>, tree: &'a Tree, options: &'a RestoreOptions<'a>, owners: Owners) -> Self {
        GENERATION.fetch_add(1, Ordering::Relaxed);
        Window {
            snapshot,
            tree,
            options,
            owners,
            jobs: vec![],
            slots: Slots::default(),
            current: None,
            weight: 0,
            problems: Mutex::default(),
            written: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            kept: 0,
        }
    }

    /// Begins a file. `false` when it is in its place already.
    pub fn begin(&mut self, entry: Entry, found: Option<Found>, folder: BorrowedFd<'_>) -> io::Result<bool> {
        let file = FileJob::new(entry, found);
        if file.is_there(folder, self.owners).unwrap_or(false) {
            self.kept += 1;
            (self.options.advance)(file.content.len);
            return Ok(false);
        }
        if file.is_impossible() {
            return Err(io::Error::other("it says that it is longer than any file is"));
        }
        if file.content.len == 0 {
            let below = Below::new(folder.try_clone_to_owned()?);
            file.write_whole(&below, &[], Hash([0; 32]), self.owners)?;
            self.written.fetch_add(1, Ordering::Relaxed);
            return Ok(false);
        }
        self.weight += file.weight();
        let first = self.slots.all.len();
        self.jobs
            .push(Job { file: Arc::new(file), first, end: first, left: AtomicU32::new(0), closed: false });
        self.current = Some(0);
        Ok(true)
    }

    fn last(&mut self) -> &mut Job {
        self.jobs.last_mut().expect("a file was begun")
    }

    pub fn list(&self) -> List {
        self.jobs.last().map(|job| job.file.content.list.clone()).unwrap_or_default()
    }

    /// Adds an extent of the file that was begun.
    pub fn extent(&mut self, extent: Extent) -> Result<()> {
        let mut at = self.current.expect("a file was begun");
        let file_len = self.last().file.content.len;
        let end = at.checked_add(extent.len).filter(|end| *end <= file_len);
        let end = end.ok_or_else(|| Error::damaged("a list of extents", "it is longer than its file"))?;
        let mut place = extent.place;
        if let Some(place) = place {
            if u64::from(place.offset) + extent.len > BLOCK as u64 {
                return Err(outside(place));
            }
            if extent.len == file_len {
                let job = self.jobs.len() as u32 - 1;
                self.slots.whole(job, place, extent.len as u32);
                self.current = Some(end);
                return Ok(());
            }
        }
        while at < end {
            let blocks = (end - at) / BLOCK as u64;
            if self.slots.open_len() == 0 {
                if place.is_none() && blocks > 0 {
                    let job = self.jobs.len() as u32 - 1;
                    self.slots.empty(job, at, blocks);
                    at += blocks * BLOCK as u64;
                    self.current = Some(at);
                    continue;
                }
                if self.slots.is_full() {
                    self.flush()?;
                }
                let job = self.jobs.len() as u32 - 1;
                self.slots.open(job, at, block_len(file_len, at) as u32)?;
                *self.last().left.get_mut() += 1;
            }
            let part = (end - at).min(self.slots.open_len().into()) as u32;
            match &mut place {
                Some(place) => {
                    self.slots.data(*place, part);
                    place.offset += part;
                }
                None => self.slots.hole(part),
            }
            at += u64::from(part);
            self.current = Some(at);
        }
        Ok(())
    }

    /// Ends the file that was begun.
    pub fn end(&mut self) -> Result<()> {
        let at = self.current.take().expect("a file was begun");
        self.slots.abandon();
        let end = self.slots.all.len();
        let job = self.last();
        (job.end, job.closed) = (end, true);
        if at != job.file.content.len {
            job.file.fail("its extents do not give its length");
        }
        let (first, unwritten) = (job.first, *job.left.get_mut());
        let only_holes = unwritten == 0 && self.slots.all[first..].iter().all(|slot| matches!(slot.room, Room::Empty(_)));
        if only_holes {
            self.complete(self.jobs.len() - 1);
        }
        self.breathe()
    }

    fn breathe(&mut self) -> Result<()> {
        if self.jobs.len() >= FILES_MAX || self.weight >= WEIGHT_MAX || self.slots.is_full() { self.flush() } else { Ok(()) }
    }

    /// Gives up the file that was begun.
    pub fn give_up(&mut self, why: &Error) -> Result<()> {
        if self.current.take().is_some() {
            self.slots.abandon();
            self.last().file.fail(why);
        }
        self.breathe()
    }

    /// How much memory the problems take.
    pub fn named(&self) -> usize {
        let problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        problems.iter().map(|problem| problem.path.len() + problem.why.len()).sum()
    }

    fn problem(&self, file: &FileJob, why: impl std::fmt::Display) {
        let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        problems.push(Problem { path: file.path.clone(), why: why.to_string() });
    }

    /// The folder that a path lies in.
    pub fn folder(&self, path: &[u8]) -> io::Result<Arc<Below>> {
        let parent = entry::parent(path);
        let generation = GENERATION.load(Ordering::Relaxed);
        FOLDER.with_borrow_mut(|last| {
            if let Some((of, known, fd)) = last
                && *of == generation
                && known == parent
            {
                return Ok(fd.clone());
            }
            let fd = Arc::new(Below::new(self.tree.folder(parent)?));
            *last = Some((generation, parent.to_vec(), fd.clone()));
            Ok(fd)
        })
    }

    /// Decodes what was gathered, and writes it.
    pub fn flush(&mut self) -> Result<()> {
        self.scatter();
        let begun = self.current.and_then(|_| self.jobs.pop());
        for Job { file, .. } in std::mem::take(&mut self.jobs) {
            if let Some(why) = file.failure() {
                if let Ok(folder) = self.folder(&file.path) {
                    file.discard(folder.fd.as_fd());
                }
                self.problem(&file, why);
            }
        }
        if let Some(mut job) = begun {
            (self.weight, job.end) = (job.file.weight(), self.slots.all.len());
            self.hand_over(&job);
            (job.first, job.end) = (0, 0);
            self.jobs.push(job);
        } else {
            self.weight = 0;
        }
        self.slots.clear();
        Ok(())
    }

    /// Hands the hashes of a file's slots to it, in their order.
    fn hand_over(&self, job: &Job) {
        // One that has none failed, and so did its file.
        job.file.push(self.slots.all[job.first..job.end].iter().filter_map(|slot| match slot.room {
            Room::Empty(blocks) => Some((digest::of_zeros(), blocks)),
            Room::Buffer(_) | Room::Whole => slot.hash.get().map(|hash| (*hash, 1)),
        }));
    }

    /// Checks a file whose slots are all written, and puts it in its place.
    pub fn complete(&self, number: usize) {
        let job = &self.jobs[number];
        if job.file.has_failed() {
            return;
        }
        self.hand_over(job);
        match job.file.complete(&|| self.folder(&job.file.path), self.owners) {
            Ok(()) => {
                self.written.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => job.file.fail(error),
        }
    }

    pub fn report_into(&self, report: &mut RestoreReport) {
        report.files_written = self.written.load(Ordering::Relaxed);
        report.bytes_written = self.bytes.load(Ordering::Relaxed);
        report.files_kept = self.kept;
        let problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        report.problems.extend(problems.iter().cloned());
        report.problems.sort_by(|a, b| entry::compare(&a.path, &b.path));
        report.problems.dedup_by(|a, b| a.path == b.path);
    }
}

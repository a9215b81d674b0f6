//! What one window holds, and what all windows of a restore share.

use super::file::{Below, FileJob};
use super::slots::{Room, Slots};
use super::{Problem, RestoreOptions, RestoreReport};
use crate::digest;
use crate::entry;
use crate::read::open::OpenSnapshot;
use crate::read::tree::{Owners, Tree};
use std::cell::RefCell;
use std::collections::HashSet;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A file of a window.
pub(super) struct Job {
    pub file: Arc<FileJob>,
    /// Its slots in this window.
    pub first: usize,
    pub end: usize,
    /// Slots in the buffer that are still to be written.
    pub left: AtomicU32,
    /// Whether its last slot is in this window.
    pub closed: bool,
    /// Whether it goes on in the next window.
    pub goes_on: bool,
}

/// What a window holds.
#[derive(Default)]
pub(super) struct Batch {
    pub jobs: Vec<Job>,
    pub slots: Slots,
}

/// What all windows of a restore share.
pub(super) struct Shared<'a> {
    generation: u64,
    pub snapshot: &'a OpenSnapshot<'a>,
    tree: &'a Tree,
    pub options: &'a RestoreOptions<'a>,
    pub owners: Owners,
    problems: Mutex<Vec<Problem>>,
    pub written: AtomicU64,
    pub bytes: AtomicU64,
}

thread_local! {
    /// The folder that this thread wrote to last: files of one folder come one after the other.
    static FOLDER: RefCell<Option<(u64, Vec<u8>, Arc<Below>)>> = const { RefCell::new(None) };
}

/// Tells restores of one process apart in `FOLDER`.
static GENERATION: AtomicU64 = AtomicU64::new(0);

impl Drop for Shared<'_> {
    fn drop(&mut self) {
        // The thread that restored lives on, and nobody could unmount what it holds open.
        FOLDER.take();
    }
}

impl<'a> Shared<'a> {
    pub fn new(snapshot: &'a OpenSnapshot<'a>, tree: &'a Tree, options: &'a RestoreOptions<'a>, owners: Owners) -> Self {
        Shared {
            generation: GENERATION.fetch_add(1, Ordering::Relaxed),
            snapshot,
            tree,
            options,
            owners,
            problems: Mutex::default(),
            written: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    /// How much memory the problems take.
    pub fn named(&self) -> usize {
        let problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        problems.iter().map(|problem| problem.path.len() + problem.why.len()).sum()
    }

    /// The paths of files that could not be restored.
    pub fn failed(&self) -> HashSet<Vec<u8>> {
        let problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        problems.iter().map(|problem| problem.path.clone()).collect()
    }

    fn problem(&self, file: &FileJob, why: impl std::fmt::Display) {
        let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        problems.push(Problem { path: file.path.clone(), why: why.to_string() });
    }

    /// The folder that a path lies in.
    pub fn folder(&self, path: &[u8]) -> io::Result<Arc<Below>> {
        let parent = entry::parent(path);
        FOLDER.with_borrow_mut(|last| {
            if let Some((of, known, fd)) = last
                && *of == self.generation
                && known == parent
            {
                return Ok(fd.clone());
            }
            let fd = Arc::new(Below::new(self.tree.folder(parent)?));
            *last = Some((self.generation, parent.to_vec(), fd.clone()));
            Ok(fd)
        })
    }

    /// Ends a window that was written: what failed is named, and files that go on are told the hashes they have so far.
    pub fn settle(&self, batch: &mut Batch) {
        for job in std::mem::take(&mut batch.jobs) {
            if job.goes_on {
                self.hand_over(batch, &job);
            } else if let Some(why) = job.file.failure() {
                self.discard(&job.file);
                self.problem(&job.file, why);
            }
        }
        batch.slots.clear();
    }

    /// Hands the hashes of a file's slots to it, in their order.
    fn hand_over(&self, batch: &Batch, job: &Job) {
        // One that has none failed, and so did its file.
        job.file.push(batch.slots.all[job.first..job.end].iter().filter_map(|slot| match slot.room {
            Room::Empty(blocks) => Some((digest::of_zeros(), blocks)),
            Room::Buffer(_) | Room::Whole => slot.hash.get().map(|hash| (*hash, 1)),
        }));
    }

    /// Checks a file whose slots are all written, and puts it in its place.
    pub fn complete(&self, batch: &Batch, job: &Job) {
        if job.file.has_failed() {
            return;
        }
        self.hand_over(batch, job);
        match job.file.complete(&|| self.folder(&job.file.path), self.owners) {
            Ok(()) => {
                self.written.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                job.file.fail(error);
                // Now, for a window may have more such files than may be open.
                self.discard(&job.file);
            }
        }
    }

    fn discard(&self, file: &FileJob) {
        if let Ok(folder) = self.folder(&file.path) {
            file.discard(folder.fd.as_fd());
        }
    }

    pub fn report_into(&self, report: &mut RestoreReport) {
        report.files_written = self.written.load(Ordering::Relaxed);
        report.bytes_written = self.bytes.load(Ordering::Relaxed);
        let problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        report.problems.extend(problems.iter().cloned());
        report.problems.sort_by(|a, b| entry::compare(&a.path, &b.path));
        report.problems.dedup_by(|a, b| a.path == b.path);
    }
}

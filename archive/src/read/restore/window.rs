//! A window of files: gathered until there are enough pieces, then each segment is decoded once and its pieces are written.
//!
//! Memory is bounded by the window, whatever the size of the tree or of one file: a file may be spread over several windows.

use super::file::FileJob;
use super::{Problem, RestoreOptions, RestoreReport};
use crate::entry::{self, Entry};
use crate::error::{Error, Result};
use crate::extent::{Extent, List};
use crate::read::assemble::{Piece, scatter};
use crate::read::open::OpenSnapshot;
use crate::read::tree::{Found, Owners, Tree};
use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Pieces and files in a window.
const PIECES_MAX: usize = 400_000;
const FILES_MAX: usize = 60_000;
/// What the files of a window take in memory.
const WEIGHT_MAX: usize = 32 << 20;
/// Files with several pieces stay open until they are complete.
const OPEN_MAX: usize = 400;

pub(super) struct Window<'a> {
    snapshot: &'a OpenSnapshot<'a>,
    tree: &'a Tree,
    options: &'a RestoreOptions<'a>,
    owners: Owners,
    jobs: Vec<Arc<FileJob>>,
    pieces: Vec<Piece>,
    current: Option<(Arc<FileJob>, u64)>,
    /// Files with more than one piece.
    spread: usize,
    weight: usize,
    problems: Mutex<Vec<Problem>>,
    written: AtomicU64,
    bytes: AtomicU64,
    kept: u64,
}

thread_local! {
    /// The folder that this thread wrote to last: files of one folder come one after the other.
    static FOLDER: RefCell<Option<(u64, Vec<u8>, Arc<OwnedFd>)>> = const { RefCell::new(None) };
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
            pieces: vec![],
            current: None,
            spread: 0,
            weight: 0,
            problems: Mutex::default(),
            written: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            kept: 0,
        }
    }

    /// Begins a file. `false` when it is in its place already.
    pub fn begin(&mut self, entry: Entry, found: Option<Found>, folder: BorrowedFd<'_>) -> io::Result<bool> {
        let job = FileJob::new(entry, found);
        if job.is_there(folder, self.owners).unwrap_or(false) {
            self.kept += 1;
            (self.options.advance)(job.content.len);
            return Ok(false);
        }
        if job.is_impossible() {
            return Err(io::Error::other("it says that it is longer than any file is"));
        }
        if job.content.len == 0 {
            job.write_whole(folder, &[], self.owners)?;
            self.written.fetch_add(1, Ordering::Relaxed);
            return Ok(false);
        }
        let job = Arc::new(job);
        self.weight += job.weight();
        self.jobs.push(job.clone());
        self.current = Some((job, 0));
        Ok(true)
    }

    pub fn list(&self) -> List {
        self.current.as_ref().map(|(job, _)| job.content.list.clone()).unwrap_or_default()
    }

    /// Adds an extent of the file that was begun.
    pub fn extent(&mut self, extent: Extent) -> Result<()> {
        let (job, at) = self.current.as_mut().expect("a file was begun");
        let end = at.checked_add(extent.len).filter(|end| *end <= job.content.len);
        let end = end.ok_or_else(|| Error::damaged("a list of extents", "it is longer than its file"))?;
        match extent.place {
            Some(place) => {
                let target = self.jobs.len() as u32 - 1;
                self.pieces.push(Piece { place, len: extent.len as u32, target, at: *at });
            }
            None => {
                job.settle(*at, extent.len, None).expect("holes are not read");
            }
        }
        *at = end;
        if self.pieces.len() >= PIECES_MAX { self.flush() } else { Ok(()) }
    }

    /// Ends the file that was begun.
    pub fn end(&mut self) -> Result<()> {
        let (job, at) = self.current.take().expect("a file was begun");
        if at != job.content.len {
            job.fail("its extents do not give its length");
        }
        let whole = self.pieces.last().is_some_and(|piece| u64::from(piece.len) == job.content.len);
        if !whole {
            self.spread += 1;
            if job.close_list() {
                self.complete(&job);
            }
        }
        self.breathe()
    }

    fn breathe(&mut self) -> Result<()> {
        if self.jobs.len() >= FILES_MAX || self.spread >= OPEN_MAX || self.weight >= WEIGHT_MAX { self.flush() } else { Ok(()) }
    }

    /// Gives up the file that was begun.
    pub fn give_up(&mut self, why: &Error) -> Result<()> {
        let job = match self.current.take() {
            Some((job, _)) => job,
            None => return Ok(()),
        };
        job.fail(why);
        self.breathe()
    }

    /// How much memory the problems take.
    pub fn named(&self) -> usize {
        let problems = self.problems.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        problems.iter().map(|problem| problem.path.len() + problem.why.len()).sum()
    }

    fn problem(&self, job: &FileJob, why: impl std::fmt::Display) {
        let mut problems = self.problems.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        problems.push(Problem { path: job.path.clone(), why: why.to_string() });
    }

    fn folder(&self, path: &[u8]) -> io::Result<Arc<OwnedFd>> {
        let parent = entry::parent(path);
        let generation = GENERATION.load(Ordering::Relaxed);
        FOLDER.with_borrow_mut(|last| {
            if let Some((of, known, fd)) = last
                && *of == generation
                && known == parent
            {
                return Ok(fd.clone());
            }
            let fd = Arc::new(self.tree.folder(parent)?);
            *last = Some((generation, parent.to_vec(), fd.clone()));
            Ok(fd)
        })
    }

    /// Decodes what was gathered, and writes it.
    pub fn flush(&mut self) -> Result<()> {
        let mut pieces = std::mem::take(&mut self.pieces);
        let put = |pieces: &[Piece], content: Result<&[u8]>| {
            match content {
                Ok(content) => pieces.iter().for_each(|piece| self.put(piece, content)),
                Err(error) => pieces.iter().for_each(|piece| self.jobs[piece.target as usize].fail(&error)),
            }
            Ok(())
        };
        scatter(self.snapshot, &mut pieces, self.options.threads, &put)?;
        let begun = self.current.as_ref().map(|(job, _)| job.clone());
        for job in std::mem::take(&mut self.jobs) {
            if begun.as_ref().is_some_and(|begun| Arc::ptr_eq(begun, &job)) {
                continue;
            }
            if let Some(why) = job.failure() {
                if let Ok(folder) = self.folder(&job.path) {
                    job.discard(folder.as_fd());
                }
                self.problem(&job, why);
            }
        }
        self.weight = begun.as_ref().map_or(0, |job| job.weight());
        self.jobs.extend(begun);
        self.spread = 0;
        pieces.clear();
        self.pieces = pieces;
        Ok(())
    }

    fn put(&self, piece: &Piece, content: &[u8]) {
        let job = &self.jobs[piece.target as usize];
        let start = piece.place.offset as usize;
        let bytes = &content[start..start + piece.len as usize];
        let written = if bytes.len() as u64 == job.content.len {
            self.folder(&job.path)
                .and_then(|folder| job.write_whole(folder.as_fd(), bytes, self.owners))
                .map(|()| {
                    self.written.fetch_add(1, Ordering::Relaxed);
                })
        } else {
            job.write_piece(&|| self.folder(&job.path), piece.at, bytes).map(|complete| {
                if complete {
                    self.complete(job);
                }
            })
        };
        self.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        (self.options.advance)(bytes.len() as u64);
        if let Err(error) = written {
            job.fail(error);
        }
    }

    fn complete(&self, job: &FileJob) {
        if job.failure().is_some() {
            return;
        }
        match job.complete(&|| self.folder(&job.path), self.owners) {
            Ok(()) => {
                self.written.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => job.fail(error),
        }
    }

    pub fn report_into(&self, report: &mut RestoreReport) {
        report.files_written = self.written.load(Ordering::Relaxed);
        report.bytes_written = self.bytes.load(Ordering::Relaxed);
        report.files_kept = self.kept;
        let problems = self.problems.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        report.problems.extend(problems.iter().cloned());
        report.problems.sort_by(|a, b| entry::compare(&a.path, &b.path));
        report.problems.dedup_by(|a, b| a.path == b.path);
    }
}

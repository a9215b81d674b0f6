//! Windows of files: one is gathered while the one before it is written, each of its segments decoded once and its pieces put where they belong (`scatter`).
//!
//! Memory is bounded by the two windows, whatever the size of the tree or of one file: a file may be spread over several windows, which are cut where its blocks are.
//! A window is written only when the one before it is settled, so the blocks of a file are hashed in order.

use super::batch::{Batch, Job, Shared};
use super::file::{Below, FileJob, block_len};
use super::like::Like;
use super::slots::Room;
use crate::digest::BLOCK;
use crate::entry::Entry;
use crate::error::{Error, Result};
use crate::extent::{Extent, List};
use crate::id::Hash;
use crate::read::segments::outside;
use crate::read::tree::Found;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};

/// So many that the first window is soon there.
const FILES_MAX: usize = 8_000;
/// What the files of a window take in memory.
const WEIGHT_MAX: usize = 16 << 20;

/// The way to the thread that writes windows, and back.
pub(super) struct Writer {
    pub to: SyncSender<Batch>,
    pub from: Receiver<Batch>,
}

pub(super) struct Window<'a> {
    shared: &'a Shared<'a>,
    writer: Writer,
    /// How much buffer the window takes that is being written.
    away: Option<usize>,
    spare: Batch,
    batch: Batch,
    /// How much of the last job was laid out, while its list is read.
    current: Option<u64>,
    weight: usize,
    like: Option<Like>,
    pub kept: u64,
}

impl<'a> Window<'a> {
    pub fn new(shared: &'a Shared<'a>, writer: Writer, like: Option<Like>) -> Self {
        let (spare, batch) = Default::default();
        Window { shared, writer, away: None, spare, batch, current: None, weight: 0, like, kept: 0 }
    }

    /// Begins a file. `false` when it is in its place already.
    pub fn begin(&mut self, entry: Entry, found: Option<Found>, folder: BorrowedFd<'_>) -> io::Result<bool> {
        let taken = found.is_none() && self.like.as_mut().is_some_and(|like| like.take(&entry, folder, self.shared.owners));
        let file = FileJob::new(entry, found);
        if taken || file.is_there(folder, self.shared.owners).unwrap_or(false) {
            self.kept += 1;
            (self.shared.options.advance)(file.content.len);
            return Ok(false);
        }
        if file.is_impossible() {
            return Err(io::Error::other("it says that it is longer than any file is"));
        }
        if file.content.len == 0 {
            let below = Below::new(folder.try_clone_to_owned()?);
            file.write_whole(&below, &[], Hash([0; 32]), self.shared.owners)?;
            self.shared.written.fetch_add(1, Ordering::Relaxed);
            return Ok(false);
        }
        self.weight += file.weight();
        self.push(Arc::new(file));
        self.current = Some(0);
        Ok(true)
    }

    fn push(&mut self, file: Arc<FileJob>) {
        let first = self.batch.slots.all.len();
        self.batch
            .jobs
            .push(Job { file, first, end: first, left: AtomicU32::new(0), closed: false, goes_on: false });
    }

    fn last(&mut self) -> &mut Job {
        self.batch.jobs.last_mut().expect("a file was begun")
    }

    pub fn list(&self) -> List {
        self.batch.jobs.last().map(|job| job.file.content.list.clone()).unwrap_or_default()
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
                let job = self.batch.jobs.len() as u32 - 1;
                self.batch.slots.whole(job, place, extent.len as u32);
                self.current = Some(end);
                return Ok(());
            }
        }
        while at < end {
            let blocks = (end - at) / BLOCK as u64;
            if self.batch.slots.open_len() == 0 {
                if place.is_none() && blocks > 0 {
                    let job = self.batch.jobs.len() as u32 - 1;
                    self.batch.slots.empty(job, at, blocks);
                    at += blocks * BLOCK as u64;
                    self.current = Some(at);
                    continue;
                }
                self.make_room()?;
                let job = self.batch.jobs.len() as u32 - 1;
                self.batch.slots.open(job, at, block_len(file_len, at) as u32)?;
                *self.last().left.get_mut() += 1;
            }
            let part = (end - at).min(self.batch.slots.open_len().into()) as u32;
            match &mut place {
                Some(place) => {
                    self.batch.slots.data(*place, part);
                    place.offset += part;
                }
                None => self.batch.slots.hole(part),
            }
            at += u64::from(part);
            self.current = Some(at);
        }
        Ok(())
    }

    /// Ends the file that was begun.
    pub fn end(&mut self) -> Result<()> {
        let at = self.current.take().expect("a file was begun");
        self.batch.slots.abandon();
        let end = self.batch.slots.all.len();
        let job = self.last();
        (job.end, job.closed) = (end, true);
        if at != job.file.content.len {
            job.file.fail("its extents do not give its length");
        }
        let (first, unwritten) = (job.first, *job.left.get_mut());
        let only_holes = unwritten == 0 && self.batch.slots.all[first..].iter().all(|slot| matches!(slot.room, Room::Empty(_)));
        if only_holes {
            // What it has before them may still be on its way.
            self.settle();
            self.shared.complete(&self.batch, &self.batch.jobs[self.batch.jobs.len() - 1]);
        }
        self.breathe()
    }

    fn breathe(&mut self) -> Result<()> {
        if self.batch.jobs.len() >= FILES_MAX || self.weight >= WEIGHT_MAX { self.flush() } else { self.make_room() }
    }

    /// Lets the window go when it is full; waits first when only both together are.
    fn make_room(&mut self) -> Result<()> {
        if self.batch.slots.is_full(self.away.unwrap_or(0)) && !self.batch.slots.is_full(0) {
            self.settle();
        }
        if self.batch.slots.is_full(0) { self.flush() } else { Ok(()) }
    }

    /// Gives up the file that was begun.
    pub fn give_up(&mut self, why: &Error) -> Result<()> {
        if self.current.take().is_some() {
            self.batch.slots.abandon();
            self.last().file.fail(why);
        }
        self.breathe()
    }

    /// Has what was gathered written, as soon as the window before is.
    fn flush(&mut self) -> Result<()> {
        self.settle();
        let goes_on = self.current.and_then(|_| self.batch.jobs.last_mut()).map(|job| {
            (job.goes_on, job.end) = (true, self.batch.slots.all.len());
            job.file.clone()
        });
        self.away = Some(self.batch.slots.used());
        let gathered = std::mem::replace(&mut self.batch, std::mem::take(&mut self.spare));
        self.writer.to.send(gathered).map_err(|_| ended())?;
        self.weight = 0;
        if let Some(file) = goes_on {
            self.weight = file.weight();
            self.push(file);
        }
        Ok(())
    }

    /// Waits for the window that is being written.
    fn settle(&mut self) {
        if self.away.take().is_some()
            && let Ok(mut written) = self.writer.from.recv()
        {
            self.shared.settle(&mut written);
            self.spare = written;
        }
    }

    /// Writes what is left.
    pub fn finish(&mut self) -> Result<()> {
        self.flush()?;
        self.settle();
        Ok(())
    }
}

/// A thread ends only by a fault of ours, which the one who started it will hear of.
fn ended() -> Error {
    Error::store("write", "a window of files")(io::Error::other("the thread that writes has ended"))
}

//! Giving work to threads and taking what they did. Threads begin when there is enough to do; before that it is done here.

use super::{BATCH_BYTES, BATCH_FILES, Coming, FILE_COSTS, INLINE_BYTES, Order, PENDING_MAX, Pending, Progress};
use crate::error::Result;
use crate::export::work::{Done, Job, SmallFile};
use crate::local::state::EntryStamp;

impl Order {
    /// A file that one thread reads in one go.
    pub fn small(&mut self, coming: Coming, len: u64, make: impl FnOnce(u64) -> SmallFile) -> Result<()> {
        let file = make(self.next_number());
        self.pending
            .push_back(Pending { entry: coming.entry, stamp: EntryStamp::default(), base: coming.base, progress: Progress::Small });
        self.batch.push(file);
        self.batch_bytes += len;
        if self.batch_bytes >= BATCH_BYTES || self.batch.len() >= BATCH_FILES {
            self.flush_batch()?;
        }
        Ok(())
    }

    pub(super) fn flush_batch(&mut self) -> Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let files = std::mem::take(&mut self.batch);
        let bytes = std::mem::take(&mut self.batch_bytes) + files.len() as u64 * FILE_COSTS;
        self.dispatch(Job::Small(files), bytes)
    }

    pub(super) fn dispatch(&mut self, job: Job, bytes: u64) -> Result<()> {
        if self.threads.is_empty() {
            self.deferred.push(job);
            self.deferred_bytes += bytes;
            if self.deferred_bytes < INLINE_BYTES || self.spare.is_empty() {
                return if self.spare.is_empty() { self.do_deferred() } else { Ok(()) };
            }
            return self.start();
        }
        self.offer(job)
    }

    /// Waits for one job to be done; begins the threads for it if need be.
    pub(super) fn wait(&mut self) -> Result<()> {
        if self.threads.is_empty() {
            self.start()?;
        }
        let done = self.done.recv().expect("this side holds a sender");
        self.handle(done)
    }

    fn offer(&mut self, mut job: Job) -> Result<()> {
        loop {
            match self.queue.offer(job) {
                None => return self.hear(),
                Some(back) => job = back,
            }
            self.wait()?;
        }
    }

    fn start(&mut self) -> Result<()> {
        for hand in std::mem::take(&mut self.spare) {
            let (queue, sender, stop) = (self.queue.clone(), self.sender.clone(), self.stop.clone());
            self.threads.push(std::thread::spawn(move || hand.serve(&queue, &sender, &stop)));
        }
        std::mem::take(&mut self.deferred).into_iter().try_for_each(|job| self.offer(job))
    }

    /// Takes what has come, without waiting.
    fn hear(&mut self) -> Result<()> {
        while let Ok(done) = self.done.try_recv() {
            self.handle(done)?;
        }
        Ok(())
    }

    fn do_deferred(&mut self) -> Result<()> {
        for job in std::mem::take(&mut self.deferred) {
            let mut found = Vec::new();
            self.hand.job(job, &mut |done| found.push(done))?;
            found.into_iter().try_for_each(|done| self.handle(done))?;
        }
        self.deferred_bytes = 0;
        Ok(())
    }

    /// Bounds how many entries wait.
    pub fn breathe(&mut self) -> Result<()> {
        while self.pending.len() > PENDING_MAX {
            self.advance_front()?;
        }
        self.hear()
    }

    fn advance_front(&mut self) -> Result<()> {
        self.flush_batch()?;
        self.do_deferred()?;
        if !self.threads.is_empty() && !self.pending.is_empty() {
            self.wait()?;
        }
        self.emit()
    }

    /// Waits until everything is in the index.
    pub fn drain(&mut self) -> Result<()> {
        self.emit()?;
        while !self.pending.is_empty() {
            self.advance_front()?;
        }
        Ok(())
    }

    fn handle(&mut self, done: Done) -> Result<()> {
        match done {
            Done::Small { number, result } => self.small_done(number, result)?,
            Done::Region { number, attempt, index, result } => self.region_done(number, attempt, index, result)?,
            Done::Failed(error) => return Err(error),
        }
        self.emit()?;
        self.close_due()
    }

    /// Closes a run when one is due: within a long file, too.
    pub fn close_due(&mut self) -> Result<()> {
        self.hand.cutter.segments.yield_run()?;
        self.closing.due()
    }
}

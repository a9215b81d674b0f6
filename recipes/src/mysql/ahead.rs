//! What sessions have read ahead of the stream that is being taken: blocks by job, with one bound for all of them.
//!
//! Jobs are taken by the readers in order and by the receiver in the same order. The one whose turn it is may always have one block, whatever the others hold,
//! so nobody waits for somebody who waits for him. A job ends well or with an error, and its stream ends just so: never short.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::rows::{Counter, Rows};

/// Read ahead by all sessions together.
const BYTES_MAX: usize = 32 << 20;
pub(super) const BLOCK_BYTES: usize = 256 << 10;

#[derive(Default)]
struct Job {
    blocks: VecDeque<Vec<u8>>,
    /// What has been pushed, and how it ended.
    counter: Counter,
    end: Option<Result<(), String>>,
    /// Taken to its end, or given up.
    taken: Option<bool>,
}

struct State {
    jobs: Vec<Job>,
    claimed: usize,
    front: usize,
    held: usize,
    cancelled: bool,
}

pub(super) struct Ahead {
    state: Mutex<State>,
    changed: Condvar,
}

/// What one job brought.
#[derive(Debug, Clone, Copy)]
pub(super) struct Brought {
    pub rows: Rows,
    pub bytes: u64,
}

impl Ahead {
    pub fn new(jobs: usize) -> Arc<Ahead> {
        let jobs = (0..jobs).map(|_| Job::default()).collect();
        let state = State { jobs, claimed: 0, front: 0, held: 0, cancelled: false };
        Arc::new(Ahead { state: Mutex::new(state), changed: Condvar::new() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// The next job that nobody reads.
    pub fn claim(&self) -> Option<usize> {
        let mut state = self.lock();
        if state.cancelled || state.claimed == state.jobs.len() {
            return None;
        }
        state.claimed += 1;
        Some(state.claimed - 1)
    }

    /// Hands on a block of whole rows, when there is room for it.
    pub fn push(&self, job: usize, block: Vec<u8>) -> io::Result<()> {
        let mut state = self.lock();
        loop {
            if state.cancelled || state.jobs[job].taken.is_some() {
                return Err(io::Error::other("nobody wants it any more"));
            }
            let turn = job == state.front && state.jobs[job].blocks.is_empty();
            if turn || state.held + block.len() <= BYTES_MAX {
                break;
            }
            state = self.wait(state);
        }
        state.held += block.len();
        state.jobs[job].counter.take(&block);
        state.jobs[job].blocks.push_back(block);
        self.changed.notify_all();
        Ok(())
    }

    pub fn end(&self, job: usize, how: Result<(), String>) {
        self.lock().jobs[job].end = Some(how);
        self.changed.notify_all();
    }

    /// Nobody wants anything any more.
    pub fn cancel(&self) {
        self.lock().cancelled = true;
        self.changed.notify_all();
    }

    /// Waits for the beginning of a job; whether it has anything.
    pub fn any(&self, job: usize) -> Result<bool, String> {
        let mut state = self.lock();
        loop {
            if !state.jobs[job].blocks.is_empty() {
                return Ok(true);
            }
            match &state.jobs[job].end {
                Some(Ok(())) => return Ok(false),
                Some(Err(error)) => return Err(error.clone()),
                None => state = self.wait(state),
            }
        }
    }

    /// Waits until a stream was taken; what it held, or why not all of it was taken. `None` when the receiver let it go.
    pub fn brought(&self, job: usize) -> Result<Option<Brought>, String> {
        let mut state = self.lock();
        loop {
            let Job { end, taken, counter, .. } = &state.jobs[job];
            match (end, taken) {
                (Some(Err(error)), Some(_)) => return Err(error.clone()),
                (_, Some(false)) => return Ok(None),
                (Some(Ok(())), Some(true)) => {
                    let rows = counter.rows().ok_or("a row without an end")?;
                    return Ok(Some(Brought { rows, bytes: counter.bytes() }));
                }
                _ => state = self.wait(state),
            }
        }
    }

    fn take(&self, job: usize) -> io::Result<Option<Vec<u8>>> {
        let mut state = self.lock();
        loop {
            if let Some(block) = state.jobs[job].blocks.pop_front() {
                state.held -= block.len();
                self.changed.notify_all();
                return Ok(Some(block));
            }
            match &state.jobs[job].end {
                Some(Ok(())) => {
                    self.finish(&mut state, job, true);
                    return Ok(None);
                }
                Some(Err(error)) => return Err(io::Error::other(error.clone())),
                None if state.cancelled => return Err(io::Error::other("the export was given up")),
                None => state = self.wait(state),
            }
        }
    }

    fn finish(&self, state: &mut State, job: usize, whole: bool) {
        if state.jobs[job].taken.is_none() {
            state.jobs[job].taken = Some(whole);
            let left: usize = state.jobs[job].blocks.drain(..).map(|block| block.len()).sum();
            state.held -= left;
            while state.jobs.get(state.front).is_some_and(|job| job.taken.is_some()) {
                state.front += 1;
            }
            self.changed.notify_all();
        }
    }

    /// A job whose stream nobody will read: it has nothing.
    pub fn skip(&self, job: usize) {
        self.finish(&mut self.lock(), job, true);
    }
}

/// A job's blocks as one stream.
pub(super) struct Stream {
    ahead: Arc<Ahead>,
    job: usize,
    block: io::Cursor<Vec<u8>>,
}

impl Stream {
    pub fn new(ahead: &Arc<Ahead>, job: usize) -> Stream {
        Stream { ahead: ahead.clone(), job, block: io::Cursor::default() }
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            let n = self.block.read(buf)?;
            if n > 0 || buf.is_empty() {
                return Ok(n);
            }
            match self.ahead.take(self.job)? {
                Some(block) => self.block = io::Cursor::new(block),
                None => return Ok(0),
            }
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.ahead.finish(&mut self.ahead.lock(), self.job, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_far_ahead_waits_and_the_one_whose_turn_it_is_never_does() {
        let ahead = &Ahead::new(2);
        std::thread::scope(|scope| {
            let (first, second) = (ahead.claim().unwrap(), ahead.claim().unwrap());
            assert_eq!(ahead.claim(), None);
            let filling = scope.spawn(move || {
                (0..100)
                    .try_for_each(|_| ahead.push(second, vec![b'\n'; 1 << 20]))
                    .map(|()| ahead.end(second, Ok(())))
            });
            for _ in 0..3 {
                ahead.push(first, vec![b'\n'; 1 << 20]).unwrap();
                assert!(ahead.take(first).unwrap().is_some());
            }
            ahead.end(first, Ok(()));
            assert_eq!(Stream::new(ahead, first).read(&mut [0; 10]).unwrap(), 0);
            assert_eq!(ahead.brought(first).unwrap().unwrap().rows.count, 3 << 20);
            let read = io::copy(&mut Stream::new(ahead, second), &mut io::sink()).unwrap();
            assert_eq!(read, 100 << 20);
            filling.join().unwrap().unwrap();
        });
    }

    #[test]
    fn a_job_that_failed_gives_an_error_and_no_end() {
        let ahead = Ahead::new(1);
        ahead.claim().unwrap();
        ahead.push(0, b"row\n".to_vec()).unwrap();
        ahead.end(0, Err("gone".into()));
        let mut stream = Stream::new(&ahead, 0);
        let mut read = Vec::new();
        assert!(stream.read_to_end(&mut read).is_err() && stream.read(&mut [0; 1]).is_err());
        drop(stream);
        assert!(ahead.brought(0).is_err());
    }
}

//! The queue between the one who walks and those who work. It is short, so that nobody runs ahead.

use super::Job;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// How many jobs wait.
const WAITING_MAX: usize = 24;
/// How often an idle thread looks whether its run was retired.
const IDLE: Duration = Duration::from_millis(500);

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    closed: bool,
}

/// The queue between the one who walks and those who work.
#[derive(Default)]
pub struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

impl Queue {
    /// Adds a job when there is room; gives it back when there is none.
    pub fn offer(&self, job: Job) -> Option<Job> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.jobs.len() >= WAITING_MAX {
            return Some(job);
        }
        waiting.jobs.push_back(job);
        self.changed.notify_one();
        None
    }

    pub fn close(&self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.changed.notify_all();
    }

    /// Drops what waits: nobody wants it any more.
    pub fn abandon(&self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.jobs.clear();
        waiting.closed = true;
        self.changed.notify_all();
    }

    pub fn take(&self) -> Taken {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(job) = waiting.jobs.pop_front() {
            return Taken::Job(job);
        }
        if !waiting.closed {
            waiting = self.changed.wait_timeout(waiting, IDLE).unwrap_or_else(PoisonError::into_inner).0;
        }
        match waiting.jobs.pop_front() {
            Some(job) => Taken::Job(job),
            None if waiting.closed => Taken::End,
            None => Taken::Nothing,
        }
    }
}

/// What a thread gets when it asks.
pub enum Taken {
    Job(Job),
    Nothing,
    End,
}

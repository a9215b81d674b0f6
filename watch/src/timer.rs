//! One dataset's turn: due or not, one run at a time, and again when one failed.
//!
//! A caller keeps [`Timer::last_started_ms`] on disk, before it starts what is due, and gives it back to [`Timer::open`]; so a
//! host that was down for a day runs once. A dataset that never ran is due at once: until then nothing of it can be restored.
//! What failed is tried again after a minute, then two, four and so on up to an hour, where its schedule is not sooner. The
//! caller asks again after [`Due::wait`], since no clock tells it when the other one is set.

use std::time::Duration;

use crate::clock::{Clock, HOUR_MS, MINUTE_MS};
use crate::schedule::{Schedule, Target};

/// Asking costs nothing, and a wall clock set meanwhile is noticed within this time.
const WAIT_MOST: Duration = Duration::from_secs(30);

/// Is it a dataset's turn?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    Now,
    /// Not before this long, if nobody sets a clock.
    In(Duration),
    /// The last run has not ended.
    Running,
}

impl Due {
    /// How long a caller may wait before it asks again.
    pub fn wait(self) -> Duration {
        match self {
            Due::Now => Duration::ZERO,
            Due::In(length) => length.min(WAIT_MOST),
            Due::Running => WAIT_MOST,
        }
    }
}

/// One dataset's turn.
#[derive(Debug, Clone)]
pub struct Timer {
    schedule: Schedule,
    last_ms: Option<i64>,
    target: Target,
    again: Option<Target>,
    failures: u32,
    running: bool,
}

impl Timer {
    /// `last_started_ms` as kept from an earlier process; none if there never was a run.
    pub fn open(schedule: Schedule, last_started_ms: Option<i64>, now: Clock) -> Timer {
        let target = match last_started_ms {
            Some(last) => schedule.next(last, now),
            None => Target { wall_ms: i64::MIN, steady_ms: 0 },
        };
        Timer { schedule, last_ms: last_started_ms, target, again: None, failures: 0, running: false }
    }

    pub fn due(&self, now: Clock) -> Due {
        if self.running {
            return Due::Running;
        }
        let left = |target: &Target| {
            let wall = (i128::from(target.wall_ms) - i128::from(now.wall_ms)).max(0) as u128;
            wall.min(u128::from(target.steady_ms.saturating_sub(now.steady_ms))) as u64
        };
        let left = left(&self.target).min(self.again.as_ref().map_or(u64::MAX, left));
        if left == 0 { Due::Now } else { Due::In(Duration::from_millis(left)) }
    }

    /// A run starts; all that was due before counts as covered by it.
    pub fn started(&mut self, now: Clock) {
        self.running = true;
        self.last_ms = Some(now.wall_ms);
        self.target = self.schedule.next(now.wall_ms, now);
        self.again = None;
    }

    /// The run ended, well or not.
    pub fn finished(&mut self, now: Clock, good: bool) {
        self.running = false;
        self.failures = if good { 0 } else { self.failures.saturating_add(1) };
        if !good {
            let wait = (MINUTE_MS << (self.failures - 1).min(6)).min(HOUR_MS);
            let steady_ms = now.steady_ms.saturating_add(wait as u64);
            self.again = Some(Target { wall_ms: now.wall_ms.saturating_add(wait), steady_ms });
        }
    }

    /// What the next process must know.
    pub fn last_started_ms(&self) -> Option<i64> {
        self.last_ms
    }

    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }
}

//! One dataset's turn: due or not, one run at a time, and again when one failed.
//!
//! A caller keeps [`Timer::past`] on disk, written when a run starts and when it ended, and gives it back to [`Timer::open`]; so a
//! host that was down for a day runs once. A dataset that never ran is due at once: until then nothing of it can be restored.
//! What failed is tried again after a minute, then two, four and so on up to an hour, where its schedule is not sooner; a run
//! that never ended, because its process was killed, counts as failed. The caller asks again after [`Due::wait`], since no
//! clock tells it when the other one is set.

use std::time::Duration;

use serde::{Deserialize, Serialize};

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

/// What the next process must know of a dataset's runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    /// The last start, by the wall clock.
    pub started_ms: i64,
    /// Runs that failed since the last good one; one that has not ended counts.
    pub failures: u32,
}

/// One dataset's turn.
#[derive(Debug, Clone)]
pub struct Timer {
    schedule: Schedule,
    past: Option<Past>,
    target: Target,
    again: Option<Target>,
    running: bool,
}

impl Timer {
    /// `past` as kept from an earlier process; none if there never was a run.
    pub fn open(schedule: Schedule, past: Option<Past>, now: Clock) -> Timer {
        let Some(known) = past else {
            return Timer { schedule, past, target: Target { wall_ms: i64::MIN, steady_ms: 0 }, again: None, running: false };
        };
        let gone = now.wall_ms.saturating_sub(known.started_ms);
        let wait = |wait: i64| if gone < 0 { wait } else { (wait - gone).max(0) };
        let again = again_after(known.failures).map(|length| after(now, wait(length)));
        Timer { target: schedule.next(known.started_ms, now), schedule, past, again, running: false }
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
        let failures = self.past.map_or(0, |past| past.failures).saturating_add(1);
        self.past = Some(Past { started_ms: now.wall_ms, failures });
        self.target = self.schedule.next(now.wall_ms, now);
        self.running = true;
        self.again = None;
    }

    /// The run ended, well or not.
    pub fn finished(&mut self, now: Clock, good: bool) {
        self.running = false;
        if let Some(past) = self.past.as_mut().filter(|_| good) {
            past.failures = 0;
        }
        self.again = self.past.and_then(|past| again_after(past.failures)).map(|length| after(now, length));
    }

    /// What the next process must know; changed by `started` and `finished`.
    pub fn past(&self) -> Option<Past> {
        self.past
    }

    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }
}

/// How long until what failed so often is tried again.
fn again_after(failures: u32) -> Option<i64> {
    let doubled = failures.checked_sub(1)?.min(6);
    Some((MINUTE_MS << doubled).min(HOUR_MS))
}

fn after(now: Clock, wait: i64) -> Target {
    Target { wall_ms: now.wall_ms.saturating_add(wait), steady_ms: now.steady_ms.saturating_add(wait as u64) }
}

//! What is left of a duration: a timer of the kernel's that is asked, so that no clock is read.
//!
//! It counts while the host is suspended, as leases do.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{Timespec as Limit, poll};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};

#[derive(Debug)]
pub(super) struct Budget {
    timer: OwnedFd,
    whole: Duration,
}

impl Budget {
    pub fn of(whole: Duration) -> io::Result<Budget> {
        let timer = rustix::time::timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC)?;
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        // Nothing at all would not start the timer.
        let it_value = Timespec { tv_sec: seconds(whole), tv_nsec: i64::from(whole.subsec_nanos()).max(1) };
        rustix::time::timerfd_settime(&timer, TimerfdTimerFlags::empty(), &Itimerspec { it_interval: zero, it_value })?;
        Ok(Budget { timer, whole })
    }

    pub fn whole(&self) -> Duration {
        self.whole
    }

    /// Nothing, when it is over.
    pub fn left(&self) -> Duration {
        let left = rustix::time::timerfd_gettime(&self.timer).map(|set| set.it_value);
        // It cannot fail on a timer; if it did, no time is left: that errs on the side that stops.
        left.map_or(Duration::ZERO, |left| Duration::new(u64::try_from(left.tv_sec).unwrap_or(0), u32::try_from(left.tv_nsec).unwrap_or(0)))
    }

    pub fn is_over(&self) -> bool {
        self.left().is_zero()
    }

    /// Waits a moment, or as long as is left.
    pub fn pause(&self, moment: Duration) -> io::Result<()> {
        let moment = moment.min(self.left());
        let limit = Limit { tv_sec: seconds(moment), tv_nsec: i64::from(moment.subsec_nanos()) };
        match poll(&mut [], Some(&limit)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn seconds(time: Duration) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

//! The errors of this crate: timers that do not fit, each inequality with its numbers.

use std::time::Duration;

/// Which inequality of the timers fails.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error(
        "three heartbeats and a request must fit before fencing: 3 x {} s + {} s = {} s, and lease - fencing = {} s - {} s = {} s",
        secs(heartbeat), secs(request), secs(&(*heartbeat * 3 + *request)), secs(lease), secs(fencing), secs(&lease.saturating_sub(*fencing))
    )]
    Heartbeats { heartbeat: Duration, request: Duration, lease: Duration, fencing: Duration },
    #[error(
        "failsafe must not begin before two heartbeats and a request were lost: 2 x {} s + {} s = {} s, and failsafe = {} s",
        secs(heartbeat), secs(request), secs(&(*heartbeat * 2 + *request)), secs(failsafe)
    )]
    FailsafeEarly { heartbeat: Duration, request: Duration, failsafe: Duration },
    #[error(
        "three rounds of HOLD must fit between failsafe and fencing: {} s + 3 x {} s = {} s, and lease - fencing = {} s - {} s = {} s",
        secs(failsafe), secs(request), secs(&(*failsafe + *request * 3)), secs(lease), secs(fencing), secs(&lease.saturating_sub(*fencing))
    )]
    FailsafeLate { failsafe: Duration, request: Duration, lease: Duration, fencing: Duration },
    #[error(
        "stepping down must fit into the fencing budget: closing the gate, dropping the address and stopping take {} s, and fencing = {} s",
        secs(stepping_down),
        secs(fencing)
    )]
    Fencing { stepping_down: Duration, fencing: Duration },
    #[error(
        "the watchdog's margin must cover drifted clocks: 2 x 1 % of {} s + 0.4 s = {} s, and watchdog = {} s",
        secs(lease),
        secs(least),
        secs(watchdog)
    )]
    Watchdog { lease: Duration, least: Duration, watchdog: Duration },
    #[error("the kernel must close after we began to fence: watchdog = {} s, and fencing = {} s", secs(watchdog), secs(fencing))]
    WatchdogLong { watchdog: Duration, fencing: Duration },
}

fn secs(span: &Duration) -> f64 {
    span.as_secs_f64()
}

//! The protocol's timers, refused unless the inequalities hold on which its safety rests.
//!
//! One set is made at the arbiter, travels in each grant, and holds for that epoch: two hosts that computed with different
//! numbers would not know when the other's lease is over. A set that comes over the wire is checked again, all but the time that stepping
//! down takes, which only the node knows.
//!
//! The lease is safe because (in real time, clocks of rates 1 ± rho/2) the kernel closes the gate at most `(TTL - W) / (1 - rho/2)` and
//! 0.4 s after a renewal was sent, and the arbiter grants at least `(TTL + G) / (1 + rho/2)` after it received it, which is later.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Error;

/// The kernel removes an address up to 0.35 s late; with what reading the clock costs, this much.
const KERNEL_LATE: Duration = Duration::from_millis(400);

/// The numbers, not yet checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Values {
    /// H: how often the active renews.
    pub heartbeat: Duration,
    /// RPC: how long an answer is waited for.
    pub request: Duration,
    /// TTL.
    pub lease: Duration,
    /// Tfs: without a renewal for this long, the active asks the members.
    pub failsafe: Duration,
    /// F: how long before the lease's end the active begins to step down.
    pub fencing: Duration,
    /// W: how long before the lease's end the kernel closes by itself.
    pub watchdog: Duration,
}

impl Values {
    pub const DEFAULT: Values = Values {
        heartbeat: Duration::from_secs(5),
        request: Duration::from_secs(2),
        lease: Duration::from_secs(30),
        failsafe: Duration::from_secs(12),
        fencing: Duration::from_secs(10),
        watchdog: Duration::from_secs(3),
    };
    pub const FAST: Values = Values {
        heartbeat: Duration::from_secs(1),
        request: Duration::from_millis(500),
        lease: Duration::from_secs(6),
        failsafe: Duration::from_millis(2500),
        fencing: Duration::from_secs(2),
        watchdog: Duration::from_secs(1),
    };
}

/// Timers that fit each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Values", into = "Values")]
pub struct Timers {
    values: Values,
    grace: Duration,
}

/// Twice rho (1 %) of a span: how far two clocks may drift apart in it.
pub fn drift(span: Duration) -> Duration {
    span / 50
}

impl Timers {
    /// Refuses numbers that would not keep two nodes apart. `stepping_down` is how long a node takes to close the gate, drop the address
    /// and stop gracefully.
    pub fn new(values: Values, stepping_down: Duration) -> Result<Timers, Error> {
        let Values { heartbeat, request, lease, failsafe, fencing, watchdog } = values;
        let before_fencing = lease.saturating_sub(fencing);
        if heartbeat * 3 + request > before_fencing {
            return Err(Error::Heartbeats { heartbeat, request, lease, fencing });
        }
        if failsafe < heartbeat * 2 + request {
            return Err(Error::FailsafeEarly { heartbeat, request, failsafe });
        }
        if failsafe + request * 3 > before_fencing {
            return Err(Error::FailsafeLate { failsafe, request, lease, fencing });
        }
        if fencing < stepping_down {
            return Err(Error::Fencing { stepping_down, fencing });
        }
        let least = drift(lease) + KERNEL_LATE;
        if watchdog < least {
            return Err(Error::Watchdog { lease, least, watchdog });
        }
        if watchdog > fencing {
            return Err(Error::WatchdogLong { watchdog, fencing });
        }
        Ok(Timers { values, grace: Duration::from_secs(1) + drift(lease) })
    }

    /// For the simulator's mutants only: numbers that [`Timers::new`] refuses.
    #[doc(hidden)]
    pub const fn unchecked(values: Values, grace: Duration) -> Timers {
        Timers { values, grace }
    }

    pub const fn heartbeat(&self) -> Duration {
        self.values.heartbeat
    }

    pub const fn request(&self) -> Duration {
        self.values.request
    }

    pub const fn lease(&self) -> Duration {
        self.values.lease
    }

    pub const fn failsafe(&self) -> Duration {
        self.values.failsafe
    }

    pub const fn fencing(&self) -> Duration {
        self.values.fencing
    }

    pub const fn watchdog(&self) -> Duration {
        self.values.watchdog
    }

    /// G = 1 s + 2 rho TTL.
    pub const fn grace(&self) -> Duration {
        self.grace
    }

    /// TTL + G: after this long without a word, a lease is over by anyone's clock.
    pub fn over(&self) -> Duration {
        self.lease() + self.grace()
    }
}

impl TryFrom<Values> for Timers {
    type Error = Error;

    fn try_from(values: Values) -> Result<Timers, Error> {
        Timers::new(values, Duration::ZERO)
    }
}

impl From<Timers> for Values {
    fn from(timers: Timers) -> Values {
        timers.values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn both_profiles_fit_and_grace_is_what_was_specified() {
        assert_eq!(Timers::new(Values::DEFAULT, ms(10_000)).unwrap().grace(), ms(1600));
        assert_eq!(Timers::new(Values::FAST, ms(2000)).unwrap().grace(), ms(1120));
    }

    #[test]
    fn each_refusal_names_its_inequality_and_the_numbers() {
        let with = |change: fn(&mut Values)| {
            let mut values = Values::DEFAULT;
            change(&mut values);
            Timers::new(values, ms(4000)).unwrap_err().to_string()
        };
        let told = [
            with(|v| v.heartbeat = ms(6500)),
            with(|v| v.failsafe = ms(11_999)),
            with(|v| v.failsafe = ms(14_001)),
            with(|v| (v.fencing, v.watchdog) = (ms(3999), ms(1000))),
            with(|v| v.watchdog = ms(999)),
            with(|v| v.watchdog = ms(10_001)),
        ];
        let numbers = [
            "3 x 6.5 s + 2 s = 21.5 s, and lease - fencing = 30 s - 10 s = 20 s",
            "2 x 5 s + 2 s = 12 s, and failsafe = 11.999 s",
            "14.001 s + 3 x 2 s = 20.001 s",
            "take 4 s, and fencing = 3.999 s",
            "0.4 s = 1 s, and watchdog = 0.999 s",
            "watchdog = 10.001 s, and fencing = 10 s",
        ];
        for (told, number) in told.iter().zip(numbers) {
            assert!(told.contains(number), "{told}");
        }
    }

    #[test]
    fn a_set_from_the_wire_is_checked_again() {
        let good = serde_json::to_string(&Timers::new(Values::FAST, Duration::ZERO).unwrap()).unwrap();
        assert_eq!(serde_json::from_str::<Timers>(&good).unwrap().lease(), ms(6000));
        let bad = serde_json::to_string(&Values { watchdog: Duration::ZERO, ..Values::FAST }).unwrap();
        assert!(serde_json::from_str::<Timers>(&bad).is_err());
    }
}

//! Time as this crate knows it: milliseconds of one host's boot-time clock, handed in.
//!
//! A [`Time`] means something only on the host and in the boot that it was read in. So nothing that crosses the wire or survives a reboot is
//! a bare `Time`: what a peer echoes is a [`Stamp`], which names the boot, and whoever gets one back believes it only if boot and order fit.
//! Without the boot, an answer to a question of before a reboot would carry a time of the far future, and a lease would never end.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Milliseconds since this host booted, suspend included (CLOCK_BOOTTIME).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Time(u64);

impl Time {
    pub const fn from_ms(ms: u64) -> Time {
        Time(ms)
    }

    pub const fn as_ms(self) -> u64 {
        self.0
    }

    /// How long after `earlier`; nothing when it is not after it.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Time;

    fn add(self, span: Duration) -> Time {
        Time(self.0.saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Time {
    type Output = Time;

    fn sub(self, span: Duration) -> Time {
        Time(self.0.saturating_sub(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

/// One boot of one host, as the kernel names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BootId(pub String);

/// When something was sent, by the sender's clock; peers echo it and never compute with it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Stamp {
    pub boot: BootId,
    pub at: Time,
}

impl Stamp {
    /// Was `earlier` sent before this one, as far as one can know? Of two boots nothing is known, so the later to arrive counts.
    pub fn is_after(&self, earlier: &Stamp) -> bool {
        self.boot != earlier.boot || self.at > earlier.at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_saturate_at_both_ends() {
        let time = Time::from_ms(5);
        assert_eq!(time - Duration::from_secs(1), Time::default());
        assert_eq!(time + Duration::MAX, Time::from_ms(u64::MAX));
        assert_eq!(Time::default().since(time), Duration::ZERO);
    }
}

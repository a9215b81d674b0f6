//! A host's boot-time clock: its own rate, its own zero, and standing still while the host is frozen.

use election::Time;

/// Real time of the simulated world, in microseconds; nobody in it can read it.
pub type Real = u64;

pub const MS: Real = 1000;
pub const S: Real = 1_000_000;

#[derive(Clone, Debug)]
pub struct Clock {
    /// Parts per million off.
    pub rate_ppm: i64,
    zero: Real,
    /// What it showed at `zero`.
    shown: u64,
    frozen: Real,
    frozen_since: Option<Real>,
}

impl Clock {
    pub fn boot(now: Real, rate_ppm: i64, shown_ms: u64) -> Clock {
        Clock { rate_ppm, zero: now, shown: shown_ms * MS, frozen: 0, frozen_since: None }
    }

    pub fn freeze(&mut self, now: Real) {
        self.frozen_since.get_or_insert(now);
    }

    pub fn thaw(&mut self, now: Real) {
        if let Some(since) = self.frozen_since.take() {
            self.frozen += now - since;
        }
    }

    pub fn is_frozen(&self) -> bool {
        self.frozen_since.is_some()
    }

    /// Microseconds of this clock.
    pub fn micros(&self, now: Real) -> u64 {
        let standing = self.frozen + self.frozen_since.map_or(0, |since| now - since);
        let passed = i128::from(now - self.zero - standing);
        self.shown + (passed * i128::from(1_000_000 + self.rate_ppm) / 1_000_000) as u64
    }

    pub fn read(&self, now: Real) -> Time {
        Time::from_ms(self.micros(now) / MS)
    }

    /// The first real time at which it shows at least `time`.
    pub fn real(&self, now: Real, time: Time) -> Real {
        let ahead = (time.as_ms() * MS).saturating_sub(self.micros(now));
        let real = u128::from(ahead) * 1_000_000 / u128::from((1_000_000 + self.rate_ppm) as u64);
        now + u64::try_from(real).unwrap_or(u64::MAX / 4).min(1_000_000 * S) + 2
    }
}

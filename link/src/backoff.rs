//! How long to wait before another try: doubled each time up to a bound, and never the same for all who wait.

use std::time::Duration;

#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    pub first: Duration,
    pub most: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff { first: Duration::from_millis(500), most: Duration::from_secs(60) }
    }
}

impl Backoff {
    /// The wait after so many failures, of which there was one at least: between a half and the whole of the doubled time, as `chance` says.
    pub fn after(&self, failures: u32, chance: u64) -> Duration {
        let doubled = self.first.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(self.most);
        let half = doubled / 2;
        half + half.mul_f64((chance % 1000) as f64 / 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_a_bound() {
        let backoff = Backoff::default();
        for failures in 1..100 {
            let (least, most) = (backoff.after(failures, 0), backoff.after(failures, 999));
            assert!(least >= backoff.first / 2 && most <= backoff.most && least <= most);
            assert!(failures < 8 || least == backoff.most / 2);
        }
    }
}

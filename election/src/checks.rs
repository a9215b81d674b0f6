//! Application checks: three failures to fall, two successes to rise, four colours, three local restarts.
//!
//! One bad answer is no outage and one good one is no recovery, so a check changes its word only after several of a kind. Checks run on the
//! active itself; what others see of it only alerts, because a takeover for a broken path between two hosts helps nobody. This piece runs
//! nothing: results are handed in, and it says when to restart the service and when to give up.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Time;

/// What a person sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Colour {
    Green,
    /// Failing, not yet often enough to count.
    Amber,
    /// Failed.
    Red,
    /// Recovered: well again after a failure, not long ago.
    Cyan,
}

/// How many results change the word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thresholds {
    pub fall: u32,
    pub rise: u32,
    /// Local restarts before the service counts as down for good.
    pub restarts_max: u32,
    /// How long a recovered service stays cyan; restarts are counted anew after it.
    pub settle: Duration,
}

impl Default for Thresholds {
    fn default() -> Thresholds {
        Thresholds { fall: 3, rise: 2, restarts_max: 3, settle: Duration::from_secs(600) }
    }
}

/// What to do about a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    Nothing,
    /// It fell: restart it here.
    Restart,
    Recovered,
    /// It fell again after all its restarts: step down.
    GiveUp,
}

/// The standing of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    thresholds: Thresholds,
    /// Results of the same kind in a row that contradict the word.
    against: u32,
    failed: bool,
    recovered: Option<Time>,
    restarts: u32,
}

impl Check {
    pub fn new(thresholds: Thresholds) -> Check {
        Check { thresholds, against: 0, failed: false, recovered: None, restarts: 0 }
    }

    /// One result.
    pub fn observe(&mut self, now: Time, good: bool) -> Advice {
        if self.recovered.is_some_and(|at| now.since(at) >= self.thresholds.settle) {
            (self.recovered, self.restarts) = (None, 0);
        }
        if good != self.failed {
            self.against = 0;
            return Advice::Nothing;
        }
        self.against += 1;
        let needed = if self.failed { self.thresholds.rise } else { self.thresholds.fall };
        if self.against < needed {
            return Advice::Nothing;
        }
        self.against = 0;
        if good {
            (self.failed, self.recovered) = (false, Some(now));
            return Advice::Recovered;
        }
        (self.failed, self.recovered) = (true, None);
        self.restart()
    }

    /// A restart was made and the check failed on: it counts as fallen again, and this says what next.
    pub fn restarted_in_vain(&mut self) -> Advice {
        self.against = 0;
        self.restart()
    }

    fn restart(&mut self) -> Advice {
        if self.restarts == self.thresholds.restarts_max {
            return Advice::GiveUp;
        }
        self.restarts += 1;
        Advice::Restart
    }

    pub fn colour(&self) -> Colour {
        match (self.failed, self.against, self.recovered) {
            (true, _, _) => Colour::Red,
            (false, 1.., _) => Colour::Amber,
            (false, 0, Some(_)) => Colour::Cyan,
            (false, 0, None) => Colour::Green,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(check: &mut Check, at_s: u64, results: &[bool]) -> Vec<Advice> {
        results.iter().map(|good| check.observe(Time::from_ms(at_s * 1000), *good)).collect()
    }

    #[test]
    fn three_failures_fall_and_two_successes_rise() {
        let mut check = Check::new(Thresholds::default());
        assert_eq!(feed(&mut check, 1, &[false, false, true, false, false]), [Advice::Nothing; 5]);
        assert_eq!(check.colour(), Colour::Amber);
        assert_eq!(feed(&mut check, 2, &[false]), [Advice::Restart]);
        assert_eq!(check.colour(), Colour::Red);
        assert_eq!(feed(&mut check, 3, &[true, false, true, true]), [Advice::Nothing, Advice::Nothing, Advice::Nothing, Advice::Recovered]);
        assert_eq!(check.colour(), Colour::Cyan);
        feed(&mut check, 604, &[true]);
        assert_eq!(check.colour(), Colour::Green);
    }

    #[test]
    fn a_service_that_keeps_falling_is_given_up_after_three_restarts() {
        let mut check = Check::new(Thresholds::default());
        let mut told = Vec::new();
        for at in 0..4 {
            told.push(*feed(&mut check, at, &[false, false, false]).last().unwrap());
            feed(&mut check, at, &[true, true]);
        }
        assert_eq!(told, [Advice::Restart, Advice::Restart, Advice::Restart, Advice::GiveUp]);
        let mut down = Check::new(Thresholds::default());
        feed(&mut down, 0, &[false, false, false]);
        assert_eq!(
            [down.restarted_in_vain(), down.restarted_in_vain(), down.restarted_in_vain()],
            [Advice::Restart, Advice::Restart, Advice::GiveUp]
        );
    }
}

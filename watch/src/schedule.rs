//! The rule by which a dataset is due, as a function of what was and of both clocks.
//!
//! *`every`* goes from start to start. The steady clock counts it, so that a wall clock set back stalls nothing; the wall clock
//! may only make it earlier (a suspended host, a clock set forward: one run). *`at`* goes by the wall clock in its zone; the
//! steady clock only bounds the wait: a clock that was set back makes it wait at most once more what it would have waited, and
//! at most [`SET_BACK_MS`] longer. What was missed while a host was down is one run, because a run covers all moments before it.
//!
//! Jitter keeps many datasets from starting in the same second. It comes from a seed, so that it is the same after each start:
//! it makes an interval a little shorter (never longer: an age is judged by the interval that was asked for), and a moment of
//! cron a little later. At most a tenth of the interval, and none below ten seconds.
//!
//! It does not know whether something runs; that is `timer`'s.

use std::time::Duration;

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::clock::{Clock, HOUR_MS, MINUTE_MS, SECOND_MS};
use crate::cron::Cron;
use crate::{Error, words};

/// How far a wall clock may be set back before what was due is due again.
pub const SET_BACK_MS: i64 = 3 * HOUR_MS;

const EVERY_LEAST: Duration = Duration::from_secs(5);
const EVERY_MOST: Duration = Duration::from_secs(86_400);
const JITTER_FROM_MS: i64 = 10 * SECOND_MS;
const JITTER_DEFAULT_MS: i64 = MINUTE_MS;
/// Longest expression that is read from another host.
const FOREIGN_MOST: usize = 200;
const ALLOWANCE_LEAST_MS: i64 = 5 * SECOND_MS;
const ALLOWANCE_MOST_MS: i64 = 6 * HOUR_MS;

/// A schedule as it is written into messages between hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    Every { seconds: u64 },
    At { cron: String, zone: String },
}

/// When a dataset is due.
#[derive(Debug, Clone)]
pub struct Schedule {
    beat: Beat,
    jitter_most_ms: i64,
    /// Which part of the jitter, of 2^32.
    part: u32,
}

#[derive(Debug, Clone)]
enum Beat {
    Every(i64),
    At(Box<Cron>),
}

/// The next due moment by each clock: whichever comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    pub wall_ms: i64,
    pub steady_ms: u64,
}

impl Schedule {
    /// From 5 s to 24 h.
    pub fn every(interval: Duration) -> Result<Schedule, Error> {
        if !(EVERY_LEAST..=EVERY_MOST).contains(&interval) {
            return Err(Error::Interval { given: interval });
        }
        Ok(Schedule { beat: Beat::Every(interval.as_millis() as i64), jitter_most_ms: 0, part: 0 })
    }

    /// By a cron expression of five fields, read in `zone`.
    pub fn at(expression: &str, zone: TimeZone) -> Result<Schedule, Error> {
        Ok(Schedule { beat: Beat::At(Box::new(Cron::parse(expression, zone)?)), jitter_most_ms: 0, part: 0 })
    }

    /// As another host wrote it. Without jitter: this is for judging, not for starting.
    pub fn of(rule: &Rule) -> Result<Schedule, Error> {
        match rule {
            Rule::Every { seconds } => Schedule::every(Duration::from_secs(*seconds)),
            Rule::At { cron, .. } if cron.len() > FOREIGN_MOST => {
                Err(Error::Cron { text: words::line(cron, FOREIGN_MOST), why: format!("is longer than {FOREIGN_MOST} bytes") })
            }
            Rule::At { cron, zone } => {
                let found = TimeZone::get(zone).map_err(|source| Error::Zone { name: zone.clone(), source })?;
                Schedule::at(cron, found)
            }
        }
    }

    /// With jitter by `seed` (cluster, node and dataset), up to `most`; a minute where nothing else is said. Zero is none.
    pub fn with_jitter(mut self, seed: &str, most: Option<Duration>) -> Schedule {
        self.jitter_most_ms = most.map_or(JITTER_DEFAULT_MS, |most| most.as_millis().min(u128::from(u32::MAX)) as i64);
        self.part = scatter(seed);
        self
    }

    /// For other hosts. A zone without a name, as of a host with a hand-made one, is told as UTC.
    pub fn rule(&self) -> Rule {
        match &self.beat {
            Beat::Every(interval) => Rule::Every { seconds: (interval / SECOND_MS) as u64 },
            Beat::At(cron) => Rule::At { cron: cron.text().to_owned(), zone: cron.zone().iana_name().unwrap_or("UTC").to_owned() },
        }
    }

    /// As a person reads it: "every 60 min", "at 0 3 * * *".
    pub fn describe(&self) -> String {
        match &self.beat {
            Beat::Every(interval) => format!("every {}", words::length(*interval)),
            Beat::At(cron) => format!("at {}", cron.text()),
        }
    }

    fn jitter_ms(&self, interval: i64) -> i64 {
        if interval < JITTER_FROM_MS {
            return 0;
        }
        let most = (interval / 10).min(self.jitter_most_ms);
        ((i128::from(most) * i128::from(self.part)) >> 32) as i64
    }

    /// When it is due next, by each clock, if it started last at `last_wall_ms` and now is `now`.
    pub fn next(&self, last_wall_ms: i64, now: Clock) -> Target {
        match &self.beat {
            Beat::Every(interval) => {
                let length = interval - self.jitter_ms(*interval);
                // A start in the future is a clock set back: how long ago it was is not known, so the whole wait is kept.
                let gone = now.wall_ms.saturating_sub(last_wall_ms);
                let wait = if gone < 0 { length } else { (length - gone).max(0) };
                Target { wall_ms: now.wall_ms.saturating_add(wait), steady_ms: now.steady_ms.saturating_add(wait as u64) }
            }
            Beat::At(cron) => {
                // Expressions that end were refused when they were read; a day is for clocks at the end of the calendar.
                let after = |ms: i64| cron.after(ms).unwrap_or(ms.saturating_add(24 * HOUR_MS));
                let patience = |covered: i64| (after(covered) - covered).min(SET_BACK_MS);
                let back = |covered: i64| covered.saturating_sub(now.wall_ms).max(0);
                let believed = back(last_wall_ms) <= patience(last_wall_ms);
                let covered = if believed { last_wall_ms } else { now.wall_ms };
                let next = after(covered);
                let wall_ms = next.saturating_add(self.jitter_ms(after(next) - next));
                let wait = wall_ms.saturating_sub(now.wall_ms).max(0) + patience(covered) - back(covered);
                Target { wall_ms, steady_ms: now.steady_ms.saturating_add(wait as u64) }
            }
        }
    }

    /// Data captured before this moment is late, `now_ms` by the wall clock: an interval ago, and an allowance for the work itself,
    /// half an interval, at least 5 s, at most 6 h, and never more than an interval.
    pub fn late_before(&self, now_ms: i64) -> i64 {
        match &self.beat {
            Beat::Every(interval) => now_ms.saturating_sub(interval + allowance(*interval)),
            Beat::At(cron) => {
                let Some(due) = cron.before(now_ms) else { return now_ms.saturating_sub(48 * HOUR_MS) };
                let gap = cron.after(due).map_or(24 * HOUR_MS, |next| next - due);
                if now_ms - due > allowance(gap) {
                    return due;
                }
                cron.before(due - 1).unwrap_or(due)
            }
        }
    }
}

fn allowance(interval: i64) -> i64 {
    (interval / 2).clamp(ALLOWANCE_LEAST_MS, ALLOWANCE_MOST_MS)
}

/// The same number for the same seed on every host and in every version: FNV-1a, its bits mixed.
fn scatter(seed: &str) -> u32 {
    let mut hash = seed
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    (hash ^ (hash >> 33)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Clock = Clock { wall_ms: 1_795_262_400_000, steady_ms: 1_000 };

    fn every(seconds: u64) -> Schedule {
        Schedule::every(Duration::from_secs(seconds)).unwrap()
    }

    #[test]
    fn intervals_have_bounds() {
        for good in [5, 60, 86_400] {
            assert!(Schedule::every(Duration::from_secs(good)).is_ok(), "{good}");
        }
        for bad in [0, 4, 86_401] {
            assert!(matches!(Schedule::every(Duration::from_secs(bad)), Err(Error::Interval { .. })), "{bad}");
        }
    }

    #[test]
    fn jitter_is_steady_small_and_scattered() {
        let waits: Vec<i64> = (0..100)
            .map(|n| every(100).with_jitter(&format!("shop/web1/{n}"), None).next(NOW.wall_ms, NOW).wall_ms - NOW.wall_ms)
            .collect();
        assert!(waits.iter().all(|wait| (90_000..=100_000).contains(wait)), "{waits:?}");
        let early = waits.iter().filter(|wait| **wait < 95_000).count();
        assert!((20..80).contains(&early), "{early} of 100 in the first half");
        assert_eq!(scatter("shop/web1/shop"), scatter("shop/web1/shop"));
        let none = |schedule: Schedule| schedule.next(NOW.wall_ms, NOW).wall_ms - NOW.wall_ms;
        assert_eq!(none(every(9).with_jitter("seed", None)), 9_000);
        assert_eq!(none(every(86_400).with_jitter("seed", Some(Duration::ZERO))), 86_400_000);
        assert!(none(every(86_400).with_jitter("seed", None)) >= 86_400_000 - 60_000);
    }

    #[test]
    fn jitter_of_cron_comes_after_the_moment() {
        let plain = Schedule::at("0 3 * * *", TimeZone::UTC).unwrap();
        let due = plain.next(NOW.wall_ms, NOW).wall_ms;
        let scattered = plain.with_jitter("shop/web1/shop", Some(Duration::from_secs(600))).next(NOW.wall_ms, NOW).wall_ms;
        assert!((due + 1..=due + 600_000).contains(&scattered), "{}", scattered - due);
    }

    #[test]
    fn late_is_within_two_intervals() {
        for (seconds, after) in [(5, 10_000), (8, 13_000), (60, 90_000), (3_600, 5_400_000), (86_400, 108_000_000)] {
            assert_eq!(NOW.wall_ms - every(seconds).late_before(NOW.wall_ms), after, "{seconds}");
            assert!(after <= 2_000 * seconds as i64);
        }
    }

    #[test]
    fn late_by_cron_goes_by_the_moments_that_were_expected() {
        let daily = Schedule::at("0 3 * * *", TimeZone::UTC).unwrap();
        let ms = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_millisecond();
        let before = |now: &str| words::moment(daily.late_before(ms(now)));
        assert_eq!(before("2026-11-21T03:00:00Z"), "2026-11-20T03:00:00.000Z");
        assert_eq!(before("2026-11-21T09:00:00Z"), "2026-11-20T03:00:00.000Z", "six hours to do it in");
        assert_eq!(before("2026-11-21T09:00:01Z"), "2026-11-21T03:00:00.000Z");
        assert_eq!(before("2026-11-22T02:59:59Z"), "2026-11-21T03:00:00.000Z");
    }

    #[test]
    fn a_rule_travels() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        for schedule in [every(5), Schedule::at("*/5 * * * 1-5", zone).unwrap()] {
            let text = serde_json::to_string(&schedule.rule()).unwrap();
            let read: Rule = serde_json::from_str(&text).unwrap();
            assert_eq!(Schedule::of(&read).unwrap().rule(), schedule.rule());
        }
        assert_eq!(serde_json::to_string(&every(5).rule()).unwrap(), r#"{"every":{"seconds":5}}"#);
        let nowhere = Rule::At { cron: "0 3 * * *".into(), zone: "Europe/Atlantis".into() };
        assert!(matches!(Schedule::of(&nowhere), Err(Error::Zone { .. })));
        let endless = Rule::At { cron: format!("{}1 * * * *", "1,".repeat(100_000)), zone: "UTC".into() };
        assert!(matches!(Schedule::of(&endless), Err(Error::Cron { .. })));
    }
}

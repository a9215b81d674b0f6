//! When a dataset's ping URL is called, in the manner of healthchecks: `start`, success, `fail`.
//!
//! Success is pinged for data only: when the word is ok and newer data was verified than at the last success. So the service
//! that waits for pings goes red by itself when nothing new comes, whatever this host believes. A failure is pinged when the
//! word turns; each kind once a minute at most, but for the success that ends a failure. The binaries make the request; a ping
//! that fails is not repeated, as the next one says more.

use crate::clock::{Clock, MINUTE_MS};
use crate::health::{Evidence, Word};

/// What is pinged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ping {
    Start,
    Success,
    Fail,
}

impl Ping {
    /// Where: the URL itself for success, else below it; what stands behind `?` stays there.
    pub fn url(self, base: &str) -> String {
        let (path, query) = base.split_once('?').map_or((base, None), |(path, query)| (path, Some(query)));
        let path = path.trim_end_matches('/');
        let below = match self {
            Ping::Start => "/start",
            Ping::Success => "",
            Ping::Fail => "/fail",
        };
        query.map_or_else(|| format!("{path}{below}"), |query| format!("{path}{below}?{query}"))
    }
}

/// What was pinged for one dataset, in this process.
#[derive(Debug, Clone, Default)]
pub struct Pings {
    captured_ms: Option<i64>,
    failing: bool,
    success_steady_ms: Option<u64>,
    fail_steady_ms: Option<u64>,
    start_steady_ms: Option<u64>,
}

impl Pings {
    /// A run starts.
    pub fn started(&mut self, now: Clock) -> Option<Ping> {
        if rested(self.start_steady_ms, now) {
            self.start_steady_ms = Some(now.steady_ms);
            return Some(Ping::Start);
        }
        None
    }

    /// A judgement was made on this evidence.
    pub fn observe(&mut self, word: Word, evidence: &Evidence, now: Clock) -> Option<Ping> {
        if word != Word::Ok {
            if self.failing || !rested(self.fail_steady_ms, now) {
                return None;
            }
            (self.failing, self.fail_steady_ms) = (true, Some(now.steady_ms));
            return Some(Ping::Fail);
        }
        let newer = evidence.captured_ms.is_some() && evidence.captured_ms != self.captured_ms;
        if newer && (self.failing || rested(self.success_steady_ms, now)) {
            self.captured_ms = evidence.captured_ms;
            self.success_steady_ms = Some(now.steady_ms);
            self.failing = false;
            return Some(Ping::Success);
        }
        None
    }
}

fn rested(last: Option<u64>, now: Clock) -> bool {
    last.is_none_or(|last| now.steady_ms.saturating_sub(last) >= MINUTE_MS as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(seconds: u64) -> Clock {
        Clock { wall_ms: 1_795_262_400_000, steady_ms: seconds * 1_000 }
    }

    fn captured(ms: i64) -> Evidence {
        Evidence { captured_ms: Some(ms), ..Evidence::default() }
    }

    #[test]
    fn only_newer_data_is_a_success() {
        let mut pings = Pings::default();
        assert_eq!(pings.observe(Word::Ok, &captured(1), now(0)), Some(Ping::Success));
        assert_eq!(pings.observe(Word::Ok, &captured(1), now(600)), None, "the same data again");
        assert_eq!(pings.observe(Word::Ok, &captured(2), now(601)), Some(Ping::Success));
        assert_eq!(pings.observe(Word::Ok, &captured(3), now(606)), None, "too soon");
        assert_eq!(pings.observe(Word::Late, &captured(3), now(700)), Some(Ping::Fail));
        assert_eq!(pings.observe(Word::Failing, &captured(3), now(701)), None, "once for each turn");
        assert_eq!(pings.observe(Word::Ok, &captured(4), now(702)), Some(Ping::Success));
        assert_eq!(pings.observe(Word::Failing, &captured(4), now(703)), None, "too soon");
        assert_eq!(pings.observe(Word::Never, &Evidence::default(), now(760)), Some(Ping::Fail));
    }

    #[test]
    fn starts_are_not_a_flood() {
        let mut pings = Pings::default();
        let told = (0..120).filter(|second| pings.started(now(*second)).is_some()).count();
        assert_eq!(told, 2);
    }

    #[test]
    fn urls() {
        assert_eq!(Ping::Start.url("https://hc.example.org/uuid/"), "https://hc.example.org/uuid/start");
        assert_eq!(Ping::Success.url("https://hc.example.org/uuid"), "https://hc.example.org/uuid");
        assert_eq!(Ping::Fail.url("https://hc.example.org/uuid?create=1"), "https://hc.example.org/uuid/fail?create=1");
    }
}

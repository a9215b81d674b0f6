//! Cron expressions of five fields as sequences of moments in a time zone.
//!
//! A fixed time that the clock skips in spring is due when the skipped hour ends, once; one that the clock repeats in autumn is
//! due the first time only. What is due every so many minutes keeps that rhythm through both. Expressions without a single
//! moment (30 February) are refused when they are read: a schedule that silently never comes is worse than none.

use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use crate::Error;

/// 2026-01-01. Five fields repeat for ever, so that any moment shows whether there is a next one.
const PROBE_MS: i64 = 1_767_225_600_000;
/// Moments outside 1970 to 4000 come from broken clocks; the search has bounds, and must not meet them.
const LATEST_MS: i64 = 64_060_588_800_000;

#[derive(Debug, Clone)]
pub(crate) struct Cron {
    text: String,
    parsed: croner::Cron,
    zone: TimeZone,
}

impl Cron {
    pub fn parse(text: &str, zone: TimeZone) -> Result<Cron, Error> {
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let wrong = |source: croner::errors::CronError| Error::Cron { text: text.to_owned(), why: source.to_string() };
        let cron = Cron { text: text.to_owned(), parsed: parser.parse(text).map_err(wrong)?, zone };
        if cron.after(PROBE_MS).is_none() {
            return Err(Error::CronNever { text: text.to_owned() });
        }
        Ok(cron)
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    fn zoned(&self, ms: i64) -> Option<Zoned> {
        Some(Timestamp::from_millisecond(ms.clamp(0, LATEST_MS)).ok()?.to_zoned(self.zone.clone()))
    }

    /// The first due moment after `ms`.
    pub fn after(&self, ms: i64) -> Option<i64> {
        let found = self.parsed.find_next_occurrence(&self.zoned(ms)?, false).ok()?;
        Some(found.timestamp().as_millisecond())
    }

    /// The last due moment at or before `ms`.
    pub fn before(&self, ms: i64) -> Option<i64> {
        let found = self.parsed.find_previous_occurrence(&self.zoned(ms)?, true).ok()?;
        Some(found.timestamp().as_millisecond())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cron(text: &str, zone: &str) -> Cron {
        Cron::parse(text, TimeZone::get(zone).unwrap()).unwrap()
    }

    fn ms(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    /// All moments in a stretch, as UTC.
    fn moments(cron: &Cron, from: &str, to: &str) -> Vec<String> {
        let mut at = ms(from);
        let mut list = Vec::new();
        while let Some(next) = cron.after(at).filter(|next| *next < ms(to)) {
            list.push(Timestamp::from_millisecond(next).unwrap().to_string());
            at = next;
        }
        list
    }

    #[test]
    fn a_skipped_hour_is_due_once() {
        // Berlin, 29 March 2026: 02:00 becomes 03:00 (01:00 UTC).
        let found = moments(&cron("30 2 * * *", "Europe/Berlin"), "2026-03-27T12:00:00Z", "2026-03-31T12:00:00Z");
        assert_eq!(found, ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z", "2026-03-31T00:30:00Z"]);
    }

    #[test]
    fn a_repeated_hour_is_due_once() {
        // Berlin, 25 October 2026: 03:00 becomes 02:00 (01:00 UTC).
        let found = moments(&cron("30 2 * * *", "Europe/Berlin"), "2026-10-23T12:00:00Z", "2026-10-27T12:00:00Z");
        assert_eq!(found, ["2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z", "2026-10-27T01:30:00Z"]);
    }

    #[test]
    fn a_rhythm_keeps_through_both_changes() {
        for (from, to) in [("2026-03-29T00:00:00Z", "2026-03-29T03:00:01Z"), ("2026-10-24T23:00:00Z", "2026-10-25T02:00:01Z")] {
            let found = moments(&cron("*/15 * * * *", "Europe/Berlin"), from, to);
            assert_eq!(found.len(), 12, "{found:?}");
            assert!(found.windows(2).all(|two| ms(&two[1]) - ms(&two[0]) == 900_000), "{found:?}");
        }
        let hourly = moments(&cron("0 * * * *", "Europe/Berlin"), "2026-10-24T22:59:59Z", "2026-10-25T03:00:01Z");
        assert_eq!(hourly.len(), 5, "{hourly:?}");
    }

    #[test]
    fn expressions_that_are_wrong_or_never_due_are_refused() {
        let zone = TimeZone::UTC;
        for text in [
            "",
            "0 3 * *",
            "0 0 3 * * *",
            "61 * * * *",
            "* 24 * * *",
            "0 0 0 * *",
            "0 0 * 13 *",
            "0 0 * * 8",
            "*/0 * * * *",
            "5- * * * *",
            "a b c d e",
        ] {
            assert!(matches!(Cron::parse(text, zone.clone()), Err(Error::Cron { .. })), "{text}");
        }
        for text in ["0 0 30 2 *", "0 0 31 4,6,9,11 *"] {
            assert!(matches!(Cron::parse(text, zone.clone()), Err(Error::CronNever { .. })), "{text}");
        }
        assert!(cron("0 0 29 2 *", "UTC").after(ms("2026-03-01T00:00:00Z")).is_some());
    }

    #[test]
    fn clocks_beyond_reason_still_find_a_moment() {
        for at in [i64::MIN, -1, 0, LATEST_MS, i64::MAX] {
            assert!(cron("0 3 * * *", "Europe/Berlin").after(at).is_some(), "{at}");
        }
    }

    use proptest::prelude::*;

    proptest! {
        /// Backwards and forwards tell of the same moments, in zones that skip and repeat an hour, half an hour, or midnight.
        #[test]
        fn both_directions_agree(
            text in prop::sample::select(vec!["*/15 * * * *", "30 2 * * *", "0 0 * * *", "15 1,2,3 * * *", "0 3 * * 1", "45 0-4 1,25 * *"]),
            zone in prop::sample::select(vec!["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Havana", "Asia/Kolkata"]),
            change in prop::sample::select(vec!["2026-03-29T01:00:00Z", "2026-10-25T01:00:00Z", "2026-03-08T07:00:00Z", "2026-11-01T06:00:00Z", "2026-04-04T15:00:00Z", "2026-10-03T15:30:00Z", "2026-03-08T05:00:00Z"]),
            off in -90_000_000..90_000_000_i64,
        ) {
            let (cron, at) = (cron(text, zone), ms(change) + off);
            let (before, after) = (cron.before(at).unwrap(), cron.after(at).unwrap());
            prop_assert!(before <= at && at < after);
            prop_assert_eq!(cron.after(before), Some(after));
            prop_assert_eq!(cron.before(after), Some(after));
            prop_assert_eq!(cron.before(after - 1), Some(before));
        }
    }
}

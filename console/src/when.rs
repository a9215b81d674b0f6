//! `--at`: which snapshot is meant.
//!
//! A time means the newest snapshot at or before it; a date alone means the end of that day. Times are the caller's, in the zone
//! of `now`, which is an argument. Where clocks are put back and a time happens twice, the later one is meant; where they are put
//! forward and it never happens, the moment of the change is: either way, what the clock on the wall had shown by then.
//!
//! Six or more hexadecimal digits and nothing else are the beginning of a snapshot's id, so `20261101` is an id and never a
//! date: dates have their hyphens.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Span, Timestamp, ToSpan, Zoned};

use crate::Error;

/// What may stand after `--at`.
pub const FORMS: &str = "write `latest`, a snapshot's id, \"2026-11-01\", \"2026-11-01 13:00\", \"2026-11-01T13:00:00Z\", \"3 days ago\" or \"yesterday 14:00\"";

/// Which snapshot is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum When {
    Latest,
    /// The beginning of an id: 6 to 32 lower-case hexadecimal digits.
    Snapshot(String),
    /// The newest at or before.
    At(Timestamp),
}

/// Reads `text` as it follows `--at`.
pub fn parse(text: &str, now: &Zoned) -> Result<When, Error> {
    let plain = text.trim().to_ascii_lowercase();
    let wrong = |why: String| Error::When { text: text.to_owned(), why };
    if plain == "latest" {
        return Ok(When::Latest);
    }
    if !plain.is_empty() && plain.bytes().all(|b| b.is_ascii_hexdigit()) {
        return match plain.len() {
            6..=32 => Ok(When::Snapshot(plain)),
            0..6 => Err(wrong("an id needs its first six digits at least".into())),
            _ => Err(wrong("an id has 32 digits at most".into())),
        };
    }
    if let Some(past) = plain.strip_suffix(" ago") {
        return ago(past, now).map(When::At).map_err(wrong);
    }
    // A zone of its own: the caller's does not matter.
    if let Ok(moment) = text.trim().parse::<Timestamp>() {
        return Ok(When::At(moment));
    }
    let (day, rest) = plain.split_once([' ', 't']).unwrap_or((&plain, ""));
    let (day, rest) = match (plain.strip_prefix("today"), plain.strip_prefix("yesterday")) {
        (Some(rest), _) => (now.date(), rest),
        (_, Some(rest)) => (now.date().yesterday().map_err(|error| wrong(error.to_string()))?, rest),
        _ => (date(day).map_err(wrong)?, rest),
    };
    let zone = now.time_zone();
    let moment = match rest.trim() {
        "" => end_of(day, zone),
        clock => time(clock).and_then(|clock| resolve(day.to_datetime(clock), zone)),
    };
    moment.map(When::At).map_err(wrong)
}

fn date(text: &str) -> Result<Date, String> {
    let shape: Vec<usize> = text.split('-').map(str::len).collect();
    let digits = text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    if !digits || shape != [4, 2, 2] {
        return Err("is neither a time nor an id".into());
    }
    text.parse().map_err(|_| "there is no such day".into())
}

/// "13:00" or "13:00:05", with or without a fraction.
fn time(text: &str) -> Result<Time, String> {
    let wrong = || format!("`{text}` is no time of day, as 13:00 or 13:00:05");
    let whole = text.split('.').next().unwrap_or(text);
    let shape: Vec<usize> = whole.split(':').map(str::len).collect();
    if !matches!(shape[..], [2, 2] | [2, 2, 2]) || !text.bytes().all(|b| b.is_ascii_digit() || b":.".contains(&b)) {
        return Err(wrong());
    }
    text.parse().map_err(|_| wrong())
}

fn ago(text: &str, now: &Zoned) -> Result<Timestamp, String> {
    let wrong = || "before `ago` stand a number and a unit, as `3 days`".to_owned();
    let (number, unit) = text.trim().split_once(' ').ok_or_else(wrong)?;
    let number: i64 = number.parse().ok().filter(|n| (0..=1_000_000_000).contains(n)).ok_or_else(wrong)?;
    let span: Result<Span, jiff::Error> = match unit.trim().trim_end_matches('s') {
        "second" | "sec" => Span::new().try_seconds(number),
        "minute" | "min" => Span::new().try_minutes(number),
        "hour" => Span::new().try_hours(number),
        "day" => Span::new().try_days(number),
        "week" => Span::new().try_weeks(number),
        "month" => Span::new().try_months(number),
        "year" => Span::new().try_years(number),
        _ => return Err(format!("`{unit}` is no unit; there are seconds, minutes, hours, days, weeks, months and years")),
    };
    let past = span.and_then(|span| now.checked_sub(span));
    past.map(|past| past.timestamp()).map_err(|_| "is before all calendars".into())
}

/// The last millisecond of the day; times in snapshots have no finer grain.
fn end_of(day: Date, zone: &TimeZone) -> Result<Timestamp, String> {
    let next = day.tomorrow().and_then(|next| next.to_zoned(zone.clone())).and_then(|next| next.start_of_day());
    next.and_then(|next| next.timestamp().checked_sub(1.millisecond()))
        .map_err(|error| error.to_string())
}

fn resolve(at: DateTime, zone: &TimeZone) -> Result<Timestamp, String> {
    let ambiguous = zone.to_ambiguous_zoned(at);
    let moment = match ambiguous.offset() {
        AmbiguousOffset::Gap { .. } => {
            let before = ambiguous.earlier().map_err(|error| error.to_string())?;
            let change = zone.following(before.timestamp()).next();
            return Ok(change.map_or(before.timestamp(), |change| change.timestamp()));
        }
        _ => ambiguous.later(),
    };
    moment.map(|moment| moment.timestamp()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Paris, an hour ahead in winter: 2026-11-21 06:00:30.
    fn now() -> Zoned {
        "2026-11-21T06:00:30+01:00[Europe/Paris]".parse().unwrap()
    }

    fn at(text: &str) -> String {
        match parse(text, &now()) {
            Ok(When::At(moment)) => moment.to_string(),
            other => panic!("{text}: {other:?}"),
        }
    }

    fn why(text: &str) -> String {
        parse(text, &now()).unwrap_err().to_string()
    }

    #[test]
    fn latest_and_ids() {
        assert_eq!(parse("latest", &now()).unwrap(), When::Latest);
        assert_eq!(parse("5F3a9c", &now()).unwrap(), When::Snapshot("5f3a9c".into()));
        assert_eq!(parse("20261101", &now()).unwrap(), When::Snapshot("20261101".into()), "digits alone are an id");
        insta::assert_snapshot!(why("5f3a9"), @r#"--at "5f3a9": an id needs its first six digits at least"#);
        insta::assert_snapshot!(why(&"0".repeat(33)), @r#"--at "000000000000000000000000000000000": an id has 32 digits at most"#);
    }

    #[test]
    fn a_date_is_its_day_to_the_end() {
        assert_eq!(at("2026-11-01"), "2026-11-01T22:59:59.999Z");
        assert_eq!(at("yesterday"), "2026-11-20T22:59:59.999Z");
        assert_eq!(at("2026-03-29"), "2026-03-29T21:59:59.999Z", "a day of 23 hours");
    }

    #[test]
    fn times_stand_in_the_callers_zone() {
        assert_eq!(at("2026-11-01 13:00"), "2026-11-01T12:00:00Z");
        assert_eq!(at("2026-11-01T13:00:05"), "2026-11-01T12:00:05Z");
        assert_eq!(at("2026-07-01 13:00"), "2026-07-01T11:00:00Z");
        assert_eq!(at("yesterday 14:00"), "2026-11-20T13:00:00Z");
        assert_eq!(at("today 05:59:59"), "2026-11-21T04:59:59Z");
    }

    #[test]
    fn a_zone_in_the_text_wins() {
        assert_eq!(at("2026-11-01T13:00:00Z"), "2026-11-01T13:00:00Z");
        assert_eq!(at("2026-11-01T13:00:00-05:00"), "2026-11-01T18:00:00Z");
        assert_eq!(at("2026-11-01 13:00:00.250+00:00"), "2026-11-01T13:00:00.25Z");
    }

    #[test]
    fn ago_counts_back_on_the_calendar() {
        assert_eq!(at("2 hours ago"), "2026-11-21T03:00:30Z");
        assert_eq!(at("1 minute ago"), "2026-11-21T04:59:30Z");
        assert_eq!(at("3 days ago"), "2026-11-18T05:00:30Z");
        assert_eq!(at("4 weeks ago"), "2026-10-24T04:00:30Z", "the same time of day, in summer's hour");
        assert_eq!(at("1 year ago"), "2025-11-21T05:00:30Z");
    }

    #[test]
    fn changes_of_the_clock() {
        // 02:00 became 03:00 on 29 March: 02:30 never was, the change came at 01:00 UTC.
        assert_eq!(at("2026-03-29 02:30"), "2026-03-29T01:00:00Z");
        assert_eq!(at("2026-03-29 01:59"), "2026-03-29T00:59:00Z");
        // 03:00 became 02:00 on 25 October: 02:30 was at 00:30 and at 01:30 UTC; the later one holds both.
        assert_eq!(at("2026-10-25 02:30"), "2026-10-25T01:30:00Z");
    }

    #[test]
    fn what_is_not_understood_says_why() {
        insta::assert_snapshot!(why(""), @r#"--at "": is neither a time nor an id"#);
        insta::assert_snapshot!(why("tomorow"), @r#"--at "tomorow": is neither a time nor an id"#);
        insta::assert_snapshot!(why("2026-13-01"), @r#"--at "2026-13-01": there is no such day"#);
        insta::assert_snapshot!(why("2026-11-01 25:00"), @r#"--at "2026-11-01 25:00": `25:00` is no time of day, as 13:00 or 13:00:05"#);
        insta::assert_snapshot!(why("2026-11-01 1pm"), @r#"--at "2026-11-01 1pm": `1pm` is no time of day, as 13:00 or 13:00:05"#);
        insta::assert_snapshot!(why("3 fortnights ago"), @r#"--at "3 fortnights ago": `fortnights` is no unit; there are seconds, minutes, hours, days, weeks, months and years"#);
        insta::assert_snapshot!(why("some days ago"), @r#"--at "some days ago": before `ago` stand a number and a unit, as `3 days`"#);
        insta::assert_snapshot!(why("99999 years ago"), @r#"--at "99999 years ago": is before all calendars"#);
        insta::assert_snapshot!(why("today14:00x"), @r#"--at "today14:00x": `14:00x` is no time of day, as 13:00 or 13:00:05"#);
    }
}

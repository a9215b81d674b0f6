//! Times, schedules and states as both `link` and `watch` have them.

use console::node_file::Schedule as Configured;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::time::Duration;
use watch::{Rule, Schedule};

/// What a dataset's schedule is taken for where nobody said it: a day, so that it is late after 30 hours.
pub const SUPPOSED: Duration = Duration::from_secs(86_400);

/// A moment between hosts as `watch` counts it.
pub fn ms(unix_ms: u64) -> i64 {
    i64::try_from(unix_ms).unwrap_or(i64::MAX)
}

/// RFC 3339 in UTC.
pub fn moment(unix_ms: u64) -> String {
    let latest = Timestamp::MAX.as_millisecond();
    format!("{:.3}", Timestamp::from_millisecond(ms(unix_ms).min(latest)).unwrap_or_default())
}

/// "12 s", "90 min": how long ago.
pub fn ago(then_ms: u64, now_ms: u64) -> String {
    console::human::duration(Duration::from_millis(now_ms.saturating_sub(then_ms)))
}

/// A dataset's schedule as the node file has it.
pub fn schedule(of: &Configured, zone: &TimeZone) -> Result<Schedule, watch::Error> {
    match of {
        Configured::Every(every) => Schedule::every(*every),
        Configured::At(cron) => Schedule::at(cron, zone.clone()),
    }
}

/// A schedule as its exporter told it; whether it is only supposed.
pub fn told(rule: Option<&Rule>) -> (Option<Schedule>, bool) {
    match rule.map(Schedule::of) {
        Some(Ok(schedule)) => (Some(schedule), false),
        _ => (Schedule::every(SUPPOSED).ok(), true),
    }
}

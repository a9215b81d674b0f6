//! Cron expressions in a configuration: whether they can be meant, and which field is wrong when not.
//!
//! The same parser as the daemons use says so here, so that a mistake has its line and is not found at night. When an
//! expression is due is theirs.

use croner::parser::{CronParser, Seconds, Year};
use jiff::civil::{DateTime, date};

const FIELDS: [(&str, &str); 5] = [
    ("minute", "0 to 59"),
    ("hour", "0 to 23"),
    ("day of the month", "1 to 31"),
    ("month", "1 to 12, or JAN to DEC"),
    ("weekday", "0 to 7, or SUN to SAT"),
];
/// Five fields repeat for ever, so that any day shows whether there is a next one.
const PROBE: DateTime = date(2026, 1, 1).at(0, 0, 0, 0);

/// The expression with single blanks.
pub(crate) fn check(text: &str) -> Result<String, String> {
    let fields: Vec<&str> = text.split_ascii_whitespace().collect();
    if fields.len() != FIELDS.len() {
        return Err(format!("`{text}` has {} fields; a cron expression has five: minute hour day month weekday", fields.len()));
    }
    for (at, field) in fields.iter().enumerate() {
        let letters = field.bytes().all(|b| b.is_ascii_alphanumeric() || b"*,-/#?".contains(&b));
        let mut alone = ["*"; FIELDS.len()];
        alone[at] = field;
        if !letters || parser().parse(&alone.join(" ")).is_err() {
            let (name, range) = FIELDS[at];
            return Err(format!("`{field}` is no {name}: {range}, `*`, lists (1,15), ranges (1-5) or steps (*/15)"));
        }
    }
    let plain = fields.join(" ");
    let cron = parser().parse(&plain).map_err(|_| format!("`{plain}` is no cron expression"))?;
    if cron.find_next_occurrence(&PROBE, false).is_err() {
        return Err(format!("`{plain}` is never due: no month of these has such a day"));
    }
    Ok(plain)
}

fn parser() -> CronParser {
    CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build()
}

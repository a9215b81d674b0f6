//! Sizes, ages, times and names as a person reads them.
//!
//! Sizes are decimal (1 MB is 1,000,000 bytes), as disks are sold and as PERFORMANCE.md counts. Names come from the file
//! systems of others: what could move a terminal's cursor or hide in it is shown as an escape, and so is what is not UTF-8.
//! `--json` uses none of this.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// "512 B", "3.6 MB", "1.24 GB": three digits that count.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if count < 1_000 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1_000.0;
    let mut unit = 0;
    // 999.5 would be printed as 1000.
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1_000.0;
        unit += 1;
    }
    let digits = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    let number = format!("{value:.digits$}");
    let number = if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { &number };
    format!("{number} {}", UNITS[unit])
}

/// "49,000".
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// "850 ms", "12 s", "5 min", "2 h", "3 d": the largest unit that is not nothing, rounded down.
pub fn duration(length: Duration) -> String {
    let seconds = length.as_secs();
    match seconds {
        0 => format!("{} ms", length.as_millis()),
        1..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// "2 h ago"; a time to come is "in 2 h", which tells of a clock that goes wrong.
pub fn age(then: Timestamp, now: Timestamp) -> String {
    let distance = now.duration_since(then);
    let length = distance.unsigned_abs();
    if length < Duration::from_secs(1) {
        "now".into()
    } else if distance.is_negative() {
        format!("in {}", duration(length))
    } else {
        format!("{} ago", duration(length))
    }
}

/// "2026-11-01 13:00:05 +01:00", in the given zone; the offset tells the two hours of a fold apart.
pub fn time(moment: Timestamp, zone: &TimeZone) -> String {
    moment.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S %:z").to_string()
}

/// A name or a line of text from outside, safe to print.
pub fn text(raw: &[u8]) -> String {
    let mut safe = String::new();
    for chunk in raw.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '\n' => safe.push_str("\\n"),
                '\r' => safe.push_str("\\r"),
                '\t' => safe.push_str("\\t"),
                '\\' => safe.push_str("\\\\"),
                hidden if hidden.is_control() || turns(hidden) => safe.push_str(&format!("\\u{{{:x}}}", u32::from(hidden))),
                plain => safe.push(plain),
            }
        }
        for byte in chunk.invalid() {
            safe.push_str(&format!("\\x{byte:02x}"));
        }
    }
    safe
}

/// Marks that change the direction of what follows, or are not seen.
fn turns(letter: char) -> bool {
    matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_keep_three_digits() {
        let cases = [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1 kB"),
            (1_234, "1.23 kB"),
            (3_600_000, "3.6 MB"),
            (9_999, "10 kB"),
            (12_345_678, "12.3 MB"),
            (100_000, "100 kB"),
            (999_499, "999 kB"),
            (999_500, "1 MB"),
            (1_240_000_000, "1.24 GB"),
            (u64::MAX, "18.4 EB"),
        ];
        for (number, text) in cases {
            assert_eq!(bytes(number), text);
        }
    }

    #[test]
    fn counts_have_commas() {
        assert_eq!([0, 999, 1_000, 49_000, 1_234_567].map(count), ["0", "999", "1,000", "49,000", "1,234,567"]);
    }

    #[test]
    fn ages() {
        let now: Timestamp = "2026-11-01T13:00:00Z".parse().unwrap();
        let ages = [0, 12, 59, 60, 7_199, 7_200, 100_000, 172_800].map(|ago| age(now - Duration::from_secs(ago), now));
        assert_eq!(ages, ["now", "12 s ago", "59 s ago", "1 min ago", "1 h ago", "2 h ago", "27 h ago", "2 d ago"]);
        assert_eq!(age(now + Duration::from_secs(7_200), now), "in 2 h");
        assert_eq!(duration(Duration::from_millis(850)), "850 ms");
    }

    #[test]
    fn times_stand_in_the_zone_asked_for() {
        let moment = "2026-11-01T12:00:05Z".parse().unwrap();
        assert_eq!(time(moment, &TimeZone::get("Europe/Paris").unwrap()), "2026-11-01 13:00:05 +01:00");
        assert_eq!(time(moment, &TimeZone::UTC), "2026-11-01 12:00:05 +00:00");
    }

    #[test]
    fn names_cannot_move_the_cursor() {
        assert_eq!(text(b"caf\xc3\xa9"), "café");
        assert_eq!(text(b"a\nb\x1b[2J\xffc\\"), "a\\nb\\u{1b}[2J\\xffc\\\\");
        assert_eq!(text("\u{202e}gpj.exe".as_bytes()), "\\u{202e}gpj.exe");
    }
}

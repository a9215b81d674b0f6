//! Lengths and moments in messages, and text from outside made fit for one line.

use jiff::Timestamp;

/// "12 s", "90 min", "2 h", "3 d", rounded down.
pub(crate) fn length(ms: i64) -> String {
    let seconds = ms.max(0) / 1_000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// RFC 3339 in UTC; what no calendar has stands as the nearest it has.
pub(crate) fn moment(ms: i64) -> String {
    let least = Timestamp::MIN.as_millisecond();
    let most = Timestamp::MAX.as_millisecond();
    let found = Timestamp::from_millisecond(ms.clamp(least, most)).unwrap_or(Timestamp::UNIX_EPOCH);
    format!("{found:.3}")
}

/// One line of at most `most` letters, nothing in it that steers a terminal or ends a header.
pub(crate) fn line(text: &str, most: usize) -> String {
    let plain = |letter: char| {
        !letter.is_control() && !matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    let safe: String = text.trim().chars().map(|letter| if plain(letter) { letter } else { ' ' }).collect();
    let words: Vec<&str> = safe.split(' ').filter(|word| !word.is_empty()).collect();
    let joined = words.join(" ");
    if joined.chars().count() <= most {
        return joined;
    }
    joined.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_stays_on_its_line() {
        assert_eq!(line(" a\r\nBcc: x@y\n\u{1b}[2J ", 80), "a Bcc: x@y [2J");
        assert_eq!(line("abcdef", 4), "abc…");
        assert_eq!(line("\u{202e}gpj", 80), "gpj");
    }

    #[test]
    fn lengths_and_moments() {
        assert_eq!([0, 59_999, 60_000, 7_200_000, 200_000_000].map(length), ["0 s", "59 s", "1 min", "2 h", "2 d"]);
        assert_eq!(moment(1_795_262_400_123), "2026-11-21T12:00:00.123Z");
        assert_eq!(moment(i64::MAX).len(), "9999-12-30T22:00:00.999Z".len());
    }
}

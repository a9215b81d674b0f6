//! Durations ("60m", "1h30m") and sizes ("1GiB") as a configuration writes them.
//!
//! A number always has its unit, because "60" alone is read as seconds by one and as minutes by another. Fractions are left
//! out: they invite "1.5h" to be rounded somewhere.

use std::time::Duration;

const YEARS_MOST: u64 = 100;

/// Reads "5s", "60m", "24h", "30d", "2w", or several of them, largest first: "1h30m".
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no duration; write it as \"5s\", \"60m\", \"24h\", \"30d\" or \"2w\"");
    let mut seconds: u64 = 0;
    let mut last = u64::MAX;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, unit, after) = split(rest).ok_or_else(wrong)?;
        let factor = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            "d" => 86_400,
            "w" => 604_800,
            _ => return Err(wrong()),
        };
        if factor >= last {
            return Err(wrong());
        }
        last = factor;
        seconds = number.checked_mul(factor).and_then(|n| n.checked_add(seconds)).ok_or_else(wrong)?;
        rest = after;
    }
    match seconds {
        0 if text.is_empty() => Err(wrong()),
        0 => Err("must be longer than nothing".into()),
        n if n > YEARS_MOST * 366 * 86_400 => Err(format!("is longer than {YEARS_MOST} years")),
        n => Ok(Duration::from_secs(n)),
    }
}

/// Reads "512KiB", "64MiB", "1GiB", "500MB", in bytes.
pub fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no size; write it as \"512KiB\", \"64MiB\", \"1GiB\" or \"500MB\"");
    let (number, unit, after) = split(text).ok_or_else(wrong)?;
    let factor: u64 = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        _ => return Err(wrong()),
    };
    if !after.is_empty() {
        return Err(wrong());
    }
    number.checked_mul(factor).ok_or_else(wrong)
}

/// A number, its unit, what follows; one blank between number and unit is let pass.
fn split(text: &str) -> Option<(u64, &str, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number = text[..digits].parse().ok()?;
    let unit = text[digits..].strip_prefix(' ').unwrap_or(&text[digits..]);
    let end = unit.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(unit.len());
    Some((number, &unit[..end], &unit[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, seconds) in [("5s", 5), ("60m", 3_600), ("24h", 86_400), ("1h30m", 5_400), ("2w", 1_209_600), ("30 d", 2_592_000)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "5", "s", "5 minutes", "0s", "-5s", "1.5h", "30m1h", "1m1m", "99999999999999999999s", "9999999999w", "101w 5m"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [("1GiB", 1 << 30), ("64 MiB", 64 << 20), ("500MB", 500_000_000), ("0B", 0)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "1", "1G", "GiB", "1.5GiB", "-1MiB", "1GiB2MiB", "99999999999TiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}

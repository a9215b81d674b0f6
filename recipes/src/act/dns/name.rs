//! Names of the domain system, as text and on the wire. Letters count without their case, so they are kept small.

use std::fmt;

use serde::{Deserialize, Serialize};

const LABEL_BYTES_MAX: usize = 63;
const NAME_BYTES_MAX: usize = 255;
/// So many pointers may follow each other: more is a loop.
const POINTERS_MAX: usize = 32;

/// An absolute name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name {
    labels: Vec<Vec<u8>>,
}

impl Name {
    /// Reads a name; one without a dot at its end stands below `origin`, and `@` is that itself.
    pub fn parse(text: &[u8], origin: Option<&Name>) -> Result<Name, String> {
        let shown = String::from_utf8_lossy(text).into_owned();
        let below = || origin.cloned().ok_or_else(|| format!("{shown:?} must end with a dot"));
        match text {
            b"@" => return below(),
            b"." => return Ok(Name { labels: Vec::new() }),
            b"" => return Err("a name is missing".into()),
            _ => {}
        }
        let (mut labels, mut label, mut rest) = (Vec::new(), Vec::new(), text);
        let mut whole = false;
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            whole = false;
            match byte {
                b'.' if label.is_empty() => return Err(format!("{shown:?} is no name: two dots follow each other")),
                b'.' => {
                    labels.push(std::mem::take(&mut label));
                    whole = true;
                }
                b'\\' => {
                    let (escaped, length) = escaped(rest).ok_or_else(|| format!("{shown:?} ends within an escape"))?;
                    label.push(escaped.to_ascii_lowercase());
                    rest = &rest[length..];
                }
                _ => label.push(byte.to_ascii_lowercase()),
            }
        }
        if !whole {
            labels.push(label);
            labels.extend(below()?.labels);
        }
        let name = Name { labels };
        if name.labels.iter().any(|label| label.len() > LABEL_BYTES_MAX) || name.wire().len() > NAME_BYTES_MAX {
            return Err(format!("{shown:?} is too long for a name"));
        }
        Ok(name)
    }

    /// As it stands in a message, without compression.
    pub fn wire(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for label in &self.labels {
            // No label is longer than 63 bytes.
            bytes.push(label.len() as u8);
            bytes.extend_from_slice(label);
        }
        bytes.push(0);
        bytes
    }

    /// Reads a name in a message, and goes on behind it.
    pub fn read(message: &[u8], at: &mut usize) -> Option<Name> {
        let (mut labels, mut place, mut pointers, mut bytes) = (Vec::new(), *at, 0, 0);
        loop {
            let length = usize::from(*message.get(place)?);
            match length & 0xc0 {
                0 if length == 0 => {
                    if pointers == 0 {
                        *at = place + 1;
                    }
                    return Some(Name { labels });
                }
                0 => {
                    bytes += length + 1;
                    let label = message.get(place + 1..place + 1 + length).filter(|_| bytes < NAME_BYTES_MAX)?;
                    labels.push(label.to_ascii_lowercase());
                    place += 1 + length;
                }
                0xc0 => {
                    let low = usize::from(*message.get(place + 1)?);
                    if pointers == 0 {
                        *at = place + 2;
                    }
                    pointers += 1;
                    place = (length & 0x3f) << 8 | low;
                    if pointers > POINTERS_MAX {
                        return None;
                    }
                }
                _ => return None,
            }
        }
    }

    /// Whether it is `zone` or stands below it.
    pub fn is_within(&self, zone: &Name) -> bool {
        self.labels.ends_with(&zone.labels)
    }

    /// The name with one label more in front.
    pub fn below(&self, label: &str) -> Name {
        let mut labels = vec![label.as_bytes().to_ascii_lowercase()];
        labels.extend(self.labels.iter().cloned());
        Name { labels }
    }

    /// The names that stand for it where there are no records of its own: with a star above it, up to the zone.
    pub fn wildcards(&self, zone: &Name) -> Vec<Name> {
        let above = (1..=self.labels.len().saturating_sub(zone.labels.len())).filter_map(|from| self.labels.get(from..));
        above.map(|labels| Name { labels: labels.to_vec() }.below("*")).collect()
    }

    /// Without the dot at its end.
    pub fn plain(&self) -> String {
        let text = self.to_string();
        text.strip_suffix('.').map(str::to_owned).unwrap_or(text)
    }
}

/// What an escape stands for, and its length without the backslash.
pub fn escaped(rest: &[u8]) -> Option<(u8, usize)> {
    let first = *rest.first()?;
    if !first.is_ascii_digit() {
        return Some((first, 1));
    }
    let digits = rest.get(..3)?;
    let number = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some((number, 3))
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.labels.is_empty() {
            return f.write_str(".");
        }
        for label in &self.labels {
            for &byte in label {
                match byte {
                    b'.' | b'\\' | b'"' | b'(' | b')' | b';' | b'@' | b'$' => write!(f, "\\{}", char::from(byte))?,
                    0x21..=0x7e => write!(f, "{}", char::from(byte))?,
                    _ => write!(f, "\\{byte:03}")?,
                }
            }
            f.write_str(".")?;
        }
        Ok(())
    }
}

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(text: String) -> Result<Name, String> {
        Name::parse(text.as_bytes(), None)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> String {
        name.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_as_they_were_written_but_for_their_case() {
        let zone = Name::parse(b"Example.ORG.", None).unwrap();
        for (text, shown) in
            [("www", "www.example.org."), ("@", "example.org."), ("A.b.", "a.b."), (".", "."), ("x\\.y\\065", "x\\.ya.example.org.")]
        {
            let name = Name::parse(text.as_bytes(), Some(&zone)).unwrap();
            assert_eq!(name.to_string(), shown);
            let mut at = 0;
            assert_eq!(Name::read(&name.wire(), &mut at), Some(name.clone()));
            assert_eq!(at, name.wire().len());
            assert_eq!(Name::parse(shown.as_bytes(), None).unwrap(), name);
        }
        let long = "a".repeat(64);
        for bad in ["", "..", "a..b", long.as_str(), "a\\"] {
            assert!(Name::parse(bad.as_bytes(), Some(&zone)).is_err(), "{bad}");
        }
        assert!(Name::parse(b"www", None).is_err());
    }

    #[test]
    fn pointers_are_followed_and_loops_are_not() {
        let message = b"\x03www\xc0\x06\x03ORG\x00";
        let mut at = 0;
        assert_eq!(Name::read(message, &mut at).unwrap().to_string(), "www.org.");
        assert_eq!(at, 6);
        assert_eq!(Name::read(b"\xc0\x00", &mut 0), None);
        assert_eq!(Name::read(b"\x05ab", &mut 0), None);
    }
}

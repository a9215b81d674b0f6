//! Record sets: what is compared, wished for and kept for an undo. Values are bytes as in a message, names in them whole and small.

use std::collections::BTreeSet;
use std::fmt::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::name::Name;
use super::text::{Word, Wrong};

/// A type of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Kind(pub u16);

impl Kind {
    pub const A: Kind = Kind(1);
    pub const NS: Kind = Kind(2);
    pub const CNAME: Kind = Kind(5);
    pub const SOA: Kind = Kind(6);
    pub const PTR: Kind = Kind(12);
    pub const MX: Kind = Kind(15);
    pub const TXT: Kind = Kind(16);
    pub const AAAA: Kind = Kind(28);
    pub const SRV: Kind = Kind(33);
    pub const RRSIG: Kind = Kind(46);
    pub const DNSKEY: Kind = Kind(48);

    const NAMED: [(&'static str, Kind); 11] = [
        ("A", Kind::A),
        ("NS", Kind::NS),
        ("CNAME", Kind::CNAME),
        ("SOA", Kind::SOA),
        ("PTR", Kind::PTR),
        ("MX", Kind::MX),
        ("TXT", Kind::TXT),
        ("AAAA", Kind::AAAA),
        ("SRV", Kind::SRV),
        ("RRSIG", Kind::RRSIG),
        ("DNSKEY", Kind::DNSKEY),
    ];

    /// By its name, in either case, or as `TYPE65`.
    pub fn named(text: &str) -> Option<Kind> {
        let upper = text.to_ascii_uppercase();
        let known = Kind::NAMED.iter().find(|(name, _)| *name == upper).map(|(_, kind)| *kind);
        known.or_else(|| upper.strip_prefix("TYPE")?.parse().ok().map(Kind))
    }

    /// Whether its values are read and written here.
    pub fn is_readable(self) -> bool {
        ![Kind::SOA, Kind::RRSIG, Kind::DNSKEY].contains(&self) && Kind::NAMED.iter().any(|(_, kind)| *kind == self)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Kind::NAMED.iter().find(|(_, kind)| kind == self) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "TYPE{}", self.0),
        }
    }
}

impl TryFrom<String> for Kind {
    type Error = String;

    fn try_from(text: String) -> Result<Kind, String> {
        Kind::named(&text).ok_or_else(|| format!("{text:?} is no type of records"))
    }
}

impl From<Kind> for String {
    fn from(kind: Kind) -> String {
        kind.to_string()
    }
}

/// All records of one name and type; without a value there are none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Shape", into = "Shape")]
pub struct Set {
    pub name: Name,
    pub kind: Kind,
    pub ttl: u32,
    pub values: BTreeSet<Vec<u8>>,
}

/// The same as people and programs read it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Shape {
    name: Name,
    #[serde(rename = "type")]
    kind: Kind,
    ttl: u32,
    values: Vec<String>,
}

impl Set {
    pub fn empty(name: Name, kind: Kind) -> Set {
        Set { name, kind, ttl: 0, values: BTreeSet::new() }
    }

    pub fn is_of(&self, name: &Name, kind: Kind) -> bool {
        self.name == *name && self.kind == kind
    }

    pub fn texts(&self) -> Vec<String> {
        self.values.iter().map(|value| text(self.kind, value)).collect()
    }

    pub fn addresses(&self) -> Vec<IpAddr> {
        self.values.iter().filter_map(|value| address(self.kind, value)).collect()
    }

    /// The names to which its values point.
    pub fn targets(&self) -> Vec<Name> {
        let before = if self.kind == Kind::MX { 2 } else { 0 };
        self.values.iter().filter_map(|value| Name::read(value, &mut before.min(value.len()))).collect()
    }

    /// One line a record, as a zone has it.
    pub fn lines(&self) -> Vec<String> {
        let line = |value| format!("{} {} IN {} {value}", self.name, self.ttl, self.kind);
        self.texts().into_iter().map(line).collect()
    }
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.values.is_empty() {
            true => write!(f, "{} {}: none", self.name, self.kind),
            false => write!(f, "{} {} {}: {}", self.name, self.ttl, self.kind, self.texts().join(", ")),
        }
    }
}

impl From<Set> for Shape {
    fn from(set: Set) -> Shape {
        Shape { values: set.texts(), name: set.name, kind: set.kind, ttl: set.ttl }
    }
}

impl TryFrom<Shape> for Set {
    type Error = String;

    fn try_from(shape: Shape) -> Result<Set, String> {
        let mut values = BTreeSet::new();
        for text in &shape.values {
            values.insert(from_text(shape.kind, text).map_err(|wrong| wrong.to_string())?);
        }
        Ok(Set { name: shape.name, kind: shape.kind, ttl: shape.ttl, values })
    }
}

fn from_text(kind: Kind, text: &str) -> Result<Vec<u8>, Wrong> {
    let line = super::text::lines(text.as_bytes())?;
    value(kind, line.first().map(|line| line.words.as_slice()).unwrap_or_default(), None)
}

/// Whether it is a value of this type: one that comes back from its text, as what is kept for an undo must.
pub fn is_sound(kind: Kind, value: &[u8]) -> bool {
    !kind.is_readable() || from_text(kind, &text(kind, value)).is_ok_and(|again| again == value)
}

fn number(word: &Word) -> Result<[u8; 2], Wrong> {
    let number: u16 = word
        .shown()
        .parse()
        .map_err(|_| word.wrong(format!("{:?} is no number up to 65535", word.shown())))?;
    Ok(number.to_be_bytes())
}

/// A value, from its words.
pub fn value(kind: Kind, words: &[Word], origin: Option<&Name>) -> Result<Vec<u8>, Wrong> {
    let Some(first) = words.first() else {
        return Err(Wrong { line: 1, column: 1, what: format!("a value for {kind} is missing") });
    };
    let exactly = |count: usize| match words.get(count) {
        Some(extra) => Err(extra.wrong(format!("{:?} is too much behind a value for {kind}", extra.shown()))),
        None if words.len() < count => Err(first.wrong(format!("{kind} has {count} parts, here are {}", words.len()))),
        None => Ok(()),
    };
    let name = |word: &Word| Name::parse(&word.text, origin).map(|name| name.wire()).map_err(|what| word.wrong(what));
    let no_address = |family| first.wrong(format!("{:?} is no {family} address", first.shown()));
    match kind {
        Kind::A => {
            exactly(1)?;
            first.shown().parse::<Ipv4Addr>().map(|ip| ip.octets().to_vec()).map_err(|_| no_address("IPv4"))
        }
        Kind::AAAA => {
            exactly(1)?;
            first.shown().parse::<Ipv6Addr>().map(|ip| ip.octets().to_vec()).map_err(|_| no_address("IPv6"))
        }
        Kind::NS | Kind::CNAME | Kind::PTR => {
            exactly(1)?;
            name(first)
        }
        Kind::MX => {
            exactly(2)?;
            Ok([number(first)?.to_vec(), name(&words[1])?].concat())
        }
        Kind::SRV => {
            exactly(4)?;
            let numbers = [number(first)?, number(&words[1])?, number(&words[2])?].concat();
            Ok([numbers, name(&words[3])?].concat())
        }
        Kind::TXT => {
            let mut bytes = Vec::new();
            for word in words {
                let text = word.plain().filter(|text| text.len() <= 255);
                let text = text.ok_or_else(|| word.wrong("a text has at most 255 bytes"))?;
                bytes.push(text.len() as u8);
                bytes.extend(text);
            }
            Ok(bytes)
        }
        _ => Err(first.wrong(format!("records of type {kind} are not read here"))),
    }
}

/// A value in a message, with the names in it made whole.
pub fn whole(kind: Kind, message: &[u8], start: usize, length: usize) -> Option<Vec<u8>> {
    let bytes = message.get(start..start.checked_add(length)?)?;
    let before = match kind {
        Kind::NS | Kind::CNAME | Kind::PTR => 0,
        Kind::MX => 2,
        Kind::SRV => 6,
        _ => return Some(bytes.to_vec()),
    };
    let mut at = start + before;
    let name = Name::read(message, &mut at)?;
    (at == start + length).then(|| [bytes.get(..before).unwrap_or_default().to_vec(), name.wire()].concat())
}

/// A value as a zone has it.
pub fn text(kind: Kind, value: &[u8]) -> String {
    let number = |at: usize| value.get(at..at + 2).map_or(0, |two| u16::from_be_bytes([two[0], two[1]]));
    let name = |at: usize| Name::read(value, &mut at.min(value.len())).map(|name| name.to_string());
    let known = match kind {
        Kind::A | Kind::AAAA => address(kind, value).map(|address| address.to_string()),
        Kind::NS | Kind::CNAME | Kind::PTR => name(0),
        Kind::MX => name(2).map(|name| format!("{} {name}", number(0))),
        Kind::SRV => name(6).map(|name| format!("{} {} {} {name}", number(0), number(2), number(4))),
        Kind::TXT => Some(texts(value)),
        _ => None,
    };
    known.unwrap_or_else(|| value.iter().fold(format!("\\# {}", value.len()), |text, byte| format!("{text} {byte:02x}")))
}

fn address(kind: Kind, value: &[u8]) -> Option<IpAddr> {
    match kind {
        Kind::A => <[u8; 4]>::try_from(value).ok().map(|bytes| Ipv4Addr::from(bytes).into()),
        Kind::AAAA => <[u8; 16]>::try_from(value).ok().map(|bytes| Ipv6Addr::from(bytes).into()),
        _ => None,
    }
}

fn texts(value: &[u8]) -> String {
    let (mut list, mut rest) = (Vec::new(), value);
    while let Some((&length, after)) = rest.split_first() {
        let (text, next) = after.split_at(usize::from(length).min(after.len()));
        let mut shown = String::from("\"");
        for &byte in text {
            // Writing to a text cannot fail.
            let _ = match byte {
                b'"' | b'\\' => write!(shown, "\\{}", char::from(byte)),
                0x20..=0x7e => write!(shown, "{}", char::from(byte)),
                _ => write!(shown, "\\{byte:03}"),
            };
        }
        list.push(shown + "\"");
        rest = next;
    }
    list.join(" ")
}

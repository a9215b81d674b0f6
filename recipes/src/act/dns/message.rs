//! Messages of the domain system: questions and updates as they are sent, answers as they are understood. What it does not need it skips.

use super::name::Name;
use super::set::{Kind, Set, whole};

const CLASS_IN: u16 = 1;
const CLASS_NONE: u16 = 254;
const CLASS_ANY: u16 = 255;
const OPCODE_UPDATE: u16 = 5;
/// Where it stands among the flags; that of a question is 0.
const OPCODES: u16 = 0xf << 11;
pub const KIND_TSIG: u16 = 250;
const RECORDS_MAX: usize = 4096;

/// A message under construction.
#[derive(Debug, Clone)]
pub struct Message {
    pub bytes: Vec<u8>,
}

impl Message {
    fn new(id: u16, flags: u16) -> Message {
        let mut bytes = vec![0; 12];
        bytes[..2].copy_from_slice(&id.to_be_bytes());
        bytes[2..4].copy_from_slice(&flags.to_be_bytes());
        Message { bytes }
    }

    /// One more record in a section: 0 is that of questions, 3 the last.
    pub fn count(&mut self, section: usize) {
        let at = 4 + 2 * section;
        let count = u16::from_be_bytes([self.bytes[at], self.bytes[at + 1]]).wrapping_add(1);
        self.bytes[at..at + 2].copy_from_slice(&count.to_be_bytes());
    }

    pub fn put(&mut self, number: u16) {
        self.bytes.extend_from_slice(&number.to_be_bytes());
    }

    fn record(&mut self, section: usize, name: &Name, kind: u16, class: u16, ttl: u32, value: &[u8]) {
        self.count(section);
        self.bytes.extend_from_slice(&name.wire());
        self.put(kind);
        self.put(class);
        self.bytes.extend_from_slice(&ttl.to_be_bytes());
        // Values are those of records that were read: none is longer than a message.
        self.put(value.len() as u16);
        self.bytes.extend_from_slice(value);
    }

    /// A question, without a wish for recursion.
    pub fn question(id: u16, name: &Name, kind: Kind) -> Message {
        let mut message = Message::new(id, 0);
        message.count(0);
        message.bytes.extend_from_slice(&name.wire());
        message.put(kind.0);
        message.put(CLASS_IN);
        message
    }

    /// An update of a zone (RFC 2136): only if the sets are as in `now`, they become those in `want`.
    pub fn update(id: u16, zone: &Name, now: &[Set], want: &[Set]) -> Message {
        let mut message = Message::new(id, OPCODE_UPDATE << 11);
        message.count(0);
        message.bytes.extend_from_slice(&zone.wire());
        message.put(Kind::SOA.0);
        message.put(CLASS_IN);
        for set in now {
            if set.values.is_empty() {
                message.record(1, &set.name, set.kind.0, CLASS_NONE, 0, &[]);
            }
            for value in &set.values {
                message.record(1, &set.name, set.kind.0, CLASS_IN, 0, value);
            }
        }
        for (_, set) in now.iter().zip(want).filter(|(now, want)| now != want) {
            message.record(2, &set.name, set.kind.0, CLASS_ANY, 0, &[]);
            for value in &set.values {
                message.record(2, &set.name, set.kind.0, CLASS_IN, set.ttl, value);
            }
        }
        message
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub name: Name,
    pub kind: Kind,
    pub class: u16,
    pub ttl: u32,
    pub value: Vec<u8>,
    /// Where it begins in the message.
    pub start: usize,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub id: u16,
    pub code: u8,
    pub authoritative: bool,
    pub cut: bool,
    /// What it says it was asked, if that was a question.
    pub question: Option<(Name, Kind)>,
    pub answers: Vec<Record>,
    pub additional: Vec<Record>,
}

impl Answer {
    /// Nothing where it is none, or broken.
    pub fn read(bytes: &[u8]) -> Option<Answer> {
        let number = |at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
        let (id, flags) = (number(0)?, number(2)?);
        if flags & 0x8000 == 0 {
            return None;
        }
        let mut counts = [0; 4];
        for (section, count) in counts.iter_mut().enumerate() {
            *count = usize::from(number(4 + 2 * section)?);
        }
        let (mut at, mut question) = (12, None);
        for _ in 0..counts[0] {
            let name = Name::read(bytes, &mut at)?;
            let kind = Kind(number(at)?);
            question = (counts[0] == 1 && number(at + 2)? == CLASS_IN && flags & OPCODES == 0).then_some((name, kind));
            at += 4;
        }
        if counts.iter().sum::<usize>() > RECORDS_MAX {
            return None;
        }
        let mut section = |count: usize| (0..count).map(|_| record(bytes, &mut at)).collect::<Option<Vec<_>>>();
        let (answers, _, additional) = (section(counts[1])?, section(counts[2])?, section(counts[3])?);
        let (authoritative, cut) = (flags & 0x0400 != 0, flags & 0x0200 != 0);
        Some(Answer { id, code: (flags & 0xf) as u8, authoritative, cut, question, answers, additional })
    }

    /// Whether it is the answer to this question.
    pub fn is_to(&self, name: &Name, kind: Kind) -> bool {
        self.question.as_ref().is_some_and(|(asked, of)| asked == name && *of == kind)
    }

    /// The set that was asked for.
    pub fn set(&self, name: &Name, kind: Kind) -> Set {
        let mut set = Set::empty(name.clone(), kind);
        for record in self
            .answers
            .iter()
            .filter(|record| record.name == *name && record.kind == kind && record.class == CLASS_IN)
        {
            set.ttl = record.ttl;
            set.values.insert(record.value.clone());
        }
        set
    }
}

fn record(bytes: &[u8], at: &mut usize) -> Option<Record> {
    let start = *at;
    let name = Name::read(bytes, at)?;
    let fixed: [u8; 10] = bytes.get(*at..*at + 10)?.try_into().ok()?;
    let two = |at: usize| u16::from_be_bytes([fixed[at], fixed[at + 1]]);
    let (kind, class, length) = (Kind(two(0)), two(2), usize::from(two(8)));
    let ttl = u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]);
    *at += 10;
    let value = whole(kind, bytes, *at, length).or_else(|| bytes.get(*at..*at + length).filter(|_| length == 0).map(<[u8]>::to_vec))?;
    *at += length;
    Some(Record { name, kind, class, ttl, value, start })
}

/// What a code of an answer says.
pub fn code(code: u8) -> String {
    let known = match code {
        1 => "FORMERR: it does not understand the message",
        2 => "SERVFAIL: the server failed",
        3 => "NXDOMAIN: a name is not there",
        4 => "NOTIMP: the server knows no such messages",
        5 => "REFUSED: the server may not or will not do that",
        6 => "YXDOMAIN: a name is there that should not be",
        7 => "YXRRSET: records are there that were not there before",
        8 => "NXRRSET: the records are not as they were when this began",
        9 => "NOTAUTH: the server has no authority for this zone, or the key may not be used",
        10 => "NOTZONE: a name is not in the zone",
        _ => "",
    };
    if known.is_empty() { format!("code {code}") } else { known.into() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_update_asks_for_what_is_and_brings_what_should_be() {
        let zone = Name::parse(b"example.org.", None).unwrap();
        let now = Set { ttl: 900, values: BTreeSet::from([vec![192, 0, 2, 1]]), ..Set::empty(zone.below("www"), Kind::A) };
        let want = Set { ttl: 60, values: BTreeSet::from([vec![192, 0, 2, 2]]), ..now.clone() };
        let none = Set::empty(zone.below("new"), Kind::AAAA);
        let message = Message::update(9, &zone, &[now, none.clone()], &[want, none]);
        let counts: Vec<u8> = (0..4).map(|section| message.bytes[5 + 2 * section]).collect();
        assert_eq!(counts, [1, 2, 2, 0], "one zone, what is and what is not, one set removed and added, nothing signed");
        assert_eq!(message.bytes[2] >> 3, 5);
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_or_not_and_no_more(mut bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = Answer::read(&bytes);
            if bytes.len() > 12 {
                bytes[2] |= 0x80;
                for count in [5, 7, 9, 11] {
                    bytes[count - 1] = 0;
                    bytes[count] &= 3;
                }
                let _ = Answer::read(&bytes);
            }
        }
    }
}

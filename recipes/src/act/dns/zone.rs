//! A zone's text: its entries with their places, and edits that touch what is meant and nothing else.
//!
//! Nothing here knows whether the edited text means what it should: whoever writes it has BIND read both, and compares (`file`).

use std::collections::BTreeSet;
use std::ops::Range;

use super::name::Name;
use super::set::{Kind, Set, text, value};
use super::text::{Line, Word, Wrong, lines, seconds};

struct Entry {
    line: Line,
    owner: Name,
    /// Where the zone's text stands at this entry.
    origin: Name,
    /// The place of the TTL among the words, if it says one.
    ttl: Option<usize>,
    /// The place of the type among the words; the values stand behind it.
    kind: usize,
}

/// A zone's text, taken apart.
pub struct Zone<'a> {
    text: &'a [u8],
    name: Name,
    entries: Vec<Entry>,
}

/// What is put in the place of a part of the text.
struct Edit {
    at: Range<usize>,
    with: String,
}

impl Entry {
    fn type_word(&self) -> &Word {
        &self.line.words[self.kind]
    }

    fn values(&self) -> &[Word] {
        &self.line.words[self.kind + 1..]
    }

    fn is_of(&self, set: &Set) -> bool {
        self.owner == set.name && Kind::named(&self.type_word().shown()) == Some(set.kind)
    }

    fn value(&self, kind: Kind) -> Result<Vec<u8>, Wrong> {
        value(kind, self.values(), Some(&self.origin))
    }

    /// What makes its TTL this one.
    fn with_ttl(&self, ttl: u32) -> Option<Edit> {
        let Some(word) = self.ttl.and_then(|at| self.line.words.get(at)) else {
            let first = self.line.words.get(usize::from(!self.line.indented))?;
            return Some(Edit { at: first.start..first.start, with: format!("{ttl} ") });
        };
        (seconds(&word.shown()) != Some(ttl)).then(|| Edit { at: word.start..word.end, with: ttl.to_string() })
    }

    fn with_value(&self, kind: Kind, value: &[u8]) -> Option<Edit> {
        let (first, last) = (self.values().first()?, self.values().last()?);
        Some(Edit { at: first.start..last.end, with: text(kind, value) })
    }
}

impl<'a> Zone<'a> {
    pub fn parse(text: &'a [u8], name: &Name) -> Result<Zone<'a>, Wrong> {
        let (mut origin, mut owner) = (name.clone(), None);
        let mut entries = Vec::new();
        for line in lines(text)? {
            let first = &line.words[0];
            if !line.indented && first.text.starts_with(b"$") {
                if first.upper() == "$ORIGIN" {
                    let word = line.words.get(1).ok_or_else(|| first.wrong("$ORIGIN needs a name"))?;
                    origin = Name::parse(&word.text, Some(&origin)).map_err(|what| word.wrong(what))?;
                }
                continue;
            }
            if !line.indented {
                owner = Some(Name::parse(&first.text, Some(&origin)).map_err(|what| first.wrong(what))?);
            }
            let owner = owner.clone().ok_or_else(|| first.wrong("the first record has no name"))?;
            let (mut ttl, mut kind) = (None, usize::from(!line.indented));
            while let Some(word) = line.words.get(kind) {
                if ttl.is_none() && seconds(&word.shown()).is_some() {
                    ttl = Some(kind);
                } else if !["IN", "CH", "HS"].contains(&word.upper().as_str()) {
                    break;
                }
                kind += 1;
            }
            if kind >= line.words.len() {
                return Err(first.wrong("the type of the record is missing"));
            }
            entries.push(Entry { line, owner, origin: origin.clone(), ttl, kind });
        }
        Ok(Zone { text, name: name.clone(), entries })
    }

    fn serial_word(&self) -> Result<&Word, String> {
        let apex = |entry: &&Entry| entry.owner == self.name && entry.type_word().upper() == "SOA";
        let entry = self
            .entries
            .iter()
            .find(apex)
            .ok_or_else(|| format!("the zone {} has no SOA record in this file", self.name))?;
        entry.values().get(2).ok_or_else(|| "the SOA record has no serial".to_owned())
    }

    pub fn serial(&self) -> Result<u32, String> {
        let word = self.serial_word()?;
        word.shown().parse().map_err(|_| word.wrong(format!("{:?} is no serial", word.shown())).to_string())
    }

    /// The text with these sets in it and this serial. `now` has what they are, in the same order.
    pub fn edited(&self, now: &[Set], want: &[Set], serial: u32) -> Result<Vec<u8>, String> {
        let mut edits = Vec::new();
        let (mut appended, mut gone) = (String::new(), BTreeSet::new());
        for (now, want) in now.iter().zip(want) {
            if now != want {
                self.edit(now, want, &mut edits, &mut appended, &mut gone)?;
            }
        }
        self.are_named(&gone)?;
        edits.extend(
            gone.iter()
                .map(|at| Edit { at: self.entries[*at].line.start..self.entries[*at].line.end, with: String::new() }),
        );
        let word = self.serial_word()?;
        edits.push(Edit { at: word.start..word.end, with: serial.to_string() });
        edits.sort_by_key(|edit| (edit.at.start, edit.at.end));
        let mut bytes = Vec::with_capacity(self.text.len() + 256);
        let mut from = 0;
        for edit in &edits {
            let kept = self.text.get(from..edit.at.start).ok_or("two edits meet in one place")?;
            bytes.extend_from_slice(kept);
            bytes.extend_from_slice(edit.with.as_bytes());
            from = edit.at.end;
        }
        bytes.extend_from_slice(&self.text[from..]);
        if !appended.is_empty() && !bytes.ends_with(b"\n") {
            bytes.push(b'\n');
        }
        bytes.extend_from_slice(appended.as_bytes());
        Ok(bytes)
    }

    /// Those that are to go are told by their places.
    fn edit(&self, now: &Set, want: &Set, edits: &mut Vec<Edit>, appended: &mut String, gone: &mut BTreeSet<usize>) -> Result<(), String> {
        let entries: Vec<(usize, &Entry)> = self.entries.iter().enumerate().filter(|(_, entry)| entry.is_of(want)).collect();
        let known = entries.iter().map(|(_, entry)| entry.value(want.kind)).collect::<Result<BTreeSet<_>, Wrong>>();
        if known.map_err(|wrong| wrong.to_string())? != now.values {
            return Err(format!("records of {} {} stand elsewhere than in this file, by $INCLUDE or $GENERATE", want.name, want.kind));
        }
        let mut missing: Vec<&Vec<u8>> = want.values.iter().filter(|value| !now.values.contains(*value)).collect();
        let mut last = None;
        for (at, entry) in entries {
            let stays = entry.value(want.kind).is_ok_and(|value| want.values.contains(&value));
            if !stays && let Some(value) = missing.pop() {
                edits.extend(entry.with_value(want.kind, value));
            } else if !stays {
                gone.insert(at);
                continue;
            }
            edits.extend(entry.with_ttl(want.ttl));
            last = Some(entry);
        }
        let line = |value: &Vec<u8>| format!("{} {} IN {} {}\n", want.name, want.ttl, want.kind, text(want.kind, value));
        let more: String = missing.into_iter().map(line).collect();
        match last {
            Some(_) if more.is_empty() => {}
            Some(entry) => edits.push(Edit { at: entry.line.end..entry.line.end, with: self.after_break(entry.line.end) + &more }),
            None => appended.push_str(&more),
        }
        Ok(())
    }

    fn after_break(&self, at: usize) -> String {
        if self.text[..at].ends_with(b"\n") { String::new() } else { "\n".into() }
    }

    /// Without those, none of the others may have its name from another line than now.
    fn are_named(&self, gone: &BTreeSet<usize>) -> Result<(), String> {
        let mut above = None;
        for (_, entry) in self.entries.iter().enumerate().filter(|(at, _)| !gone.contains(at)) {
            if entry.line.indented && above != Some(&entry.owner) {
                let what = format!("this record has its name from the line above, which must go: write {} before it", entry.owner);
                return Err(entry.line.words[0].wrong(what).to_string());
            }
            above = Some(&entry.owner);
        }
        Ok(())
    }
}

/// A zone as BIND writes it out: every record on a line of its own with all its parts, sorted by nobody.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Written(BTreeSet<String>);

impl Written {
    /// Whether it was signed before it came here: whoever changes it breaks its signatures.
    pub fn is_signed(&self) -> bool {
        self.0.iter().any(|line| line.split(' ').nth(3).and_then(Kind::named) == Some(Kind::RRSIG))
    }

    pub fn read(text: &str) -> Written {
        let lines = text.lines().filter(|line| !line.trim_start().starts_with(';')).map(single);
        Written(lines.filter(|line| !line.is_empty()).collect())
    }

    /// One of its sets.
    pub fn set(&self, name: &Name, kind: Kind) -> Result<Set, String> {
        let mut set = Set::empty(name.clone(), kind);
        for line in &self.0 {
            let words: Vec<&str> = line.splitn(5, ' ').collect();
            let [owner, ttl, "IN", of, _] = words[..] else { continue };
            if Kind::named(of) != Some(kind) || Name::parse(owner.as_bytes(), None).as_ref() != Ok(name) {
                continue;
            }
            let read = lines(line.as_bytes()).map_err(|wrong| wrong.to_string())?;
            let values = read.first().map(|line| &line.words[4..]).unwrap_or_default();
            set.values.insert(value(kind, values, None).map_err(|wrong| wrong.to_string())?);
            set.ttl = seconds(ttl).unwrap_or_default();
        }
        Ok(set)
    }

    /// What is in it and not in the other, but for those sets and the SOA record of the zone.
    pub fn beyond(&self, other: &Written, but: &[Set], zone: &Name) -> Vec<String> {
        let meant = |line: &&String| {
            let words: Vec<&str> = line.splitn(5, ' ').collect();
            let [owner, _, _, kind, _] = words[..] else { return false };
            let (Ok(owner), Some(kind)) = (Name::parse(owner.as_bytes(), None), Kind::named(kind)) else { return false };
            but.iter().any(|set| set.is_of(&owner, kind)) || (owner == *zone && kind == Kind::SOA)
        };
        self.0.difference(&other.0).filter(|line| !meant(line)).cloned().collect()
    }

    /// The SOA record's parts but for its serial.
    pub fn authority(&self, zone: &Name) -> Option<Vec<String>> {
        let mut found = self.0.iter().map(|line| line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        let mut words = found.find(|words| {
            words.get(3).is_some_and(|kind| kind == "SOA")
                && words.first().is_some_and(|owner| Name::parse(owner.as_bytes(), None).as_ref() == Ok(zone))
        })?;
        (words.len() > 6).then(|| words.remove(6))?;
        Some(words)
    }
}

/// One space between the parts; the value stays as it is.
fn single(line: &str) -> String {
    let (mut parts, mut rest) = (Vec::new(), line.trim());
    while parts.len() < 4
        && let Some((part, after)) = rest.split_once([' ', '\t'])
    {
        parts.push(part);
        rest = after.trim_start();
    }
    parts.push(rest);
    parts.join(" ")
}

/// The number after this one, by RFC 1982; zero is left out, because some read it as none.
pub fn next_serial(serial: u32) -> u32 {
    serial.wrapping_add(1).max(1)
}

/// Whether `one` is newer than `other`, by RFC 1982.
pub fn is_newer(one: u32, other: u32) -> bool {
    one != other && one.wrapping_sub(other) < 1 << 31
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "$TTL 3600\n@ IN SOA ns hostmaster (\n\t2026112201 ; serial\n\t1h 15m 2w 5m )\n\tNS ns\n\tMX 10 @\n\tA 192.0.2.1 ; apex\nwww\t14400\tIN\tA\t192.0.2.1\r\nns A 192.0.2.53\nold 60 A 192.0.2.1\n    TXT \"has its name from above\"\nmany A 192.0.2.1\nmany A 192.0.2.2";

    fn zone() -> Name {
        Name::parse(b"example.org.", None).unwrap()
    }

    fn set(name: &str, ttl: u32, addresses: &[&str]) -> Set {
        let values = addresses
            .iter()
            .map(|address| address.parse::<std::net::Ipv4Addr>().unwrap().octets().to_vec())
            .collect();
        Set { name: Name::parse(name.as_bytes(), Some(&zone())).unwrap(), kind: Kind::A, ttl, values }
    }

    fn edited(now: Set, want: Set) -> Result<String, String> {
        let bytes = Zone::parse(TEXT.as_bytes(), &zone()).unwrap().edited(&[now], &[want], 2_026_112_202)?;
        Ok(String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn only_what_is_meant_and_the_serial_change() {
        let serial = TEXT.replace("2026112201", "2026112202");
        let moved = edited(set("www", 14_400, &["192.0.2.1"]), set("www", 300, &["198.51.100.7"])).unwrap();
        assert_eq!(moved, serial.replace("14400\tIN\tA\t192.0.2.1", "300\tIN\tA\t198.51.100.7"));
        let short = edited(set("@", 3600, &["192.0.2.1"]), set("@", 60, &["192.0.2.1"])).unwrap();
        assert_eq!(short, serial.replace("\tA 192.0.2.1 ; apex", "\t60 A 192.0.2.1 ; apex"));
        let fewer = edited(set("many", 3600, &["192.0.2.1", "192.0.2.2"]), set("many", 3600, &["192.0.2.2"])).unwrap();
        assert_eq!(fewer.lines().filter(|line| line.starts_with("many")).collect::<Vec<_>>(), ["many 3600 A 192.0.2.2"]);
        let more = edited(set("www", 14_400, &["192.0.2.1"]), set("www", 14_400, &["192.0.2.1", "192.0.2.2"])).unwrap();
        assert!(more.contains("192.0.2.1\r\nwww.example.org. 14400 IN A 192.0.2.2\nns A"), "{more}");
        let new = edited(set("new", 0, &[]), set("new", 60, &["192.0.2.9"])).unwrap();
        assert_eq!(new, serial + "\nnew.example.org. 60 IN A 192.0.2.9\n");
    }

    #[test]
    fn what_cannot_be_done_without_touching_others_is_refused() {
        let line = edited(set("old", 60, &["192.0.2.1"]), set("old", 60, &[])).unwrap_err();
        assert!(line.contains("line 11, column 5") && line.contains("old.example.org."), "{line}");
        let included = edited(set("www", 60, &["192.0.2.1", "192.0.2.8"]), set("www", 60, &["192.0.2.8"])).unwrap_err();
        assert!(included.contains("$INCLUDE"), "{included}");
        assert!(
            Zone::parse(b"$TTL 60\nwww A 192.0.2.1\n", &zone())
                .unwrap()
                .serial()
                .unwrap_err()
                .contains("no SOA")
        );
    }

    #[test]
    fn all_that_a_name_was_written_with_goes_only_if_nobody_else_has_it_from_there() {
        let two = set("many", 3600, &["192.0.2.1", "192.0.2.2"]);
        let without = |more: &str| {
            let text = format!("{TEXT}{more}");
            let bytes = Zone::parse(text.as_bytes(), &zone())
                .unwrap()
                .edited(std::slice::from_ref(&two), &[set("many", 0, &[])], 1)?;
            Ok::<_, String>(String::from_utf8(bytes).unwrap())
        };
        assert!(!without("\n").unwrap().contains("many"));
        assert!(without("\n\tTXT \"its own\"\n").unwrap_err().contains("write many.example.org. before it"));
        let again = "\n\tA 192.0.2.1\n\tA 192.0.2.2\nnext TXT \"x\"\n";
        assert!(without(again).unwrap().ends_with("from above\"\nnext TXT \"x\"\n"));
    }

    #[test]
    fn serials_go_around() {
        assert_eq!((next_serial(1), next_serial(u32::MAX - 1), next_serial(u32::MAX)), (2, u32::MAX, 1));
        for (newer, older) in [(1, u32::MAX), (1, 0), (0, u32::MAX), (1 << 31, 1), (2_026_112_201, 2_026_112_200)] {
            assert!(is_newer(newer, older) && !is_newer(older, newer), "{newer} {older}");
        }
        assert!(!is_newer(7, 7));
    }

    #[test]
    fn what_bind_writes_out_is_compared_record_by_record() {
        let text = "example.org.\t 3600 IN SOA\tns.example.org. h.example.org. 7 3600 900 1209600 300\nwww.example.org.   300 IN A  192.0.2.1\nt.example.org. 5 IN TXT \t\"a  b\"\n";
        let one = Written::read(text);
        assert_eq!(one.set(&zone().below("www"), Kind::A).unwrap(), set("www", 300, &["192.0.2.1"]));
        assert_eq!(one.set(&zone().below("t"), Kind::TXT).unwrap().texts(), ["\"a  b\""]);
        let other = Written::read(&text.replace(" 7 ", " 8 ").replace("192.0.2.1", "192.0.2.2").replace("a  b", "a b"));
        assert_eq!(one.beyond(&other, &[set("www", 0, &[])], &zone()), ["t.example.org. 5 IN TXT \"a  b\""]);
        assert_eq!(one.authority(&zone()), other.authority(&zone()));
    }
}

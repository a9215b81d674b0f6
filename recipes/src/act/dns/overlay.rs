//! ClonePanel's action files: the records of a zone that an action brings about, with DOMAIN, WEB_MASTER and WEB_SLAVE in them.
//!
//! They are read as they are, and with everything else that a zone's text may have: blank lines, comments, tabs, line ends of Windows, small letters, no TTL. A value
//! WEB_MASTER or WEB_SLAVE stands for every address of that node that fits the type. What cannot be understood is refused, with its place.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::name::Name;
use super::set::{Kind, Set, value};
use super::text::{Line, Word, Wrong, lines, seconds};

pub const DOMAIN: &str = "DOMAIN";
pub const MASTER: &str = "WEB_MASTER";
pub const SLAVE: &str = "WEB_SLAVE";

/// What the words stand for.
#[derive(Debug, Clone)]
pub struct Meaning<'a> {
    pub domain: &'a Name,
    pub zone: &'a Name,
    pub master: &'a [IpAddr],
    pub slave: &'a [IpAddr],
    /// Of lines that say none.
    pub ttl: u32,
}

/// The record sets of an action file.
pub fn sets(text: &[u8], meaning: &Meaning<'_>) -> Result<Vec<Set>, Wrong> {
    let mut found: BTreeMap<(Name, Kind), Set> = BTreeMap::new();
    let mut owner = None;
    // Some editors begin a file with a mark that nobody sees.
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    for line in lines(text)? {
        let (first, set) = entry(line, &mut owner, meaning)?;
        let known = found
            .entry((set.name.clone(), set.kind))
            .or_insert_with(|| Set { ttl: set.ttl, ..Set::empty(set.name.clone(), set.kind) });
        if known.ttl != set.ttl {
            return Err(first.wrong(format!("{} {} has another TTL above: {}", set.name, set.kind, known.ttl)));
        }
        known.values.extend(set.values);
    }
    match found.is_empty() {
        true => Err(Wrong { line: 1, column: 1, what: "there is no record in it".into() }),
        false => Ok(found.into_values().collect()),
    }
}

fn entry(line: Line, owner: &mut Option<Name>, meaning: &Meaning<'_>) -> Result<(Word, Set), Wrong> {
    let Line { words, indented, .. } = line;
    let first = words[0].clone();
    if let Some(word) = words.iter().find(|word| !word.quoted && !word.text.is_ascii()) {
        return Err(word.wrong(format!("{:?} has letters that names cannot have: write it as xn--…", word.shown())));
    }
    let mut rest = words.as_slice();
    if !indented || owner.is_none() {
        if first.text.starts_with(b"$") {
            return Err(first.wrong(format!("{} is not read in an action file", first.shown())));
        }
        let name = Name::parse(&spelled(&first, meaning).text, Some(meaning.domain)).map_err(|what| first.wrong(what))?;
        if !name.is_within(meaning.zone) {
            return Err(first.wrong(format!("{name} is not in the zone {}", meaning.zone)));
        }
        *owner = Some(name);
        rest = &words[1..];
    }
    let (mut ttl, mut class) = (None, false);
    let kind = loop {
        let Some((word, after)) = rest.split_first() else { return Err(first.wrong("the type of the record is missing")) };
        rest = after;
        let upper = word.upper();
        match seconds(&upper) {
            Some(seconds) if ttl.is_none() => ttl = Some(seconds),
            _ if upper == "IN" && !class => class = true,
            _ if ["CH", "HS"].contains(&upper.as_str()) => return Err(word.wrong(format!("the class {upper} is not that of the internet"))),
            _ => {
                let known = Kind::named(&upper).filter(|kind| kind.is_readable());
                break known.ok_or_else(|| word.wrong(format!("records of type {} are not read here", word.shown())))?;
            }
        }
    };
    let name = owner.clone().ok_or_else(|| first.wrong("it has no name"))?;
    let mut set = Set { ttl: ttl.unwrap_or(meaning.ttl), ..Set::empty(name, kind) };
    match rest {
        [word] if role(word).is_some() => set.values.extend(addresses(word, kind, meaning)?),
        _ => {
            if let Some(word) = rest.iter().find(|word| word.text.windows(4).any(|part| part == b"WEB_")) {
                return Err(word.wrong(format!("{MASTER} and {SLAVE} stand for the whole value of an A or AAAA record only")));
            }
            let words: Vec<Word> = rest.iter().map(|word| spelled(word, meaning)).collect();
            let at_end = |wrong: Wrong| if rest.is_empty() { first.wrong(wrong.what) } else { wrong };
            let _ = set.values.insert(value(kind, &words, Some(meaning.domain)).map_err(at_end)?);
        }
    }
    Ok((first, set))
}

fn role(word: &Word) -> Option<&'static str> {
    [MASTER, SLAVE].into_iter().find(|role| word.upper() == *role)
}

fn addresses(word: &Word, kind: Kind, meaning: &Meaning<'_>) -> Result<Vec<Vec<u8>>, Wrong> {
    let of = if role(word) == Some(MASTER) { meaning.master } else { meaning.slave };
    let fitting: Vec<Vec<u8>> = of.iter().filter_map(|address| of_kind(address, kind)).collect();
    match kind {
        Kind::A | Kind::AAAA if fitting.is_empty() => {
            Err(word.wrong(format!("{} has no address for a record of type {kind}", word.shown())))
        }
        Kind::A | Kind::AAAA => Ok(fitting),
        _ => Err(word.wrong(format!("{} is an address, and a record of type {kind} has none", word.shown()))),
    }
}

/// An address as a value of this type, if it fits.
pub fn of_kind(address: &IpAddr, kind: Kind) -> Option<Vec<u8>> {
    match (address, kind) {
        (IpAddr::V4(address), Kind::A) => Some(address.octets().to_vec()),
        (IpAddr::V6(address), Kind::AAAA) => Some(address.octets().to_vec()),
        _ => None,
    }
}

/// With DOMAIN said: anywhere in capitals, as the last part of a whole name in small letters, too.
fn spelled(word: &Word, meaning: &Meaning<'_>) -> Word {
    let (domain, text) = (meaning.domain.plain(), word.shown());
    let mut said = text.replace(DOMAIN, &domain);
    let small = text.to_ascii_lowercase();
    let before = small.strip_suffix("domain.").map(str::len).filter(|at| *at == 0 || small[..*at].ends_with('.'));
    if let Some(at) = before.filter(|_| said == text && !word.quoted) {
        said = format!("{}{domain}.", &text[..at]);
    }
    Word { text: said.into_bytes(), ..word.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<String>, String> {
        let domain = Name::parse(b"example.org.", None).unwrap();
        let (master, slave): (Vec<IpAddr>, Vec<IpAddr>) =
            (vec!["192.0.2.1".parse().unwrap()], ["198.51.100.7", "2001:db8::7"].map(|ip| ip.parse().unwrap()).to_vec());
        let meaning = Meaning { domain: &domain, zone: &domain, master: &master, slave: &slave, ttl: 300 };
        let found = sets(text.as_bytes(), &meaning).map_err(|wrong| wrong.to_string())?;
        Ok(found.iter().flat_map(Set::lines).collect())
    }

    #[test]
    fn the_files_that_clonepanel_ships_are_read_as_they_are() {
        let prepare = "DOMAIN.\t\t\t900\tIN\tA\tWEB_MASTER\nwww.DOMAIN.\t\t900\tIN\tA\tWEB_MASTER\n";
        let expected =
            |address: &str, ttl: u32| vec![format!("example.org. {ttl} IN A {address}"), format!("www.example.org. {ttl} IN A {address}")];
        assert_eq!(read(prepare).unwrap(), expected("192.0.2.1", 900));
        assert_eq!(read(&prepare.replace(MASTER, SLAVE)).unwrap(), expected("198.51.100.7", 900));
        assert_eq!(read(&prepare.replace("900", "14400")).unwrap(), expected("192.0.2.1", 14_400));
    }

    #[test]
    fn blank_lines_comments_tabs_line_ends_and_small_letters_do_no_harm() {
        let text = "\r\n; what moves\r\nwww.domain.\t900\tin\ta\tweb_slave ; here\r\n\r\n\tAAAA\tWEB_SLAVE\r\nmail 1h MX 10 mx.DOMAIN.\n@ TXT \"v=spf1 a:DOMAIN -all\"";
        let wrong = read(text).unwrap();
        let expected = [
            "example.org. 300 IN TXT \"v=spf1 a:example.org -all\"",
            "mail.example.org. 3600 IN MX 10 mx.example.org.",
            "www.example.org. 900 IN A 198.51.100.7",
            "www.example.org. 300 IN AAAA 2001:db8::7",
        ];
        assert_eq!(wrong, expected);
    }

    #[test]
    fn a_mark_that_an_editor_put_before_the_text_is_no_name() {
        let file = "www.DOMAIN. 900 IN A WEB_SLAVE\n";
        assert_eq!(read(&format!("\u{feff}{file}")), read(file));
    }

    #[test]
    fn what_is_not_understood_is_refused_with_its_line_and_column() {
        for (text, expected) in [
            ("DOMAIN. 900 IN LOC 52 22", "line 1, column 16: records of type LOC are not read here"),
            ("\nDOMAIN. IN A", "line 2, column 1: a value for A is missing"),
            ("DOMAIN. IN A WEB_MASTERS", "line 1, column 14: WEB_MASTER and WEB_SLAVE stand for"),
            ("DOMAIN. IN AAAA WEB_MASTER", "line 1, column 17: WEB_MASTER has no address"),
            ("DOMAIN. IN CNAME WEB_SLAVE", "line 1, column 18: WEB_SLAVE is an address"),
            ("www.example.com. IN A 1.2.3.4", "line 1, column 1: www.example.com. is not in the zone"),
            ("@ 60 A 1.2.3.4\n@ 61 A 1.2.3.5", "line 2, column 1: example.org. A has another TTL above: 60"),
            ("@ A 1.2.3", "line 1, column 5: \"1.2.3\" is no IPv4 address"),
            ("@ CH A 1.2.3.4", "line 1, column 3: the class CH"),
            ("$TTL 5", "line 1, column 1: $TTL is not read"),
            ("@ A 1.2.3.4 5", "line 1, column 13: \"5\" is too much"),
            ("@", "line 1, column 1: the type of the record is missing"),
            ("www\u{a0}60 A 1.2.3.4", "line 1, column 1: \"www\\u{a0}60\" has letters that names cannot have"),
            ("@ MX 10 b\u{fc}cher", "line 1, column 9: \"b\u{fc}cher\" has letters"),
            ("; nothing", "line 1, column 1: there is no record"),
        ] {
            let wrong = read(text).unwrap_err();
            assert!(wrong.starts_with(expected), "{text:?}: {wrong}");
        }
    }
}

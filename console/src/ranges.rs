//! Which clients may connect at all: `allow = ["10.0.0.0/8", "192.0.2.1-192.0.2.9"]`, the fence before the keys.
//!
//! Each item is one address, a block (`10.0.0.0/8`), a range with both its ends (`192.0.2.1-192.0.2.9`), or `localhost`, which is
//! 127.0.0.0/8 and ::1. IPv4 and IPv6 are told apart: `::/0` is every IPv6 client and no IPv4 one. An IPv4 client that a socket of
//! both kinds shows as `::ffff:192.0.2.1` counts as 192.0.2.1, however either side writes it.
//!
//! An item that can match nobody, or that reads otherwise than it was meant (an end before its beginning, bits behind a prefix, a
//! name), is a mistake and is never passed over: a fence with a hole that nobody sees is worse than none. It resolves no names,
//! because who is allowed must not hang on who answers for a name; and it grants nothing by itself: the keys decide.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::located::Section;

/// Allowed clients: everyone, unless a list says who.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ranges {
    list: Option<Vec<(IpAddr, IpAddr)>>,
}

impl Ranges {
    /// Reads a list; each mistake names the item by its number, from 1.
    pub fn parse<T: AsRef<str>>(items: &[T]) -> Result<Ranges, Vec<String>> {
        if items.is_empty() {
            return Err(vec!["allows nobody; leave the key out to allow every client".into()]);
        }
        let (mut list, mut mistakes) = (Vec::new(), Vec::new());
        for (at, text) in items.iter().enumerate() {
            match item(text.as_ref().trim()) {
                Ok(ranges) => list.extend(ranges),
                Err(what) => mistakes.push(format!("number {}: {what}", at + 1)),
            }
        }
        if mistakes.is_empty() { Ok(Ranges { list: Some(list) }) } else { Err(mistakes) }
    }

    /// May a client at this address connect?
    pub fn contains(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        // An IPv4 address orders before every IPv6 one, and no range has ends of both kinds, so order alone tells the kinds apart.
        self.list
            .as_ref()
            .is_none_or(|list| list.iter().any(|(first, last)| (first..=last).contains(&&client)))
    }

    /// Is there no list, so that everyone may?
    pub fn is_everyone(&self) -> bool {
        self.list.is_none()
    }
}

/// The key `allow` of a section; everyone when it is not there.
pub(crate) fn allow(section: &mut Section<'_>) -> Ranges {
    let Some(items) = section.strings("allow") else {
        return Ranges::default();
    };
    let mistakes = match Ranges::parse(&items) {
        Ok(ranges) => return ranges,
        Err(mistakes) => mistakes,
    };
    for what in mistakes {
        section.wrong("allow", what);
    }
    Ranges::default()
}

fn item(text: &str) -> Result<Vec<(IpAddr, IpAddr)>, String> {
    if text.eq_ignore_ascii_case("localhost") {
        let four = (Ipv4Addr::new(127, 0, 0, 0).into(), Ipv4Addr::new(127, 255, 255, 255).into());
        return Ok(vec![four, (Ipv6Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into())]);
    }
    let range = if let Some((base, prefix)) = text.split_once('/') {
        block(text, base.trim(), prefix.trim())?
    } else if let Some((first, last)) = text.split_once('-').filter(|(first, _)| !is_name(first)) {
        ends(text, first.trim(), last.trim())?
    } else {
        let one = address(text)?;
        (one, one)
    };
    Ok(vec![range])
}

/// Letters that no address has; a name may have a hyphen, so it must be known before a range is thought of.
fn is_name(text: &str) -> bool {
    !text.contains(':') && text.chars().any(|c| c.is_alphabetic())
}

fn address(text: &str) -> Result<IpAddr, String> {
    match text.parse::<IpAddr>() {
        Ok(address) => Ok(address.to_canonical()),
        Err(_) if text.contains('%') => Err(format!("`{text}` names an interface behind `%`; write the address alone")),
        Err(_) if is_name(text) => Err(format!("`{text}` is a name; only addresses count here, and `localhost`")),
        Err(_) => Err(format!("`{text}` is no address, as \"192.0.2.1\", \"10.0.0.0/8\", \"192.0.2.1-192.0.2.9\" or \"2001:db8::/32\"")),
    }
}

/// An address within an item; what is wrong with it is said of the item.
fn part(text: &str, part: &str) -> Result<IpAddr, String> {
    address(part).map_err(|what| format!("`{text}`: {what}"))
}

fn ends(text: &str, first: &str, last: &str) -> Result<(IpAddr, IpAddr), String> {
    let (first, last) = (part(text, first)?, part(text, last)?);
    if first.is_ipv4() != last.is_ipv4() {
        return Err(format!("`{text}` begins in one kind of address and ends in the other"));
    }
    if first > last { Err(format!("`{text}` ends before it begins; did you mean `{last}-{first}`?")) } else { Ok((first, last)) }
}

fn block(text: &str, base: &str, prefix: &str) -> Result<(IpAddr, IpAddr), String> {
    // As written: the prefix of a mapped address counts from the 128 bits that it was written with.
    let written: IpAddr = match base.parse() {
        Ok(written) => written,
        Err(_) => return part(text, base).map(|one| (one, one)),
    };
    let width: u32 = if written.is_ipv4() { 32 } else { 128 };
    let digits = !prefix.is_empty() && prefix.bytes().all(|b| b.is_ascii_digit());
    let bits = prefix.parse().ok().filter(|bits| digits && *bits <= width);
    let Some(bits) = bits else {
        return Err(format!("`{text}`: behind the `/` stands a number from 0 to {width}, not `{prefix}`"));
    };
    let (first, last) = match written {
        IpAddr::V4(four) => {
            let host = u32::MAX.checked_shr(bits).unwrap_or(0);
            let first = four.to_bits() & !host;
            (IpAddr::V4(Ipv4Addr::from_bits(first)), IpAddr::V4(Ipv4Addr::from_bits(first | host)))
        }
        IpAddr::V6(six) => {
            let host = u128::MAX.checked_shr(bits).unwrap_or(0);
            let first = six.to_bits() & !host;
            (IpAddr::V6(Ipv6Addr::from_bits(first)), IpAddr::V6(Ipv6Addr::from_bits(first | host)))
        }
    };
    if first != written {
        return Err(format!("`{text}` has bits behind its prefix; did you mean `{first}/{bits}`, or `{written}` alone?"));
    }
    // All of a mapped block is mapped, or (with a prefix under 96) its first address is not.
    Ok((first.to_canonical(), last.to_canonical()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(items: &[&str]) -> Ranges {
        Ranges::parse(items).unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
    }

    fn mistakes(items: &[&str]) -> String {
        Ranges::parse(items).expect_err("it is a mistake").join("\n")
    }

    fn allows(items: &[&str], client: &str) -> bool {
        ranges(items).contains(client.parse().expect("an address"))
    }

    /// What that system's own tests ask of its allowed ranges. Its lists hold an item that it passes over in silence (`127-128`) or
    /// that matches nobody (an end before its beginning): here such a list is refused, and the answer is that of the rest.
    #[test]
    fn the_fifteen_cases_of_oak() {
        let long = "127.0.0.0-127.255.255.255";
        let wrong: &[&str] = &["126.0.0.1", "::2", "128.0.0.1-255.255.255.255", "128.0.0.0-127.255.255.255"];
        let cases: [(&str, &str, Option<&[&str]>, bool, &[&str]); 15] = [
            ("all clients", "127.0.0.1", None, true, &[]),
            ("local client", "127.0.0.1", Some(&["127.0.0.1"]), true, &[]),
            ("local client by IPv6", "::1", Some(&["::1"]), true, &[]),
            ("another client", "127.0.0.1", Some(&["127.0.0.2"]), false, &[]),
            ("another client by IPv6", "127.0.0.1", Some(&["::2"]), false, &[]),
            ("localhost", "127.0.0.1", Some(&["localhost"]), true, &[]),
            ("first of a range", "127.0.0.1", Some(&["127.0.0.1-127.0.0.2"]), true, &[]),
            ("last of a range", "127.0.0.1", Some(&["127.0.0.0-127.0.0.1"]), true, &[]),
            ("within a range", "127.0.0.1", Some(&["127.0.0.0-127.0.0.2"]), true, &[]),
            ("range backwards", "127.0.0.1", Some(&["127.0.0.2-127.0.0.1"]), false, &["127.0.0.2-127.0.0.1"]),
            ("list", "127.0.0.1", Some(&["127-128", "126.0.0.1", long]), true, &["127-128"]),
            ("list of both kinds", "127.0.0.1", Some(&["122-126", "::1", "126.0.0.1", long]), true, &["122-126"]),
            ("wrong list", "127.0.0.1", Some(wrong), false, &wrong[3..]),
            ("list, by IPv6", "::1", Some(&["127-128", "0:0:0:0:0:0:0:1", "126.0.0.1", long]), true, &["127-128"]),
            ("wrong list, by IPv6", "::1", Some(wrong), false, &wrong[3..]),
        ];
        for (what, client, list, allowed, refused) in cases {
            let Some(list) = list else {
                assert!(Ranges::default().contains(client.parse().expect("an address")), "{what}");
                continue;
            };
            assert_eq!(Ranges::parse(list).is_err(), !refused.is_empty(), "{what}: is the list as it stands refused?");
            let rest: Vec<&str> = list.iter().copied().filter(|item| !refused.contains(item)).collect();
            assert_eq!(!rest.is_empty() && allows(&rest, client), allowed, "{what}");
        }
    }

    #[test]
    fn ranges_hold_both_their_ends_and_nothing_beside() {
        for (item, within, beside) in [
            ("192.0.2.1-192.0.2.9", ["192.0.2.1", "192.0.2.9"], ["192.0.2.0", "192.0.2.10"]),
            ("10.0.0.0/8", ["10.0.0.0", "10.255.255.255"], ["9.255.255.255", "11.0.0.0"]),
            ("192.0.2.128/25", ["192.0.2.128", "192.0.2.255"], ["192.0.2.127", "192.0.3.0"]),
            ("192.0.2.7/32", ["192.0.2.7", "::ffff:192.0.2.7"], ["192.0.2.6", "192.0.2.8"]),
            ("0.0.0.0/0", ["0.0.0.0", "255.255.255.255"], ["::", "::1"]),
            ("2001:db8::/32", ["2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"], ["2001:db7:ffff::", "2001:db9::"]),
            ("2001:db8::5 - 2001:db8::1:0", ["2001:db8::5", "2001:db8::1:0"], ["2001:db8::4", "2001:db8::1:1"]),
            ("::/0", ["::", "ffff::"], ["0.0.0.0", "192.0.2.1"]),
            ("2001:db8::1/128", ["2001:db8::1", "2001:DB8:0::1"], ["2001:db8::", "2001:db8::2"]),
            ("localhost", ["127.8.8.8", "::1"], ["128.0.0.0", "::2"]),
        ] {
            for client in within {
                assert!(allows(&[item], client), "{client} is in {item}");
            }
            for client in beside {
                assert!(!allows(&[item], client), "{client} is not in {item}");
            }
        }
    }

    #[test]
    fn a_mapped_address_is_the_ipv4_address_that_it_is() {
        for item in ["192.0.2.1-192.0.2.9", "::ffff:192.0.2.1-::ffff:192.0.2.9", "::ffff:192.0.2.4", "::ffff:192.0.2.0/124", "192.0.2.4"] {
            for client in ["192.0.2.4", "::ffff:192.0.2.4"] {
                assert!(allows(&[item], client), "{client} is in {item}");
            }
            assert!(!allows(&[item], "192.0.2.99") && !allows(&[item], "::ffff:192.0.2.99") && !allows(&[item], "::c000:204"), "{item}");
        }
        assert!(allows(&["::ffff:0:0/96"], "198.51.100.1"), "all of IPv4, in the words of IPv6");
        assert!(!allows(&["::/0"], "::ffff:198.51.100.1"), "however the client is shown");
    }

    #[test]
    fn one_of_several_items_is_enough() {
        let list = ["192.0.2.1", "2001:db8::/32", "10.0.0.0/8"];
        assert!(list.iter().zip(["192.0.2.1", "2001:db8::9", "10.9.9.9"]).all(|(_, client)| allows(&list, client)));
        assert!(!allows(&list, "192.0.2.2"));
        assert!(Ranges::default().is_everyone() && !ranges(&["0.0.0.0/0", "::/0"]).is_everyone());
    }

    #[test]
    fn each_mistake_is_told() {
        insta::assert_snapshot!(mistakes(&[
            "127-128", "shop-db.example.org", "192.0.2.9-192.0.2.1", "192.0.2.1-2001:db8::1", "10.0.0.1/8", "10.0.0.0/33", "2001:db8::/129", "10.0.0.0/",
            "10.0.0.0/+8", "fe80::1%eth0", "010.0.0.1", "", "192.0.2.1", "*", "shop/24", "192.0.2.1-", "2001:db8::1/64", "192.0.2.1:8025",
        ]), @r#"
        number 1: `127-128`: `127` is no address, as "192.0.2.1", "10.0.0.0/8", "192.0.2.1-192.0.2.9" or "2001:db8::/32"
        number 2: `shop-db.example.org` is a name; only addresses count here, and `localhost`
        number 3: `192.0.2.9-192.0.2.1` ends before it begins; did you mean `192.0.2.1-192.0.2.9`?
        number 4: `192.0.2.1-2001:db8::1` begins in one kind of address and ends in the other
        number 5: `10.0.0.1/8` has bits behind its prefix; did you mean `10.0.0.0/8`, or `10.0.0.1` alone?
        number 6: `10.0.0.0/33`: behind the `/` stands a number from 0 to 32, not `33`
        number 7: `2001:db8::/129`: behind the `/` stands a number from 0 to 128, not `129`
        number 8: `10.0.0.0/`: behind the `/` stands a number from 0 to 32, not ``
        number 9: `10.0.0.0/+8`: behind the `/` stands a number from 0 to 32, not `+8`
        number 10: `fe80::1%eth0` names an interface behind `%`; write the address alone
        number 11: `010.0.0.1` is no address, as "192.0.2.1", "10.0.0.0/8", "192.0.2.1-192.0.2.9" or "2001:db8::/32"
        number 12: `` is no address, as "192.0.2.1", "10.0.0.0/8", "192.0.2.1-192.0.2.9" or "2001:db8::/32"
        number 14: `*` is no address, as "192.0.2.1", "10.0.0.0/8", "192.0.2.1-192.0.2.9" or "2001:db8::/32"
        number 15: `shop/24`: `shop` is a name; only addresses count here, and `localhost`
        number 16: `192.0.2.1-`: `` is no address, as "192.0.2.1", "10.0.0.0/8", "192.0.2.1-192.0.2.9" or "2001:db8::/32"
        number 17: `2001:db8::1/64` has bits behind its prefix; did you mean `2001:db8::/64`, or `2001:db8::1` alone?
        number 18: `192.0.2.1:8025` is no address, as "192.0.2.1", "10.0.0.0/8", "192.0.2.1-192.0.2.9" or "2001:db8::/32"
        "#);
        insta::assert_snapshot!(mistakes(&[]), @"allows nobody; leave the key out to allow every client");
    }
}

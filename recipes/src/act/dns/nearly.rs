//! Messages, zones and action files that are nearly right: read or refused, and what is read comes back.

use std::net::IpAddr;

use super::message::{Answer, Message};
use super::name::Name;
use super::overlay::{self, Meaning};
use super::set::{Kind, Set};
use super::text::lines;
use super::tsig::Key;
use super::web::Url;
use super::zone::{Written, Zone};
use crate::act::nearly::nearly;

const ZONES: [&str; 5] = [
    "$TTL 3600\n@ IN SOA ns hostmaster (\n\t2026112201 ; serial\n\t1h 15m 2w 5m )\n\tNS ns\n\tMX 10 @\n\tA 192.0.2.1 ; apex\nwww\t14400\tIN\tA\t192.0.2.1\r\nns A 192.0.2.53\n",
    "$ORIGIN org.\nexample 60 SOA ns.example h.example 4294967295 1 1 1 1\n$ORIGIN example.org.\n$INCLUDE other sub\n$GENERATE 1-9 h$ A 10.0.0.$\n     A 192.0.2.1\nt TXT \"a;b\" ( \"c\\\"d\"\n \"\\101\" ) ; more\n*.w IN 5 AAAA 2001:db8::1\n",
    "a.b.\\.c\\065 1h30m IN SRV 1 2 3 x.y.\n\\@ CNAME @\n",
    "DOMAIN.\t\t\t900\tIN\tA\tWEB_MASTER\nwww.DOMAIN.\t\t900\tIN\tA\tWEB_SLAVE\n",
    "\r\n; what moves\r\nwww.domain.\t900\tin\ta\tweb_slave ; here\r\n\r\n\tAAAA\tWEB_SLAVE\r\nmail 1h MX 10 mx.DOMAIN.\n@ TXT \"v=spf1 a:DOMAIN -all\" x\n",
];

fn texts() -> Vec<Vec<u8>> {
    ZONES.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn zone() -> Name {
    Name::parse(b"example.org.", None).unwrap()
}

/// As the record of an act keeps them.
fn comes_back(set: &Set) {
    let kept = serde_json::to_string(set).unwrap();
    assert_eq!(serde_json::from_str::<Set>(&kept).ok().as_ref(), Some(set), "{kept}");
}

#[test]
fn words_stand_in_a_text_one_behind_the_other() {
    nearly("lines", &texts(), |bytes| {
        let Ok(list) = lines(bytes) else { return };
        let mut end = 0;
        for line in list {
            assert!(line.start >= end && line.end <= bytes.len() && line.words.len() <= bytes.len());
            end = line.start;
            for word in &line.words {
                assert!(word.start >= end && word.end > word.start && word.end <= line.end, "{word:?}");
                end = word.end;
            }
            end = end.max(line.end);
        }
    });
}

#[test]
fn a_zone_whose_serial_changes_keeps_all_else() {
    nearly("zone", &texts(), |bytes| {
        let Ok(parsed) = Zone::parse(bytes, &zone()) else { return };
        let Ok(serial) = parsed.serial() else { return };
        let new = parsed.edited(&[], &[], 77).unwrap();
        assert_eq!(Zone::parse(&new, &zone()).unwrap().serial(), Ok(77));
        let back = Zone::parse(&new, &zone()).unwrap().edited(&[], &[], serial).unwrap();
        // Some write their serials with zeros in front.
        assert!(back == bytes || bytes.len() > back.len());
        for kind in [Kind::A, Kind::TXT, Kind::MX] {
            let (now, want) = (Set::empty(zone(), kind), Set { ttl: 5, ..Set::empty(zone().below("x"), kind) });
            let _ = parsed.edited(&[now.clone(), want.clone()], &[want, now], 78);
        }
    });
}

#[test]
fn what_bind_would_write_out_is_read_or_refused() {
    nearly("written", &texts(), |bytes| {
        let written = Written::read(&String::from_utf8_lossy(bytes));
        let _ = (written.is_signed(), written.authority(&zone()), written.beyond(&Written::default(), &[], &zone()));
        for kind in [Kind::A, Kind::TXT, Kind::MX, Kind::SRV, Kind::SOA] {
            let _ = written.set(&zone(), kind).map(|set| comes_back(&set));
        }
    });
}

#[test]
fn what_an_action_file_says_comes_back_from_a_record() {
    let addresses: [IpAddr; 2] = ["192.0.2.1", "2001:db8::7"].map(|text| text.parse().unwrap());
    nearly("overlay", &texts(), |bytes| {
        let domain = zone();
        let meaning = Meaning { domain: &domain, zone: &domain, master: &addresses, slave: &addresses, ttl: 300 };
        let Ok(sets) = overlay::sets(bytes, &meaning) else { return };
        assert!(!sets.is_empty());
        sets.iter().for_each(comes_back);
        Message::update(1, &domain, &sets, &sets);
    });
}

/// Answers with what names may look like, compressed and not.
fn answers() -> Vec<Vec<u8>> {
    let question = |kind| Message::question(7, &zone().below("www"), kind).bytes;
    let answer = |kind: Kind, value: &[u8]| {
        let mut bytes = question(kind);
        (bytes[2], bytes[7]) = (0x84, 1);
        bytes.extend([0xc0, 12]);
        bytes.extend(kind.0.to_be_bytes());
        bytes.extend([0, 1, 0, 0, 1, 44]);
        bytes.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
        bytes.extend(value);
        bytes
    };
    let key = Key::parse("key k { algorithm hmac-sha256; secret \"MDEyMzQ1Njc4OWFiY2RlZg==\"; };").unwrap();
    let mut signed = Message { bytes: answer(Kind::A, &[192, 0, 2, 1]) };
    key.sign(&mut signed, 1000);
    vec![
        answer(Kind::A, &[192, 0, 2, 1]),
        answer(Kind::AAAA, &[1; 16]),
        answer(Kind::TXT, b"\x03a\"\\\x00\x02\xff;"),
        answer(Kind::MX, b"\x00\x0a\x02mx\xc0\x10"),
        answer(Kind::SRV, b"\x00\x01\x00\x02\x00\x03\x04a.b@\xc0\x10"),
        answer(Kind::CNAME, b"\xc0\x10"),
        answer(Kind::NS, b"\x01*\xc0\x0c"),
        signed.bytes,
    ]
}

#[test]
fn what_an_answer_has_comes_back_from_a_record_where_it_is_sound() {
    let key = Key::parse("key k { algorithm hmac-sha256; secret \"MDEyMzQ1Njc4OWFiY2RlZg==\"; };").unwrap();
    let signed = key.sign(&mut Message::question(7, &zone(), Kind::A), 1000);
    nearly("answer", &answers(), |bytes| {
        let Some(answer) = Answer::read(bytes) else { return };
        assert!(key.verify(bytes, &answer, &signed, 1000).is_err(), "nobody signed that");
        for record in answer.answers.iter().chain(&answer.additional) {
            assert_eq!(Name::parse(record.name.to_string().as_bytes(), None).as_ref(), Ok(&record.name));
            let set = answer.set(&record.name, record.kind);
            let _ = (set.lines(), set.targets(), set.addresses(), set.to_string());
            if record.kind.is_readable() && set.values.iter().all(|value| super::set::is_sound(set.kind, value)) {
                comes_back(&set);
            }
        }
    });
}

#[test]
fn keys_and_addresses_of_services_are_read_or_refused() {
    let seeds = [
        "key \"a\" {\n\talgorithm hmac-sha512; // x\n\tsecret \"MDEyMzQ1Njc4OWFiY2RlZg==\";\n};\n",
        "https://dyn.example.org:8443/nic?a=b",
    ];
    nearly("key", &seeds.map(|text| text.as_bytes().to_vec()), |bytes| {
        let text = String::from_utf8_lossy(bytes);
        if let Err(what) = Key::parse(&text) {
            assert!(!what.contains("MDEyMzQ1"), "no secret in what is said");
        }
        let _ = Url::parse(&text);
    });
}

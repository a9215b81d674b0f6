//! Frames, and answers of the kernel, that are nearly right: read or refused, and no frame that says something is kept out.

use std::net::IpAddr;

use super::frames::{Mac, announcements, question, read};
use super::kernel::{link, present, rule, way};
use super::netlink::{Request, attributes, piece};
use super::segment::filter;
use crate::act::nearly::nearly;

const OURS: [&str; 2] = ["192.0.2.10", "2001:db8::10"];

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Whether the kernel would let a frame in, by the filter's program.
fn is_let_in(program: &[libc::sock_filter], frame: &[u8]) -> bool {
    let (mut at, mut loaded) = (0, 0_u32);
    loop {
        let libc::sock_filter { code, jt, jf, k } = program[at];
        at += 1;
        let number = |length: usize| {
            let bytes = frame.get(k as usize..k as usize + length)?;
            Some(bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
        };
        // A word, a byte; then a test, and an end.
        match (code, number(4), number(1)) {
            (0x20, Some(word), _) => loaded = word,
            (0x30, _, Some(byte)) => loaded = byte,
            (0x20 | 0x30, ..) => return false,
            (0x15, ..) => at += usize::from(if loaded == k { jt } else { jf }),
            (0x06, ..) => return k > 0,
            _ => panic!("{code:#x} is none of its instructions"),
        }
    }
}

#[test]
fn every_frame_that_says_something_is_let_in() {
    let (mac, ours) = (Mac([2, 0, 0, 0, 0, 1]), OURS.map(address));
    let mut frames: Vec<Vec<u8>> = ours
        .iter()
        .flat_map(|one| announcements(mac, *one, false).into_iter().chain([question(mac, None, *one)]))
        .collect();
    for (one, frame) in ours.iter().zip([&frames[0], &frames[3]]) {
        assert!(is_let_in(&filter(*one), frame));
    }
    frames.push(question(mac, Some(address("192.0.2.1")), ours[0]));
    let others = [address("192.0.2.11"), address("2001:db8::11")];
    for (one, other) in ours.iter().zip(others) {
        for frame in announcements(mac, other, false).into_iter().chain([question(mac, None, other)]) {
            assert!(!is_let_in(&filter(*one), &frame), "{other} is nothing to {one}");
        }
    }
    nearly("frame", &frames, |frame| {
        for one in ours {
            assert!(read(frame, one).is_none() || is_let_in(&filter(one), frame));
        }
    });
}

/// As the kernel sends them: an interface, an address, a route, a rule, and the end of a list.
fn messages() -> Vec<Vec<u8>> {
    let address = Request::new(20, 2, &[2, 32, 0, 0, 2, 0, 0, 0]).with(2, &[192, 0, 2, 10]).with(6, &[5; 16]);
    let route = Request::new(24, 2, &[2, 24, 0, 0, 254, 82, 0, 1, 0, 0, 0, 0]).with(1, &[192, 0, 2, 0]).number(4, 2);
    let rule = Request::new(32, 2, &[2, 0, 32, 0, 0, 0, 0, 1, 0, 0, 0, 0])
        .with(2, &[192, 0, 2, 10])
        .with(21, &[82]);
    let kind = [&[10, 0, 4, 0][..], b"bridge\0\0"].concat();
    let link = Request::new(16, 2, &[0, 0, 1, 0, 2, 0, 0, 0, 0x43, 0, 0, 0, 0, 0, 0, 0])
        .with(1, &[2, 0, 0, 0, 0, 1])
        .with(18, &kind);
    let done = Request::new(3, 2, &[0; 4]);
    let one = |request: &Request| request.bytes(7, 0);
    let list = [&address, &route, &rule, &done].map(one).concat();
    vec![one(&address.number(8, 0x80).with(11, &[82])), one(&route), one(&rule), one(&link), list]
}

#[test]
fn whatever_the_kernel_answers_is_read_to_an_end() {
    nearly("netlink", &messages(), |bytes| {
        let (mut steady, mut many) = (true, 0);
        let _ = piece(bytes, 7, &mut steady, &mut |body: &[u8]| {
            many += 1;
            let _ = (present(body), way(body), rule(body), link(body));
            for from in [4, 8, 12, 16] {
                assert!(attributes(body.get(from..).unwrap_or_default()).count() <= body.len());
            }
        });
        assert!(many <= bytes.len() / 16);
    });
}

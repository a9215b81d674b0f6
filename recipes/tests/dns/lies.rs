//! Servers that answer what they should not: cut, slow, about something else, or with what is no record.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use recipes::act::conform::call;
use recipes::act::dns::{Dns, FAILOVER, Means, Settings, Update};
use recipes::act::{Act, Call};

use crate::bind::key;
use crate::{HOME, moment, secret, settings, times};

const SECRET: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// What a server makes of its answer before it sends it.
type Lie = fn(&mut Vec<u8>);

/// The answer of an honest server: one address, with authority. To an update: done, and not signed.
fn honest(question: &[u8]) -> Vec<u8> {
    let is_update = question[2] >> 3 == 5;
    let mut answer = question[..2].to_vec();
    if is_update {
        answer.extend([0xa8, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        return answer;
    }
    answer.extend([0x84, 0, 0, 1, 0, 1, 0, 0, 0, 0]);
    answer.extend(&question[12..]);
    answer.extend([0xc0, 12]);
    answer.extend(&question[question.len() - 4..]);
    answer.extend([0, 0, 0x38, 0x40, 0, 4]);
    answer.extend(HOME.parse::<std::net::Ipv4Addr>().unwrap().octets());
    answer
}

/// Answers everything so, a byte at a time where that is wanted.
fn server(lie: Lie, pause: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, mut length) = (client.unwrap(), [0; 2]);
            client.set_nodelay(true).unwrap();
            if client.read_exact(&mut length).is_err() {
                continue;
            }
            let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
            client.read_exact(&mut question).unwrap();
            let mut answer = honest(&question);
            lie(&mut answer);
            let whole = [&u16::try_from(answer.len()).unwrap().to_be_bytes()[..], &answer].concat();
            for bytes in whole.chunks(if pause.is_zero() { whole.len() } else { 1 }) {
                moment(pause);
                if client.write_all(bytes).is_err() {
                    break;
                }
            }
        }
    });
    at
}

fn of(place: &Path, server: SocketAddr) -> Dns {
    let key_file = place.join("move.key");
    secret(&key_file, &key("move", SECRET));
    let means = Means::Update(Update { server, key_file });
    Dns::new(Settings { servers: vec![server], ..settings(place, means) }).unwrap()
}

#[test]
fn what_is_no_answer_to_the_question_is_not_believed() {
    let lies: [(&str, Lie, &str); 14] = [
        ("another id", |answer| answer[0] ^= 0xff, "cannot be understood"),
        ("no answer", |answer| answer[2] &= 0x7f, "cannot be understood"),
        ("cut", |answer| answer[2] |= 2, "cannot be understood"),
        ("SERVFAIL", |answer| answer[3] |= 2, "SERVFAIL"),
        ("REFUSED", |answer| answer[3] |= 5, "REFUSED"),
        ("NOTAUTH", |answer| answer[3] |= 9, "NOTAUTH"),
        ("no authority", |answer| answer[2] &= !4, "has no authority"),
        ("another name", |answer| answer[13] = b'x', "another question"),
        ("another type", |answer| *answer.iter_mut().rev().nth(18).unwrap() = 28, "another question"),
        ("another operation", |answer| answer[2] |= 4 << 3, "another question"),
        (
            "no question",
            |answer| {
                answer.truncate(12);
                answer[5] = 0;
                answer[7] = 0;
            },
            "another question",
        ),
        (
            "a short address",
            |answer| {
                answer.pop();
                *answer.iter_mut().rev().nth(3).unwrap() = 3;
            },
            "what is no A",
        ),
        ("a loop of names", |answer| answer[12..14].copy_from_slice(&[0xc0, 12]), "cannot be understood"),
        ("half of it", |answer| answer.truncate(20), "cannot be understood"),
    ];
    for (what, lie, why) in lies {
        let folder = tempfile::tempdir().unwrap();
        let dns = of(folder.path(), server(lie, Duration::ZERO));
        let error = dns.take(&call(1)).unwrap_err();
        assert!(recipes::told(&error).contains(why), "{what}: {}", recipes::told(&error));
        assert!(dns.last().unwrap().is_none(), "{what}: what was not seen is not kept");
        let verified = dns.verify(&call(1)).map(|verified| verified.is_well());
        assert!(!verified.unwrap_or(false), "{what}");
    }
}

#[test]
fn an_update_that_nobody_signed_is_not_done() {
    let folder = tempfile::tempdir().unwrap();
    let dns = of(folder.path(), server(|_| (), Duration::ZERO));
    let error = dns.run(FAILOVER, "web1", &call(1)).unwrap_err();
    assert!(recipes::told(&error).contains("does not sign it"), "{}", recipes::told(&error));
}

#[test]
fn one_that_answers_slowly_takes_no_more_time_than_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let dns = of(folder.path(), server(|_| (), Duration::from_millis(100)));
    let begin = times().0;
    let error = dns.take(&Call { within: Duration::from_secs(1), ..call(1) }).unwrap_err();
    assert!(recipes::told(&error).contains("in time"), "{}", recipes::told(&error));
    assert!(times().0 - begin < Duration::from_secs(3));
}

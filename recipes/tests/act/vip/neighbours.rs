//! What others on the switch see of it: whose it is, who moves along, and two that both have it.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use recipes::Error;
use recipes::act::conform::call;
use recipes::act::vip::{Announcer, Claim, Sighting, seen};
use recipes::act::{Act, Vip};

use super::{BOTH, V4, V6, ip, is_here, parsed, plain};
use crate::hosts::{Hosts, link_of};
use crate::{LIMIT, moment, now, until};

const A: u8 = 1;
const B: u8 = 2;
const SECOND: Duration = Duration::from_secs(1);

fn holder(address: &str) -> Option<String> {
    seen("eth0", parsed(address), SECOND).unwrap().map(|mac| mac.to_string())
}

/// Where the client sends what is for the address. It asks nobody anew for what it knows.
fn believed(address: &str) -> Option<String> {
    let said = ip(&format!("neigh show {address} dev eth0"));
    let mut words = said.split(' ').skip_while(|word| *word != "lladdr");
    words.nth(1).map(str::to_owned)
}

/// Makes this host ask for the link address, as a client does; nobody listens there.
fn ask(address: &str) {
    let _ = TcpStream::connect_timeout(&SocketAddr::new(parsed(address), 80), Duration::from_millis(300));
}

/// Drives an announcer on the real clock until something is so.
fn drive(announcer: &mut Announcer, what: &str, mut done: impl FnMut(Option<Sighting>) -> bool) {
    let begin = now();
    loop {
        let heard = announcer.step(now() - begin + SECOND, Duration::from_millis(20), None).unwrap();
        if done(heard) {
            return;
        }
        assert!(now() - begin < LIMIT, "waited for {what}");
    }
}

#[test]
fn what_another_host_has_is_refused_and_that_host_named() {
    for address in BOTH {
        let (hosts, folder) = (Hosts::segment(), tempfile::tempdir().unwrap());
        let vip = plain(address, folder.path());
        hosts.within("b", || ip(&format!("addr add {address} dev eth0{}", if address == V6 { " nodad" } else { "" })));
        hosts.within("a", || {
            let error = vip.take(&call(1)).unwrap_err();
            assert!(matches!(error, Error::AddressTaken { .. }) && error.to_string().contains(&link_of(B)), "{error}");
            let why = vip.is_free(SECOND).unwrap_err();
            assert!(why.to_string().contains(&link_of(B)), "{why}");
            assert!(!ip("addr").contains(address), "nothing was put there");
            let checked = vip.check(&call(1)).unwrap();
            assert!(checked.findings.iter().any(|finding| finding.what.contains(&link_of(B))), "{checked:?}");
            assert_eq!(holder(address), Some(link_of(B)));
        });
        hosts.within("b", || ip(&format!("addr del {address}/{} dev eth0", if address == V4 { 32 } else { 128 })));
        hosts.within("a", || {
            assert_eq!(holder(address), None);
            vip.is_free(SECOND).unwrap();
            vip.take(&call(1)).unwrap();
            assert_eq!(holder(address), Some(link_of(A)), "by its own word");
        });
        for other in ["b", "client"] {
            assert_eq!(hosts.within(other, || holder(address)), Some(link_of(A)), "as {other} sees it");
        }
    }
}

#[test]
fn one_that_another_host_takes_at_the_same_time_is_given_up() {
    let (hosts, folder) = (Hosts::segment(), tempfile::tempdir().unwrap());
    hosts.within("a", || std::fs::write("/proc/sys/net/ipv6/neigh/eth0/retrans_time_ms", "3000").unwrap());
    let vip = plain(V6, folder.path());
    let error = std::thread::scope(|scope| {
        let taking = scope.spawn(|| hosts.within("a", || vip.take(&call(1)).unwrap_err()));
        hosts.within("a", || until("the kernel to look for others", || ip("addr show dev eth0 tentative").contains(V6).then_some(())));
        hosts.within("b", || {
            ip(&format!("addr add {V6} dev eth0 nodad"));
            let mut announcer = plain(V6, folder.path()).announcer();
            announcer.step(SECOND, Duration::ZERO, None).unwrap();
        });
        taking.join().unwrap()
    });
    assert!(matches!(error, Error::AddressTaken { .. }) && error.to_string().contains(&link_of(B)), "{error}");
    hosts.within("a", || assert!(!ip("addr").contains(V6), "what the kernel gave up is taken away"));
}

#[test]
fn clients_stay_with_the_host_before_until_they_are_told() {
    for address in BOTH {
        let (hosts, first, second) = (Hosts::segment(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        hosts.within("a", || plain(address, first.path()).take(&call(1)).unwrap());
        hosts.within("client", || {
            ask(address);
            assert_eq!(believed(address), Some(link_of(A)));
        });
        hosts.within("a", || plain(address, first.path()).release(&call(1)).unwrap());
        // As one does it who says nothing.
        let nodad = if address == V6 { " nodad" } else { "" };
        hosts.within("b", || ip(&format!("addr add {address} dev eth0{nodad}")));
        hosts.within("client", || {
            ask(address);
            assert_eq!(believed(address), Some(link_of(A)), "nobody told it");
        });
        let vip: Vip = plain(address, second.path());
        let mut announcer = vip.announcer();
        hosts.within("b", || {
            drive(&mut announcer, "the client to move", |_| hosts.within("client", || believed(address)) == Some(link_of(B)));
        });
    }
}

#[test]
fn two_that_both_have_it_hear_of_each_other_and_announce_again() {
    for address in BOTH {
        let (hosts, folder) = (Hosts::segment(), tempfile::tempdir().unwrap());
        let vip = plain(address, folder.path());
        let mut announcer = vip.announcer();
        hosts.within("a", || {
            vip.take(&call(1)).unwrap();
            let begin = now();
            // All that is due by itself for a minute.
            for second in [1, 2, 3, 10] {
                announcer.step(SECOND * second, Duration::ZERO, None).unwrap();
            }
            assert!(now() - begin < LIMIT);
        });
        let nodad = if address == V6 { " nodad" } else { "" };
        hosts.within("b", || ip(&format!("addr add {address} dev eth0{nodad}")));
        let mut other = plain(address, folder.path()).announcer();
        hosts.within("b", || other.step(SECOND, Duration::ZERO, None).unwrap());
        hosts.within("a", || {
            let heard = until("the other to be heard", || announcer.step(SECOND * 20, Duration::from_millis(100), None).unwrap());
            assert_eq!((heard.mac.to_string(), heard.claim), (link_of(B), Claim::Announced));
        });
        // Told anew, though nothing was due: the other one hears it.
        hosts.within("a", || announcer.step(SECOND * 22, Duration::ZERO, None).unwrap());
        hosts.within("b", || {
            let heard = until("the first to be heard", || other.step(SECOND, Duration::from_millis(100), None).unwrap());
            assert_eq!(heard.mac.to_string(), link_of(A));
        });
    }
}

#[test]
fn nothing_is_announced_that_is_not_here_any_more() {
    let (hosts, folder) = (Hosts::segment(), tempfile::tempdir().unwrap());
    let vip = plain(V4, folder.path());
    let mut announcer = vip.announcer();
    hosts.within("client", || {
        ip(&format!("neigh replace {V4} lladdr {} nud reachable dev eth0", link_of(B)));
    });
    hosts.within("a", || {
        assert!(!is_here(V4));
        for second in 1..4 {
            announcer.step(SECOND * second, Duration::from_millis(50), None).unwrap();
        }
    });
    // Long enough that the client would believe anybody.
    moment(Duration::from_millis(1100));
    hosts.within("a", || announcer.step(SECOND * 9, Duration::from_millis(50), None).unwrap());
    assert_eq!(hosts.within("client", || believed(V4)), Some(link_of(B)));
}

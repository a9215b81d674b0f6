//! Hosts and segments that are not as one wishes: storms, foreign addresses that look like ours, interfaces that hear nothing.

use std::net::IpAddr;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::time::Duration;

use recipes::act::conform::call;
use recipes::act::vip::{Settings, Watch};
use recipes::act::{Act, Call, Holds, Vip};
use recipes::{Error, told};

use super::{BOTH, V4, V6, dump, ip, is_here, parsed, plain, settings};
use crate::hosts::{Hosts, link_of};
use crate::now;

const A: u8 = 1;
const B: u8 = 2;
const SECOND: Duration = Duration::from_secs(1);

/// Says from here that some host has addresses, so many times each, as fast as it goes.
fn say(list: &[(&str, u8, usize)]) {
    let script = "
import socket, struct, sys
out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
out.bind(('eth0', 0))
def frame(address, mac):
    mac = bytes.fromhex(mac.replace(':', ''))
    if ':' not in address:
        address = socket.inet_aton(address)
        return b'\\xff' * 6 + mac + struct.pack('!HHHBBH', 0x0806, 1, 0x0800, 6, 4, 1) + mac + address + b'\\0' * 6 + address
    address = socket.inet_pton(socket.AF_INET6, address)
    body = struct.pack('!BBHI', 136, 0, 0, 0x20000000) + address + b'\\2\\1' + mac
    to = socket.inet_pton(socket.AF_INET6, 'ff02::1')
    return bytes.fromhex('333300000001') + mac + struct.pack('!HIHBB', 0x86dd, 0x60000000, len(body), 58, 255) + address + to + body
words = iter(sys.argv[1:])
for address, mac, many in zip(words, words, words):
    one = frame(address, mac)
    for _ in range(int(many)):
        out.send(one)
";
    let words = list
        .iter()
        .flat_map(|(address, number, many)| [(*address).to_owned(), link_of(*number), many.to_string()]);
    let said = Command::new("python3").args(["-c", script]).args(words).stdin(Stdio::null()).output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
}

#[test]
fn who_has_it_is_heard_through_a_storm_of_others() {
    for (address, other) in [(V4, "10.9.1.51"), (V6, "fd00:9:1::51")] {
        let hosts = Hosts::segment();
        hosts.within("a", || {
            let watch = Watch::open("eth0", parsed(address)).unwrap();
            // More than a socket keeps for who does not read.
            hosts.within("b", || say(&[(other, B, 5000), (address, B, 1)]));
            let heard = watch.next(SECOND, None).unwrap();
            assert_eq!(heard.map(|sighting| sighting.mac.to_string()), Some(link_of(B)));
        });
    }
}

#[test]
fn who_wakes_a_listener_is_not_kept_waiting_by_a_storm() {
    for address in BOTH {
        let hosts = Hosts::segment();
        hosts.within("a", || {
            let watch = Watch::open("eth0", parsed(address)).unwrap();
            // Its own words come back to it, as from a switch that has a loop.
            hosts.within("b", || say(&[(address, A, 50), (address, B, 1)]));
            let wake = rustix::event::eventfd(1, rustix::event::EventfdFlags::empty()).unwrap();
            assert_eq!(watch.next(SECOND, Some(wake.as_fd())).unwrap(), None);
            let heard = watch.next(SECOND, None).unwrap();
            assert_eq!(heard.map(|sighting| sighting.mac.to_string()), Some(link_of(B)), "and what was said is not lost");
        });
    }
}

#[test]
fn an_announcer_whose_interface_is_gone_rests_until_it_is_time() {
    let (hosts, folder) = (Hosts::segment(), tempfile::tempdir().unwrap());
    hosts.within("a", || {
        let vip = Vip::new(Settings { interface: "eth7".into(), ..settings(V4, folder.path()) }).unwrap();
        let mut announcer = vip.announcer();
        assert!(told(&announcer.step(SECOND, SECOND, None).unwrap_err()).contains("eth7 is not there"));
        let begin = now();
        announcer.step(SECOND + SECOND / 2, SECOND, None).unwrap();
        assert!(now() - begin > SECOND / 4, "what is due half a second later");
    });
}

#[test]
fn one_of_somebody_else_that_has_an_end_is_told_apart_from_one_that_was_ours() {
    for address in BOTH {
        let (hosts, folder) = (Hosts::segment(), tempfile::tempdir().unwrap());
        hosts.within("a", || {
            let vip = plain(address, folder.path());
            vip.take(&call(1)).unwrap();
            vip.release(&call(1)).unwrap();
            let nodad = if address == V6 { " nodad" } else { "" };
            ip(&format!("addr add {address} dev eth0 valid_lft 600 preferred_lft 600{nodad}"));
            for _ in 0..2 {
                let error = vip.take(&call(2)).unwrap_err();
                assert!(matches!(error, Error::AddressThere { .. }), "{error}");
                let found = vip.release(&call(2)).unwrap();
                assert!(found[0].what.contains("it stays there"), "{found:?}");
                assert!(is_here(address));
                // The same where nothing is known of it.
                std::fs::remove_dir_all(folder.path().join("records")).unwrap();
            }
        });
    }
}

#[test]
fn an_interface_that_is_a_part_of_a_bridge_hears_nobody_and_is_refused() {
    let (hosts, folder) = (Hosts::segment(), tempfile::tempdir().unwrap());
    hosts.within("b", || ip(&format!("addr add {V4} dev eth0")));
    hosts.within("a", || {
        for words in ["link add br0 up type bridge", "link set eth0 master br0"] {
            ip(words);
        }
        let error = plain(V4, folder.path()).take(&call(1)).unwrap_err();
        assert!(told(&error).contains("eth0 is a part of a bridge"), "{}", told(&error));
        assert!(!ip("addr").contains(V4), "the other one has it");
        let bridge = Vip::new(Settings { interface: "br0".into(), ..settings(V4, folder.path()) }).unwrap();
        assert!(told(&bridge.take(&call(1)).unwrap_err()).contains(&link_of(B)));
    });
}

#[test]
fn two_of_one_network_stand_beside_each_other() {
    for (pair, prefix) in [([V4, "10.9.1.51"], 32), ([V6, "fd00:9:1::51"], 64), ([V6, "fd00:9:1::51"], 128)] {
        let (hosts, folder) = (Hosts::segment(), tempfile::tempdir().unwrap());
        hosts.within("a", || {
            let before = dump();
            let both = pair.map(|address: &str| Vip::new(Settings { prefix, ..settings(address, folder.path()) }).unwrap());
            for vip in &both {
                vip.take(&call(1)).unwrap();
            }
            for vip in &both {
                vip.extend(&call(1)).unwrap();
                assert_eq!(vip.check(&call(1)).unwrap().holds, Holds::Yes);
            }
            both[0].release(&call(1)).unwrap();
            assert!(!is_here(pair[0]) && is_here(pair[1]));
            assert_eq!(both[1].check(&call(1)).unwrap().holds, Holds::Yes, "what belongs to the other one stays");
            both[1].release(&call(1)).unwrap();
            assert_eq!(dump(), before);
        });
    }
}

#[test]
fn an_interface_that_goes_or_gets_another_name_is_named_and_leaves_nothing() {
    for address in BOTH {
        let (hosts, folder) = (Hosts::segment(), tempfile::tempdir().unwrap());
        hosts.within("a", || {
            let vip = Vip::new(super::with_routes(address, folder.path())).unwrap();
            let mut announcer = vip.announcer();
            vip.take(&call(1)).unwrap();
            announcer.step(SECOND, Duration::ZERO, None).unwrap();
            ip("link set eth0 down");
            ip("link set eth0 name eth9");
            ip("link set eth9 up");
            assert!(told(&vip.extend(&call(1)).unwrap_err()).contains("eth0 is not there"));
            assert!(announcer.step(SECOND * 90, Duration::ZERO, None).is_err());
            vip.release(&call(1)).unwrap();
            let left = dump();
            assert!(!left.contains(&format!(" {address}")) && !left.contains("proto 82"), "{left}");
            ip("link del eth9");
            assert!(told(&vip.take(&call(1)).unwrap_err()).contains("eth0 is not there"));
            vip.release(&Call { epoch: 2, ..call(1) }).unwrap();
            let rules = ip("-4 rule") + &ip("-6 rule");
            assert!(!rules.contains(&address.parse::<IpAddr>().unwrap().to_string()), "{rules}");
        });
    }
}

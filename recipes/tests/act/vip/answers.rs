//! What is in the way is said so that a person can do something about it.

use std::time::Duration;

use recipes::act::conform::call;
use recipes::act::vip::{Route, Settings};
use recipes::act::{Act, Call, Holds, Vip};
use recipes::data::Level;
use recipes::{Error, told};

use super::{BOTH, V4, V6, comes_up, dump, ip, is_here, parsed, plain, settings};
use crate::apart;
use crate::hosts::{Hosts, enter};

/// Why it is not taken, and the same of a check.
#[track_caller]
fn refused(vip: &Vip, words: &str) {
    let before = dump();
    let error = vip.take(&call(1)).unwrap_err();
    assert!(told(&error).contains(words), "{}", told(&error));
    assert!(error.hint().is_some(), "{error}");
    let why = told(&vip.is_free(Duration::from_secs(1)).unwrap_err());
    assert!(why.contains(words), "{why}");
    let checked = vip.check(&call(1)).unwrap();
    let fault = checked
        .findings
        .iter()
        .find(|finding| finding.level == Level::Fault && finding.what.contains(words));
    assert!(fault.is_some_and(|fault| fault.hint.is_some()), "{checked:?}");
    assert_eq!(dump(), before, "nothing was changed");
}

#[test]
fn interfaces_that_cannot_carry_it_are_named() {
    let (hosts, folder) = (Hosts::segment(), tempfile::tempdir().unwrap());
    for address in BOTH {
        let elsewhere = Vip::new(Settings { interface: "eth7".into(), ..settings(address, folder.path()) }).unwrap();
        hosts.within("a", || refused(&elsewhere, "eth7 is not there"));
        let vip = plain(address, folder.path());
        hosts.within("a", || {
            ip("link set eth0 down");
            refused(&vip, "eth0 is down");
            ip("link set eth0 up");
            comes_up();
        });
        hosts.within("switch", || ip("link set port1 down"));
        hosts.within("a", || {
            crate::until("the carrier to go", || ip("-o link show dev eth0").contains("NO-CARRIER").then_some(()));
            refused(&vip, "eth0 has no carrier");
        });
        hosts.within("switch", || ip("link set port1 up"));
        hosts.within("a", comes_up);
        hosts.within("a", || vip.take(&call(1)).unwrap());
        hosts.within("a", || vip.release(&call(1)).unwrap());
    }
    hosts.within("a", || {
        std::fs::write("/proc/sys/net/ipv6/conf/eth0/disable_ipv6", "1").unwrap();
        refused(&plain(V6, folder.path()), "eth0 has IPv6 disabled");
    });
}

#[test]
fn what_somebody_else_put_there_is_refused_and_stays() {
    for address in BOTH {
        let (hosts, folder) = (Hosts::segment(), tempfile::tempdir().unwrap());
        hosts.within("a", || {
            for (how, device) in [("", "eth0"), (" valid_lft 600 preferred_lft 600", "eth0"), ("", "lo")] {
                let nodad = if address == V6 { " nodad" } else { "" };
                ip(&format!("addr add {address} dev {device}{how}{nodad}"));
                let vip = plain(address, folder.path());
                let error = vip.take(&call(1)).unwrap_err();
                assert!(matches!(error, Error::AddressThere { .. }) && error.hint().is_some(), "{error}");
                let checked = vip.check(&call(1)).unwrap();
                assert!(checked.holds == Holds::Partly && checked.findings[0].what.contains("not by us"), "{checked:?}");
                if how.is_empty() {
                    let found = vip.release(&call(1)).unwrap();
                    assert!(found[0].what.contains("it stays there"), "{found:?}");
                    assert!(ip(&format!("addr show dev {device}")).contains(address), "{device}");
                    std::fs::remove_dir_all(folder.path().join("records")).unwrap();
                }
                ip(&format!("addr del {address}/{} dev {device}", if address == V4 { 32 } else { 128 }));
            }
        });
    }
}

#[test]
fn a_route_that_is_there_already_is_not_replaced_and_nothing_is_left_behind() {
    let (hosts, folder) = (Hosts::segment(), tempfile::tempdir().unwrap());
    hosts.within("a", || {
        ip("route add default via 10.9.1.9");
        let before = dump();
        let route = Route { to: parsed("0.0.0.0"), prefix: 0, via: Some(parsed("10.9.1.2")), metric: None };
        let with = |metric| {
            let routes = vec![Route { metric, ..route.clone() }];
            Vip::new(Settings { routes, ..settings(V4, folder.path()) }).unwrap()
        };
        let error = with(None).take(&call(1)).unwrap_err();
        assert!(matches!(error, Error::WayThere { .. }) && error.hint().is_some(), "{error}");
        assert!(error.to_string().contains("default route via 10.9.1.2"), "{error}");
        assert_eq!(dump(), before, "the address went again");
        with(Some(5)).take(&call(1)).unwrap();
        assert!(ip("route show default").contains("metric 5"));
        with(Some(5)).release(&call(1)).unwrap();
        assert_eq!(dump(), before);
    });
}

#[test]
fn a_link_that_flaps_is_told_and_mended_by_the_next_extension() {
    for address in BOTH {
        let (hosts, folder) = (Hosts::segment(), tempfile::tempdir().unwrap());
        hosts.within("a", || {
            let vip = Vip::new(super::with_routes(address, folder.path())).unwrap();
            vip.take(&call(1)).unwrap();
            for _ in 0..3 {
                ip("link set eth0 down");
                let error = vip.extend(&call(1)).unwrap_err();
                assert!(told(&error).contains("eth0 is down"), "{error}");
                ip("link set eth0 up");
                comes_up();
                vip.extend(&call(1)).unwrap();
                assert!(is_here(address));
                assert_eq!(vip.check(&call(1)).unwrap().holds, Holds::Yes, "routes as well");
            }
            vip.release(&call(1)).unwrap();
        });
    }
}

#[test]
fn what_is_left_of_it_is_known_and_an_extension_renews_it() {
    for address in BOTH {
        let (hosts, folder) = (Hosts::segment(), tempfile::tempdir().unwrap());
        hosts.within("a", || {
            let vip = plain(address, folder.path());
            assert_eq!(vip.left().unwrap(), None);
            vip.take(&Call { lifetime: Some(Duration::from_secs(20)), ..call(1) }).unwrap();
            let left = vip.left().unwrap().unwrap();
            assert!(left > Duration::from_secs(5) && left < Duration::from_secs(20), "{left:?}");
            vip.extend(&call(1)).unwrap();
            assert!(vip.left().unwrap().unwrap() > Duration::from_secs(30));
            // Too short for a kernel that counts seconds.
            let short = Call { lifetime: Some(Duration::from_millis(900)), ..call(1) };
            assert!(matches!(vip.extend(&short), Err(Error::Late { .. })));
            vip.release(&call(1)).unwrap();
            assert!(matches!(vip.extend(&call(1)), Err(Error::NotHeld { .. })));
            assert_eq!(vip.left().unwrap(), None);
        });
    }
}

#[test]
fn rights_that_are_missing_are_named() {
    if let Some(part) = apart::part() {
        let (namespace, place) = part.split_once(' ').unwrap();
        enter(namespace, || {
            let vip = plain(V4, std::path::Path::new(place));
            let checked = vip.check(&call(1)).unwrap();
            println!("check {:?}", checked.findings);
            println!("take {}", told(&vip.take(&call(1)).unwrap_err()));
        });
        return;
    }
    let (hosts, folder) = (Hosts::segment(), tempfile::tempdir().unwrap());
    let part = format!("{} {}", hosts.namespace("a"), folder.path().display());
    for (without, words) in [("-net_admin", 1), ("-net_raw", 1), ("-net_admin,-net_raw", 2)] {
        let before = ["setpriv", "--bounding-set", without, "--inh-caps", without];
        let said = apart::command(&before, "vip::answers::rights_that_are_missing_are_named", &part).output().unwrap();
        let text = String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr);
        let line = |begin: &str| text.lines().find_map(|line| line.split_once(begin)).map(|(_, rest)| rest.to_owned());
        let checked = line("check [").unwrap_or_else(|| panic!("{text}"));
        assert_eq!(checked.matches("needs rights on the network").count(), words, "{text}");
        assert!(checked.contains("CAP_NET_ADMIN and CAP_NET_RAW"), "{text}");
        assert!(line("take ").is_some_and(|line| line.contains("needs rights on the network")), "{text}");
    }
}

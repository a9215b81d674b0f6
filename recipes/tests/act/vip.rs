//! Addresses, between hosts on one switch: asked for, taken, announced, ended by the kernel, and undone without a trace.

mod answers;
mod neighbours;
mod odd;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use recipes::act::conform::{Subject, call, suite};
use recipes::act::vip::{Route, Settings, recorded};
use recipes::act::{Act, Call, Vip};

use crate::hosts::{Hosts, enter};
use crate::{apart, killed, moment, now, until};

const V4: &str = "10.9.1.50";
const V6: &str = "fd00:9:1::50";
const BOTH: [&str; 2] = [V4, V6];

/// What `ip` says, on the host where this is called.
#[track_caller]
fn ip(arguments: &str) -> String {
    let said = Command::new("ip").args(arguments.split(' ')).output().expect("`ip` runs");
    assert!(said.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&said.stderr));
    String::from_utf8(said.stdout).unwrap()
}

/// All that this act could change.
fn dump() -> String {
    let whats = ["-d addr", "-d -4 route show table all", "-d -6 route show table all", "-4 rule", "-6 rule"];
    whats.map(ip).concat()
}

fn parsed(address: &str) -> IpAddr {
    address.parse().unwrap()
}

fn settings(address: &str, place: &Path) -> Settings {
    Settings::new(parsed(address), "eth0", place.join("records"))
}

fn plain(address: &str, place: &Path) -> Vip {
    Vip::new(settings(address, place)).unwrap()
}

/// With routes, and a table of its own.
fn with_routes(address: &str, place: &Path) -> Settings {
    let route = |to: &str, prefix, via: Option<&str>| Route { to: parsed(to), prefix, via: via.map(parsed), metric: None };
    let routes = match address {
        V4 => vec![route("0.0.0.0", 0, Some("10.9.1.9")), route("192.0.2.0", 24, None)],
        _ => vec![route("::", 0, Some("fd00:9:1::9")), route("2001:db8:7::", 48, None)],
    };
    Settings { routes, table: Some(77), ..settings(address, place) }
}

fn living(seconds: f32) -> Call {
    Call { lifetime: Some(Duration::from_secs_f32(seconds)), ..call(1) }
}

/// Here, and looked at by the kernel.
fn is_here(address: &str) -> bool {
    let listed = ip("-o addr show dev eth0");
    listed.lines().any(|line| line.contains(&format!(" {address}/")) && !line.contains("tentative"))
}

#[track_caller]
fn comes_up() {
    until("eth0 to be as it was", || {
        let said = ip("addr show dev eth0");
        (said.contains("state UP") && said.contains("fe80:") && !said.contains("tentative")).then_some(())
    });
}

/// An address as it stands in the kernel.
struct Kernel(&'static str);

impl Subject for Kernel {
    fn act(&self, place: &Path) -> Box<dyn Act> {
        Box::new(Vip::new(with_routes(self.0, place)).unwrap())
    }

    fn record(&self, place: &Path) -> PathBuf {
        place.join(format!("records/vip-{}.json", self.0.replace(':', "-")))
    }

    fn holds(&self, _: &Path) -> bool {
        is_here(self.0)
    }

    fn lose(&self, _: &Path) -> bool {
        ip(&format!("addr del {}/{} dev eth0", self.0, if self.0 == V4 { 32 } else { 128 }));
        true
    }

    fn obstruct(&self, _: &Path, obstructed: bool) {
        ip(&format!("link set eth0 {}", if obstructed { "down" } else { "up" }));
        if !obstructed {
            comes_up();
        }
    }
}

#[test]
fn an_address_of_ipv4_conforms() {
    let (hosts, folder) = (Hosts::segment(), tempfile::tempdir().unwrap());
    hosts.within("a", || suite(&Kernel(V4), folder.path()));
}

#[test]
fn an_address_of_ipv6_conforms() {
    let (hosts, folder) = (Hosts::segment(), tempfile::tempdir().unwrap());
    hosts.within("a", || suite(&Kernel(V6), folder.path()));
}

/// Where there is nobody to ask, so that most kills come while something is changed.
fn killed_at_any_moment(subject: &Kernel, name: &str) {
    killed::victim(subject);
    let (hosts, folder) = (Hosts::segment(), tempfile::tempdir().unwrap());
    hosts.within("a", || {
        ip("link set eth0 arp off");
        let before = dump();
        killed::suite(subject, name, &killed::place(&folder));
        assert_eq!(dump(), before, "nothing is left of it");
    });
}

#[test]
fn one_of_ipv4_killed_at_any_moment_is_taken_up_by_the_next() {
    killed_at_any_moment(&Kernel(V4), "vip::one_of_ipv4_killed_at_any_moment_is_taken_up_by_the_next");
}

#[test]
fn one_of_ipv6_killed_at_any_moment_is_taken_up_by_the_next() {
    killed_at_any_moment(&Kernel(V6), "vip::one_of_ipv6_killed_at_any_moment_is_taken_up_by_the_next");
}

#[test]
fn what_is_undone_leaves_everything_as_it_was() {
    // With its network, there is one route more.
    for (address, prefix, many) in [(V4, 32, 2), (V6, 128, 2), (V6, 64, 3)] {
        let (hosts, folder) = (Hosts::segment(), tempfile::tempdir().unwrap());
        hosts.within("a", || {
            // Others' things, as alike as they can be.
            for others in [
                "route add 198.51.100.0/24 via 10.9.1.9 table 77",
                "-6 route add 2001:db8:8::/48 via fd00:9:1::9 table 77",
                "route add default via 10.9.1.9",
                "rule add from 10.9.1.1 lookup 77 priority 900",
                "-6 rule add from fd00:9:1::1 lookup 77 priority 900",
                "addr add 10.9.1.60/32 dev eth0",
                "addr add fd00:9:1::60/128 dev eth0 nodad",
            ] {
                ip(others);
            }
            until("its own address to be looked at", || (!ip("addr").contains("tentative")).then_some(()));
            let before = dump();
            let vip = Vip::new(Settings { prefix, ..with_routes(address, folder.path()) }).unwrap();
            vip.take(&call(1)).unwrap();
            let held = dump();
            for there in [&format!("from {address} lookup 77"), "proto 82"] {
                assert!(held.contains(there), "{there}: {held}");
            }
            let by_us = held
                .lines()
                .filter(|line| line.contains("proto 82") && line.contains(&format!("src {address}")))
                .count();
            assert_eq!(by_us, many, "{held}");
            vip.extend(&call(1)).unwrap();
            vip.take(&call(2)).unwrap();
            vip.release(&call(2)).unwrap();
            assert_eq!(dump(), before);
            // And when the kernel ended it.
            vip.take(&Call { lifetime: Some(Duration::from_secs(2)), ..call(2) }).unwrap();
            until("the kernel to end it", || (!is_here(address)).then_some(()));
            vip.release(&call(2)).unwrap();
            assert_eq!(dump(), before);
        });
    }
}

#[test]
fn what_another_configuration_put_there_goes_with_it() {
    let (hosts, folder) = (Hosts::segment(), tempfile::tempdir().unwrap());
    hosts.within("a", || {
        let before = dump();
        let was = Vip::new(with_routes(V4, folder.path())).unwrap();
        was.take(&call(1)).unwrap();
        let changed = Vip::new(Settings { prefix: 24, ..settings(V4, folder.path()) }).unwrap();
        assert!(matches!(changed.extend(&call(1)), Err(recipes::Error::NotHeld { .. })));
        changed.take(&call(1)).unwrap();
        assert!(is_here(V4) && !dump().contains("lookup 77"));
        was.take(&call(1)).unwrap();
        assert_eq!(recorded(&folder.path().join("records")), [(parsed(V4), "eth0".to_owned())]);
        changed.release(&call(1)).unwrap();
        assert!(recorded(&folder.path().join("records")).is_empty());
        assert_eq!(dump(), before);
    });
}

/// In a process of its own: takes it for three seconds, again and again.
fn renewing() {
    let Some(part) = apart::part() else { return };
    let (namespace, rest) = part.split_once(' ').unwrap();
    let (address, place) = rest.split_once(' ').unwrap();
    enter(namespace, || {
        let vip = plain(address, Path::new(place));
        vip.take(&living(4.0)).unwrap();
        apart::ready();
        loop {
            moment(Duration::from_millis(200));
            vip.extend(&living(4.0)).unwrap();
        }
    });
}

#[test]
fn timed_the_kernel_ends_it_when_whoever_renews_it_is_stopped_or_killed() {
    renewing();
    let name = "vip::timed_the_kernel_ends_it_when_whoever_renews_it_is_stopped_or_killed";
    for (address, signal) in [(V4, rustix::process::Signal::STOP), (V6, rustix::process::Signal::KILL)] {
        let (hosts, folder) = (Hosts::segment(), tempfile::tempdir().unwrap());
        let part = format!("{} {address} {}", hosts.namespace("a"), folder.path().display());
        let mut child = apart::begin(name, &part);
        let begin = now();
        hosts.within("a", || {
            while now() - begin < Duration::from_secs(5) {
                assert!(is_here(address), "renewed far beyond one lifetime");
            }
            rustix::process::kill_process(rustix::process::Pid::from_child(&child), signal).unwrap();
            let ended = now();
            until("the kernel to end it", || (!is_here(address)).then_some(()));
            let took = now() - ended;
            println!("{address}: gone {took:?} after {signal:?}");
            // What was asked for was four seconds: nobody may have it for longer.
            assert!(took < Duration::from_millis(4100), "{address}: {took:?}");
        });
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

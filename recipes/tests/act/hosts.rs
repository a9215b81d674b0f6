//! Network namespaces: a client, a host, and a container behind the host; or hosts and a client on one switch. Needs root and `ip`.
//!
//! What the killed leave is removed by the next: names carry the id of the process that made them.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::until;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

const NAMES: &str = "/run/netns";
const PREFIX: &str = "resilient-";

/// Addresses of the host, as the client has them.
pub const HOST: &str = "10.9.1.1";
pub const HOST_6: &str = "fd00:9:1::1";
const CLIENT: &str = "10.9.1.2";
const CLIENT_6: &str = "fd00:9:1::2";
pub const CONTAINER: &str = "10.9.2.2";

/// On one switch, and the last numbers of their addresses and link addresses.
pub const SEGMENT: [(&str, u8); 3] = [("a", 1), ("b", 2), ("client", 9)];

pub struct Hosts {
    base: String,
    names: Vec<&'static str>,
}

impl Hosts {
    fn named(names: &[&'static str]) -> Hosts {
        static MADE: AtomicU32 = AtomicU32::new(0);
        sweep();
        let base = format!("{PREFIX}{}-gate{}-", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let hosts = Hosts { base, names: names.to_vec() };
        for name in names.iter().map(|name| hosts.namespace(name)) {
            ip(&format!("netns add {name}"));
            ip(&format!("-n {name} link set lo up"));
        }
        hosts
    }

    /// Three hosts on one switch, where the kernel finds out within a moment whether an address of IPv6 is new.
    pub fn segment() -> Hosts {
        let hosts = Hosts::named(&["switch", "a", "b", "client"]);
        let switch = hosts.namespace("switch");
        ip(&format!("-n {switch} link add switch up type bridge"));
        for (name, number) in SEGMENT {
            let other = hosts.namespace(name);
            ip(&format!("-n {switch} link add port{number} type veth peer name eth0 address {} netns {other}", link_of(number)));
            ip(&format!("-n {switch} link set port{number} master switch up"));
            hosts.within(name, || {
                for (setting, value) in [("router_solicitation_delay", "0"), ("keep_addr_on_down", "1")] {
                    std::fs::write(format!("/proc/sys/net/ipv6/conf/eth0/{setting}"), value).unwrap();
                }
                std::fs::write("/proc/sys/net/ipv6/neigh/eth0/retrans_time_ms", "100").unwrap();
            });
            ip(&format!("-n {other} addr add 10.9.1.{number}/24 dev eth0"));
            ip(&format!("-n {other} addr add fd00:9:1::{number}/64 dev eth0 nodad"));
            ip(&format!("-n {other} link set eth0 up"));
            until("its own addresses to be looked at", || {
                let said = Command::new("ip").args(["-n", &other, "addr", "show", "dev", "eth0"]).output().unwrap();
                let said = String::from_utf8(said.stdout).unwrap();
                (said.contains("state UP") && said.contains("fe80:") && !said.contains("tentative")).then_some(())
            });
        }
        hosts
    }

    pub fn new() -> Hosts {
        let hosts = Hosts::named(&["client", "host", "container"]);
        let [client, host, container] = ["client", "host", "container"].map(|name| hosts.namespace(name));
        for (other, device, ours, theirs) in [(&client, "out", HOST, CLIENT), (&container, "in", "10.9.2.1", CONTAINER)] {
            ip(&format!("-n {host} link add {device} type veth peer name eth0 netns {other}"));
            ip(&format!("-n {host} addr add {ours}/24 dev {device}"));
            ip(&format!("-n {other} addr add {theirs}/24 dev eth0"));
            ip(&format!("-n {host} link set {device} up"));
            ip(&format!("-n {other} link set eth0 up"));
            ip(&format!("-n {other} route add default via {ours}"));
        }
        ip(&format!("-n {host} addr add {HOST_6}/64 dev out nodad"));
        ip(&format!("-n {client} addr add {CLIENT_6}/64 dev eth0 nodad"));
        hosts.within("host", || std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap());
        hosts
    }

    pub fn namespace(&self, name: &str) -> String {
        format!("{}{name}", self.base)
    }

    /// Does something there, in a thread of its own: sockets and processes that it makes belong there.
    pub fn within<T: Send>(&self, name: &str, work: impl FnOnce() -> T + Send) -> T {
        let namespace = self.namespace(name);
        let done = std::thread::scope(|scope| scope.spawn(|| enter(&namespace, work)).join());
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// Moves this thread into a namespace.
pub fn enter<T>(namespace: &str, work: impl FnOnce() -> T) -> T {
    let file = File::open(Path::new(NAMES).join(namespace)).unwrap();
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).expect("root may enter a namespace");
    work()
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = Command::new("ip").args(["netns", "del", &self.namespace(name)]).output();
        }
    }
}

fn sweep() {
    let Ok(list) = std::fs::read_dir(NAMES) else { return };
    for name in list.filter_map(|entry| entry.ok()?.file_name().into_string().ok()) {
        let id = name
            .strip_prefix(PREFIX)
            .filter(|rest| rest.contains("-gate"))
            .and_then(|rest| rest.split('-').next());
        if id.is_some_and(|id| !Path::new("/proc").join(id).exists()) {
            let _ = Command::new("ip").args(["netns", "del", &name]).output();
        }
    }
}

/// The link address of a host on the switch.
pub fn link_of(number: u8) -> String {
    format!("02:00:00:00:01:{number:02x}")
}

#[track_caller]
fn ip(arguments: &str) {
    let said = Command::new("ip").args(arguments.split(' ')).output().expect("`ip` runs");
    assert!(said.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&said.stderr));
}

//! Network namespaces as hosts: each with an address of its own on one switch, and with cables that can be cut one way at a time.
//!
//! The switch is a bridge in a namespace of its own, so that nothing of it touches the host's network and two tests never meet. Every
//! host knows the others' link addresses from the beginning and asks nobody for them. To cut the way from `a` to `b`, `a` is told a
//! link address for `b` that nobody has: what it sends is lost in silence, as on a broken path, while the other way goes on. That needs
//! no packet filter and no queueing discipline, which kernels may lack. Delay comes from a [`crate::proxy::Proxy`] that stands inside
//! ([`Host::within`]).
//!
//! Names carry the id of the test's process. All is gone when [`Hosts`] is dropped, panic or not; what a killed test left is removed by
//! the next, once that process is gone. It needs root and `ip` of iproute2, and says so where they are missing: no test passes
//! without.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tempfile::TempDir;

use crate::running::Running;

const PREFIX: &str = "resilient-";
/// Where `ip netns` keeps its names.
const NAMES: &str = "/run/netns";
const HOSTS_MOST: usize = 200;
/// No host has it.
const NOWHERE: &str = "02:00:00:00:00:00";
/// The device of each host.
const DEVICE: &str = "eth0";

/// Some hosts on one switch.
pub struct Hosts {
    hosts: Vec<Host>,
    switch: String,
    // Last, so that what processes say can be shown while they are dropped.
    folder: TempDir,
}

/// One of them.
#[derive(Debug)]
pub struct Host {
    number: usize,
    namespace: String,
    address: Ipv4Addr,
}

impl Hosts {
    /// So many hosts, all of which reach each other.
    #[track_caller]
    pub fn new(many: usize) -> Hosts {
        static MADE: AtomicU32 = AtomicU32::new(0);
        assert!((1..=HOSTS_MOST).contains(&many), "from 1 to {HOSTS_MOST} hosts");
        require();
        sweep();
        let (id, made) = (std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let base = format!("{PREFIX}{id}-{made}-");
        let address = |number: usize| Ipv4Addr::new(10, (id % 250) as u8 + 1, made as u8, number as u8);
        let hosts = (1..=many).map(|number| Host { number, namespace: format!("{base}{number}"), address: address(number) });
        let folder = tempfile::tempdir().expect("there is a place for temporary files");
        // From here on dropping it cleans up, however far it came.
        let hosts = Hosts { hosts: hosts.collect(), switch: format!("{base}switch"), folder };
        ip(&["netns", "add", &hosts.switch]);
        ip(&["-n", &hosts.switch, "link", "add", "switch", "up", "type", "bridge"]);
        for host in &hosts.hosts {
            hosts.connect(host);
        }
        for (host, other) in hosts.hosts.iter().flat_map(|host| hosts.hosts.iter().map(move |other| (host, other))) {
            if host.number != other.number {
                host.route(other, &other.link());
            }
        }
        hosts
    }

    fn connect(&self, host: &Host) {
        let (name, port, link) = (&host.namespace, format!("port{}", host.number), host.link());
        ip(&["netns", "add", name]);
        ip(&["-n", name, "link", "set", "lo", "up"]);
        ip(&["-n", &self.switch, "link", "add", &port, "type", "veth", "peer", "name", DEVICE, "address", &link, "netns", name]);
        ip(&["-n", &self.switch, "link", "set", &port, "master", "switch", "up"]);
        ip(&["-n", name, "addr", "add", &format!("{}/24", host.address), "dev", DEVICE]);
        ip(&["-n", name, "link", "set", DEVICE, "up"]);
    }

    /// A host by its number, from 1, which is also the last number of its address.
    #[track_caller]
    pub fn host(&self, number: usize) -> &Host {
        self.hosts
            .get(number.wrapping_sub(1))
            .unwrap_or_else(|| panic!("there is no host {number} of {}", self.hosts.len()))
    }

    pub fn all(&self) -> &[Host] {
        &self.hosts
    }

    /// A folder of the test's own, gone with the hosts; what processes say stands in it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs a process on a host; its id is its own, not that of something before it.
    #[track_caller]
    pub fn spawn(&self, number: usize, name: &str, command: Command) -> Running {
        self.host(number).within(|| Running::start(name, command, self.folder.path()))
    }

    /// What `from` sends to `to` is lost; the other way stays as it is.
    pub fn cut(&self, from: usize, to: usize) {
        self.host(from).route(self.host(to), NOWHERE);
    }

    /// Neither hears the other.
    pub fn partition(&self, a: usize, b: usize) {
        self.cut(a, b);
        self.cut(b, a);
    }

    /// Both hear each other again.
    pub fn heal(&self, a: usize, b: usize) {
        let (a, b) = (self.host(a), self.host(b));
        a.route(b, &b.link());
        b.route(a, &a.link());
    }

    /// Nobody hears this host and it hears nobody.
    pub fn isolate(&self, number: usize) {
        self.others(number).for_each(|other| self.partition(number, other));
    }

    /// Takes that back, with all partitions of this host.
    pub fn rejoin(&self, number: usize) {
        self.others(number).for_each(|other| self.heal(number, other));
    }

    /// Takes the host's cable out of the switch: then not even a broadcast comes through, and the link stays up, as behind a switch that lost its own cable.
    pub fn unplug(&self, number: usize) {
        ip(&["-n", &self.switch, "link", "set", &format!("port{number}"), "nomaster"]);
    }

    pub fn plug(&self, number: usize) {
        ip(&["-n", &self.switch, "link", "set", &format!("port{number}"), "master", "switch"]);
    }

    fn others(&self, number: usize) -> impl Iterator<Item = usize> {
        (1..=self.hosts.len()).filter(move |other| *other != number)
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for name in self.hosts.iter().map(|host| &host.namespace).chain([&self.switch]) {
            if Path::new(NAMES).join(name).exists() {
                remove(name);
            }
        }
    }
}

impl Host {
    pub fn number(&self) -> usize {
        self.number
    }

    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// The namespace's name, as `ip netns` knows it.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Does something on this host, in a thread of its own: sockets that it makes, and processes and threads that it begins, are there.
    #[track_caller]
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let place = Path::new(NAMES).join(&self.namespace);
        let outcome = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let namespace = File::open(&place).unwrap_or_else(|error| panic!("{}: {error}", place.display()));
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).expect("root may enter a namespace");
                work()
            });
            thread.join()
        });
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Ends everything that runs there, at once.
    pub fn kill_all(&self) {
        end_all(&self.namespace);
    }

    fn link(&self) -> String {
        format!("02:00:00:00:01:{:02x}", self.number)
    }

    fn route(&self, to: &Host, link: &str) {
        let address = to.address.to_string();
        ip(&["-n", &self.namespace, "neigh", "replace", &address, "lladdr", link, "nud", "permanent", "dev", DEVICE]);
    }
}

/// Says what is missing, if something is.
#[track_caller]
fn require() {
    let mut missing = Vec::new();
    if !geteuid().is_root() {
        missing.push("root (run the tests as root, or this one with sudo)".to_string());
    }
    match Command::new("ip").arg("-V").output() {
        Ok(said) if said.status.success() => (),
        Ok(said) => missing.push(format!("a working `ip`: {}", String::from_utf8_lossy(&said.stderr).trim())),
        Err(error) => missing.push(format!("`ip` (Debian: iproute2): {error}")),
    }
    assert!(missing.is_empty(), "network namespaces stand for hosts here, and for that is missing: {}", missing.join("; "));
}

/// Removes what tests left that were killed: names with the id of a process that is gone.
fn sweep() {
    let Ok(list) = fs::read_dir(NAMES) else { return };
    for name in list.filter_map(|entry| entry.ok()?.file_name().into_string().ok()) {
        let id = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if id.is_some_and(|id| !Path::new("/proc").join(id.to_string()).exists()) {
            remove(&name);
        }
    }
}

/// Ends what runs in a namespace, and then its name. Another test may be removing it at the same time.
fn remove(name: &str) {
    let there = || Path::new(NAMES).join(name).exists();
    end_all(name);
    let said = Command::new("ip").args(["netns", "del", name]).output();
    if there() {
        eprintln!("the namespace {name} stays: {said:?}");
    }
}

fn end_all(name: &str) {
    let pids = Command::new("ip")
        .args(["netns", "pids", name])
        .output()
        .map(|said| said.stdout)
        .unwrap_or_default();
    for pid in String::from_utf8_lossy(&pids).lines().filter_map(|line| Pid::from_raw(line.trim().parse().ok()?)) {
        // It may have ended meanwhile.
        let _ = kill_process(pid, Signal::KILL);
    }
}

#[track_caller]
fn ip(arguments: &[&str]) {
    let said = Command::new("ip").args(arguments).output().expect("`ip` runs");
    let words = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success(), "ip {}: {}", arguments.join(" "), words.trim());
}

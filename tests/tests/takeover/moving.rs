//! A scene whose service is reached by an address and by a name that follow the role, and customers who ask through both without pause.
//!
//! The names are those of a zone on two name servers of its own. Customers ask them again each time: what a resolver remembers comes on top of what is seen here.

use crate::nameservers::{Bind, ZONE, dig};
use crate::scene::{LIMIT, PORT, Scene, now, request};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tests::cluster::Cluster;
use tests::wait::until;

pub const ADDRESS: &str = "192.0.2.80";
pub const ADDRESS_6: &str = "fd00:80::80";
pub const NAME: &str = "www.example.org";
const HOSTS: [&str; 2] = ["ns1", "ns2"];
const PATIENCE: Duration = Duration::from_millis(150);
const BETWEEN: Duration = Duration::from_millis(10);
/// Answers that a host which contests an address each second could not all miss.
const MANY: usize = 150;

/// The servers of the names.
pub struct Moving {
    pub bind: Option<Bind>,
    pub servers: [SocketAddr; 2],
    _folder: TempDir,
}

pub fn addresses() -> String {
    [ADDRESS, ADDRESS_6]
        .map(|address| format!("[[takeover.vip]]\naddress = \"{address}\"\ninterface = \"eth0\"\n"))
        .concat()
}

/// The domain, for nodes of these names.
fn domain(cluster: &Cluster, nodes: &[&str], servers: &[SocketAddr; 2], folder: &Path) -> String {
    let [first, second] = servers.map(|at| at.ip());
    let key = folder.join("move.key");
    let nodes = nodes
        .iter()
        .map(|node| format!("[[takeover.dns.node]]\nname = \"{node}\"\naddresses = [\"{}\"]\n", cluster.address_of(node)));
    format!(
        "[[takeover.dns]]\ndomain = \"example.org\"\nmeans = \"update\"\nserver = \"{first}\"\nservers = [\"{first}\", \"{second}\"]\nkey_file = {key:?}\nhome = \"web1\"\n\
         automatic = true\nevery = \"1s\"\n{}",
        nodes.collect::<String>()
    )
}

/// As [`Scene::new`], with the address and the names, which are where they should be when this is done.
pub fn moving(many: usize, of_cluster: &str, of_node: &str) -> (Scene, Moving) {
    let folder = tempfile::tempdir().unwrap();
    let mut begun = None;
    let scene = Scene::with(many, &HOSTS, of_cluster, |cluster, nodes| {
        let servers = HOSTS.map(|host| SocketAddr::new(cluster.address_of(host).parse().unwrap(), 53));
        let zone = ZONE.replace("192.0.2.1\t", "HOME\t").replace("192.0.2.1\n", "HOME\n");
        let zone = zone.replace("HOME", &cluster.address_of("web1"));
        let policy = "update-policy { grant move zonesub A; };";
        let bind = cluster.within(HOSTS[0], || Bind::between(folder.path(), servers, policy, &zone));
        begun = Some((cluster.within(HOSTS[1], || bind.with_secondary()), servers));
        format!("{of_node}{}{}", addresses(), domain(cluster, nodes, &servers, folder.path()))
    });
    let (bind, servers) = begun.unwrap();
    reach(&scene);
    let moving = Moving { bind: Some(bind), servers, _folder: folder };
    at(&scene, "web1");
    (scene, moving)
}

/// The customer's host knows where to look for the addresses.
pub fn reach(scene: &Scene) {
    ip(scene, "customer", &format!("route add {ADDRESS} dev eth0"));
    ip(scene, "customer", &format!("-6 route add {ADDRESS_6} dev eth0"));
}

#[track_caller]
pub fn ip(scene: &Scene, host: &str, arguments: &str) -> String {
    let said = scene.cluster.within(host, || Command::new("ip").args(arguments.split(' ')).output()).unwrap();
    assert!(said.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&said.stderr));
    String::from_utf8(said.stdout).unwrap()
}

pub fn link(scene: &Scene, host: &str) -> String {
    let said = ip(scene, host, "-o link show dev eth0");
    said.split_whitespace().skip_while(|word| *word != "link/ether").nth(1).unwrap().to_owned()
}

/// Both addresses are there as the customer sees it, and the service is behind one.
#[track_caller]
pub fn at(scene: &Scene, node: &str) {
    let link = link(scene, node);
    for address in [ADDRESS, ADDRESS_6] {
        until(LIMIT, &format!("{address} to be at {node}"), || {
            let seen = scene
                .cluster
                .within("customer", || recipes::act::vip::seen("eth0", address.parse().unwrap(), Duration::from_secs(1)));
            let seen = seen.unwrap().map(|mac| mac.to_string());
            if seen.as_ref() == Some(&link) { Ok(()) } else { Err(format!("{seen:?}, and {link} is its own")) }
        });
    }
    until(LIMIT, "the service to answer by its address", || {
        let at = format!("{ADDRESS}:{PORT}").parse().unwrap();
        let answer = scene.cluster.within("customer", || request(at, "GET", "/", Duration::from_secs(1)));
        if matches!(answer, Some((200, _))) { Ok(()) } else { Err(format!("{answer:?}")) }
    });
}

#[track_caller]
pub fn has_none(scene: &Scene, node: &str) {
    let said = ip(scene, node, "addr show dev eth0");
    assert!(!said.contains(ADDRESS) && !said.contains(ADDRESS_6), "{node}: {said}");
}

impl Moving {
    pub fn kill_secondary(&mut self) {
        self.bind.as_mut().unwrap().end_secondary();
    }

    pub fn revive_secondary(&mut self, scene: &Scene) {
        let bind = self.bind.take().unwrap();
        self.bind = Some(scene.cluster.within(HOSTS[1], || bind.with_secondary()));
    }

    /// Both servers have the names point to this node.
    #[track_caller]
    pub fn points(&self, scene: &Scene, node: &str) {
        let expected = scene.cluster.address_of(node);
        for server in self.servers {
            until(LIMIT, &format!("{NAME} to point to {node} at {server}"), || {
                let now = scene.cluster.within("customer", || dig(server, NAME, "A")).join(", ");
                if now.ends_with(&format!(" {expected}")) { Ok(()) } else { Err(now) }
            });
        }
    }

    /// Its kernel has both addresses, whoever may see that.
    #[track_caller]
    pub fn is_held(&self, scene: &Scene, node: &str) {
        until(LIMIT, &format!("the addresses to be on {node}"), || {
            let said = ip(scene, node, "addr show dev eth0");
            let has = [ADDRESS, ADDRESS_6].iter().all(|address| said.contains(address));
            if has && !said.contains("tentative") { Ok(()) } else { Err(said) }
        });
    }

    /// Asks through the address and through the name, each all the time.
    pub fn clients(&self, scene: &Scene) -> Clients {
        let (stop, answers) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Vec<Answer>>>::default());
        let by_address: SocketAddr = format!("{ADDRESS}:{PORT}").parse().unwrap();
        let servers = self.servers;
        let begin = |way: Way| {
            let (stop, answers) = (stop.clone(), answers.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    // As a client that is refused does, too.
                    std::thread::park_timeout(BETWEEN);
                    let asked = now();
                    let at = match way {
                        Way::Address => Some(by_address),
                        Way::Name => resolved(&servers).map(|ip| SocketAddr::new(ip, PORT)),
                    };
                    let Some((200, body)) = at.and_then(|at| request(at, "GET", "/", PATIENCE)) else { continue };
                    let answered = now();
                    if let Some((by, epoch)) = by(&body) {
                        answers.lock().unwrap().push(Answer { way, by, epoch, asked, answered });
                    }
                }
            })
        };
        let threads = scene.cluster.within("customer", || [Way::Address, Way::Name].map(begin));
        Clients { stop, answers, threads: threads.into() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Address,
    Name,
}

/// What somebody was answered, and by whom.
#[derive(Clone, Debug)]
pub struct Answer {
    pub way: Way,
    pub by: String,
    pub epoch: u64,
    asked: Instant,
    answered: Instant,
}

/// Who says that he answers, and under which epoch: `open NODE EPOCH`.
fn by(body: &str) -> Option<(String, u64)> {
    let mut words = body.split_whitespace().skip(1);
    Some((words.next()?.to_owned(), words.next()?.parse().ok()?))
}

/// What the first of the servers that answers says of the name, as a resolver without memory hears it.
fn resolved(servers: &[SocketAddr; 2]) -> Option<IpAddr> {
    let mut question = vec![0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in NAME.split('.') {
        question.push(label.len() as u8);
        question.extend(label.as_bytes());
    }
    question.extend([0, 0, 1, 0, 1]);
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.set_read_timeout(Some(PATIENCE)).ok()?;
    servers.iter().find_map(|server| {
        socket.send_to(&question, server).ok()?;
        let mut answer = [0; 512];
        let (length, _) = socket.recv_from(&mut answer).ok()?;
        // One record, whose name is that of the question: its address is at the end of its twelve bytes of head.
        let value: [u8; 4] = answer.get(question.len() + 12..length)?.get(..4)?.try_into().ok()?;
        (answer[7] > 0).then_some(IpAddr::V4(Ipv4Addr::from(value)))
    })
}

pub struct Clients {
    stop: Arc<AtomicBool>,
    answers: Arc<Mutex<Vec<Answer>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Clients {
    fn count(&self, way: Way, by: &str) -> usize {
        self.answers.lock().unwrap().iter().filter(|answer| answer.way == way && answer.by == by).count()
    }

    /// Waits until this node has answered again, by the address and by the name.
    #[track_caller]
    pub fn reach(&self, node: &str) {
        for way in [Way::Address, Way::Name] {
            let before = self.count(way, node);
            until(LIMIT, &format!("{node} to be reached by {way:?}"), || {
                let now = self.count(way, node);
                if now >= before + 5 { Ok(()) } else { Err(format!("{now} answers")) }
            });
        }
    }

    /// Whoever answers from now on, by the address and by the name, is this node.
    #[track_caller]
    pub fn only(&self, node: &str) {
        let from = self.answers.lock().unwrap().len();
        let mut last = Vec::new();
        for way in [Way::Address, Way::Name] {
            until(LIMIT, &format!("answers by {way:?}"), || {
                last = self.answers.lock().unwrap()[from..].to_vec();
                let count = last.iter().filter(|answer| answer.way == way).count();
                if count >= MANY { Ok(()) } else { Err(format!("{count} answers")) }
            });
        }
        let other = last.iter().find(|answer| answer.by != node);
        assert!(other.is_none(), "another than {node} answers: {other:?}");
    }

    /// All that was answered, and that no two nodes ever did so side by side.
    #[track_caller]
    pub fn end(mut self) -> Served {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
        let answers = std::mem::take(&mut *self.answers.lock().unwrap());
        alone(&answers);
        let longest = |way| {
            let of: Vec<&Answer> = answers.iter().filter(|answer| answer.way == way).collect();
            of.windows(2)
                .map(|pair| pair[1].answered.duration_since(pair[0].answered))
                .max()
                .unwrap_or_default()
        };
        let mut by: Vec<String> = answers.iter().filter(|answer| answer.way == Way::Address).map(|answer| answer.by.clone()).collect();
        by.dedup();
        Served { by_address: longest(Way::Address), by_name: longest(Way::Name), by }
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

/// The longest times between two answers, and who answered through the address, one after the other.
#[derive(Debug)]
pub struct Served {
    pub by_address: Duration,
    pub by_name: Duration,
    pub by: Vec<String>,
}

/// Whoever was asked after another had answered under a later epoch did not answer any more.
#[track_caller]
fn alone(answers: &[Answer]) {
    let mut by_end: Vec<&Answer> = answers.iter().collect();
    by_end.sort_by_key(|answer| answer.answered);
    let mut by_begin: Vec<&Answer> = answers.iter().collect();
    by_begin.sort_by_key(|answer| answer.asked);
    let (mut ended, mut newest): (usize, Option<&Answer>) = (0, None);
    for answer in by_begin {
        while ended < by_end.len() && by_end[ended].answered < answer.asked {
            newest = newest.filter(|newest| newest.epoch >= by_end[ended].epoch).or(Some(by_end[ended]));
            ended += 1;
        }
        if let Some(newest) = newest {
            assert!(newest.epoch <= answer.epoch, "two served at once: {newest:?}, and afterwards {answer:?}");
        }
    }
    for answer in answers {
        let other = answers.iter().find(|other| other.epoch == answer.epoch && other.by != answer.by);
        assert!(other.is_none(), "two under one epoch: {answer:?} and {other:?}");
    }
}

#[test]
#[should_panic(expected = "two served at once")]
fn two_that_answer_by_turns_are_seen() {
    let begin = now();
    let one = |at_ms: u64, by: &str, epoch: u64| {
        let asked = begin + Duration::from_millis(at_ms);
        Answer { way: Way::Address, by: by.into(), epoch, asked, answered: asked + Duration::from_millis(5) }
    };
    alone(&[one(0, "web1", 1), one(10, "web2", 2), one(12, "web1", 1), one(20, "web1", 1)]);
}

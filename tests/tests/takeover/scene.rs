//! The scene: a pull-backup that arbitrates, nodes with a till each, and a customer.

use crate::books::{numbers, reigns};
use rusqlite::Connection;
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tests::cluster::Cluster;
use tests::program::program;
use tests::wait::until;

pub const PORT: u16 = 8080;
pub const LIMIT: Duration = Duration::from_secs(60);

pub struct Scene {
    pub cluster: Cluster,
    pub nodes: Vec<&'static str>,
    /// Ports that something else took.
    occupied: Vec<TcpListener>,
}

impl Scene {
    /// `backup` and so many nodes that are in the cluster; the first is active, all have the shop's data.
    pub fn new(many: usize, of_cluster: &str, of_node: &str) -> Scene {
        Scene::with(many, &[], of_cluster, |_, _| of_node.to_owned())
    }

    /// With these hosts besides, and what `of_node` makes of the hosts' addresses.
    pub fn with(many: usize, guests: &[&str], of_cluster: &str, of_node: impl FnOnce(&Cluster, &[&str]) -> String) -> Scene {
        let mut cluster = Cluster::apart(many + 2 + guests.len());
        cluster.keeper("backup", &format!("[cluster.shop]\nprofile = \"fast\"\n{of_cluster}"));
        let nodes: Vec<&'static str> = ["web1", "web2", "web3"][..many].to_vec();
        nodes.iter().chain(guests).for_each(|host| cluster.guest(host));
        let of_node = of_node(&cluster, &nodes);
        let mut scene = Scene::of(cluster, nodes);
        for (at, node) in scene.nodes.clone().into_iter().enumerate() {
            scene.node(node, &of_node);
            let role: &[&str] = if at == 0 { &["--active"] } else { &["--standby"] };
            scene.cluster.join("backup", node, role);
        }
        scene.cluster.guest("customer");
        let first = scene.database("web1");
        let database = Connection::open(&first).unwrap();
        database
            .execute_batch("pragma journal_mode = wal; create table orders (id integer primary key, text)")
            .unwrap();
        drop(database);
        for node in scene.nodes.clone() {
            scene.start(node);
        }
        scene.cluster.run("web1", "importer", &["activate", "--adopt"]).ended(0);
        for node in scene.nodes.clone() {
            if node != "web1" {
                scene.becomes(node, "ready");
            }
        }
        scene
    }

    /// Nodes of a cluster that somebody else begins.
    pub fn of(cluster: Cluster, nodes: Vec<&'static str>) -> Scene {
        Scene { cluster, nodes, occupied: vec![] }
    }

    fn node(&mut self, node: &'static str, of_node: &str) {
        let folder = self.cluster.path(node);
        std::fs::create_dir_all(&folder).unwrap();
        let (database, run) = (folder.join("shop.db"), folder.join("run"));
        let identity = self.cluster.path("identity");
        let more = format!("run = {run:?}\nidentity = {identity:?}\n");
        let datasets = format!(
            "[[dataset]]\nname = \"shop\"\nevery = \"5s\"\n[[dataset.source]]\nrecipe = \"sqlite\"\npath = {database:?}\n\
             [takeover]\nautomatic = true\nports = [{PORT}]\n{of_node}\n{}\
             [[takeover.check]]\nhttp = \"http://127.0.0.1:{PORT}/\"\nevery = \"1s\"\n\
             [[takeover.check]]\nsql = \"select count(*) >= 0 from orders\"\nsource = \"sqlite\"\nevery = \"1s\"\n",
            till(&database, PORT)
        );
        self.cluster.node(node, &more, &datasets);
    }

    pub fn database(&self, node: &str) -> PathBuf {
        self.cluster.path(node).join("shop.db")
    }

    pub fn start(&mut self, node: &str) {
        self.cluster.start(node, "exporter");
        self.cluster.start(node, "importer");
    }

    /// The node's own word of how it stands.
    pub fn standing(&self, node: &str) -> String {
        let said = self.ask(node, "/cluster");
        let body: serde_json::Value = said.and_then(|(_, body)| serde_json::from_str(&body).ok()).unwrap_or_default();
        body["standing"].as_str().unwrap_or("unknown").to_owned()
    }

    /// What a node's health address says.
    pub fn ask(&self, node: &str, path: &str) -> Option<(u16, String)> {
        self.cluster.within(node, || {
            let at: SocketAddr = "127.0.0.1:8026".parse().unwrap();
            request(at, "GET", path, Duration::from_secs(2))
        })
    }

    #[track_caller]
    pub fn becomes(&self, node: &str, standing: &str) {
        until(LIMIT, &format!("{node} to be {standing}"), || {
            let now = self.standing(node);
            if now == standing { Ok(()) } else { Err(now) }
        });
    }

    /// The one that is active, when there is one.
    #[track_caller]
    pub fn wait_for_active(&self, among: &[&'static str]) -> &'static str {
        until(LIMIT, &format!("one of {among:?} to be active"), || {
            let standing: Vec<String> = among.iter().map(|node| self.standing(node)).collect();
            let active = among.iter().zip(&standing).find(|(_, standing)| *standing == "active");
            active.map(|(node, _)| *node).ok_or_else(|| format!("{standing:?}"))
        })
    }

    /// Everything on a host dies at once.
    pub fn kill_host(&mut self, node: &str) {
        self.cluster.kill_host(node);
    }

    /// The service of a node ends at once.
    pub fn kill_service(&self, node: &str) {
        let pid = std::fs::read_to_string(self.database(node).with_extension("pid")).unwrap();
        let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
        kill_process(pid, Signal::KILL).unwrap();
    }

    /// It ends, and cannot start again.
    pub fn break_service(&mut self, node: &str) {
        self.kill_service(node);
        self.occupy(node);
    }

    /// Something else has the service's port.
    pub fn occupy(&mut self, node: &str) {
        let taken = self.cluster.within(node, || {
            until(LIMIT, "the port to be free", || TcpListener::bind(("0.0.0.0", PORT)).map_err(|error| error.to_string()))
        });
        self.occupied.push(taken);
    }

    /// As if the host had booted since: what a reboot forgets is gone, and the boot has another name.
    pub fn forget_boot(&self, node: &str) {
        let folder = self.cluster.path(node).join("run");
        if folder.exists() {
            std::fs::remove_dir_all(folder).unwrap();
        }
        let role = self.cluster.path(&format!("{node}-state/role"));
        let text = std::fs::read_to_string(&role).unwrap();
        let of_boot = text.lines().map(|line| if line.starts_with("boot = ") { "boot = \"another\"" } else { line });
        std::fs::write(&role, of_boot.collect::<Vec<_>>().join("\n") + "\n").unwrap();
    }

    /// These two do not hear each other; others hear both.
    pub fn part(&self, a: &str, b: &str) {
        self.cluster.hosts_of(|hosts, a| self.cluster.hosts_of(|_, b| hosts.partition(a, b), b), a);
    }

    /// When a node's lease ends, as it wrote it down last: milliseconds of its own clock.
    pub fn lease_until(&self, node: &str) -> u64 {
        let text = std::fs::read_to_string(self.cluster.path(&format!("{node}-state/role"))).unwrap();
        let role: toml::Table = text.parse().unwrap();
        let lease = role["lease"].as_table().unwrap();
        u64::try_from(lease["lease_until"].as_integer().unwrap()).unwrap()
    }

    pub fn together(&self) {
        for node in &self.nodes {
            self.cluster.hosts_of(|hosts, number| hosts.rejoin(number), node);
        }
    }

    /// Nothing is imported on a node while this is held.
    pub fn hold_imports(&self, node: &str) -> File {
        let lock = self.cluster.path(&format!("{node}-state/datasets/shop/import.lock"));
        let file = File::options().write(true).open(lock).unwrap();
        flock(&file, FlockOperation::LockExclusive).unwrap();
        file
    }

    pub fn orders(&self, node: &str) -> Vec<i64> {
        numbers(&Connection::open(self.database(node)).unwrap())
    }

    pub fn customer(&self) -> Customer {
        let addresses = self
            .nodes
            .iter()
            .map(|node| (*node, SocketAddr::new(self.cluster.address_of(node).parse().unwrap(), PORT)));
        Customer::begin(self, addresses.collect())
    }
}

/// A till as a service of the node file.
pub fn till(database: &Path, port: u16) -> String {
    let till = program("till").get_program().to_owned().into_string().unwrap();
    let words = |what: &str| format!("{what} = [{till:?}, {what:?}, {database:?}, \"0.0.0.0:{port}\"]\n");
    format!("[[takeover.service]]\nname = \"till\"\n{}", ["start", "stop", "status"].map(words).concat())
}

/// One question, one answer.
pub fn request(at: SocketAddr, method: &str, path: &str, within: Duration) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&at, within).ok()?;
    stream.set_read_timeout(Some(within)).ok()?;
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let status = text.split(' ').nth(1)?.parse().ok()?;
    Some((status, text.split_once("\r\n\r\n")?.1.to_owned()))
}

/// An order that was acknowledged.
#[derive(Clone, Debug)]
pub struct Taken {
    pub number: i64,
    pub by: &'static str,
    pub answered: Instant,
}

/// Orders all the while, from a host of its own, of whoever answers.
pub struct Customer {
    stop: Arc<AtomicBool>,
    next: Arc<AtomicI64>,
    taken: Arc<Mutex<Vec<Taken>>>,
    thread: Option<JoinHandle<()>>,
}

const PATIENCE: Duration = Duration::from_millis(150);

impl Customer {
    fn begin(scene: &Scene, addresses: Vec<(&'static str, SocketAddr)>) -> Customer {
        let (stop, next, taken) = (Arc::<AtomicBool>::default(), Arc::new(AtomicI64::new(1)), Arc::<Mutex<Vec<Taken>>>::default());
        let thread = {
            let (stop, next, taken) = (stop.clone(), next.clone(), taken.clone());
            // A thread stays in the namespace that it was begun in.
            scene.cluster.within("customer", move || {
                std::thread::spawn(move || {
                    while !stop.load(Ordering::SeqCst) {
                        // Every host is asked each time: two that serve at once would both answer.
                        for (by, at) in &addresses {
                            let number = next.fetch_add(1, Ordering::SeqCst);
                            if let Some((200, _)) = request(*at, "POST", &format!("/order/{number}"), PATIENCE) {
                                taken.lock().unwrap().push(Taken { number, by, answered: now() });
                            }
                        }
                    }
                })
            })
        };
        Customer { stop, next, taken, thread: Some(thread) }
    }

    pub fn taken(&self) -> Vec<Taken> {
        self.taken.lock().unwrap().clone()
    }

    pub fn count(&self) -> usize {
        self.taken.lock().unwrap().len()
    }

    /// Waits until so many more are taken, by this node.
    #[track_caller]
    pub fn more(&self, many: usize, by: &str) {
        let from = self.count();
        until(LIMIT, &format!("{many} orders more by {by}"), || {
            let count = self.taken()[from..].iter().filter(|taken| taken.by == by).count();
            if count >= many { Ok(()) } else { Err(count.to_string()) }
        });
    }

    /// All that was acknowledged.
    pub fn end(mut self) -> Vec<Taken> {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap();
        assert!(self.next.load(Ordering::SeqCst) > 1, "it ordered");
        self.taken()
    }
}

impl Drop for Customer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

#[expect(clippy::disallowed_methods, reason = "how long nobody served is measured on the real clock")]
pub fn now() -> Instant {
    Instant::now()
}

/// The longest time between two orders that were acknowledged, and that no two hosts served at once.
#[track_caller]
pub fn judge(taken: &[Taken]) -> Duration {
    let mut longest = Duration::ZERO;
    for pair in taken.windows(2) {
        longest = longest.max(pair[1].answered.duration_since(pair[0].answered));
    }
    let reigns = reigns(taken);
    for (at, node) in reigns.iter().enumerate() {
        let again = reigns[at + 1..].iter().position(|other| other == node);
        assert!(again != Some(1) || reigns.len() < 4, "two hosts answered by turns: {reigns:?}");
    }
    longest
}

//! The hosts of the demo: configurations, processes, and what is shown of them.
//!
//! All of them are this one machine, so no packet filter can tell them apart: that a dead host is off a person must say.

use crate::shop::{Shop, look};
use console::node_file::NodeFile;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tests::wait::until;

/// Nothing in the demo may take longer.
const LIMIT: Duration = Duration::from_secs(30);
const DAY_MS: i64 = 86_400_000;
/// Where the shop listens, on the address of each host.
const SHOP: u16 = 8090;
const NODES: [&str; 3] = ["web1", "web2", "web3"];

pub struct Hosts {
    programs: PathBuf,
    folder: tempfile::TempDir,
    net: String,
    recipient: String,
    daemons: BTreeMap<(&'static str, &'static str), Child>,
}

impl Hosts {
    pub fn new(programs: PathBuf) -> Hosts {
        let folder = tempfile::Builder::new().prefix("resilient-demo-").tempdir().expect("a folder for the demo");
        let (private, recipient) = archive::identity::generate();
        std::fs::write(folder.path().join("identity"), private).expect("the identity is written");
        let net = format!("127.77.{}", 1 + std::process::id() % 250);
        Hosts { programs, folder, net, recipient, daemons: BTreeMap::new() }
    }

    /// Leaves the folder where it is.
    pub fn keep(&mut self) -> PathBuf {
        self.folder.disable_cleanup(true);
        self.folder.path().into()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A path as it is shown: the folder's own is long and says nothing.
    fn short(&self, text: &str) -> String {
        text.replace(&self.folder.path().display().to_string(), "…")
    }

    pub fn configure(&self) {
        let web1 = self.path("web1");
        for (number, name) in NODES.into_iter().enumerate() {
            let own = self.path(name);
            let mut node = format!(
                "cluster = \"shop\"\n\n[node]\nname = \"{name}\"\nstate = {:?}\nrun = {:?}\nlisten = \"{}.{}\"\nidentity = {:?}\n",
                own.join("state"),
                own.join("run"),
                self.net,
                number + 2,
                self.path("identity")
            );
            if name != "web1" {
                node += &format!(
                    "source.shop.sqlite.path = {:?}\nsource.shop.uploads.paths = [{:?}]\n",
                    own.join("shop.db"),
                    own.join("uploads")
                );
            }
            std::fs::create_dir_all(&own).expect("a folder for the host");
            let text = format!(
                "{node}\n[seal]\nrecipients = [\"{}\"]\n\n[[dataset]]\nname = \"shop\"\nevery = \"5s\"\n\n  [[dataset.source]]\n  recipe = \"sqlite\"\n  path = {:?}\n\n  [[dataset.source]]\n  name = \"uploads\"\n  recipe = \"files\"\n  paths = [{:?}]\n{}",
                self.recipient,
                web1.join("shop.db"),
                web1.join("uploads"),
                self.takeover(name, number)
            );
            if name == "web1" {
                print!("{}", self.short(&text));
            }
            std::fs::write(self.path(&format!("{name}.toml")), text).expect("the node file is written");
        }
        let text = format!(
            "listen = \"{0}.1:8025\"\naddress = \"{0}.1:8025\"\nhealth = \"{0}.1:8028\"\nstate = {1:?}\nstore = {{ path = {2:?} }}\n\n[cluster.shop]\nautomatic = true\nprofile = \"fast\"\n",
            self.net,
            self.path("backup/state"),
            self.path("backup/archive")
        );
        println!("\nand the file of the host that keeps the history, and decides:\n");
        print!("{}", self.short(&text));
        std::fs::write(self.path("backup.toml"), text).expect("the configuration is written");
    }

    /// What an active host runs, and how it is known that it works.
    fn takeover(&self, name: &str, number: usize) -> String {
        let at = format!("{}.{}:{SHOP}", self.net, number + 2);
        let database = self.path(name).join("shop.db");
        let words = |what: &str| format!("[{:?}, {what:?}, {database:?}, {at:?}]", self.programs.join("till"));
        format!(
            "\n[takeover]\nautomatic = true\n\n  [[takeover.service]]\n  name = \"shop\"\n  start = {}\n  stop = {}\n  status = {}\n\n  [[takeover.check]]\n  http = \"http://{at}/\"\n",
            words("start"),
            words("stop"),
            words("status")
        )
    }

    /// Where customers ask, with each host's folder.
    pub fn shops(&self) -> Vec<(SocketAddr, PathBuf)> {
        let at = |number: usize| format!("{}.{}:{SHOP}", self.net, number + 2).parse().expect("it is an address");
        NODES.iter().enumerate().map(|(number, name)| (at(number), self.path(name))).collect()
    }

    /// Ends everything that a host runs, at once.
    pub fn dies(&mut self, host: &'static str) {
        let mine: Vec<_> = self.daemons.keys().filter(|(of, _)| *of == host).copied().collect();
        for (_, program) in mine {
            self.kill(host, program);
        }
        let pid = till(&self.path(host)).expect("the shop runs there");
        println!("{host} $ kill -9 {}    (the shop itself)", pid.as_raw_nonzero());
        kill_process(pid, Signal::KILL).expect("it can be killed");
    }

    /// Has the best one elected, once that can be.
    pub fn elect(&self, why_not_yet: &str) {
        let arguments = ["elect", "shop"];
        self.show("backup", "pull-backup", &arguments);
        let mut waited = false;
        let out = until(LIMIT, "somebody to be elected", || {
            let output = self.command("backup", "pull-backup", &arguments).output().expect("the program runs");
            if !output.status.success() && !std::mem::replace(&mut waited, true) {
                println!("(not yet: {why_not_yet})");
            }
            let said = String::from_utf8_lossy(if output.status.success() { &output.stdout } else { &output.stderr }).into_owned();
            if output.status.success() { Ok(said) } else { Err(said) }
        });
        print!("{}", self.short(&out));
    }

    /// Which of them is active, once one is.
    pub fn active_among(&self, nodes: &[&'static str]) -> &'static str {
        until(LIMIT, "one of them to be active", || {
            let stands = |node: &&&'static str| {
                let number = NODES.iter().position(|name| name == *node).unwrap_or_default();
                let at: SocketAddr = format!("{}.{}:8026", self.net, number + 2).parse().expect("it is an address");
                asked(at, "/primary")
            };
            nodes.iter().find(stands).copied()
        })
    }

    fn command(&self, host: &str, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.args(arguments).arg("--config").arg(self.path(&format!("{host}.toml")));
        command.env_remove("RESILIENT_CONFIG").env_remove("RESILIENT_IDENTITY").stdin(Stdio::null());
        command
    }

    fn show(&self, host: &str, program: &str, arguments: &[&str]) {
        println!("{host} $ {program} {}", self.short(&arguments.join(" ")));
    }

    /// Runs a command, shows it and what it says. Its status and its output.
    fn ran(&self, host: &str, program: &str, arguments: &[&str]) -> (Option<i32>, String) {
        self.show(host, program, arguments);
        let output = self.command(host, program, arguments).output().expect("the program runs");
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        print!("{}{}", self.short(&out), self.short(&String::from_utf8_lossy(&output.stderr)));
        (output.status.code(), out)
    }

    pub fn run(&self, host: &str, program: &str, arguments: &[&str]) -> String {
        let (status, out) = self.ran(host, program, arguments);
        assert_eq!(status, Some(0), "{program} {arguments:?}");
        out
    }

    pub fn start(&mut self, host: &'static str, program: &'static str) {
        self.show(host, program, &["serve &"]);
        let log = self.path(&format!("{host}-{program}.log"));
        let file = File::options().create(true).append(true).open(&log).expect("the log opens");
        let mut command = self.command(host, program, &["serve"]);
        command.stdout(Stdio::null()).stderr(file);
        let began = std::fs::metadata(&log).map_or(0, |found| found.len());
        let child = command.spawn().expect("the daemon starts");
        self.daemons.insert((host, program), child);
        let said = || {
            std::fs::read(&log)
                .map(|bytes| String::from_utf8_lossy(&bytes[began as usize..]).into_owned())
                .unwrap_or_default()
        };
        until(LIMIT, &format!("{program} on {host} to serve"), || if said().contains("serves at") { Ok(()) } else { Err(said()) });
    }

    pub fn kill(&mut self, host: &'static str, program: &'static str) {
        let mut child = self.daemons.remove(&(host, program)).expect("it runs");
        println!("{host} $ kill -9 {}", child.id());
        child.kill().expect("it can be killed");
        child.wait().expect("it is ours");
    }

    pub fn stop(&mut self, limit: Duration) {
        for ((host, program), mut child) in std::mem::take(&mut self.daemons) {
            kill_process(Pid::from_child(&child), Signal::TERM).expect("it can be asked");
            until(limit, &format!("{program} on {host} to end"), || child.try_wait().expect("it is ours"));
        }
        self.close_shops();
    }

    /// A service outlives the daemon that started it.
    fn close_shops(&self) {
        for pid in NODES.iter().filter_map(|host| till(&self.path(host))) {
            // It may end by itself.
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    pub fn join(&self, node: &str, role: &str) {
        let invited = self.run("backup", "pull-backup", &["invite", node, "--cluster", "shop", role]);
        let line = invited.lines().next().expect("an invitation is a line").to_owned();
        self.run(node, "exporter", &["join", &line]);
    }

    /// Exports as if it were this time yesterday. That day, as a date.
    pub fn export_of_yesterday(&self) -> String {
        #[expect(clippy::disallowed_methods, reason = "a demo begins here")]
        let now = jiff::Zoned::now();
        let then = now.timestamp().as_millisecond() - DAY_MS;
        let file = NodeFile::open(&self.path("web1.toml")).expect("the node file is read");
        let clock = Arc::new(move || then.unsigned_abs());
        let (report, _) = exporter::export::export(&file, &file.datasets[0], None, clock).expect("it is exported");
        let (content, stored) = (console::human::bytes(report.content_bytes), console::human::bytes(report.stored_bytes));
        println!("{} entries, {content}; compressed and sealed: {stored}", report.entries);
        now.checked_sub(jiff::Span::new().days(1))
            .expect("there is a yesterday")
            .strftime("%Y-%m-%d")
            .to_string()
    }

    /// Waits until the hosts that stand by have so many orders at least.
    pub fn both_stand_by(&self, shop: &Shop, orders: u64) {
        for host in ["web2", "web3"] {
            until(LIMIT, &format!("{orders} orders on {host}; the shop took {}", shop.count()), || {
                let seen = look(&self.path(host));
                if seen.is_some_and(|(there, _)| there >= orders) { Ok(()) } else { Err(format!("{seen:?}")) }
            });
        }
    }

    pub fn show_orders(&self, hosts: &[&str]) {
        for host in hosts {
            match look(&self.path(host)) {
                Some((orders, uploads)) => println!("{host}: {orders} orders, {uploads} uploads"),
                None => println!("{host}: nothing"),
            }
        }
    }

    pub fn snapshots(&self) {
        self.run("backup", "pull-backup", &["snapshots", "shop"]);
    }

    pub fn restore(&self, day: &str) {
        let to = self.path("restored");
        let identity = self.path("identity");
        let arguments = ["restore", "shop", "--at", day, "--to", &text(&to), "--identity", &text(&identity)];
        self.run("backup", "pull-backup", &arguments);
        let database = to.join("sqlite/database.sqlite");
        let orders = rusqlite::Connection::open(&database)
            .and_then(|database| database.query_row("select count(*) from orders", [], |row| row.get::<_, i64>(0)))
            .expect("the restored database opens");
        println!("restored: {orders} order, as it was then");
        assert_eq!(orders, 1, "yesterday there was one order");
    }

    /// Waits until a status says that something is wrong.
    pub fn turns_bad(&self, host: &str, program: &str) {
        until(LIMIT, "the status to say that something is wrong", || {
            let output = self.command(host, program, &["status"]).output().expect("the program runs");
            (!output.status.success()).then_some(())
        });
    }

    /// Shows a status. That something is not ok is shown by its exit status, too.
    pub fn show_status(&self, host: &str, program: &str) {
        let (status, _) = self.ran(host, program, &["status"]);
        println!("(exit status {})", status.map_or("none".into(), |status| status.to_string()));
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for (_, mut child) in std::mem::take(&mut self.daemons) {
            // It may have ended; nothing of the demo may stay.
            let _ = child.kill();
            let _ = child.wait();
        }
        self.close_shops();
        if std::thread::panicking() {
            eprintln!("what failed can be looked at in {}", self.keep().display());
        }
    }
}

/// The shop's process on a host, where it runs.
fn till(host: &Path) -> Option<Pid> {
    let pid = Pid::from_raw(std::fs::read_to_string(host.join("shop.pid")).ok()?.trim().parse().ok()?)?;
    let name = std::fs::read_to_string(format!("/proc/{}/comm", pid.as_raw_nonzero())).ok()?;
    (name.trim() == "till").then_some(pid)
}

/// Whether a host says yes to a plain question.
fn asked(at: SocketAddr, path: &str) -> bool {
    let answer = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(at)?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    answer().is_ok_and(|text| text.starts_with("HTTP/1.1 200"))
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

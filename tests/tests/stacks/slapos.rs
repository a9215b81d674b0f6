//! A resilient SlapOS instance: recipes/stacks/slapos, over partitions with scripts as SlapOS's recipes generate them.

mod database;
mod files;
mod jobs;
mod recovery;
mod reign;
mod signature;
mod stall;

use crate::shipped::fitted;
use console::node_file::{NodeFile, Schedule};
use console::pull_backup_file::PullBackupFile;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tests::cluster::{Cluster, snapshots};
use tests::program::Ran;
use tests::wait::until;

const NODE: &str = include_str!("../../../recipes/stacks/slapos/node.toml");
const KEEPER: &str = include_str!("../../../recipes/stacks/slapos/pull-backup.toml");
const EXPORTER: &str = include_str!("../../../recipes/stacks/slapos/slapos-exporter");
const IMPORTER: &str = include_str!("../../../recipes/stacks/slapos/slapos-importer");
const SCRIPTS: [(&str, &str); 2] =
    [("postgres-exporter", include_str!("slapos/postgres-exporter")), ("postgres-importer", include_str!("slapos/postgres-importer"))];

const LIMIT: Duration = Duration::from_secs(60);
/// The promise that a notification did not stall: a day, and an hour of latitude.
const PROMISE_MS: i64 = 90_000_000;

/// A host with the instance's two partitions, the shipped programs, and the stand-in for SlapOS's own.
struct Host(PathBuf);

impl Host {
    fn new(root: PathBuf) -> Host {
        let host = Host(root);
        for folder in ["etc", "slappart0/bin", "slappart0/srv/data", "slappart0/srv/backup/postgres", "slappart1/srv/www"] {
            fs::create_dir_all(host.0.join(folder)).unwrap();
        }
        for folder in ["log", "run"] {
            fs::create_dir_all(host.0.join("slappart0/var").join(folder)).unwrap();
        }
        for (name, text) in [("slapos", include_str!("slapos/slapos")), ("slapos-exporter", EXPORTER), ("slapos-importer", IMPORTER)] {
            host.install(&format!("etc/{name}"), text);
        }
        for (name, text) in SCRIPTS {
            host.install(
                &format!("slappart0/bin/{name}"),
                &text.replace("PARTITION", host.database("").to_str().unwrap().trim_end_matches('/')),
            );
        }
        host
    }

    /// Another process writes what is run: this one's threads may be beginning others, which would hold the file open.
    fn install(&self, name: &str, text: &str) {
        let from = self.0.join("installing");
        fs::write(&from, text).unwrap();
        let installed = Command::new("install").arg("-m755").arg(&from).arg(self.0.join(name)).status();
        assert!(installed.unwrap().success());
    }

    /// A path in the database's partition.
    fn database(&self, name: &str) -> PathBuf {
        self.0.join("slappart0").join(name)
    }

    fn www(&self, name: &str) -> PathBuf {
        self.0.join("slappart1/srv/www").join(name)
    }

    /// A value in the database.
    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.database("srv/data").join(name), content).unwrap();
    }

    fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.database("srv/data").join(name)).ok()
    }

    /// All that is in the database.
    fn data(&self) -> BTreeMap<String, Vec<u8>> {
        tests::cluster::files(&self.database("srv/data"))
    }

    /// What SlapOS's scripts were called for.
    fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.database("var/log/calls")).unwrap_or_default();
        text.lines().map(|line| line.split(" as ").next().unwrap_or_default().to_owned()).collect()
    }

    /// A script that begins waits here.
    fn gate(&self) -> Gate {
        let path = self.database("var/run/gate");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
        Gate(path)
    }

    /// The shipped file's datasets, for this host.
    fn datasets(&self, rhythm: &str) -> String {
        let (datasets, _) = self.fitted(rhythm);
        datasets
    }

    /// Datasets and takeover.
    fn fitted(&self, rhythm: &str) -> (String, String) {
        let (root, etc) = (self.0.to_str().unwrap(), self.0.join("etc"));
        let words = [
            ("/srv/slapgrid", root),
            ("/etc/resilient/recipes", etc.to_str().unwrap()),
            ("/opt/slapos/bin", etc.to_str().unwrap()),
            ("at   = \"0 * * * *\"", rhythm),
        ];
        let text = fitted(NODE, "[[dataset]]", &words);
        let (datasets, takeover) = text.split_once("[takeover]").expect("it has a takeover");
        (datasets.to_owned(), format!("[takeover]{takeover}"))
    }
}

struct Gate(PathBuf);

/// A script that waits at a gate.
struct Waiting {
    gate: PathBuf,
    pipe: rustix::fd::OwnedFd,
}

impl Gate {
    #[track_caller]
    fn reached(self) -> Waiting {
        use rustix::fs::{Mode, OFlags};
        let opened = || rustix::fs::open(&self.0, OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty());
        let pipe = until(LIMIT, "a script to come to the gate", opened);
        Waiting { gate: self.0, pipe }
    }
}

impl Waiting {
    /// It goes on, and those after it do not wait.
    fn passes(self) {
        fs::remove_file(&self.gate).unwrap();
        rustix::io::write(&self.pipe, b"pass\n").unwrap();
    }

    /// Nobody waits there any more.
    fn died(self) {
        fs::remove_file(&self.gate).unwrap();
    }
}

/// host0 works, the others import.
struct Stack {
    cluster: Cluster,
    hosts: Vec<Host>,
}

const ONCE: &str = "every = \"24h\"";

impl Stack {
    /// On loopback, with so many imports; no daemon of theirs runs.
    fn new(number: u8, imports: usize) -> Stack {
        Stack::with(number, imports, ONCE)
    }

    fn with(number: u8, imports: usize, rhythm: &str) -> Stack {
        let mut cluster = Cluster::new(number);
        cluster.keeper("backup", &keeper(""));
        let hosts = (0..=imports).map(|at| Host::new(cluster.path(&format!("host{at}-srv")))).collect();
        let mut stack = Stack { cluster, hosts };
        for at in 0..=imports {
            stack.join(at, &stack.hosts[at].datasets(rhythm));
        }
        stack
    }

    fn join(&mut self, at: usize, datasets: &str) {
        let (name, role) = (name(at), if at == 0 { "--active" } else { "--standby" });
        let more = format!("identity = {:?}\nrun = {:?}\n", self.cluster.path("identity"), self.hosts[at].0.join("run"));
        self.cluster.node(&name, &more, datasets);
        self.cluster.join("backup", &name, &[role]);
    }

    fn run(&self, at: usize, binary: &str, words: &[&str]) -> Ran {
        self.cluster.run(&name(at), binary, words)
    }

    /// Everything that is there now is exported, and held.
    #[track_caller]
    fn export(&self) {
        self.run(0, "exporter", &["run", "--wait"]).ended(0);
    }

    #[track_caller]
    fn import(&self, at: usize) {
        self.run(at, "importer", &["sync"]).ended(0);
    }

    /// Both, and what was exported is what was imported.
    #[track_caller]
    fn carry(&self) {
        self.export();
        for at in 1..self.hosts.len() {
            self.import(at);
            assert!(self.hosts[at].data() == self.hosts[0].data(), "host{at} has other data");
        }
    }

    fn archive(&self) -> PathBuf {
        self.cluster.of_keeper("backup", "instance")
    }

    fn repository(&self, at: usize) -> PathBuf {
        self.cluster.of_node(&name(at), "instance")
    }

    fn kept(&self) -> Vec<String> {
        snapshots(&self.archive())
    }
}

fn name(at: usize) -> String {
    format!("host{at}")
}

/// The shipped file of the host that keeps the history, without mail.
fn keeper(of_cluster: &str) -> String {
    let text = fitted(KEEPER, "[retain]", &[("[cluster.slapos]", &format!("[cluster.shop]\n{of_cluster}"))]);
    let (text, _) = text.split_once("[alert]").expect("it alerts");
    text.to_owned()
}

#[test]
fn the_shipped_files_of_slapos_say_what_is_meant() {
    let text = NODE.replace("age1...", &archive::identity::generate().1);
    let node = NodeFile::parse(&text, Path::new("node.toml")).unwrap();
    let keeper = PullBackupFile::parse(KEEPER, Path::new("pull-backup.toml")).unwrap();
    assert!(keeper.clusters.get(&node.cluster).is_some_and(|cluster| !cluster.automatic));
    assert!(node.takeover.is_some_and(|takeover| !takeover.automatic && takeover.commands.len() == 1));
    assert_eq!(keeper.retain.within, Some(Duration::from_secs(14 * 86_400)));
    // Whenever it is asked, a stall of an hourly export is late in a tenth of the time of that promise.
    let [dataset] = node.datasets.as_slice() else { panic!("one dataset is shipped") };
    let Schedule::At(cron) = &dataset.schedule else { panic!("it goes by the clock") };
    let schedule = watch::schedule::Schedule::at(cron, jiff::tz::TimeZone::UTC).unwrap();
    for minute in 0..24 * 60 {
        let now_ms = 1_795_262_400_000 + minute * 60_000;
        let late_after_ms = now_ms - schedule.late_before(now_ms);
        assert!(late_after_ms < PROMISE_MS / 10, "after {minute} minutes: {late_after_ms} ms");
    }
}

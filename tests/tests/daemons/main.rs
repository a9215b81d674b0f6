//! The daemons as real processes on loopback addresses of their own: what a node exports arrives in the archive and in the mirror of a node that stands by,
//! whichever of the three is killed meanwhile.

mod followers;
mod nat;

use archive::repository::Repository;
use archive::store::FolderStore;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tests::chance::{Chance, budget};
use tests::program::{Ran, finish, program};
use tests::running::Running;
use tests::wait::until;

const LIMIT: Duration = Duration::from_secs(60);

/// Three hosts: the one that works, the one that keeps the history, the one that stands by.
struct Hosts {
    folder: tempfile::TempDir,
    /// The first three numbers of their addresses: nobody else's in this test run.
    net: String,
    daemons: [Option<Running>; 3],
}

const WORKS: usize = 0;
const KEEPS: usize = 1;
const STANDS_BY: usize = 2;
const DAEMONS: [(&str, &str); 3] = [("exporter", "web1.toml"), ("pull-backup", "pull-backup.toml"), ("importer", "web2.toml")];

impl Hosts {
    fn new(number: u8) -> Hosts {
        Hosts::with(number, "")
    }

    /// With more lines in `[node]` of each node.
    fn with(number: u8, more: &str) -> Hosts {
        let pid = std::process::id();
        let net = format!("127.{}.{}", 1 + pid % 250, (pid / 250) as u8 ^ number);
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("data")).unwrap();
        let (private, public) = archive::identity::generate();
        std::fs::write(at("identity"), private).unwrap();
        for (name, host) in [("web1", 2), ("web2", 3)] {
            let text = format!(
                "cluster = \"shop\"\n[node]\nname = {name:?}\nstate = {:?}\nlisten = \"{net}.{host}\"\n{more}[seal]\nrecipients = [{public:?}]\n\
                 [[dataset]]\nname = \"files\"\nevery = \"24h\"\nsource = [{{ recipe = \"files\", paths = [{:?}] }}]\n",
                at(name),
                at("data"),
            );
            std::fs::write(at(&format!("{name}.toml")), text).unwrap();
        }
        let text = format!(
            "listen = \"{net}.1:8025\"\naddress = \"{net}.1:8025\"\nhealth = \"{net}.1:8028\"\nstate = {:?}\nstore = {{ path = {:?} }}\n[retain]\nlast = 100000\n",
            at("keeper"),
            at("archive")
        );
        std::fs::write(at("pull-backup.toml"), text).unwrap();
        let mut hosts = Hosts { folder, net, daemons: [None, None, None] };
        hosts.run(KEEPS, &["init"]).ended(0);
        hosts.start(KEEPS);
        for (host, name, role) in [(WORKS, "web1", "--active"), (STANDS_BY, "web2", "--standby")] {
            let invited = hosts.run(KEEPS, &["invite", name, "--cluster", "shop", role]).ended(0);
            hosts.run(host, &["join", invited.text().trim()]).ended(0);
            hosts.start(host);
        }
        hosts
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, host: usize, arguments: &[&str]) -> std::process::Command {
        let (binary, config) = DAEMONS[host];
        let mut command = program(binary);
        command.args(arguments).arg("--config").arg(self.path(config));
        command
    }

    fn run(&self, host: usize, arguments: &[&str]) -> Ran {
        finish(&mut self.command(host, arguments))
    }

    fn start(&mut self, host: usize) {
        let command = self.command(host, &["serve"]);
        let mut running = Running::start(&format!("{}-{}", DAEMONS[host].0, self.net), command, self.folder.path());
        running.says(LIMIT, "serves at");
        self.daemons[host] = Some(running);
    }

    fn kill(&mut self, host: usize) {
        self.daemons[host].take().expect("it runs").kill();
    }

    fn snapshots(&self, place: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(place).join("snapshots")).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Waits until archive and mirror have the spool's newest, and compares what the mirror's restores to with the data.
    fn converge(&self, what: &str) {
        let newest = self.snapshots(SPOOL).pop().expect("something was exported");
        for place in [ARCHIVE, MIRROR] {
            until(LIMIT, &format!("{what}: {newest} in {place}"), || self.snapshots(place).contains(&newest).then_some(()));
        }
        for place in [ARCHIVE, MIRROR] {
            let target = tempfile::tempdir().unwrap();
            let repository = self.path(place);
            let arguments =
                ["restore", "--at", "latest", "--repository", repository.to_str().unwrap(), "--to", target.path().to_str().unwrap()];
            finish(program("pull-backup").args(arguments).arg("--identity").arg(self.path("identity"))).ended(0);
            assert_eq!(read(&target.path().join("files")), read(&self.path("data")), "{what}: {place}");
        }
    }
}

const SPOOL: &str = "web1/datasets/files/repository";
const ARCHIVE: &str = "archive/shop/files";
const MIRROR: &str = "web2/datasets/files/repository";

fn read(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> = walkdir::WalkDir::new(folder)
        .into_iter()
        .map(|entry| entry.expect("it can be walked"))
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| (entry.path().strip_prefix(folder).unwrap().display().to_string(), std::fs::read(entry.path()).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn what_a_node_exports_stands_by_elsewhere_whoever_is_killed() {
    let mut hosts = Hosts::new(1);
    let mut chance = Chance::new(20_261_121);
    for round in 0..budget(6) {
        let what = format!("round {round}");
        let file = hosts.path("data").join(format!("file{}", chance.below(4)));
        let len = 1 + chance.below(2_000_000);
        std::fs::write(file, chance.noise(len)).unwrap();
        hosts.run(WORKS, &["run"]).ended(0);
        // The moment of the kill is wherever the pull happens to be.
        let victim = chance.below(3);
        hosts.kill(victim);
        if chance.one_in(2) {
            std::fs::write(hosts.path("data").join("late"), chance.noise(1000)).unwrap();
            hosts.run(WORKS, &["run"]).ended(0);
        }
        hosts.start(victim);
        hosts.converge(&what);
    }
    let (spool, archive, mirror) = (hosts.snapshots(SPOOL), hosts.snapshots(ARCHIVE), hosts.snapshots(MIRROR));
    let numbers: Vec<u64> = archive.iter().map(|name| u64::from_str_radix(&name[9..25], 16).unwrap()).collect();
    let all: Vec<u64> = (1..=archive.len() as u64).collect();
    assert_eq!(numbers, all, "all is in the archive, and nothing twice");
    assert!(spool.iter().chain(&mirror).all(|name| archive.contains(name)));
    for host in [WORKS, KEEPS, STANDS_BY] {
        let mut daemon = hosts.daemons[host].take().unwrap();
        assert!(daemon.stop(LIMIT).success(), "{} ends in order: {}", daemon.name(), daemon.err());
    }
    let repository = Repository::open(Arc::new(FolderStore::open(&hosts.path(ARCHIVE)).unwrap())).unwrap();
    assert_eq!(repository.snapshots().unwrap().len(), archive.len());
}

#[test]
fn a_second_daemon_on_one_state_folder_is_refused() {
    let hosts = Hosts::new(2);
    for host in [WORKS, KEEPS, STANDS_BY] {
        let ran = hosts.run(host, &["serve"]).ended(3);
        assert!(ran.err.contains("another `"), "{}", ran.err);
    }
}

#[test]
fn a_node_that_stands_by_does_not_export() {
    let hosts = Hosts::new(3);
    let ran = finish(program("exporter").args(["run", "--config"]).arg(hosts.path("web2.toml")));
    let ran = ran.ended(3);
    assert!(ran.err.contains("stands by"), "{}", ran.err);
}

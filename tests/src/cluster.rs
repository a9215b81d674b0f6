//! A cluster of real processes: pull-backups and nodes, each with an address, a configuration and a state folder of its own; on loopback, or each host in a
//! network namespace.

use crate::hosts::Hosts;
use crate::program::{Ran, finish, program};
use crate::running::Running;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long a daemon may take to begin, or to end in order.
const LIMIT: Duration = Duration::from_secs(60);

pub struct Cluster {
    /// First, so that they end first, and what they said is still there to be shown.
    daemons: BTreeMap<(String, &'static str), Running>,
    folder: tempfile::TempDir,
    net: Net,
    /// Hosts by name, each with the last number of its address.
    hosts: BTreeMap<String, u8>,
    recipient: String,
}

/// What the hosts are.
enum Net {
    /// The first three numbers of their addresses: nobody else's in this test run.
    Loopback(String),
    Namespaces(Hosts),
}

impl Cluster {
    /// One of so many hosts, each in a namespace.
    pub fn apart(many: usize) -> Cluster {
        Cluster::on(Net::Namespaces(Hosts::new(many)))
    }

    /// An empty one on loopback. No two tests that run at the same time may use the same number.
    pub fn new(number: u8) -> Cluster {
        let pid = std::process::id();
        let net = format!("127.{}.{}", 1 + pid % 250, (pid / 250) as u8 ^ number);
        Cluster::on(Net::Loopback(net))
    }

    fn on(net: Net) -> Cluster {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let (private, recipient) = archive::identity::generate();
        std::fs::write(folder.path().join("identity"), private).expect("the identity is written");
        Cluster { folder, net, hosts: BTreeMap::new(), daemons: BTreeMap::new(), recipient }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn address(&mut self, host: &str) -> String {
        let next = self.hosts.len() as u8 + 1;
        self.hosts.entry(host.into()).or_insert(next);
        self.address_of(host)
    }

    pub fn address_of(&self, host: &str) -> String {
        match &self.net {
            Net::Loopback(net) => format!("{net}.{}", self.hosts[host]),
            Net::Namespaces(hosts) => hosts.host(self.hosts[host].into()).address().to_string(),
        }
    }

    /// Gives a host without daemons an address.
    pub fn guest(&mut self, host: &str) {
        self.address(host);
    }

    fn host(&self, name: &str) -> &crate::hosts::Host {
        let hosts = self.namespaces().expect("hosts of this cluster are namespaces");
        hosts.host(self.hosts[name].into())
    }

    /// Does something on a host that is a namespace.
    pub fn within<T: Send>(&self, host: &str, work: impl FnOnce() -> T + Send) -> T {
        self.host(host).within(work)
    }

    /// Does something to a host's cables.
    pub fn hosts_of(&self, work: impl FnOnce(&Hosts, usize), name: &str) {
        work(self.namespaces().expect("hosts of this cluster are namespaces"), self.hosts[name].into());
    }

    /// Everything that runs on a host dies at once.
    pub fn kill_host(&mut self, name: &str) {
        self.host(name).kill_all();
        let gone: Vec<_> = self.daemons.keys().filter(|(host, _)| host == name).cloned().collect();
        for key in gone {
            self.daemons.remove(&key).expect("it is there").kill();
        }
    }

    /// The hosts, where each is a namespace.
    pub fn namespaces(&self) -> Option<&Hosts> {
        if let Net::Namespaces(hosts) = &self.net { Some(hosts) } else { None }
    }

    fn config(&self, host: &str) -> PathBuf {
        self.path(&format!("{host}.toml"))
    }

    /// A pull-backup with these lines in its configuration besides.
    pub fn keeper(&mut self, name: &str, more: &str) {
        let address = self.address(name);
        let text = format!(
            "listen = \"{address}:8025\"\naddress = \"{address}:8025\"\nhealth = \"{address}:8028\"\nstate = {:?}\nstore = {{ path = {:?} }}\n{more}",
            self.path(&format!("{name}-state")),
            self.path(&format!("{name}-archive")),
        );
        std::fs::write(self.config(name), text).expect("the configuration is written");
        self.run(name, "pull-backup", &["init"]).ended(0);
        self.start(name, "pull-backup");
    }

    /// A node of cluster `shop`, with these lines in `[node]`, and these datasets.
    pub fn node(&mut self, name: &str, more: &str, datasets: &str) {
        let address = self.address(name);
        let text = format!(
            "cluster = \"shop\"\n[node]\nname = {name:?}\nstate = {:?}\nlisten = {address:?}\n{more}\n[seal]\nrecipients = [{:?}]\n{datasets}",
            self.path(&format!("{name}-state")),
            self.recipient,
        );
        std::fs::write(self.config(name), text).expect("the node file is written");
    }

    /// Joins a node to a pull-backup, by an invitation with this role (`--active`, `--standby` or none).
    pub fn join(&mut self, keeper: &str, node: &str, role: &[&str]) {
        let arguments = [&["invite", node, "--cluster", "shop"], role].concat();
        let invited = self.run(keeper, "pull-backup", &arguments).ended(0);
        self.run(node, "exporter", &["join", invited.text().trim()]).ended(0);
    }

    pub fn command(&self, host: &str, binary: &str, arguments: &[&str]) -> Command {
        let mut command = program(binary);
        command.args(arguments).arg("--config").arg(self.config(host));
        command
    }

    #[track_caller]
    pub fn run(&self, host: &str, binary: &str, arguments: &[&str]) -> Ran {
        let mut command = self.command(host, binary, arguments);
        match &self.net {
            Net::Loopback(_) => finish(&mut command),
            Net::Namespaces(hosts) => hosts.host(self.hosts[host].into()).within(move || finish(&mut command)),
        }
    }

    pub fn start(&mut self, host: &str, binary: &'static str) {
        let command = self.command(host, binary, &["serve"]);
        let name = format!("{binary}-{host}");
        let mut running = match &self.net {
            Net::Loopback(_) => Running::start(&name, command, self.folder.path()),
            Net::Namespaces(hosts) => hosts.spawn(self.hosts[host].into(), &name, command),
        };
        running.says(LIMIT, "serves at");
        self.daemons.insert((host.into(), binary), running);
    }

    pub fn daemon(&mut self, host: &str, binary: &'static str) -> &mut Running {
        self.daemons.get_mut(&(host.to_owned(), binary)).expect("it was started")
    }

    pub fn kill(&mut self, host: &str, binary: &'static str) {
        self.daemons.remove(&(host.to_owned(), binary)).expect("it was started").kill();
    }

    /// Ends all daemons in order.
    pub fn stop(&mut self) {
        for (_, mut daemon) in std::mem::take(&mut self.daemons) {
            assert!(daemon.stop(LIMIT).success(), "{} ends in order: {}", daemon.name(), daemon.err());
        }
    }

    /// The repository of a dataset at a node.
    pub fn of_node(&self, node: &str, dataset: &str) -> PathBuf {
        self.path(&format!("{node}-state/datasets/{dataset}/repository"))
    }

    /// The repository of a dataset at a pull-backup.
    pub fn of_keeper(&self, keeper: &str, dataset: &str) -> PathBuf {
        self.path(&format!("{keeper}-archive/shop/{dataset}"))
    }
}

/// The names of the snapshots in a repository, oldest first.
pub fn snapshots(repository: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(repository.join("snapshots")).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort();
    names
}

/// The files below a folder, with their contents.
pub fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    walkdir::WalkDir::new(folder)
        .into_iter()
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_file())
        .filter_map(|entry| {
            let name = entry.path().strip_prefix(folder).ok()?.display().to_string();
            Some((name, std::fs::read(entry.path()).ok()?))
        })
        .collect()
}

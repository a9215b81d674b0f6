//! Hosts on loopback addresses of their own, set up by the commands that a newcomer would type.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tests::program::{Ran, finish, program};
use tests::running::Running;
use tests::wait::until;

pub const LIMIT: Duration = Duration::from_secs(60);

/// What a program is told in place of the files of a package.
pub struct Hosts {
    pub folder: tempfile::TempDir,
    net: String,
    passphrase: PathBuf,
}

impl Hosts {
    /// `number` tells the tests of one run apart.
    pub fn new(number: u8) -> Hosts {
        let pid = std::process::id();
        let net = format!("127.{}.{}", 1 + pid % 250, (pid / 250) as u8 ^ (number | 0x80));
        let folder = tempfile::tempdir().unwrap();
        let passphrase = folder.path().join("passphrase");
        fs::write(&passphrase, "horse staple\n").unwrap();
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&passphrase, fs::Permissions::from_mode(0o600)).unwrap();
        fs::create_dir(folder.path().join("data")).unwrap();
        fs::write(folder.path().join("data/file"), "one\n".repeat(5_000)).unwrap();
        Hosts { folder, net, passphrase }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn config(&self, name: &str) -> PathBuf {
        self.path(name).join(if name == "backup" { "pull-backup.toml" } else { "node.toml" })
    }

    pub fn command(&self, host: &str, binary: &str, arguments: &[&str]) -> std::process::Command {
        let mut command = program(binary);
        command.args(arguments).arg("--config").arg(self.config(host));
        let asks = ["init", "certify", "restore", "ls", "find", "diff"].contains(&arguments[0])
            && (binary, arguments[0]) != ("pull-backup", "init");
        if asks {
            command.arg("--passphrase-file").arg(&self.passphrase);
        }
        command
    }

    pub fn run(&self, host: &str, binary: &str, arguments: &[&str]) -> Ran {
        finish(&mut self.command(host, binary, arguments))
    }

    /// `exporter init` on the first node.
    pub fn init(&self) -> Ran {
        let (state, data) = (self.path("web1/state"), self.path("data"));
        let line = ["init", "--cluster", "shop", "--name", "web1", "--dataset", "files", "--state", state.to_str().unwrap(), "--files"];
        let ran = self.run("web1", "exporter", &[&line[..], &[data.to_str().unwrap()]].concat()).ended(0);
        self.listen("web1", 2);
        ran
    }

    /// The node file of the first on another host, as an administrator would copy it.
    pub fn copy_node(&self, name: &str, number: u8) {
        fs::create_dir(self.path(name)).unwrap();
        let text = fs::read_to_string(self.config("web1")).unwrap();
        let text = text
            .replace("name = \"web1\"", &format!("name = {name:?}"))
            .replace("web1/state", &format!("{name}/state"));
        let text = text.replace(&format!("{}.2", self.net), &format!("{}.{number}", self.net));
        fs::write(self.config(name), text).unwrap();
    }

    /// Daemons of several hosts run on this one, so each listens at an address of its own.
    fn listen(&self, name: &str, number: u8) {
        let text = fs::read_to_string(self.config(name)).unwrap();
        let at = text.find("# listen = ").expect("the file has an example");
        let end = at + text[at..].find('\n').unwrap();
        let line = format!("listen = \"{}.{number}\"", self.net);
        fs::write(self.config(name), format!("{}{line}{}", &text[..at], &text[end..])).unwrap();
    }

    /// `pull-backup init`, with addresses of its own, and its daemon.
    pub fn pull_backup(&self) -> (Ran, Running) {
        let (store, state) = (self.path("backup/archive"), self.path("backup/state"));
        let ran = self
            .run("backup", "pull-backup", &["init", "--store", store.to_str().unwrap(), "--state", state.to_str().unwrap()])
            .ended(0);
        let text = fs::read_to_string(self.config("backup")).unwrap();
        let listen = format!("listen = \"{0}.1:8025\"\naddress = \"{0}.1:8025\"\nhealth = \"{0}.1:8028\"", self.net);
        fs::write(self.config("backup"), text.replace("listen = \"0.0.0.0:8025\"", &listen)).unwrap();
        (ran, self.serve("backup", "pull-backup"))
    }

    pub fn serve(&self, host: &str, binary: &str) -> Running {
        let command = self.command(host, binary, &["serve"]);
        let mut running = Running::start(&format!("{host}-{binary}"), command, self.folder.path());
        running.says(LIMIT, "serves at");
        running
    }

    /// Invites a node at the pull-backup, and joins.
    pub fn join(&self, host: &str, binary: &str, role: &str) -> Ran {
        let invited = self.run("backup", "pull-backup", &["invite", host, "--cluster", "shop", role]).ended(0);
        assert!(invited.err.contains("exporter join 'LINE'"), "{}", invited.err);
        self.run(host, binary, &["join", invited.text().trim()]).ended(0)
    }

    pub fn archive(&self) -> PathBuf {
        self.path("backup/archive/shop/files")
    }

    pub fn repository(&self, host: &str) -> PathBuf {
        self.path(host).join("state/datasets/files/repository")
    }

    /// Waits until a repository has the newest of the spool of `host`.
    pub fn arrived(&self, from: &Path, to: &Path) -> String {
        let newest = snapshots(from).pop().expect("something was exported");
        until(LIMIT, &format!("{newest} in {}", to.display()), || {
            let there = snapshots(to);
            if there.contains(&newest) { Ok(()) } else { Err(format!("{there:?}")) }
        });
        newest
    }

    /// A change of the data, exported.
    pub fn change(&self, content: &str) -> Ran {
        fs::write(self.path("data/file"), content).unwrap();
        self.run("web1", "exporter", &["run"]).ended(0)
    }
}

pub fn snapshots(repository: &Path) -> Vec<String> {
    let entries = fs::read_dir(repository.join("snapshots")).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The id in a snapshot's file name.
pub fn id(name: &str) -> &str {
    name.rsplit('-').next().unwrap()
}

//! Three hosts on loopback addresses of their own, whose dataset is exported every five seconds; alerts go by command into a file.

use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use tests::program::{Ran, finish, program};
use tests::running::Running;
use tests::wait::{until, within};

pub const LIMIT: Duration = Duration::from_secs(60);
/// Two intervals of five seconds, what a look and its writing take, and what a slow host adds.
pub const SOON: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    Works,
    Keeps,
    StandsBy,
}

pub use At::{Keeps, StandsBy, Works};

impl At {
    pub fn binary(self) -> &'static str {
        ["exporter", "pull-backup", "importer"][self as usize]
    }

    fn config(self) -> &'static str {
        ["web1.toml", "pull-backup.toml", "web2.toml"][self as usize]
    }

    pub fn state(self) -> &'static str {
        ["web1", "keeper", "web2"][self as usize]
    }

    fn health(self) -> (u8, u16) {
        [(2, 8027), (1, 8028), (3, 8026)][self as usize]
    }
}

pub struct Stand {
    daemons: [Option<Running>; 3],
    pub net: String,
    folder: tempfile::TempDir,
}

impl Stand {
    /// All three run, and what the first exports has come to the others. `more` is added to each configuration.
    pub fn new(number: u8, more: &str) -> Stand {
        Stand::with(number, more, "")
    }

    /// With more in the node files' dataset.
    pub fn with(number: u8, more: &str, dataset: &str) -> Stand {
        let pid = std::process::id();
        let net = format!("127.{}.{}", 1 + pid % 250, (pid / 250) as u8 ^ (64 + number));
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("data")).unwrap();
        std::fs::write(at("data/file"), b"something").unwrap();
        let tell = at("tell");
        std::fs::write(&tell, format!("#!/bin/sh\n(cat; echo) >> {}/told.$1\n", folder.path().display())).unwrap();
        std::fs::set_permissions(&tell, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        let (private, public) = archive::identity::generate();
        std::fs::write(at("identity"), private).unwrap();
        for (name, host) in [("web1", 2), ("web2", 3)] {
            let text = format!(
                "cluster = \"shop\"\n[node]\nname = {name:?}\nstate = {:?}\nlisten = \"{net}.{host}\"\n[seal]\nrecipients = [{public:?}]\n\
                 [[dataset]]\nname = \"files\"\nevery = \"5s\"\nsource = [{{ recipe = \"files\", paths = [{:?}] }}]\n{dataset}\n[alert]\n\
                 command = [{tell:?}, {name:?}]\nconfirm = \"1s\"\n{more}\n",
                at(name),
                at("data"),
            );
            std::fs::write(at(&format!("{name}.toml")), text).unwrap();
        }
        let text = format!(
            "listen = \"{net}.1:8025\"\naddress = \"{net}.1:8025\"\nhealth = \"{net}.1:8028\"\nstate = {:?}\nstore = {{ path = {:?} }}\n\
             [alert]\ncommand = [{tell:?}, \"keeper\"]\nconfirm = \"1s\"\n{more}\n",
            at("keeper"),
            at("archive")
        );
        std::fs::write(at("pull-backup.toml"), text).unwrap();
        Stand { daemons: [None, None, None], net, folder }
    }

    /// Joins both nodes and starts all three.
    pub fn up(mut self) -> Stand {
        self.run(Keeps, &["init"]).ended(0);
        self.start(Keeps);
        for (at, name, role) in [(Works, "web1", "--active"), (StandsBy, "web2", "--standby")] {
            let invited = self.run(Keeps, &["invite", name, "--cluster", "shop", role]).ended(0);
            self.run(at, &["join", invited.text().trim()]).ended(0);
            self.start(at);
        }
        self.all_ok();
        self
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, at: At, arguments: &[&str]) -> Command {
        let mut command = program(at.binary());
        command.args(arguments).arg("--config").arg(self.path(at.config()));
        command
    }

    pub fn run(&self, at: At, arguments: &[&str]) -> Ran {
        finish(&mut self.command(at, arguments))
    }

    pub fn start(&mut self, at: At) {
        let command = self.command(at, &["serve"]);
        let mut running = Running::start(&format!("{}-{}", at.binary(), self.net), command, self.folder.path());
        running.says(LIMIT, "serves at");
        self.daemons[at as usize] = Some(running);
    }

    pub fn daemon(&mut self, at: At) -> &mut Running {
        self.daemons[at as usize].as_mut().expect("it runs")
    }

    pub fn kill(&mut self, at: At) {
        self.daemons[at as usize].take().expect("it runs").kill();
    }

    /// What `status --json` says, whose exit status must agree with it.
    pub fn status(&self, at: At) -> Value {
        let ran = self.run(at, &["status", "--json"]);
        let status = ran.status;
        let host = ran.json();
        assert_eq!(status, i32::from(host["word"] != "ok"), "{host:#}");
        host
    }

    pub fn all_ok(&self) {
        for at in [Works, Keeps, StandsBy] {
            let look = || {
                let host = self.status(at);
                if host["word"] == "ok" { Ok(()) } else { Err(format!("{host:#}")) }
            };
            until(LIMIT, &format!("{} to be ok", at.binary()), look);
        }
    }

    /// Waits until a host is not ok, for a line at this hop, and gives why.
    pub fn not_ok(&self, at: At, hop: &str) -> String {
        let found = within(SOON, || {
            let host = self.status(at);
            let lines = host["datasets"].as_array().cloned().unwrap_or_default();
            let bad = lines.iter().find(|line| line["hop"] == hop && line["word"] != "ok");
            bad.map(|line| format!("{}: {}", line["word"].as_str().unwrap(), line["why"].as_str().unwrap()))
                .ok_or(format!("{host:#}"))
        });
        found.unwrap_or_else(|seen| panic!("{} stays green at {hop}: {seen}", at.binary()))
    }

    /// A page of the plain health address: its status and its text.
    pub fn page(&self, at: At, path: &str) -> (u16, String) {
        let (host, port) = at.health();
        get(&format!("{}.{host}:{port}", self.net), path)
    }

    /// What was told by command.
    pub fn told(&self, at: At) -> Vec<Value> {
        let text = std::fs::read_to_string(self.path(&format!("told.{}", at.state()))).unwrap_or_default();
        text.lines()
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_str(line).expect("one object a line"))
            .collect()
    }
}

/// A plain request of HTTP/1.1, without a client's help.
pub fn get(address: &str, path: &str) -> (u16, String) {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").expect("an answer");
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// Asserts that a text has all of these words.
#[track_caller]
pub fn has(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
}

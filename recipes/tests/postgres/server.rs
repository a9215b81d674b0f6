//! Throwaway PostgreSQL servers, each in a folder of its own, ended by their process id.

#![allow(dead_code, reason = "the stacks' tests use a part of it")]

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use recipes::{Postgres, postgres};

/// Where this host's server keeps its programs, the newest of them.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").expect("the package postgresql is installed");
    let newest = versions
        .flatten()
        .max_by_key(|entry| entry.file_name().to_string_lossy().parse::<u32>().unwrap_or(0));
    newest.expect("there is a version").path().join("bin")
}

/// A server does not run as root.
fn as_postgres(mut command: Command) -> Command {
    if rustix::process::geteuid().is_root() {
        let (uid, gid) = user();
        command.uid(uid).gid(gid);
    }
    command.current_dir("/");
    command
}

fn user() -> (u32, u32) {
    let users = fs::read_to_string("/etc/passwd").expect("users are listed");
    let line = users
        .lines()
        .find(|line| line.starts_with("postgres:"))
        .expect("the package made the user postgres");
    let mut numbers = line.split(':').skip(2).map(|field| field.parse().expect("a number"));
    (numbers.next().expect("its uid"), numbers.next().expect("its gid"))
}

fn run(command: Command) -> Output {
    let mut command = as_postgres(command);
    let output = command.output().expect("it starts");
    assert!(output.status.success(), "{command:?}: {}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    output
}

fn give_away(path: &Path) {
    if rustix::process::geteuid().is_root() {
        let (uid, gid) = user();
        std::os::unix::fs::chown(path, Some(uid), Some(gid)).expect("it is given to the server");
    }
}

/// A folder of data as `initdb` makes it, made once and copied.
fn template() -> &'static Path {
    static TEMPLATE: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = TEMPLATE.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        give_away(folder.path());
        let mut command = Command::new(programs().join("initdb"));
        command
            .args(["--no-sync", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-D"])
            .arg(folder.path().join("data"));
        run(command);
        folder
    });
    folder.path()
}

/// Ends the server of a folder at once, and waits until it is gone.
pub fn end(data: &Path) {
    let Ok(text) = fs::read_to_string(data.join("postmaster.pid")) else { return };
    let Some(pid) = text.lines().next().and_then(|line| rustix::process::Pid::from_raw(line.parse().ok()?)) else { return };
    let ended = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty());
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::QUIT);
    if let Ok(ended) = ended {
        let mut fds = [rustix::event::PollFd::new(&ended, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut fds, None).expect("its end is waited for");
    }
}

pub struct Server {
    folder: tempfile::TempDir,
    options: String,
}

impl Server {
    pub fn start() -> Server {
        Server::with("")
    }

    /// With options of the server's own command line.
    pub fn with(options: &str) -> Server {
        let folder = tempfile::Builder::new().prefix("pg").tempdir_in("/tmp").expect("a folder");
        give_away(folder.path());
        let mut copy = Command::new("cp");
        copy.arg("-r").arg(template().join("data")).arg(folder.path());
        run(copy);
        let server = Server { folder, options: options.into() };
        server.up();
        server
    }

    pub fn up(&self) {
        let mut command = Command::new(programs().join("pg_ctl"));
        let options = format!("-k {} -c listen_addresses= -c fsync=off -c max_wal_size=4GB {}", self.folder.path().display(), self.options);
        command
            .args(["start", "-w", "-s", "-t", "60", "-D"])
            .arg(self.data())
            .arg("-l")
            .arg(self.folder.path().join("log"))
            .arg("-o")
            .arg(options);
        run(command);
    }

    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub fn host(&self) -> &Path {
        self.folder.path()
    }

    /// Ends it at once, as a power cut would.
    pub fn kill(&self) {
        end(&self.data());
    }

    /// Has it read its configuration again.
    pub fn reload(&self) {
        let mut command = Command::new(programs().join("pg_ctl"));
        command.args(["reload", "-s", "-D"]).arg(self.data());
        run(command);
    }

    pub fn sql(&self, database: &str, text: &str) -> String {
        self.try_sql_as("postgres", database, text).unwrap_or_else(|said| panic!("{text}: {said}"))
    }

    /// What a role is answered, or what the server says against it.
    pub fn try_sql_as(&self, role: &str, database: &str, text: &str) -> Result<String, String> {
        let mut command = Command::new("psql");
        command
            .args(["-X", "-q", "-A", "-t", "-w", "-v", "ON_ERROR_STOP=1", "-U", role, "-h"])
            .arg(self.host());
        command
            .arg("-d")
            .arg(format!("dbname='{}'", database.replace('\\', "\\\\").replace('\'', "\\'")))
            .arg("-c")
            .arg(text);
        let output = as_postgres(command).output().expect("psql is there");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// Gives a whole file of SQL to a database.
    pub fn load(&self, database: &str, sql: &[u8]) {
        let file = tempfile::Builder::new().suffix(".sql").tempfile_in(self.folder.path()).expect("a file");
        fs::write(file.path(), sql).expect("it is written");
        give_away(file.path());
        let mut command = Command::new("psql");
        command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-h"]).arg(self.host());
        command.args(["-d", database, "-f"]).arg(file.path());
        run(command);
    }

    /// All of a database as its own tool writes it, without what differs from run to run.
    pub fn dump(&self, database: &str) -> String {
        let mut command = Command::new("pg_dump");
        command.args(["-U", "postgres", "--inserts", "-h"]).arg(self.host());
        // With its properties, unless its name is one that this tool will not write down.
        command.args((!database.contains('\n')).then_some("--create"));
        command.arg(format!("dbname='{}'", database.replace('\\', "\\\\").replace('\'', "\\'")));
        let text = String::from_utf8(run(command).stdout).expect("it is text");
        text.lines()
            .filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"))
            .map(|line| format!("{line}\n"))
            .collect()
    }

    pub fn settings(&self) -> postgres::Settings {
        postgres::Settings::new(self.host().to_str().expect("it is text"), self.scratch())
    }

    pub fn scratch(&self) -> PathBuf {
        self.folder.path().join("scratch")
    }

    pub fn recipe(&self) -> Postgres {
        Postgres::new(self.settings()).expect("the settings are good")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

//! A MariaDB server of a test's own: in a temporary folder, on a socket there, ended with it.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

pub struct Server {
    folder: tempfile::TempDir,
    arguments: Vec<String>,
    child: Option<Child>,
    /// A file of options that it reads.
    pub defaults: Option<PathBuf>,
}

const LIMIT: Duration = Duration::from_secs(60);

const LOG_SIZE: &str = "--innodb-log-file-size=16M";

/// A folder of a server that was never started, made once.
fn fresh() -> &'static Path {
    static FRESH: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = FRESH.get_or_init(|| {
        let folder = tempfile::Builder::new().prefix("maria").tempdir().unwrap();
        let made = Command::new("mariadb-install-db")
            .args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db", LOG_SIZE])
            .arg(format!("--datadir={}", folder.path().display()))
            .output()
            .expect("mariadb-install-db can be started");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        folder
    });
    folder.path()
}

impl Server {
    pub fn start(arguments: &[&str]) -> Server {
        let folder = tempfile::Builder::new().prefix("maria").tempdir().unwrap();
        let copied = Command::new("cp").arg("-r").arg(fresh()).arg(folder.path().join("data")).status().unwrap();
        assert!(copied.success());
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let mut server = Server { folder, arguments, child: None, defaults: None };
        server.run();
        server
    }

    pub fn replace_arguments(&mut self, arguments: &[&str]) {
        self.arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    }

    /// Starts it, after it was killed as well.
    pub fn run(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.path("log")).unwrap();
        let child = Command::new("mariadbd")
            .arg(
                self.defaults
                    .as_ref()
                    .map_or("--no-defaults".into(), |file| format!("--defaults-file={}", file.display())),
            )
            .args(["--skip-networking", "--user=root", "--character-set-server=utf8mb4"])
            .args(["--innodb-buffer-pool-size=64M", LOG_SIZE])
            .arg(format!("--datadir={}", self.path("data").display()))
            .arg(format!("--socket={}", self.socket().display()))
            .arg(format!("--pid-file={}", self.path("pid").display()))
            // A server that starts clears away what it takes for its own.
            .arg(format!("--tmpdir={}", self.folder().display()))
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("mariadbd can be started");
        self.child = Some(child);
        self.wait();
    }

    /// Until it answers: it is asked again as soon as the last question was refused.
    #[expect(clippy::disallowed_methods, reason = "waiting for another process is measured on the real clock")]
    fn wait(&mut self) {
        let begun = Instant::now();
        while !self.client("", "SELECT 1").status.success() {
            assert!(self.child.as_mut().unwrap().try_wait().unwrap().is_none(), "the server ended: {}", self.log());
            assert!(begun.elapsed() < LIMIT, "the server does not answer: {}", self.log());
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn socket(&self) -> PathBuf {
        self.path("socket")
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub fn client(&self, database: &str, sql: &str) -> Output {
        let mut child = self
            .program("mariadb")
            .args(["--batch", "--skip-column-names", "--binary-as-hex=0", "--default-character-set=utf8mb4", "--database", database])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        // One that ended early says why on its standard error.
        let _ = input.write_all(sql.as_bytes());
        drop(input);
        child.wait_with_output().unwrap()
    }

    /// A client program of the server's, logged in.
    pub fn program(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        command.args(["--no-defaults", "--user=root"]).arg(format!("--socket={}", self.socket().display()));
        command
    }

    #[track_caller]
    pub fn sql_in(&self, database: &str, sql: &str) -> String {
        let output = self.client(database, sql);
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    #[track_caller]
    pub fn sql(&self, sql: &str) -> String {
        self.sql_in("", sql)
    }

    /// What another program sees in a database.
    #[track_caller]
    pub fn dump(&self, database: &str) -> String {
        let output = self
            .program("mariadb-dump")
            .args(["--skip-comments", "--skip-dump-date", "--routines", "--events", "--triggers", "--hex-blob", "--order-by-primary"])
            .args(["--default-character-set=utf8mb4", "--skip-lock-tables", "--skip-extended-insert", "--"])
            .arg(database)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

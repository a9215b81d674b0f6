//! The built programs, run as processes.
//!
//! Cargo builds for a test only the programs of its own package; so they are built once a test process, in the profile and folder of the test itself, which costs
//! nothing when they are fresh.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::channel;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// The longest that a command of a test may take. What one of them waits for comes long before, if it comes at all.
const LIMIT: Duration = Duration::from_secs(400);

/// So long its pipes may stay open after it was killed: what it began may have them.
const AFTER_KILL: Duration = Duration::from_secs(10);

/// How a program ended.
#[derive(Debug)]
pub struct Ran {
    pub status: i32,
    pub out: Vec<u8>,
    pub err: String,
}

impl Ran {
    /// Standard output as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.out).expect("the output is text")
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.out)
            .unwrap_or_else(|error| panic!("not JSON: {error}: {}\n{}", String::from_utf8_lossy(&self.out), self.err))
    }

    /// Asserts its status, and shows what it said when it is another.
    pub fn ended(self, status: i32) -> Ran {
        assert_eq!(self.status, status, "out: {}\nerr: {}", String::from_utf8_lossy(&self.out), self.err);
        self
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Ran {
        // A signal is no status; none of ours ends by one.
        let status = output.status.code().unwrap_or(-1);
        Ran { status, out: output.stdout, err: String::from_utf8_lossy(&output.stderr).into_owned() }
    }
}

/// The folder with the programs of this build.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let ours = std::env::current_exe().expect("a test has a path");
        let folder = ours.parent().expect("it lies in a folder");
        // Tests lie a folder below the programs, benchmarks beside them.
        let folder = if folder.ends_with("deps") { folder.parent().expect("a profile has its folder") } else { folder }.to_owned();
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--locked", "--workspace", "--bins"]);
        build.arg("--target-dir").arg(folder.parent().expect("a profile has its folder"));
        if folder.ends_with("release") {
            build.arg("--release");
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the workspace");
        let built = build.current_dir(root).stdin(Stdio::null()).output().expect("cargo runs");
        assert!(built.status.success(), "building the programs: {}", String::from_utf8_lossy(&built.stderr));
        folder
    })
}

/// A program, in a zone of its own and without what the caller's environment says to it.
pub fn program(name: &str) -> Command {
    let mut command = Command::new(folder().join(name));
    command.stdin(Stdio::null()).env("TZ", "UTC").env("LC_ALL", "C.UTF-8").env("COLUMNS", "110");
    for variable in ["RESILIENT_CONFIG", "RESILIENT_IDENTITY"] {
        command.env_remove(variable);
    }
    command
}

/// Runs a program to its end.
#[track_caller]
pub fn run<A: AsRef<OsStr>>(name: &str, arguments: impl IntoIterator<Item = A>) -> Ran {
    finish(program(name).args(arguments))
}

/// The same of a command that was made. One that does not end is killed, and the test told.
#[track_caller]
pub fn finish(command: &mut Command) -> Ran {
    let words = format!("{command:?}");
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.unwrap_or_else(|error| panic!("{words}: {error}"));
    let (pid, (ended, end)) = (Pid::from_child(&child), channel());
    std::thread::spawn(move || ended.send(child.wait_with_output()));
    if let Ok(output) = end.recv_timeout(LIMIT) {
        return output.expect("it is ours").into();
    }
    // Its thread waits for it, so the number is still its own.
    let _ = kill_process(pid, Signal::KILL);
    let said = end.recv_timeout(AFTER_KILL).map(|output| Ran::from(output.expect("it is ours")));
    panic!("{words} did not end within {LIMIT:?}; {said:?}");
}

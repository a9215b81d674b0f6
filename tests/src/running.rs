//! A process that goes on beside the test: asked to stop, killed, frozen, awaited, each with a bound and by its own id.
//!
//! Its standard error and output go to a file each, so that it never blocks on a pipe that nobody reads, and a test can wait for what
//! it says. Dropped, it is killed; when its test panics, the end of what it said is shown. What it began itself is not followed: a
//! namespace of a host ends those ([`crate::hosts`]).

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::wait;

/// Lines shown of a process when its test panics.
const LINES_SHOWN: usize = 40;

/// A process of a test.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    ended: Option<ExitStatus>,
    out: PathBuf,
    err: PathBuf,
}

impl Running {
    /// Begins it; what it says goes to files in `folder`.
    #[track_caller]
    pub fn start(name: &str, mut command: Command, folder: &Path) -> Running {
        static STARTED: AtomicU64 = AtomicU64::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let path = |kind: &str| folder.join(format!("{name}-{number}.{kind}"));
        let (out, err) = (path("out"), path("err"));
        let create = |path: &Path| File::create(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        command.stdin(Stdio::null()).stdout(create(&out)).stderr(create(&err));
        let child = command.spawn().unwrap_or_else(|error| panic!("{name}: {command:?}: {error}"));
        Running { name: name.into(), child, ended: None, out, err }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it said so far on standard error.
    pub fn err(&self) -> String {
        text(&self.err)
    }

    /// The same of standard output.
    pub fn out(&self) -> String {
        text(&self.out)
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("it is ours");
        }
        self.ended
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let what = format!("the end of {} (process {})", self.name, self.pid());
        wait::until(limit, &what, || self.ended().ok_or_else(|| format!("it runs; it says: {}", last_lines(&self.err(), 5))))
    }

    /// Waits until it says this, on either stream; panics at once when it ends before.
    #[track_caller]
    pub fn says(&mut self, limit: Duration, words: &str) {
        let what = format!("{} to say {words:?}", self.name);
        let said = wait::until(limit, &what, || {
            // Its end first: what it said before is then complete.
            let ended = self.ended();
            let (out, err) = (self.out(), self.err());
            match ended {
                _ if out.contains(words) || err.contains(words) => Ok(Ok(())),
                Some(status) => Ok(Err(status)),
                None => Err(format!("{}{}", last_lines(&out, 5), last_lines(&err, 5))),
            }
        });
        if let Err(status) = said {
            panic!("{} ended ({status}) before it said {words:?}; it said: {}{}", self.name, self.out(), self.err());
        }
    }

    /// `kill -9`; when it returns, the process is gone.
    pub fn kill(&mut self) -> ExitStatus {
        // It may have ended a moment ago.
        let _ = self.child.kill();
        let status = self.child.wait().expect("it is ours");
        *self.ended.get_or_insert(status)
    }

    /// Asks it to stop (SIGTERM) and waits until it did; panics when it does not.
    #[track_caller]
    pub fn stop(&mut self, limit: Duration) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait(limit)
    }

    /// Stops it in the midst of what it does, sockets open: a host that hangs.
    pub fn freeze(&mut self) {
        self.signal(Signal::STOP);
    }

    pub fn thaw(&mut self) {
        self.signal(Signal::CONT);
    }

    pub fn signal(&mut self, signal: Signal) {
        if self.ended().is_none() {
            kill_process(Pid::from_child(&self.child), signal).unwrap_or_else(|error| panic!("{}: {signal:?}: {error}", self.name));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let before = self.ended();
        self.kill();
        if std::thread::panicking() {
            let state = before.map_or("ran".to_string(), |status| status.to_string());
            eprintln!("-- {} (process {}, {state}):\n{}", self.name, self.pid(), last_lines(&self.err(), LINES_SHOWN));
        }
    }
}

fn text(path: &Path) -> String {
    // A test may have taken its folder away; then nothing is left to be shown.
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

fn last_lines(text: &str, most: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(most)..].iter().map(|line| format!("{line}\n")).collect()
}

//! Runs a part of a test in a process of its own: to be killed, or to live in namespaces of its own.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

const WHICH: &str = "RESILIENT_ACT_PART";

/// What this process was begun for, if for a part.
pub fn part() -> Option<String> {
    std::env::var(WHICH).ok()
}

/// The test `name` of this binary again, to do `part`, begun by `before`.
pub fn command(before: &[&str], name: &str, part: &str) -> Command {
    let this = std::env::current_exe().unwrap();
    let mut words = before.iter().map(std::ffi::OsString::from).chain([this.into_os_string()]);
    let mut command = Command::new(words.next().unwrap());
    command.args(words).args(["--exact", name, "--nocapture", "--test-threads=1"]).env(WHICH, part);
    command
}

/// Begins it, and waits until it says that it is ready.
pub fn begin(name: &str, part: &str) -> Child {
    let mut child = command(&[], name, part).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().ends_with("ready")), "{part}: it ended before it was ready");
    // Whatever it says from here on goes nowhere.
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
    child
}

pub fn ready() {
    println!("ready");
}

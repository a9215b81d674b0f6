//! Runs a part of a test in a process of its own: to be killed, to be measured, or to be kept from taking all memory.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

const WHICH: &str = "RESILIENT_TEST_PART";

/// What this process was begun for, if for a part.
pub fn part() -> Option<String> {
    std::env::var(WHICH).ok()
}

/// Begins the test `name` of this binary again, to do `part`.
pub fn begin(name: &str, part: &str) -> Child {
    let this = std::env::current_exe().expect("a test knows its binary");
    Command::new(this)
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(WHICH, part)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a process can be begun")
}

/// Does a part in a process of its own, ends it when it takes too long, and gives what it printed after `answer: `.
pub fn ask(name: &str, part: &str, limit: Duration) -> String {
    let mut child = begin(name, part);
    let (mut out, mut err) = (child.stdout.take().expect("it is piped"), child.stderr.take().expect("it is piped"));
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        // What is no text says nothing here.
        let _ = out.read_to_string(&mut text);
        let _ = sender.send(text);
    });
    let errors = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = err.read_to_string(&mut text);
        text
    });
    let Ok(text) = receiver.recv_timeout(limit) else {
        child.kill().expect("it is ours");
        panic!("{part}: took longer than {limit:?}");
    };
    let status = child.wait().expect("it is ours");
    let errors = errors.join().expect("reading does not panic");
    assert!(status.success(), "{part}: {status}\n{text}\n{errors}");
    let answer = text.lines().find_map(|line| line.split_once("answer: ").map(|(_, answer)| answer.to_string()));
    answer.unwrap_or_else(|| panic!("{part}: no answer\n{text}\n{errors}"))
}

/// Keeps this process from taking more memory than this, so that a bomb ends it and not the host.
pub fn bound_memory(bytes: u64) {
    let limit = rustix::process::Rlimit { current: Some(bytes), maximum: Some(bytes) };
    rustix::process::setrlimit(rustix::process::Resource::As, limit).expect("limits can be lowered");
}

/// The most memory that this process had at a time, in KiB.
pub fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("it tells the peak");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("the peak is a number")
}

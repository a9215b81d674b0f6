//! What is left of something that a program started, wherever it went.
//!
//! Each process begins with a mark in its environment, which its children inherit: it survives double forks, new sessions and
//! the death of whoever started it, and needs no rights. Whoever shares a process group with a marked process counts as well.
//! A process that wipes its own environment and leaves its group escapes: such services belong into units of systemd.
//!
//! Only what this user may look at is seen: of others' processes the kernel shows no environment.

use std::fs;
use std::io;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// The variable that carries a mark.
pub(super) const MARK: &str = "RESILIENT_MARK";

/// Processes that are alive and have this mark, or share a group with one that has.
pub(super) fn marked(mark: &str) -> io::Result<Vec<Pid>> {
    let wanted = format!("{MARK}={mark}");
    let mut alive = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| Pid::from_raw(name.parse().ok()?)) else { continue };
        // Who ended meanwhile has nothing to be read.
        let Some(group) = group(pid) else { continue };
        alive.push((pid, group, has(pid, wanted.as_bytes())));
    }
    let own = rustix::process::getpgrp().as_raw_nonzero().get();
    let groups: Vec<i32> = alive.iter().filter(|(_, group, has)| *has && *group != own).map(|(_, group, _)| *group).collect();
    let counts = |(pid, group, has): &(Pid, i32, bool)| (*has || groups.contains(group)).then_some(*pid);
    Ok(alive.iter().filter_map(counts).filter(|pid| *pid != rustix::process::getpid()).collect())
}

/// Sends the signal to all of them. Who ended meanwhile is no trouble, and whoever got its number is left alone.
pub(super) fn signal(mark: &str, signal: Signal) -> io::Result<Vec<Pid>> {
    let left = marked(mark)?;
    let held: Vec<_> = left.iter().filter_map(|pid| Some((pid, pidfd_open(*pid, PidfdFlags::empty()).ok()?))).collect();
    // Looked at once more, now that their numbers cannot go to others.
    let still = marked(mark)?;
    for (pid, fd) in held {
        if still.contains(pid) {
            let _ = pidfd_send_signal(fd, signal);
        }
    }
    Ok(still)
}

fn has(pid: Pid, wanted: &[u8]) -> bool {
    let environment = fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero())).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|variable| variable == wanted)
}

/// Its process group, unless it has ended.
fn group(pid: Pid) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    // The name may hold anything, brackets and blanks as well.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    let group = fields.nth(1)?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then_some(group)
}

//! The acts, each against the real thing: programs, processes, nftables between network namespaces, a systemd of one's own.

mod apart;
mod gate;
mod hook;
mod hosts;
mod killed;
mod services;
mod systemd;
mod vip;

use std::path::Path;
use std::time::{Duration, Instant};

/// A bound for what fails; what succeeds does not use it up.
pub const LIMIT: Duration = Duration::from_secs(60);

#[expect(clippy::disallowed_methods, reason = "what the kernel does by itself is measured on the real clock")]
pub fn now() -> Instant {
    Instant::now()
}

pub fn moment(time: Duration) {
    std::thread::park_timeout(time);
}

/// Looks until there is something.
#[track_caller]
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begin = now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(now() - begin < LIMIT, "waited for {what}");
        moment(Duration::from_millis(5));
    }
}

/// A script with these lines, executable.
pub fn script(path: &Path, lines: &str) {
    use std::os::unix::fs::PermissionsExt;
    // Another thread that is starting a program holds a copy of what is open here, and what is open for writing cannot be run: so
    // nothing of this process ever opens it.
    let written = std::process::Command::new("/bin/sh")
        .args(["-ec", "printf '%s' \"$2\" > \"$1\"", "sh"])
        .arg(path)
        .arg(format!("#!/bin/sh\n{lines}\n"))
        .status();
    assert!(written.unwrap().success());
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

pub fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

/// The number that somebody wrote there, when it did.
pub fn pid_in(path: &Path) -> Option<i32> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

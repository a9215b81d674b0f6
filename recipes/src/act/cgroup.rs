//! A control group by the path that systemd names: who is in it and below it, and their end.
//!
//! It works when systemd does not answer. Hosts with the older kind of control groups have systemd's own tree elsewhere.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};

const ROOT: &str = "/sys/fs/cgroup";

/// Where the tree is that systemd keeps its units in.
fn root() -> PathBuf {
    let root = Path::new(ROOT);
    if root.join("cgroup.controllers").exists() {
        return root.to_path_buf();
    }
    // One hierarchy without controllers beside the older ones, or none of the newer kind at all.
    let unified = root.join("unified");
    if unified.join("cgroup.procs").exists() { unified } else { root.join("systemd") }
}

/// None for what is no group, or the whole tree.
fn folder(group: &str) -> Option<PathBuf> {
    let path = Path::new(group.strip_prefix('/')?);
    let plain = path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    (plain && path.components().next().is_some()).then(|| root().join(path))
}

/// Everybody in it. A group that is gone is empty.
pub(super) fn inhabitants(group: &str) -> io::Result<Vec<Pid>> {
    let mut pids = Vec::new();
    let mut folders: Vec<PathBuf> = folder(group).into_iter().collect();
    while let Some(folder) = folders.pop() {
        let text = match fs::read_to_string(folder.join("cgroup.procs")) {
            Ok(text) => text,
            Err(error) if is_gone(&error) => continue,
            Err(error) => return Err(error),
        };
        pids.extend(text.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)));
        let Ok(list) = fs::read_dir(&folder) else { continue };
        folders.extend(
            list.flatten()
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                .map(|entry| entry.path()),
        );
    }
    Ok(pids)
}

/// Whoever is in it now; who forks meanwhile is met the next time.
pub(super) fn kill(group: &str) -> io::Result<()> {
    // All at once, where the kernel can.
    if folder(group).is_some_and(|folder| fs::write(folder.join("cgroup.kill"), "1").is_ok()) {
        return Ok(());
    }
    for pid in inhabitants(group)? {
        // It may have ended meanwhile.
        let _ = kill_process(pid, Signal::KILL);
    }
    Ok(())
}

/// ENODEV comes from a group that goes while it is read.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error())
}

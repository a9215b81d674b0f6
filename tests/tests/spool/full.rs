//! A state folder without room, and one that cannot be written: said clearly, nothing lost, and all goes on when it can.

use crate::{LIMIT, restores, shop};
use std::path::{Path, PathBuf};
use std::process::Command;
use tests::chance::noise;
use tests::cluster::snapshots;
use tests::wait::until;

/// A small file system of its own; gone with the test.
struct Small(PathBuf);

fn mount(arguments: &[&str], at: &Path) {
    let done = Command::new("mount").args(arguments).arg(at).output().expect("mount runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

impl Small {
    fn new(at: PathBuf, size: &str) -> Small {
        std::fs::create_dir_all(&at).unwrap();
        mount(&["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"], &at);
        Small(at)
    }

    fn remount(&self, options: &str) {
        mount(&["-o", &format!("remount,{options}")], &self.0);
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Lazily: a daemon of a test that failed may be in it still.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A shop whose node's state lies on a small file system.
fn cramped(number: u8, size: &str) -> (tests::cluster::Cluster, Small) {
    let mut cluster = shop(number, "");
    let small = Small::new(cluster.path("small"), size);
    let text = std::fs::read_to_string(cluster.path("web1.toml")).unwrap();
    let (before, after) = (cluster.path("web1-state"), cluster.path("small/state"));
    std::fs::write(cluster.path("web1.toml"), text.replace(&before.display().to_string(), &after.display().to_string())).unwrap();
    cluster.run("keeper", "pull-backup", &["expel", "web1"]).ended(0);
    cluster.join("keeper", "web1", &["--active"]);
    (cluster, small)
}

fn spool(cluster: &tests::cluster::Cluster) -> PathBuf {
    cluster.path("small/state/datasets/files/repository")
}

#[test]
fn a_full_disk_fails_the_export_clearly_and_loses_nothing() {
    let (mut cluster, small) = cramped(45, "6m");
    cluster.run("web1", "exporter", &["run", "--wait"]).ended(0);
    let before = snapshots(&spool(&cluster));
    std::fs::write(cluster.path("data/large"), noise(1, 9_000_000)).unwrap();
    let full = cluster.run("web1", "exporter", &["run", "--for", "1s"]).ended(1);
    assert!(full.err.contains("No space left") && full.err.contains("make room"), "{}", full.err);
    assert_eq!(snapshots(&spool(&cluster)), before, "what is not whole is not there");
    let status = cluster.run("web1", "exporter", &["status"]);
    assert!(status.status != 0, "a failed export is not ok: {}", status.text());
    small.remount("size=64m");
    cluster.run("web1", "exporter", &["run", "--wait"]).ended(0);
    restores(&cluster, &cluster.of_keeper("keeper", "files"), "after there was room");
    cluster.stop();
}

#[test]
fn a_state_folder_that_cannot_be_written_is_named_and_mended_by_making_it_writable() {
    let (mut cluster, small) = cramped(46, "64m");
    cluster.run("web1", "exporter", &["run", "--wait"]).ended(0);
    std::fs::write(cluster.path("data/second"), "second").unwrap();
    small.remount("ro");
    let refused = cluster.run("web1", "exporter", &["run", "--for", "1s"]).ended(1);
    assert!(refused.err.contains("Read-only file system"), "{}", refused.err);
    let daemon = cluster.run("web1", "exporter", &["serve"]);
    assert!(daemon.status == 1 && daemon.err.contains("Read-only file system"), "{daemon:?}");
    let checked = cluster.run("web1", "exporter", &["check"]);
    assert!(checked.status == 1 && checked.text().contains("cannot be written"), "{checked:?}");
    small.remount("rw");
    cluster.run("web1", "exporter", &["run", "--wait"]).ended(0);
    restores(&cluster, &cluster.of_keeper("keeper", "files"), "after it could be written again");
    cluster.stop();
}

#[test]
fn an_archive_without_room_holds_what_it_held_and_goes_on_later() {
    let mut cluster = shop(47, "");
    cluster.run("web1", "exporter", &["run", "--wait"]).ended(0);
    cluster.kill("keeper", "pull-backup");
    let archive = cluster.path("keeper-archive");
    let held = cluster.path("held");
    std::fs::rename(&archive, &held).unwrap();
    let small = Small::new(archive.clone(), "5m");
    let copied = Command::new("cp").arg("-a").arg(held.join("shop")).arg(&archive).status().unwrap();
    assert!(copied.success());
    cluster.start("keeper", "pull-backup");
    let before = snapshots(&cluster.of_keeper("keeper", "files"));
    std::fs::write(cluster.path("data/large"), noise(1, 9_000_000)).unwrap();
    let late = cluster.run("web1", "exporter", &["run", "--for", "4s"]).ended(0);
    assert!(late.err.contains("does not hold it yet"), "{}", late.err);
    assert_eq!(snapshots(&cluster.of_keeper("keeper", "files")), before);
    let status = cluster.run("keeper", "pull-backup", &["status"]);
    assert!(status.status != 0 && status.text().contains("No space left"), "{}", status.text());
    small.remount("size=64m");
    cluster.start("web1", "exporter");
    let newest = snapshots(&cluster.of_node("web1", "files")).pop().unwrap();
    until(LIMIT, "the archive to go on", || snapshots(&cluster.of_keeper("keeper", "files")).contains(&newest).then_some(()));
    restores(&cluster, &cluster.of_keeper("keeper", "files"), "after there was room");
    cluster.stop();
    drop(small);
}

//! What was cut short, what is empty and what is missing.

use super::{LIMIT, Stack};
use rustix::process::{Pid, Signal, kill_process_group};
use std::fs;
use std::path::Path;
use std::process::Command;
use tests::running::Running;
use tests::wait::until;

/// The first process of a program.
fn found(program: &str) -> Option<Pid> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let mut found = processes
        .filter(|process| fs::read(process.path().join("cmdline")).is_ok_and(|line| String::from_utf8_lossy(&line).contains(program)))
        .filter_map(|process| Pid::from_raw(process.file_name().to_str()?.parse().ok()?));
    found.next()
}

/// A program and all that it began dies at once: nobody is left to put anything in order.
fn kill_group(program: &Path) {
    let program = program.to_str().unwrap();
    let group = rustix::process::getpgid(Some(found(program).expect("it runs"))).expect("it has a group");
    assert_ne!(Some(group), rustix::process::getpgid(None).ok(), "it has one of its own");
    kill_process_group(group, Signal::KILL).unwrap();
    until(LIMIT, "its end", || if found(program).is_none() { Ok(()) } else { Err("it is there") });
}

#[test]
fn what_an_import_left_that_was_killed_half_way_is_finished_by_the_next() {
    let mut stack = Stack::new(167, 1);
    stack.hosts[0].write("key", "one");
    stack.carry();
    let backup = stack.hosts[1].database("srv/backup");
    // As a copy that was cut short leaves it.
    fs::create_dir(backup.join("postgres.partial")).unwrap();
    fs::write(backup.join("postgres.partial/half"), "half").unwrap();
    stack.hosts[0].write("key", "two");
    stack.carry();
    assert_eq!(fs::read_dir(backup.join("postgres")).unwrap().count(), 1);
    stack.hosts[0].write("key", "three");
    stack.export();
    let gate = stack.hosts[1].gate();
    let folder = tempfile::tempdir().unwrap();
    let mut importing = Running::start("importing", stack.cluster.command("host1", "importer", &["sync"]), folder.path());
    let script = gate.reached();
    importing.kill();
    // The script outlived it, and is not joined by another.
    let busy = stack.run(1, "importer", &["sync"]).ended(1);
    assert!(busy.err.contains("slapos-importer"), "{}", busy.err);
    assert_eq!(stack.hosts[1].calls().len(), 5);
    kill_group(&stack.hosts[1].0.join("etc/slapos-importer"));
    script.died();
    assert_eq!(stack.hosts[1].read("key"), None, "the data is in pieces");
    stack.import(1);
    assert_eq!(stack.hosts[1].data(), stack.hosts[0].data());
    assert_eq!(fs::read_dir(&backup).unwrap().count(), 1, "nothing is left beside it");
    stack.cluster.stop();
}

#[test]
fn an_export_that_was_killed_half_way_is_nobody_s_backup() {
    let mut stack = Stack::new(168, 1);
    stack.hosts[0].write("key", "one");
    stack.carry();
    let there = stack.kept();
    stack.hosts[0].write("key", "two");
    let gate = stack.hosts[0].gate();
    let folder = tempfile::tempdir().unwrap();
    let mut exporting = Running::start("exporting", stack.cluster.command("host0", "exporter", &["run"]), folder.path());
    let script = gate.reached();
    exporting.kill();
    kill_group(&stack.hosts[0].0.join("etc/slapos-exporter"));
    script.died();
    assert_eq!(stack.kept(), there);
    stack.import(1);
    assert_eq!(stack.hosts[1].read("key").as_deref(), Some("one"));
    stack.carry();
    stack.cluster.stop();
}

#[test]
fn an_empty_backup_is_refused_and_a_destination_that_is_empty_or_missing_is_filled_anew() {
    let mut stack = Stack::new(169, 1);
    stack.hosts[0].write("key", "one");
    stack.carry();
    let there = stack.kept();
    // The exporter says that all is well, and wrote nothing.
    fs::remove_file(stack.hosts[0].database("srv/data/key")).unwrap();
    let empty = stack.run(0, "exporter", &["run", "--wait"]).ended(1);
    assert!(empty.err.contains("it wrote nothing"), "{}", empty.err);
    assert_eq!(stack.kept(), there);
    stack.import(1);
    assert_eq!(stack.hosts[1].read("key").as_deref(), Some("one"));
    let lost = ["srv/backup", "srv/backup/postgres"].map(|name| stack.hosts[1].database(name));
    for (round, what) in [lost[0].clone(), lost[1].clone(), stack.repository(1)].into_iter().enumerate() {
        fs::remove_dir_all(&what).unwrap();
        if round == 1 {
            fs::create_dir(&what).unwrap();
        }
        stack.hosts[0].write("key", format!("after {round}"));
        stack.carry();
        assert_eq!(fs::read_dir(&lost[1]).unwrap().count(), 1);
    }
    // Nobody makes a partition but SlapOS.
    let (here, elsewhere) = (stack.hosts[1].database(""), stack.hosts[1].0.join("elsewhere"));
    fs::rename(&here, &elsewhere).unwrap();
    stack.hosts[0].write("key", "last");
    stack.export();
    let nowhere = stack.run(1, "importer", &["sync"]).ended(1);
    assert!(nowhere.err.contains("is the instance deployed here?"), "{}", nowhere.err);
    fs::rename(&elsewhere, &here).unwrap();
    stack.import(1);
    assert_eq!(stack.hosts[1].read("key").as_deref(), Some("last"));
    stack.cluster.stop();
}

#[test]
fn an_older_state_is_loaded_by_hand_as_the_page_says() {
    let mut stack = Stack::new(175, 1);
    for state in ["one", "two"] {
        stack.hosts[0].write("key", state);
        stack.carry();
    }
    let listed = stack.run(1, "importer", &["snapshots", "instance", "--json"]).ended(0).json();
    let snapshots = listed["snapshots"].as_array().unwrap().iter();
    let first = snapshots.filter(|snapshot| snapshot["sequence"] == 1).find_map(|snapshot| snapshot["id"].as_str());
    let to = stack.cluster.path("back");
    let words = ["restore", "instance", "--at", first.unwrap(), "--to", to.to_str().unwrap()];
    stack.run(1, "importer", &words).ended(0);
    let host = &stack.hosts[1];
    let loaded = Command::new(host.0.join("etc/slapos-importer"))
        .arg(host.database(""))
        .arg("postgres")
        .env("RESILIENT_DIR", to.join("database"))
        .status();
    assert!(loaded.unwrap().success());
    assert_eq!(host.read("key").as_deref(), Some("one"));
    stack.cluster.stop();
}

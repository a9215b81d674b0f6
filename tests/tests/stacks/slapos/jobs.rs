//! One job at a time, the same state once, and a job that fails is pushed on to nobody.

use super::{LIMIT, Stack, name};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::process::Command;
use tests::running::Running;

#[test]
fn jobs_are_one_after_the_other_and_the_same_state_is_not_kept_twice() {
    let mut stack = Stack::new(160, 1);
    stack.hosts[0].write("key", "one");
    let gate = stack.hosts[0].gate();
    let folder = tempfile::tempdir().unwrap();
    let begin = |what: &str| Running::start(what, stack.cluster.command("host0", "exporter", &["run"]), folder.path());
    let mut first = begin("first");
    let script = gate.reached();
    let mut second = begin("second");
    second.says(LIMIT, "waiting:");
    assert_eq!(stack.hosts[0].calls(), ["export begins"], "the second waits until the first is done");
    script.passes();
    for job in [&mut first, &mut second] {
        assert!(job.wait(LIMIT).success(), "{}", job.err());
    }
    assert_eq!(stack.hosts[0].calls(), ["export begins", "export ends", "export begins", "export ends"]);
    assert!(second.out().contains("unchanged"), "{}", second.out());
    stack.carry();
    assert_eq!(stack.kept().len(), 1, "the same state is one state, however often it is dumped");
    // So it is imported once.
    assert_eq!(stack.hosts[1].calls(), ["import begins", "import ends"]);
    stack.import(1);
    assert_eq!(stack.hosts[1].calls().len(), 2, "what was imported is not imported again");
    // Of two imports at once the second waits, and finds nothing left to do.
    stack.hosts[0].write("key", "two");
    stack.export();
    let gate = stack.hosts[1].gate();
    let begin = |what: &str| Running::start(what, stack.cluster.command("host1", "importer", &["sync"]), folder.path());
    let mut first = begin("first import");
    let script = gate.reached();
    let mut second = begin("second import");
    second.says(LIMIT, "another import of it is at work");
    script.passes();
    for job in [&mut first, &mut second] {
        assert!(job.wait(LIMIT).success(), "{}", job.err());
    }
    assert_eq!(stack.hosts[1].calls().len(), 4);
    assert_eq!(stack.hosts[1].read("key").as_deref(), Some("two"));
    stack.cluster.stop();
}

#[test]
fn a_job_that_fails_is_pushed_to_nobody_and_the_last_good_stays_where_it_is() {
    let mut stack = Stack::new(161, 2);
    stack.hosts[0].write("key", "good");
    stack.carry();
    let there = stack.kept();
    stack.hosts[0].write("key", "newer");
    let broken = stack.hosts[0].database("var/run/broken");
    fs::write(&broken, "pg_dump: error: connection to server failed\n").unwrap();
    let failed = stack.run(0, "exporter", &["run", "--wait"]).ended(1);
    assert!(failed.err.contains("pg_dump: error: connection to server failed") && failed.err.contains("status 3"), "{}", failed.err);
    let status = stack.run(0, "exporter", &["status"]);
    assert!(status.status == 1 && status.text().contains("pg_dump: error"), "{}", status.text());
    for at in 1..=2 {
        stack.import(at);
        assert_eq!(stack.hosts[at].read("key").as_deref(), Some("good"));
    }
    assert_eq!(stack.kept(), there, "half a dump is none");
    fs::remove_file(broken).unwrap();
    // An importer that fails half way is given again what it had; nobody else minds.
    stack.hosts[0].write("unimportable", "");
    stack.export();
    for at in 1..=2 {
        let failed = stack.run(at, "importer", &["sync"]).ended(1);
        assert!(failed.err.contains("relation \"key\" does not exist"), "{}", failed.err);
        assert_eq!(stack.hosts[at].read("key").as_deref(), Some("good"));
        assert_eq!(stack.hosts[at].data().len(), 1, "nothing by half");
        let status = stack.run(at, "importer", &["status"]);
        assert!(status.status == 1 && status.text().contains("does not exist"), "{}", status.text());
    }
    fs::remove_file(stack.hosts[0].database("srv/data/unimportable")).unwrap();
    stack.carry();
    assert_eq!(stack.hosts[2].read("key").as_deref(), Some("newer"));
    for at in 1..=2 {
        let beside = fs::read_dir(stack.hosts[at].database("srv/backup")).unwrap();
        let beside: Vec<_> = beside.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(beside, ["postgres"], "nothing is left beside it");
    }
    stack.cluster.stop();
}

#[test]
fn scripts_run_as_the_owner_of_their_partition_whoever_that_is_on_each_host() {
    let mut stack = Stack::new(162, 1);
    let id = |what: &str| -> u32 {
        let said = Command::new("id").args([what, "nobody"]).output().unwrap();
        String::from_utf8(said.stdout).unwrap().trim().parse().unwrap()
    };
    let (user, group) = (id("-u"), id("-g"));
    // The way there, for others than root.
    for path in [stack.cluster.path(""), stack.hosts[1].0.clone()] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o711)).unwrap();
    }
    let partition = stack.hosts[1].database("");
    let given = Command::new("chown").arg("-R").arg(format!("{user}:{group}")).arg(&partition).status();
    assert!(given.unwrap().success());
    chown(stack.hosts[1].0.join("etc"), Some(user), Some(group)).unwrap();
    stack.hosts[0].write("key", "one");
    stack.carry();
    let calls = fs::read_to_string(partition.join("var/log/calls")).unwrap();
    assert!(calls.contains("import begins as nobody"), "{calls}");
    for file in ["srv/backup/postgres", "srv/backup/postgres/key", "srv/data/key"] {
        assert_eq!(fs::metadata(partition.join(file)).unwrap().uid(), user, "{file}");
    }
    // A dump that was made just then has no time; here it is as old as the import.
    let dumped = fs::metadata(partition.join("srv/backup/postgres/key")).unwrap().modified().unwrap();
    assert!(dumped >= fs::metadata(stack.hosts[0].database("srv/data/key")).unwrap().modified().unwrap());
    let owners: BTreeSet<u32> = [0, 1].map(|at| fs::metadata(stack.hosts[at].database("srv/data/key")).unwrap().uid()).into();
    assert_eq!(owners.len(), 2, "{} and {} have users of their own", name(0), name(1));
    stack.cluster.stop();
}

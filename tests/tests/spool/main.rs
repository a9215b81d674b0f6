//! The spool: what it drops and what it never drops, what it does when nobody takes from it, and who serves it from cron.

mod full;

use console::node_file::NodeFile;
use link::repositories::{Layout, Repositories};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tests::chance::noise;
use tests::cluster::{Cluster, files, snapshots};
use tests::program::{finish, program};
use tests::wait::until;

const LIMIT: Duration = Duration::from_secs(60);

fn shop(number: u8, more: &str) -> Cluster {
    let mut cluster = Cluster::new(number);
    cluster.keeper("keeper", "");
    let data = cluster.path("data");
    std::fs::create_dir_all(&data).unwrap();
    std::fs::write(data.join("first"), "first").unwrap();
    let dataset = format!("[[dataset]]\nname = \"files\"\nevery = \"24h\"\nsource = [{{ recipe = \"files\", paths = [{data:?}] }}]\n");
    cluster.node("web1", more, &dataset);
    cluster.join("keeper", "web1", &["--active"]);
    cluster
}

fn newest(cluster: &Cluster) -> String {
    snapshots(&cluster.of_node("web1", "files")).pop().expect("something was exported")
}

fn held(cluster: &Cluster) {
    let newest = newest(cluster);
    until(LIMIT, "the archive", || snapshots(&cluster.of_keeper("keeper", "files")).contains(&newest).then_some(()));
}

fn restores(cluster: &Cluster, repository: &Path, what: &str) {
    let target = tempfile::tempdir().unwrap();
    let mut command = program("pull-backup");
    command
        .args(["restore", "--at", "latest", "--repository", repository.to_str().unwrap(), "--to", target.path().to_str().unwrap()])
        .arg("--identity")
        .arg(cluster.path("identity"));
    finish(&mut command).ended(0);
    assert_eq!(files(&target.path().join("files")), files(&cluster.path("data")), "{what}");
}

#[test]
fn what_all_hold_goes_and_the_newest_stays() {
    let mut cluster = shop(41, "");
    cluster.start("web1", "exporter");
    for round in 0..40 {
        std::fs::write(cluster.path("data").join(format!("file{}", round % 3)), noise(round, 200_000)).unwrap();
        cluster.run("web1", "exporter", &["run", "--wait"]).ended(0);
    }
    held(&cluster);
    let (spool, archive) = (snapshots(&cluster.of_node("web1", "files")), snapshots(&cluster.of_keeper("keeper", "files")));
    assert!(spool.len() <= 18, "{} snapshots are in the spool still", spool.len());
    assert!(archive.len() >= 40, "{} snapshots are in the archive", archive.len());
    restores(&cluster, &cluster.of_node("web1", "files"), "the spool's newest is whole");
    restores(&cluster, &cluster.of_keeper("keeper", "files"), "so is the archive's");
    cluster.stop();
}

#[test]
fn at_its_bound_the_oldest_go_and_the_newest_reaches_the_archive_later() {
    let mut cluster = shop(42, "spool = \"2MB\"");
    cluster.start("web1", "exporter");
    cluster.run("web1", "exporter", &["run", "--wait"]).ended(0);
    cluster.kill("keeper", "pull-backup");
    for round in 0..15 {
        std::fs::write(cluster.path("data/file"), noise(round, 400_000)).unwrap();
        cluster.run("web1", "exporter", &["run"]).ended(0);
    }
    let path = cluster.of_node("web1", "files");
    until(LIMIT, "the oldest to go", || (snapshots(&path).len() < 10).then_some(()));
    until(LIMIT, "their space to be free", || {
        let bytes: u64 = files(&path).values().map(|bytes| bytes.len() as u64).sum();
        if bytes < 4_000_000 { Ok(()) } else { Err(format!("{bytes} bytes are in the spool")) }
    });
    let dropped = || std::fs::read_to_string(cluster.path("web1-state/datasets/files/spool.toml")).unwrap();
    let known = until(LIMIT, "it to be written down", || Some(dropped()).filter(|text| !text.contains("dropped = 0")));
    let dropped = known.lines().find_map(|line| line.strip_prefix("dropped = ")).expect("it is written down");
    assert!(dropped.parse::<u32>().unwrap() > 3, "{known}");
    cluster.start("keeper", "pull-backup");
    held(&cluster);
    restores(&cluster, &cluster.of_keeper("keeper", "files"), "what came later is whole");
    cluster.stop();
}

#[test]
fn a_dataset_larger_than_the_bound_keeps_what_waits() {
    let mut cluster = shop(48, "spool = \"2MB\"");
    std::fs::write(cluster.path("data/large"), noise(1, 6_000_000)).unwrap();
    cluster.start("web1", "exporter");
    cluster.run("web1", "exporter", &["run", "--wait"]).ended(0);
    cluster.kill("keeper", "pull-backup");
    for round in 0..5 {
        std::fs::write(cluster.path("data/file"), noise(round, 50_000)).unwrap();
        cluster.run("web1", "exporter", &["run"]).ended(0);
    }
    let path = cluster.path("web1-state/datasets/files/spool.toml");
    let waiting = |count: u32| std::fs::read_to_string(&path).is_ok_and(|text| text.contains(&format!("waiting = {count}\n")));
    until(LIMIT, "the spool to be looked at", || waiting(5).then_some(()));
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("dropped = 0"), "what waits is small, the newest snapshot does not count: {text}");
    cluster.start("keeper", "pull-backup");
    held(&cluster);
    assert!(snapshots(&cluster.of_keeper("keeper", "files")).len() >= 6, "each of them arrived");
    cluster.stop();
}

#[test]
fn on_a_node_that_stands_by_it_is_the_mirror_and_nothing_is_dropped() {
    let mut cluster = shop(49, "");
    cluster.start("web1", "exporter");
    let dataset = format!("[[dataset]]\nname = \"files\"\nsource = [{{ recipe = \"files\", paths = [{:?}] }}]\n", cluster.path("data"));
    cluster.node("web2", "spool = \"100kB\"", &dataset);
    cluster.join("keeper", "web2", &["--standby"]);
    for round in 0..4 {
        std::fs::write(cluster.path("data/file"), noise(round, 400_000)).unwrap();
        cluster.run("web1", "exporter", &["run", "--wait"]).ended(0);
        cluster.run("web2", "importer", &["sync"]).ended(0);
    }
    let (file, mirror) = (NodeFile::open(&cluster.path("web2.toml")).unwrap(), cluster.of_node("web2", "files"));
    let before = snapshots(&mirror);
    assert!(before.len() >= 4, "{before:?}");
    let layout = Layout::Node { state: file.node.state.clone(), cluster: file.cluster.clone() };
    let tidied = exporter::spool::tidy(&file, &file.datasets[0], &Repositories::new(layout, Arc::new(|| 0)), 1_795_262_400_000);
    assert!(tidied.unwrap().is_none());
    assert_eq!(snapshots(&mirror), before, "what no pull-backup asks of this node does not wait for one");
    cluster.stop();
}

#[test]
fn from_cron_a_run_serves_until_it_is_pulled_or_says_that_it_was_not() {
    let mut cluster = shop(43, "");
    cluster.run("web1", "exporter", &["run"]).ended(0);
    assert!(snapshots(&cluster.of_keeper("keeper", "files")).contains(&newest(&cluster)), "it ended when it was pulled");
    std::fs::write(cluster.path("data/second"), "second").unwrap();
    cluster.run("web1", "exporter", &["run", "--wait"]).ended(0);
    assert!(snapshots(&cluster.of_keeper("keeper", "files")).contains(&newest(&cluster)));
    cluster.kill("keeper", "pull-backup");
    std::fs::write(cluster.path("data/third"), "third").unwrap();
    let late = cluster.run("web1", "exporter", &["run", "--for", "1s"]).ended(0);
    assert!(late.err.contains("does not hold it yet") && late.err.contains(":8025"), "{}", late.err);
    let late = cluster.run("web1", "exporter", &["run", "--wait", "--for", "1s"]).ended(1);
    assert!(late.err.contains("does not hold it yet"), "{}", late.err);
    cluster.start("keeper", "pull-backup");
    cluster.run("web1", "exporter", &["run", "--wait"]).ended(0);
    restores(&cluster, &cluster.of_keeper("keeper", "files"), "all of it");
    cluster.stop();
}

#[test]
fn what_the_spool_lost_before_it_was_pulled_is_stored_anew() {
    let mut cluster = shop(44, "");
    cluster.kill("keeper", "pull-backup");
    std::fs::write(cluster.path("data/large"), noise(1, 3_000_000)).unwrap();
    cluster.run("web1", "exporter", &["run", "--for", "1s"]).ended(0);
    for pack in std::fs::read_dir(cluster.of_node("web1", "files").join("packs")).unwrap() {
        std::fs::remove_file(pack.unwrap().path()).unwrap();
    }
    cluster.start("web1", "exporter");
    cluster.start("keeper", "pull-backup");
    let receivers = cluster.path("web1-state/datasets/files/receivers.toml");
    until(LIMIT, "the keeper to say what it lacks", || {
        std::fs::read_to_string(&receivers).is_ok_and(|text| text.contains("lacking")).then_some(())
    });
    assert!(snapshots(&cluster.of_keeper("keeper", "files")).is_empty(), "what is not whole is not published");
    cluster.run("web1", "exporter", &["run", "--wait"]).ended(0);
    restores(&cluster, &cluster.of_keeper("keeper", "files"), "after the next export");
    cluster.stop();
}

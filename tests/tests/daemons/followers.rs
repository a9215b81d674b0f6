//! Pull-backups as real processes: one follows another, and an archive that was lost, whole or in part, comes back from others.

use std::time::Duration;
use tests::chance::Chance;
use tests::cluster::{Cluster, snapshots};
use tests::wait::until;

const LIMIT: Duration = Duration::from_secs(60);

fn dataset(cluster: &Cluster) -> String {
    let data = cluster.path("data");
    std::fs::create_dir_all(&data).unwrap();
    format!("[[dataset]]\nname = \"files\"\nevery = \"24h\"\nsource = [{{ recipe = \"files\", paths = [{data:?}] }}]\n")
}

fn export(cluster: &Cluster, chance: &mut Chance) {
    std::fs::write(cluster.path("data/file"), chance.noise(300_000)).unwrap();
    cluster.run("web1", "exporter", &["run"]).ended(0);
}

/// Waits until a pull-backup holds as many snapshots as the other.
fn level(cluster: &Cluster, keeper: &str, other: &str, what: &str) {
    until(LIMIT, what, || {
        let (has, wanted) = (snapshots(&cluster.of_keeper(keeper, "files")), snapshots(&cluster.of_keeper(other, "files")));
        (has == wanted && !wanted.is_empty()).then_some(()).ok_or(format!("{has:?} of {wanted:?}"))
    });
}

fn follow(cluster: &Cluster, second: &str, first: &str) {
    let invited = cluster.run(first, "pull-backup", &["invite", second, "--follower"]).ended(0);
    cluster.run(second, "pull-backup", &["join", invited.text().trim()]).ended(0);
}

#[test]
fn an_archive_that_was_lost_comes_back_from_one_that_followed_it() {
    let mut cluster = Cluster::new(21);
    let mut chance = Chance::new(21);
    cluster.keeper("first", "");
    cluster.keeper("second", "");
    let dataset = dataset(&cluster);
    cluster.node("web1", "", &dataset);
    cluster.join("first", "web1", &["--active"]);
    cluster.start("web1", "exporter");
    follow(&cluster, "second", "first");
    for count in 1..=3 {
        export(&cluster, &mut chance);
        until(LIMIT, "the export", || (snapshots(&cluster.of_keeper("first", "files")).len() >= count).then_some(()));
    }
    level(&cluster, "second", "first", "the follower");

    // Part of it is gone, below its newest: the daemon leaves that alone, `rebuild` does not.
    follow(&cluster, "first", "second");
    let held = snapshots(&cluster.of_keeper("first", "files"));
    std::fs::remove_file(cluster.of_keeper("first", "files").join("snapshots").join(&held[0])).unwrap();
    export(&cluster, &mut chance);
    until(LIMIT, "the next export", || (snapshots(&cluster.of_keeper("second", "files")).len() == 4).then_some(()));
    assert!(!snapshots(&cluster.of_keeper("first", "files")).contains(&held[0]), "what was dropped does not come back by itself");
    let rebuilt = cluster.run("first", "pull-backup", &["rebuild"]).ended(0);
    assert!(rebuilt.text().contains("shop/files from"), "{}", rebuilt.text());
    assert!(snapshots(&cluster.of_keeper("first", "files")).contains(&held[0]), "{}{}", rebuilt.text(), rebuilt.err);
    level(&cluster, "first", "second", "both have all");

    // All of it is gone, its disk with it.
    cluster.kill("first", "pull-backup");
    std::fs::remove_dir_all(cluster.path("first-archive/shop")).unwrap();
    cluster.start("first", "pull-backup");
    // What the daemon takes first, from whom, is chance: what is newest comes, and what lies below that is asked for.
    cluster.run("first", "pull-backup", &["rebuild"]).ended(0);
    level(&cluster, "first", "second", "all of it again");
    let archive = cluster.of_keeper("first", "files");
    let checked = tests::program::run("pull-backup", ["check", "--read", "--repository", archive.to_str().unwrap()]);
    checked.ended(0);
    cluster.stop();
}

#[test]
fn an_archive_is_rebuilt_from_the_spools_and_mirrors_of_its_own_members() {
    let mut cluster = Cluster::new(22);
    let mut chance = Chance::new(22);
    cluster.keeper("first", "");
    let dataset = dataset(&cluster);
    cluster.node("web1", "", &dataset);
    cluster.join("first", "web1", &["--active"]);
    cluster.start("web1", "exporter");
    export(&cluster, &mut chance);
    until(LIMIT, "the export", || (snapshots(&cluster.of_keeper("first", "files")).len() == 1).then_some(()));
    cluster.kill("first", "pull-backup");
    std::fs::remove_dir_all(cluster.path("first-archive/shop")).unwrap();
    cluster.run("first", "pull-backup", &["rebuild", "shop/other"]).ended(4);
    assert!(!cluster.of_keeper("first", "files").exists(), "only what was named");
    cluster.run("first", "pull-backup", &["rebuild", "shop/files"]).ended(0);
    assert_eq!(snapshots(&cluster.of_keeper("first", "files")).len(), 1, "the importer's port does not answer, the exporter's did");
    cluster.kill("web1", "exporter");
    let ran = cluster.run("first", "pull-backup", &["rebuild"]).ended(1);
    assert!(ran.err.contains("nobody could be asked"), "{}", ran.err);
}

/// A switchover must not wait for a pull-backup that has nothing to say in it.
#[test]
fn who_waits_for_the_one_that_decides_does_not_wait_for_the_others() {
    let mut cluster = Cluster::new(24);
    let mut chance = Chance::new(24);
    cluster.keeper("first", "");
    cluster.keeper("second", "");
    let named = |cluster: &Cluster| {
        let url = |name: &str| format!("https://{}:8025", cluster.address_of(name));
        let (first, second) = (url("first"), url("second"));
        format!("[[pull-backup]]\nurl = {first:?}\narbiter = true\n[[pull-backup]]\nurl = {second:?}\n{}", dataset(cluster))
    };
    let datasets = named(&cluster);
    cluster.node("web1", "", &datasets);
    cluster.join("first", "web1", &["--active"]);
    cluster.join("second", "web1", &[]);
    cluster.start("web1", "exporter");
    export(&cluster, &mut chance);
    cluster.run("web1", "exporter", &["run", "--wait", "--for", "60s"]).ended(0);
    cluster.kill("second", "pull-backup");
    export(&cluster, &mut chance);
    cluster.run("web1", "exporter", &["run", "--wait", "--arbiter", "--for", "60s"]).ended(0);
    assert_eq!(snapshots(&cluster.of_keeper("first", "files")).len(), 2);
    let lacks = cluster.run("web1", "exporter", &["run", "--wait", "--for", "1s"]).ended(1);
    assert!(lacks.err.contains(&cluster.address_of("second")), "{}", lacks.err);
    // The one that decides is waited for, whatever the others have.
    cluster.start("second", "pull-backup");
    cluster.kill("first", "pull-backup");
    export(&cluster, &mut chance);
    let lacks = cluster.run("web1", "exporter", &["run", "--wait", "--arbiter", "--for", "1s"]).ended(1);
    assert!(lacks.err.contains(&cluster.address_of("first")), "{}", lacks.err);
    cluster.stop();
}

//! Real processes: the pull-backup is killed again and again while the tail of an old active comes to it.

use archive::name::parse_snapshot;
use link::identity::signing_key;
use link::membership::{NODE_KEY, Reign};
use pull_backup::quarantine::Quarantine;
use pull_backup::reigns::Ledger;
use std::time::Duration;
use tests::cluster::{Cluster, snapshots};
use tests::history::noise;
use tests::reigning::grant;
use tests::wait::until;

const LIMIT: Duration = Duration::from_secs(120);

/// How often it is killed.
fn kills() -> u32 {
    if std::env::var_os("RESILIENT_LONG").is_some() { 40 } else { 4 }
}

#[test]
fn a_pull_backup_that_is_killed_while_it_takes_a_tail_ends_with_all_of_it() {
    let mut cluster = Cluster::new(77);
    cluster.keeper("backup", "");
    let data = cluster.path("data");
    std::fs::create_dir_all(&data).unwrap();
    let datasets = format!("[[dataset]]\nname = \"files\"\nevery = \"24h\"\n[[dataset.source]]\nrecipe = \"files\"\npaths = [{data:?}]\n");
    for (node, role) in [("web1", "--active"), ("web2", "--standby")] {
        cluster.node(node, "", &datasets);
        cluster.join("backup", node, &[role]);
    }
    std::fs::write(data.join("first"), noise(1, 2 << 20)).unwrap();
    cluster.start("web1", "exporter");
    let exports = |cluster: &Cluster, number: u64| {
        std::fs::write(data.join("more"), noise(number, 6 << 20)).unwrap();
        cluster.run("web1", "exporter", &["run", "files"]).ended(0);
    };
    exports(&cluster, 2);
    let held = until(LIMIT, "the history", || {
        let (spool, archive) = (snapshots(&cluster.of_node("web1", "files")), snapshots(&cluster.of_keeper("backup", "files")));
        (!spool.is_empty() && spool.last() == archive.last()).then_some(archive)
    });
    let (state, store) = (cluster.path("backup-state"), cluster.path("backup-archive"));
    let key = |node: &str| signing_key(&cluster.path(&format!("{node}-state")), NODE_KEY).unwrap().public();
    let ledger = Ledger::new(&state, &store);
    assert!(ledger.open("shop").unwrap().expect("the invitation began it").holder.signs(&key("web1")));
    // Beside the daemon.
    grant(&ledger, "shop", 1, 2, ("web2", key("web2")));
    for number in 3..6 {
        exports(&cluster, number);
    }
    Reign::given(1, false).keep(&cluster.path("web1-state")).unwrap();
    let spool = snapshots(&cluster.of_node("web1", "files"));
    let tail: Vec<String> = spool.iter().filter(|name| !held.contains(name)).cloned().collect();
    assert_eq!(tail.len(), 3, "{spool:?}");
    let quarantine = Quarantine::new(&store, u64::MAX);
    let there = || -> Vec<String> {
        let all = quarantine.all();
        all.iter()
            .flat_map(|name| quarantine.snapshots(name))
            .map(|known| known.name.replace("snapshots/", ""))
            .collect()
    };
    for _ in 0..kills() {
        cluster.kill("backup", "pull-backup");
        cluster.start("backup", "pull-backup");
    }
    until(LIMIT, "the tail", || {
        let there = there();
        (there == tail).then_some(()).ok_or(format!("{there:?}, not {tail:?}"))
    });
    assert_eq!(snapshots(&cluster.of_keeper("backup", "files")), held, "and none of it in the history");
    assert!(tail.iter().all(|name| parse_snapshot(name).is_some_and(|(at, _)| at.epoch == 1)));
    for name in quarantine.all() {
        let folder = quarantine.path(&name).display().to_string();
        cluster.run("backup", "pull-backup", &["check", "--repository", &folder, "--read"]).ended(0);
    }
    cluster.stop();
}

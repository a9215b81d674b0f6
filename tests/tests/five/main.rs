//! The whole way over five hosts in network namespaces: one that works, two that keep the history, two that stand by; any process is killed at any moment.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;
use tests::chance::{Chance, budget, noise};
use tests::cluster::{Cluster, files, snapshots};
use tests::wait::{Deadline, until, within};

const LIMIT: Duration = Duration::from_secs(120);
const KEEPERS: [&str; 2] = ["keeper1", "keeper2"];
const STANDBYS: [&str; 2] = ["web2", "web3"];

fn start_all() -> Cluster {
    let mut cluster = Cluster::apart(5);
    for keeper in KEEPERS {
        // What retention drops is not lost, but this test could not tell.
        cluster.keeper(keeper, "[retain]\nlast = 100000\n");
    }
    let data = cluster.path("web1");
    std::fs::create_dir_all(&data).unwrap();
    std::fs::write(data.join("first"), "first").unwrap();
    let dataset = format!(
        "[[dataset]]\nname = \"files\"\nevery = \"5s\"\njitter = \"off\"\nsource = [{{ recipe = \"files\", paths = [{data:?}] }}]\n"
    );
    cluster.node("web1", "", &dataset);
    for name in STANDBYS {
        let own = cluster.path(name);
        std::fs::create_dir_all(&own).unwrap();
        let more = format!("identity = {:?}\nsource.files.files.paths = [{own:?}]", cluster.path("identity"));
        cluster.node(name, &more, &dataset);
    }
    for keeper in KEEPERS {
        cluster.join(keeper, "web1", &["--active"]);
        STANDBYS.iter().for_each(|name| cluster.join(keeper, name, &["--standby"]));
    }
    cluster.start("web1", "exporter");
    STANDBYS.into_iter().for_each(|name| cluster.start(name, "importer"));
    cluster
}

/// The position in a snapshot's name: epoch and sequence.
fn position(name: &str) -> &str {
    &name[..25]
}

fn same(cluster: &Cluster, name: &str) -> Result<(), String> {
    let (ours, theirs) = (files(&cluster.path("web1")), files(&cluster.path(name)));
    if ours == theirs { Ok(()) } else { Err(format!("{} files, not {}", theirs.len(), ours.len())) }
}

fn note(seen: &mut BTreeSet<String>, repository: &Path) {
    seen.extend(snapshots(repository));
}

#[test]
fn nothing_is_lost_and_nothing_comes_twice_whoever_is_killed_when() {
    let mut cluster = start_all();
    let mut chance = Chance::new(20_261_122);
    let victims: [(&str, &'static str); 5] =
        [("web1", "exporter"), ("keeper1", "pull-backup"), ("keeper2", "pull-backup"), ("web2", "importer"), ("web3", "importer")];
    let spool = cluster.of_node("web1", "files");
    let mut seen = BTreeSet::new();
    let enough = Deadline::after(Duration::from_secs(if budget(1) > 1 { 300 } else { 45 }));
    let mut kills = 0;
    while enough.left().is_some() {
        let file = cluster.path("web1").join(format!("file{}", chance.below(6)));
        std::fs::write(file, noise(chance.word(), 1 + chance.below(3_000_000))).unwrap();
        if chance.one_in(3) {
            // By hand as well, beside the daemon.
            cluster.run("web1", "exporter", &["run", "--for", "1s"]).ended(0);
        }
        note(&mut seen, &spool);
        let (host, binary) = victims[chance.below(5)];
        // Some moment of whatever is under way.
        let moment = Duration::from_millis(chance.below(1500) as u64);
        let _: Result<(), String> = within(moment, || None);
        note(&mut seen, &spool);
        cluster.kill(host, binary);
        kills += 1;
        cluster.start(host, binary);
    }
    assert!(kills > 10, "{kills} kills");
    std::fs::write(cluster.path("web1/last"), "last").unwrap();
    cluster.run("web1", "exporter", &["run", "--wait"]).ended(0);
    note(&mut seen, &spool);
    let newest = snapshots(&spool).pop().unwrap();
    for keeper in KEEPERS {
        let archive = cluster.of_keeper(keeper, "files");
        until(LIMIT, &format!("the newest at {keeper}"), || snapshots(&archive).contains(&newest).then_some(()));
        let held = snapshots(&archive);
        let lost: Vec<_> = seen.iter().filter(|name| !held.contains(name)).collect();
        assert!(lost.is_empty(), "after {kills} kills {keeper} lacks {lost:?}");
        let positions: BTreeSet<&str> = held.iter().map(|name| position(name)).collect();
        assert_eq!(positions.len(), held.len(), "{keeper} has a position twice: {held:?}");
    }
    let (one, other) = (snapshots(&cluster.of_keeper("keeper1", "files")), snapshots(&cluster.of_keeper("keeper2", "files")));
    assert_eq!(one, other, "both keep the same history");
    for name in STANDBYS {
        until(LIMIT, &format!("the data on {name}"), || same(&cluster, name));
        let mirror = snapshots(&cluster.of_node(name, "files"));
        assert!(mirror.iter().all(|name| one.contains(name)), "{name} has what nobody keeps");
    }
    until(LIMIT, "the spool to be drained", || {
        let left = snapshots(&spool);
        if left.len() <= 17 { Ok(()) } else { Err(format!("{} snapshots", left.len())) }
    });
    for keeper in KEEPERS {
        let archive = cluster.of_keeper(keeper, "files");
        let checked = cluster.run(keeper, "pull-backup", &["check", "--read", "--repository", archive.to_str().unwrap()]);
        checked.ended(0);
    }
    cluster.stop();
}

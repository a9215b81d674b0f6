//! The smallest installation: no `[takeover]`, no lease; a person says which node is off, and which one counts.

use rustix::process::{Pid, Signal, kill_process_group};
use std::os::unix::process::CommandExt;
use std::process::Command;
use tests::cluster::{Cluster, snapshots};
use tests::wait::until;

const LIMIT: std::time::Duration = std::time::Duration::from_secs(60);

fn data(cluster: &Cluster, node: &str) -> String {
    std::fs::read_to_string(cluster.path(&format!("{node}-data/file"))).unwrap_or_default()
}

fn write(cluster: &Cluster, node: &str, text: &str) {
    std::fs::write(cluster.path(&format!("{node}-data/file")), text).unwrap();
}

/// The role as the file says it.
fn role(cluster: &Cluster, node: &str) -> String {
    std::fs::read_to_string(cluster.path(&format!("{node}-state/role"))).unwrap_or_default()
}

fn begun(number: u8) -> Cluster {
    let mut cluster = Cluster::new(number);
    cluster.keeper("backup", "");
    let identity = cluster.path("identity");
    for (node, part) in [("web1", "--active"), ("web2", "--standby")] {
        let folder = cluster.path(&format!("{node}-data"));
        std::fs::create_dir_all(&folder).unwrap();
        let more = format!("identity = {identity:?}\nsource.shop.files.paths = [{folder:?}]\n");
        let datasets = format!(
            "[[dataset]]\nname = \"shop\"\nevery = \"1h\"\n[[dataset.source]]\nrecipe = \"files\"\npaths = [{:?}]\n",
            cluster.path("web1-data")
        );
        cluster.node(node, &more, &datasets);
        cluster.join("backup", node, &[part]);
    }
    write(&cluster, "web1", "of web1\n");
    cluster.start("web1", "exporter");
    cluster.start("web2", "importer");
    cluster.run("web1", "exporter", &["run", "--wait"]).ended(0);
    until(LIMIT, "web2 to have it", || if data(&cluster, "web2") == "of web1\n" { Ok(()) } else { Err(data(&cluster, "web2")) });
    cluster
}

#[test]
fn without_takeover_a_person_says_who_is_off_and_whose_branch_counts() {
    let mut cluster = begun(61);
    let refused = cluster.run("web1", "importer", &["switchover", "--to", "web2"]).ended(3);
    assert!(refused.err.contains("[takeover]"), "{}", refused.err);
    cluster.kill("web1", "exporter");

    let before = role(&cluster, "web2");
    let refused = cluster.run("web2", "importer", &["activate"]).ended(3);
    assert!(refused.err.contains("importer activate --old-active-off NODE"), "{}", refused.err);
    let refused = cluster.run("web2", "importer", &["activate", "--old-active-off", "web2"]).ended(2);
    assert!(refused.err.contains("this node itself"), "{}", refused.err);
    assert_eq!(role(&cluster, "web2"), before);
    let refused = cluster.run("web2", "importer", &["close"]).ended(3);
    assert!(refused.err.contains("not active"), "{}", refused.err);

    let taken = cluster.run("web2", "importer", &["activate", "--old-active-off", "web1"]).ended(0);
    assert!(taken.text().contains("web2 is active (epoch 2)"), "{}", taken.text());
    assert!(taken.err.contains("ago") && taken.err.contains("pull-backup epoch resolve shop --keep web2"), "{}", taken.err);
    let again = cluster.run("web2", "importer", &["activate", "--old-active-off", "web1"]).ended(0);
    assert!(again.err.contains("active already"), "{}", again.err);

    // It exports under its own epoch, which counts when a person says so.
    write(&cluster, "web2", "of web2\n");
    cluster.start("web2", "exporter");
    cluster.run("web2", "exporter", &["run"]).ended(0);
    until(LIMIT, "the claim to be seen", || {
        let shown = cluster.run("backup", "pull-backup", &["epoch", "show"]);
        if shown.text().contains("claimed") { Ok(()) } else { Err(shown.text().to_owned()) }
    });
    let archive = cluster.of_keeper("backup", "shop");
    assert_eq!(snapshots(&archive).len(), 1, "nothing of it is published yet");
    cluster.run("backup", "pull-backup", &["epoch", "resolve", "shop", "--keep", "web2"]).ended(0);
    until(LIMIT, "its branch to be published", || {
        if snapshots(&archive).len() == 2 { Ok(()) } else { Err(format!("{:?}", snapshots(&archive))) }
    });

    // Up to the last word everything is held elsewhere before the role is given up.
    write(&cluster, "web2", "the last of web2\n");
    let closed = cluster.run("web2", "importer", &["close"]).ended(0);
    assert!(closed.err.contains("nothing here stops services"), "{}", closed.err);
    assert_eq!(snapshots(&archive).len(), 3);
    cluster.run("web2", "importer", &["close"]).ended(3);
    assert!(role(&cluster, "web2").contains("active = false"), "{}", role(&cluster, "web2"));
    cluster.stop();
}

/// Registrations of every few minutes do not wait until what a large archive builds on is made.
#[test]
fn what_small_datasets_build_on_is_made_before_that_of_large_ones() {
    let mut cluster = Cluster::new(63);
    cluster.keeper("backup", "");
    let identity = cluster.path("identity");
    for (node, part) in [("web1", "--active"), ("web2", "--standby")] {
        let (mut more, mut datasets) = (format!("identity = {identity:?}\n"), String::new());
        for (name, len) in [("large", 3_000_000), ("small", 3000), ("middle", 30_000)] {
            let folder = |node: &str| cluster.path(&format!("{node}-{name}"));
            std::fs::create_dir_all(folder(node)).unwrap();
            if node == "web1" {
                std::fs::write(folder(node).join("file"), tests::chance::noise(len as u64, len)).unwrap();
            }
            more += &format!("source.{name}.files.paths = [{:?}]\n", folder(node));
            let source = format!("[[dataset.source]]\nrecipe = \"files\"\npaths = [{:?}]\n", folder("web1"));
            datasets += &format!("[[dataset]]\nname = {name:?}\nevery = \"1h\"\n{source}");
        }
        cluster.node(node, &more, &datasets);
        cluster.join("backup", node, &[part]);
    }
    cluster.start("web1", "exporter");
    cluster.start("web2", "importer");
    cluster.run("web1", "exporter", &["run", "--wait"]).ended(0);
    until(LIMIT, "web2 to have them", || {
        let lacking = ["large", "small", "middle"].map(|name| !cluster.path(&format!("web2-{name}/file")).exists());
        (lacking == [false; 3]).then_some(())
    });
    cluster.kill("web1", "exporter");
    let taken = cluster.run("web2", "importer", &["activate", "--old-active-off", "web1"]).ended(0);
    let made: Vec<&str> = taken.err.lines().filter(|line| line.contains("build on what was imported")).collect();
    let at = |name: &str| made.iter().position(|line| line.contains(name));
    assert_eq!([at("small"), at("middle"), at("large")], [Some(0), Some(1), Some(2)], "{}", taken.err);
    cluster.stop();
}

#[test]
fn a_role_is_kept_when_the_last_export_does_not_arrive() {
    let mut cluster = begun(62);
    cluster.run("web1", "exporter", &["run"]).ended(0);
    write(&cluster, "web1", "nobody has this yet\n");
    cluster.kill("backup", "pull-backup");
    // A person who waits long enough ends it as a terminal does, and the role is what it was. Where tests run in the background that signal is ignored, and what
    // they begin would ignore it as well.
    let close = cluster.command("web1", "importer", &["close"]);
    let mut command = Command::new("env");
    command.arg("--default-signal=INT").arg(close.get_program()).args(close.get_args());
    command.envs(close.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut waiting = command.process_group(0).spawn().unwrap();
    until(LIMIT, "the last export to be in the spool", || {
        let there = snapshots(&cluster.of_node("web1", "shop"));
        if there.len() == 2 { Ok(()) } else { Err(format!("{there:?}")) }
    });
    assert!(waiting.try_wait().unwrap().is_none(), "it waits for the pull-backup");
    kill_process_group(Pid::from_child(&waiting), Signal::INT).unwrap();
    let ended = until(LIMIT, "it to be broken off", || waiting.try_wait().unwrap());
    assert!(!ended.success());
    assert!(role(&cluster, "web1").contains("active = true"));
    cluster.stop();
}

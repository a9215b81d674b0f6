//! A disk that takes nothing more: what cannot be written was not decided.
//!
//! The folder of the reigns is a small file system of its own, in the daemon's own mount namespace, which the test fills. It needs root, as tests of hosts do.

use crate::scene::{CLUSTER, LIMIT, Scene, serves};
use std::path::PathBuf;
use std::process::Command;
use tests::running::Running;
use tests::wait::until;

/// Begins the daemon with a small disk for its reigns.
fn starved(scene: &mut Scene) -> (Running, PathBuf) {
    scene.cluster.kill("backup", "pull-backup");
    let folder = scene.cluster.path("backup-state").join("clusters");
    let was = scene.cluster.path("clusters-were");
    std::fs::rename(&folder, &was).unwrap();
    std::fs::create_dir(&folder).unwrap();
    let serve = scene.cluster.command("backup", "pull-backup", &["serve"]);
    let script = "mount -t tmpfs -o size=256k none \"$1\" && cp -a \"$2\"/. \"$1\"/ && shift 2 && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh"]).arg(&folder).arg(&was);
    command.arg(serve.get_program()).args(serve.get_args());
    let mut running = Running::start("starved", command, &scene.cluster.path(""));
    running.says(LIMIT, "serves at");
    let inside = PathBuf::from(format!("/proc/{}/root", running.pid())).join(folder.strip_prefix("/").unwrap());
    (running, inside)
}

#[test]
fn what_cannot_be_written_was_not_decided_and_is_told() {
    let mut scene = Scene::new(46, "automatic = true\n");
    let (mut running, inside) = starved(&mut scene);
    let epoch = || {
        let text = std::fs::read_to_string(inside.join(CLUSTER).join("reigns.toml")).unwrap();
        text.lines().find_map(|line| line.strip_prefix("epoch = ")?.parse::<u64>().ok())
    };
    let first = scene.plays("web1", tests::played::invited(crate::reigning::fast()), |_| true);
    let second = scene.plays("web2", Default::default(), |_| true);
    serves(&first, 1, "the first reign");
    until(LIMIT, "the active knows who the members are", || {
        let text = std::fs::read_to_string(inside.join(CLUSTER).join("reigns.toml")).unwrap();
        text.contains("acknowledged = 1").then_some(()).ok_or(text)
    });
    let filler = inside.join("filler");
    let full = std::fs::write(&filler, vec![1; 1 << 20]).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    drop(first.dies());
    running.says(LIMIT, "decides nothing");
    assert!(!second.seen().told.contains(&"granted"), "{:?}", second.seen());
    assert_eq!(epoch(), Some(1));
    let status = until(LIMIT, "status says so", || {
        let status = scene.cluster.run("backup", "pull-backup", &["status", "--json"]);
        let json = status.json();
        let halted = json["arbiters"][0]["halted"].as_str().map(str::to_owned);
        halted.ok_or(json.to_string())
    });
    assert!(status.contains("reigns.toml"), "{status}");
    std::fs::remove_file(&filler).unwrap();
    serves(&second, epoch().unwrap() + 1, "with room again, somebody takes over");
    assert_eq!(epoch(), Some(2));
    second.dies();
    running.stop(LIMIT);
}

//! The commands, as a person types them.

use crate::scene::{Scene, dataset, export, tree};
use tests::plain::PlainTree;
use tests::program::{Ran, finish, program};

/// A scene with a tail in quarantine, and a configuration that commands read.
fn scene() -> (Scene, archive::id::SnapshotId) {
    let scene = Scene::new();
    export(&scene.first, &tree(1));
    scene.takes(&*scene.first.repository);
    scene.grant(1, "web2", 2);
    let tail = export(&scene.first, &tree(2));
    scene.keeps(&*scene.first.repository);
    let text = format!("state = {:?}\nstore = {{ path = {:?} }}\n", scene.file.state, scene.file.store);
    std::fs::write(scene.folder.path().join("pull-backup.toml"), text).unwrap();
    (scene, tail)
}

fn run(scene: &Scene, arguments: &[&str]) -> Ran {
    let mut command = program("pull-backup");
    finish(command.args(arguments).arg("--config").arg(scene.folder.path().join("pull-backup.toml")))
}

fn list(scene: &Scene) -> serde_json::Value {
    serde_json::from_str(run(scene, &["quarantine", "list", "--json"]).ended(0).text().trim()).unwrap()
}

fn key() -> String {
    format!("ed25519:{}", crate::scene::signer(1).public().hex())
}

fn identity(scene: &Scene) -> String {
    scene.first.identity.display().to_string()
}

#[test]
fn what_is_in_quarantine_is_listed_until_it_was_seen() {
    let (scene, tail) = scene();
    let listed = list(&scene);
    let line = &listed["quarantine"][0];
    assert_eq!((line["cluster"].as_str(), line["dataset"].as_str(), line["epoch"].as_u64()), (Some("shop"), Some("data"), Some(1)));
    assert_eq!((line["snapshots"].as_u64(), line["new"].as_u64()), (Some(1), Some(1)));
    assert_eq!(line["newest"].as_str(), Some(tail.to_string().as_str()));
    assert!(line["bytes"].as_u64().unwrap() > 300_000 && line["content_bytes"].as_u64().unwrap() >= 320_000, "{line}");
    let name = line["name"].as_str().unwrap().to_owned();
    assert!(run(&scene, &["quarantine", "list"]).ended(0).text().contains(&name));
    let status = run(&scene, &["status"]).ended(1);
    assert!(status.text().contains("are in quarantine, in no history"), "{}", status.text());
    run(&scene, &["quarantine", "list", "--seen"]).ended(0);
    assert_eq!(list(&scene)["quarantine"][0]["new"], 0);
    assert!(!run(&scene, &["status"]).text().contains("are in quarantine, in no history"));
}

#[test]
fn what_is_in_quarantine_is_compared_restored_and_copied_away() {
    let (scene, tail) = scene();
    let identity = identity(&scene);
    let opening = ["--identity", &identity, "--signer", &key()];
    let short = "shop/data/1/web1";
    let shown = run(&scene, &[&["quarantine", "diff", short], opening.as_slice()].concat()).ended(0);
    assert!(shown.text().contains("M s/own"), "{}", shown.text());
    let target = scene.folder.path().join("restored");
    let to = target.display().to_string();
    run(&scene, &[&["quarantine", "restore", short, "--at", &tail.to_string(), "--to", &to], opening.as_slice()].concat()).ended(0);
    tree(2).assert_same(&PlainTree::read(&target), "by the command");
    let copy = scene.folder.path().join("copy").display().to_string();
    run(&scene, &["quarantine", "export", short, "--to", &copy]).ended(0);
    run(&scene, &["quarantine", "export", short, "--to", &copy]).ended(0);
    let from_copy = scene.folder.path().join("from-copy");
    let arguments = ["restore", "--repository", &copy, "--at", "latest", "--to", &from_copy.display().to_string()];
    run(&scene, &[arguments.as_slice(), opening.as_slice()].concat()).ended(0);
    tree(2).assert_same(&PlainTree::read(&from_copy), "from the copy");
    let into = scene.folder.path().display().to_string();
    run(&scene, &["quarantine", "export", short, "--to", &into]).ended(3);
    run(&scene, &["quarantine", "diff", "shop/data/7/web1"]).ended(2);
}

#[test]
fn only_the_whole_name_drops_and_what_was_dropped_does_not_come_back() {
    let (scene, _) = scene();
    let name = list(&scene)["quarantine"][0]["name"].as_str().unwrap().to_owned();
    run(&scene, &["quarantine", "drop"]).ended(2);
    let refused = run(&scene, &["quarantine", "drop", "shop/data/1/web1"]).ended(3);
    assert!(refused.err.contains(&name), "{}", refused.err);
    assert_eq!(scene.quarantined().len(), 1);
    run(&scene, &["quarantine", "drop", &name]).ended(0);
    assert!(scene.quarantined().is_empty());
    scene.keeps(&*scene.first.repository);
    assert!(scene.quarantined().is_empty(), "it is not taken again");
    let told = link::publishing::Publishing::told(&scene.publish, &dataset());
    assert_eq!(told.0.len(), 1, "the node may drop it too");
}

#[test]
fn epochs_are_shown_and_only_a_claim_is_resolved() {
    let (scene, _) = scene();
    let shown = run(&scene, &["epoch", "show"]).ended(0);
    assert!(shown.text().contains("sealed") && shown.text().contains("data 1.1") && shown.text().contains("web2"), "{}", shown.text());
    let shown: serde_json::Value = serde_json::from_str(run(&scene, &["epoch", "show", "--json"]).ended(0).text().trim()).unwrap();
    assert_eq!((&shown["clusters"][0]["epoch"], &shown["clusters"][0]["conflict"]), (&2.into(), &false.into()));
    let refused = run(&scene, &["epoch", "resolve", "shop", "--keep", "web1"]).ended(3);
    assert!(refused.err.contains("claims no epoch"), "{}", refused.err);
    run(&scene, &["epoch", "show", "bank"]).ended(1);
    for (node, seed) in [("web1", 1), ("web3", 3)] {
        let branch = scene.branch(&scene.first, node, seed, 3);
        export(&branch, &tree(30 + u64::from(seed)));
        scene.keeps(&*branch.repository);
    }
    assert!(run(&scene, &["epoch", "show"]).ended(0).text().contains("CONFLICT"));
    let kept = run(&scene, &["epoch", "resolve", "shop", "--keep", "web3"]).ended(0);
    assert!(kept.text().contains("epoch 3 of cluster shop is web3's"), "{}", kept.text());
}

//! Two people on two hosts, each sure that the other is off.

use crate::scene::Scene;
use rusqlite::Connection;
use tests::wait::until;

/// Scenario 28.
#[test]
fn two_forced_reigns_are_a_conflict_and_both_branches_are_kept() {
    let mut scene = Scene::new(3, "", "");
    // Both must know whose reign they follow on.
    for node in ["web2", "web3"] {
        until(crate::scene::LIMIT, "the epoch to be known", || {
            scene.ask(node, "/cluster").filter(|(_, body)| body.contains("\"epoch\":2"))
        });
    }
    scene.kill_host("backup");
    scene.kill_host("web1");
    for (node, number) in [("web2", 2_000_000), ("web3", 3_000_000)] {
        // Each is alone: it hears of no other epoch.
        scene.alone(node);
        scene.cluster.run(node, "importer", &["activate", "--force", "--old-active-off", "web1"]).ended(0);
        let database = Connection::open(scene.database(node)).unwrap();
        database.execute("insert into orders (id, text) values (?1, 'of a branch')", [number]).unwrap();
    }
    scene.together();
    scene.cluster.start("backup", "pull-backup");
    until(crate::scene::LIMIT, "the conflict to be seen", || {
        let shown = scene.cluster.run("backup", "pull-backup", &["epoch", "show"]);
        if shown.text().contains("CONFLICT") { Ok(()) } else { Err(shown.text().to_owned()) }
    });
    scene
        .cluster
        .run("backup", "pull-backup", &["attest", "shop", "--off", "web1", "--yes", "web1"])
        .ended(0);
    scene.cluster.run("backup", "pull-backup", &["epoch", "resolve", "shop", "--keep", "web2"]).ended(0);
    scene.becomes("web2", "active");
    scene.becomes("web3", "ready");
    until(crate::scene::LIMIT, "web3's branch to be in quarantine", || {
        let list = scene.cluster.run("backup", "pull-backup", &["quarantine", "list"]);
        if list.text().contains("web3") { Ok(()) } else { Err(list.text().to_owned()) }
    });
    assert!(scene.orders("web2").contains(&2_000_000));
    scene.cluster.stop();
}

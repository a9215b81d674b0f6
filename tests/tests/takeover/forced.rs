//! Two people on two hosts, each sure that the other is off.

use crate::moving::{Clients, Moving, at, has_none, moving};
use crate::scene::{LIMIT, Scene};
use rusqlite::Connection;
use tests::wait::until;

/// Scenario 28, with the address and the names: the one that goes on meanwhile is kept.
#[test]
fn two_forced_reigns_are_a_conflict_and_both_branches_are_kept() {
    two_forced_reigns("web2", "web3");
}

/// The same; the one that waited is kept.
#[test]
fn of_two_forced_reigns_the_one_that_waited_may_be_kept() {
    two_forced_reigns("web3", "web2");
}

/// The one that goes on dies before anybody resolved anything: a person says so where the other waits.
#[test]
fn of_two_forced_reigns_the_one_that_waits_goes_on_by_another_word() {
    let (mut scene, moving, clients) = forced_on_both_sides();
    scene.kill_host("web2");
    scene.cluster.run("web3", "importer", &["activate", "--force", "--old-active-off", "web2"]).ended(0);
    settled(&scene, &clients, &moving, "web3");
    assert!(scene.orders("web3").contains(&3_000_000));
    scene.cluster.stop();
}

/// Both serve alone, and then hear each other: one goes on, and the other waits.
fn forced_on_both_sides() -> (Scene, Moving, Clients) {
    let (mut scene, moving) = moving(3, "", "");
    // Both must know whose reign they follow on.
    for node in ["web2", "web3"] {
        until(LIMIT, "the epoch to be known", || scene.ask(node, "/cluster").filter(|(_, body)| body.contains("\"epoch\":2")));
    }
    let clients = moving.clients(&scene);
    clients.reach("web1");
    clients.end();
    scene.kill_host("backup");
    scene.kill_host("web1");
    for (node, number) in [("web2", 2_000_000), ("web3", 3_000_000)] {
        // Each is alone: it hears of no other epoch, and of nobody who has the address.
        scene.cluster.hosts_of(|hosts, number| hosts.unplug(number), node);
        scene.cluster.run(node, "importer", &["activate", "--force", "--old-active-off", "web1"]).ended(0);
        moving.is_held(&scene, node);
        let database = Connection::open(scene.database(node)).unwrap();
        database.execute("insert into orders (id, text) values (?1, 'of a branch')", [number]).unwrap();
    }
    for node in ["web2", "web3"] {
        scene.cluster.hosts_of(|hosts, number| hosts.plug(number), node);
    }
    let clients = moving.clients(&scene);
    settled(&scene, &clients, &moving, "web2");
    has_none(&scene, "web3");
    scene.becomes("web3", "fenced");
    (scene, moving, clients)
}

fn two_forced_reigns(kept: &str, other: &str) {
    let (mut scene, moving, clients) = forced_on_both_sides();
    scene.cluster.start("backup", "pull-backup");
    until(LIMIT, "the conflict to be seen", || {
        let shown = scene.cluster.run("backup", "pull-backup", &["epoch", "show"]);
        if shown.text().contains("CONFLICT") { Ok(()) } else { Err(shown.text().to_owned()) }
    });
    clients.only("web2");
    scene
        .cluster
        .run("backup", "pull-backup", &["attest", "shop", "--off", "web1", "--yes", "web1"])
        .ended(0);
    // As if the last word to the servers had been that of the one that waits.
    if kept == "web2" {
        scene.cluster.run("web3", "importer", &["dns", "failover", "--to", "web3"]).ended(0);
    }
    until(LIMIT, "the arbiter to have heard both, and to be told", || {
        let ran = scene.cluster.run("backup", "pull-backup", &["epoch", "resolve", "shop", "--keep", kept]);
        if ran.status == 0 { Ok(()) } else { Err(ran.err) }
    });
    scene.becomes(kept, "active");
    settled(&scene, &clients, &moving, kept);
    has_none(&scene, other);
    scene.becomes(other, "ready");
    until(LIMIT, "the other branch to be in quarantine", || {
        let list = scene.cluster.run("backup", "pull-backup", &["quarantine", "list"]);
        if list.text().contains(other) { Ok(()) } else { Err(list.text().to_owned()) }
    });
    let number = if kept == "web2" { 2_000_000 } else { 3_000_000 };
    assert!(scene.orders(kept).contains(&number));
    scene.cluster.stop();
}

/// The address is there and the names point there, and nobody else answers.
fn settled(scene: &Scene, clients: &Clients, moving: &Moving, node: &str) {
    at(scene, node);
    moving.points(scene, node);
    clients.reach(node);
    clients.only(node);
}

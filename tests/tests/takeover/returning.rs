//! A host that comes back: it boots passive, and what it alone has is kept.

use crate::books::reigns;
use crate::moving::{has_none, moving};
use crate::scene::{Scene, Taken, judge};
use rusqlite::Connection;
use tests::wait::until;

/// The role went to web2 and came back, no two served, and nothing that was acknowledged is lost.
#[track_caller]
fn went_and_came(scene: &Scene, taken: &[Taken]) {
    judge(taken);
    assert_eq!(reigns(taken), ["web1", "web2", "web1"]);
    let lost = scene.lost("web1", taken);
    assert!(lost.is_empty(), "acknowledged, and neither there nor in quarantine: {lost:?}");
}

/// Scenario 19.
#[test]
fn an_old_active_comes_back_passive_and_its_tail_is_kept() {
    let (mut scene, moving) = moving(2, "automatic = true\n", "");
    let (customer, clients) = (scene.customer(), moving.clients(&scene));
    customer.more(30, "web1");
    scene.kill_host("web1");
    // Written, acknowledged to somebody, and exported to nobody.
    let database = Connection::open(scene.database("web1")).unwrap();
    database.execute("insert into orders (id, text) values (1000000, 'only here')", []).unwrap();
    drop(database);
    scene.wait_for_active(&["web2"]);
    customer.more(30, "web2");
    clients.reach("web2");
    moving.points(&scene, "web2");
    let lost = scene.cluster.path("web1-state/role-lost.toml");
    std::fs::write(&lost, "epoch = 1\n").unwrap();
    scene.start("web1");
    scene.becomes("web1", "ready");
    has_none(&scene, "web1");
    until(crate::scene::LIMIT, "the tail of web1 to be in quarantine", || {
        let list = scene.cluster.run("backup", "pull-backup", &["quarantine", "list"]).ended(0);
        if list.text().contains("web1") { Ok(()) } else { Err(list.text().to_owned()) }
    });
    until(crate::scene::LIMIT, "web1 to have what web2 took", || {
        let there = scene.orders("web1");
        let newest = customer.taken().iter().rfind(|taken| taken.by == "web2").map(|taken| taken.number - 30);
        newest
            .is_some_and(|newest| there.iter().any(|number| *number >= newest && *number < 1_000_000))
            .then_some(())
    });
    assert!(!scene.orders("web1").contains(&1_000_000), "what counts is what the active has");
    assert!(!lost.exists(), "what was noted when its node file said that the role comes home counts no more");
    scene.cluster.run("web2", "importer", &["switchover", "--to", "web1"]).ended(0);
    customer.more(30, "web1");
    clients.reach("web1");
    moving.points(&scene, "web1");
    assert_eq!(clients.end().by, ["web1", "web2", "web1"]);
    judge(&customer.end());
    scene.cluster.stop();
}

/// XiVO: telephones register at the fallback while the master is away, with what is newest there when the master has booted.
#[test]
fn a_master_that_returns_takes_the_newest_registrations_and_then_the_role() {
    let mut scene = Scene::new(2, "automatic = true\n", "");
    let customer = scene.customer();
    customer.more(10, "web1");
    scene.write("web1", 1_000_001, "registered at the master");
    scene.has("web2", 1_000_001, "registered at the master");
    // Nobody has this one yet when the master dies: the backup hears nothing of it any more.
    scene.cluster.hosts_of(|hosts, number| hosts.isolate(number), "web1");
    scene.write("web1", 1_000_002, "registered at the master alone");
    scene.kill_host("web1");
    scene.together();
    scene.wait_for_active(&["web2"]);
    customer.more(10, "web2");
    scene.write("web2", 1_000_003, "registered at the fallback");
    scene.forget_boot("web1");
    scene.start("web1");
    // It boots passive, and serves nobody.
    assert_ne!(scene.standing("web1"), "active");
    assert_eq!(scene.ask("web1", "/primary").map(|(status, _)| status), Some(503));
    scene.has("web1", 1_000_003, "registered at the fallback");
    scene.becomes("web1", "ready");
    assert!(scene.text("web1", 1_000_002).is_none(), "what counts is what the fallback has");
    customer.more(10, "web2");
    scene.write("web2", 1_000_004, "registered just before the exchange");
    scene.cluster.run("web2", "importer", &["switchover", "--to", "web1"]).ended(0);
    customer.more(10, "web1");
    went_and_came(&scene, &customer.end());
    for (number, text) in [
        (1_000_001, "registered at the master"),
        (1_000_003, "registered at the fallback"),
        (1_000_004, "registered just before the exchange"),
    ] {
        assert_eq!(scene.text("web1", number).as_deref(), Some(text));
    }
    assert!(scene.quarantined().contains(&1_000_002), "what the master alone had is kept");
    scene.cluster.stop();
}

/// XiVO's way: the role goes back to the master by itself, when that is ready again; and stays where a person put it.
#[test]
fn a_role_comes_home_by_itself_and_stays_where_it_was_handed_to() {
    let mut scene = Scene::new(2, "automatic = true\n", "failback = \"automatic\"\nfailback_after = \"2s\"\n");
    let customer = scene.customer();
    customer.more(10, "web1");
    scene.kill_host("web1");
    scene.wait_for_active(&["web2"]);
    customer.more(10, "web2");
    scene.forget_boot("web1");
    scene.start("web1");
    scene.becomes("web1", "active");
    customer.more(10, "web1");
    went_and_came(&scene, &customer.end());
    scene.becomes("web2", "ready");
    assert!(!scene.cluster.path("web2-state/role-lost.toml").exists(), "web2 gave it up, and does not want it back");
    scene.cluster.run("web1", "importer", &["switchover", "--to", "web2"]).ended(0);
    assert!(!scene.cluster.path("web1-state/role-lost.toml").exists(), "a person said where it belongs");
    scene.becomes("web1", "ready");
    scene.becomes("web2", "active");
    scene.cluster.stop();
}

/// Who paused the cluster works on it: nothing moves by itself before that ends.
#[test]
fn a_role_does_not_come_home_while_the_cluster_is_paused() {
    let mut scene = Scene::new(2, "automatic = true\n", "failback = \"automatic\"\nfailback_after = \"2s\"\n");
    let customer = scene.customer();
    customer.more(10, "web1");
    scene.kill_host("web1");
    scene.wait_for_active(&["web2"]);
    scene.cluster.run("backup", "pull-backup", &["pause", "shop", "--for", "1h"]).ended(0);
    let role = scene.cluster.path("web2-state/role");
    until(crate::scene::LIMIT, "web2 to live under the pause", || {
        let role = std::fs::read_to_string(&role).unwrap_or_default();
        if role.contains("paused") { Ok(()) } else { Err(role) }
    });
    scene.forget_boot("web1");
    scene.start("web1");
    until(crate::scene::LIMIT, "web1 to ask in vain", || {
        let said = scene.cluster.daemon("web1", "importer").err();
        if said.contains("for as long as the cluster is paused") { Ok(()) } else { Err(said) }
    });
    assert_eq!(scene.serving(), ["web2"]);
    customer.more(10, "web2");
    scene.cluster.run("backup", "pull-backup", &["resume", "shop"]).ended(0);
    scene.becomes("web1", "active");
    customer.more(10, "web1");
    let taken = customer.end();
    judge(&taken);
    assert_eq!(reigns(&taken), ["web1", "web2", "web1"]);
    scene.cluster.stop();
}

/// As with a switchover that a person asks for, it is looked beforehand whether the pause would be short.
#[test]
fn a_role_does_not_come_home_where_the_service_would_be_closed_too_long() {
    let slow = "[[dataset]]\nname = \"slow\"\nevery = \"1h\"\n[[dataset.source]]\nrecipe = \"erp5\"\nstream = true\n\
                export = [\"/bin/sh\", \"-c\", \"sleep 4; date +%N\"]\nimport = [\"/bin/sh\", \"-c\", \"cat >/dev/null\"]\n";
    let home = "max_pause = \"2s\"\nfailback = \"automatic\"\nfailback_after = \"2s\"\n";
    let mut scene = Scene::new(2, "automatic = true\n", &format!("{home}{slow}"));
    let customer = scene.customer();
    customer.more(10, "web1");
    scene.kill_host("web1");
    scene.wait_for_active(&["web2"]);
    customer.more(10, "web2");
    scene.forget_boot("web1");
    scene.start("web1");
    until(crate::scene::LIMIT, "web2 to see that it takes too long", || {
        let said = scene.cluster.daemon("web2", "importer").err();
        if said.contains("the role stays here: the service would be closed too long") { Ok(()) } else { Err(said) }
    });
    until(crate::scene::LIMIT, "web1 to hear why", || {
        let said = scene.cluster.daemon("web1", "importer").err();
        let why = "the role did not come home: web2 goes on as the active one: the service would be closed too long";
        if said.contains(why) { Ok(()) } else { Err(said) }
    });
    // A person hears the same, and may allow more.
    let refused = scene.cluster.run("web1", "importer", &["failback"]);
    assert!(refused.status != 0 && refused.err.contains("the service would be closed too long"), "{}", refused.err);
    assert!(refused.err.contains("--max-pause"), "{}", refused.err);
    customer.more(10, "web2");
    let said = scene.cluster.daemon("web2", "importer").err();
    assert!(!said.contains("services are stopped"), "{said}");
    scene.cluster.run("web1", "importer", &["failback", "--max-pause", "1m"]).ended(0);
    customer.more(10, "web1");
    went_and_came(&scene, &customer.end());
    scene.cluster.stop();
}

/// Both lost it, one after the other: it comes home to the first that is ready, and the other does not take it on from there.
#[test]
fn a_role_comes_home_once_where_several_lost_it() {
    let mut scene = Scene::new(3, "automatic = true\n", "failback = \"automatic\"\nfailback_after = \"2s\"\n");
    scene.kill_host("web1");
    let second = scene.wait_for_active(&["web2", "web3"]);
    scene.cluster.run("backup", "pull-backup", &["ack"]).ended(0);
    let third = if second == "web2" { "web3" } else { "web2" };
    // It reigns only when that is written down.
    scene.becomes(second, "active");
    scene.becomes(third, "ready");
    scene.kill_host(second);
    scene.wait_for_active(&[third]);
    scene.forget_boot("web1");
    scene.start("web1");
    scene.becomes("web1", "active");
    scene.forget_boot(second);
    scene.start(second);
    let marker = scene.cluster.path(&format!("{second}-state/role-lost.toml"));
    until(crate::scene::LIMIT, "the second to leave it where it is", || {
        let said = scene.cluster.daemon(second, "importer").err();
        if marker.exists() { Err(said) } else { Ok(()) }
    });
    let said = scene.cluster.daemon(second, "importer").err();
    assert!(
        said.contains("the role is not asked back any more") && said.contains("the role was handed to web1 since it was lost"),
        "{said}"
    );
    assert_eq!(scene.serving(), ["web1"]);
    scene.cluster.stop();
}

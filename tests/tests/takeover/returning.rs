//! A host that comes back: it boots passive, and what it alone has is kept.

use crate::scene::{Scene, judge};
use rusqlite::Connection;
use tests::wait::until;

/// Scenario 19.
#[test]
fn an_old_active_comes_back_passive_and_its_tail_is_kept() {
    let mut scene = Scene::new(2, "automatic = true\n", "");
    let customer = scene.customer();
    customer.more(30, "web1");
    scene.kill_host("web1");
    // Written, acknowledged to somebody, and exported to nobody.
    let database = Connection::open(scene.database("web1")).unwrap();
    database.execute("insert into orders (id, text) values (1000000, 'only here')", []).unwrap();
    drop(database);
    scene.wait_for_active(&["web2"]);
    customer.more(30, "web2");
    scene.start("web1");
    scene.becomes("web1", "ready");
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
    scene.cluster.run("web2", "importer", &["switchover", "--to", "web1"]).ended(0);
    customer.more(30, "web1");
    judge(&customer.end());
    scene.cluster.stop();
}

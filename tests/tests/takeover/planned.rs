//! A planned exchange under load: no acknowledged write is lost, and the pause is short.

use crate::moving::moving;
use crate::scene::judge;
use std::collections::HashSet;
use std::time::Duration;

/// Scenario 20.
#[test]
fn timed_a_switchover_under_load_loses_nothing() {
    let (mut scene, moving) = moving(2, "", "");
    let (customer, clients) = (scene.customer(), moving.clients(&scene));
    customer.more(20, "web1");
    // One that would keep the service closed too long is refused before anything is closed.
    let measured = scene.cluster.path("web2-state/measured.toml");
    std::fs::write(measured, "activation_ms = 120000\n").unwrap();
    let refused = scene.cluster.run("web1", "importer", &["switchover", "--to", "web2"]).ended(3);
    assert!(refused.err.contains("web2 took 2 min to begin, where the pause may be 1 min"), "{}", refused.err);
    for (node, to) in [("web1", "web2"), ("web2", "web1")] {
        customer.more(20, node);
        clients.reach(node);
        moving.points(&scene, node);
        scene.cluster.run(node, "importer", &["switchover", "--to", to, "--max-pause", "3m"]).ended(0);
    }
    customer.more(20, "web1");
    clients.reach("web1");
    moving.points(&scene, "web1");
    let served = clients.end();
    assert_eq!(served.by, ["web1", "web2", "web1"]);
    let taken = customer.end();
    let pause = judge(&taken);
    println!("unserved for {} ms at most; {served:?}", pause.as_millis());
    assert!(served.by_address < Duration::from_secs(5) && served.by_name < Duration::from_secs(5), "{served:?}");
    let there: HashSet<i64> = scene.orders("web1").into_iter().collect();
    let lost: Vec<i64> = taken.iter().map(|taken| taken.number).filter(|number| !there.contains(number)).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    assert!(pause < Duration::from_secs(3), "the service paused for {pause:?}");
    scene.cluster.stop();
}

/// Scenario 21: the candidate dies in the middle.
#[test]
fn a_candidate_that_dies_in_a_switchover_leaves_the_role_where_it_was() {
    let (mut scene, moving) = moving(2, "", "");
    let (customer, clients) = (scene.customer(), moving.clients(&scene));
    customer.more(20, "web1");
    scene.kill_host("web2");
    let refused = scene.cluster.run("web1", "importer", &["switchover", "--to", "web2"]);
    assert_ne!(refused.status, 0, "{}", refused.err);
    scene.becomes("web1", "active");
    customer.more(20, "web1");
    clients.reach("web1");
    moving.points(&scene, "web1");
    assert_eq!(clients.end().by, ["web1"]);
    judge(&customer.end());
    scene.cluster.stop();
}

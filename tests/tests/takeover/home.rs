//! YunoHost's round trip: activate, write on the fallback, close, and bring the role home.

use crate::scene::{LIMIT, Scene, judge};
use std::collections::HashSet;
use tests::wait::until;

#[test]
fn activate_write_close_and_failback_lose_nothing() {
    let mut scene = Scene::new(2, "", "activation = \"30s\"\n");
    let customer = scene.customer();
    customer.more(30, "web1");
    scene.kill_host("web1");
    // Nothing is automatic here: a person decides, once the lease is over.
    until(LIMIT, "the lease to be over", || {
        let ran = scene.cluster.run("web2", "importer", &["activate"]);
        if ran.status == 0 { Ok(()) } else { Err(ran.err) }
    });
    customer.more(30, "web2");
    let of_web2: HashSet<i64> = customer.taken().iter().filter(|taken| taken.by == "web2").map(|taken| taken.number).collect();
    scene.cluster.run("web2", "importer", &["close"]).ended(0);
    assert_eq!(scene.standing("web2"), "closed");
    let there: HashSet<i64> = scene.orders("web2").into_iter().collect();
    assert!(there.is_disjoint(&of_web2), "as if nothing had happened here");
    scene.start("web1");
    scene.cluster.run("web1", "importer", &["failback"]).ended(0);
    customer.more(30, "web1");
    let taken = customer.end();
    judge(&taken);
    let there: HashSet<i64> = scene.orders("web1").into_iter().collect();
    let lost: Vec<i64> = of_web2.iter().filter(|number| !there.contains(number)).copied().collect();
    assert!(lost.is_empty(), "written on the fallback and not found: {lost:?}");
    scene.cluster.run("web2", "importer", &["failback"]).ended(0);
    scene.becomes("web2", "active");
    scene.cluster.stop();
}

//! What keeps two from serving when our own processes cannot: the kernel, and the grant.

use crate::books::reigns;
use crate::moving::{at, has_none, moving};
use crate::scene::{LIMIT, Scene, judge};
use tests::wait::until;

/// Scenario 11: the process that renews is stopped, and the service goes on behind a gate that closes by itself.
#[test]
fn timed_a_stopped_process_is_fenced_by_the_kernel_before_another_serves() {
    let (mut scene, moving) = moving(2, "automatic = true\n", "");
    let (customer, clients) = (scene.customer(), moving.clients(&scene));
    customer.more(10, "web1");
    clients.reach("web1");
    scene.cluster.daemon("web1", "importer").freeze();
    let next = scene.wait_for_active(&["web2"]);
    has_none(&scene, "web1");
    at(&scene, next);
    customer.more(10, next);
    clients.reach(next);
    // It goes on as if nothing had been, late.
    scene.cluster.daemon("web1", "importer").thaw();
    scene.becomes("web1", "ready");
    customer.more(10, next);
    has_none(&scene, "web1");
    at(&scene, next);
    assert_eq!(clients.end().by, ["web1", "web2"]);
    let taken = customer.end();
    judge(&taken);
    let from = taken.iter().position(|taken| taken.by == "web2").expect("web2 served");
    assert!(taken[from..].iter().all(|taken| taken.by == "web2"), "web1 answered after web2 had begun");
    scene.cluster.stop();
}

/// Scenario 4, with what the hosts sign for each other: only the way to the arbiter is cut, and the others carry renewals and answers.
#[test]
fn renewals_are_carried_by_others_when_only_the_way_to_the_arbiter_is_cut() {
    let mut scene = Scene::new(3, "automatic = true\n", "");
    let customer = scene.customer();
    customer.more(10, "web1");
    scene.part("web1", "backup");
    let (epoch, before) = (scene.epoch(), scene.lease_until("web1"));
    // Longer than any lease of the fast profile lives.
    until(LIMIT, "web1's lease to live on", || {
        let now = scene.lease_until("web1");
        if now > before + 15_000 { Ok(()) } else { Err(format!("{before} {now}")) }
    });
    assert_eq!((scene.epoch(), scene.standing("web1")), (epoch, "active".into()));
    customer.more(10, "web1");
    assert_eq!(reigns(&customer.end()), ["web1"]);
    scene.cluster.stop();
}

/// Scenario 22: what should start on the first candidate does not.
#[test]
fn where_services_cannot_start_the_next_one_takes_over() {
    let (mut scene, moving) = moving(3, "automatic = true\npriority = { web2 = 10 }\n", "activation = \"20s\"\n");
    let (customer, clients) = (scene.customer(), moving.clients(&scene));
    customer.more(20, "web1");
    scene.occupy("web2");
    scene.kill_host("web1");
    let next = scene.wait_for_active(&["web2", "web3"]);
    assert_eq!(next, "web3");
    customer.more(20, "web3");
    clients.reach("web3");
    has_none(&scene, "web2");
    moving.points(&scene, "web3");
    assert_eq!(clients.end().by, ["web1", "web3"]);
    judge(&customer.end());
    scene.cluster.stop();
}

/// Scenario 30: everything lost power at once.
#[test]
fn after_power_was_lost_everywhere_nothing_runs_before_a_grant() {
    let (mut scene, moving) = moving(2, "automatic = true\n", "");
    let (customer, clients) = (scene.customer(), moving.clients(&scene));
    customer.more(20, "web1");
    scene.kill_host("web1");
    scene.kill_host("web2");
    scene.kill_host("backup");
    let before = customer.count();
    for node in ["web1", "web2"] {
        scene.forget_boot(node);
        scene.start(node);
        assert_ne!(scene.standing(node), "active");
        has_none(&scene, node);
    }
    assert_eq!(customer.count(), before, "nobody serves without the arbiter");
    scene.cluster.start("backup", "pull-backup");
    let next = scene.wait_for_active(&["web1", "web2"]);
    customer.more(20, next);
    clients.reach(next);
    moving.points(&scene, next);
    clients.end();
    judge(&customer.end());
    scene.cluster.stop();
}

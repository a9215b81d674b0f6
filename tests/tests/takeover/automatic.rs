//! Nobody does anything, and the right node takes over.

use crate::scene::{Scene, judge};
use std::time::Duration;

const AUTOMATIC: &str = "automatic = true\n";

/// Lease, grace, and what starting costs: in the fast profile.
const TAKES_MOST: Duration = Duration::from_millis(6000 + 1120 + 2000);

/// Scenario 1: the active's whole host dies.
#[test]
fn timed_a_dead_host_is_followed_by_one_and_only_one() {
    let mut scene = Scene::new(3, AUTOMATIC, "");
    let customer = scene.customer();
    customer.more(50, "web1");
    scene.kill_host("web1");
    let next = scene.wait_for_active(&["web2", "web3"]);
    customer.more(50, next);
    let taken = customer.end();
    let pause = judge(&taken);
    println!("unserved for {} ms", pause.as_millis());
    assert!(pause <= TAKES_MOST, "nobody served for {pause:?}");
    // What was exported is there; what the dead host alone had is on its disk.
    let first: Vec<i64> = taken.iter().filter(|taken| taken.by == next).map(|taken| taken.number).collect();
    let there = scene.orders(next);
    assert!(first.iter().all(|number| there.contains(number)), "what {next} acknowledged it has");
    scene.cluster.stop();
}

/// Scenario 2: the service is dead and stays so, the host is fine.
#[test]
fn a_service_that_stays_down_is_handed_on_without_waiting_for_the_lease() {
    let mut scene = Scene::new(2, AUTOMATIC, "");
    let customer = scene.customer();
    customer.more(20, "web1");
    // From now on it cannot start on web1.
    scene.break_service("web1");
    let next = scene.wait_for_active(&["web2"]);
    customer.more(20, next);
    let taken = customer.end();
    judge(&taken);
    let there = scene.orders("web2");
    let lost: Vec<i64> = taken.iter().map(|taken| taken.number).filter(|number| !there.contains(number)).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    scene.cluster.stop();
}

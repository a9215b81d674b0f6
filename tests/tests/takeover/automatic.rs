//! Nobody does anything, and the right node takes over.

use crate::books::reigns;
use crate::moving::moving;
use crate::scene::{LIMIT, judge};
use std::collections::HashSet;
use std::time::Duration;
use tests::chance::Chance;
use tests::wait::until;

const AUTOMATIC: &str = "automatic = true\n";

/// Lease, grace, and what starting costs: in the fast profile.
const TAKES_MOST: Duration = Duration::from_millis(6000 + 1120 + 2000);

/// And for the address, and the names, to follow: the segment is asked before, a name server answers, and a customer asks again.
const REACHES_MOST: Duration = Duration::from_millis(1500);

/// Scenario 1, on fresh clusters again and again.
#[test]
fn timed_a_dead_host_is_followed_by_the_freshest_and_by_no_other() {
    let usual = if std::env::var_os("RESILIENT_LONG").is_some() { 100 } else { 5 };
    // For who measures.
    let rounds = std::env::var("RESILIENT_ROUNDS").map_or(usual, |rounds| rounds.parse().expect("RESILIENT_ROUNDS is a number"));
    let mut chance = Chance::new(1);
    let pauses: Vec<[Duration; 3]> = (0..rounds).map(|_| die(chance.one_in(2))).collect();
    for (at, way) in ["by the hosts themselves", "by the address", "by the name"].iter().enumerate() {
        let mut pauses: Vec<Duration> = pauses.iter().map(|pauses| pauses[at]).collect();
        pauses.sort();
        println!(
            "{rounds} hosts died; unserved {way} for {:?} in the middle, {:?} at most",
            pauses[pauses.len() / 2],
            pauses[pauses.len() - 1]
        );
    }
}

/// The active's whole host dies while one that stands by cannot import. For how long nobody served: whoever asks each host, through the address, and through the name.
fn die(second_is_stale: bool) -> [Duration; 3] {
    let (fresh, stale) = if second_is_stale { ("web3", "web2") } else { ("web2", "web3") };
    // It would be preferred, were its data as new.
    let (mut scene, moving) = moving(3, &format!("{AUTOMATIC}priority = {{ {stale} = 10 }}\n"), "");
    let (customer, clients) = (scene.customer(), moving.clients(&scene));
    customer.more(5, "web1");
    let importing = scene.hold_imports(stale);
    let behind = scene.position(stale);
    scene.write("web1", 1_000_000, "newer");
    scene.cluster.run("web1", "exporter", &["run"]).ended(0);
    scene.has(fresh, 1_000_000, "newer");
    until(LIMIT, "that import to be written down", || (scene.position(fresh) > behind).then_some(()));
    assert!(scene.text(stale, 1_000_000).is_none());
    scene.kill_host("web1");
    let next = scene.wait_for_active(&["web2", "web3"]);
    assert_eq!(next, fresh, "the freshest");
    customer.more(5, fresh);
    clients.reach(fresh);
    drop(importing);
    let served = clients.end();
    assert_eq!(served.by, ["web1", fresh]);
    let most = served.by_address.max(served.by_name);
    assert!(most <= TAKES_MOST + REACHES_MOST, "{served:?}");
    let taken = customer.end();
    let pause = judge(&taken);
    assert!(pause <= TAKES_MOST, "nobody served for {pause:?}");
    assert_eq!(reigns(&taken), ["web1", fresh], "nobody else ever answered");
    // What was exported is there; what the dead host alone had is on its disk.
    let there: HashSet<i64> = scene.orders(fresh).into_iter().collect();
    let first = taken.iter().filter(|taken| taken.by == fresh);
    assert!(first.into_iter().all(|taken| there.contains(&taken.number)), "what {fresh} acknowledged it has");
    assert!(there.contains(&1_000_000), "and what was newest");
    scene.cluster.stop();
    [pause, served.by_address, served.by_name]
}

/// Scenario 2: the service is dead and stays so, the host is fine.
#[test]
fn a_service_that_stays_down_is_handed_on_without_waiting_for_the_lease() {
    let (mut scene, moving) = moving(2, AUTOMATIC, "");
    let (customer, clients) = (scene.customer(), moving.clients(&scene));
    customer.more(20, "web1");
    clients.reach("web1");
    // From now on it cannot start on web1.
    scene.break_service("web1");
    let next = scene.wait_for_active(&["web2"]);
    customer.more(20, next);
    clients.reach(next);
    moving.points(&scene, next);
    assert_eq!(clients.end().by, ["web1", "web2"]);
    let taken = customer.end();
    judge(&taken);
    let there = scene.orders("web2");
    let lost: Vec<i64> = taken.iter().map(|taken| taken.number).filter(|number| !there.contains(number)).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    scene.cluster.stop();
}

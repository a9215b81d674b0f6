//! Each known-bad variant of the protocol is caught by a schedule that the protocol itself survives.

use election::arbiter::Order;

use crate::clock::{MS, S};
use crate::faults::Mutant;
use crate::world::{ARBITER, Setup, World, name};

/// Runs the schedule twice: as it is, and with the fault. Only the fault makes two gates.
fn caught(mutant: Mutant, nodes: usize, schedule: fn(&mut World)) {
    let mut world = World::reigning(Setup::new(nodes));
    schedule(&mut world);
    world.sound();
    let mut world = World::new(Setup { mutant, ..Setup::new(nodes) });
    world.begin();
    schedule(&mut world);
    let broken = world.broken.clone().unwrap_or_default();
    assert!(broken.contains("two gates"), "{mutant:?} is not caught: {broken}");
}

#[test]
fn no_grace_at_the_arbiters_start_is_caught() {
    caught(Mutant::NoGrace, 3, |world| {
        world.isolate(1);
        world.run(S);
        world.crash(ARBITER);
        world.run(S);
        world.start(ARBITER);
        world.run(100 * S);
    });
}

#[test]
fn a_missing_watchdog_is_caught() {
    caught(Mutant::NoWatchdog, 3, |world| {
        world.stall(1, 100 * S);
        world.run(200 * S);
    });
}

/// One renewal reaches the arbiter, its answer takes 13 s, and then our process stops.
fn late_answer_then_a_stall(world: &mut World) {
    let renewed = |world: &World| world.hosts[1].role.as_ref().map(|role| role.renewed);
    let before = renewed(world);
    assert!(world.until(20 * S, |world| renewed(world) != before));
    world.lag[ARBITER][1] = 13 * S;
    world.cut_both(1, 2);
    world.cut_both(1, 3);
    world.run(5 * S + 100 * MS);
    world.cut_way(1, ARBITER);
    world.run(13 * S);
    world.stall(1, 100 * S);
    world.run(100 * S);
}

#[test]
fn a_watchdog_that_runs_from_its_last_kick_is_caught() {
    caught(Mutant::KickWatchdog, 3, late_answer_then_a_stall);
}

#[test]
fn a_lease_that_runs_from_the_answers_time_is_caught() {
    caught(Mutant::LeaseFromAnswer, 3, late_answer_then_a_stall);
}

#[test]
fn a_majority_instead_of_all_is_caught() {
    caught(Mutant::Majority, 3, |world| {
        world.cut_both(ARBITER, 1);
        world.cut_both(ARBITER, 2);
        world.cut_both(1, 3);
        world.run(200 * S);
    });
}

#[test]
fn a_member_that_the_active_does_not_know_is_caught() {
    caught(Mutant::Unacknowledged, 4, |world| {
        for (a, b) in [(ARBITER, 1), (ARBITER, 2), (ARBITER, 3), (1, 4)] {
            world.cut_both(a, b);
        }
        world.run(200 * S);
    });
}

#[test]
fn a_hold_that_a_restart_forgets_is_caught() {
    caught(Mutant::VolatileHold, 3, |world| {
        world.isolate(ARBITER);
        world.run(60 * S);
        assert_eq!(world.open_gate(), Some(1));
        world.heal();
        world.isolate(1);
        world.crash(2);
        world.start(2);
        world.run(100 * S);
    });
}

#[test]
fn margins_of_nothing_are_caught() {
    caught(Mutant::NoMargins, 3, |world| {
        // The clocks drift as far apart as they may, and everything else is quick.
        let now = world.now;
        for (host, rate) in [(ARBITER, 5000), (1, -5000)] {
            let shown = world.hosts[host].clock.read(now).as_ms();
            world.hosts[host].clock = crate::clock::Clock::boot(now, rate, shown + 1);
        }
        (world.weather.start, world.weather.delay) = ((MS, 2 * MS), (MS, 2 * MS));
        let before = world.hosts[1].role.as_ref().map(|role| role.renewed);
        assert!(world.until(20 * S, |world| world.hosts[1].role.as_ref().map(|role| role.renewed) != before));
        world.isolate(1);
        world.stall(1, 60 * S);
        for _ in 0..6000 {
            world.run(10 * MS);
            world.order_arbiter(Order::Elect { node: Some(name(2)), accept_loss: false });
        }
    });
}

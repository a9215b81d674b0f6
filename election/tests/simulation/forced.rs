//! Reigns that a person began without the arbiter, on the word that another node is off.

use election::NodeId;
use election::arbiter::{Order, Phase};
use election::member;
use election::message::Standing;

use crate::clock::S;
use crate::host::Input;
use crate::planned::serves;
use crate::world::{ARBITER, Setup, World, name};

/// Two are forced while neither hears the other, and then they do.
fn forced_on_both_sides() -> World {
    let mut world = World::reigning(Setup::new(3));
    (world.two_gates_allowed, world.exports) = (true, true);
    world.power_off(ARBITER);
    world.power_off(1);
    world.cut_both(2, 3);
    world.run(60 * S);
    for host in [2, 3] {
        acquainted(&mut world, host);
        world.order(host, member::Order::Force { off: name(1) });
    }
    world.run(60 * S);
    world.heal();
    world.run(60 * S);
    assert_eq!(world.standing(3), Some(Standing::Fenced), "it has heard of the other, and waits");
    world.two_gates_allowed = false;
    world
}

/// This host was told who is in the cluster.
fn acquainted(world: &mut World, host: usize) {
    let fellows = (1..=3).map(name).collect();
    world.feed(host, Input::Member(member::Input::Fellows(fellows)));
}

#[test]
fn a_forced_reign_lives_without_arbiter_and_is_found_by_it() {
    let mut world = World::reigning(Setup::new(3));
    world.power_off(ARBITER);
    world.power_off(1);
    world.run(60 * S);
    world.order(2, member::Order::Force { off: name(1) });
    assert!(world.until(20 * S, |world| serves(world, 2)));
    assert!(!world.until(300 * S, |world| !serves(world, 2)));
    world.boot(ARBITER);
    world.run(120 * S);
    assert!(serves(&world, 2), "found, the one that is off vouched for by who forced it");
    assert_eq!((world.epoch(), world.phase()), (2, Some(Phase::Leased)));
    world.boot(1);
    world.run(60 * S);
    assert_eq!(world.standing(1), Some(Standing::Ready), "the old active boots passive");
    world.sound();
}

#[test]
fn two_forced_branches_are_a_conflict_until_a_person_resolves_it() {
    let mut world = forced_on_both_sides();
    assert!(!world.until(100 * S, |world| !serves(world, 2)), "one goes on");
    world.boot(ARBITER);
    world.run(100 * S);
    assert!(serves(&world, 2), "until a person said which counts");
    assert_eq!(world.phase(), Some(Phase::Conflict));
    world.order_arbiter(Order::Resolve { winner: NodeId::from("n1") });
    assert_eq!(world.phase(), Some(Phase::Conflict), "no branch of that node");
    // The word reaches the one before the other.
    world.two_gates_allowed = true;
    world.order_arbiter(Order::Resolve { winner: name(3) });
    world.run(20 * S);
    world.two_gates_allowed = false;
    world.run(100 * S);
    assert!(serves(&world, 3));
    assert_eq!(world.standing(2), Some(Standing::Ready));
    let branch = world.exported.iter().filter(|s| s.reign.node == name(2));
    assert!(branch.clone().count() > 0 && branch.clone().all(|s| world.archive.quarantine.contains(s)), "both branches are kept");
    world.check_data();
    assert_eq!(world.broken, None);
}

#[test]
fn the_one_of_two_forced_that_waits_goes_on_when_a_person_swears_again() {
    let mut world = forced_on_both_sides();
    world.power_off(2);
    assert!(!world.until(300 * S, |world| serves(world, 3)), "that the other is silent is no proof");
    // Its number was the other's, too.
    world.two_gates_allowed = true;
    world.order(3, member::Order::Force { off: name(2) });
    assert!(world.until(20 * S, |world| serves(world, 3)));
    world.boot(2);
    acquainted(&mut world, 2);
    world.run(60 * S);
    assert!(serves(&world, 3), "the one that was off boots passive");
    assert_eq!(world.standing(2), Some(Standing::Fenced));
    world.boot(ARBITER);
    world.run(100 * S);
    assert_eq!(world.phase(), Some(Phase::Conflict));
    world.order_arbiter(Order::Resolve { winner: name(3) });
    world.run(100 * S);
    assert!(serves(&world, 3));
    assert_eq!(world.standing(2), Some(Standing::Ready));
    assert_eq!(world.broken, None);
}

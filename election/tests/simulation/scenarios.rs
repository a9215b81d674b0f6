//! The S scenarios of TAKEOVER.md's section 4, by number: losing the arbiter, the active, or the way between them.

use election::message::Standing;
use election::{Record, arbiter, member};

use crate::clock::S;
use crate::host::Process;
use crate::world::{ARBITER, Alert, Setup, World, cluster, name};

/// Not in the list, and under all of it: the first reign begins, and a dead active is replaced in time.
#[test]
fn s01_the_freshest_standby_is_active_within_the_lease_and_a_little() {
    let mut world = World::reigning(Setup::new(3));
    world.power_off(1);
    let most = world.takeover_most();
    assert!(world.until(most, |world| world.open_gate().is_some()));
    world.run(100 * S);
    assert_eq!(world.epoch(), 2);
    world.sound();
}

#[test]
fn s01_in_the_fast_profile_it_takes_two_seconds_more_than_the_lease_a_hundred_times_in_a_row() {
    for seed in 0..100 {
        let mut world = World::reigning(Setup { seed, values: election::Values::FAST, drift: true, ..Setup::new(3) });
        let wait = world.chance.between(0, 2 * S);
        world.run(wait);
        world.power_off(1);
        let most = world.timers.over().as_micros() as u64 + 2 * S;
        assert!(world.until(most, |world| world.open_gate().is_some()), "seed {seed}");
        world.run(5 * S);
        world.sound();
    }
}

#[test]
fn s02_a_service_that_is_down_is_released_without_waiting_for_the_lease() {
    let mut world = World::reigning(Setup::new(3));
    world.feed(1, crate::host::Input::Member(member::Input::ServiceDown));
    assert!(world.until(15 * S, |world| world.open_gate().is_some_and(|host| host != 1)), "no wait for TTL");
    let sealed = world.hosts[ARBITER].arbiter_record.ledger[0].sealed.clone().unwrap();
    let last = world.exported.iter().rfind(|snapshot| snapshot.reign.node == name(1)).unwrap().point.clone();
    assert!(sealed.0.values().any(|point| *point == last), "the seal waited for the final export");
    world.sound();
}

#[test]
fn s03_an_isolated_active_is_fenced_before_its_lease_ends_and_then_another_is_granted() {
    let mut world = World::reigning(Setup::new(3));
    world.isolate(1);
    let closed_most = (world.timers.lease() - world.timers.watchdog()).as_micros() as u64 + S / 2;
    let start = world.now;
    assert!(world.until(closed_most, |world| !world.hosts[1].gate_is_open(world.now)), "closed by TTL - W");
    let most = world.takeover_most() - (world.now - start);
    assert!(world.until(most, |world| world.open_gate().is_some()), "then granted");
    world.run(30 * S);
    world.heal();
    world.run(60 * S);
    assert_eq!(world.standing(1), Some(Standing::Ready));
    assert!(world.until(60 * S, |world| world.hosts[1].live == world.archive.heads()), "it imports what the other wrote");
    let tail = world
        .exported
        .iter()
        .filter(|s| s.reign.node == name(1) && world.archive.quarantine.contains(s))
        .count();
    assert!(tail > 0, "its tail is kept");
    world.sound();
}

#[test]
fn s04_renewals_are_relayed_when_only_the_direct_way_is_cut() {
    let mut world = World::reigning(Setup::new(3));
    world.cut_both(ARBITER, 1);
    let gone = world.until(400 * S, |world| world.open_gate() != Some(1));
    assert!(!gone && world.epoch() == 1 && world.starts.len() == 1);
    world.sound();
}

#[test]
fn s05_a_dead_arbiter_stops_nothing() {
    let mut world = World::reigning(Setup::new(3));
    world.power_off(ARBITER);
    let gone = world.until(900 * S, |world| world.open_gate() != Some(1));
    assert!(!gone && world.stops == 0 && world.starts.len() == 1, "serving, zero restarts");
    assert_eq!(world.told(|alert| matches!(alert, Alert::Member(1, member::Alert::Failsafe { .. }))), 1);
    world.boot(ARBITER);
    let gone = world.until(200 * S, |world| world.open_gate() != Some(1));
    assert!(!gone && world.epoch() == 1 && world.standing(1) == Some(Standing::Active));
    world.sound();
}

#[test]
fn s06_a_dead_arbiter_and_one_silent_importer_fence_the_active() {
    let mut world = World::reigning(Setup::new(3));
    world.power_off(ARBITER);
    world.cut_both(1, 3);
    assert!(world.until(40 * S, |world| world.open_gate().is_none()));
    world.run(200 * S);
    assert_eq!((world.open_gate(), world.standing(1)), (None, Some(Standing::Fenced)));
    world.heal();
    assert!(world.until(20 * S, |world| world.open_gate() == Some(1)), "goes on when all give their word");
    world.sound();
}

#[test]
fn s07_without_arbiter_and_active_nobody_is_promoted_and_a_person_is_told_once() {
    let mut world = World::reigning(Setup::new(2));
    world.power_off(ARBITER);
    world.power_off(1);
    let promoted = world.until(900 * S, |world| world.open_gate().is_some());
    assert!(!promoted);
    assert_eq!(world.told(|alert| matches!(alert, Alert::Member(_, member::Alert::Alone))), 1);
    world.sound();
}

#[test]
fn s08_an_arbiter_that_restarts_within_a_lease_keeps_the_epoch() {
    let mut world = World::reigning(Setup::new(3));
    for away in [1, 5, 20] {
        world.crash(ARBITER);
        world.run(away * S);
        world.start(ARBITER);
        let gone = world.until(60 * S, |world| world.open_gate() != Some(1));
        assert!(!gone && world.epoch() == 1 && world.starts.len() == 1);
    }
    world.sound();
}

fn second_reign() -> (World, Record, crate::data::Archive) {
    let mut world = World::reigning(Setup::new(3));
    let (record, archive) = (world.hosts[ARBITER].arbiter_record.clone(), world.archive.clone());
    world.power_off(1);
    assert!(world.until(60 * S, |world| world.open_gate().is_some()));
    world.boot(1);
    world.run(60 * S);
    (world, record, archive)
}

fn is_recovered(world: &World, forgot_archive: usize) {
    let recovered = |alert: &Alert| matches!(alert, Alert::Arbiter(arbiter::Alert::Recovered { .. }));
    assert_eq!(world.told(recovered), 1);
    assert_eq!((world.epoch(), world.phase()), (2, Some(arbiter::Phase::Leased)));
    assert!(world.archive.all().count() >= forgot_archive, "what members held is back");
}

#[test]
fn s09_an_arbiter_restored_from_a_backup_recovers_from_its_members() {
    let (mut world, record, archive) = second_reign();
    let (active, held) = (world.open_gate().unwrap(), world.archive.all().count());
    world.power_off(ARBITER);
    world.hosts[ARBITER].arbiter_record = record;
    world.archive.restore(&archive);
    world.boot(ARBITER);
    let gone = world.until(100 * S, |world| world.open_gate() != Some(active));
    assert!(!gone, "the active goes on");
    is_recovered(&world, held);
    world.order_arbiter(arbiter::Order::Acknowledge);
    world.power_off(active);
    assert!(world.until(60 * S, |world| world.open_gate().is_some()));
    assert_eq!(world.epoch(), 4, "the number that the lost memory may have given is skipped");
    world.run(60 * S);
    world.sound();
}

#[test]
fn s09_an_arbiter_without_any_memory_recovers_from_its_members() {
    let (mut world, ..) = second_reign();
    let (active, held) = (world.open_gate().unwrap(), world.archive.all().count());
    world.power_off(ARBITER);
    world.hosts[ARBITER].arbiter_record = Record::lost(cluster(), &[name(1), name(2), name(3)]);
    world.boot(ARBITER);
    world.run(100 * S);
    assert_eq!(world.open_gate(), Some(active));
    is_recovered(&world, held);
    world.sound();
}

#[test]
fn s09_recovery_waits_for_every_member_or_a_persons_word() {
    let (mut world, ..) = second_reign();
    let active = world.open_gate().unwrap();
    world.power_off(ARBITER);
    world.power_off(active);
    world.hosts[ARBITER].arbiter_record = Record::lost(cluster(), &[name(1), name(2), name(3)]);
    world.boot(ARBITER);
    let granted = world.until(300 * S, |world| world.open_gate().is_some());
    assert!(!granted && world.phase() == Some(arbiter::Phase::Recovery));
    let missing = std::collections::BTreeSet::from([name(active)]);
    assert_eq!(world.told(|alert| *alert == Alert::Arbiter(arbiter::Alert::Recovery { missing: missing.clone() })), 1);
    world.order_arbiter(arbiter::Order::Attest { off: name(active) });
    assert!(world.until(80 * S, |world| world.open_gate().is_some()));
    assert!(world.epoch() > 3);
    world.sound();
}

/// Found by random worlds: what the arbiter forgot may be a pause under which the active holds out.
#[test]
fn s09_a_pause_that_the_arbiter_forgot_is_still_waited_for() {
    let mut world = World::reigning(Setup::new(3));
    world.order_arbiter(arbiter::Order::Pause { length: std::time::Duration::from_secs(400) });
    world.run(20 * S);
    world.power_off(ARBITER);
    world.hosts[ARBITER].arbiter_record = Record::lost(cluster(), &[name(1), name(2), name(3)]);
    world.boot(ARBITER);
    world.crash(1);
    world.start(1);
    world.run(30 * S);
    assert_eq!(world.phase(), Some(arbiter::Phase::Leased));
    world.isolate(1);
    world.stall(1, 2000 * S);
    assert!(world.until(600 * S, |world| world.hosts[2].gate_is_open(world.now)));
    world.sound();
}

#[test]
fn s09_the_silent_one_in_recovery_is_expelled_only_by_force() {
    let (mut world, ..) = second_reign();
    let active = world.open_gate().unwrap();
    world.isolate(active);
    world.power_off(ARBITER);
    world.hosts[ARBITER].arbiter_record = Record::lost(cluster(), &[name(1), name(2), name(3)]);
    world.boot(ARBITER);
    world.run(10 * S);
    world.order_arbiter(arbiter::Order::Expel { node: name(active), force: false });
    assert!(!world.until(200 * S, |world| world.phase() != Some(arbiter::Phase::Recovery)));
    world.order_arbiter(arbiter::Order::Expel { node: name(active), force: true });
    assert!(world.until(100 * S, |world| world.open_gate().is_some_and(|host| host != active)));
    world.sound();
}

#[test]
fn s10_loss_in_one_direction_never_makes_two_and_leaves_one() {
    for heard in [true, false] {
        let mut world = World::reigning(Setup::new(3));
        for other in [ARBITER, 2, 3] {
            let (from, to) = if heard { (1, other) } else { (other, 1) };
            world.cut_way(from, to);
        }
        assert!(world.until(90 * S, |world| world.open_gate().is_some_and(|host| host != 1)), "another goes on");
        world.heal();
        world.run(60 * S);
        assert_eq!(world.standing(1), Some(Standing::Ready));
        world.sound();
    }
    for way in [(1, ARBITER), (ARBITER, 1)] {
        let mut world = World::reigning(Setup::new(3));
        world.cut_way(way.0, way.1);
        let gone = world.until(300 * S, |world| world.open_gate() != Some(1));
        assert!(!gone && world.epoch() == 1, "one direction to the arbiter alone is relayed around");
        world.sound();
    }
}

#[test]
fn s12_a_frozen_host_is_turned_off_first_or_its_writes_are_kept_aside() {
    let mut world = World::reigning(Setup { policy: |policy| policy.stonith = true, ..Setup::new(3) });
    world.freeze(1, 200 * S);
    assert!(world.until(80 * S, |world| world.open_gate().is_some_and(|host| host != 1)));
    world.run(200 * S);
    assert!(!world.hosts[1].up, "turned off before the grant");
    world.sound();

    let mut world = World::reigning(Setup::new(3));
    world.weather.export_every = (S, 2 * S);
    world.two_gates_allowed = true;
    world.freeze(1, 100 * S);
    assert!(world.until(80 * S, |world| world.hosts[2].gate_is_open(world.now)));
    world.run(30 * S);
    world.isolate(1);
    let before = world.exported.len();
    world.run(60 * S);
    let second: Vec<_> = world.exported[before..].iter().filter(|s| s.reign.node == name(1)).cloned().collect();
    assert!(!second.is_empty(), "it believes in its lease for a while");
    assert_eq!(world.standing(1), Some(Standing::Fenced));
    world.heal();
    world.run(30 * S);
    assert!(second.iter().all(|snapshot| world.archive.quarantine.contains(snapshot)));
    world.two_gates_allowed = false;
    world.run(60 * S);
    world.sound();
}

#[test]
fn s23_a_link_that_flaps_a_hundred_times_makes_at_most_one_takeover() {
    let mut world = World::reigning(Setup::new(3));
    for _ in 0..100 {
        world.isolate(1);
        let down = world.chance.between(S, 60 * S);
        world.run(down);
        world.heal();
        let up = world.chance.between(S, 40 * S);
        world.run(up);
    }
    assert!(world.told(|alert| matches!(alert, Alert::Arbiter(arbiter::Alert::TookOver { .. }))) <= 1);
    world.sound();
}

#[test]
fn a_rebooted_active_without_arbiter_goes_on_only_when_all_members_give_their_word() {
    let mut world = World::reigning(Setup::new(3));
    world.power_off(ARBITER);
    world.power_off(1);
    world.power_off(3);
    world.run(10 * S);
    world.boot(1);
    let resumed = world.until(120 * S, |world| world.open_gate().is_some());
    assert!(!resumed);
    world.boot(3);
    assert!(world.until(30 * S, |world| world.open_gate() == Some(1)));
    assert_eq!(world.hosts[1].member_record.own.as_ref().map(|own| own.epoch.0), Some(1));
    world.sound();
}

#[test]
fn a_restarted_process_goes_on_without_touching_the_services() {
    let mut world = World::reigning(Setup::new(3));
    world.crash(1);
    world.run(8 * S);
    world.start(1);
    let gone = world.until(60 * S, |world| world.open_gate() != Some(1));
    assert!(!gone && world.stops == 0 && world.starts.len() == 1);
    assert!(matches!(world.hosts[1].process, Some(Process::Member(_))));
    world.sound();
}

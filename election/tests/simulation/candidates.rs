//! The S scenarios of TAKEOVER.md's section 4 that are about who takes over, and who must not.

use std::time::Duration;

use election::arbiter::{Ineligible, Order, Phase, Why};
use election::message::{Grant, Handing, Message, Renew, Renewed, Standing};
use election::{BootId, Envelope, Epoch, Members, Peer, Position, SnapshotId, Stamp, Time, arbiter, member};

use crate::clock::S;
use crate::host::Input;
use crate::world::{ARBITER, Alert, Setup, World, cluster, datasets, name};

fn envelope(from: Peer, to: usize, seen: u64, message: Message) -> Box<Envelope> {
    let to = if to == ARBITER { Peer::Arbiter } else { Peer::Node(name(to)) };
    Box::new(Envelope { cluster: cluster(), from, to, seen: Epoch(seen), message })
}

fn to_member(world: &mut World, host: usize, from: Peer, message: Message) {
    let seen = world.epoch();
    world.feed(host, Input::Member(member::Input::Received(envelope(from, host, seen, message))));
}

#[test]
fn s13_what_comes_late_is_ignored() {
    let mut world = World::reigning(Setup::new(3));
    let (boot, sent) = (world.hosts[1].boot_id(), world.hosts[1].clock.read(world.now));
    world.isolate(1);
    assert!(world.until(60 * S, |world| world.open_gate().is_some_and(|host| host != 1)));
    let winner = world.open_gate().unwrap();
    assert_eq!(world.standing(1), Some(Standing::Fenced));
    let renewed = Renewed { epoch: Epoch(1), sent: Stamp { boot, at: sent }, members: None, pause: None, paused: false };
    world.feed(1, Input::Member(member::Input::Received(envelope(Peer::Arbiter, 1, 1, Message::Renewed(renewed.clone())))));
    let future = Renewed { sent: Stamp { boot: BootId("earlier".into()), at: Time::from_ms(u64::MAX / 4) }, ..renewed };
    world.feed(1, Input::Member(member::Input::Received(envelope(Peer::Arbiter, 1, 1, Message::Renewed(future)))));
    assert_eq!(world.standing(1), Some(Standing::Fenced), "an answer to a question of before, and one of another boot");

    let sent = Stamp { boot: world.hosts[1].boot_id(), at: world.hosts[1].clock.read(world.now) };
    let (generation, paused, pause_ended, handing, heard) = (1, None, None, None, None);
    let renew = Renew {
        epoch: Epoch(1),
        sent,
        generation,
        paused,
        pause_ended,
        handing,
        guarded: true,
        resuming: false,
        outside: election::message::Outside::default(),
        heard,
    };
    world.feed(ARBITER, Input::Arbiter(arbiter::Input::Received(envelope(Peer::Node(name(1)), ARBITER, 1, Message::Renew(renew)))));
    assert_eq!(world.hosts[ARBITER].arbiter_record.holder, Some(name(winner)), "a renewal of a reign that is over");

    let other = 5 - winner;
    let stamp = Stamp { boot: world.hosts[other].boot_id(), at: world.hosts[other].clock.read(world.now) };
    let (timers, members, base) = (world.timers, Members::default(), Position::default());
    let activation_max = Duration::from_secs(60);
    let grant = Grant {
        epoch: Epoch(2),
        offer: stamp.clone(),
        sent: stamp.clone(),
        timers,
        members,
        base,
        activation_max,
        handed: false,
    };
    to_member(&mut world, other, Peer::Arbiter, Message::Granted(grant));
    let record = &world.hosts[other].member_record;
    assert_eq!((record.own.clone(), record.hold.clone()), (None, None), "a grant that nobody here asked for");
    let wait = world.timers.over();
    to_member(&mut world, other, Peer::Node(name(1)), Message::Hold { epoch: Epoch(1), sent: stamp, wait });
    assert_eq!(world.hosts[other].member_record.hold, None, "a HOLD for a reign that is over");
    assert_eq!(world.open_gate(), Some(winner));
    world.run(100 * S);
    world.sound();
}

/// The source took a planned exchange back after a reboot; what it said before must not hand over.
#[test]
fn s13_a_handing_over_that_comes_late_is_ignored() {
    let mut world = World::reigning(Setup::new(3));
    let sent = Stamp { boot: world.hosts[1].boot_id(), at: world.hosts[1].clock.read(world.now) + Duration::from_secs(1) };
    let handing = Some(Handing { to: name(2), position: world.archive.heads() });
    let (generation, paused, pause_ended, heard) = (1, None, None, None);
    let renew = Renew {
        epoch: Epoch(1),
        sent,
        generation,
        paused,
        pause_ended,
        handing,
        guarded: true,
        resuming: false,
        outside: election::message::Outside::default(),
        heard,
    };
    world.power_off(1);
    world.run(S);
    world.boot(1);
    assert!(world.until(20 * S, |world| world.open_gate() == Some(1)));
    let late =
        |renew: &Renew| Input::Arbiter(arbiter::Input::Received(envelope(Peer::Node(name(1)), ARBITER, 1, Message::Renew(renew.clone()))));
    world.feed(ARBITER, late(&renew));
    assert_eq!(world.phase(), Some(Phase::Leased));
    world.crash(ARBITER);
    world.start(ARBITER);
    world.feed(ARBITER, late(&renew));
    assert_eq!(world.phase(), Some(Phase::Leased), "nor to an arbiter that has just started");
    world.run(60 * S);
    assert_eq!((world.open_gate(), world.epoch()), (Some(1), 1));
    world.sound();
}

#[test]
fn s14_an_importer_that_stalls_after_the_grant_does_not_become_active() {
    let mut world = World::reigning(Setup::new(3));
    world.power_off(1);
    assert!(world.until(60 * S, |world| world.standing(2) == Some(Standing::Claiming)));
    world.stall(2, 50 * S);
    assert!(world.until(55 * S, |world| world.open_gate() == Some(3)), "the next candidate");
    world.run(100 * S);
    assert_eq!((world.open_gate(), world.epoch()), (Some(3), 3));
    assert!(world.starts.iter().all(|(_, host, _)| *host != 2), "it was granted epoch 2 and never began");
    world.sound();
}

#[test]
fn s15_equal_positions_are_ranked_by_priority_then_by_id() {
    let mut world = World::reigning(Setup::new(4));
    world.power_off(1);
    assert!(world.until(60 * S, |world| world.open_gate().is_some()));
    assert_eq!(world.open_gate(), Some(2));
    world.sound();
    let prefer = |policy: &mut election::Policy| policy.priorities.extend([(name(3), 10)]);
    let mut world = World::reigning(Setup { policy: prefer, ..Setup::new(4) });
    world.power_off(1);
    assert!(world.until(60 * S, |world| world.open_gate().is_some()));
    assert_eq!(world.open_gate(), Some(3));
    world.sound();
}

#[test]
fn s16_when_the_freshest_is_unreachable_another_catches_up_to_the_head() {
    let mut world = World::reigning(Setup::new(3));
    world.imports[3] = false;
    world.run(60 * S);
    world.power_off(1);
    world.power_off(2);
    assert_ne!(world.hosts[3].live, world.archive.heads());
    assert!(world.until(60 * S, |world| world.phase() == Some(Phase::CatchUp)));
    world.imports[3] = true;
    assert!(world.until(15 * S, |world| world.open_gate() == Some(3)));
    assert!(world.archive.quarantine.is_empty(), "nothing that was published is lost");
    world.sound();
}

#[test]
fn s17_when_all_are_too_old_it_is_blocked_with_the_exact_list() {
    let mut world = World::reigning(Setup::new(3));
    world.imports = vec![false; 4];
    world.run(60 * S);
    world.power_off(1);
    assert!(world.until(200 * S, |world| world.phase() == Some(Phase::Blocked)));
    let held = world.hosts[2].live.clone();
    let above = |s: &&crate::data::Snapshot| held.0.get(&s.dataset).is_none_or(|point| point.number() < s.point.number());
    let exact: Vec<_> = world
        .archive
        .published
        .values()
        .flatten()
        .filter(above)
        .map(|s| (s.dataset.clone(), s.point.clone()))
        .collect();
    let blocked = world.hosts[ARBITER].arbiter().unwrap().blocked().cloned().unwrap();
    assert_eq!(blocked.why, Why::NobodyEligible);
    assert!(!exact.is_empty());
    assert_eq!(blocked.lost.iter().map(|lost| (lost.dataset.clone(), lost.point.clone())).collect::<Vec<_>>(), exact);
    let told = world.told(|alert| matches!(alert, Alert::Arbiter(arbiter::Alert::Blocked(_))));
    world.run(300 * S);
    assert_eq!(world.told(|alert| matches!(alert, Alert::Arbiter(arbiter::Alert::Blocked(_)))), told, "told once");
    assert_eq!(world.open_gate(), None);
    world.order_arbiter(Order::Elect { node: None, accept_loss: true });
    assert!(world.until(100 * S, |world| world.open_gate().is_some()));
    assert!(exact.iter().all(|(_, point)| world.archive.quarantine.iter().any(|s| s.point == *point)), "kept aside, not deleted");
    world.run(60 * S);
    world.sound();
}

#[test]
fn s17_data_older_than_allowed_is_not_taken_over_with() {
    let age =
        |policy: &mut election::Policy| policy.age_max = datasets().into_iter().map(|name| (name, Duration::from_secs(100))).collect();
    let mut world = World::reigning(Setup { policy: age, ..Setup::new(3) });
    world.exports = false;
    world.run(120 * S);
    world.power_off(1);
    world.run(100 * S);
    let blocked = world.hosts[ARBITER].arbiter().unwrap().blocked().cloned().unwrap();
    assert!(matches!(blocked.why, Why::TooOld { .. }), "{blocked:?}");
    world.order_arbiter(Order::Elect { node: None, accept_loss: false });
    assert!(world.until(10 * S, |world| world.open_gate().is_some()), "a person may");
    world.sound();
}

#[test]
fn s24_while_a_pause_runs_a_dead_active_is_not_replaced() {
    for restart in [false, true] {
        let mut world = World::reigning(Setup::new(3));
        world.order_arbiter(Order::Pause { length: Duration::from_secs(300) });
        world.run(20 * S);
        assert!(world.hosts[ARBITER].arbiter_record.pause.is_some_and(|paused| paused.acknowledged));
        world.isolate(1);
        assert!(!world.until(200 * S, |world| world.open_gate() != Some(1)), "the active holds out without anybody");
        world.power_off(1);
        if restart {
            world.crash(ARBITER);
            world.start(ARBITER);
        }
        let early = world.until(if restart { 300 } else { 100 } * S, |world| world.open_gate().is_some());
        assert!(!early);
        assert!(world.until(120 * S, |world| world.open_gate().is_some()), "after its end as ever");
        world.sound();
    }
}

#[test]
fn s24_a_pause_that_is_ended_early_ends_for_both() {
    let mut world = World::reigning(Setup::new(3));
    world.order_arbiter(Order::Pause { length: Duration::from_secs(3000) });
    world.run(20 * S);
    world.order_arbiter(Order::Resume);
    world.run(20 * S);
    assert_eq!(world.hosts[ARBITER].arbiter_record.pause, None);
    world.isolate(1);
    let most = world.takeover_most();
    assert!(world.until(most, |world| world.open_gate().is_some_and(|host| host != 1)));
    world.sound();
}

#[test]
fn s25_who_joined_while_the_active_was_cut_off_is_not_electable() {
    let mut world = World::reigning(Setup { strangers: 1, ..Setup::new(4) });
    for (a, b) in [(ARBITER, 1), (ARBITER, 2), (ARBITER, 3), (1, 4)] {
        world.cut_both(a, b);
    }
    world.run(5 * S);
    world.order_arbiter(Order::Join { node: name(4), active: false });
    let changed = world.until(300 * S, |world| world.open_gate() != Some(1));
    assert!(!changed);
    let blocked = world.hosts[ARBITER].arbiter().unwrap().blocked().cloned().unwrap();
    assert_eq!(blocked.members[&name(4)], Ineligible::Unacknowledged);
    world.heal();
    world.run(30 * S);
    world.power_off(1);
    world.power_off(2);
    world.power_off(3);
    assert!(world.until(100 * S, |world| world.open_gate() == Some(4)), "electable once the active knows it");
    world.sound();
}

#[test]
fn who_stands_beside_the_history_is_handed_the_role_once_it_imported_what_is_newer() {
    let mut world = World::reigning(Setup::new(3));
    world.imports[3] = false;
    world.hosts[3].live.0.values_mut().for_each(|point| point.id = SnapshotId::from("of another way"));
    world.run(60 * S);
    world.tell_readiness(3);
    world.order(1, member::Order::Switchover { to: name(3), within: None });
    assert!(world.until(30 * S, |world| world.phase() == Some(Phase::CatchUp)));
    world.imports[3] = true;
    assert!(world.until(30 * S, |world| world.open_gate() == Some(3)));
    world.sound();
}

#[test]
fn s29_a_diverged_importer_is_not_eligible() {
    let mut world = World::reigning(Setup::new(3));
    world.imports[3] = false;
    world.run(10 * S);
    world.hosts[3].live.0.values_mut().for_each(|point| point.id = SnapshotId::from("of another way"));
    world.tell_readiness(3);
    world.power_off(1);
    world.power_off(2);
    assert!(!world.until(200 * S, |world| world.open_gate().is_some()));
    let blocked = world.hosts[ARBITER].arbiter().unwrap().blocked().cloned().unwrap();
    assert!(matches!(blocked.members[&name(3)], Ineligible::Diverged(_)), "{blocked:?}");
    world.boot(2);
    assert!(world.until(100 * S, |world| world.open_gate() == Some(2)));
    world.sound();
}

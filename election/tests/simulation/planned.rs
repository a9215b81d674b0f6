//! What people plan and order, and what holds the arbiter back from acting by itself.

use std::time::Duration;

use election::arbiter::{Alert as Told, Order, Phase, Why};
use election::message::Standing;
use election::{arbiter, member};

use crate::clock::S;
use crate::host::Input;
use crate::world::{ARBITER, Alert, Setup, World, name};

fn blocked(world: &World) -> Option<Why> {
    world.hosts[ARBITER].arbiter()?.blocked().map(|blocked| blocked.why.clone())
}

pub fn serves(world: &World, host: usize) -> bool {
    world.open_gate() == Some(host)
}

#[test]
fn a_switchover_hands_over_everything_and_no_lease_is_waited_for() {
    let mut world = World::reigning(Setup::new(3));
    world.order(1, member::Order::Switchover { to: name(3), within: None });
    assert!(world.until(15 * S, |world| serves(world, 3)));
    let last = world.exported.iter().rfind(|snapshot| snapshot.reign.node == name(1)).unwrap().clone();
    world.run(100 * S);
    assert!(world.archive.quarantine.is_empty() && world.archive.all().any(|id| *id == last.point.id), "zero writes lost");
    assert_eq!((world.epoch(), world.standing(1)), (2, Some(Standing::Ready)));
    world.sound();
}

/// Scenario 21's decision; its real processes are tested elsewhere.
#[test]
fn s21_when_the_candidate_dies_in_a_switchover_the_source_goes_on() {
    let mut world = World::reigning(Setup::new(3));
    world.weather.start = (5 * S, 6 * S);
    world.order(1, member::Order::Switchover { to: name(3), within: None });
    assert!(world.until(20 * S, |world| world.phase() == Some(Phase::Granted)));
    world.power_off(3);
    assert!(world.until(100 * S, |world| serves(world, 1)), "offered to the source next");
    assert_eq!(world.epoch(), 3);
    world.run(60 * S);
    assert!(world.archive.quarantine.is_empty());
    world.sound();

    let mut world = World::reigning(Setup::new(3));
    world.order(1, member::Order::Switchover { to: name(3), within: None });
    world.power_off(3);
    assert!(world.until(100 * S, |world| serves(world, 1)), "died before the grant: the source opens again");
    assert_eq!(world.epoch(), 1);
    world.run(60 * S);
    world.sound();
}

fn failed_exchanges(world: &World) -> usize {
    world.told(|alert| matches!(alert, Alert::Member(1, member::Alert::ExchangeFailed { .. })))
}

#[test]
fn a_switchover_waits_while_members_are_bound_by_their_word_and_the_source_serves_meanwhile() {
    let mut world = World::reigning(Setup::new(3));
    world.crash(ARBITER);
    assert!(world.until(60 * S, |world| world.standing(1) == Some(Standing::Failsafe)));
    world.run(3 * S);
    world.start(ARBITER);
    assert!(world.until(60 * S, |world| world.standing(1) == Some(Standing::Active)));
    let bound = world.hosts[3].member_record.hold.clone().unwrap();
    world.order(1, member::Order::Switchover { to: name(3), within: None });
    world.run(10 * S);
    assert!(serves(&world, 1), "until {:?}", bound.until);
    assert!(world.until(60 * S, |world| serves(world, 3)));
    assert_eq!((failed_exchanges(&world), world.epoch()), (0, 2));
    world.sound();
}

#[test]
fn an_exchange_that_failed_binds_nobody() {
    let mut world = World::reigning(Setup::new(3));
    world.imports[3] = false;
    world.run(20 * S);
    world.order(1, member::Order::Switchover { to: name(3), within: None });
    assert!(world.until(100 * S, |world| failed_exchanges(world) == 1 && serves(world, 1)));
    world.order(1, member::Order::Switchover { to: name(2), within: None });
    assert!(world.until(15 * S, |world| serves(world, 2)));
    assert_eq!(failed_exchanges(&world), 1);
    world.sound();
}

#[test]
fn a_switchover_whose_arbiter_is_lost_is_taken_back_only_by_everybodys_word() {
    let mut world = World::reigning(Setup::new(3));
    world.imports[3] = false;
    world.order(1, member::Order::Switchover { to: name(3), within: None });
    world.run(10 * S);
    world.power_off(ARBITER);
    world.cut_both(1, 2);
    assert!(!world.until(200 * S, |world| world.open_gate().is_some()));
    world.heal();
    assert!(world.until(20 * S, |world| serves(world, 1)));
    world.sound();
}

#[test]
fn a_grant_that_never_arrived_is_nobodys_failure() {
    let mut world = World::reigning(Setup::new(2));
    world.power_off(1);
    assert!(world.until(100 * S, |world| world.phase() == Some(Phase::Granted)));
    world.crash(2);
    world.start(2);
    assert!(world.until(200 * S, |world| serves(world, 2)), "the only one is offered it again");
    world.sound();
}

#[test]
fn either_switch_alone_never_acts() {
    let mut world = World::reigning(Setup { policy: |policy| policy.automatic = false, ..Setup::new(3) });
    world.power_off(1);
    assert!(!world.until(300 * S, |world| world.open_gate().is_some()));
    assert_eq!(blocked(&world), Some(Why::SwitchOff));
    world.order_arbiter(Order::Elect { node: None, accept_loss: false });
    assert!(world.until(20 * S, |world| world.open_gate().is_some()), "a person may");

    let mut world = World::reigning(Setup::new(3));
    world.imports.fill(false);
    world.power_off(1);
    for host in [2, 3] {
        let readiness = election::message::Readiness { automatic: false, ..world.readiness(host) };
        world.feed(host, Input::Member(member::Input::Readiness(readiness)));
    }
    assert!(!world.until(300 * S, |world| world.open_gate().is_some()));
    assert_eq!(world.phase(), Some(Phase::Blocked));
}

#[test]
fn data_that_was_never_tried_out_is_taken_over_with_by_a_person_only() {
    let mut world = World::reigning(Setup::new(3));
    world.imports.fill(false);
    world.power_off(1);
    for host in [2, 3] {
        let readiness = election::message::Readiness { undrilled: true, ..world.readiness(host) };
        world.feed(host, Input::Member(member::Input::Readiness(readiness)));
    }
    assert!(!world.until(300 * S, |world| world.open_gate().is_some()));
    assert_eq!(world.phase(), Some(Phase::Blocked));
    world.order_arbiter(Order::Elect { node: None, accept_loss: false });
    assert!(world.until(20 * S, |world| world.open_gate().is_some()), "a person may");
    world.sound();
}

/// The role returns to who gave it; that nobody else is there to take it makes no candidate of who is none.
#[test]
fn when_both_sides_of_a_switchover_die_nobody_is_taken_who_would_not_be_taken_by_itself() {
    type Readiness = election::message::Readiness;
    let none: [fn(&mut Readiness); 2] = [|readiness| readiness.undrilled = true, |readiness| readiness.automatic = false];
    for change in none {
        let mut world = World::reigning(Setup::new(3));
        world.weather.start = (5 * S, 6 * S);
        world.order(1, member::Order::Switchover { to: name(2), within: None });
        assert!(world.until(20 * S, |world| world.phase() == Some(Phase::Granted)));
        world.power_off(1);
        world.power_off(2);
        world.run(5 * S);
        world.imports.fill(false);
        let mut readiness = world.readiness(3);
        change(&mut readiness);
        world.feed(3, Input::Member(member::Input::Readiness(readiness)));
        assert!(!world.until(300 * S, |world| world.open_gate().is_some()));
        world.order_arbiter(Order::Elect { node: None, accept_loss: false });
        assert!(world.until(60 * S, |world| serves(world, 3)), "a person may");
        world.sound();
    }
}

#[test]
fn a_delay_is_waited_for_and_the_active_may_return_in_it() {
    let slow = |policy: &mut election::Policy| policy.delay = Duration::from_secs(600);
    let mut world = World::reigning(Setup { policy: slow, ..Setup::new(3) });
    world.power_off(1);
    assert!(!world.until(500 * S, |world| world.open_gate().is_some()));
    world.boot(1);
    assert!(world.until(20 * S, |world| serves(world, 1)));
    assert_eq!(world.epoch(), 1);
    world.power_off(1);
    assert!(world.until(700 * S, |world| world.open_gate().is_some()));
    world.sound();
}

#[test]
fn after_a_takeover_the_next_waits_an_hour_or_for_a_person_and_two_a_day_are_enough() {
    let mut world = World::reigning(Setup::new(4));
    world.exports = false;
    let fall = |world: &mut World| {
        let active = world.open_gate().unwrap();
        world.power_off(active);
        active
    };
    fall(&mut world);
    assert!(world.until(60 * S, |world| world.open_gate().is_some()));
    fall(&mut world);
    assert!(!world.until(1000 * S, |world| world.open_gate().is_some()));
    assert!(matches!(blocked(&world), Some(Why::Unacknowledged { .. })));
    world.order_arbiter(Order::Acknowledge);
    assert!(world.until(60 * S, |world| world.open_gate().is_some()));
    world.boot(1);
    world.boot(2);
    world.order_arbiter(Order::Acknowledge);
    fall(&mut world);
    assert!(!world.until(4000 * S, |world| world.open_gate().is_some()));
    assert_eq!(blocked(&world), Some(Why::TooMany { within_window: 2 }));
    world.order_arbiter(Order::Elect { node: Some(name(2)), accept_loss: false });
    assert!(world.until(60 * S, |world| serves(world, 2)));
    world.sound();
}

#[test]
fn without_a_gate_and_beside_the_arbiter_nothing_is_automatic() {
    let mut world = World::reigning(Setup { policy: |policy| policy.beside = Some(name(2)), ..Setup::new(2) });
    world.power_off(1);
    assert!(!world.until(300 * S, |world| world.open_gate().is_some()));
    assert_eq!(blocked(&world), Some(Why::TwoHosts));

    let mut world = World::reigning(Setup::new(2));
    let readiness = election::message::Readiness { guarded: false, ..world.readiness(1) };
    world.exports = false;
    world.feed(1, Input::Member(member::Input::Readiness(readiness)));
    world.run(20 * S);
    world.power_off(1);
    assert!(!world.until(300 * S, |world| world.open_gate().is_some()));
    assert_eq!(blocked(&world), Some(Why::Unguarded));
}

/// Scenario 22's decision.
#[test]
fn s22_when_an_activation_fails_the_next_candidate_is_tried_and_the_old_tail_goes_forward() {
    let mut world = World::reigning(Setup::new(3));
    world.weather.start = (10 * S, 11 * S);
    world.isolate(1);
    assert!(world.until(60 * S, |world| world.standing(2) == Some(Standing::Activating)));
    let tail: Vec<_> = world.hosts[1].spool.clone();
    assert!(!tail.is_empty());
    world.heal();
    world.run(6 * S);
    assert!(tail.iter().all(|snapshot| world.archive.quarantine.contains(snapshot)), "sealed");
    let epoch = election::Epoch(2);
    world.feed(2, Input::Member(member::Input::StartFailed { epoch }));
    assert!(world.until(60 * S, |world| world.open_gate().is_some_and(|host| host != 2)));
    assert_eq!(world.told(|alert| matches!(alert, Alert::Arbiter(Told::Void { .. }))), 1);
    assert!(tail.iter().all(|snapshot| !world.archive.quarantine.contains(snapshot)), "the seal is lifted: no write is lost");
    world.run(60 * S);
    world.sound();
}

#[test]
fn activate_is_refused_while_a_lease_lives_and_says_who_holds_it() {
    let mut world = World::reigning(Setup::new(3));
    world.order(2, member::Order::Activate { accept_loss: false, adopt: false });
    world.run(5 * S);
    let refusals = world.lines(10_000);
    assert!(refusals.contains("n2 is refused: Leased { holder: Some(NodeId(\"n1\")) }"), "{refusals}");
    assert_eq!(world.epoch(), 1);
    world.sound();
}

#[test]
fn the_active_is_expelled_only_by_force_which_fences_it_first() {
    let mut world = World::reigning(Setup::new(3));
    world.order_arbiter(Order::Expel { node: name(1), force: false });
    world.run(60 * S);
    assert!(serves(&world, 1) && world.lines(100_000).contains("arbiter refuses: ExpelsActive"));
    world.order_arbiter(Order::Expel { node: name(1), force: true });
    assert!(world.until(60 * S, |world| world.open_gate().is_some_and(|host| host != 1)));
    world.run(60 * S);
    assert!(!world.hosts[ARBITER].arbiter_record.members.contains_key(&name(1)));
    world.sound();
}

#[test]
fn a_closed_node_takes_no_part_until_it_is_reopened() {
    let mut world = World::reigning(Setup::new(3));
    world.order(1, member::Order::Close);
    assert!(world.until(20 * S, |world| world.open_gate().is_some_and(|host| host != 1)));
    let second = world.open_gate().unwrap();
    assert_eq!(world.standing(1), Some(Standing::Closed));
    world.power_off(1);
    world.boot(1);
    world.run(20 * S);
    world.order_arbiter(Order::Acknowledge);
    world.order_arbiter(Order::Expel { node: name(5 - second), force: false });
    world.power_off(second);
    assert!(!world.until(200 * S, |world| world.open_gate().is_some()));
    world.order(1, member::Order::Reopen);
    assert!(world.until(100 * S, |world| serves(world, 1)));
    world.sound();
}

#[test]
fn a_plan_says_who_and_what_would_be_lost_and_changes_nothing() {
    let mut world = World::reigning(Setup::new(3));
    world.imports[3] = false;
    world.run(60 * S);
    let plan = world.hosts[ARBITER].arbiter().unwrap().plan();
    assert_eq!(plan.forbidden, None);
    assert_eq!(plan.candidates.iter().map(|(node, _)| node.clone()).collect::<Vec<_>>(), [name(2), name(3)]);
    assert!(plan.candidates[1].1.len() > 3 && plan.candidates[0].1.len() < 3, "{plan:?}");
    assert_eq!(arbiter::Phase::Leased, world.phase().unwrap());
}

/// Daemons write records and send messages as JSON; nothing may be lost on that way.
#[test]
fn what_is_durable_and_what_is_sent_survives_json() {
    let mut world = World::reigning(Setup::new(3));
    world.order_arbiter(Order::Pause { length: Duration::from_secs(60) });
    world.run(10 * S);
    world.power_off(ARBITER);
    world.run(150 * S);
    world.boot(ARBITER);
    world.run(100 * S);
    world.power_off(1);
    assert!(world.until(60 * S, |world| world.open_gate().is_some()));
    let record = &world.hosts[ARBITER].arbiter_record;
    let text = serde_json::to_string(record).unwrap();
    assert_eq!(serde_json::from_str::<election::Record>(&text).unwrap(), *record);
    for host in [1, 2, 3] {
        let record = &world.hosts[host].member_record;
        assert_eq!(serde_json::from_str::<election::MemberRecord>(&serde_json::to_string(record).unwrap()).unwrap(), *record);
        let role = world.hosts[host].role.as_ref();
        assert_eq!(
            serde_json::from_str::<Option<election::Role>>(&serde_json::to_string(&role).unwrap())
                .unwrap()
                .as_ref(),
            role
        );
    }
    assert!(world.hosts.iter().any(|host| host.member_record.hold.is_some()), "a HOLD is among them");
    assert!(world.sent.len() > 10, "kinds of messages");
    for envelope in world.sent.values() {
        let text = serde_json::to_string(envelope).unwrap();
        assert_eq!(serde_json::from_str::<election::Envelope>(&text).unwrap(), *envelope, "{text}");
    }
}

//! What goes wrong by chance: one disturbance after the other, of every kind, then a calm in which somebody must become active.

use std::time::Duration;

use election::{Record, Values, arbiter, member};

use crate::chance::Chance;
use crate::clock::{MS, S};
use crate::faults::Mutant;
use crate::host::Input;
use crate::world::{ARBITER, Event, Setup, Weather, World, cluster, name};

/// How long disturbances go on, and how long it may take afterwards.
const STORM: u64 = 700 * S;
const CALM_MOST: u64 = 500 * S;

/// One world from one seed.
pub fn run(seed: u64, mutant: Mutant, trace: bool) -> World {
    let mut chance = Chance::new(seed ^ 0xd15ea5e);
    let nodes = chance.between(2, 5) as usize;
    let values = if chance.of_thousand(500) { Values::FAST } else { Values::DEFAULT };
    let eager = |policy: &mut election::Policy| (policy.block, policy.takeovers_max) = (Duration::ZERO, usize::MAX);
    let lossy = |policy: &mut election::Policy| {
        (policy.block, policy.takeovers_max) = (Duration::ZERO, usize::MAX);
        (policy.lag_max, policy.catch_up_max) = (Duration::from_secs(600), Duration::from_secs(10));
    };
    let policy = if chance.of_thousand(250) { lossy } else { eager };
    let mut world = World::new(Setup { seed, values, mutant, drift: true, policy, ..Setup::new(nodes) });
    world.trace = trace.then(Vec::new);
    world.begin();
    let fast = values == Values::FAST;
    world.weather = Weather {
        delay: (MS, *chance.pick(&[5 * MS, 50 * MS, 400 * MS])),
        loss: *chance.pick(&[0, 10, 100]),
        doubled: *chance.pick(&[0, 30]),
        very_late: *chance.pick(&[0, 3, 20]),
        slow_disk: *chance.pick(&[0, 0, 20]),
        crash_at_persist: *chance.pick(&[0, 0, 10]),
        start: (50 * MS, *chance.pick(&[100 * MS, S, 20 * S])),
        stop: (50 * MS, *chance.pick(&[100 * MS, S, 60 * S])),
        export_every: (S, if fast { 4 * S } else { 10 * S }),
    };
    world.disturb = Some(disturb);
    world.later(S, Event::Disturb);
    world.run(STORM);
    world.disturb = None;
    calm(&mut world);
    world
}

fn calm(world: &mut World) {
    if world.broken.is_some() {
        return;
    }
    world.heal();
    world.lag.iter_mut().for_each(|row| row.fill(0));
    world.imports.fill(true);
    world.say(|_| "calm".to_owned());
    world.weather = Weather { export_every: (2 * S, 4 * S), ..Weather::fair() };
    for host in 0..world.hosts.len() {
        world.boot(host);
        world.start(host);
    }
    world.order_arbiter(arbiter::Order::Resume);
    for host in 1..world.hosts.len() {
        world.order_arbiter(arbiter::Order::Join { node: name(host), active: false });
    }
    for host in 1..world.hosts.len() {
        if world.hosts[host].member_record.closed {
            world.order(host, member::Order::Reopen);
        }
    }
    let active = world.until(CALM_MOST, |world| world.open_gate().is_some());
    if !active && world.broken.is_none() {
        let blocked = world.hosts[ARBITER].arbiter().and_then(|arbiter| arbiter.blocked().cloned());
        let standings: Vec<_> = (1..world.hosts.len()).map(|host| world.standing(host)).collect();
        world.fail(format!("nobody is active after the calm: {:?}, {blocked:?}, {standings:?}", world.phase()));
    }
    let waiting = |world: &World| world.hosts.iter().map(|host| host.spool.len()).sum::<usize>();
    if !world.until(200 * S, |world| waiting(world) < 3) && world.broken.is_none() {
        let many = waiting(world);
        world.fail(format!("{many} snapshots are not pulled after the calm"));
    }
    world.run(30 * S);
    world.check_data();
}

fn disturb(world: &mut World) {
    let fast = world.timers.lease() < Duration::from_secs(10);
    let next = world.chance.between(0, if fast { 15 * S } else { 40 * S });
    world.later(next, Event::Disturb);
    let many = world.hosts.len() as u64;
    let any = world.chance.between(0, many) as usize;
    let other = world.chance.between(0, many) as usize;
    let node = world.chance.between(1, many) as usize;
    let active = world.open_gate().unwrap_or(node);
    match world.chance.between(0, 30) {
        0..5 => world.heal(),
        5..8 => world.cut_way(any, other),
        8..10 => world.cut_both(any, other),
        10 => world.cut_both(ARBITER, active),
        11 => world.isolate(any),
        12 => world.isolate(active),
        13..15 => kill(world, any),
        15..17 => unplug(world, any),
        17 => kill(world, active),
        18 => unplug(world, active),
        19..22 => {
            let (host, length) = (if world.chance.of_thousand(500) { active } else { any }, world.chance.between(100 * MS, 90 * S));
            world.stall(host, length);
        }
        22 => {
            let (from, to, lag) = (any, other, world.chance.between(0, 20 * S));
            world.lag[from][to] = if world.lag[from][to] == 0 { lag } else { 0 };
        }
        23 => world.lag.iter_mut().for_each(|row| row.fill(0)),
        24 => world.feed(active, Input::Member(member::Input::ServiceDown)),
        25 => world.order(active, member::Order::Switchover { to: name(node), within: None }),
        26 => orders(world, node),
        27 => forget(world),
        28 => world.imports[node] = !world.imports[node],
        _ => world.imports.fill(true),
    }
}

fn kill(world: &mut World, host: usize) {
    world.crash(host);
    let after = world.chance.between(10 * MS, 30 * S);
    world.later(after, Event::Start { host });
}

fn unplug(world: &mut World, host: usize) {
    if world.hosts[host].up {
        world.power_off(host);
        let after = world.chance.between(S, 90 * S);
        world.later(after, Event::Boot { host });
    }
}

fn orders(world: &mut World, node: usize) {
    let order = match world.chance.between(0, 9) {
        5 => arbiter::Order::Expel { node: name(node), force: false },
        // In RECOVERY force is an oath that the node is off; persons of this world do not swear falsely.
        6 => {
            let arbiter = &world.hosts[ARBITER];
            let known = !arbiter.arbiter_record.recovering && arbiter.stalled_until <= world.now;
            let force = world.chance.of_thousand(300) && known;
            arbiter::Order::Expel { node: name(node), force }
        }
        7 | 8 => arbiter::Order::Join { node: name(node), active: false },
        0 => arbiter::Order::Pause { length: Duration::from_secs(60) },
        1 => arbiter::Order::Resume,
        2 => arbiter::Order::Elect { node: Some(name(node)), accept_loss: false },
        3 => arbiter::Order::Elect { node: None, accept_loss: true },
        _ => return world.order(node, member::Order::Activate { accept_loss: false, adopt: false }),
    };
    world.order_arbiter(order);
}

/// Rarely: the arbiter's host is lost, and enrolment is all that is left.
fn forget(world: &mut World) {
    if world.chance.of_thousand(300) {
        world.power_off(ARBITER);
        let members: Vec<_> = (1..world.hosts.len()).map(name).collect();
        world.hosts[ARBITER].arbiter_record = Record::lost(cluster(), &members);
        let after = world.chance.between(S, 60 * S);
        world.later(after, Event::Boot { host: ARBITER });
    }
}

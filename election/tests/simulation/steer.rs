//! How a scenario moves its world.

use election::message::Standing;
use election::{Member, arbiter, member};

use crate::clock::{Real, S};
use crate::host::Input;
use crate::world::{ARBITER, Alert, Setup, World, name};

impl World {
    /// A cluster of so many nodes, the first of them active, everybody up to date. The trace is kept.
    pub fn reigning(setup: Setup) -> World {
        let mut world = World::new(setup);
        world.trace = Some(Vec::new());
        world.begin();
        world
    }

    pub fn begin(&mut self) {
        self.order_arbiter(arbiter::Order::Join { node: name(1), active: true });
        self.run(S);
        self.order(1, member::Order::Activate { accept_loss: false, adopt: false });
        assert!(self.until(20 * S, |world| world.open_gate() == Some(1)), "the first reign does not begin");
        self.run(20 * S);
        let even = |world: &World| (1..world.hosts.len()).all(|host| world.hosts[host].live == world.archive.heads());
        assert!(self.until(200 * S, even), "the members do not catch up");
        self.alerts.clear();
    }

    pub fn order(&mut self, host: usize, order: member::Order) {
        self.say(|_| format!("a person orders at n{host}: {order:?}"));
        self.feed(host, Input::Member(member::Input::Order(order)));
    }

    pub fn order_arbiter(&mut self, order: arbiter::Order) {
        self.say(|_| format!("a person orders at the arbiter: {order:?}"));
        self.feed(ARBITER, Input::Arbiter(arbiter::Input::Order(order)));
    }

    /// One way: nothing of `from` arrives at `to`.
    pub fn cut_way(&mut self, from: usize, to: usize) {
        self.say(|_| format!("cut: {from} -> {to}"));
        self.cut[from][to] = true;
    }

    pub fn cut_both(&mut self, a: usize, b: usize) {
        self.cut_way(a, b);
        self.cut_way(b, a);
    }

    pub fn isolate(&mut self, host: usize) {
        for other in (0..self.hosts.len()).filter(|other| *other != host) {
            self.cut_both(host, other);
        }
    }

    pub fn heal(&mut self) {
        self.say(|_| "all links heal".to_owned());
        self.cut.iter_mut().for_each(|row| row.fill(false));
    }

    pub fn standing(&self, host: usize) -> Option<Standing> {
        self.hosts[host].member().map(Member::standing)
    }

    pub fn epoch(&self) -> u64 {
        self.hosts[ARBITER].arbiter_record.epoch.0
    }

    pub fn phase(&self) -> Option<arbiter::Phase> {
        self.hosts[ARBITER].arbiter().map(election::Arbiter::phase)
    }

    pub fn told(&self, wanted: impl Fn(&Alert) -> bool) -> usize {
        self.alerts.iter().filter(|(_, alert)| wanted(alert)).count()
    }

    /// TTL + G, with what catching up, offering and starting may take on top.
    pub fn takeover_most(&self) -> Real {
        let over = self.timers.over() + self.timers.request() * 4 + std::time::Duration::from_secs(4);
        over.as_micros() as Real * 102 / 100
    }

    /// Nothing broke and nothing was lost.
    pub fn sound(&mut self) {
        self.check_data();
        assert_eq!(self.broken, None);
    }
}

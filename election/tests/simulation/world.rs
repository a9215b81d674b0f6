//! The world: hosts, a network, an archive, one queue of events, and what must hold after each of them.
//!
//! It runs the very `step` of arbiter and members, and carries out what they say: records are durable before what follows is done, gates close by
//! themselves, stopping takes its time. It knows real time, which nobody in it does.

use std::collections::BTreeMap;
use std::time::Duration;

use election::{ClusterId, Dataset, Epoch, NodeId, Peer, Policy, Record, Timers, Values, arbiter, member};

use crate::chance::Chance;
use crate::clock::{Clock, MS, Real, S};
use crate::data::{Archive, Snapshot};
use crate::faults::Mutant;
use crate::host::{Host, Input};

pub const ARBITER: usize = 0;

#[derive(Clone, Debug)]
pub enum Event {
    Feed {
        host: usize,
        input: Box<Input>,
    },
    Wake {
        host: usize,
        incarnation: u64,
        wake: u64,
    },
    Unstall {
        host: usize,
    },
    Start {
        host: usize,
    },
    Boot {
        host: usize,
    },
    Thaw {
        host: usize,
    },
    /// To the process of this boot only: what services and exports say.
    Done {
        host: usize,
        boots: u64,
        input: Box<Input>,
    },
    Export {
        host: usize,
    },
    Pull {
        host: usize,
    },
    Pulled {
        from: usize,
        snapshots: Vec<Snapshot>,
    },
    Sync {
        host: usize,
    },
    Synced {
        host: usize,
    },
    Disturb,
}

/// How the network and the disks behave.
#[derive(Clone, Debug)]
pub struct Weather {
    pub delay: (Real, Real),
    pub loss: u64,
    pub doubled: u64,
    /// In a thousand messages, delayed up to 90 s.
    pub very_late: u64,
    pub slow_disk: u64,
    pub crash_at_persist: u64,
    pub start: (Real, Real),
    pub stop: (Real, Real),
    pub export_every: (Real, Real),
}

impl Weather {
    pub fn fair() -> Weather {
        Weather {
            delay: (MS, 20 * MS),
            loss: 0,
            doubled: 0,
            very_late: 0,
            slow_disk: 0,
            crash_at_persist: 0,
            start: (500 * MS, S),
            stop: (500 * MS, S),
            export_every: (4 * S, 6 * S),
        }
    }
}

pub struct Setup {
    pub seed: u64,
    pub nodes: usize,
    pub values: Values,
    pub policy: fn(&mut Policy),
    pub mutant: Mutant,
    pub drift: bool,
    /// So many of the last nodes are not enrolled yet.
    pub strangers: usize,
}

impl Setup {
    pub fn new(nodes: usize) -> Setup {
        Setup {
            seed: 1,
            nodes,
            values: Values::DEFAULT,
            policy: |_| (),
            mutant: Mutant::None,
            drift: false,
            strangers: 0,
        }
    }
}

pub struct World {
    pub seed: u64,
    pub chance: Chance,
    pub now: Real,
    queue: BTreeMap<(Real, u64), Event>,
    events: u64,
    pub hosts: Vec<Host>,
    pub cut: Vec<Vec<bool>>,
    /// On top of the weather's delay, by direction.
    pub lag: Vec<Vec<Real>>,
    pub weather: Weather,
    pub archive: Archive,
    pub policy: Policy,
    pub timers: Timers,
    pub mutant: Mutant,
    pub broken: Option<String>,
    /// Who took up which epoch.
    pub epochs: BTreeMap<Epoch, NodeId>,
    pub exported: Vec<Snapshot>,
    pub alerts: Vec<(Real, Alert)>,
    pub starts: Vec<(Real, usize, Epoch)>,
    pub stops: u64,
    pub trace: Option<Vec<String>>,
    /// With a trace: one message of each kind.
    pub sent: std::collections::HashMap<std::mem::Discriminant<election::Message>, election::Envelope>,
    pub exports: bool,
    pub imports: Vec<bool>,
    pub two_gates_allowed: bool,
    pub disturb: Option<fn(&mut World)>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Alert {
    Arbiter(arbiter::Alert),
    Member(usize, member::Alert),
}

pub fn cluster() -> ClusterId {
    ClusterId::from("shop")
}

pub fn datasets() -> Vec<Dataset> {
    vec![Dataset::from("shop"), Dataset::from("mail")]
}

pub fn name(host: usize) -> NodeId {
    NodeId(format!("n{host}"))
}

impl World {
    /// All hosts up, all nodes enrolled, nobody active.
    pub fn new(setup: Setup) -> World {
        let timers = match setup.mutant {
            Mutant::NoMargins => Timers::unchecked(Values { watchdog: Duration::ZERO, ..setup.values }, Duration::ZERO),
            _ => Timers::new(setup.values, Duration::from_secs(1)).unwrap(),
        };
        let mut policy = Policy::new(timers, datasets());
        policy.automatic = true;
        policy.catch_up_max = Duration::from_secs(60);
        policy.final_export_max = Duration::from_secs(30);
        policy.activation_max = Duration::from_secs(60);
        policy.cooldown = Duration::from_secs(30);
        (setup.policy)(&mut policy);
        let mut chance = Chance::new(setup.seed);
        let mut record = Record::new(cluster());
        record.generation = 1;
        record.members = (1..=setup.nodes - setup.strangers).map(|node| (name(node), 1)).collect();
        let mut hosts = Vec::new();
        for host in 0..=setup.nodes {
            let peer = if host == ARBITER { Peer::Arbiter } else { Peer::Node(name(host)) };
            let rate = if setup.drift { chance.between(0, 10_000) as i64 - 5000 } else { 0 };
            let clock = Clock::boot(0, rate, 1_000_000 + chance.between(0, 1_000_000));
            hosts.push(Host::new(peer, record.clone(), clock));
        }
        let many = hosts.len();
        let mut world = World {
            seed: setup.seed,
            chance,
            now: 0,
            queue: BTreeMap::new(),
            events: 0,
            hosts,
            cut: vec![vec![false; many]; many],
            lag: vec![vec![0; many]; many],
            weather: Weather::fair(),
            archive: Archive::default(),
            policy,
            timers,
            mutant: setup.mutant,
            broken: None,
            epochs: BTreeMap::new(),
            exported: Vec::new(),
            alerts: Vec::new(),
            starts: Vec::new(),
            stops: 0,
            trace: None,
            sent: std::collections::HashMap::new(),
            exports: true,
            imports: vec![true; many],
            two_gates_allowed: false,
            disturb: None,
        };
        for host in 0..many {
            world.start(host);
            if host != ARBITER {
                let at = world.chance.between(0, 3 * S);
                world.later(at, Event::Export { host });
                world.later(at + S, Event::Pull { host });
                world.later(at + 2 * S, Event::Sync { host });
            }
        }
        world
    }

    pub fn later(&mut self, after: Real, event: Event) {
        self.events += 1;
        self.queue.insert((self.now + after, self.events), event);
    }

    pub fn say(&mut self, line: impl FnOnce(&World) -> String) {
        if let Some(mut trace) = self.trace.take() {
            trace.push(format!("{:>4}.{:03} {}", self.now / S, self.now % S / MS, line(self)));
            self.trace = Some(trace);
        }
    }

    pub fn fail(&mut self, why: String) {
        self.say(|_| format!("BROKEN: {why}"));
        self.broken.get_or_insert(why);
    }

    /// Runs for so long, or until something is broken.
    pub fn run(&mut self, length: Real) {
        let end = self.now + length;
        self.run_while(end, |_| true);
    }

    /// Runs until `reached`, at most so long; gives whether it was.
    pub fn until(&mut self, length: Real, reached: impl Fn(&World) -> bool) -> bool {
        let end = self.now + length;
        self.run_while(end, |world| !reached(world));
        reached(self)
    }

    fn run_while(&mut self, end: Real, on: impl Fn(&World) -> bool) {
        while self.broken.is_none() && on(self) {
            if self.queue.first_key_value().is_none_or(|((at, _), _)| *at > end) {
                self.now = end;
                return;
            }
            let Some(((at, _), event)) = self.queue.pop_first() else { break };
            self.now = at;
            self.happen(event);
            self.check();
        }
    }

    fn check(&mut self) {
        let open = (1..self.hosts.len()).filter(|host| self.hosts[*host].gate_is_open(self.now));
        let open: Vec<usize> = open.collect();
        if open.len() > 1 && !self.two_gates_allowed {
            self.fail(format!("two gates open: {open:?}"));
        }
    }

    /// Everything that was ever exported is still somewhere, and history is one chain.
    pub fn check_data(&mut self) {
        if let Err(why) = self.archive.check() {
            self.fail(why);
        }
        let mut held: std::collections::BTreeSet<_> = self.archive.all().cloned().collect();
        held.extend(self.hosts.iter().flat_map(|host| host.spool.iter().map(|snapshot| snapshot.point.id.clone())));
        held.extend(self.hosts.iter().flat_map(|host| host.mirror.keys().cloned()));
        let lost = self.exported.iter().find(|snapshot| !held.contains(&snapshot.point.id)).cloned();
        if let Some(lost) = lost {
            self.fail(format!("deleted: {lost:?}"));
        }
    }

    pub fn open_gate(&self) -> Option<usize> {
        (1..self.hosts.len()).find(|host| self.hosts[*host].gate_is_open(self.now))
    }

    pub fn lines(&self, most: usize) -> String {
        let lines = self.trace.as_deref().unwrap_or_default();
        lines[lines.len().saturating_sub(most)..].join("\n")
    }
}

/// A failed scenario tells what happened.
impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() && self.trace.is_some() {
            eprintln!("seed {}\n{}", self.seed, self.lines(150));
        }
    }
}

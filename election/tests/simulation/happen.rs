//! Events, and the life of processes: start, stall, crash, boot.

use std::collections::BTreeSet;
use std::time::Duration;

use election::message::{Readiness, Standing};
use election::{Arbiter, Member, arbiter, member};

use crate::clock::{Clock, MS, Real, S};
use crate::data::Snapshot;
use crate::faults;
use crate::host::{Input, Output, Process};
use crate::world::{ARBITER, Event, World, cluster, datasets, name};

impl World {
    pub fn happen(&mut self, event: Event) {
        match event {
            Event::Feed { host, input } => self.feed(host, *input),
            Event::Wake { host, incarnation, wake } => {
                if self.hosts[host].incarnation == incarnation && self.hosts[host].wake == wake {
                    let tick = if host == ARBITER { Input::Arbiter(arbiter::Input::Tick) } else { Input::Member(member::Input::Tick) };
                    self.feed(host, tick);
                }
            }
            Event::Unstall { host } => self.drain(host),
            Event::Start { host } => self.start(host),
            Event::Boot { host } => self.boot(host),
            Event::Thaw { host } => {
                let now = self.now;
                self.hosts[host].clock.thaw(now);
                self.drain(host);
            }
            Event::Done { host, boots, input } => {
                if self.hosts[host].boots == boots {
                    self.feed(host, *input);
                }
            }
            Event::Export { host } => {
                let (from, to) = self.weather.export_every;
                let after = self.chance.between(from, to);
                self.later(after, Event::Export { host });
                self.export(host);
            }
            Event::Pull { host } => self.pull(host),
            Event::Pulled { from, snapshots } => self.pulled(from, snapshots),
            Event::Sync { host } => {
                let after = self.chance.between(S, 3 * S);
                self.later(after, Event::Sync { host });
                let delay = self.chance.between(20 * MS, 400 * MS);
                self.later(delay, Event::Synced { host });
            }
            Event::Synced { host } => self.synced(host),
            Event::Disturb => {
                if let Some(disturb) = self.disturb {
                    disturb(self);
                }
            }
        }
    }

    pub fn feed(&mut self, host: usize, input: Input) {
        if self.hosts[host].process.is_some() && self.hosts[host].up {
            self.hosts[host].inbox.push_back(input);
            self.drain(host);
        }
    }

    fn sleeps(&self, host: usize) -> bool {
        let host = &self.hosts[host];
        self.now < host.stalled_until || host.clock.is_frozen()
    }

    /// Carries out what is pending, then takes what is waiting, in order, as long as the process runs.
    pub fn drain(&mut self, host: usize) {
        while !self.sleeps(host) && self.hosts[host].process.is_some() && self.broken.is_none() {
            if let Some(output) = self.hosts[host].pending.pop_front() {
                self.carry(host, output);
                continue;
            }
            let Some(input) = self.hosts[host].inbox.pop_front() else { return };
            let at = self.hosts[host].clock.read(self.now);
            let outputs: Vec<Output> = match (self.hosts[host].process.as_mut(), input) {
                (Some(Process::Arbiter(arbiter)), Input::Arbiter(input)) => {
                    arbiter.step(at, input).into_iter().map(Output::Arbiter).collect()
                }
                (Some(Process::Member(member)), Input::Member(input)) => member.step(at, input).into_iter().map(Output::Member).collect(),
                _ => Vec::new(),
            };
            self.hosts[host].pending.extend(outputs);
        }
    }

    pub fn start(&mut self, host: usize) {
        let now = self.now;
        if self.hosts[host].process.is_some() || !self.hosts[host].up {
            return;
        }
        self.say(|w| format!("{} starts", w.hosts[host].name));
        let (at, boot) = (self.hosts[host].clock.read(now), self.hosts[host].boot_id());
        let outputs: Vec<Output> = if host == ARBITER {
            let opened = faults::opening_time(self.mutant, at, self.timers);
            let record = self.hosts[host].arbiter_record.clone();
            let (arbiter, outputs) = Arbiter::open(opened, boot, record, self.policy.clone(), self.archive.told());
            self.hosts[host].process = Some(Process::Arbiter(Box::new(arbiter)));
            outputs.into_iter().map(Output::Arbiter).collect()
        } else {
            faults::forget(self.mutant, &mut self.hosts[host].member_record);
            let config = self.config(host);
            let (record, role) = (self.hosts[host].member_record.clone(), self.hosts[host].role.clone());
            let (member, outputs) = Member::open(at, boot, record, role, self.readiness(host), config);
            self.hosts[host].process = Some(Process::Member(Box::new(member)));
            outputs.into_iter().map(Output::Member).collect()
        };
        self.hosts[host].pending.extend(outputs);
        self.drain(host);
        if host != ARBITER {
            self.tell_readiness(host);
        }
    }

    fn config(&self, host: usize) -> member::Config {
        member::Config {
            cluster: cluster(),
            node: name(host),
            timers: self.timers,
            final_export_max: Duration::from_secs(20),
            activation_max: Duration::from_secs(60),
            pause_max: Duration::from_secs(60),
            report_every: Duration::from_secs(10),
            alone_after: self.timers.over() + Duration::from_secs(20),
        }
    }

    pub fn readiness(&self, host: usize) -> Readiness {
        let position = self.hosts[host].live.clone();
        Readiness { position, verified: true, valid: true, automatic: true, guarded: true, ..Readiness::default() }
    }

    pub fn tell_readiness(&mut self, host: usize) {
        let readiness = self.readiness(host);
        self.feed(host, Input::Member(member::Input::Readiness(readiness)));
    }

    pub fn stall(&mut self, host: usize, length: Real) {
        let until = self.now + length;
        if self.hosts[host].stalled_until < until {
            self.say(|w| format!("{} stalls for {} ms", w.hosts[host].name, length / MS));
            self.hosts[host].stalled_until = until;
            self.later(length, Event::Unstall { host });
        }
    }

    /// A virtual machine that is paused: its clock stands still, and so do its kernel's timers.
    pub fn freeze(&mut self, host: usize, length: Real) {
        let now = self.now;
        self.say(|w| format!("{} is frozen for {} ms", w.hosts[host].name, length / MS));
        self.hosts[host].clock.freeze(now);
        self.later(length, Event::Thaw { host });
    }

    pub fn crash(&mut self, host: usize) {
        self.say(|w| format!("{}: the process dies", w.hosts[host].name));
        self.hosts[host].kill();
    }

    /// Power is lost: what was not durable is gone, and nothing of ours runs or is held open.
    pub fn power_off(&mut self, host: usize) {
        self.say(|w| format!("{}: power is lost", w.hosts[host].name));
        let gone = &mut self.hosts[host];
        gone.kill();
        gone.up = false;
        gone.gate = None;
        gone.boots += 1;
    }

    pub fn boot(&mut self, host: usize) {
        if self.hosts[host].up {
            return;
        }
        let shown = self.chance.between(20_000, 60_000);
        let rate = self.hosts[host].clock.rate_ppm;
        let now = self.now;
        // A role file may survive a power cut, as it may not.
        if self.chance.of_thousand(500) {
            self.hosts[host].role = None;
        }
        let booted = &mut self.hosts[host];
        (booted.up, booted.clock) = (true, Clock::boot(now, rate, shown));
        self.start(host);
    }

    /// The exporter beside the member: reads the role, asks nobody.
    fn export(&mut self, host: usize) {
        let now = self.now;
        if self.exports && self.is_active(host) {
            let local = self.hosts[host].clock.read(now);
            if self.hosts[host].role.as_ref().is_some_and(|role| role.lease_until > local) {
                let dataset = self.chance.pick(&datasets()).clone();
                self.snapshot(host, &dataset);
            }
        }
    }

    pub fn snapshot(&mut self, host: usize, dataset: &election::Dataset) {
        let Some(role) = self.hosts[host].role.clone() else { return };
        let reign = election::Reign { epoch: role.epoch, node: name(host) };
        let snapshot = Snapshot::next(&reign, dataset, &self.hosts[host].live, self.exported.len() as u64);
        self.say(|_| format!("n{host} exports {dataset} {}", snapshot.point));
        self.hosts[host].live.0.insert(dataset.clone(), snapshot.point.clone());
        self.hosts[host].spool.push(snapshot.clone());
        self.hosts[host].mirror.insert(snapshot.point.id.clone(), snapshot.clone());
        self.exported.push(snapshot);
        self.tell_readiness(host);
    }

    pub fn is_active(&self, host: usize) -> bool {
        let host = &self.hosts[host];
        let role = host.role.as_ref().filter(|role| host.up && !host.clock.is_frozen() && role.boot == host.boot_id());
        role.is_some_and(|role| matches!(role.standing, Standing::Active | Standing::Failsafe))
    }

    fn reachable(&self, from: usize, to: usize) -> bool {
        !self.cut[from][to] && !self.cut[to][from] && self.hosts[from].up && self.hosts[to].up && !self.hosts[from].clock.is_frozen()
    }

    fn archive_is_up(&self) -> bool {
        let host = &self.hosts[ARBITER];
        host.up && host.process.is_some() && host.pending.is_empty() && host.inbox.is_empty() && !self.sleeps(ARBITER)
    }

    fn pull(&mut self, host: usize) {
        let after = self.chance.between(S, 3 * S);
        self.later(after, Event::Pull { host });
        if self.reachable(host, ARBITER) && self.archive_is_up() && !self.hosts[host].spool.is_empty() {
            let snapshots = self.hosts[host].spool.clone();
            let delay = self.chance.between(20 * MS, 300 * MS);
            self.later(delay, Event::Pulled { from: host, snapshots });
        }
    }

    fn pulled(&mut self, from: usize, snapshots: Vec<Snapshot>) {
        if !self.archive_is_up() {
            return;
        }
        for snapshot in snapshots {
            self.receive(snapshot);
        }
        let held: BTreeSet<_> = self.archive.all().cloned().collect();
        self.hosts[from].spool.retain(|snapshot| !held.contains(&snapshot.point.id));
    }

    pub fn receive(&mut self, snapshot: Snapshot) {
        // The archive outlives the process: what is durable judges then.
        let host = &self.hosts[ARBITER];
        let record = host.arbiter().map_or(&host.arbiter_record, election::Arbiter::record).clone();
        let text = self.trace.is_some().then(|| snapshot.point.to_string());
        match self.archive.receive(&record, snapshot) {
            Err(why) => self.fail(why),
            Ok(None) => (),
            Ok(Some(published)) => {
                self.say(|_| format!("archive publishes {}", text.unwrap_or_default()));
                self.feed(ARBITER, Input::Arbiter(arbiter::Input::Published(published)));
            }
        }
    }

    /// A node that stands by takes the archive's heads; what it had of its own is in its spool, kept.
    fn synced(&mut self, host: usize) {
        if !self.imports[host] || !self.reachable(host, ARBITER) || !self.archive_is_up() {
            return;
        }
        let standing = self.hosts[host].member().map(Member::standing);
        if !matches!(standing, Some(Standing::Passive | Standing::Ready | Standing::Syncing)) {
            return;
        }
        let heads = self.archive.heads();
        if heads != self.hosts[host].live {
            for list in self.archive.published.values() {
                for snapshot in list.iter().rev() {
                    if self.hosts[host].mirror.insert(snapshot.point.id.clone(), snapshot.clone()).is_some() {
                        break;
                    }
                }
            }
            self.hosts[host].live = heads;
            self.tell_readiness(host);
        }
    }
}

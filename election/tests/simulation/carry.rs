//! What the outputs of both machines do in the world.

use std::time::Duration;

use election::{Envelope, Peer, Time, arbiter, member};

use crate::clock::{MS, S};
use crate::faults;
use crate::host::{Gate, Input, Output};
use crate::world::{ARBITER, Alert, Event, World, name};

impl World {
    pub fn carry(&mut self, host: usize, output: Output) {
        match output {
            Output::Arbiter(output) => self.carry_arbiter(output),
            Output::Member(output) => self.carry_member(host, output),
        }
    }

    fn carry_arbiter(&mut self, output: arbiter::Output) {
        match output {
            arbiter::Output::Persist(record) => {
                if self.disk_takes(ARBITER) {
                    self.hosts[ARBITER].arbiter_record = *record;
                    self.disk_is_slow(ARBITER);
                }
            }
            arbiter::Output::Send(envelope) => self.send(ARBITER, *envelope),
            arbiter::Output::Quarantine(lost) => {
                self.say(|_| format!("archive puts aside {lost:?}"));
                self.archive.move_aside(&lost);
            }
            arbiter::Output::Readmit(reign) => {
                self.say(|_| format!("archive looks anew at {reign}"));
                for snapshot in self.archive.readmit(&reign) {
                    self.receive(snapshot);
                }
            }
            arbiter::Output::Gather => {
                let up = self.hosts[1..].iter().filter(|host| host.up);
                let mut chains: Vec<Vec<_>> = up.map(|host| host.mirror.values().cloned().collect()).collect();
                for chain in &mut chains {
                    chain.sort_by_key(|snapshot: &crate::data::Snapshot| snapshot.point.number());
                }
                let highest = chains.iter().flatten().map(|snapshot| snapshot.point.epoch).max().unwrap_or_default();
                let before: Vec<_> = self.archive.all().cloned().collect();
                self.archive.gather(&chains, highest);
                let news = self.archive.told().into_iter().filter(|known| !before.contains(&known.point.id));
                for published in news.collect::<Vec<_>>() {
                    self.feed_later(ARBITER, 0, Input::Arbiter(arbiter::Input::Published(published)));
                }
                self.feed_later(ARBITER, 10 * MS, Input::Arbiter(arbiter::Input::Gathered));
            }
            arbiter::Output::Stonith { node, epoch } => {
                let host = (1..self.hosts.len()).find(|host| name(*host) == node).unwrap_or(1);
                self.power_off(host);
                self.feed_later(ARBITER, S, Input::Arbiter(arbiter::Input::Stonith { node, epoch }));
            }
            arbiter::Output::Alert(alert) => {
                self.say(|_| format!("arbiter: {alert:?}"));
                self.alerts.push((self.now, Alert::Arbiter(alert)));
            }
            arbiter::Output::Refused(refusal) => self.say(|_| format!("arbiter refuses: {refusal:?}")),
            arbiter::Output::Wake(at) => self.wake_at(ARBITER, at),
        }
    }

    fn carry_member(&mut self, host: usize, output: member::Output) {
        match output {
            member::Output::Persist(record) => {
                if self.disk_takes(host) {
                    self.note_epoch(host, &record);
                    self.hosts[host].member_record = *record;
                    self.disk_is_slow(host);
                }
            }
            member::Output::Role(role) => {
                if self.hosts[host].role.as_ref().is_none_or(|before| before.standing != role.standing) {
                    self.say(|_| format!("n{host} is {:?} ({})", role.standing, role.epoch));
                }
                self.hosts[host].role = Some(role);
            }
            member::Output::Send(envelope) => self.send(host, *envelope),
            member::Output::OpenGate { until } => self.open(host, until),
            member::Output::CloseGate => {
                self.say(|_| format!("n{host} closes its gate"));
                self.hosts[host].gate = None;
            }
            member::Output::Start { epoch, base, adopt: _ } => {
                if base.is_some_and(|base| base != self.hosts[host].live) {
                    self.fail(format!("n{host} begins epoch {epoch} with data that is not the sealed head"));
                }
                self.say(|_| format!("n{host} starts its services ({epoch})"));
                self.starts.push((self.now, host, epoch));
                let (from, to) = self.weather.start;
                let after = self.chance.between(from, to);
                self.done(host, after, member::Input::Started { epoch });
            }
            member::Output::Stop { kill_at } => {
                self.stops += 1;
                let (from, to) = self.weather.stop;
                let killed = self.hosts[host].clock.real(self.now, kill_at) - self.now;
                let after = self.chance.between(from, to).min(killed + 100 * MS);
                self.done(host, after, member::Input::Stopped);
            }
            member::Output::Export { epoch, until: _ } => {
                if self.exports {
                    self.snapshot(host, &crate::world::datasets()[0]);
                }
                let (after, position) = (self.chance.between(100 * MS, 2 * S), self.hosts[host].live.clone());
                self.done(host, after, member::Input::Exported { epoch, position });
            }
            member::Output::Import { .. } => {
                let after = self.chance.between(20 * MS, 500 * MS);
                self.later(after, Event::Synced { host });
            }
            member::Output::Alert(alert) => {
                self.say(|_| format!("n{host}: {alert:?}"));
                self.alerts.push((self.now, Alert::Member(host, alert)));
            }
            member::Output::Refused(refusal) => self.say(|_| format!("n{host} is refused: {refusal:?}")),
            member::Output::Wake(at) => self.wake_at(host, at),
        }
    }

    fn done(&mut self, host: usize, after: u64, input: member::Input) {
        let boots = self.hosts[host].boots;
        self.later(after, Event::Done { host, boots, input: Box::new(Input::Member(input)) });
    }

    pub fn feed_later(&mut self, host: usize, after: u64, input: Input) {
        self.later(after, Event::Feed { host, input: Box::new(input) });
    }

    fn wake_at(&mut self, host: usize, at: Time) {
        self.hosts[host].wake += 1;
        let (incarnation, wake) = (self.hosts[host].incarnation, self.hosts[host].wake);
        let after = self.hosts[host].clock.real(self.now, at) - self.now;
        self.later(after, Event::Wake { host, incarnation, wake });
    }

    /// Whether the write is made before a crash takes the process.
    fn disk_takes(&mut self, host: usize) -> bool {
        if !self.chance.of_thousand(self.weather.crash_at_persist) {
            return true;
        }
        let written = self.chance.of_thousand(500);
        self.crash(host);
        let after = self.chance.between(100 * MS, 20 * S);
        self.later(after, Event::Start { host });
        written
    }

    fn disk_is_slow(&mut self, host: usize) {
        if self.hosts[host].process.is_some() && self.chance.of_thousand(self.weather.slow_disk) {
            let length = self.chance.between(10 * MS, 8 * S);
            self.stall(host, length);
        }
    }

    /// No two nodes ever take up one epoch, and no epoch is taken up after it was given back.
    fn note_epoch(&mut self, host: usize, record: &election::MemberRecord) {
        let Some(own) = &record.own else { return };
        let taken = self.epochs.entry(own.epoch).or_insert_with(|| name(host)).clone();
        if taken != name(host) && !self.two_gates_allowed {
            self.fail(format!("epoch {} of {taken} is used again by n{host}", own.epoch));
        }
        let before = self.hosts[host].member_record.own.as_ref().map(|own| own.epoch);
        if before.is_none() && taken == name(host) && self.hosts[host].member_record.seen > own.epoch {
            self.fail(format!("n{host} takes up epoch {} below what it has seen", own.epoch));
        }
    }

    fn open(&mut self, host: usize, until: Time) {
        let now = self.now;
        let late = self.chance.between(0, 350 * MS);
        let until = faults::gate_end(self.mutant, until, self.hosts[host].clock.read(now), self.timers);
        if self.hosts[host].clock.read(now) < until {
            if !self.hosts[host].gate_is_open(now) {
                self.say(|_| format!("n{host} opens its gate until {until}"));
            }
            self.hosts[host].gate = Some(Gate { until_us: (until + Duration::ZERO).as_ms().saturating_mul(MS).saturating_add(late) });
        }
    }

    fn send(&mut self, from: usize, envelope: Envelope) {
        let to = (0..self.hosts.len()).find(|host| self.hosts[*host].name == envelope.to);
        let Some(to) = to else { return };
        let lost = self.cut[from][to] || !self.hosts[to].up || self.chance.of_thousand(self.weather.loss);
        if self.trace.is_some() {
            self.sent.insert(std::mem::discriminant(&envelope.message), envelope.clone());
        }
        let mark = if lost { "lost" } else { "" };
        self.say(|_| format!("{} -> {} [{}] {} {mark}", envelope.from, envelope.to, envelope.seen, brief(&envelope)));
        if lost {
            return;
        }
        let copies = if self.chance.of_thousand(self.weather.doubled) { 2 } else { 1 };
        for _ in 0..copies {
            let (least, most) = self.weather.delay;
            let late = self.chance.of_thousand(self.weather.very_late);
            let delay = if late { self.chance.between(0, 90 * S) } else { self.chance.between(least, most) };
            self.deliver(from, to, delay + self.lag[from][to], envelope.clone());
        }
    }

    fn deliver(&mut self, from: usize, to: usize, delay: u64, envelope: Envelope) {
        let input = match &envelope.to {
            Peer::Arbiter => Input::Arbiter(arbiter::Input::Received(Box::new(envelope))),
            Peer::Node(_) => {
                let at = self.hosts[to].clock.read(self.now + delay);
                let changed = faults::on_the_way(self.mutant, envelope, at);
                faults::majority(self, from, to, delay, &changed);
                Input::Member(member::Input::Received(Box::new(changed)))
            }
        };
        self.feed_later(to, delay, input);
    }
}

/// The message's kind and what it is about, on one line.
fn brief(envelope: &Envelope) -> String {
    let text = format!("{:?}", envelope.message);
    text.replace("NodeId", "").replace("BootId", "").replace("Duration", "").chars().take(150).collect()
}

//! One arbiter at work: a thread that alone steps the machine, and makes durable what it says before anybody hears of it.
//!
//! Each step is taken under the lock of the cluster's reigns: what was published since the last one is told first, so that no snapshot comes between what an election
//! counted and the seal; and the record is written before the lock is given back. What else a step brings is carried out after that, in its order.
//!
//! Whatever cannot be written was not decided: nothing after it is carried out, the machine is given up, and begun anew from the disk a while later. It then waits as
//! after a restart, since nobody knows what became of the write. The same when another than this thread changed the record.
//!
//! It knows no network: who carries messages, moves snapshots and turns hosts off is its [`Outside`].

use super::history::Told;
use super::opening;
use super::policy::policy;
use super::shown::{Planned, Shown, planned, show};
use super::words::{self, Refused};
use crate::members::Members;
use crate::reigns::{Counts, Held, Ledger};
use console::pull_backup_file::Cluster;
use election::arbiter::{Alert, Input, Order, Output};
use election::{Arbiter, BootId, Envelope, Epoch, NodeId, Peer, Record, Time};
use link::error::{Error, Result};
use link::pull::chain;
use link::reigns::Holder;
use standing::log::{Log, Said};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;

/// What the arbiter needs done beyond its own disk. Nothing of it is waited for.
pub trait Outside: Send + Sync + 'static {
    fn send(&self, envelope: Envelope);

    /// Who reigns changed, or what of the archive counts.
    fn settle(&self);

    /// Pulls what members hold above the heads; then [`Ask::Gathered`].
    fn gather(&self);

    /// Turns a node off; when that is confirmed, [`Ask::Off`].
    fn turn_off(&self, node: NodeId, epoch: Epoch);
}

/// What is said to it.
pub enum Ask {
    /// By a node whose key was proven. What is for it comes back, where somebody waits for that.
    Heard {
        from: NodeId,
        said: Vec<Envelope>,
        answer: Option<SyncSender<Vec<Envelope>>>,
    },
    Order {
        order: Order,
        answer: SyncSender<std::result::Result<(), Refused>>,
    },
    Plan {
        answer: SyncSender<Option<Planned>>,
    },
    Gathered,
    Off {
        node: NodeId,
        epoch: Epoch,
    },
    Stop,
}

/// What an arbiter is given.
pub struct Given {
    pub cluster: String,
    pub configured: Option<Cluster>,
    pub ledger: Ledger,
    pub members: Arc<Members>,
    pub log: Log,
    /// Unix time in milliseconds.
    pub wall: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// This host's clock since it booted.
    pub clock: Arc<dyn Fn() -> Time + Send + Sync>,
    pub boot: BootId,
    pub outside: Arc<dyn Outside>,
    pub shown: Arc<Shown>,
}

/// A suspend, a member that came or went, and what others published without the lock are noticed within this time.
const LOOK: Duration = Duration::from_secs(1);
/// What was published by those who count nothing is looked for so often.
const LIST: Duration = Duration::from_secs(10);
/// After a write that failed, it is begun anew then.
const ANEW: Duration = Duration::from_secs(5);

pub struct Actor {
    given: Given,
    machine: Option<Arbiter>,
    /// What is on disk.
    written: Option<Record>,
    counts: Counts,
    told: Told,
    listed: Time,
    /// As they were when the record was made to agree with them.
    members: Option<Arc<std::collections::HashMap<link::identity::Pin, crate::members::Member>>>,
    /// When to look again, by the machine, or when it is to be begun anew.
    wake: Time,
}

/// What a turn brought, in its order.
#[derive(Default)]
struct Later {
    outputs: Vec<Output>,
    plan: Option<Planned>,
}

impl Actor {
    pub fn new(given: Given) -> Actor {
        let wake = (given.clock)();
        Actor {
            given,
            machine: None,
            written: None,
            counts: Counts::default(),
            told: Told::default(),
            listed: wake,
            members: None,
            wake,
        }
    }

    /// Until it is told to stop, or nobody is left who could tell it anything.
    pub fn run(mut self, asked: &Receiver<Ask>) {
        self.turn(None);
        loop {
            let wait = self.wake.since((self.given.clock)()).min(LOOK);
            match asked.recv_timeout(wait) {
                Ok(Ask::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(ask) => self.turn(Some(ask)),
                Err(RecvTimeoutError::Timeout) => self.turn(None),
            }
        }
        self.given.shown.change(|seen| seen.ended = true);
    }

    fn turn(&mut self, ask: Option<Ask>) {
        let mut later = Later::default();
        let ask = match self.step_all(ask, &mut later) {
            Ok(ask) => ask,
            Err((ask, error)) => {
                self.halt(&error);
                ask
            }
        };
        self.carry_out(ask, later);
    }

    fn step_all(&mut self, mut ask: Option<Ask>, later: &mut Later) -> std::result::Result<Option<Ask>, (Option<Ask>, Error)> {
        match self.under_lock(&mut ask, later) {
            Ok(()) => Ok(ask),
            Err(error) => Err((ask, error)),
        }
    }

    fn under_lock(&mut self, ask: &mut Option<Ask>, later: &mut Later) -> Result<()> {
        if self.machine.is_none() && (self.given.clock)() < self.wake {
            return Ok(());
        }
        let held = self.given.ledger.hold(&self.given.cluster)?;
        let counts = held.counts()?;
        if self.machine.is_none() || counts.changed != self.counts.changed {
            self.open(&held, later)?;
        } else {
            self.hear_of_news(&held, counts, later)?;
        }
        self.agree(&held, later)?;
        match ask {
            Some(Ask::Heard { said, .. }) if !said.is_empty() => {
                for envelope in std::mem::take(said) {
                    self.step(&held, Input::Received(Box::new(envelope)), later)?;
                }
            }
            Some(Ask::Order { order, .. }) => self.step(&held, Input::Order(order.clone()), later)?,
            Some(Ask::Gathered) => self.step(&held, Input::Gathered, later)?,
            Some(Ask::Off { node, epoch }) => self.step(&held, Input::Stonith { node: node.clone(), epoch: *epoch }, later)?,
            Some(Ask::Heard { .. } | Ask::Plan { .. } | Ask::Stop) | None => self.step(&held, Input::Tick, later)?,
        }
        if let (Some(Ask::Plan { .. }), Some(machine)) = (ask, &self.machine) {
            later.plan = Some(planned(machine, &self.given.cluster, (self.given.clock)()));
        }
        Ok(())
    }

    /// Begins from what is on disk.
    fn open(&mut self, held: &Held, later: &mut Later) -> Result<()> {
        let cluster = self.given.cluster.clone();
        let record = opening::record(&self.given, held)?;
        (self.machine, self.written, self.told, self.members) = (None, None, Told::default(), None);
        self.counts = held.counts()?;
        let datasets = self
            .given
            .ledger
            .datasets(&cluster)
            .into_iter()
            .map(|dataset| dataset.name.as_str().into())
            .collect();
        let policy = policy(self.given.configured.as_ref(), datasets);
        let published = self.told.news(&self.given.ledger, &cluster, (self.given.wall)())?;
        let now = (self.given.clock)();
        self.listed = now;
        let (machine, outputs) = Arbiter::open(now, self.given.boot.clone(), record, policy, published);
        self.machine = Some(machine);
        self.given.shown.change(|seen| seen.shape.halted = None);
        self.take(held, outputs, later)
    }

    /// Tells the machine what was published since it was told last.
    fn hear_of_news(&mut self, held: &Held, counts: Counts, later: &mut Later) -> Result<()> {
        let now = (self.given.clock)();
        if counts.published == self.counts.published && now.since(self.listed) < LIST {
            return Ok(());
        }
        (self.counts, self.listed) = (counts, now);
        for published in self.told.news(&self.given.ledger, &self.given.cluster, (self.given.wall)())? {
            self.step(held, Input::Published(published), later)?;
        }
        Ok(())
    }

    /// Makes the record's members those that are enrolled. Who was expelled is known by that; whoever is merely not found stays.
    fn agree(&mut self, held: &Held, later: &mut Later) -> Result<()> {
        let now = self.given.members.now();
        if self.members.as_ref().is_some_and(|before| Arc::ptr_eq(before, &now)) {
            return Ok(());
        }
        let Some(record) = self.machine.as_ref().map(|machine| machine.record().clone()) else { return Ok(()) };
        let all = self.given.members.all()?;
        let of: Vec<_> = all.iter().filter(|member| member.cluster == self.given.cluster).collect();
        let is_enrolled: BTreeSet<&str> =
            of.iter().filter(|member| member.expelled_ms.is_none()).map(|member| member.name.as_str()).collect();
        for member in &of {
            let node = NodeId(member.name.clone());
            let (known, enrolled) = (record.members.contains_key(&node), is_enrolled.contains(member.name.as_str()));
            if enrolled && !known {
                let active = member.active == Some(true) && record.granted == Epoch::default() && record.designated.is_none();
                self.step(held, Input::Order(Order::Join { node, active }), later)?;
            } else if known && !enrolled {
                self.step(held, Input::Order(Order::Expel { node, force: true }), later)?;
            }
        }
        // What was refused now is asked again at the next change, or when this begins anew.
        self.members = Some(now);
        Ok(())
    }

    fn step(&mut self, held: &Held, input: Input, later: &mut Later) -> Result<()> {
        let Some(machine) = &mut self.machine else { return Ok(()) };
        let outputs = machine.step((self.given.clock)(), input);
        self.take(held, outputs, later)
    }

    fn take(&mut self, held: &Held, outputs: Vec<Output>, later: &mut Later) -> Result<()> {
        for output in outputs {
            match output {
                Output::Persist(record) => self.write(held, *record)?,
                Output::Wake(at) => self.wake = at,
                other => later.outputs.push(other),
            }
        }
        Ok(())
    }

    fn write(&mut self, held: &Held, record: Record) -> Result<()> {
        if self.written.as_ref() == Some(&record) {
            return Ok(());
        }
        let Given { cluster, ledger, members, .. } = &self.given;
        let all = members.all()?;
        let holder_of = |node: &str| {
            let member = all.iter().find(|member| member.cluster == *cluster && member.name == node)?;
            Some(Holder { former: member.former.clone(), ..Holder::new(node, member.key()?) })
        };
        ledger.persist(cluster, held, &record, &holder_of, (self.given.wall)())?;
        self.written = Some(record);
        Ok(())
    }

    /// Nothing more is decided until it is begun anew.
    fn halt(&mut self, error: &Error) {
        let why = chain(error);
        let cluster = &self.given.cluster;
        self.given.log.say(Said::error(
            "election",
            format!(
                "{cluster}: the arbiter cannot read or write what it knows, so it decides nothing, and begins anew in {} s: {why}",
                ANEW.as_secs()
            ),
        ));
        (self.machine, self.written) = (None, None);
        self.wake = (self.given.clock)() + ANEW;
        self.given.shown.change(|seen| seen.shape.halted = Some(why));
    }

    fn carry_out(&mut self, ask: Option<Ask>, later: Later) {
        let asker = match &ask {
            Some(Ask::Heard { from, answer: Some(_), .. }) => Some(Peer::Node(from.clone())),
            _ => None,
        };
        let (mut answers, mut refused) = (Vec::new(), None);
        for output in later.outputs {
            match output {
                Output::Send(envelope) if Some(&envelope.to) == asker.as_ref() => answers.push(*envelope),
                Output::Send(envelope) => self.given.outside.send(*envelope),
                Output::Quarantine(_) | Output::Readmit(_) => self.given.outside.settle(),
                Output::Gather => self.given.outside.gather(),
                Output::Stonith { node, epoch } => self.given.outside.turn_off(node, epoch),
                Output::Alert(alert) => self.tell(&alert),
                Output::Refused(refusal) => refused = Some(words::refused(&refusal, &self.given.cluster)),
                Output::Persist(_) | Output::Wake(_) => {}
            }
        }
        self.show(matches!(ask, Some(Ask::Order { .. })), refused.clone());
        // Whoever asked may have gone.
        match ask {
            Some(Ask::Heard { answer: Some(answer), .. }) => _ = answer.send(answers),
            Some(Ask::Plan { answer }) => _ = answer.send(later.plan),
            Some(Ask::Order { answer, .. }) => {
                let halted = self.machine.is_none().then(|| Refused {
                    why: "the arbiter cannot read or write what it knows, and decides nothing".into(),
                    hint: "see the daemon's log; mend the disk of its state folder".into(),
                });
                _ = answer.send(halted.or(refused).map_or(Ok(()), Err));
            }
            _ => {}
        }
    }

    fn tell(&self, alert: &Alert) {
        let (cluster, now) = (&self.given.cluster, (self.given.clock)());
        let text = words::alert(alert, cluster, now);
        let said = match alert {
            Alert::Granted { .. } | Alert::TookOver { .. } | Alert::Recovered { .. } => Said::info("election", text),
            _ => Said::warn("election", text),
        };
        self.given.log.say(said);
        if let Alert::Recovery { missing } = alert {
            let missing = missing.iter().map(|node| node.0.clone()).collect();
            self.given.shown.change(|seen| seen.shape.missing = missing);
        }
    }

    /// `answered` says that who is refused hears it from here.
    fn show(&self, answered: bool, refused: Option<Refused>) {
        let now = (self.given.clock)();
        let shown = self
            .machine
            .as_ref()
            .map(|machine| (show(machine, &self.given.cluster, now), now + machine.lease_remaining()));
        self.given.shown.change(|seen| {
            if let Some(((shape, active), lease_until)) = shown {
                let (missing, halted) = (std::mem::take(&mut seen.shape.missing), seen.shape.halted.take());
                let missing = if shape.phase == "recovery" { missing } else { vec![] };
                (seen.shape, seen.active, seen.lease_until, seen.at) =
                    (standing::arbiter::Arbiter { missing, halted, ..shape }, active, lease_until, now);
            }
            if let Some(refused) = refused.filter(|_| !answered) {
                seen.refused = (seen.refused.0 + 1, Some(refused));
            }
        });
    }
}

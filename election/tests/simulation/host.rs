//! One host: what survives a power cut, what survives the process, and what the kernel does by itself.

use std::collections::{BTreeMap, VecDeque};

use election::{Arbiter, BootId, Member, MemberRecord, Peer, Position, Record, Role, SnapshotId, arbiter, member};

use crate::clock::{Clock, Real};
use crate::data::Snapshot;

#[derive(Clone, Debug)]
pub enum Process {
    Arbiter(Box<Arbiter>),
    Member(Box<Member>),
}

#[derive(Clone, Debug)]
pub enum Input {
    Arbiter(arbiter::Input),
    Member(member::Input),
}

#[derive(Clone, Debug)]
pub enum Output {
    Arbiter(arbiter::Output),
    Member(member::Output),
}

/// Held by the kernel: closes by itself at this reading of the host's clock.
#[derive(Clone, Debug)]
pub struct Gate {
    pub until_us: u64,
}

#[derive(Clone, Debug)]
pub struct Host {
    pub name: Peer,
    // Survives everything.
    pub arbiter_record: Record,
    pub member_record: MemberRecord,
    pub live: Position,
    pub spool: Vec<Snapshot>,
    /// Everything that was imported or exported here, for an archive that lost it.
    pub mirror: BTreeMap<SnapshotId, Snapshot>,
    // Survives the process.
    pub clock: Clock,
    pub boots: u64,
    pub role: Option<Role>,
    pub gate: Option<Gate>,
    pub up: bool,
    // The process.
    pub process: Option<Process>,
    pub incarnation: u64,
    pub stalled_until: Real,
    pub pending: VecDeque<Output>,
    pub inbox: VecDeque<Input>,
    pub wake: u64,
}

impl Host {
    pub fn new(name: Peer, record: Record, clock: Clock) -> Host {
        Host {
            name,
            arbiter_record: record,
            member_record: MemberRecord::default(),
            live: Position::default(),
            spool: Vec::new(),
            mirror: BTreeMap::new(),
            clock,
            boots: 1,
            role: None,
            gate: None,
            up: true,
            process: None,
            incarnation: 0,
            stalled_until: 0,
            pending: VecDeque::new(),
            inbox: VecDeque::new(),
            wake: 0,
        }
    }

    pub fn boot_id(&self) -> BootId {
        BootId(format!("{}-{}", self.name, self.boots))
    }

    pub fn gate_is_open(&self, now: Real) -> bool {
        self.up && self.gate.as_ref().is_some_and(|gate| self.clock.micros(now) < gate.until_us)
    }

    pub fn member(&self) -> Option<&Member> {
        match &self.process {
            Some(Process::Member(member)) => Some(member),
            _ => None,
        }
    }

    pub fn arbiter(&self) -> Option<&Arbiter> {
        match &self.process {
            Some(Process::Arbiter(arbiter)) => Some(arbiter),
            _ => None,
        }
    }

    /// The process is gone, and what it had in its hands.
    pub fn kill(&mut self) {
        self.process = None;
        self.incarnation += 1;
        self.pending.clear();
        self.inbox.clear();
        self.stalled_until = 0;
    }
}

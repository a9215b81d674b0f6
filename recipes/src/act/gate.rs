//! The `gate` act: the service ports are closed to other hosts unless the kernel was told a short while ago that they may be open.
//!
//! A table of our own in nftables drops what comes for these ports, and what they answer, unless a set has an element for the
//! port; elements have timeouts. So the gate closes in the kernel when nobody renews it, with every process of ours stopped or
//! dead, and established connections end with it: no write that was received before is acknowledged after.
//!
//! - Packets are looked at before any translation of addresses, so published ports of containers do not bypass it. Only those
//!   to (and answers from) an address of this host count: what containers and hosts behind this one ask elsewhere passes.
//! - `lo` passes: local checks and local writers are not the gate's business.
//! - Each change replaces the table as a whole, in one batch: what others broke is mended, and there is no moment without it.
//!
//! **Never later than the lifetime.** A process that is stopped in the middle of a call would open the gate when it goes on,
//! long after. So opening is two batches: the first *arms* it for a moment, the second opens it and needs that element, else the
//! kernel refuses all of it. What it opens it opens for what is left of the lifetime less that moment.
//!
//! Left out on purpose: hosts that are bridges, and ports of this host's own connections to others.

mod nft;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::budget::Budget;
use super::record::{Journal, Place, Stage};
use super::{Act, Call, Checked, Holds};
use crate::Error;
use crate::data::{Finding, Level};
use nft::{Fault, Nft, Seen};

/// What our table is called, in the family `inet`.
pub const TABLE: &str = "resilient";
/// How long the gate stays armed, and at each further attempt twice that: a busy host starts programs slowly.
const ARMED: Duration = Duration::from_millis(300);
const ATTEMPTS: u32 = 4;

#[derive(Debug, Clone)]
pub struct Settings {
    pub name: String,
    /// Ports of TCP and UDP alike.
    pub ports: Vec<u16>,
    pub table: String,
    /// `nft`, by its path or its name.
    pub program: PathBuf,
    /// Where the records of acts lie; this one's is `NAME.json`.
    pub records: PathBuf,
}

impl Settings {
    pub fn new(ports: Vec<u16>, records: PathBuf) -> Settings {
        Settings { name: "gate".into(), ports, table: TABLE.into(), program: "nft".into(), records }
    }
}

#[derive(Debug, Clone)]
pub struct Gate {
    place: Place,
    did: Did,
    nft: Nft,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Did {
    table: String,
    /// Sorted.
    ports: Vec<u16>,
}

impl Gate {
    pub fn new(settings: Settings) -> Result<Gate, Error> {
        let Settings { name, mut ports, table, program, records } = settings;
        ports.sort_unstable();
        ports.dedup();
        let refuse = |reason: String| Err(Error::Settings { reason });
        if ports.is_empty() || ports.contains(&0) {
            return refuse("a gate needs the numbers of the ports that it closes".into());
        }
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if !table.starts_with(|c: char| c.is_ascii_lowercase()) || table.len() > 31 || !table.chars().all(fits) {
            return refuse(format!("{table:?} cannot be the name of a table: small letters, digits and _ are"));
        }
        Ok(Gate { place: Place::new(&records, &name)?, did: Did { table, ports }, nft: Nft::new(program) })
    }

    fn budget(&self, action: &'static str, time: Duration) -> Result<Budget, Error> {
        Budget::of(time).map_err(|source| Error::Act { action, name: self.place.name().into(), source })
    }

    fn failed(&self, action: &'static str) -> impl Fn(Fault) -> Error {
        let name = self.place.name().to_owned();
        move |fault| match fault {
            Fault::Missing(source) => Error::NoNft { source },
            fault => Error::Act { action, name: name.clone(), source: fault.into() },
        }
    }

    fn lifetime(&self, action: &'static str, call: &Call) -> Result<Budget, Error> {
        match call.lifetime {
            Some(lifetime) => self.budget(action, lifetime),
            None => Err(Error::Settings { reason: format!("{} opens for a lifetime only, and none was given", self.place.name()) }),
        }
    }

    fn open(&self, action: &'static str, journal: &Journal, budget: &Budget, lifetime: &Budget) -> Result<(), Error> {
        let late = || Error::Late { action, name: self.place.name().into(), within: lifetime.whole().min(budget.whole()) };
        for attempt in 0..ATTEMPTS {
            let armed = ARMED * 2_u32.pow(attempt);
            let run = |batch: &str| match budget.left() {
                left if left.is_zero() => Err(late()),
                left => Ok(self.nft.run(journal.input(batch.as_bytes())?, left)),
            };
            run(&nft::arm(&self.did.table, armed))?.map_err(self.failed(action))?;
            let left = lifetime.left().saturating_sub(armed);
            if left.as_millis() == 0 {
                return Err(late());
            }
            match run(&nft::open(&self.did.table, &self.did.ports, left))? {
                Ok(()) => return Ok(()),
                // It is armed no more.
                Err(Fault::Gone(_)) => continue,
                Err(fault) => return Err(self.failed(action)(fault)),
            }
        }
        Err(late())
    }
}

impl Act for Gate {
    fn name(&self) -> &str {
        self.place.name()
    }

    fn check(&self, call: &Call) -> Result<Checked, Error> {
        let budget = self.budget("check", call.within)?;
        let mut findings = self.place.findings::<Did>();
        let tried = self.nft.tries(&nft::close(&self.did.table, &self.did.ports), budget.left());
        if let Err(fault) = tried {
            findings.push(fault.finding());
            return Ok(Checked { holds: Holds::Unknown, findings });
        }
        let seen = match self.nft.look(&self.did.table, budget.left()) {
            Ok(seen) => seen,
            Err(fault) => {
                findings.push(fault.finding());
                return Ok(Checked { holds: Holds::Unknown, findings });
            }
        };
        let unguarded = match &seen {
            None => true,
            Some(Seen { guarded, ports, .. }) => !guarded || self.did.ports.iter().any(|port| !ports.contains(port)),
        };
        if unguarded {
            let what = "the ports are not behind the gate: its table in nftables is missing or was changed".to_string();
            findings.push(Finding::new(Level::Warning, what).hint("the next take, extension or release puts it in place"));
            // Ports that nothing guards are open, however that is called.
            return Ok(Checked { holds: Holds::Partly, findings });
        }
        let open = seen.map(|seen| seen.open).unwrap_or_default();
        let holds = match self.did.ports.iter().filter(|port| open.contains(port)).count() {
            0 => Holds::No,
            many if many == self.did.ports.len() => Holds::Yes,
            _ => Holds::Partly,
        };
        Ok(Checked { holds, findings })
    }

    fn take(&self, call: &Call) -> Result<Vec<Finding>, Error> {
        let (budget, lifetime) = (self.budget("take", call.within)?, self.lifetime("take", call)?);
        let journal = self.place.open("take", &budget)?;
        let known = journal.known::<Did>(call)?;
        journal.note(call, Stage::Taking, &self.did)?;
        if let Some(known) = known.filter(|known| known.did.table != self.did.table) {
            let batch = nft::remove(&known.did.table);
            self.nft.run(journal.input(batch.as_bytes())?, budget.left()).map_err(self.failed("take"))?;
        }
        self.open("take", &journal, &budget, &lifetime)?;
        journal.note(call, Stage::Taken, &self.did)?;
        Ok(Vec::new())
    }

    fn extend(&self, call: &Call) -> Result<Vec<Finding>, Error> {
        let (budget, lifetime) = (self.budget("extend", call.within)?, self.lifetime("extend", call)?);
        let journal = self.place.open("extend", &budget)?;
        match journal.known::<Did>(call)? {
            Some(known) if known.stage == Stage::Taken && known.epoch == call.epoch && known.did == self.did => {
                self.open("extend", &journal, &budget, &lifetime)?;
                Ok(Vec::new())
            }
            _ => Err(Error::NotHeld { name: self.place.name().into(), epoch: call.epoch }),
        }
    }

    fn release(&self, call: &Call) -> Result<Vec<Finding>, Error> {
        let budget = self.budget("release", call.within)?;
        let journal = self.place.open("release", &budget)?;
        let mut found = Vec::new();
        let known = journal.known_or_lost::<Did>(call, &mut found)?;
        // What stands in the kernel goes first: nobody waits for a disk to stop serving.
        let mut batch = nft::close(&self.did.table, &self.did.ports);
        if let Some(known) = known.filter(|known| known.did != self.did) {
            batch = nft::close_all(&known.did.table, &known.did.ports, &self.did.table, &self.did.ports);
        }
        self.nft.run(journal.input(batch.as_bytes())?, budget.left()).map_err(self.failed("release"))?;
        journal.note(call, Stage::Released, &self.did)?;
        Ok(found)
    }
}

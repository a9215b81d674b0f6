//! The `vip` act: an address that clients know the service by is on the active node, and goes when nobody renews it.
//!
//! It is told to the kernel (rtnetlink) with a lifetime, so the kernel takes it away with every process of ours stopped or dead.
//! Before it is new here, the segment is asked whether another host has it, and the kernel looks once more for IPv6; that nobody
//! answers proves no fencing, since a host that is cut off is silent. Afterwards neighbours are told, else they go on
//! sending to the host that had it before: once by the act, later by an `Announcer` that the caller drives.
//!
//! - What is put there carries our number (`kernel`), so that somebody else's is told apart: it is neither taken over nor removed.
//! - A process that was stopped in the middle of a call gives the kernel too long a time. It is looked at after each change, and mended.
//! - Routes and a rule for what leaves from the address go with it; routes never replace others.
//!
//! Left out on purpose: bringing interfaces up, addresses by DHCP, and clouds, where an address is moved by their own interface: that is a hook.

mod announce;
mod frames;
mod kernel;
#[cfg(test)]
mod nearly;
mod netlink;
mod outside;
mod segment;
mod work;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::budget::Budget;
use super::record::{Place, Record, Stage};
use super::{Act, Call, Checked, Holds};
use crate::Error;
use crate::data::{Finding, Level};
use work::Work;

pub use announce::{Announcer, Schedule, Watch, seen};
pub use frames::{Claim, Mac, Sighting};
pub use kernel::Route;
pub use outside::{Here, Outside, outside};

/// Before the main table, and behind the one of this host's own addresses.
pub const PRIORITY: u32 = 1000;

#[derive(Debug, Clone)]
pub struct Settings {
    pub address: IpAddr,
    /// Bits of the network that it is in: all of them, where only the address itself is meant.
    pub prefix: u8,
    pub interface: String,
    pub routes: Vec<Route>,
    /// Where the routes stand, and a rule that sends there what leaves from the address.
    pub table: Option<u32>,
    /// Of that rule.
    pub priority: u32,
    /// Where the records of acts lie; this one's is `vip-ADDRESS.json`.
    pub records: PathBuf,
}

impl Settings {
    pub fn new(address: IpAddr, interface: &str, records: PathBuf) -> Settings {
        let prefix = kernel::whole(address);
        Settings {
            address,
            prefix,
            interface: interface.into(),
            routes: Vec::new(),
            table: None,
            priority: PRIORITY,
            records,
        }
    }
}

#[derive(Debug, Clone)]
pub struct Vip {
    place: Place,
    did: Did,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Did {
    interface: String,
    address: IpAddr,
    prefix: u8,
    routes: Vec<Route>,
    table: Option<u32>,
    priority: u32,
}

impl Vip {
    pub fn new(settings: Settings) -> Result<Vip, Error> {
        let Settings { address, prefix, interface, mut routes, table, priority, records } = settings;
        let refuse = |reason: String| Err(Error::Settings { reason });
        let usable = !address.is_unspecified() && !address.is_multicast() && !address.is_loopback();
        if !usable || prefix == 0 || prefix > kernel::whole(address) {
            return refuse(format!("{address}/{prefix} cannot be an address of this host for others"));
        }
        let plain = |c: char| c.is_ascii_graphic() && c != '/';
        if interface.is_empty() || interface.len() > 15 || !interface.chars().all(plain) {
            return refuse(format!("{interface:?} cannot be the name of an interface"));
        }
        for route in &mut routes {
            let alike = |other: IpAddr| other.is_ipv4() == address.is_ipv4();
            if !alike(route.to) || route.via.is_some_and(|via| !alike(via)) || route.prefix > kernel::whole(route.to) {
                return refuse(format!("a route to {}/{} is none for {address}", route.to, route.prefix));
            }
            // As the kernel lists it.
            (route.to, route.metric) =
                (kernel::network(route.to, route.prefix), route.metric.and_then(|metric| kernel::metric(route.to, metric)));
        }
        let name = format!("vip-{address}").replace(':', "-");
        Ok(Vip {
            place: Place::new(&records, &name)?,
            did: Did { interface, address, prefix, routes, table, priority },
        })
    }

    pub fn address(&self) -> IpAddr {
        self.did.address
    }

    pub fn interface(&self) -> &str {
        &self.did.interface
    }

    /// What a caller drives while it is held.
    pub fn announcer(&self) -> Announcer {
        Announcer::new(self.clone())
    }

    /// Whether it could be taken here now: the interface is up, and nobody has the address.
    pub fn is_free(&self, within: Duration) -> Result<(), Error> {
        let budget = self.budget("take", within)?;
        let mut work = self.work("take", &budget)?;
        let link = work.usable()?;
        match work.held(&link, self.is_recorded())? {
            Some(_) => Ok(()),
            None => work.look(&link),
        }
    }

    /// How long the kernel keeps it without us; None when it is not held here.
    pub fn left(&self) -> Result<Option<Duration>, Error> {
        let budget = self.budget("check", Duration::ZERO)?;
        let mut work = self.work("check", &budget)?;
        let Some(link) = work.link()? else { return Ok(None) };
        let held = work.held(&link, self.is_recorded())?;
        Ok(held.filter(|held| !held.tentative).and_then(|held| held.left))
    }

    fn is_recorded(&self) -> bool {
        let known = self.place.read::<Did>();
        known.is_ok_and(|known| known.is_some_and(|known| self.is_kept(&known)))
    }

    /// Whether the record says that it is here; what was released since may be anybody's.
    fn is_kept(&self, known: &Record<Did>) -> bool {
        known.stage != Stage::Released && known.did.address == self.did.address
    }

    fn budget(&self, action: &'static str, time: Duration) -> Result<Budget, Error> {
        Budget::of(time).map_err(|source| Error::Act { action, name: self.place.name().into(), source })
    }

    fn lifetime(&self, action: &'static str, call: &Call) -> Result<Budget, Error> {
        match call.lifetime {
            Some(lifetime) => self.budget(action, lifetime),
            None => Err(Error::Settings { reason: format!("{} is taken for a lifetime only, and none was given", self.place.name()) }),
        }
    }

    fn work<'a>(&'a self, action: &'static str, budget: &'a Budget) -> Result<Work<'a>, Error> {
        Work::new(self.place.name(), action, &self.did, budget)
    }
}

impl Act for Vip {
    fn name(&self) -> &str {
        self.place.name()
    }

    fn check(&self, call: &Call) -> Result<Checked, Error> {
        let budget = self.budget("check", call.within)?;
        let mut findings = self.place.findings::<Did>();
        let holds = match self.work("check", &budget).and_then(|mut work| work.check(self.is_recorded(), &mut findings)) {
            Ok(holds) => holds,
            Err(error) => {
                findings.push(error.finding());
                Holds::Unknown
            }
        };
        Ok(Checked { holds, findings })
    }

    fn take(&self, call: &Call) -> Result<Vec<Finding>, Error> {
        let (budget, lifetime) = (self.budget("take", call.within)?, self.lifetime("take", call)?);
        let journal = self.place.open("take", &budget)?;
        let known = journal.known::<Did>(call)?;
        let mut work = self.work("take", &budget)?;
        if let Some(known) = known.as_ref().filter(|known| known.stage != Stage::Released && known.did != self.did) {
            // Under its own record: whoever is killed here leaves that to the next.
            work.undo(&known.did, true)?;
        }
        let link = work.usable()?;
        let held = work.held(&link, known.is_some_and(|known| self.is_kept(&known)))?;
        if held.is_none() {
            work.look(&link)?;
        }
        journal.note(call, Stage::Taking, &self.did)?;
        match work.hold(&link, held.is_none(), &lifetime) {
            Ok(found) => {
                journal.note(call, Stage::Taken, &self.did)?;
                Ok(found)
            }
            Err(error) => {
                // What was held before stays, for as long as the kernel was told then.
                if held.is_none() && work.undo(&self.did, true).is_ok() {
                    journal.note(call, Stage::Released, &self.did)?;
                }
                Err(error)
            }
        }
    }

    fn extend(&self, call: &Call) -> Result<Vec<Finding>, Error> {
        let (budget, lifetime) = (self.budget("extend", call.within)?, self.lifetime("extend", call)?);
        let journal = self.place.open("extend", &budget)?;
        match journal.known::<Did>(call)? {
            Some(known) if known.stage == Stage::Taken && known.epoch == call.epoch && known.did == self.did => {
                let mut work = self.work("extend", &budget)?;
                let link = work.usable()?;
                let held = work.held(&link, true)?;
                if held.is_none() {
                    // A link that went down took it along, or we were too late: another may have it by now.
                    work.look(&link)?;
                }
                work.hold(&link, held.is_none(), &lifetime)
            }
            _ => Err(Error::NotHeld { name: self.place.name().into(), epoch: call.epoch }),
        }
    }

    fn release(&self, call: &Call) -> Result<Vec<Finding>, Error> {
        let budget = self.budget("release", call.within)?;
        let journal = self.place.open("release", &budget)?;
        let mut found = Vec::new();
        let known = journal.known_or_lost::<Did>(call, &mut found)?;
        let mut work = self.work("release", &budget)?;
        let recorded = known.filter(|known| known.stage != Stage::Released).map(|known| known.did);
        // What stands in the kernel goes first: nobody waits for a disk to stop serving.
        let mut others = work.undo(&self.did, recorded.as_ref() == Some(&self.did))?;
        if let Some(did) = recorded.filter(|did| *did != self.did) {
            others = work.undo(&did, true)?;
        }
        for interface in others {
            let what = format!("{} is on {interface}, and not by us: it stays there", self.did.address);
            found.push(Finding::new(Level::Warning, what).hint("take it out of the host's own network configuration"));
        }
        journal.note(call, Stage::Released, &self.did)?;
        Ok(found)
    }
}

/// The records of addresses that lie there.
pub fn recorded(records: &Path) -> Vec<(IpAddr, String)> {
    let list = std::fs::read_dir(records).into_iter().flatten().flatten();
    let texts = list.filter(|entry| {
        let name = entry.file_name();
        name.to_str().is_some_and(|name| name.starts_with("vip-") && name.ends_with(".json"))
    });
    let records = texts.filter_map(|entry| serde_json::from_slice::<super::record::Record<Did>>(&std::fs::read(entry.path()).ok()?).ok());
    records
        .filter(|record| record.stage != Stage::Released)
        .map(|record| (record.did.address, record.did.interface))
        .collect()
}

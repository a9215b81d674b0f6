//! Whether every authoritative server has it: each at every address, with authority, exactly these records.
//!
//! Record sets are compared and not serials, since a serial that was forgotten makes two servers differ under one. They are all asked at once, and one that says
//! nothing takes no time from the others.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde::Serialize;

use super::ask;
use super::name::Name;
use super::set::{Kind, Set};
use crate::act::budget::Budget;

/// How long one server may think about all questions.
const EACH: Duration = Duration::from_secs(3);
/// Of a server whose name has no address.
const NOWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// One server at one of its addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Server {
    pub name: String,
    pub at: SocketAddr,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Word {
    Same,
    /// It says something else.
    Differs(String),
    /// It says nothing that counts.
    Silent(String),
}

/// What all of them said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verified {
    pub servers: Vec<(Server, Word)>,
}

impl Verified {
    pub fn well(&self) -> usize {
        self.servers.iter().filter(|(_, word)| *word == Word::Same).count()
    }

    pub fn is_well(&self) -> bool {
        !self.servers.is_empty() && self.well() == self.servers.len()
    }

    /// Whether time alone may mend it: a server answers, with what was there before.
    pub fn may_come(&self) -> bool {
        self.servers.iter().any(|(_, word)| matches!(word, Word::Differs(_)))
    }
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} authoritative servers have it", self.well(), self.servers.len())?;
        for (Server { name, at }, word) in &self.servers {
            let name = if *name == at.to_string() || at.ip() == NOWHERE { name.clone() } else { format!("{name} at {at}") };
            match word {
                Word::Same => {}
                Word::Differs(what) => write!(f, "; {name} has {what}")?,
                Word::Silent(why) => write!(f, "; {name} is silent: {why}")?,
            }
        }
        Ok(())
    }
}

/// The zone's servers as its primary names them, each at every address.
pub(super) fn servers(zone: &Name, primary: SocketAddr, port: u16, budget: &Budget) -> Result<Vec<Server>, String> {
    let asked =
        |name: &Name, kind| ask::set(primary, name, kind, budget).map_err(|why| format!("{primary} does not say {name} {kind}: {why}"));
    let names = asked(zone, Kind::NS)?.set.targets();
    if names.is_empty() {
        return Err(format!("{primary} knows no server of the zone {zone}"));
    }
    let (inside, outside): (Vec<Name>, Vec<Name>) = names.into_iter().partition(|name| name.is_within(zone));
    let mut found = resolved(outside, budget.left().min(EACH));
    for name in inside {
        let mut addresses = Vec::new();
        for kind in [Kind::A, Kind::AAAA] {
            addresses.extend(asked(&name, kind)?.set.addresses());
        }
        found.push((name, addresses));
    }
    let mut list = Vec::new();
    for (name, mut addresses) in found {
        if addresses.is_empty() {
            addresses.push(NOWHERE);
        }
        list.extend(addresses.into_iter().map(|ip| Server { name: name.plain(), at: SocketAddr::new(ip, port) }));
    }
    Ok(list)
}

/// The addresses of names elsewhere. What this host resolves names by has no deadline, so nobody waits for it longer than that.
fn resolved(names: Vec<Name>, within: Duration) -> Vec<(Name, Vec<IpAddr>)> {
    let looks = names.into_iter().map(|name| {
        let ((finds, found), host) = (channel(), name.plain());
        let look = move || {
            let list = (host, 0).to_socket_addrs().map(|list| list.map(|at| at.ip()).collect());
            // Nobody may wait for it any more.
            let _ = finds.send(list.unwrap_or_default());
        };
        let _ = std::thread::Builder::new().name("resolve".into()).spawn(look);
        (name, found)
    });
    let looks: Vec<_> = looks.collect();
    let Ok(budget) = Budget::of(within) else { return Vec::new() };
    let one = |(name, found): (Name, Receiver<Vec<IpAddr>>)| {
        let mut list = found.recv_timeout(budget.left()).unwrap_or_default();
        list.sort_unstable();
        list.dedup();
        (name, list)
    };
    looks.into_iter().map(one).collect()
}

/// Asks all of them.
pub(super) fn verify(servers: &[Server], want: &[Set], ttl: bool, budget: &Budget) -> Verified {
    Verified { servers: of_all(servers, EACH, budget, &Word::Silent, |at, budget| word(at, want, ttl, budget)) }
}

/// What each of them says, all asked at once, each with a time of its own.
pub(super) fn of_all<T: Send>(
    servers: &[Server],
    each: Duration,
    budget: &Budget,
    silent: &(dyn Fn(String) -> T + Sync),
    ask: impl Fn(SocketAddr, &Budget) -> T + Sync,
) -> Vec<(Server, T)> {
    let one = |server: &Server| {
        if server.at.ip() == NOWHERE {
            return silent("no address of its name was found".into());
        }
        let budget = Budget::of(budget.left().min(each));
        budget.map_or_else(|error| silent(error.to_string()), |budget| ask(server.at, &budget))
    };
    let said: Vec<T> = std::thread::scope(|scope| {
        let asked: Vec<_> = servers.iter().map(|server| scope.spawn(|| one(server))).collect();
        let said = |asked: std::thread::ScopedJoinHandle<'_, T>| asked.join().unwrap_or_else(|_| silent("asking it failed".into()));
        asked.into_iter().map(said).collect()
    });
    servers.iter().cloned().zip(said).collect()
}

fn word(at: SocketAddr, want: &[Set], ttl: bool, budget: &Budget) -> Word {
    for set in want {
        let said = match ask::set(at, &set.name, set.kind, budget) {
            Ok(said) => said,
            Err(why) => return Word::Silent(why),
        };
        if !said.authoritative {
            return Word::Silent(format!("it has no authority for {}", set.name));
        }
        if let Some(alias) = said.alias {
            return Word::Differs(format!("{} as an alias of {alias}", set.name));
        }
        if said.set.values != set.values || (ttl && said.set.ttl != set.ttl) {
            return Word::Differs(said.set.to_string());
        }
    }
    Word::Same
}

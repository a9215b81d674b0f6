//! Whether every authoritative server has it: each at every address, with authority, exactly these records.
//!
//! Record sets are compared and not serials, since a serial that was forgotten makes two servers differ under one. They are all asked at once, and one that says
//! nothing takes no time from the others.

use std::fmt;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use serde::Serialize;

use super::ask;
use super::name::Name;
use super::set::{Kind, Set};
use crate::act::budget::Budget;

/// How long one server may think about all questions.
const EACH: Duration = Duration::from_secs(3);

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
            let name = if *name == at.to_string() { name.clone() } else { format!("{name} at {at}") };
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
    let mut list = Vec::new();
    for name in names {
        let mut addresses: Vec<IpAddr> = Vec::new();
        if name.is_within(zone) {
            for kind in [Kind::A, Kind::AAAA] {
                addresses.extend(asked(&name, kind)?.set.addresses());
            }
        } else if let Ok(found) = (name.plain(), port).to_socket_addrs() {
            addresses.extend(found.map(|at| at.ip()));
        }
        if addresses.is_empty() {
            return Err(format!("the server {name} of the zone {zone} has no address"));
        }
        list.extend(addresses.into_iter().map(|ip| Server { name: name.plain(), at: SocketAddr::new(ip, port) }));
    }
    Ok(list)
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

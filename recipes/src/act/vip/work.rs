//! What one call does with the address: looks whether it could be, puts it there, and takes all of it away again.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use rustix::io::Errno;

use super::super::Holds;
use super::super::budget::Budget;
use super::frames::{Claim, Sighting};
use super::kernel::{Kernel, Link, Present, Rule, Way, network, whole};
use super::segment::Segment;
use super::{Did, Route};
use crate::Error;
use crate::data::{Finding, Level};

/// The kernel is up to 0.35 s late with an address's end.
const LATE: Duration = Duration::from_millis(500);
/// Whoever was held up for longer than this between reading the clock and telling the kernel has told it too much.
const HELD_UP: Duration = Duration::from_millis(100);
const ATTEMPTS: u32 = 4;
/// How often the segment is asked, and how long an answer is waited for each time: neighbours answer within a few.
const QUESTIONS: u32 = 3;
const ANSWER: Duration = Duration::from_millis(150);
/// The least of the route to the network that an address of IPv6 is in: behind one that this host has for itself.
const METRIC: u32 = 512;
const LOOK_AGAIN: Duration = Duration::from_millis(20);

pub(super) struct Work<'a> {
    name: &'a str,
    action: &'static str,
    did: &'a Did,
    budget: &'a Budget,
    kernel: Kernel,
}

fn holder(sighting: Option<Sighting>) -> String {
    sighting.map_or_else(|| "another host".into(), |sighting| sighting.mac.to_string())
}

/// As the kernel has it switched; none of it where there is no IPv6.
fn setting_6(interface: &str, name: &str) -> Option<String> {
    // Only a name of an interface, which has no slash.
    let value = std::fs::read_to_string(format!("/proc/sys/net/ipv6/conf/{interface}/{name}")).ok()?;
    Some(value.trim().to_owned())
}

/// Whether this host is a router on that interface, which neighbours are to go on believing.
pub(super) fn is_router(interface: &str) -> bool {
    setting_6(interface, "forwarding").is_some_and(|value| value != "0")
}

/// Each address has a number of its own, so that two of one network are not in each other's way.
fn metric(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(_) => METRIC,
        IpAddr::V6(address) => METRIC + u32::from(address.segments()[7]),
    }
}

/// What goes along with the address.
fn wanted(did: &Did, index: u32) -> (Vec<Way>, Option<Rule>) {
    let Did { address, prefix, table, priority, ref routes, .. } = *did;
    let way = |route: &Route, table| Way { route: route.clone(), table, index, source: Some(address) };
    let network = Route {
        to: network(address, prefix),
        prefix,
        via: None,
        metric: super::kernel::metric(address, metric(address)),
    };
    let network = (address.is_ipv6() && prefix < whole(address)).then(|| way(&network, None));
    let ways = network.into_iter().chain(routes.iter().map(|route| way(route, table)));
    (ways.collect(), table.map(|table| Rule { from: address, table, priority }))
}

impl<'a> Work<'a> {
    pub fn new(name: &'a str, action: &'static str, did: &'a Did, budget: &'a Budget) -> Result<Work<'a>, Error> {
        let kernel = Kernel::open().map_err(|source| Error::Act { action, name: name.into(), source })?;
        Ok(Work { name, action, did, budget, kernel })
    }

    fn failed(&self, doing: &str) -> impl Fn(io::Error) -> Error + use<> {
        let (action, name, doing) = (self.action, self.name.to_owned(), doing.to_owned());
        move |error| match error.kind() {
            io::ErrorKind::PermissionDenied => Error::NoNetworkRights { action, name: name.clone(), source: error },
            kind => Error::Act { action, name: name.clone(), source: io::Error::new(kind, format!("{doing}: {error}")) },
        }
    }

    fn late(&self, within: Duration) -> Error {
        Error::Late { action: self.action, name: self.name.into(), within }
    }

    pub fn link(&mut self) -> Result<Option<Link>, Error> {
        self.link_of(&self.did.interface)
    }

    fn link_of(&mut self, interface: &str) -> Result<Option<Link>, Error> {
        let failed = self.failed("the interfaces");
        self.kernel.link(interface).map_err(failed)
    }

    fn addresses(&mut self, address: IpAddr) -> Result<Vec<Present>, Error> {
        let failed = self.failed("the addresses");
        let mut list = self.kernel.addresses().map_err(failed)?;
        list.retain(|present| present.address == address);
        Ok(list)
    }

    /// Why the interface cannot carry the address, if it cannot.
    fn unusable(&self, link: Option<&Link>) -> Option<&'static str> {
        match link {
            None => Some("is not there"),
            Some(link) if !link.up => Some("is down"),
            Some(link) if !link.carrier => Some("has no carrier"),
            Some(link) if link.is_port => Some("is a part of a bridge or bond, which hears in its place"),
            Some(_) if self.did.address.is_ipv6() => match setting_6(&self.did.interface, "disable_ipv6").as_deref() {
                Some("0") => None,
                _ => Some("has IPv6 disabled"),
            },
            Some(_) => None,
        }
    }

    /// The interface, if it can carry the address.
    pub fn usable(&mut self) -> Result<Link, Error> {
        let link = self.link()?;
        let why = self.unusable(link.as_ref());
        match (link, why) {
            (Some(link), None) => Ok(link),
            (_, why) => Err(Error::Interface {
                action: self.action,
                name: self.name.into(),
                interface: self.did.interface.clone(),
                why: why.unwrap_or("is not there"),
            }),
        }
    }

    /// The address here, if we put it there; an error if somebody else did. One that another host turned out to have counts as none.
    pub fn held(&mut self, link: &Link, recorded: bool) -> Result<Option<Present>, Error> {
        let mut held = None;
        for present in self.addresses(self.did.address)? {
            let ours = present.ours.unwrap_or(recorded) && present.left.is_some();
            if !ours || present.index != link.index || present.prefix != self.did.prefix {
                return Err(Error::AddressThere { action: self.action, name: self.name.into(), address: self.did.address });
            }
            held = Some(present).filter(|present| !present.failed);
        }
        Ok(held)
    }

    /// Asks the segment whether another host has it.
    pub fn look(&self, link: &Link) -> Result<(), Error> {
        let failed = self.failed("the segment cannot be asked");
        match self.rival(link, None).map_err(failed)? {
            Some(sighting) => Err(self.taken(Some(sighting))),
            None if self.budget.is_over() => Err(self.late(self.budget.whole())),
            None => Ok(()),
        }
    }

    fn taken(&self, sighting: Option<Sighting>) -> Error {
        Error::AddressTaken { action: self.action, name: self.name.into(), address: self.did.address, holder: holder(sighting) }
    }

    fn rival(&self, link: &Link, source: Option<IpAddr>) -> io::Result<Option<Sighting>> {
        if !link.has_neighbours {
            return Ok(None);
        }
        let segment = Segment::open(link, self.did.address)?;
        for _ in 0..QUESTIONS {
            segment.ask(source)?;
            // Whoever probes at the same time is about to take it as well.
            if let Some(sighting) = segment.hear(ANSWER.min(self.budget.left()), None)? {
                return Ok(Some(sighting));
            }
        }
        Ok(None)
    }

    /// Sees to it that it is there for that long, with its routes; tells neighbours when it is new.
    pub fn hold(&mut self, link: &Link, is_new: bool, lifetime: &Budget) -> Result<Vec<Finding>, Error> {
        let mut found = Vec::new();
        let failed = self.failed("the segment cannot be heard");
        let segment = link.has_neighbours.then(|| Segment::open(link, self.did.address)).transpose().map_err(failed)?;
        self.put(link, lifetime)?;
        if self.did.address.is_ipv6() {
            self.settle(link, segment.as_ref())?;
        }
        self.ways(link)?;
        if let Some(segment) = segment.filter(|_| is_new)
            && let Err(error) = segment.announce(is_router(&self.did.interface))
        {
            found.push(Finding::new(Level::Warning, format!("neighbours were not told of {}: {error}", self.did.address)));
        }
        Ok(found)
    }

    fn put(&mut self, link: &Link, lifetime: &Budget) -> Result<(), Error> {
        let failed = self.failed("the address");
        let Did { address, prefix, .. } = *self.did;
        for _ in 0..ATTEMPTS {
            let before = lifetime.left();
            let seconds = u32::try_from(before.saturating_sub(LATE).as_secs()).unwrap_or(u32::MAX - 1);
            if seconds == 0 || self.budget.is_over() {
                return Err(self.late(lifetime.whole().min(self.budget.whole())));
            }
            self.kernel.put(link.index, address, prefix, seconds).map_err(&failed)?;
            if before.saturating_sub(lifetime.left()) <= HELD_UP {
                return Ok(());
            }
        }
        self.kernel.remove(link.index, address, prefix).map_err(&failed)?;
        Err(self.late(lifetime.whole()))
    }

    /// Waits until the kernel has found that nobody else has it.
    fn settle(&mut self, link: &Link, segment: Option<&Segment>) -> Result<(), Error> {
        let failed = self.failed("the segment cannot be heard");
        let mut last = None;
        loop {
            let present = self.addresses(self.did.address)?.into_iter().find(|present| present.index == link.index);
            match present {
                Some(present) if present.failed => return Err(self.taken(last)),
                Some(present) if !present.tentative => return Ok(()),
                Some(_) => {}
                // That is what becomes of an address with an end that another host has.
                None => match segment.map_or(Ok(None), |segment| segment.hear(Duration::ZERO, None)).map_err(&failed)?.or(last) {
                    Some(sighting) => return Err(self.taken(Some(sighting))),
                    None => {
                        return Err(self.failed("the address")(io::Error::other(
                            "it went again: another host has it, or somebody removed it here",
                        )));
                    }
                },
            }
            if self.budget.is_over() {
                return Err(self.late(self.budget.whole()));
            }
            let moment = LOOK_AGAIN.min(self.budget.left());
            match segment {
                Some(segment) => last = segment.hear(moment, None).map_err(&failed)?.or(last),
                None => self.budget.pause(moment).map_err(&failed)?,
            }
        }
    }

    fn ways(&mut self, link: &Link) -> Result<(), Error> {
        let there = |name: &str, error: io::Error, what: String| match error.raw_os_error() {
            Some(code) if code == Errno::EXIST.raw_os_error() => Error::WayThere { name: name.into(), what },
            _ => Error::Act {
                action: self.action,
                name: name.into(),
                source: io::Error::new(error.kind(), format!("the {what}: {error}")),
            },
        };
        let (ways, rule) = wanted(self.did, link.index);
        let known = if ways.is_empty() { Vec::new() } else { self.kernel.routes(self.did.address).map_err(self.failed("the routes"))? };
        for way in ways.iter().filter(|way| !known.contains(way)) {
            // One that lost its source would be in the way of itself.
            let bare = Way { source: None, ..way.clone() };
            if known.contains(&bare) {
                self.kernel.remove_route(&bare).map_err(|error| there(self.name, error, bare.route.to_string()))?;
            }
            self.kernel.add_route(way).map_err(|error| there(self.name, error, way.route.to_string()))?;
        }
        if let Some(rule) = rule
            && !self.kernel.rules(self.did.address).map_err(self.failed("the rules"))?.contains(&rule)
        {
            self.kernel
                .add_rule(&rule)
                .map_err(|error| there(self.name, error, format!("rule {}", rule.priority)))?;
        }
        Ok(())
    }

    /// Takes away what stands there by us, and nothing else; the interfaces on which somebody else has it.
    pub fn undo(&mut self, did: &Did, recorded: bool) -> Result<Vec<String>, Error> {
        let link = self.link_of(&did.interface)?;
        let at = link.as_ref().map(|link| link.index);
        let ours = |present: &Present| {
            let as_recorded = recorded && at == Some(present.index) && present.prefix == did.prefix;
            as_recorded || present.ours.unwrap_or(present.left.is_some())
        };
        let (own, others): (Vec<Present>, Vec<Present>) = self.addresses(did.address)?.into_iter().partition(ours);
        let failed = self.failed("the address");
        for present in own {
            self.kernel.remove(present.index, present.address, present.prefix).map_err(&failed)?;
        }
        let failed = self.failed("its routes");
        for way in self.kernel.routes(did.address).map_err(&failed)? {
            // IPv6 forgets whose it was, when the kernel ended the address.
            let named = Way { source: way.source.or(Some(did.address)), ..way.clone() };
            if way.source == Some(did.address) || at.is_some_and(|at| wanted(did, at).0.contains(&named)) {
                self.kernel.remove_route(&way).map_err(&failed)?;
            }
        }
        for rule in self.kernel.rules(did.address).map_err(&failed)? {
            if rule.from == did.address {
                self.kernel.remove_rule(&rule).map_err(&failed)?;
            }
        }
        if self.addresses(did.address)?.iter().any(ours) {
            return Err(Error::StillRuns { name: self.name.into(), left: format!("{} is still there", did.address) });
        }
        let known = others
            .iter()
            .map(|other| if at == Some(other.index) { did.interface.clone() } else { "another interface".into() });
        Ok(known.collect())
    }

    /// What a person has to know, and how it stands.
    pub fn check(&mut self, recorded: bool, findings: &mut Vec<Finding>) -> Result<Holds, Error> {
        let Did { address, ref interface, .. } = *self.did;
        let link = self.link()?;
        let fault = |what: String, hint: &str| Finding::new(Level::Fault, what).hint(hint);
        if let Some(why) = self.unusable(link.as_ref()) {
            findings.push(fault(
                format!("{interface} {why}: {address} cannot be there"),
                "see `ip link`, and the host's own network configuration",
            ));
        }
        // What is not there is asked to go: that changes nothing, and is refused to those who may change nothing.
        if let Err(error) = self.kernel.remove(0, address, self.did.prefix) {
            findings.push(self.failed("the address")(error).finding());
        }
        let Some(link) = link else { return Ok(Holds::No) };
        let segment = if link.has_neighbours { Segment::open(&link, address).map(Some) } else { Ok(None) };
        let asks = match &segment {
            Ok(segment) => segment.is_some() && link.up && link.carrier,
            Err(error) => {
                let source = io::Error::new(error.kind(), error.to_string());
                findings.push(self.failed("the segment cannot be heard")(source).finding());
                false
            }
        };
        if !link.has_neighbours {
            findings
                .push(Finding::new(Level::Note, format!("{interface} has no neighbours that could be asked for {address}, or told of it")));
        }
        let held = match self.held(&link, recorded) {
            Ok(held) => held,
            Err(error @ Error::AddressThere { .. }) => {
                findings.push(error.finding());
                return Ok(Holds::Partly);
            }
            Err(error) => return Err(error),
        };
        if held.is_none() && asks {
            let failed = self.failed("the segment cannot be asked");
            let source = self.kernel.source(link.index, address).map_err(&failed)?;
            if let Some(sighting) = self.rival(&link, source).map_err(&failed)?.filter(|sighting| sighting.claim != Claim::Probed) {
                let what = format!("{} has {address}: it can be taken when that one has let it go", sighting.mac);
                findings.push(Finding::new(Level::Warning, what).hint("on a node that stands by that is as it should be"));
            }
        }
        self.holds(&link, held.is_some_and(|held| !held.tentative))
    }

    fn holds(&mut self, link: &Link, held: bool) -> Result<Holds, Error> {
        let (ways, rule) = wanted(self.did, link.index);
        let failed = self.failed("its routes");
        let mut parts = vec![held];
        if !ways.is_empty() {
            let known = self.kernel.routes(self.did.address).map_err(&failed)?;
            parts.extend(ways.iter().map(|way| known.contains(way)));
        }
        if let Some(rule) = rule {
            parts.push(self.kernel.rules(self.did.address).map_err(&failed)?.contains(&rule));
        }
        Ok(match parts.iter().filter(|part| **part).count() {
            0 => Holds::No,
            all if all == parts.len() => Holds::Yes,
            _ => Holds::Partly,
        })
    }
}

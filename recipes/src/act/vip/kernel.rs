//! What the kernel has: interfaces, addresses, routes and rules, and the changes to them that the act makes.
//!
//! Everything that is put there carries our number as its origin, so that what somebody else put there is told apart, however alike it is.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::frames::Mac;
use super::netlink::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, Netlink, Request, attribute, attributes, u16_at, u32_at};

/// Ours, among the origins that addresses, routes and rules have; nobody else's in the lists of the kernel and of iproute2.
const ORIGIN: u8 = 82;
const FOREVER: u32 = u32::MAX;
const TABLE_MAIN: u32 = 254;
/// What IPv6 takes where none is said.
const METRIC_6: u32 = 1024;

const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_GETROUTE: u16 = 26;
const RTM_NEWRULE: u16 = 32;
const RTM_DELRULE: u16 = 33;
const RTM_GETRULE: u16 = 34;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFF_UP: u32 = 0x1;
const IFF_RUNNING: u32 = 0x40;
const IFF_NOARP: u32 = 0x80;
const ARPHRD_ETHER: u16 = 1;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_CACHEINFO: u16 = 6;
const IFA_FLAGS: u16 = 8;
const IFA_PROTO: u16 = 11;
const IFA_F_NOPREFIXROUTE: u32 = 0x200;
const IFA_F_DADFAILED: u32 = 0x08;
const IFA_F_TENTATIVE: u32 = 0x40;

const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_PREFSRC: u16 = 7;
const RTA_TABLE: u16 = 15;
const RTN_UNICAST: u8 = 1;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RT_SCOPE_LINK: u8 = 253;

const FRA_SRC: u16 = 2;
const FRA_PRIORITY: u16 = 6;
const FRA_TABLE: u16 = 15;
const FRA_PROTOCOL: u16 = 21;
const FR_ACT_TO_TBL: u8 = 1;

#[derive(Debug)]
pub(super) struct Kernel(Netlink);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub index: u32,
    pub up: bool,
    pub carrier: bool,
    /// What it hears is handed on to a bridge or bond that it is a part of.
    pub is_port: bool,
    /// There are neighbours that can be asked and told.
    pub has_neighbours: bool,
    pub mac: Mac,
}

/// An address that the kernel has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Present {
    pub index: u32,
    pub address: IpAddr,
    pub prefix: u8,
    /// Nothing says when it ends, where it does not.
    pub left: Option<Duration>,
    pub tentative: bool,
    pub failed: bool,
    /// None from kernels that do not keep it.
    pub ours: Option<bool>,
}

/// A way to others, while the address is here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    pub to: IpAddr,
    pub prefix: u8,
    pub via: Option<IpAddr>,
    pub metric: Option<u32>,
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.prefix {
            0 => f.write_str("default route")?,
            prefix => write!(f, "route to {}/{prefix}", self.to)?,
        }
        self.via.map_or(Ok(()), |via| write!(f, " via {via}"))
    }
}

/// A route as it stands, with what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Way {
    pub route: Route,
    pub table: Option<u32>,
    pub index: u32,
    /// What this host says from: the kernel forgets it with the address, for IPv6.
    pub source: Option<IpAddr>,
}

/// What comes from the address goes by this table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rule {
    pub from: IpAddr,
    pub table: u32,
    pub priority: u32,
}

fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { AF_INET } else { AF_INET6 }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

pub(super) fn whole(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The network's own address.
pub(super) fn network(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
            IpAddr::V4((address.to_bits() & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0);
            IpAddr::V6((address.to_bits() & mask).into())
        }
    }
}

/// None for the one that is meant where none is written.
pub(super) fn metric(to: IpAddr, metric: u32) -> Option<u32> {
    Some(metric).filter(|metric| *metric != if to.is_ipv4() { 0 } else { METRIC_6 } && *metric != 0)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(<[u8; 4]>::try_from(bytes).ok()?.into()),
        16 => Some(<[u8; 16]>::try_from(bytes).ok()?.into()),
        _ => None,
    }
}

/// Whatever it was, it is not there.
fn gone(outcome: io::Result<()>) -> io::Result<()> {
    use rustix::io::Errno;
    let absent = [Errno::ADDRNOTAVAIL, Errno::SRCH, Errno::NOENT, Errno::NODEV];
    match outcome {
        Err(error) if absent.iter().any(|absent| error.raw_os_error() == Some(absent.raw_os_error())) => Ok(()),
        outcome => outcome,
    }
}

impl Kernel {
    pub fn open() -> io::Result<Kernel> {
        Ok(Kernel(Netlink::open()?))
    }

    /// None where there is no interface of that name.
    pub fn link(&mut self, name: &str) -> io::Result<Option<Link>> {
        let request = Request::new(RTM_GETLINK, 0, &[0; 16]).with(IFLA_IFNAME, &[name.as_bytes(), &[0]].concat());
        let body = match self.0.ask(&request) {
            Ok(body) => body,
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error()) => None,
            Err(error) => return Err(error),
        };
        Ok(body.as_deref().and_then(link))
    }

    pub fn addresses(&mut self) -> io::Result<Vec<Present>> {
        let list = self.0.list(&Request::new(RTM_GETADDR, 0, &[0; 8]))?;
        let mut list: Vec<Present> = list.iter().filter_map(|body| present(body)).collect();
        // A kernel that keeps origins gives one to its own, those of loopback first: what has none then is not by us.
        if list.iter().any(|one| one.ours.is_some()) {
            list.iter_mut().for_each(|one| one.ours = one.ours.or(Some(false)));
        }
        Ok(list)
    }

    /// What this host asks from: a question without a source would look as if it were about to take the address.
    pub fn source(&mut self, index: u32, address: IpAddr) -> io::Result<Option<IpAddr>> {
        let fits = |own: IpAddr| match own {
            IpAddr::V4(_) => address.is_ipv4(),
            IpAddr::V6(own) => address.is_ipv6() && own.is_unicast_link_local(),
        };
        let own = self.addresses()?.into_iter().find(|one| one.index == index && !one.tentative && fits(one.address));
        Ok(own.map(|own| own.address))
    }

    /// For so many seconds from now; the kernel then takes it away by itself. Whether it is new is looked for by the kernel (IPv6).
    pub fn put(&mut self, index: u32, own: IpAddr, prefix: u8, seconds: u32) -> io::Result<()> {
        let fixed = [&[family(own), prefix, 0, 0][..], &index.to_ne_bytes()].concat();
        let lives = [seconds.to_ne_bytes(), seconds.to_ne_bytes(), [0; 4], [0; 4]].concat();
        let request = Request::new(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, &fixed)
            .with(IFA_LOCAL, &octets(own))
            .with(IFA_ADDRESS, &octets(own))
            .with(IFA_CACHEINFO, &lives)
            .with(IFA_PROTO, &[ORIGIN]);
        // With an address of IPv6 that has an end the kernel does not remove the route to its network: that one is ours to make.
        let request = if own.is_ipv6() { request.number(IFA_FLAGS, IFA_F_NOPREFIXROUTE) } else { request };
        self.0.change(&request)
    }

    pub fn remove(&mut self, index: u32, own: IpAddr, prefix: u8) -> io::Result<()> {
        let fixed = [&[family(own), prefix, 0, 0][..], &index.to_ne_bytes()].concat();
        gone(
            self.0
                .change(&Request::new(RTM_DELADDR, 0, &fixed).with(IFA_LOCAL, &octets(own)).with(IFA_ADDRESS, &octets(own))),
        )
    }

    /// Our own, of the address's kind.
    pub fn routes(&mut self, own: IpAddr) -> io::Result<Vec<Way>> {
        let mut fixed = [0; 12];
        fixed[0] = family(own);
        let list = self.0.list(&Request::new(RTM_GETROUTE, 0, &fixed))?;
        Ok(list.iter().filter_map(|body| way(body)).collect())
    }

    /// Refused where another is in its place.
    pub fn add_route(&mut self, way: &Way) -> io::Result<()> {
        self.0.change(&route_request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, way))
    }

    pub fn remove_route(&mut self, way: &Way) -> io::Result<()> {
        gone(self.0.change(&route_request(RTM_DELROUTE, 0, way)))
    }

    /// Our own, of the address's kind.
    pub fn rules(&mut self, own: IpAddr) -> io::Result<Vec<Rule>> {
        let mut fixed = [0; 12];
        fixed[0] = family(own);
        let list = self.0.list(&Request::new(RTM_GETRULE, 0, &fixed))?;
        Ok(list.iter().filter_map(|body| rule(body)).collect())
    }

    pub fn add_rule(&mut self, rule: &Rule) -> io::Result<()> {
        self.0.change(&rule_request(RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, rule))
    }

    pub fn remove_rule(&mut self, rule: &Rule) -> io::Result<()> {
        gone(self.0.change(&rule_request(RTM_DELRULE, 0, rule)))
    }
}

pub(super) fn link(body: &[u8]) -> Option<Link> {
    let (kind, index, flags) = (u16_at(body, 2)?, u32_at(body, 4)?, u32_at(body, 8)?);
    let all = body.get(16..)?;
    let mac = attribute(all, IFLA_ADDRESS).and_then(|mac| mac.try_into().ok().map(Mac));
    let part_of = attribute(all, IFLA_LINKINFO).and_then(|info| attribute(info, IFLA_INFO_SLAVE_KIND));
    Some(Link {
        index,
        up: flags & IFF_UP != 0,
        carrier: flags & IFF_RUNNING != 0,
        is_port: part_of.is_some_and(|kind| !kind.starts_with(b"vrf")),
        has_neighbours: kind == ARPHRD_ETHER && flags & IFF_NOARP == 0 && mac.is_some(),
        mac: mac.unwrap_or_default(),
    })
}

pub(super) fn present(body: &[u8]) -> Option<Present> {
    let (prefix, index) = (*body.get(1)?, u32_at(body, 4)?);
    let mut flags = u32::from(*body.get(2)?);
    let (mut own, mut other, mut valid, mut origin) = (None, None, FOREVER, None);
    for (attribute, value) in attributes(body.get(8..)?) {
        match attribute {
            IFA_LOCAL => own = address(value),
            IFA_ADDRESS => other = address(value),
            IFA_CACHEINFO => valid = u32_at(value, 4)?,
            IFA_FLAGS => flags = u32_at(value, 0)?,
            IFA_PROTO => origin = value.first().copied(),
            _ => {}
        }
    }
    Some(Present {
        index,
        address: own.or(other)?,
        prefix,
        left: (valid != FOREVER).then(|| Duration::from_secs(valid.into())),
        tentative: flags & IFA_F_TENTATIVE != 0,
        failed: flags & IFA_F_DADFAILED != 0,
        ours: origin.map(|origin| origin == ORIGIN),
    })
}

fn route_request(kind: u16, flags: u16, way: &Way) -> Request {
    let Way { route, table, index, source } = way;
    let scope = if route.via.is_some() || route.to.is_ipv6() { RT_SCOPE_UNIVERSE } else { RT_SCOPE_LINK };
    let fixed = [family(route.to), route.prefix, 0, 0, 0, ORIGIN, scope, RTN_UNICAST, 0, 0, 0, 0];
    let mut request = Request::new(kind, flags, &fixed)
        .number(RTA_TABLE, table.unwrap_or(TABLE_MAIN))
        .number(RTA_OIF, *index);
    if route.prefix > 0 {
        request = request.with(RTA_DST, &octets(route.to));
    }
    for (attribute, address) in [(RTA_GATEWAY, route.via), (RTA_PREFSRC, *source)] {
        if let Some(address) = address {
            request = request.with(attribute, &octets(address));
        }
    }
    match route.metric {
        Some(metric) => request.number(RTA_PRIORITY, metric),
        None => request,
    }
}

pub(super) fn way(body: &[u8]) -> Option<Way> {
    let (family, prefix, origin) = (*body.first()?, *body.get(1)?, *body.get(5)?);
    if origin != ORIGIN {
        return None;
    }
    let any: IpAddr = if family == AF_INET { [0; 4].into() } else { [0; 16].into() };
    let (mut to, mut via, mut source, mut given, mut table, mut index) = (any, None, None, None, u32::from(*body.get(4)?), 0);
    for (attribute, value) in attributes(body.get(12..)?) {
        match attribute {
            RTA_DST => to = address(value)?,
            RTA_GATEWAY => via = address(value),
            RTA_PREFSRC => source = address(value),
            RTA_PRIORITY => given = u32_at(value, 0),
            RTA_TABLE => table = u32_at(value, 0)?,
            RTA_OIF => index = u32_at(value, 0)?,
            _ => {}
        }
    }
    let metric = given.and_then(|given| metric(to, given));
    Some(Way {
        route: Route { to, prefix, via, metric },
        table: (table != TABLE_MAIN).then_some(table),
        index,
        source,
    })
}

fn rule_request(kind: u16, flags: u16, rule: &Rule) -> Request {
    let fixed = [family(rule.from), 0, whole(rule.from), 0, 0, 0, 0, FR_ACT_TO_TBL, 0, 0, 0, 0];
    Request::new(kind, flags, &fixed)
        .with(FRA_SRC, &octets(rule.from))
        .number(FRA_TABLE, rule.table)
        .number(FRA_PRIORITY, rule.priority)
        .with(FRA_PROTOCOL, &[ORIGIN])
}

pub(super) fn rule(body: &[u8]) -> Option<Rule> {
    let (mut from, mut origin, mut table, mut priority) = (None, None, u32::from(*body.get(4)?), 0);
    for (attribute, value) in attributes(body.get(12..)?) {
        match attribute {
            FRA_SRC => from = address(value),
            FRA_TABLE => table = u32_at(value, 0)?,
            FRA_PRIORITY => priority = u32_at(value, 0)?,
            FRA_PROTOCOL => origin = value.first().copied(),
            _ => {}
        }
    }
    (origin == Some(ORIGIN)).then_some(Rule { from: from?, table, priority })
}

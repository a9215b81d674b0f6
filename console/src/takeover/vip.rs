//! `[[takeover.vip]]`: an address that is on the active node, with the routes that go along.

use std::net::IpAddr;

use crate::located::Section;

/// Before the main table, and behind the one of a host's own addresses.
const PRIORITY: u32 = 1000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vip {
    pub address: IpAddr,
    /// Bits of its network; all of them where only the address itself is meant.
    pub prefix: u8,
    pub interface: String,
    pub routes: Vec<Route>,
    /// Where the routes stand, for what leaves from the address.
    pub table: Option<u32>,
    /// Of the rule that says so.
    pub priority: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub to: IpAddr,
    pub prefix: u8,
    pub via: Option<IpAddr>,
    pub metric: Option<u32>,
}

pub(super) fn read_all(section: &mut Section<'_>) -> Vec<Vip> {
    let mut list: Vec<Vip> = Vec::new();
    for mut one in section.sections("vip").unwrap_or_default() {
        let vip = read(&mut one);
        if vip.as_ref().is_some_and(|vip| list.iter().any(|other| other.address == vip.address)) {
            one.wrong("address", "stands here twice");
        }
        list.extend(vip);
        one.finish(&[]);
    }
    list
}

fn read(section: &mut Section<'_>) -> Option<Vip> {
    section.require("address", "\"192.0.2.10\"");
    section.require("interface", "\"eth0\"");
    let address = section.parsed("address", network);
    let interface = section.parsed("interface", interface);
    let number = |section: &mut Section<'_>, key, most| section.integer(key, 1, most).and_then(|number| u32::try_from(number).ok());
    let table = number(section, "table", i64::from(u32::MAX));
    let priority = number(section, "priority", 32_765);
    let texts = section.strings("routes").unwrap_or_default();
    let (address, prefix) = address?;
    if address.is_unspecified() || address.is_multicast() || address.is_loopback() || prefix == 0 {
        section.wrong("address", format!("{address}/{prefix} cannot be an address of a host for others"));
    }
    if matches!(table, Some(253..=255)) {
        section.wrong("table", "253 to 255 are the kernel's own: choose another number");
    }
    if priority.is_some() && table.is_none() {
        section.wrong("priority", "is the rule's that leads to a `table`, and there is none");
    }
    let mut routes = Vec::new();
    for (at, text) in texts.iter().enumerate() {
        match route(text, address) {
            Ok(route) => routes.push(route),
            Err(what) => section.wrong("routes", format!("number {}: {what}", at + 1)),
        }
    }
    if table.is_some() && texts.is_empty() {
        section.wrong("table", "has no routes: write `routes` as [\"default via 192.0.2.1\"]");
    }
    Some(Vip { address, prefix, interface: interface?, routes, table, priority: priority.unwrap_or(PRIORITY) })
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn network(text: &str) -> Result<(IpAddr, u8), String> {
    let wrong = || format!("must be an address, as 192.0.2.10 or 192.0.2.10/24, not \"{text}\"");
    let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let prefix = prefix.map_or(Ok(bits(address)), |prefix| prefix.parse().map_err(|_| wrong()))?;
    if prefix > bits(address) { Err(wrong()) } else { Ok((address, prefix)) }
}

fn interface(text: &str) -> Result<String, String> {
    let plain = text.chars().all(|c| c.is_ascii_graphic() && c != '/');
    if plain && !text.is_empty() && text.len() <= 15 && text != "." && text != ".." {
        return Ok(text.to_owned());
    }
    Err(format!("must be the name of an interface, as `ip link` shows it, not \"{text}\""))
}

fn route(text: &str, own: IpAddr) -> Result<Route, String> {
    let wrong = || {
        format!("must be \"default via ADDRESS\" or \"NETWORK via ADDRESS\", and \"metric NUMBER\" behind it if need be, not \"{text}\"")
    };
    let mut words = text.split_whitespace();
    let any: IpAddr = if own.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
    let (to, prefix) = match words.next() {
        Some("default") => (any, 0),
        Some(word) => network(word).map_err(|_| wrong())?,
        None => return Err(wrong()),
    };
    let mut route = Route { to, prefix, via: None, metric: None };
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(wrong)?;
        match word {
            "via" if route.via.is_none() => route.via = Some(value.parse().map_err(|_| wrong())?),
            "metric" if route.metric.is_none() => route.metric = Some(value.parse().map_err(|_| wrong())?),
            _ => return Err(wrong()),
        }
    }
    let alike = |other: IpAddr| other.is_ipv4() == own.is_ipv4();
    if alike(route.to) && route.via.is_none_or(alike) {
        Ok(route)
    } else {
        Err(format!("\"{text}\" is no route of the same kind as {own}"))
    }
}

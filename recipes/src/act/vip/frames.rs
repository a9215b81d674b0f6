//! What hosts say to each other about who has an address: ARP (RFC 826, 5227) and neighbour discovery (RFC 4861), as bytes of Ethernet.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const ETHERNET: usize = 14;
pub(super) const ARP: u16 = 0x0806;
pub(super) const IPV6: u16 = 0x86dd;
const REQUEST: u16 = 1;
const REPLY: u16 = 2;
/// Ethernet, IPv4, and the lengths of their addresses.
const ARP_KIND: [u8; 6] = [0, 1, 8, 0, 6, 4];
const ICMPV6: u8 = 58;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// A packet that a router passed on has less.
const HOPS: u8 = 255;
const FROM_ROUTER: u8 = 0x80;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;
const SOURCE_LINK: u8 = 1;
const TARGET_LINK: u8 = 2;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// The address of a network card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mac(pub [u8; 6]);

const EVERYBODY: Mac = Mac([0xff; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// What another host did that has to do with an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// It said to all that it has it.
    Announced,
    /// It said so to somebody who asked.
    Answered,
    /// It looks whether anybody has it, as whoever is about to take it does.
    Probed,
}

/// One such thing, seen on the segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sighting {
    pub mac: Mac,
    pub claim: Claim,
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Claim::Announced => "announces",
            Claim::Answered => "answers for",
            Claim::Probed => "probes for",
        })
    }
}

/// Asks who has an address. Without a source of one's own nobody learns a wrong one from it: that is how one asks before one takes it.
pub(super) fn question(mac: Mac, source: Option<IpAddr>, address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => {
            let sender = match source {
                Some(IpAddr::V4(sender)) => sender,
                _ => Ipv4Addr::UNSPECIFIED,
            };
            arp(REQUEST, (mac, sender), (Mac::default(), address))
        }
        IpAddr::V6(address) => {
            let [.., a, b, c] = address.octets();
            let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]));
            let sender = match source {
                Some(IpAddr::V6(sender)) => Some(sender),
                _ => None,
            };
            let option = sender.map(|_| (SOURCE_LINK, mac));
            neighbour(mac, (sender.unwrap_or(Ipv6Addr::UNSPECIFIED), group), (SOLICITATION, 0), address, option)
        }
    }
}

/// Says to all that this host has it: some believe a request, some a reply.
pub(super) fn announcements(mac: Mac, address: IpAddr, is_router: bool) -> Vec<Vec<u8>> {
    match address {
        IpAddr::V4(address) => {
            vec![arp(REQUEST, (mac, address), (Mac::default(), address)), arp(REPLY, (mac, address), (EVERYBODY, address))]
        }
        IpAddr::V6(address) => {
            let flags = OVERRIDE | if is_router { FROM_ROUTER } else { 0 };
            vec![neighbour(mac, (address, ALL_NODES), (ADVERTISEMENT, flags), address, Some((TARGET_LINK, mac)))]
        }
    }
}

fn arp(operation: u16, sender: (Mac, Ipv4Addr), target: (Mac, Ipv4Addr)) -> Vec<u8> {
    let mut frame = [&EVERYBODY.0[..], &sender.0.0, &ARP.to_be_bytes(), &ARP_KIND, &operation.to_be_bytes()].concat();
    for (mac, address) in [sender, target] {
        frame.extend(mac.0);
        frame.extend(address.octets());
    }
    frame
}

fn neighbour(mac: Mac, (from, to): (Ipv6Addr, Ipv6Addr), (kind, flags): (u8, u8), target: Ipv6Addr, option: Option<(u8, Mac)>) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0, flags, 0, 0, 0];
    message.extend(target.octets());
    if let Some((kind, mac)) = option {
        message.extend([kind, 1]);
        message.extend(mac.0);
    }
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    let summed = [&from.octets()[..], &to.octets(), &[0, 0], &length.to_be_bytes(), &[0, 0, 0, ICMPV6], &message].concat();
    message[2..4].copy_from_slice(&checksum(&summed).to_be_bytes());
    let [.., a, b, c, d] = to.octets();
    let mut frame = [&[0x33, 0x33, a, b, c, d][..], &mac.0, &IPV6.to_be_bytes(), &[0x60, 0, 0, 0], &length.to_be_bytes()].concat();
    frame.extend([ICMPV6, HOPS]);
    frame.extend(from.octets());
    frame.extend(to.octets());
    frame.extend(message);
    frame
}

fn checksum(bytes: &[u8]) -> u16 {
    let pairs = bytes
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])));
    let sum: u32 = pairs.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap_or(u16::MAX)
}

/// What a frame says about the address, if it says anything.
pub(super) fn read(frame: &[u8], address: IpAddr) -> Option<Sighting> {
    let kind = u16::from_be_bytes(frame.get(12..ETHERNET)?.try_into().ok()?);
    let body = frame.get(ETHERNET..)?;
    match address {
        IpAddr::V4(address) if kind == ARP => read_arp(body, address),
        IpAddr::V6(address) if kind == IPV6 => read_neighbour(body, mac_at(frame, 6)?, address),
        _ => None,
    }
}

fn mac_at(bytes: &[u8], at: usize) -> Option<Mac> {
    Some(Mac(bytes.get(at..at + 6)?.try_into().ok()?))
}

fn read_arp(body: &[u8], address: Ipv4Addr) -> Option<Sighting> {
    let at = |at: usize| -> Option<[u8; 4]> { body.get(at..at + 4)?.try_into().ok() };
    let (mac, sender, target) = (mac_at(body, 8)?, Ipv4Addr::from(at(14)?), Ipv4Addr::from(at(24)?));
    let operation = u16::from_be_bytes(body.get(6..8)?.try_into().ok()?);
    if body[..6] != ARP_KIND {
        return None;
    }
    let claim = match operation {
        REPLY if sender == address && target != address => Claim::Answered,
        _ if sender == address => Claim::Announced,
        REQUEST if sender.is_unspecified() && target == address => Claim::Probed,
        _ => return None,
    };
    Some(Sighting { mac, claim })
}

fn read_neighbour(body: &[u8], from: Mac, address: Ipv6Addr) -> Option<Sighting> {
    let (head, message) = body.split_at_checked(40)?;
    let (sender, target): ([u8; 16], [u8; 16]) = (head[8..24].try_into().ok()?, message.get(8..24)?.try_into().ok()?);
    if head[6] != ICMPV6 || head[7] != HOPS || target != address.octets() {
        return None;
    }
    match message[0] {
        ADVERTISEMENT => {
            let option = |kind: u8| message[24..].chunks(8).find(|option| option[0] == kind && option.get(1) == Some(&1));
            let mac = option(TARGET_LINK).and_then(|option| mac_at(option, 2)).unwrap_or(from);
            let claim = if message[4] & SOLICITED == 0 { Claim::Announced } else { Claim::Answered };
            Some(Sighting { mac, claim })
        }
        SOLICITATION if Ipv6Addr::from(sender).is_unspecified() => Some(Sighting { mac: from, claim: Claim::Probed }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: Mac = Mac([2, 0, 0, 0, 1, 7]);

    fn parsed(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_said_is_understood() {
        for (address, source) in [("192.0.2.10", "192.0.2.1"), ("2001:db8::a:10", "fe80::1")] {
            let (address, source) = (parsed(address), parsed(source));
            for frame in announcements(OURS, address, false) {
                assert_eq!(read(&frame, address), Some(Sighting { mac: OURS, claim: Claim::Announced }));
                assert_eq!(read(&frame, parsed("192.0.2.11")), None);
                for length in 0..frame.len() - 8 {
                    assert_eq!(read(&frame[..length], address), None, "cut off");
                }
            }
            let probe = read(&question(OURS, None, address), address);
            assert_eq!(probe, Some(Sighting { mac: OURS, claim: Claim::Probed }));
            assert_eq!(read(&question(OURS, Some(source), address), address), None, "a question of somebody who has an address");
        }
    }

    #[test]
    fn frames_are_as_the_standards_say() {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let request = &announcements(OURS, parsed("192.0.2.10"), false)[0];
        assert_eq!(hex(request), "ffffffffffff020000000107080600010800060400010200000001 07c000020a000000000000c000020a".replace(' ', ""));
        let frame = &announcements(OURS, parsed("2001:db8::10"), false)[0];
        assert_eq!(hex(&frame[..24]), "33330000000102000000010786dd6000000000203aff".to_owned() + "2001");
        // Summed with its checksum, all of it is ones.
        let message = &frame[54..];
        let length = u16::try_from(message.len()).unwrap();
        let summed = [&frame[22..54], &[0, 0], &length.to_be_bytes()[..], &[0, 0, 0, ICMPV6], message].concat();
        assert_eq!(checksum(&summed), 0);
    }

    #[test]
    fn what_came_through_a_router_is_not_believed() {
        let address = parsed("2001:db8::10");
        let mut frame = announcements(OURS, address, false).remove(0);
        frame[21] = 254;
        assert_eq!(read(&frame, address), None);
    }
}

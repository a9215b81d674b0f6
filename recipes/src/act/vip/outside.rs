//! Who has an address, as the segment says it: what the kernel here has, and every other host that answers.
//!
//! Nothing is taken, told or changed by it. A question without a source looks to others as if this host were about to take the address, so who has no address of
//! its own on the interface does not ask, unless it has this very one.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use super::super::budget::Budget;
use super::announce::found;
use super::frames::{Claim, Mac};
use super::kernel::Kernel;
use super::segment::Segment;
use crate::Error;

const ASK_AGAIN: Duration = Duration::from_millis(200);

/// What one look gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outside {
    /// Of the interface here.
    pub own: Mac,
    pub here: Option<Here>,
    /// All the others that say that they have it.
    pub others: BTreeSet<Mac>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Here {
    /// How long the kernel keeps it; None where it has no end.
    pub left: Option<Duration>,
    /// On the interface that was looked at.
    pub on_interface: bool,
}

/// Asks for the whole time, so that a second host is heard behind the first.
pub fn outside(interface: &str, address: IpAddr, within: Duration) -> Result<Outside, Error> {
    look(interface, address, within).map_err(|source| {
        let (action, name) = ("look for", address.to_string());
        match source.kind() {
            io::ErrorKind::PermissionDenied => Error::NoNetworkRights { action, name, source },
            _ => Error::Act { action, name, source },
        }
    })
}

fn look(interface: &str, address: IpAddr, within: Duration) -> io::Result<Outside> {
    let (mut kernel, budget) = (Kernel::open()?, Budget::of(within)?);
    let link = found(&mut kernel, interface)?;
    if !link.up || !link.carrier {
        return Err(io::Error::new(io::ErrorKind::NotConnected, format!("{interface} is down, or has no carrier")));
    }
    let present = kernel.addresses()?.into_iter().find(|one| one.address == address && !one.tentative && !one.failed);
    let here = present.map(|one| Here { left: one.left, on_interface: one.index == link.index });
    let source = kernel.source(link.index, address)?.filter(|source| *source != address);
    if source.is_none() && here.is_none() {
        let why = format!("{interface} has no address of its own from which others could be asked");
        return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, why));
    }
    let segment = Segment::open(&link, address)?;
    let mut others = BTreeSet::new();
    while !budget.is_over() {
        segment.ask(source)?;
        let moment = Budget::of(ASK_AGAIN.min(budget.left()))?;
        while !moment.is_over() {
            let heard = segment.hear(moment.left(), None)?;
            others.extend(heard.filter(|sighting| sighting.claim != Claim::Probed).map(|sighting| sighting.mac));
        }
    }
    Ok(Outside { own: link.mac, here, others })
}

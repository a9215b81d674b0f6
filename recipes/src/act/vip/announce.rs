//! Telling neighbours where the address is now, again and again, and hearing what they say about it.
//!
//! The first announcement may come while a neighbour refuses to change its mind (Linux does so for a second), or be lost: so there are four in
//! five seconds, one each minute, and one when another host says that it has the address. No clock is read: whoever drives this says what time it is.

use std::io;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::super::budget::Budget;
use super::Vip;
use super::frames::{Claim, Mac, Sighting};
use super::kernel::{Kernel, Link};
use super::segment::{Segment, rest};
use super::work::is_router;
use crate::Error;

/// Since it was taken.
const MOMENTS: [Duration; 4] = [Duration::ZERO, Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(5)];
const EVERY: Duration = Duration::from_secs(60);
/// Two hosts that both have it would answer each other as fast as they can.
const CONTESTED: Duration = Duration::from_secs(1);
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// When the next announcement is due. Times are since any moment, the same for all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    began: Duration,
    done: usize,
    last: Option<Duration>,
    next: Duration,
}

impl Schedule {
    pub fn begin(now: Duration) -> Schedule {
        Schedule { began: now, done: 0, last: None, next: now }
    }

    /// How long nothing is to be done.
    pub fn wait(&self, now: Duration) -> Duration {
        self.next.saturating_sub(now)
    }

    pub fn announced(&mut self, now: Duration) {
        self.done += 1;
        self.last = Some(now);
        self.next = match MOMENTS.get(self.done) {
            Some(moment) => (self.began + *moment).max(now),
            None => now + EVERY,
        };
    }

    /// Another host says that it has the address.
    pub fn contested(&mut self, now: Duration) {
        let soonest = self.last.map_or(now, |last| (last + CONTESTED).max(now));
        self.next = self.next.min(soonest);
    }

    fn later(&mut self, now: Duration) {
        self.next = now + CONTESTED;
    }
}

/// Announces one address while it is held here, and hears who contests it.
#[derive(Debug)]
pub struct Announcer {
    vip: Vip,
    segment: Option<Segment>,
    schedule: Schedule,
}

impl Announcer {
    pub(super) fn new(vip: Vip) -> Announcer {
        Announcer { vip, segment: None, schedule: Schedule::begin(Duration::ZERO) }
    }

    /// The address is new here.
    pub fn begin(&mut self, now: Duration) {
        self.schedule = Schedule::begin(now);
    }

    /// Does what is due, then hears what others say, within `wait`, until something is due again, or `wake` has something to read.
    pub fn step(&mut self, now: Duration, wait: Duration, wake: Option<BorrowedFd<'_>>) -> Result<Option<Sighting>, Error> {
        let done = self.work(now, wait, wake);
        if done.is_err() {
            // The interface may have gone and come back as another.
            self.segment = None;
            self.schedule.later(now);
        }
        let (name, action) = (self.vip.place.name().to_owned(), "announce");
        done.map_err(|source| Error::Act { action, name, source })
    }

    fn work(&mut self, now: Duration, wait: Duration, wake: Option<BorrowedFd<'_>>) -> io::Result<Option<Sighting>> {
        let (interface, address) = (&self.vip.did.interface, self.vip.did.address);
        if self.schedule.wait(now).is_zero() {
            let mut kernel = Kernel::open()?;
            let link = found(&mut kernel, interface)?;
            let segment = match self.segment.take().filter(|segment| segment.is_on(&link)) {
                Some(segment) => segment,
                None => Segment::open(&link, address)?,
            };
            let here = |list: Vec<super::kernel::Present>| {
                list.iter().any(|one| one.address == address && one.index == link.index && !one.tentative)
            };
            // Whoever was stopped for long may have lost it: then it is another's to announce.
            if here(kernel.addresses()?) {
                segment.announce(is_router(interface))?;
                self.schedule.announced(now);
            } else {
                self.schedule.later(now);
            }
            self.segment = Some(segment);
        }
        let wait = wait.min(self.schedule.wait(now));
        let Some(segment) = &self.segment else { return rest(wait, wake).map(|()| None) };
        let sighting = segment.hear(wait, wake)?;
        if sighting.is_some_and(|sighting| sighting.claim != Claim::Probed) {
            self.schedule.contested(now);
        }
        Ok(sighting)
    }
}

pub(super) fn found(kernel: &mut Kernel, interface: &str) -> io::Result<Link> {
    let missing = || io::Error::new(io::ErrorKind::NotFound, format!("{interface} is not there"));
    let link = kernel.link(interface)?.ok_or_else(missing)?;
    match link.has_neighbours {
        true => Ok(link),
        false => Err(io::Error::new(io::ErrorKind::Unsupported, format!("{interface} has no neighbours"))),
    }
}

/// Hears what is said of an address, without having it.
#[derive(Debug)]
pub struct Watch(Segment);

impl Watch {
    pub fn open(interface: &str, address: IpAddr) -> Result<Watch, Error> {
        let opened = Kernel::open().and_then(|mut kernel| Segment::open(&found(&mut kernel, interface)?, address));
        opened.map(Watch).map_err(|source| failed(address, source))
    }

    pub fn next(&self, within: Duration, wake: Option<BorrowedFd<'_>>) -> Result<Option<Sighting>, Error> {
        self.0.hear(within, wake).map_err(|source| failed(self.0.address(), source))
    }
}

fn failed(address: IpAddr, source: io::Error) -> Error {
    match source.kind() {
        io::ErrorKind::PermissionDenied => Error::NoNetworkRights { action: "watch", name: address.to_string(), source },
        _ => Error::Act { action: "watch", name: address.to_string(), source },
    }
}

/// Who has an address, as this host sees it: how another member verifies a takeover.
pub fn seen(interface: &str, address: IpAddr, within: Duration) -> Result<Option<Mac>, Error> {
    ask(interface, address, within).map_err(|source| failed(address, source))
}

fn ask(interface: &str, address: IpAddr, within: Duration) -> io::Result<Option<Mac>> {
    let (mut kernel, budget) = (Kernel::open()?, Budget::of(within)?);
    let link = found(&mut kernel, interface)?;
    let present = kernel.addresses()?;
    if present.iter().any(|one| one.address == address && !one.tentative) {
        return Ok(Some(link.mac));
    }
    let source = kernel.source(link.index, address)?;
    let segment = Segment::open(&link, address)?;
    loop {
        segment.ask(source)?;
        let heard = segment.hear(ASK_AGAIN.min(budget.left()), None)?;
        if let Some(sighting) = heard.filter(|sighting| sighting.claim != Claim::Probed) {
            return Ok(Some(sighting.mac));
        }
        if budget.is_over() {
            return Ok(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn it_is_announced_four_times_in_five_seconds_and_then_each_minute() {
        let mut schedule = Schedule::begin(at(1000));
        let mut moments = Vec::new();
        let mut now = at(1000);
        while now < at(130_000) {
            now += schedule.wait(now);
            moments.push(now.as_millis());
            schedule.announced(now);
        }
        assert_eq!(moments, [1000, 1200, 2000, 6000, 66_000, 126_000, 186_000]);
    }

    #[test]
    fn who_contests_it_is_answered_at_once_but_not_more_than_each_second() {
        let mut schedule = Schedule::begin(at(0));
        (0..4).for_each(|_| schedule.announced(at(5000)));
        schedule.contested(at(9000));
        assert_eq!(schedule.wait(at(9000)), at(0));
        schedule.announced(at(9000));
        schedule.contested(at(9100));
        assert_eq!(schedule.wait(at(9100)), at(900));
    }
}

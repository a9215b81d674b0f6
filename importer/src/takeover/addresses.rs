//! The addresses that go with the role, each with a thread of its own: asking a segment takes longer than the member may wait.
//!
//! The thread is told until when the address is wanted, or that it is to go, and brings that about; in between it announces it and hears who contests it. A later word counts, and
//! nothing is undone by an earlier one: whoever is told to let go while it takes the address takes it away again afterwards, and only then is it gone.

use console::exit::Failure;
use console::node_file;
use election::Time;
use link::boot;
use recipes::act::vip::{Claim, Settings, recorded};
use recipes::act::{Act, Call, Vip, vip};
use recipes::data::Level;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The kernel looks for two seconds whether an address of IPv6 is new.
const TAKE: Duration = Duration::from_secs(5);
const RELEASE: Duration = Duration::from_secs(2);
const AGAIN: Duration = Duration::from_secs(1);
const HEAR: Duration = Duration::from_secs(30);
/// So often it is tried to take one for a new reign, before another node is to try.
const ATTEMPTS: u32 = 3;

/// What a person, or the member, has to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// The address of a reign that just began cannot be here.
    Failed(String),
    Trouble(String),
}

type Tell = Arc<dyn Fn(Word) + Send + Sync>;

pub struct Addresses {
    list: Vec<Arc<One>>,
}

struct One {
    vip: Vip,
    /// By this node file; another's is only taken away.
    configured: bool,
    cluster: String,
    node: String,
    orders: Mutex<Orders>,
    done: Condvar,
    wake: OwnedFd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wanted {
    epoch: u64,
    until: Time,
}

#[derive(Debug, Default)]
struct Orders {
    wanted: Option<Wanted>,
    /// It is to go, by the word of this epoch.
    release: Option<u64>,
    ended: bool,
}

/// The act's settings by the node file.
pub fn settings(vip: &node_file::Vip, records: &Path) -> Settings {
    let routes = vip.routes.iter();
    let routes = routes.map(|route| vip::Route { to: route.to, prefix: route.prefix, via: route.via, metric: route.metric });
    Settings {
        prefix: vip.prefix,
        routes: routes.collect(),
        table: vip.table,
        priority: vip.priority,
        ..Settings::new(vip.address, &vip.interface, records.to_path_buf())
    }
}

impl Addresses {
    /// With those that an earlier node file had put there.
    pub fn new(vips: &[node_file::Vip], records: &Path, (cluster, node): (&str, &str)) -> Result<Addresses, recipes::Error> {
        let known = recorded(records).into_iter().filter(|(address, _)| vips.iter().all(|vip| vip.address != *address));
        let forgotten = known.map(|(address, interface)| (false, Settings::new(address, &interface, records.to_path_buf())));
        let all = vips.iter().map(|vip| (true, settings(vip, records))).chain(forgotten);
        let one = |(configured, settings): (bool, Settings)| {
            let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
            let wake = wake.map_err(|error| recipes::Error::Settings { reason: format!("no thread can be woken: {error}") })?;
            let (cluster, node) = (cluster.to_owned(), node.to_owned());
            let (orders, done) = (Mutex::default(), Condvar::new());
            Ok(Arc::new(One { vip: Vip::new(settings)?, configured, cluster, node, orders, done, wake }))
        };
        Ok(Addresses { list: all.map(one).collect::<Result<_, _>>()? })
    }

    /// From here on what is ordered is done.
    pub fn begin(&self, epoch: u64, tell: &Tell) -> Result<(), Failure> {
        for one in &self.list {
            if !one.configured {
                one.order(|orders| orders.release = Some(epoch));
            }
            let (thread, tell) = (one.clone(), tell.clone());
            let spawned = std::thread::Builder::new().name("address".into()).spawn(move || Run::new(&thread, &tell).run());
            spawned.map_err(|error| Failure::failed(format!("cannot begin a thread: {error}")))?;
        }
        Ok(())
    }

    fn configured(&self) -> impl Iterator<Item = &Arc<One>> {
        self.list.iter().filter(|one| one.configured)
    }

    /// Wanted here until then, unless a later word says longer.
    pub fn keep(&self, epoch: u64, until: Time) {
        for one in self.configured() {
            one.order(|orders| (orders.wanted, orders.release) = (Some(Wanted { epoch, until }), None));
        }
    }

    /// To go, at once.
    pub fn release(&self, epoch: u64) {
        for one in self.configured() {
            one.order(|orders| (orders.wanted, orders.release) = (None, Some(epoch.max(orders.release.unwrap_or(0)))));
        }
    }

    /// Waits until all that were to go have gone.
    pub fn are_gone(&self, until: Time) -> Result<(), Failure> {
        for one in self.configured() {
            let (left, orders) = (until.since(boot::now()), one.orders());
            let waited = one.done.wait_timeout_while(orders, left, |orders| orders.release.is_some());
            let (orders, _) = waited.unwrap_or_else(PoisonError::into_inner);
            if orders.release.is_some() {
                return Err(Failure::failed(format!("{} is not taken away from {} yet", one.vip.address(), one.vip.interface())));
            }
        }
        Ok(())
    }

    /// Whether each could be taken here now.
    pub fn are_free(&self, within: Duration) -> Result<(), recipes::Error> {
        self.configured().try_for_each(|one| one.vip.is_free(within))
    }
}

impl Drop for Addresses {
    fn drop(&mut self) {
        self.list.iter().for_each(|one| one.order(|orders| orders.ended = true));
    }
}

impl One {
    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn order(&self, change: impl FnOnce(&mut Orders)) {
        change(&mut self.orders());
        // It is woken already when its counter is full.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    /// Until the next order, or so long.
    fn rest(&self, time: Duration) {
        let limit = Timespec { tv_sec: time.as_secs().cast_signed(), tv_nsec: time.subsec_nanos().into() };
        // What interrupts it makes it look.
        let _ = poll(&mut [PollFd::new(&self.wake, PollFlags::IN)], Some(&limit));
    }

    fn call(&self, epoch: u64, within: Duration, lifetime: Option<Duration>) -> Call {
        Call { cluster: self.cluster.clone(), epoch, node: self.node.clone(), within, lifetime }
    }

    /// Whether it was taken anew.
    fn hold(&self, wanted: Wanted) -> Result<bool, recipes::Error> {
        let call = || {
            let left = wanted.until.since(boot::now());
            self.call(wanted.epoch, TAKE.min(left), Some(left))
        };
        match self.vip.extend(&call()) {
            Err(recipes::Error::NotHeld { .. }) => self.vip.take(&call()).map(|_| true),
            extended => extended.map(|_| false),
        }
    }
}

/// The thread of one address.
struct Run<'a> {
    one: &'a One,
    tell: &'a Tell,
    announcer: vip::Announcer,
    /// What the kernel was told last.
    held: Option<Wanted>,
    failures: u32,
    /// One that a reign does not have yet is not tried before: each renewal wakes this thread.
    again: Time,
    /// What was told last, so that it is told once.
    told: Option<String>,
}

impl<'a> Run<'a> {
    fn new(one: &'a One, tell: &'a Tell) -> Run<'a> {
        Run {
            one,
            tell,
            announcer: one.vip.announcer(),
            held: None,
            failures: 0,
            again: Time::default(),
            told: None,
        }
    }

    fn run(mut self) {
        loop {
            // What was ordered before is seen below.
            let _ = rustix::io::read(&self.one.wake, &mut [0_u8; 8]);
            let (wanted, release) = match &*self.one.orders() {
                Orders { ended: true, .. } => return,
                orders => (orders.wanted, orders.release),
            };
            let (now, later) = (boot::now(), self.again);
            let done = match (wanted, release) {
                (_, Some(epoch)) => self.release(epoch),
                (Some(wanted), None) if self.held != Some(wanted) && now < wanted.until => now >= later && self.hold(wanted),
                _ => true,
            };
            match (done, self.held) {
                (false, _) if now < later => self.one.rest(later.since(now)),
                (false, _) => self.one.rest(AGAIN),
                (true, Some(_)) => self.announce(),
                (true, None) => self.one.rest(HEAR),
            }
        }
    }

    fn trouble(&mut self, what: String) {
        if self.told.as_ref() != Some(&what) {
            (self.tell)(Word::Trouble(what.clone()));
            self.told = Some(what);
        }
    }

    fn release(&mut self, epoch: u64) -> bool {
        match self.one.vip.release(&self.one.call(epoch, RELEASE, None)) {
            Ok(found) => {
                (self.held, self.failures, self.again) = (None, 0, Time::default());
                match found.into_iter().find(|finding| finding.level >= Level::Warning) {
                    Some(finding) => self.trouble(finding.what),
                    None => self.told = None,
                }
                let mut orders = self.one.orders();
                if orders.release == Some(epoch) {
                    orders.release = None;
                }
                self.one.done.notify_all();
                true
            }
            Err(error) => {
                self.trouble(format!("{}; the kernel takes it away when its time is over", link::pull::chain(&error)));
                false
            }
        }
    }

    fn hold(&mut self, wanted: Wanted) -> bool {
        let lost = self.failures > 0 || self.held.is_none_or(|held| held.until <= boot::now());
        let before = self.held.is_some_and(|held| held.epoch == wanted.epoch);
        match self.one.hold(wanted) {
            Ok(is_new) => {
                if lost || is_new {
                    self.announcer.begin(since_boot());
                }
                (self.held, self.failures, self.told) = (Some(wanted), 0, None);
                true
            }
            Err(error) => {
                self.failures += 1;
                let what = link::pull::chain(&error);
                if !before {
                    self.again = boot::now() + AGAIN;
                }
                if !before && self.failures == ATTEMPTS {
                    (self.tell)(Word::Failed(what));
                } else {
                    self.trouble(what);
                }
                false
            }
        }
    }

    fn announce(&mut self) {
        match self.announcer.step(since_boot(), HEAR, Some(self.one.wake.as_fd())) {
            Ok(Some(sighting)) if sighting.claim != Claim::Probed => {
                self.trouble(format!("{} {} {}, which this node holds", sighting.mac, sighting.claim, self.one.vip.address()));
            }
            Ok(_) => {}
            Err(error) => {
                self.trouble(link::pull::chain(&error));
                self.one.rest(AGAIN);
            }
        }
    }
}

fn since_boot() -> Duration {
    boot::now().since(Time::default())
}

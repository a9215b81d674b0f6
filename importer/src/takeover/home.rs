//! `failback = "automatic"`: the role comes home to a node that lost it unwillingly, without anybody asking for it.
//!
//! It waits until the node was ready for some time without a break, and then does what `importer failback` does, but for one thing: where nobody is active it takes nothing,
//! for that is the arbiter's matter. A role that was given up, by a switchover, by `close`, or since the application was down here, is not asked back. What fails is
//! tried again, each time later.

use crate::takeover::hands::Stays;
use crate::takeover::kept::Lost;
use crate::takeover::orders::Orders;
use crate::takeover::told::Event;
use console::exit::Failure;
use election::message::Standing;
use election::{Role, Time};
use link::boot;
use standing::log::{Log, Said};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

const LOOK: Duration = Duration::from_millis(500);
/// Tries are no further apart than this.
const APART_MOST: Duration = Duration::from_secs(3600);

pub struct Home {
    orders: Arc<Orders>,
    state: PathBuf,
    log: Log,
    after: Duration,
    ready_since: Option<Time>,
    /// Before this nothing is tried again.
    not_before: Time,
    failures: u32,
}

impl Home {
    /// Watches from now on, where the role comes home by itself.
    pub fn begin(orders: &Arc<Orders>, after: Option<Duration>, log: &Log) -> Result<(), Failure> {
        // Whoever switches it on later speaks of what comes then.
        let Some(after) = after else { return Lost::forget(&orders.file.node.state).map_err(crate::cmd::failure) };
        let state = orders.file.node.state.clone();
        let (orders, log, ready_since, not_before) = (orders.clone(), log.clone(), None, Time::default());
        let home = Home { orders, state, log, after, ready_since, not_before, failures: 0 };
        let spawned = std::thread::Builder::new().name("home".into()).spawn(move || home.watch());
        spawned.map(drop).map_err(|error| Failure::failed(format!("cannot begin a thread: {error}")))
    }

    fn watch(mut self) {
        let mut next = 0;
        while !*self.orders.stop.borrow() {
            let events;
            (events, next) = self.orders.told.since(next, LOOK);
            for event in events {
                if let Event::Role(role) = event {
                    self.note(&role);
                }
            }
            if self.is_due() {
                self.come_home();
            }
        }
    }

    /// How a reign begins and ends is written down.
    fn note(&mut self, role: &Role) {
        let kept = match role.standing {
            Standing::Active => {
                self.failures = 0;
                Lost { epoch: role.epoch.0 }.keep(&self.state)
            }
            Standing::SteppingDown | Standing::Closed => Lost::forget(&self.state),
            _ => Ok(()),
        };
        if let Err(error) = kept {
            self.log.say(Said::warn("takeover", link::pull::chain(&error)));
        }
    }

    fn is_due(&mut self) -> bool {
        if self.orders.told.standing() != Standing::Ready || !matches!(Lost::open(&self.state), Ok(Some(_))) {
            self.ready_since = None;
            return false;
        }
        let now = boot::now();
        let since = *self.ready_since.get_or_insert(now);
        now >= since + self.after && now >= self.not_before
    }

    fn come_home(&mut self) {
        self.log
            .say(Said::info("takeover", "the role was lost here, and this node is ready again: it is asked back"));
        let log = self.log.clone();
        let why = match self.orders.come_home(&|what| log.say(Said::info("takeover", what))) {
            Ok(()) => return,
            Err(Stays { why, for_good: false }) => why,
            Err(Stays { why, .. }) => {
                let kept = Lost::forget(&self.state);
                let said = kept.map_or_else(|error| link::pull::chain(&error), |()| format!("the role is not asked back any more: {why}"));
                return self.log.say(Said::info("takeover", said));
            }
        };
        let wait = (self.after * 2_u32.saturating_pow(self.failures)).min(APART_MOST);
        self.failures = self.failures.saturating_add(1);
        self.not_before = boot::now() + wait;
        let again = console::human::duration(wait);
        self.log
            .say(Said::warn("takeover", format!("the role did not come home: {why}; it is asked back again in {again}")));
    }
}

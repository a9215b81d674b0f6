//! Hands the role over to a fellow that asks for it, as a person would here; to one at a time, which may ask how far that is.

use crate::takeover::exchange::Why;
use crate::takeover::orders::Orders;
use election::NodeId;
use link::control::Ended;
use standing::log::{Log, Said};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// A fellow that did not take the role in time gets so many chances.
pub const HAND_OVERS: u32 = 3;

/// Why a fellow does not get the role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stays {
    pub why: String,
    /// It is decided: asking again is of no use.
    pub for_good: bool,
}

impl Stays {
    pub fn now(why: String) -> Stays {
        Stays { why, for_good: false }
    }

    pub fn for_good(why: String) -> Stays {
        Stays { why, for_good: true }
    }
}

#[derive(Default)]
enum Handing {
    #[default]
    Nobody,
    To(NodeId),
    /// It came to nothing.
    Kept(NodeId, String),
}

pub struct Hands {
    orders: Weak<Orders>,
    log: Log,
    handing: Arc<Mutex<Handing>>,
}

impl Hands {
    pub fn new(orders: &Arc<Orders>, log: &Log) -> Hands {
        Hands { orders: Arc::downgrade(orders), log: log.clone(), handing: Arc::default() }
    }

    /// Begins, unless that is under way.
    pub fn begin(&self, to: &NodeId, within: Option<Duration>, tries: u32) -> Result<(), Stays> {
        let Some(orders) = self.orders.upgrade() else { return Err(Stays::now("its daemon ends".into())) };
        let mut handing = lock(&self.handing);
        match &*handing {
            Handing::To(other) if other == to => return Ok(()),
            Handing::To(other) => return Err(Stays::now(format!("the role is being handed to {other}"))),
            _ => {}
        }
        let (log, state, node) = (self.log.clone(), self.handing.clone(), to.clone());
        let work = move || {
            let kept = hand_over(&orders, &node, within, tries, &log);
            *lock(&state) = kept.map_or(Handing::Nobody, |why| Handing::Kept(node, why));
        };
        let spawned = std::thread::Builder::new().name("hands".into()).spawn(work);
        spawned.map_err(|error| Stays::now(format!("it cannot begin: {error}")))?;
        *handing = Handing::To(to.clone());
        Ok(())
    }

    /// Ok while it is under way.
    pub fn how_far(&self, to: &NodeId) -> Result<(), Stays> {
        match &*lock(&self.handing) {
            Handing::To(node) if node == to => Ok(()),
            Handing::Kept(node, why) if node == to => Err(Stays::for_good(why.clone())),
            _ => Err(Stays::for_good("nothing is handed over there".into())),
        }
    }
}

fn lock(handing: &Mutex<Handing>) -> MutexGuard<'_, Handing> {
    handing.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why the role stays here, if it does.
fn hand_over(orders: &Orders, to: &NodeId, within: Option<Duration>, tries: u32, log: &Log) -> Option<String> {
    let mut kept = None;
    for _ in 0..tries {
        let (why, hint, again) = match orders.hand_over(to, within, Why::Asked, &|what| log.say(Said::info("takeover", what))) {
            Ended::Done(_) => return None,
            Ended::Refused { why, hint } => (why, hint, false),
            Ended::Failed { why, hint } => (why, hint, true),
        };
        log.say(Said::warn("takeover", format!("the role stays here: {why}")));
        kept = Some(hint.map_or(why.clone(), |hint| format!("{why}; {hint}")));
        if !again {
            break;
        }
    }
    kept
}

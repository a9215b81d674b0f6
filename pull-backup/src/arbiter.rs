//! The arbiter: of each cluster whose nodes take part in takeover, one machine of `election`, at work.
//!
//! `opening` finds what it begins from, `actor` steps it and makes its record durable; `record` says what that means for who may publish; `history` tells it what the archive has; `policy` is the configuration in its
//! words; `words` says what it decides to people, `shown` what it is doing; `asked` is what commands ask of it. What it needs of the network the daemon gives
//! (`crate::serve`).
//!
//! Keeps true: no word of an arbiter is heard before what it rests on is durable; nothing is published between what an election counted and the seal.

pub mod actor;
pub mod asked;
pub mod history;
mod opening;
pub mod policy;
pub mod record;
pub mod shown;
pub mod words;

use actor::{Actor, Ask, Given};
use election::arbiter::Order;
use election::{Envelope, NodeId, Time};
use shown::{Planned, Seen, Shown};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;
use words::Refused;

/// No answer is waited for longer: what comes later is as good as lost.
const ANSWER: Duration = Duration::from_secs(2);
/// Longer than anybody may hold the lock of the reigns.
const ORDERED: Duration = Duration::from_secs(20);

/// The way to an arbiter.
#[derive(Clone)]
pub struct Arbiter {
    asks: Sender<Ask>,
    shown: Arc<Shown>,
    clock: Arc<dyn Fn() -> Time + Send + Sync>,
}

impl Arbiter {
    /// Begins one, on a thread of its own. `make` is given the way to it.
    pub fn begin(
        make: impl FnOnce(&Arbiter, Arc<Shown>) -> Given,
        clock: Arc<dyn Fn() -> Time + Send + Sync>,
    ) -> io::Result<(Arbiter, JoinHandle<()>)> {
        let (asks, asked): (_, Receiver<Ask>) = channel();
        let arbiter = Arbiter { asks, shown: Arc::default(), clock };
        let given = make(&arbiter, arbiter.shown.clone());
        let name = format!("arbiter {}", given.cluster);
        let thread = std::thread::Builder::new().name(name).spawn(move || Actor::new(given).run(&asked))?;
        Ok((arbiter, thread))
    }

    /// Says something, and waits for nothing. One that ended hears nothing.
    pub fn say(&self, ask: Ask) {
        let _ = self.asks.send(ask);
    }

    /// What a node said, whose key was proven; what is for it at once.
    pub fn hear(&self, from: NodeId, said: Vec<Envelope>) -> Vec<Envelope> {
        let (answer, answered) = sync_channel(1);
        self.say(Ask::Heard { from, said, answer: Some(answer) });
        answered.recv_timeout(ANSWER).unwrap_or_default()
    }

    pub fn order(&self, order: Order) -> Result<(), Refused> {
        let (answer, answered) = sync_channel(1);
        self.say(Ask::Order { order, answer });
        let silent = || {
            let (why, hint) = ("the arbiter did not answer".to_owned(), "see the daemon's log".to_owned());
            Err(Refused { why, hint })
        };
        answered.recv_timeout(ORDERED).unwrap_or_else(|_| silent())
    }

    /// What would happen now; none where it cannot be said.
    pub fn plan(&self) -> Option<Planned> {
        let (answer, answered) = sync_channel(1);
        self.say(Ask::Plan { answer });
        answered.recv_timeout(ORDERED).ok().flatten()
    }

    pub fn seen(&self) -> Seen {
        self.shown.at((self.clock)())
    }

    /// Waits until something changes, but not longer.
    pub fn wait(&self, most: Duration) {
        self.shown.wait(most);
    }
}

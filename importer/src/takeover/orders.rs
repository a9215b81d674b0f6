//! What commands ask of the daemon, and how they are answered: each order is handed to the member, and its outcome is what the member and its acts then say.

use crate::keys::Held;
use crate::pause::wait;
use crate::serve::Daemon;
use crate::takeover::checks::Colours;
use crate::takeover::exchange::Why;
use crate::takeover::kept::Before;
use crate::takeover::looking::{exported, imported};
use crate::takeover::seat::Inbox;
use crate::takeover::told::{Event, Told};
use crate::takeover::ways::Paths;
use crate::takeover::words;
use archive::identity::Keyring;
use console::node_file::NodeFile;
use election::checks::Colour;
use election::member::{Alert, Input, Order};
use election::message::{Refusal, Standing};
use election::{NodeId, Position, Time};
use link::boot;
use link::control::Ended;
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch;

/// The name under which this node's daemon is asked.
pub const DAEMON: &str = "importer";

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Question {
    /// How this node stands in takeover.
    Standing,
    Activate {
        accept_loss: bool,
        adopt: bool,
        /// What opens sealed content here, where the node has nothing of its own.
        opens: Option<Opens>,
    },
    Force {
        off: String,
        opens: Option<Opens>,
    },
    Switchover {
        to: String,
        /// How long the service may be closed, in milliseconds; else as configured.
        #[serde(default)]
        within_ms: Option<u64>,
    },
    Close,
    /// Home again: take part, be ready, and get the role back.
    Failback {
        #[serde(default)]
        within_ms: Option<u64>,
    },
}

/// Identities, as an open identity file has them. They are kept in memory only, and shown nowhere.
#[derive(Clone, Serialize, Deserialize)]
pub struct Opens(pub String);

impl std::fmt::Debug for Opens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Opens")
    }
}

/// How this node stands in takeover.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stands {
    pub node: String,
    pub standing: Standing,
    pub epoch: u64,
    pub lease_left_ms: u64,
    /// What it holds of each dataset: EPOCH/SEQUENCE.
    pub position: BTreeMap<String, String>,
    pub checks: BTreeMap<String, Colour>,
}

impl Stands {
    pub fn new(node: &str, standing: Standing, epoch: u64, position: &Position) -> Stands {
        let shown = |point: &election::Point| format!("{}/{}", point.epoch, point.sequence);
        let position = position.0.iter().map(|(dataset, point)| (dataset.0.clone(), shown(point))).collect();
        Stands { node: node.into(), standing, epoch, lease_left_ms: 0, position, checks: BTreeMap::new() }
    }
}

/// Answers commands.
pub struct Orders {
    pub file: NodeFile,
    pub inbox: Inbox,
    pub told: Arc<Told>,
    pub colours: Colours,
    pub paths: Arc<Paths>,
    pub daemon: Arc<Daemon>,
    pub runtime: Handle,
    /// The node file's path, for the exporter.
    pub config: PathBuf,
    /// An activation, or the last export of a reign, may take as long; and the service be closed in a switchover.
    pub activation: Duration,
    pub final_export: Duration,
    pub max_pause: Duration,
    /// Nobody waits for a daemon that ends.
    pub stop: watch::Receiver<bool>,
}

/// What is waited for.
struct Awaited<'a> {
    /// Events from this number on.
    next: u64,
    limit: Duration,
    /// Whether an event is the end.
    end: &'a dyn Fn(&Event) -> Option<Ended<()>>,
    /// Whether a refusal is not for good.
    again: &'a dyn Fn(&Refusal) -> bool,
    /// Whether it ended although nothing happened here; asked between looks.
    look: &'a dyn Fn() -> Option<Ended<()>>,
}

/// A wish that nobody answered is over after this time.
pub(super) const UNHEARD: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(500);
/// How long an order is left alone before it is given again.
const AGAIN: Duration = Duration::from_secs(1);
/// How often, where nobody was eligible.
const TRIES: u32 = 5;

impl Orders {
    pub fn answer(&self, question: Question, say: &dyn Fn(String)) -> Ended<Stands> {
        match question {
            Question::Standing => Ended::Done(self.stands()),
            Question::Activate { accept_loss, adopt, opens } => self.rise_seeing(opens, Order::Activate { accept_loss, adopt }, say),
            Question::Force { off, opens } => self.rise_seeing(opens, Order::Force { off: NodeId(off) }, say),
            Question::Switchover { to, within_ms } => self.hand_over(&NodeId(to), within_ms.map(Duration::from_millis), Why::Ordered, say),
            Question::Close => self.close(say),
            Question::Failback { within_ms } => self.failback(within_ms, say),
        }
    }

    /// Sees from now on, until this daemon ends; with what it saw before.
    fn open_with(&self, opens: &Opens) -> Result<Held, String> {
        let keyring = Keyring::parse(&opens.0)?;
        let before = self.daemon.imports().keys.give(keyring);
        self.daemon.poke_all();
        Ok(before)
    }

    pub fn stands(&self) -> Stands {
        let role = self.told.role();
        let standing = role.as_ref().map_or(Standing::Passive, |role| role.standing);
        let works = matches!(standing, Standing::Active | Standing::Failsafe | Standing::SteppingDown);
        let position: Position = if works { exported(&self.file) } else { imported(&self.file).0 };
        Stands {
            lease_left_ms: role.map_or(0, |role| role.lease_until.since(boot::now()).as_millis() as u64),
            checks: self.colours.all(),
            ..Stands::new(&self.file.node.name, standing, self.told.epoch(), &position)
        }
    }

    /// Gives an order, tells what comes of it, and waits for the end.
    pub(super) fn follow(
        &self,
        order: Order,
        limit: Duration,
        say: &dyn Fn(String),
        end: &dyn Fn(&Event) -> Option<Ended<()>>,
    ) -> Ended<Stands> {
        let next = self.told.next();
        self.inbox.put(Input::Order(order));
        self.listen(&Awaited { next, limit, end, again: &|_| false, look: &|| None }, say)
    }

    /// What happened since, waited for a little; or why nothing is waited for any longer.
    pub(super) fn heard(&self, next: &mut u64) -> Result<Vec<Event>, Ended<Stands>> {
        if *self.stop.borrow() {
            return Err(Ended::Failed {
                why: "`importer serve` ends, and what was asked of it is not at its end".into(),
                hint: Some("ask again when it runs".into()),
            });
        }
        let events;
        (events, *next) = self.told.since(*next, LOOK);
        Ok(events)
    }

    /// Tells what happens, until `end` says that this is the end, or something is refused for good.
    fn listen(&self, awaited: &Awaited<'_>, say: &dyn Fn(String)) -> Ended<Stands> {
        let until: Time = boot::now() + awaited.limit;
        let (mut next, mut trouble, mut said) = (awaited.next, None, None);
        while boot::now() < until {
            let events = match self.heard(&mut next) {
                Ok(events) => events,
                Err(ended) => return ended,
            };
            let seen = events.iter().map(Some).chain([None]);
            for event in seen {
                if let Some(Event::Trouble(what)) = event {
                    trouble = Some(what.clone());
                }
                let ended = match event {
                    None => (awaited.look)(),
                    Some(Event::Refused(refusal)) if (awaited.again)(refusal) => None,
                    Some(Event::Refused(refusal)) => {
                        let (why, hint) = words::refusal(refusal);
                        Some(Ended::refused(why, hint))
                    }
                    Some(event) => (awaited.end)(event),
                };
                match ended {
                    Some(Ended::Done(())) => return Ended::Done(self.stands()),
                    Some(Ended::Refused { why, hint }) => return Ended::Refused { why, hint },
                    Some(Ended::Failed { why, hint }) => return Ended::Failed { why: trouble.unwrap_or(why), hint },
                    // The same again and again is said once.
                    None => {
                        let words = event.and_then(Event::words).filter(|words| said.as_ref() != Some(words));
                        words.iter().cloned().for_each(say);
                        said = words.or(said);
                    }
                }
            }
        }
        let why = trouble.unwrap_or_else(|| format!("nothing came of it within {} s", awaited.limit.as_secs()));
        Ended::Failed {
            why,
            hint: Some("is `pull-backup serve` running where the arbiter is, and heard from here? See `importer status`".into()),
        }
    }

    fn rise_seeing(&self, opens: Option<Opens>, order: Order, say: &dyn Fn(String)) -> Ended<Stands> {
        let before = match opens.map(|opens| self.open_with(&opens)).transpose() {
            Ok(before) => before,
            Err(why) => return Ended::failed(why),
        };
        if self.daemon.imports().is_blind() {
            return Ended::refused(
                "this node has no identity, so it cannot open what it mirrors, and has nothing to serve",
                "`importer activate --identity FILE` gives it one, asks for its passphrase, and keeps it in memory only",
            );
        }
        let ended = self.rise(order, say);
        if let Some(before) = before {
            match ended {
                Ended::Done(_) => say("the identity is kept in the memory of `importer serve`, and gone when that ends".into()),
                // Who does not serve need not see.
                _ => drop(self.daemon.imports().keys.put(before)),
            }
        }
        ended
    }

    pub(super) fn rise(&self, order: Order, say: &dyn Fn(String)) -> Ended<Stands> {
        if matches!(self.told.standing(), Standing::Active) {
            say("this node is active already".into());
            return Ended::Done(self.stands());
        }
        self.rise_after(Some(order), self.activation, &|| None, say)
    }

    /// While the arbiter does not know yet whether a lease of this very node, or of nobody, lives, the order is given again.
    pub(super) fn rise_after(
        &self,
        order: Option<Order>,
        limit: Duration,
        look: &dyn Fn() -> Option<Ended<()>>,
        say: &dyn Fn(String),
    ) -> Ended<Stands> {
        let next = self.told.next();
        let put = || order.iter().for_each(|order| self.inbox.put(Input::Order(order.clone())));
        put();
        let (own, tries) = (NodeId(self.file.node.name.clone()), Cell::new(0));
        let again = |refusal: &Refusal| {
            let waits = match refusal {
                Refusal::Leased { holder } => holder.as_ref().is_none_or(|holder| *holder == own),
                // Nobody answered in time, or what was exported last was just on its way.
                Refusal::Blocked { lost } => lost.is_empty() && tries.replace(tries.get() + 1) < TRIES,
                _ => false,
            };
            if waits && order.is_some() {
                wait(AGAIN);
                put();
            }
            waits && order.is_some()
        };
        let end = |event: &Event| match event {
            Event::Alert(Alert::Active { .. }) => Some(Ended::Done(())),
            // It was granted, and what it should start did not start.
            Event::Role(role) if matches!(role.standing, Standing::Fencing | Standing::Fenced) => {
                let hint = "the log of `importer serve` says why; give the order again when nothing is stopping here any more";
                Some(Ended::Failed { why: "the activation was broken off".into(), hint: Some(hint.into()) })
            }
            _ => None,
        };
        self.listen(&Awaited { next, limit, end: &end, again: &again, look }, say)
    }

    fn close(&self, say: &dyn Fn(String)) -> Ended<Stands> {
        if matches!(self.told.standing(), Standing::Closed) {
            say("this node is closed already".into());
            return Ended::Done(self.stands());
        }
        let ended = self.follow(Order::Close, self.final_export + self.max_pause, say, &|event| match event {
            Event::Role(role) if role.standing == Standing::Closed => Some(Ended::Done(())),
            _ => None,
        });
        if matches!(ended, Ended::Done(_)) {
            return self.brought_back(say);
        }
        ended
    }

    /// Waits until what was here before this node took over is the data again.
    fn brought_back(&self, say: &dyn Fn(String)) -> Ended<Stands> {
        let until = boot::now() + self.activation;
        let mut next = self.told.next();
        while matches!(Before::open(&self.file.node.state), Ok(Some(_))) {
            if boot::now() >= until {
                return Ended::failed("this node is closed, and what was here before is not the data again yet; its log says why");
            }
            match self.heard(&mut next) {
                Ok(events) => events.iter().filter_map(Event::words).for_each(say),
                Err(ended) => return ended,
            }
        }
        Ended::Done(self.stands())
    }
}

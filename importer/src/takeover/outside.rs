//! Looks where the addresses and names of the cluster are, from outside: the segment and the name servers are asked again and again, whatever this node meant to bring about.
//!
//! Each look is a task of its own with a deadline, and nothing waits for it: not the member, not `status`, which reads what is kept on disk. What others ask of this node is
//! answered from what was seen last, with its age. Soon after the role changed, and as long as something is not as it should be, it is looked more often.

use crate::takeover::names;
use crate::takeover::told::Told;
use crate::takeover::ways::Paths;
use console::exit::Failure;
use console::node_file::{Domain, NodeFile, Takeover, Vip};
use election::Time;
use election::message::{Outside as Words, Standing};
use link::boot;
use link::post::{Seen, Sight};
use link::state_file;
use recipes::act::dns::{Clock, Points};
use recipes::act::{Call, Dns, vip};
use standing::log::{Log, Said};
use standing::outside::{Asked, Kept, Looked, Meant, Part, Says, SeenBy, Server};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch::Receiver;
use tokio::task::JoinSet;
use watch::Word;

/// One question to the segment, with all answers.
const LOOK: Duration = Duration::from_millis(400);
/// All servers of one domain.
const ASK: Duration = Duration::from_secs(10);
/// How often an address is looked for.
const EVERY: Duration = Duration::from_secs(2);
/// While it is not where it should be, and the same of names.
const SOON: Duration = Duration::from_secs(1);
const SOON_NAMES: Duration = Duration::from_secs(5);
/// How often it is seen that the role changed.
const TICK: Duration = Duration::from_millis(500);
/// What a member saw longer ago says nothing.
const FRESH_MS: u64 = 10_000;

/// What was seen last.
pub struct Sights {
    path: PathBuf,
    node: String,
    every_ms: BTreeMap<String, u64>,
    wall: Arc<dyn Fn() -> u64 + Send + Sync>,
    inside: Mutex<Kept>,
    writing: Mutex<()>,
}

impl Sights {
    /// What an earlier process saw stays on the disk until this one has looked.
    pub fn new(file: &NodeFile, takeover: &Takeover, wall: Arc<dyn Fn() -> u64 + Send + Sync>) -> Arc<Sights> {
        let every_ms = takeover.domains.iter().map(|domain| (domain.domain.clone(), domain.every.as_millis() as u64));
        Arc::new(Sights {
            path: Kept::path(&file.node.state),
            node: file.node.name.clone(),
            every_ms: every_ms.collect(),
            wall,
            inside: Mutex::default(),
            writing: Mutex::default(),
        })
    }

    fn inside(&self) -> MutexGuard<'_, Kept> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It need not outlive a power cut: what cannot be written grows old there, and is not ok.
    fn keep(&self, change: impl FnOnce(&mut Kept)) -> link::Result<()> {
        change(&mut self.inside());
        // Whoever writes last writes the newest, and a slow disk delays nobody who only reads.
        let _turn = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.inside().clone();
        state_file::say_lightly(&self.path, &now)
    }

    /// In a word each, for those who look at the whole cluster.
    pub fn words(&self) -> Words {
        let (inside, now_ms) = (self.inside(), (self.wall)());
        let fresh = |at_ms: u64, every_ms: u64, word: String| match now_ms.abs_diff(at_ms) <= FRESH_MS + every_ms * 3 {
            true => word,
            false => "unknown".into(),
        };
        let every = |domain: &str| self.every_ms.get(domain).copied().unwrap_or(0);
        let vip = inside.address.iter().map(|one| (one.address.clone(), fresh(one.at_ms, 0, one.short())));
        let dns = inside
            .domain
            .iter()
            .map(|one| (one.domain.clone(), fresh(one.at_ms, every(&one.domain), one.short(&self.node))));
        Words { vip: vip.collect(), dns: dns.collect() }
    }

    /// What a fellow is told that asks.
    pub fn told(&self) -> Seen {
        let now_ms = (self.wall)();
        let seen = |one: &Looked| Sight { address: one.address.clone(), holders: one.holders(), age_ms: now_ms.abs_diff(one.at_ms) };
        Seen { sights: self.inside().address.iter().filter(|one| one.unseen.is_none()).map(seen).collect() }
    }
}

/// What is made of a domain of the node file.
pub fn meant<'a>(file: &'a NodeFile, takeover: &Takeover, domain: &'a Domain) -> Meant<'a> {
    Meant {
        domain: &domain.domain,
        node: &file.node.name,
        is_home: domain.home == file.node.name,
        automatic: domain.automatic && takeover.automatic,
        every_ms: domain.every.as_millis() as u64,
    }
}

/// What a standing has to do with addresses and names.
pub fn part(standing: Standing) -> Part {
    match standing {
        Standing::Active | Standing::Failsafe => Part::Active,
        Standing::Claiming | Standing::Activating | Standing::SteppingDown | Standing::Fencing => Part::Turns,
        Standing::Passive | Standing::Syncing | Standing::Ready | Standing::Fenced | Standing::Closed => Part::Rests,
    }
}

/// The tasks that look.
pub struct Looking {
    pub file: NodeFile,
    pub takeover: Takeover,
    pub sights: Arc<Sights>,
    pub told: Arc<Told>,
    pub paths: Arc<Paths>,
    pub log: Log,
    pub stop: Receiver<bool>,
}

impl Looking {
    /// From here on it is looked, until `stop` turns true.
    pub fn begin(self, clock: &Clock, runtime: &Handle) -> Result<(), Failure> {
        let this = Arc::new(self);
        let vips = this.takeover.vips.clone();
        for vip in vips {
            runtime.spawn(this.clone().address(vip));
        }
        for domain in &this.takeover.domains {
            let dns = Arc::new(names::act(&this.file, domain, clock.clone())?);
            runtime.spawn(this.clone().domain(domain.clone(), dns));
        }
        Ok(())
    }

    fn role(&self) -> (Standing, u64) {
        self.told.role().map_or((Standing::Passive, 0), |role| (role.standing, role.epoch.0))
    }

    /// Whether it goes on: it was waited so long, or the role changed.
    async fn rest(&self, time: Duration, before: (Standing, u64)) -> bool {
        let (until, mut stop) = (boot::now() + time, self.stop.clone());
        loop {
            tokio::select! {
                () = tokio::time::sleep(TICK.min(time)) => {}
                _ = stop.wait_for(|stop| *stop) => return false,
            }
            if boot::now() >= until || self.role() != before {
                return true;
            }
        }
    }

    fn keep(&self, change: impl FnOnce(&mut Kept)) {
        if let Err(error) = self.sights.keep(change) {
            self.log.say(Said::error("state", link::pull::chain(&error)));
        }
    }

    async fn address(self: Arc<Self>, vip: Vip) {
        // Since when it is here.
        let mut since: Option<Time> = None;
        loop {
            let role = self.role();
            let (interface, address, at_ms) = (vip.interface.clone(), vip.address, (self.sights.wall)());
            let looked = tokio::task::spawn_blocking(move || vip::outside(&interface, address, LOOK)).await;
            let looked = looked.map_err(|error| error.to_string());
            let mut looked =
                of_segment(vip.address.to_string(), at_ms, looked.and_then(|looked| looked.map_err(|error| recipes::told(&error))));
            since = if looked.here { since.or(Some(boot::now())) } else { None };
            if let Some(since) = since {
                looked.by = self.clone().fellows(&looked.address, since).await;
            }
            let (word, _) = looked.judged(part(role.0), (self.sights.wall)());
            self.keep(|kept| {
                kept.address.retain(|other| other.address != looked.address);
                kept.address.push(looked);
                kept.address.sort_by(|one, other| one.address.cmp(&other.address));
            });
            let pause = if word == Word::Ok { EVERY } else { SOON };
            if !self.rest(pause, role).await {
                return;
            }
        }
    }

    /// What others see of an address, each asked with a deadline, all at once.
    async fn fellows(self: Arc<Self>, address: &str, since: Time) -> Vec<SeenBy> {
        let mut asked = JoinSet::new();
        for node in self.paths.others() {
            let this = self.clone();
            asked.spawn(async move { Some((this.paths.ask_what_is_seen(&node).await?, node)) });
        }
        let mut list = Vec::new();
        while let Some(answer) = asked.join_next().await {
            // Who says nothing has seen nothing.
            let Ok(Some((seen, node))) = answer else { continue };
            let here = boot::now().since(since).as_millis() as u64;
            // What was seen before it was here is about somebody else.
            let now = |sight: &Sight| sight.address == address && sight.age_ms < here.min(FRESH_MS);
            if let Some(sight) = seen.sights.into_iter().find(now) {
                list.push(SeenBy { node, at_ms: (self.sights.wall)().saturating_sub(sight.age_ms), holders: sight.holders });
            }
        }
        list.sort_by(|one, other| one.node.cmp(&other.node));
        list
    }

    async fn domain(self: Arc<Self>, domain: Domain, dns: Arc<Dns>) {
        loop {
            let role = self.role();
            let call = Call {
                cluster: self.file.cluster.clone(),
                epoch: role.1,
                node: self.file.node.name.clone(),
                within: ASK,
                lifetime: None,
            };
            let (at_ms, asking) = ((self.sights.wall)(), dns.clone());
            let answered = tokio::task::spawn_blocking(move || asking.points(&call).map_err(|error| told(&error))).await;
            let asked = of_servers(&domain.domain, at_ms, answered.map_err(|error| error.to_string()).flatten());
            let (word, _) = asked.judged(&meant(&self.file, &self.takeover, &domain), part(role.0));
            self.keep(|kept| {
                kept.domain.retain(|other| other.domain != asked.domain);
                kept.domain.push(asked);
                kept.domain.sort_by(|one, other| one.domain.cmp(&other.domain));
            });
            let pause = if word == Word::Ok { domain.every } else { domain.every.min(SOON_NAMES) };
            if !self.rest(pause, role).await {
                return;
            }
        }
    }
}

fn told(error: &recipes::Error) -> String {
    error
        .hint()
        .map_or_else(|| recipes::told(error), |hint| format!("{} ({hint})", recipes::told(error)))
}

fn of_segment(address: String, at_ms: u64, looked: Result<vip::Outside, String>) -> Looked {
    match looked {
        Ok(vip::Outside { own, here, others }) => Looked {
            address,
            at_ms,
            own: Some(own.to_string()),
            here: here.is_some(),
            astray: here.is_some_and(|here| !here.on_interface),
            left_seconds: here.and_then(|here| here.left).map(|left| left.as_secs()),
            others: others.iter().map(vip::Mac::to_string).collect(),
            ..Looked::default()
        },
        Err(why) => Looked { address, at_ms, unseen: Some(why), ..Looked::default() },
    }
}

fn of_servers(domain: &str, at_ms: u64, answered: Result<Vec<(recipes::act::dns::verify::Server, Points)>, String>) -> Asked {
    let domain = domain.to_owned();
    match answered {
        Ok(answers) => {
            let server = answers.into_iter().map(|(server, points)| Server {
                name: server.name,
                at: server.at.to_string(),
                says: match points {
                    Points::To(node) => Says::To(node),
                    Points::Elsewhere(what) => Says::Elsewhere(what),
                    Points::Silent(why) => Says::Silent(why),
                },
            });
            Asked { domain, at_ms, server: server.collect(), unseen: None }
        }
        Err(why) => Asked { domain, at_ms, server: vec![], unseen: Some(why) },
    }
}

/// What was seen last, for a node file; nothing where no file can be read is never ok either.
pub fn kept(state: &Path) -> Kept {
    Kept::open(state).unwrap_or_default()
}

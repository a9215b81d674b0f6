//! The `dns` act: the names of a domain point to the node that is active.
//!
//! Three actions, as ClonePanel has them: PREPARE shortens how long answers are remembered and moves nothing, FAILOVER points to another node with a short TTL, RESTORE to the
//! first one (`home`) with a long TTL. What they want comes from action files (`overlay`) or from a list of names. Others may have names of their own, by files.
//!
//! - A zone changes in one step by one of four means (`means`); what is not declared stays as it is, byte for byte where there is a file.
//! - Before anything changes, the record has what there was: a release brings exactly that back, unless somebody pointed it elsewhere since, which is then left alone.
//! - Whether it was heard is asked of every authoritative server (`verify`), and told as `k of n`. That not all have it is a warning, no failure: the change was made.
//!
//! As an act, `take` is FAILOVER to the node of the call, or RESTORE where that is home. A node that steps down needs no release: whoever becomes active points the names.
//! Left out on purpose: serving zones, signing them, and choosing among several active nodes.

mod ask;
mod asked;
mod dyndns;
mod fault;
mod file;
mod held;
pub mod lint;
mod means;
mod message;
pub mod name;
#[cfg(test)]
mod nearly;
mod overlay;
mod plan;
mod points;
pub mod set;
mod text;
mod tsig;
mod update;
pub mod verify;
mod web;
mod zone;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Call;
use super::budget::Budget;
use super::record::{Journal, Place, Record, Stage};
use crate::Error;
use crate::data::{Finding, Level};
pub use dyndns::Service;
pub use fault::Fault;
pub use file::ZoneFile;
use means::Change;
pub use means::{Means, PORT};
use name::Name;
pub use plan::Plan;
use plan::{same, wish};
pub use points::Points;
use set::Set;
pub use update::Update;
use verify::{Server, Verified};
pub use web::Url;

pub const PREPARE: &str = "PREPARE";
pub const FAILOVER: &str = "FAILOVER";
pub const RESTORE: &str = "RESTORE";
/// How long a server that answers, and has not heard of it yet, is waited for.
const SETTLE: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Seconds since 1970: signatures have a time, and a TTL passes.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

#[derive(Clone)]
pub struct Settings {
    pub domain: String,
    /// The zone in which the domain stands: often itself.
    pub zone: String,
    pub means: Means,
    /// The node to which RESTORE points.
    pub home: String,
    /// The public addresses of each node.
    pub addresses: BTreeMap<String, Vec<IpAddr>>,
    /// The folder of the action files; without it `names` are moved.
    pub actions: Option<PathBuf>,
    pub names: Vec<String>,
    pub ttl_short_s: u32,
    pub ttl_long_s: u32,
    /// How late a failover may be seen.
    pub objective: Duration,
    /// The authoritative servers; without them, those that the zone's primary names.
    pub servers: Vec<SocketAddr>,
    /// Where servers that the zone names are asked.
    pub port: u16,
    /// How long a change may take to be heard everywhere before it is told that it was not.
    pub settle: Duration,
    pub clock: Clock,
    /// Where the records of acts lie; this one's is `dns-DOMAIN.json`.
    pub records: PathBuf,
}

impl Settings {
    pub fn new(domain: &str, means: Means, records: PathBuf, clock: Clock) -> Settings {
        Settings {
            domain: domain.into(),
            zone: domain.into(),
            means,
            home: String::new(),
            addresses: BTreeMap::new(),
            actions: None,
            names: vec!["@".into(), "www".into()],
            ttl_short_s: 300,
            ttl_long_s: 14_400,
            objective: Duration::from_secs(900),
            servers: Vec::new(),
            port: PORT,
            settle: SETTLE,
            clock,
            records,
        }
    }
}

#[derive(Clone)]
pub struct Dns {
    place: Place,
    domain: Name,
    zone: Name,
    settings: Settings,
}

/// What the record has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Did {
    action: String,
    target: String,
    /// Exactly what there was.
    before: Option<Vec<Set>>,
    after: Vec<Set>,
    /// The last serial that was written into the zone's file.
    serial: Option<u32>,
    /// When it came to be so.
    since_s: u64,
    /// As long as anybody may remember what was before.
    remembered_s: u32,
}

/// What was done last, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Last {
    pub action: String,
    pub target: String,
    pub epoch: u64,
    pub since_s: u64,
    /// From then on nobody remembers what was before.
    pub ready_s: u64,
}

/// What an action came to.
#[derive(Debug, Clone)]
pub struct Done {
    pub plan: Plan,
    pub changed: bool,
    pub last: Last,
    /// Nothing where no server is known.
    pub verified: Option<Verified>,
    pub findings: Vec<Finding>,
}

impl Dns {
    pub fn new(settings: Settings) -> Result<Dns, Error> {
        let refuse = |reason: String| Error::Settings { reason };
        let rooted = |text: &str| Name::parse(format!("{}.", text.trim_end_matches('.')).as_bytes(), None).map_err(refuse);
        let (domain, zone) = (rooted(&settings.domain)?, rooted(&settings.zone)?);
        if !domain.is_within(&zone) {
            return Err(refuse(format!("{} is not in the zone {}", domain.plain(), zone.plain())));
        }
        if settings.addresses.get(&settings.home).is_none_or(Vec::is_empty) {
            return Err(refuse(format!("no address of {:?} is known, which is home of {}", settings.home, domain.plain())));
        }
        if let Some(name) = settings.names.iter().find(|name| !name.is_ascii()) {
            return Err(refuse(format!("{name:?} has letters that names cannot have: write it as xn--…")));
        }
        for name in &settings.names {
            let name = Name::parse(name.as_bytes(), Some(&domain)).map_err(refuse)?;
            if !name.is_within(&zone) {
                return Err(refuse(format!("{} is not in the zone {}", name.plain(), zone.plain())));
            }
        }
        Ok(Dns { place: Place::new(&settings.records, &format!("dns-{}", domain.plain()))?, domain, zone, settings })
    }

    pub fn domain(&self) -> String {
        self.domain.plain()
    }

    fn budget(&self, action: &str, call: &Call) -> Result<Budget, Error> {
        Budget::of(call.within).map_err(|error| self.failed(action)(Fault::again(error.to_string())))
    }

    fn failed(&self, action: &str) -> impl Fn(Fault) -> Error {
        let (action, domain) = (action.to_owned(), self.domain.plain());
        move |source| Error::Dns { action: action.clone(), domain: domain.clone(), source }
    }

    /// What this node does when it becomes active.
    fn taking(&self, node: &str) -> &'static str {
        if node == self.settings.home { RESTORE } else { FAILOVER }
    }

    fn ttl(&self) -> bool {
        self.settings.means.keeps_ttl()
    }

    fn look(&self, of: &[(Name, set::Kind)], budget: &Budget) -> Result<Option<Vec<Set>>, Fault> {
        self.settings.means.look(&self.zone, of, &self.settings.servers, budget)
    }

    fn planned(&self, action: &str, to: &str, budget: &Budget) -> Result<Plan, Fault> {
        if action == PREPARE && !self.ttl() {
            return Err(Fault::stop("dyndns2 cannot change how long answers are remembered").with("set it at the service"));
        }
        if action == FAILOVER && to == self.settings.home {
            let what = format!("{to} is home: nothing fails over to it");
            return Err(Fault::stop(what).with("RESTORE points there; or name another node with --to"));
        }
        let wish = wish(&self.settings, &self.domain, &self.zone, action, to)?;
        let now = self.look(&wish.of(), budget)?;
        let want = wish.meets(now.as_deref())?;
        let target = if action == FAILOVER { to } else { self.settings.home.as_str() };
        Ok(Plan { action: action.into(), target: target.into(), now, want })
    }

    /// What an action would change, line by line. Changes nothing.
    pub fn plan(&self, action: &str, to: &str, call: &Call) -> Result<(Plan, Vec<String>), Error> {
        let budget = self.budget(action, call)?;
        let planned = self.planned(action, to, &budget).and_then(|plan| {
            self.settings.means.admitted(&self.zone, &budget)?;
            let lines = self.difference(&plan, &budget)?;
            Ok((plan, lines))
        });
        planned.map_err(self.failed(action))
    }

    fn difference(&self, plan: &Plan, budget: &Budget) -> Result<Vec<String>, Fault> {
        match &plan.now {
            Some(now) if same(now, &plan.want, self.ttl()) => Ok(Vec::new()),
            Some(now) => self.settings.means.difference(&self.zone, now, &plan.want, budget),
            None => Ok(plan.want.iter().flat_map(Set::lines).map(|line| format!("+{line}")).collect()),
        }
    }

    /// Does an action.
    pub fn run(&self, action: &str, to: &str, call: &Call) -> Result<Done, Error> {
        let budget = self.budget(action, call)?;
        let journal = self.place.open("change", &budget)?;
        let known = journal.known::<Did>(call)?;
        let plan = self.planned(action, to, &budget).map_err(self.failed(action))?;
        let mut did = self.did(&plan, known.as_ref());
        journal.note(call, Stage::Taking, &did)?;
        let changed = plan.now.as_ref().is_none_or(|now| !same(now, &plan.want, self.ttl()));
        let halfway = known.is_some_and(|known| known.stage.is_between());
        let run = (&journal, call, &budget);
        let brought = self.brought(&plan.action, (plan.now.as_deref(), &plan.want), halfway, &mut did.serial, run);
        // The serial counts however it ended.
        journal.note(call, if brought.is_ok() { Stage::Taken } else { Stage::Taking }, &did)?;
        brought?;
        let verified = self.settled(&plan.want, &budget);
        let findings = self.told(&did, changed, verified.as_ref());
        Ok(Done { last: did.last(call.epoch), plan, changed, verified: verified.and_then(Result::ok), findings })
    }

    /// Changes what is different. What a process that was killed may have left unread is read by the server.
    fn brought(
        &self,
        action: &str,
        (now, want): (Option<&[Set]>, &[Set]),
        halfway: bool,
        serial: &mut Option<u32>,
        (journal, call, budget): (&Journal, &Call, &Budget),
    ) -> Result<(), Error> {
        let means = &self.settings.means;
        let done = match now {
            Some(now) if same(now, want, self.ttl()) && halfway => means.finish(&self.zone, budget),
            Some(now) if same(now, want, self.ttl()) => Ok(()),
            _ => {
                let clock_s = (self.settings.clock)();
                let (name, zone, domain, records) = (self.place.name(), &self.zone, &self.domain, self.settings.records.as_path());
                let change = Change { name, action, zone, domain, now, want, clock_s, records };
                means.change(&change, serial, (journal, call, budget))
            }
        };
        done.map_err(self.failed(action))
    }

    fn did(&self, plan: &Plan, known: Option<&Record<Did>>) -> Did {
        let ttl = self.ttl();
        let known = known.map(|record| &record.did);
        let seen = |sets: &[Set]| plan.now.as_ref().is_some_and(|now| same(now, sets, ttl));
        let now_s = (self.settings.clock)();
        // Nor is what was before that forgotten sooner.
        let before = known.map_or(0, |known| known.remembered_at(now_s));
        let longest = match seen(&plan.want) {
            true => before,
            false => plan.now.iter().flatten().map(|set| set.ttl).max().unwrap_or_default().max(before),
        };
        let again = known.filter(|known| known.action == plan.action && same(&known.after, &plan.want, ttl));
        // What is here as it was left is not what was before: that the record knows, however often it is done again.
        match again.filter(|known| seen(&known.after) || (plan.now.is_none() && known.target == plan.target)) {
            Some(known) => Did { target: plan.target.clone(), ..known.clone() },
            None => Did {
                action: plan.action.clone(),
                target: plan.target.clone(),
                before: plan.now.clone(),
                after: plan.want.clone(),
                serial: known.and_then(|known| known.serial),
                since_s: now_s,
                remembered_s: longest,
            },
        }
    }

    fn told(&self, did: &Did, changed: bool, verified: Option<&Result<Verified, String>>) -> Vec<Finding> {
        let mut findings = Vec::new();
        if changed && did.remembered_s > 0 {
            let what = format!("{}: whoever asked before may remember it for another {} s", self.domain.plain(), did.remembered_s);
            findings.push(Finding::new(Level::Note, what));
        }
        match verified {
            Some(Ok(verified)) if verified.is_well() => {}
            Some(Ok(verified)) => findings.push(Finding::new(Level::Warning, format!("{}: {verified}", self.domain.plain()))),
            Some(Err(why)) => findings.push(Finding::new(Level::Warning, format!("{}: nobody could be asked: {why}", self.domain.plain()))),
            None => {
                let what = format!("{}: no server is known, so nobody was asked whether it has it", self.domain.plain());
                findings.push(Finding::new(Level::Note, what).hint("name the zone's `servers`"));
            }
        }
        findings
    }

    fn servers(&self, budget: &Budget) -> Option<Result<Vec<Server>, String>> {
        let listed: Vec<Server> = self.settings.servers.iter().map(|at| Server { name: at.to_string(), at: *at }).collect();
        match self.settings.means.primary() {
            _ if !listed.is_empty() => Some(Ok(listed)),
            None => None,
            Some(primary) => Some(verify::servers(&self.zone, primary, self.settings.port, budget)),
        }
    }

    /// Asks all servers, again while one that answers may still hear of it.
    fn settled(&self, want: &[Set], budget: &Budget) -> Option<Result<Verified, String>> {
        let servers = match self.servers(budget)? {
            Ok(servers) => servers,
            Err(why) => return Some(Err(why)),
        };
        let settle = match Budget::of(self.settings.settle.min(budget.left())) {
            Ok(settle) => settle,
            Err(error) => return Some(Err(error.to_string())),
        };
        loop {
            let verified = verify::verify(&servers, want, self.ttl(), budget);
            if !verified.may_come() || settle.is_over() || settle.pause(LOOK_AGAIN).is_err() {
                return Some(Ok(verified));
            }
        }
    }
}

//! Domains whose names point to the active node: `[[takeover.dns]]`.
//!
//! Nothing happens to a name by itself unless two switches are on, that of the domain and that of `[takeover]`. When this node has become active, and its gate is open, each
//! domain is pointed here beside everything else. What fails is told and tried again with growing pauses, as long as this node reigns in that epoch; it undoes no takeover.
//! What a person must mend is told once. A service that locks accounts which go on asking is not asked again then; all else may be mended meanwhile. A node that
//! steps down points nothing: whoever is active next does. A reign that a person began alone is pointed for again when the arbiter says that it counts: another person may have
//! begun another.

use crate::pause::wait;
use crate::takeover::told::{Event, Told};
use console::exit::Failure;
use console::node_file::{Domain, NodeFile, Pointing, Takeover};
use election::message::Standing;
use recipes::act::dns::{Clock, Means, Service, Settings, Update, Url, ZoneFile};
use recipes::act::{Act, Call, Dns};
use recipes::data::Level;
use standing::log::{Log, Said};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// One attempt, with all servers asked.
const WITHIN: Duration = Duration::from_secs(30);
const SECOND: Duration = Duration::from_secs(1);
const PAUSE_FIRST_S: u64 = 5;
const PAUSE_MOST_S: u64 = 300;
/// What was said last, where that was no trouble.
const POINTED: &str = "-";

fn wrong(error: &recipes::Error) -> Failure {
    Failure::usage(format!("[[takeover.dns]]: {}", recipes::told(error)))
}

/// One domain as an act.
pub fn act(file: &NodeFile, domain: &Domain, clock: Clock) -> Result<Dns, Failure> {
    let words = |text: &[String]| text.iter().map(OsString::from).collect::<Vec<_>>();
    let means = match &domain.means {
        Pointing::ZoneFile { file, rndc } => {
            let rndc = rndc.as_ref().map_or_else(|| vec!["rndc".into()], |rndc| words(rndc));
            Means::ZoneFile(ZoneFile { path: file.clone(), check: "named-checkzone".into(), rndc })
        }
        Pointing::Update { server, key_file } => Means::Update(Update { server: *server, key_file: key_file.clone() }),
        Pointing::Dyndns2 { url, user, password_file } => {
            let url = Url::parse(url).map_err(|why| Failure::usage(format!("[[takeover.dns]]: {why}")))?;
            Means::Dyndns2(Service { url, user: user.clone(), password_file: password_file.clone() })
        }
        Pointing::Hook { program } => Means::Hook(words(program)),
    };
    let seconds = |time: Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
    let servers: Vec<SocketAddr> = domain.servers.clone();
    let settings = Settings {
        zone: domain.zone.clone(),
        home: domain.home.clone(),
        addresses: domain.nodes.iter().cloned().collect(),
        actions: domain.actions.clone(),
        names: domain.names.clone(),
        ttl_short_s: seconds(domain.ttl_short),
        ttl_long_s: seconds(domain.ttl_long),
        objective: domain.objective,
        servers,
        ..Settings::new(&domain.domain, means, file.node.state.join("acts"), clock)
    };
    Dns::new(settings).map_err(|error| wrong(&error))
}

struct Pointed {
    dns: Dns,
    /// Before the second attempt.
    pause_first_s: u64,
    /// Whoever goes on asking, after a refusal, is locked out there.
    may_lock: bool,
}

/// How this node reigns, as far as names go by it: each change points them anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reigns {
    epoch: u64,
    /// By a person's word alone: another may have pointed them by another person's.
    forced: bool,
    /// Another says that it reigns, too. This one goes on, and that one stops, but its last word to the servers may come behind ours.
    contested: bool,
}

/// The domains that a takeover points by itself.
pub struct Names {
    cluster: String,
    node: String,
    list: Vec<Pointed>,
    /// For what it was begun last.
    begun: Mutex<Option<Reigns>>,
    told: Arc<Told>,
    log: Log,
}

impl Names {
    pub fn new(file: &NodeFile, takeover: &Takeover, clock: &Clock, told: Arc<Told>, log: Log) -> Result<Arc<Names>, Failure> {
        let mut list = Vec::new();
        for domain in &takeover.domains {
            let dns = act(file, domain, clock.clone())?;
            match (domain.automatic, takeover.automatic) {
                (true, true) => {
                    let pause_first_s = domain.every.as_secs().clamp(1, PAUSE_FIRST_S);
                    list.push(Pointed { dns, pause_first_s, may_lock: matches!(domain.means, Pointing::Dyndns2 { .. }) });
                }
                (true, false) => {
                    let what = format!("{} is not pointed by itself: [takeover] is not automatic", domain.domain);
                    log.say(Said::info("takeover", what));
                }
                _ => {}
            }
        }
        let (cluster, node) = (file.cluster.clone(), file.node.name.clone());
        let names = Arc::new(Names { cluster, node, list, begun: Mutex::default(), told, log });
        names.beside(names.list.len(), |names, one| names.lint(&one.dns));
        Ok(names)
    }

    /// Looks whether this node reigns as nothing was begun for. What it was before it did not reign counts no more: meanwhile another may have pointed them.
    pub fn follow(self: &Arc<Names>) {
        let now = self.reigns();
        let before = std::mem::replace(&mut *self.begun.lock().unwrap_or_else(PoisonError::into_inner), now);
        if let Some(reigns) = now.filter(|_| now != before) {
            self.beside(self.list.len(), move |names, one| names.point(one, reigns));
        }
    }

    fn beside(self: &Arc<Names>, count: usize, work: impl Fn(&Names, &Pointed) + Copy + Send + 'static) {
        for at in 0..count {
            let names = self.clone();
            let spawned = std::thread::Builder::new().name("dns".into()).spawn(move || work(&names, &names.list[at]));
            if let Err(error) = spawned {
                self.trouble(format!("cannot begin to point a domain: {error}"));
            }
        }
    }

    fn reigns(&self) -> Option<Reigns> {
        let role = self.told.role()?;
        let reigns = Reigns { epoch: role.epoch.0, forced: role.forced, contested: role.rival.is_some() };
        matches!(role.standing, Standing::Active | Standing::Failsafe).then_some(reigns)
    }

    fn trouble(&self, what: String) {
        self.log.say(Said::warn("takeover", &what));
        self.told.tell(Event::Trouble(what));
    }

    fn call(&self, epoch: u64) -> Call {
        Call { cluster: self.cluster.clone(), epoch, node: self.node.clone(), within: WITHIN, lifetime: None }
    }

    /// What would go wrong is said long before.
    fn lint(&self, dns: &Dns) {
        let say = |what: String| self.log.say(Said::warn("takeover", format!("{}: {what}", dns.domain())));
        match dns.lint(&self.call(0)) {
            Ok(found) => found.into_iter().for_each(|finding| say(finding.what)),
            Err(error) => say(recipes::told(&error)),
        }
    }

    /// Points a domain here, and goes on until every server has it; while the reign is contested it looks again afterwards.
    fn point(&self, one: &Pointed, reigns: Reigns) {
        let (dns, mut pause_s, mut said) = (&one.dns, one.pause_first_s, String::new());
        while self.reigns() == Some(reigns) {
            let (what, again) = match dns.take(&self.call(reigns.epoch)) {
                Ok(found) => {
                    let troubles: Vec<String> = found
                        .into_iter()
                        .filter(|finding| finding.level > Level::Note)
                        .map(|finding| finding.what)
                        .collect();
                    if troubles.is_empty() && !reigns.contested {
                        return self.pointed(dns, reigns.epoch);
                    }
                    (troubles.join("; "), true)
                }
                Err(error) => {
                    let hint = error.hint().map_or_else(String::new, |hint| format!(" ({hint})"));
                    (recipes::told(&error) + &hint, !one.may_lock || error.kind() == recipes::Kind::Retry)
                }
            };
            if what.is_empty() && said != POINTED {
                self.pointed(dns, reigns.epoch);
                said = POINTED.into();
            } else if !what.is_empty() && what != said {
                let next = if again { "it is tried again" } else { "when that is mended, run `importer dns`" };
                self.trouble(format!("{what}; {next}"));
                said = what;
            }
            if !again {
                return;
            }
            for _ in 0..pause_s {
                if self.reigns() != Some(reigns) {
                    return;
                }
                wait(SECOND);
            }
            pause_s = (pause_s * 2).min(PAUSE_MOST_S);
        }
    }

    fn pointed(&self, dns: &Dns, epoch: u64) {
        self.log
            .say(Said::info("takeover", format!("{} points to {}, in epoch {epoch}", dns.domain(), self.node)));
    }
}

//! How a pull-backup stands: what it holds of each node, what importers and followers said that they hold of it, and its members, from its disk alone.

pub mod arbiters;

use crate::members::{FOLLOWERS, Member, Members};
use crate::quarantine::Quarantine;
use crate::quarantine::standing::look as standing_of;
use crate::reigns::Ledger;
use crate::reports;
use console::pull_backup_file::PullBackupFile;
use link::given;
use link::node::{Receiver, Receivers};
use link::pull::chain;
use link::repositories::{Dataset, Layout};
use link::running::peek;
use standing::arbiter::Arbiter;
use standing::holding::{Holding, Holdings};
use standing::host::{Daemon, Host, Line, Peer};
use standing::kept::{Kept, asked, pulling};
use standing::place::told;
use standing::receiving;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use watch::{Evidence, Hop, Place, Rule, Word};

/// What a look needs.
pub struct Looking {
    state: PathBuf,
    store: PathBuf,
    quarantine: Quarantine,
    ledger: Ledger,
    layout: Layout,
    members: Members,
    holdings: Holdings,
    /// Expelled members are listed, and what only they had.
    pub all: bool,
    /// How the arbiters of this process stand; where none is given, another process's are looked for.
    pub arbiters: Option<Box<dyn Fn() -> Vec<Arbiter> + Send + Sync>>,
}

/// What one look found, before it is judged.
struct Found {
    kept: Kept,
    given: given::Bytes,
    /// What is kept here or offered by a member.
    datasets: BTreeMap<Dataset, Of>,
    now_ms: u64,
}

struct Of {
    holding: Option<Arc<Holding>>,
    trouble: Option<String>,
    receivers: link::Result<Receivers>,
    rule: Option<Rule>,
}

/// The dataset's name where something concerns all of them; no dataset can have it.
const ALL: &str = "*";

impl Looking {
    pub fn new(file: &PullBackupFile) -> Looking {
        Looking {
            state: file.state.clone(),
            store: file.store.clone(),
            quarantine: Quarantine::new(&file.store, file.quarantine),
            ledger: Ledger::new(&file.state, &file.store),
            layout: Layout::Archive { store: file.store.clone() },
            members: Members::new(&file.state),
            holdings: Holdings::default(),
            all: false,
            arbiters: None,
        }
    }

    /// What the archive holds of a dataset.
    pub fn holding(&self, dataset: &Dataset, now_ms: u64) -> standing::Result<Option<Arc<Holding>>> {
        self.holdings.of(&self.layout.path(dataset), now_ms)
    }

    /// How it stands now.
    pub fn look(&self, now_ms: u64) -> Host {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let daemon = Daemon::judged("pull-backup", peek(&self.state, "pull-backup"), None, now_ms);
        let mut host = Host::new("pull-backup", &host, daemon, now_ms);
        let wrong = |error: link::Error| {
            let place = Place { cluster: ALL.into(), dataset: ALL.into(), hop: Hop::Archive, peer: None };
            Line::judged(place, Evidence { wrong: vec![chain(&error)], ..Evidence::default() }, None, false, now_ms)
        };
        let members = self.members.all().unwrap_or_else(|error| {
            host.datasets.push(wrong(error));
            vec![]
        });
        let kept = Kept::open(&self.state, "pull-backup").unwrap_or_else(|error| {
            host.datasets.push(wrong(error));
            Kept::default()
        });
        let found = self.find(kept, now_ms);
        for member in &members {
            let enrolled = member.expelled_ms.is_none();
            let from = host.datasets.len();
            if enrolled && exports(member) {
                self.exporter(member, &found, &mut host);
            }
            if enrolled {
                receiver(member, &found, &mut host.datasets);
            }
            if enrolled || self.all {
                let peer = peer(member, &found, &host.datasets[from..]);
                host.peers.push(peer);
            }
        }
        self.orphans(&found, &mut host);
        let stands = standing_of(&self.quarantine, &self.ledger, &self.state, &self.store, now_ms);
        host.datasets.extend(stands.lines);
        host.quarantined = stands.quarantined;
        host.arbiters = match &self.arbiters {
            Some(own) => own(),
            None => arbiters::open(&self.state, &self.ledger, host.daemon.runs, now_ms),
        };
        let troubles = host.arbiters.iter().filter_map(|arbiter| Some((arbiter.cluster.clone(), arbiter.wrong()?)));
        let lines = troubles.map(|(cluster, why)| {
            let place = Place { cluster, dataset: ALL.into(), hop: Hop::Archive, peer: Some("arbiter".into()) };
            Line::judged(place, Evidence { wrong: vec![why], ..Evidence::default() }, None, false, now_ms)
        });
        host.datasets.extend(lines.collect::<Vec<_>>());
        host.finish("nobody is a member yet, so nothing is kept here: `pull-backup invite`")
    }

    fn find(&self, kept: Kept, now_ms: u64) -> Found {
        let offered = kept
            .dataset
            .iter()
            .map(|pulled| Dataset { cluster: pulled.cluster.clone(), name: pulled.name.clone() });
        let names: BTreeSet<Dataset> = self.layout.datasets().into_iter().chain(offered).collect();
        let of = |dataset: &Dataset| {
            let (holding, trouble) = match self.holding(dataset, now_ms) {
                Ok(holding) => (holding, None),
                Err(error) => (None, Some(chain(&error))),
            };
            let known = || {
                kept.dataset
                    .iter()
                    .filter(|pulled| pulled.name == dataset.name && pulled.cluster == dataset.cluster)
            };
            let rule = known().find_map(|pulled| pulled.rule.clone());
            Of { holding, trouble, receivers: reports::open(&self.state, &dataset.cluster, &dataset.name), rule }
        };
        let datasets = names.into_iter().map(|dataset| (dataset.clone(), of(&dataset))).collect();
        // Figures that cannot be read are no reason for anything.
        let given = given::Bytes::open(&self.state, "pull-backup").unwrap_or_default();
        Found { kept, given, datasets, now_ms }
    }

    /// What is kept of a node that exports: whatever it ever offered, as long as it is a member.
    fn exporter(&self, member: &Member, found: &Found, host: &mut Host) {
        let peer = found.kept.peer(member.pin);
        let seen = peer.and_then(|peer| peer.answered_ms);
        let from = host.datasets.len();
        for (dataset, of) in &found.datasets {
            let Some(pulled) = found.kept.pulled(dataset, member.pin) else { continue };
            let mut evidence = pulling(of.holding.as_deref(), Some(pulled), peer);
            evidence.wrong.extend(of.trouble.clone());
            let name = &member.name;
            evidence.advice = Some(format!(
                "see that `exporter serve` runs on {name}, that both hosts reach each other, and what `exporter status` says there"
            ));
            let (schedule, supposed) = told(pulled.rule.as_ref());
            let line = Line::judged(place(dataset, Hop::Archive, &member.name), evidence, schedule.as_ref(), supposed, found.now_ms);
            host.datasets.push(line.seen(seen, Some(pulled.went.bytes)));
        }
        if host.datasets.len() == from {
            // Without this line nothing of it would be watched.
            let nothing = Dataset { cluster: member.cluster.clone(), name: ALL.into() };
            let evidence = pulling(None, None, peer);
            let line = Line::judged(place(&nothing, Hop::Archive, &member.name), evidence, None, false, found.now_ms);
            host.datasets.push(line.seen(seen, peer.map(|peer| peer.went.bytes)));
        }
    }

    /// History that no member offers is not judged: whoever exported it was expelled.
    fn orphans(&self, found: &Found, host: &mut Host) {
        for (dataset, of) in found.datasets.iter().filter(|_| self.all) {
            let shown = |line: &Line| line.status.place.dataset == dataset.name && line.status.place.cluster == dataset.cluster;
            if !host.datasets.iter().any(shown) {
                let evidence = pulling(of.holding.as_deref(), None, None);
                let place = Place { cluster: dataset.cluster.clone(), dataset: dataset.name.clone(), hop: Hop::Archive, peer: None };
                let mut line = Line::judged(place, evidence, None, false, found.now_ms);
                line.status.verdict.word = Word::Ok;
                line.status.verdict.why = "history of expelled members; nobody exports it any more".into();
                host.datasets.push(line);
            }
        }
    }
}

fn place(dataset: &Dataset, hop: Hop, peer: &str) -> Place {
    Place { cluster: dataset.cluster.clone(), dataset: dataset.name.clone(), hop, peer: Some(peer.into()) }
}

fn exports(member: &Member) -> bool {
    !member.is_follower() && member.active != Some(false) && member.ports.exporter.is_some()
}

/// Whether it is to hold what is kept here, said so or not.
fn stands_by(member: &Member) -> bool {
    member.is_follower() || member.active == Some(false)
}

/// What an importer, or a pull-backup that follows, said that it holds. Who works imports nothing, whatever it said before.
fn receiver(member: &Member, found: &Found, lines: &mut Vec<Line>) {
    if member.active == Some(true) {
        return;
    }
    for (dataset, of) in found
        .datasets
        .iter()
        .filter(|(dataset, _)| member.is_follower() || dataset.cluster == member.cluster)
    {
        let said = of.receivers.as_ref().map(|all| all.receiver.get(&member.name));
        let said = match said {
            Ok(None) if !stands_by(member) => continue,
            Ok(said) => said,
            Err(error) => {
                let evidence = Evidence { wrong: vec![chain(error)], ..Evidence::default() };
                let line = Line::judged(place(dataset, Hop::Mirror, &member.name), evidence, None, false, found.now_ms);
                lines.push(line);
                continue;
            }
        };
        received(member, dataset, of, said, found.now_ms, lines);
    }
}

fn received(member: &Member, dataset: &Dataset, of: &Of, said: Option<&Receiver>, now_ms: u64, lines: &mut Vec<Line>) {
    let nothing = Holding::default();
    let holding = of.holding.as_deref().unwrap_or(&nothing);
    let (schedule, supposed) = told(of.rule.as_ref());
    let seen = said.map(|said| said.said_ms);
    let hop = if member.is_follower() { Hop::Archive } else { Hop::Mirror };
    let mut evidence = receiving::held(holding, said);
    let serves = if member.is_follower() { "pull-backup" } else { "importer" };
    let advice =
        format!("see that `{serves} serve` runs on {}, that it reaches this host, and what `{serves} status` says there", member.name);
    evidence.advice = Some(advice.clone());
    let line = Line::judged(place(dataset, hop, &member.name), evidence, schedule.as_ref(), supposed, now_ms);
    lines.push(line.seen(seen, None));
    if let Some(said) = said.filter(|said| said.imported.is_some()) {
        let mut evidence = receiving::compared(holding, said.imported.as_deref(), said.captured_ms, said.said_ms);
        evidence.advice = Some(advice);
        let line = Line::judged(place(dataset, Hop::Import, &member.name), evidence, schedule.as_ref(), supposed, now_ms);
        lines.push(line.seen(seen, None));
    }
}

/// A member, with the lines that are its.
fn peer(member: &Member, found: &Found, lines: &[Line]) -> Peer {
    let asked_of = found.kept.peer(member.pin);
    let (role, (word, why)) = match member {
        Member { expelled_ms: Some(_), .. } => ("expelled", (Word::Ok, "its membership ended".to_owned())),
        member if exports(member) => ("exporter", asked(asked_of, found.now_ms)),
        member => {
            let role = if member.is_follower() { "follower" } else { "importer" };
            let worst = lines.iter().max_by_key(|line| line.word());
            let judged = worst.map_or((Word::Never, "it never said what it holds".into()), |line| match line.word() {
                Word::Ok => (Word::Ok, "holds what is kept here".into()),
                word => (word, format!("{}: {}", line.status.place.dataset, line.status.verdict.why)),
            });
            (role, judged)
        }
    };
    let peer = Peer {
        name: member.name.clone(),
        cluster: if member.cluster == FOLLOWERS { String::new() } else { member.cluster.clone() },
        role,
        address: member.hosts.first().cloned(),
        word,
        why,
        last_seen: None,
        bytes: asked_of.map(|peer| peer.went.bytes),
        given: Some(found.given.to(&member.pin)),
        failures: asked_of.map_or(0, |peer| peer.went.failures),
        last_seen_ms: None,
    };
    let heard = lines
        .iter()
        .filter_map(|line| line.last_seen_ms)
        .chain(asked_of.and_then(|peer| peer.answered_ms))
        .max();
    peer.seen(heard)
}

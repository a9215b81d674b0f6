//! How a node that exports stands: its spool, and what each pull-backup that it joined holds of it, from the node's disk alone.

use crate::attempt::Attempts;
use crate::node;
use crate::spool::Spool;
use console::human;
use console::node_file::{Dataset, NodeFile};
use jiff::tz::TimeZone;
use link::given;
use link::membership::{Membership, PullBackup, Reign};
use link::node::{Receiver, Receivers};
use link::pull::chain;
use link::running::peek;
use standing::holding::{Holding, Holdings};
use standing::host::{Daemon, Host, Line, Peer};
use standing::place::{ms, schedule};
use standing::receiving;
use std::sync::Arc;
use watch::health::Failure;
use watch::{Evidence, Hop, Place, Schedule, Word};

/// What a look needs.
pub struct Looking {
    pub file: NodeFile,
    pub zone: TimeZone,
    pub holdings: Holdings,
}

/// The dataset's name where something concerns all of them; no dataset can have it.
const ALL: &str = "*";

impl Looking {
    pub fn new(file: NodeFile, zone: TimeZone) -> Looking {
        Looking { file, zone, holdings: Holdings::default() }
    }

    fn place(&self, dataset: &str, hop: Hop, peer: Option<&str>) -> Place {
        Place { cluster: self.file.cluster.clone(), dataset: dataset.into(), hop, peer: peer.map(str::to_owned) }
    }

    /// How the node stands now.
    pub fn look(&self, now_ms: u64) -> Host {
        let state = &self.file.node.state;
        let seen = peek(state, "exporter");
        if let Ok(Some(Reign { active: false, .. })) = Reign::open(state) {
            let rest = "this node stands by: the active node exports";
            return Host::new("exporter", &self.file.node.name, Daemon::judged("exporter", seen, Some(rest), now_ms), now_ms).at_rest(rest);
        }
        let mut lines = Vec::new();
        let known = match Membership::open(state) {
            Ok(membership) => membership.pull_backups.into_iter().filter(|known| known.cluster == self.file.cluster).collect(),
            Err(error) => {
                let evidence = Evidence { wrong: vec![chain(&error)], ..Evidence::default() };
                lines.push(Line::judged(self.place(ALL, Hop::Archive, None), evidence, None, false, now_ms));
                vec![]
            }
        };
        for dataset in &self.file.datasets {
            self.dataset(dataset, &known, now_ms, &mut lines);
        }
        let pulled = lines
            .iter()
            .filter(|line| line.status.place.hop == Hop::Archive)
            .all(|line| line.word() == Word::Ok);
        let idle = match (known.is_empty(), pulled) {
            (true, true) => Some("no pull-backup was joined, so nobody is served; `exporter run` exports"),
            (false, true) => Some("all is pulled and fresh"),
            _ => None,
        };
        let mut host = Host::new("exporter", &self.file.node.name, Daemon::judged("exporter", seen, idle, now_ms), now_ms);
        // Figures that cannot be read are no reason for anything.
        let given = given::Bytes::open(state, "exporter").unwrap_or_default();
        host.peers = known.iter().map(|known| self.peer(known, &given, &lines)).collect();
        host.datasets = lines;
        host.finish("the node file has no dataset")
    }

    fn dataset(&self, dataset: &Dataset, known: &[PullBackup], now_ms: u64, lines: &mut Vec<Line>) {
        let state = &self.file.node.state;
        let schedule = schedule(&dataset.schedule, &self.zone).ok();
        let (holding, trouble) = match self.holdings.of(&node::repository(state, &dataset.name), now_ms) {
            Ok(holding) => (holding, None),
            Err(error) => (None, Some(chain(&error))),
        };
        let mut evidence = self.exported(dataset, holding.as_deref());
        evidence.wrong.extend(trouble);
        lines.push(Line::judged(self.place(&dataset.name, Hop::Spool, None), evidence, schedule.as_ref(), false, now_ms));
        let receivers = Receivers::open(state, &dataset.name);
        for known in known {
            let place = self.place(&dataset.name, Hop::Archive, Some(&known.address));
            let receiver = receivers.as_ref().ok().and_then(|all| all.receiver.get(&known.pin.to_string()));
            let mut line = pulled(place, holding.as_ref(), receiver, schedule.as_ref(), now_ms);
            if let Err(error) = &receivers {
                line.evidence.wrong.push(chain(error));
                line = Line::judged(line.status.place, line.evidence, schedule.as_ref(), false, now_ms);
            }
            lines.push(line);
        }
    }

    /// What the spool proves, and how exports went since.
    fn exported(&self, dataset: &Dataset, holding: Option<&Holding>) -> Evidence {
        let captured_ms = holding.and_then(Holding::captured_ms).map(ms);
        let advice = Some("see that `exporter serve` runs here, or that `exporter run` is called, and what its log says".into());
        let mut evidence = Evidence { captured_ms, success_ms: captured_ms, advice, ..Evidence::default() };
        evidence.wrong.extend(holding.iter().flat_map(|holding| holding.damaged.clone()));
        match Attempts::open(&self.file.node.state, &dataset.name) {
            Ok(attempts) => {
                evidence.failures = attempts.failures;
                let failed = attempts.failed_ms.zip(attempts.trouble);
                evidence.failure = failed.map(|(at, text)| Failure { at_ms: ms(at), text });
                evidence.wrong.extend(attempts.left_out);
            }
            Err(error) => evidence.wrong.push(chain(&error)),
        }
        match Spool::open(&self.file.node.state, &dataset.name) {
            Ok(spool) => evidence.wrong.extend(crowded(&spool)),
            Err(error) => evidence.wrong.push(chain(&error)),
        }
        evidence
    }

    /// A pull-backup does as well as the worst of what it holds of this node.
    fn peer(&self, known: &PullBackup, given: &given::Bytes, lines: &[Line]) -> Peer {
        let of = |line: &&Line| line.status.place.peer.as_deref() == Some(&known.address);
        let worst = lines.iter().filter(of).max_by_key(|line| line.word());
        let (word, why) = worst.map_or((Word::Never, "nothing was ever pulled".into()), |line| match line.word() {
            Word::Ok => (Word::Ok, "holds what was exported".into()),
            word => (word, format!("{}: {}", line.status.place.dataset, line.status.verdict.why)),
        });
        let peer = Peer {
            name: known.address.clone(),
            cluster: known.cluster.clone(),
            role: "pull-backup",
            address: Some(known.address.clone()),
            word,
            why,
            last_seen: None,
            bytes: None,
            given: Some(given.to(&known.pin)),
            failures: lines.iter().filter(of).map(|line| line.evidence.failures).max().unwrap_or(0),
            last_seen_ms: None,
        };
        peer.seen(lines.iter().filter(of).filter_map(|line| line.last_seen_ms).max())
    }
}

/// What a pull-backup holds, as it said itself. Both moments are by this host's clock.
fn pulled(place: Place, holding: Option<&Arc<Holding>>, receiver: Option<&Receiver>, schedule: Option<&Schedule>, now_ms: u64) -> Line {
    let mut evidence = holding.map(|holding| receiving::held(holding, receiver)).unwrap_or_default();
    let peer = place.peer.as_deref().unwrap_or_default();
    evidence.advice =
        Some(format!("see that `exporter serve` runs here, that {peer} reaches this host, and what `pull-backup status` says there"));
    Line::judged(place, evidence, schedule, false, now_ms).seen(receiver.map(|receiver| receiver.said_ms), None)
}

/// What is wrong with a spool that is full, or nearly so.
fn crowded(spool: &Spool) -> Option<String> {
    let Spool { bytes, bound, waiting, dropped, .. } = spool;
    let full = format!("the spool has {} of at most {}", human::bytes(*bytes), human::bytes(*bound));
    let what = "see that every pull-backup pulls, or raise `spool` in [node]";
    if *dropped > 0 {
        return Some(format!("{full}, and {dropped} snapshots went that some pull-backup never had; {what}"));
    }
    spool.is_near().then(|| format!("{full}, and {waiting} snapshots wait; {what}"))
}

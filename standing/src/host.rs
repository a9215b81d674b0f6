//! How a host stands, as one document: what `status --json` and `/status` give, what the table shows, what is watched.
//!
//! Its word is the worst of its daemon's, its datasets' and its peers'. Who has nothing to show is not ok: no evidence is red.

use crate::arbiter::Arbiter;
use crate::outside::{Address, Domain};
use crate::place::{ago, moment, ms};
use link::running::Seen;
use serde::Serialize;
use watch::health::{Status, judge};
use watch::incident::Open;
use watch::outbox::Delivery;
use watch::{Evidence, Incidents, Place, Schedule, Word};

/// The document. Fields may be added, never changed.
#[derive(Clone, Debug, Serialize)]
pub struct Host {
    /// `exporter`, `pull-backup` or `importer`.
    pub binary: &'static str,
    pub host: String,
    /// When this was found out.
    pub at: String,
    /// The worst of all below.
    pub word: Word,
    /// What is to be seen at first.
    pub why: String,
    pub daemon: Daemon,
    pub datasets: Vec<Line>,
    pub peers: Vec<Peer>,
    pub drills: Vec<Drill>,
    /// What is kept aside from the history, at a pull-backup.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub quarantined: Vec<Quarantined>,
    /// Who is active by whose word, at a pull-backup that is an arbiter.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub arbiters: Vec<Arbiter>,
    /// This node's own part in takeover.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Where the addresses of `[[takeover.vip]]` are, as this node sees it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Address>,
    /// Where the domains of `[[takeover.dns]]` point, by their servers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub domains: Vec<Domain>,
    pub incidents: Vec<Open>,
    pub deliveries: Vec<Delivery>,
    #[serde(skip)]
    pub at_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Role {
    /// In words.
    pub standing: String,
    pub epoch: u64,
    /// Of an active one.
    pub lease_left_seconds: Option<u64>,
}

/// The binary's daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Daemon {
    pub runs: bool,
    /// When it showed last that it lives.
    pub seen: Option<String>,
    pub word: Word,
    pub why: String,
}

/// A dataset at a hop.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    #[serde(flatten)]
    pub status: Status,
    /// When this was last heard of from the peer.
    pub last_seen: Option<String>,
    /// Bytes that came from the peer.
    pub bytes: Option<u64>,
    #[serde(skip)]
    pub evidence: Evidence,
    #[serde(skip)]
    pub last_seen_ms: Option<u64>,
}

/// A host at the other end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Peer {
    pub name: String,
    pub cluster: String,
    /// `exporter`, `importer`, `pull-backup`, `follower` or `expelled`.
    pub role: &'static str,
    pub address: Option<String>,
    pub word: Word,
    pub why: String,
    pub last_seen: Option<String>,
    /// Bytes that came from it, where that is counted.
    pub bytes: Option<u64>,
    /// Bytes of repositories that it was given, where that is counted.
    pub given: Option<u64>,
    pub failures: u32,
    #[serde(skip)]
    pub last_seen_ms: Option<u64>,
}

/// The last rehearsal of a restore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Drill {
    pub dataset: String,
    /// By its name.
    pub snapshot: String,
    pub at: String,
    pub took_seconds: u64,
    pub good: bool,
    /// Why it failed.
    pub why: Option<String>,
    pub last_good: Option<String>,
    #[serde(skip)]
    pub at_ms: u64,
    #[serde(skip)]
    pub good_ms: u64,
}

/// What is in quarantine of a dataset, by epoch and node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Quarantined {
    pub cluster: String,
    pub dataset: String,
    pub epoch: u64,
    pub node: String,
    pub snapshots: u64,
    /// Those that are not in the archive as well.
    pub only_here: u64,
    /// Those of them that nobody has seen.
    pub new: u64,
}

/// A daemon shows each second that it lives; one that did not for so long hangs.
const PULSE_MS: u64 = 10_000;

impl Daemon {
    /// `idle` is why none need run, where that is so.
    pub fn judged(name: &str, seen: Seen, idle: Option<&str>, now_ms: u64) -> Daemon {
        let silent = seen.pulse_ms.is_none_or(|pulse| now_ms.abs_diff(pulse) > PULSE_MS);
        let since = seen.pulse_ms.map_or_else(|| "never".into(), |pulse| format!("{} ago", ago(pulse, now_ms)));
        let (word, why) = match (seen.runs, idle) {
            (true, _) if silent => (
                Word::Failing,
                format!(
                    "`{name} serve` runs and hangs: it showed last that it lives {since}; see its log, its disk and its host, or start it anew"
                ),
            ),
            (true, _) => (Word::Ok, "runs".into()),
            (false, Some(why)) => (Word::Ok, format!("none runs; {why}")),
            (false, None) => (Word::Failing, format!("no `{name} serve` runs on this host; start it, and see its log for why it ended")),
        };
        Daemon { runs: seen.runs, seen: seen.pulse_ms.map(moment), word, why }
    }
}

impl Line {
    /// Judges. `supposed` says that nobody told the schedule.
    pub fn judged(place: Place, evidence: Evidence, schedule: Option<&Schedule>, supposed: bool, now_ms: u64) -> Line {
        let mut status = judge(&place, &evidence, schedule, ms(now_ms));
        if supposed {
            status.verdict.why.push_str(" (its exporter did not say how often it exports: a day is supposed)");
        }
        Line { status, last_seen: None, bytes: None, evidence, last_seen_ms: None }
    }

    pub fn seen(self, at_ms: Option<u64>, bytes: Option<u64>) -> Line {
        Line { last_seen: at_ms.map(moment), last_seen_ms: at_ms, bytes, ..self }
    }

    pub fn word(&self) -> Word {
        self.status.verdict.word
    }
}

impl Peer {
    pub fn seen(self, at_ms: Option<u64>) -> Peer {
        Peer { last_seen: at_ms.map(moment), last_seen_ms: at_ms, ..self }
    }
}

fn first_worst(worst: Option<(Word, String)>, next: (Word, String)) -> Option<(Word, String)> {
    match worst {
        Some(worst) if worst.0 >= next.0 => Some(worst),
        _ => Some(next),
    }
}

impl Host {
    pub fn new(binary: &'static str, host: &str, daemon: Daemon, now_ms: u64) -> Host {
        Host {
            binary,
            host: host.into(),
            at: moment(now_ms),
            word: Word::Never,
            why: String::new(),
            daemon,
            datasets: vec![],
            peers: vec![],
            drills: vec![],
            quarantined: vec![],
            arbiters: vec![],
            role: None,
            addresses: vec![],
            domains: vec![],
            incidents: vec![],
            deliveries: vec![],
            at_ms: now_ms,
        }
    }

    /// Finds the worst. `nothing` is said of a host that has neither datasets nor peers.
    pub fn finish(mut self, nothing: &str) -> Host {
        let lines = self
            .datasets
            .iter()
            .map(|line| (line.word(), format!("{}: {}", line.status.place, line.status.verdict.why)));
        let peers = self.peers.iter().map(|peer| (peer.word, format!("{}: {}", peer.name, peer.why)));
        let drills = self
            .drills
            .iter()
            .filter_map(|drill| Some((Word::Failing, format!("the drill of {}: {}", drill.dataset, drill.why.as_ref()?))));
        let daemon = std::iter::once((self.daemon.word, self.daemon.why.clone()));
        let all = daemon.chain(lines).chain(peers).chain(drills).chain(self.outside());
        let (word, why) = all.fold(None, first_worst).unwrap_or((Word::Never, String::new()));
        (self.word, self.why) = match word {
            _ if self.datasets.is_empty() && self.peers.is_empty() => (Word::Never, nothing.to_owned()),
            Word::Ok => (Word::Ok, "all data is verified and fresh".into()),
            _ => (word, why),
        };
        self
    }

    /// One that stands by or has stepped back: it need not show anything, and says so.
    pub fn at_rest(mut self, why: &str) -> Host {
        let daemon = (self.daemon.word, if self.daemon.word == Word::Ok { why.to_owned() } else { self.daemon.why.clone() });
        let (word, why) = self.outside().fold(Some(daemon.clone()), first_worst).unwrap_or(daemon);
        (self.word, self.why) = (word, why);
        self
    }

    fn outside(&self) -> impl Iterator<Item = (Word, String)> {
        let addresses = self.addresses.iter().map(|of| (of.word, format!("{}: {}", of.address, of.why)));
        addresses.chain(self.domains.iter().map(|of| (of.word, format!("{}: {}", of.domain, of.why))))
    }

    /// With the incidents that its daemon kept. A way of delivery that fails makes it worse: an alert that nobody got is itself something to see.
    pub fn with(mut self, incidents: &Incidents, trouble: Option<String>) -> Host {
        self.incidents = incidents.list();
        self.deliveries = incidents.deliveries();
        let fails = self.deliveries.iter().find_map(|delivery| Some((&delivery.channel, delivery.last_error.as_ref()?)));
        let why = fails.map(|(channel, error)| format!("alerts by {channel} do not arrive: {error}")).or(trouble);
        if let Some(why) = why.filter(|_| self.word < Word::Failing) {
            (self.word, self.why) = (Word::Failing, why);
        }
        self
    }

    /// The document, on one line.
    pub fn json(&self) -> String {
        // Text and numbers only; nothing in it can fail to be JSON.
        serde_json::to_string(self).unwrap_or_default()
    }

    pub fn statuses(&self) -> Vec<Status> {
        self.datasets.iter().map(|line| line.status.clone()).collect()
    }
}

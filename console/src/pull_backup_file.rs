//! `pull-backup.toml`: where an archive is kept, for how long, and what is said of each cluster.
//!
//! `[retain]` holds for all; `[retain.DATASET]` overrides it key by key. A rule that keeps nothing is refused. Which snapshots
//! a rule means is decided in the archive, not here.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use crate::alert::Alert;
use crate::located::{Section, Text};
use crate::ranges::{Ranges, allow};
use crate::takeover::one_of;
use crate::{Error, alert, node_file, place, quantity};

const MOST: i64 = 1_000_000;
/// What is in quarantine takes no more where nothing is said.
const QUARANTINE: u64 = 100_000_000_000;

/// A pull-backup's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullBackupFile {
    pub listen: SocketAddr,
    /// Where others reach it, as they are told in invitations: HOST:PORT.
    pub address: Option<String>,
    /// Where it tells without keys that it lives, and its figures.
    pub health: SocketAddr,
    /// Who may connect here at all.
    pub allow: Ranges,
    pub state: PathBuf,
    pub store: PathBuf,
    /// How many bytes all that a node brought may take; [cluster.NAME] and its `quotas` override it.
    pub quota: Option<u64>,
    /// How many bytes all that is in quarantine may take.
    pub quarantine: u64,
    /// Bytes a second, for all that is pulled together.
    pub rate: Option<u64>,
    pub retain: Retain,
    /// Of datasets with rules of their own; complete, what they leave out taken from `retain`.
    pub retain_of: BTreeMap<String, Retain>,
    pub clusters: BTreeMap<String, Cluster>,
    pub alert: Alert,
}

/// How many snapshots each rule keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retain {
    pub last: u32,
    pub hourly: u32,
    pub daily: u32,
    pub weekly: u32,
    pub monthly: u32,
    pub yearly: u32,
    /// Everything younger than this.
    pub within: Option<Duration>,
}

impl Default for Retain {
    fn default() -> Retain {
        Retain { last: 3, hourly: 48, daily: 14, weekly: 8, monthly: 12, yearly: 0, within: None }
    }
}

/// What is said of one cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cluster {
    pub quota: Option<u64>,
    /// By node.
    pub quotas: BTreeMap<String, u64>,
    pub automatic: bool,
    pub profile: Profile,
    pub delay: Option<Duration>,
    pub priority: BTreeMap<String, i64>,
    /// Nodes that are never chosen by themselves.
    pub exclude: Vec<String>,
    /// A program that turns a node off, with its arguments; none when empty.
    pub stonith: Vec<String>,
    /// With older data nobody takes over by itself.
    pub max_age: Option<Duration>,
    /// How far behind a node may be that takes over.
    pub max_lag: Option<Duration>,
    /// The node on whose host this pull-backup runs.
    pub beside: Option<String>,
    /// Of two nodes the one beside this pull-backup may take over by itself.
    pub two_hosts_fence: bool,
    /// Ed25519, the public half: where it is known, nodes must be certified; else their keys are pinned when they join.
    pub cluster_key: Option<[u8; 32]>,
}

/// Which timers the protocol of takeover uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Profile {
    #[default]
    Default,
    Fast,
}

impl PullBackupFile {
    /// Reads the file at `path`.
    pub fn open(path: &Path) -> Result<PullBackupFile, Error> {
        PullBackupFile::parse(&place::read(path)?, path)
    }

    /// Reads `text`; `path` stands in the messages only.
    pub fn parse(text: &str, path: &Path) -> Result<PullBackupFile, Error> {
        let text = Text::new(text);
        let file = read(text.root());
        text.finish(path).map_err(Error::Configuration)?;
        Ok(file)
    }

    /// How many bytes all that this node brought may take; no bound when there is none.
    pub fn quota_of(&self, cluster: &str, node: &str) -> Option<u64> {
        let cluster = self.clusters.get(cluster);
        let own = cluster.and_then(|cluster| cluster.quotas.get(node).copied().or(cluster.quota));
        own.or(self.quota)
    }

    /// Of each cluster whose nodes must be certified.
    pub fn cluster_keys(&self) -> impl Iterator<Item = (&String, [u8; 32])> {
        self.clusters.iter().filter_map(|(name, cluster)| Some((name, cluster.cluster_key?)))
    }

    /// The rules for one dataset.
    pub fn retain_for(&self, dataset: &str) -> &Retain {
        self.retain_of.get(dataset).unwrap_or(&self.retain)
    }
}

fn read(mut root: Section<'_>) -> PullBackupFile {
    let listen = root.parsed("listen", |text| text.parse().map_err(|_| format!("`{text}` is no address and port, as \"0.0.0.0:8025\"")));
    let allow = allow(&mut root);
    let health = root.parsed("health", |text| text.parse().map_err(|_| format!("`{text}` is no address and port, as \"127.0.0.1:8028\"")));
    let address = root.parsed("address", address);
    let state = root.path("state");
    root.require("store", "store = { path = \"/srv/archive\" }");
    let mut store = PathBuf::new();
    if let Some(mut section) = root.section("store") {
        section.require("path", "path = \"/srv/archive\"");
        store = section.path("path").unwrap_or_default();
        section.finish(&[]);
    }
    let quota = root.size("quota");
    let quarantine = root.size("quarantine");
    let rate = root.parsed("rate", rate);
    let (retain, retain_of) = root.section("retain").map(retains).unwrap_or_default();
    let clusters = root.section("cluster").map(clusters).unwrap_or_default();
    let alert = alert::read(root.section("alert"));
    root.finish(&[]);
    PullBackupFile {
        listen: listen.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 8025))),
        address,
        health: health.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8028))),
        allow,
        state: state.unwrap_or_else(|| "/var/lib/resilient".into()),
        store,
        quota,
        quarantine: quarantine.unwrap_or(QUARANTINE),
        rate,
        retain,
        retain_of,
        clusters,
        alert,
    }
}

fn address(text: &str) -> Result<String, String> {
    let fits = text.rsplit_once(':').is_some_and(|(host, port)| {
        let plain = host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-[]:".contains(&b));
        !host.is_empty() && plain && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    if fits { Ok(text.to_owned()) } else { Err(format!("`{text}` is no host and port, as \"backup.example.org:8025\"")) }
}

/// Slower than this, a segment would not be there before whoever sends it gives up.
const RATE_LEAST: u64 = 128 << 10;

fn rate(text: &str) -> Result<u64, String> {
    match quantity::size(text)? {
        slow if slow < RATE_LEAST => Err(format!("must be \"128KiB\" (a second) at least, and is {slow} bytes")),
        rate => Ok(rate),
    }
}

fn retains(mut section: Section<'_>) -> (Retain, BTreeMap<String, Retain>) {
    let retain = rules(&mut section, &Retain::default());
    let mut own = BTreeMap::new();
    for (dataset, mut section) in section.named_sections() {
        if let Err(what) = place::name(&dataset) {
            section.wrong_here(what);
        }
        let rules = rules(&mut section, &retain);
        section.finish(&[]);
        own.insert(dataset, rules);
    }
    section.finish(&own.keys().map(String::as_str).collect::<Vec<_>>());
    (retain, own)
}

fn rules(section: &mut Section<'_>, otherwise: &Retain) -> Retain {
    let mut number = |key, otherwise| section.integer(key, 0, MOST).map_or(otherwise, |n| n as u32);
    let retain = Retain {
        last: number("last", otherwise.last),
        hourly: number("hourly", otherwise.hourly),
        daily: number("daily", otherwise.daily),
        weekly: number("weekly", otherwise.weekly),
        monthly: number("monthly", otherwise.monthly),
        yearly: number("yearly", otherwise.yearly),
        within: section.duration("within").or(otherwise.within),
    };
    let kept = retain.last + retain.hourly + retain.daily + retain.weekly + retain.monthly + retain.yearly;
    if kept == 0 && retain.within.is_none() {
        section.wrong_here("these rules keep nothing; let one of them be above 0");
    }
    retain
}

fn clusters(section: Section<'_>) -> BTreeMap<String, Cluster> {
    let mut list = BTreeMap::new();
    for (name, mut section) in section.named_sections() {
        if let Err(what) = place::name(&name) {
            section.wrong_here(what);
        }
        let automatic = section.boolean("automatic").unwrap_or(false);
        let profile = section.parsed("profile", |text| one_of(text, &["default", "fast"]));
        let profile = if profile.as_deref() == Some("fast") { Profile::Fast } else { Profile::Default };
        let delay = section.duration("delay");
        let cluster_key = section.parsed("cluster_key", node_file::cluster_key);
        let priority = section.section("priority").map(|members| members.named_integers(0, MOST)).unwrap_or_default();
        let quota = section.size("quota");
        let quotas = section.section("quotas").map(|nodes| nodes.named_sizes()).unwrap_or_default();
        let takeover = takeover(&mut section);
        section.finish(&[]);
        list.insert(name, Cluster { cluster_key, quota, quotas, automatic, profile, delay, priority, ..takeover });
    }
    section.finish(&list.keys().map(String::as_str).collect::<Vec<_>>());
    list
}

/// Who may take over by itself, and when.
fn takeover(section: &mut Section<'_>) -> Cluster {
    let exclude = section.strings("exclude").unwrap_or_default();
    for node in &exclude {
        if let Err(what) = place::name(node) {
            section.wrong("exclude", what);
        }
    }
    let beside = section.string("beside");
    if let Some(Err(what)) = beside.as_deref().map(place::name) {
        section.wrong("beside", what);
    }
    let two_hosts = section.parsed("two_hosts", |text| one_of(text, &["refuse", "fence"]));
    if two_hosts.is_some() && beside.is_none() {
        section.wrong("two_hosts", "is about the node on this host; name it: beside = \"web2\"");
    }
    Cluster {
        exclude,
        stonith: section.program("stonith").unwrap_or_default(),
        max_age: section.duration("max_age"),
        max_lag: section.duration("max_lag"),
        beside,
        two_hosts_fence: two_hosts.as_deref() == Some("fence"),
        ..Cluster::default()
    }
}

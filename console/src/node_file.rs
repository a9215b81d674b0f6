//! `node.toml`: the one file of a node, the same on every host of a cluster but for `[node]`.
//!
//! `exporter` and `importer` both read it. All mistakes are reported at once, each with file, line and key. Whether paths exist
//! or servers answer is not asked here: the same file must read the same on a host where they do not.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use crate::alert::Alert;
pub use crate::domains::{Domain, Pointing};
use crate::located::{Section, Text};
use crate::ranges::{Ranges, allow};
use crate::takeover::one_of;
pub use crate::takeover::{Check, Commands, Hook, Probe, Route, Takeover, Vip};
use crate::{Error, alert, dataset, place, takeover};

const STATE_DEFAULT: &str = "/var/lib/resilient";
const SPOOL_DEFAULT: u64 = 64 << 30;

/// A node's configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeFile {
    pub cluster: String,
    pub node: Node,
    pub pull_backups: Vec<PullBackup>,
    pub seal: Seal,
    pub datasets: Vec<Dataset>,
    pub alert: Alert,
    pub takeover: Option<Takeover>,
}

/// What differs from host to host. Its overrides of sources are already in the sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub name: String,
    pub state: PathBuf,
    /// On hosts that import by themselves.
    pub identity: Option<PathBuf>,
    pub interface: Option<String>,
    pub listen: Option<IpAddr>,
    /// Who may connect here at all.
    pub allow: Ranges,
    /// The most bytes that a dataset's spool may hold, besides its newest snapshot.
    pub spool: u64,
    /// What a reboot forgets: that this host may be active.
    pub run: PathBuf,
    /// Behind NAT: nobody can connect here, so it opens the connections and is asked over them.
    pub dials_out: bool,
}

impl Node {
    /// Where its daemons listen: only on the host itself when it dials out.
    pub fn listens(&self) -> IpAddr {
        let everywhere = if self.dials_out { Ipv4Addr::LOCALHOST } else { Ipv4Addr::UNSPECIFIED };
        self.listen.unwrap_or(IpAddr::V4(everywhere))
    }
}

/// A pull-backup of this cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullBackup {
    pub url: String,
    pub arbiter: bool,
}

/// Who can open snapshots, and who certifies the nodes that may sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    pub recipients: Vec<String>,
    /// Ed25519, the public half; without it signers are unverified.
    pub cluster_key: Option<[u8; 32]>,
}

/// What is captured, archived, restored and taken over together.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    pub name: String,
    pub schedule: Schedule,
    /// The most by which a start may be moved, so that not all start together; none where nothing is said, zero for off.
    pub jitter: Option<Duration>,
    /// A URL in the manner of healthchecks, pinged when new data is verified.
    pub ping: Option<String>,
    pub sources: Vec<Source>,
    pub seal: bool,
    /// zstd's level.
    pub level: i32,
    /// The segment cache's limit in bytes; 0 is none.
    pub cache: u64,
}

/// When a dataset is exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schedule {
    Every(Duration),
    /// A cron expression of five fields.
    At(String),
}

/// One thing in a dataset.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    pub name: String,
    pub recipe: String,
    pub settings: Settings,
}

/// A source's own keys.
#[derive(Debug, Clone, PartialEq)]
pub enum Settings {
    Files(Files),
    Sqlite(Sqlite),
    Postgres(Postgres),
    /// Of MariaDB and MySQL.
    Mysql(Mysql),
    /// Of a recipe that is not built in: two programs.
    Command(Command),
    /// Of none, because of a mistake.
    Other(toml::Table),
}

/// Keys of the recipe `files`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    pub paths: Vec<PathBuf>,
    /// In gitignore's syntax.
    pub exclude: Vec<String>,
    pub one_file_system: bool,
}

/// Keys of the recipe `sqlite`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sqlite {
    /// The database file.
    pub path: PathBuf,
    /// What a drill asks of it.
    pub drill: Vec<String>,
}

/// Keys that all recipes for database servers have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Databases {
    pub port: Option<u16>,
    pub user: Option<String>,
    pub password_file: Option<PathBuf>,
    /// All but the server's own, where none is named.
    pub names: Vec<String>,
    pub exclude: Vec<String>,
    /// As `schema.table`, or `database.table`.
    pub exclude_tables: Vec<String>,
    pub jobs: Option<usize>,
    pub verify: Verify,
    /// What a drill asks of the one database.
    pub drill: Vec<String>,
}

/// How much of what an import loaded is read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verify {
    #[default]
    Full,
    Sampled,
    Counts,
}

/// Keys of the recipe `postgres`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Postgres {
    /// The folder of the server's socket, or a host.
    pub host: String,
    pub databases: Databases,
    pub schemas: Vec<String>,
    pub exclude_schemas: Vec<String>,
    /// Roles that may become superusers on a node that stands by.
    pub superusers: Vec<String>,
    /// A role that may read there.
    pub reader: Option<String>,
    /// The server's pg_hba.conf.
    pub hba_file: Option<PathBuf>,
}

/// Keys of the recipes `mariadb` and `mysql`, which are one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mysql {
    pub host: Option<String>,
    pub socket: Option<PathBuf>,
    pub databases: Databases,
    /// A file of options that the server reads.
    pub option_file: Option<PathBuf>,
}

/// Keys of a recipe that is not built in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Where `NAME-exporter` and `NAME-importer` lie, unless they are named.
    pub folder: Option<PathBuf>,
    /// A program, by its absolute path, and its arguments.
    pub export: Option<Vec<String>>,
    pub import: Option<Vec<String>>,
    /// Standard output and input instead of a folder.
    pub stream: bool,
    pub timeout: Option<Duration>,
}

impl Dataset {
    /// Each of its sources, with itself.
    pub fn with_sources(&self) -> impl Iterator<Item = (&Dataset, &Source)> {
        self.sources.iter().map(move |source| (self, source))
    }
}

impl NodeFile {
    /// Reads the file at `path`.
    pub fn open(path: &Path) -> Result<NodeFile, Error> {
        NodeFile::parse(&place::read(path)?, path)
    }

    /// Reads `text`; `path` stands in the messages only.
    pub fn parse(text: &str, path: &Path) -> Result<NodeFile, Error> {
        let text = Text::new(text);
        let file = read(text.root());
        text.finish(path).map_err(Error::Configuration)?;
        Ok(file)
    }

    /// HOST:PORT of the pull-backup that decides who is active, where one is named.
    pub fn arbiter(&self) -> Option<&str> {
        let marked = self.pull_backups.iter().find(|known| known.arbiter)?;
        let url = marked.url.as_str();
        Some(url.strip_prefix("https://").unwrap_or(url).trim_end_matches('/'))
    }

    /// The dataset of that name.
    pub fn dataset(&self, name: &str) -> Option<&Dataset> {
        self.datasets.iter().find(|dataset| dataset.name == name)
    }
}

fn read(mut root: Section<'_>) -> NodeFile {
    root.require("cluster", "cluster = \"shop\"");
    let cluster = root.parsed("cluster", place::name).unwrap_or_default();
    root.require("node", "[node]");
    let mut node_section = root.section("node");
    let overrides = node_section.as_mut().map(dataset::Overrides::read);
    let node = node_section.map(node).unwrap_or_else(|| node_default(String::new()));
    let pull_backups = pull_backups(&mut root);
    let (sealed, seal) = seal(root.section("seal"));
    root.require("dataset", "[[dataset]]");
    let sections = root.sections("dataset");
    if sections.as_ref().is_some_and(Vec::is_empty) {
        root.wrong("dataset", "must have one dataset at least");
    }
    let overrides = overrides.unwrap_or_else(dataset::Overrides::none);
    let mut datasets: Vec<Dataset> = Vec::new();
    for section in sections.unwrap_or_default() {
        let place = section.clone();
        let found = dataset::read(section, sealed, &overrides);
        if !found.name.is_empty() && datasets.iter().any(|other| other.name == found.name) {
            place.wrong("name", format!("`{}` is the name of another dataset", found.name));
        }
        datasets.push(found);
    }
    overrides.finish(&datasets);
    if seal.recipients.is_empty() && datasets.iter().any(|dataset| dataset.seal) {
        root.wrong(
            "seal",
            "needs `recipients = [\"age1...\"]`: without one nothing can be restored; or say `off = true` to store in the clear",
        );
    }
    let alert = alert::read(root.section("alert"));
    let takeover = root.section("takeover").map(takeover::read);
    root.finish(&[]);
    NodeFile { cluster, node, pull_backups, seal, datasets, alert, takeover }
}

fn node_default(name: String) -> Node {
    Node {
        name,
        state: STATE_DEFAULT.into(),
        identity: None,
        interface: None,
        listen: None,
        allow: Ranges::default(),
        dials_out: false,
        spool: SPOOL_DEFAULT,
        run: takeover::run_folder(),
    }
}

fn node(mut section: Section<'_>) -> Node {
    section.require("name", "name = \"web1\"");
    let mut node = node_default(section.parsed("name", place::name).unwrap_or_default());
    if let Some(state) = section.path("state") {
        node.state = state;
    }
    node.identity = section.path("identity");
    if let Some(run) = section.path("run") {
        node.run = run;
    }
    node.interface = section.string("interface");
    node.listen = section.parsed("listen", |text| text.parse().map_err(|_| format!("`{text}` is no address of a host, as \"192.0.2.1\"")));
    node.allow = allow(&mut section);
    node.dials_out = section.parsed("dial", |text| one_of(text, &["out"])).is_some();
    node.spool = section.size("spool").unwrap_or(SPOOL_DEFAULT);
    section.finish(&[]);
    node
}

fn pull_backups(root: &mut Section<'_>) -> Vec<PullBackup> {
    let mut list: Vec<PullBackup> = Vec::new();
    for mut section in root.sections("pull-backup").unwrap_or_default() {
        section.require("url", "url = \"https://backup.example.org:8025\"");
        let url = section.parsed("url", url).unwrap_or_default();
        let arbiter = section.boolean("arbiter").unwrap_or(false);
        if !url.is_empty() && list.iter().any(|other| other.url == url) {
            section.wrong("url", format!("`{url}` stands here twice"));
        }
        if arbiter && list.iter().any(|other| other.arbiter) {
            section.wrong("arbiter", "another pull-backup is the arbiter already; a cluster has exactly one");
        }
        section.finish(&[]);
        list.push(PullBackup { url, arbiter });
    }
    match list.as_mut_slice() {
        [only] => only.arbiter = true,
        several if !several.is_empty() && several.iter().all(|other| !other.arbiter) => {
            root.wrong("pull-backup", "of several, one must say `arbiter = true`");
        }
        _ => (),
    }
    list
}

fn url(text: &str) -> Result<String, String> {
    let Some(host) = text.strip_prefix("https://") else {
        return Err("must begin with https://".into());
    };
    let host = host.trim_end_matches('/');
    if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c == '/' || c == '@' || c.is_control()) {
        return Err("must be https://HOST:PORT and nothing behind it".into());
    }
    Ok(format!("https://{host}"))
}

/// Whether datasets are sealed that do not say, and to whom.
fn seal(section: Option<Section<'_>>) -> (bool, Seal) {
    let Some(mut section) = section else {
        return (true, Seal { recipients: Vec::new(), cluster_key: None });
    };
    let off = section.boolean("off").unwrap_or(false);
    let recipients = section.strings("recipients").unwrap_or_default();
    for (at, recipient) in recipients.iter().enumerate() {
        if let Err(what) = check_recipient(recipient) {
            section.wrong("recipients", format!("number {}: {what}", at + 1));
        }
    }
    let cluster_key = section.parsed("cluster_key", cluster_key);
    section.finish(&[]);
    (!off, Seal { recipients, cluster_key })
}

/// The shape only; age says the rest. What is wrong is not repeated: it may be a secret in the wrong place.
fn check_recipient(text: &str) -> Result<(), &'static str> {
    if text.to_ascii_uppercase().starts_with("AGE-SECRET-KEY-") {
        return Err(
            "is a secret identity; only its public half, `age1...`, belongs here. Whoever read this file can open every snapshot sealed to it",
        );
    }
    let fits = text
        .strip_prefix("age1")
        .is_some_and(|rest| rest.len() >= 50 && rest.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()));
    if fits { Ok(()) } else { Err("is no recipient of age, as `age1...`") }
}

pub(crate) fn cluster_key(text: &str) -> Result<[u8; 32], String> {
    let wrong = || "must be `ed25519:` and 64 hexadecimal digits".to_owned();
    let digits = text.strip_prefix("ed25519:").filter(|digits| digits.len() == 64).ok_or_else(wrong)?;
    let mut key = [0; 32];
    for (byte, pair) in key.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16).ok_or_else(wrong)?;
        let low = char::from(pair[1]).to_digit(16).ok_or_else(wrong)?;
        *byte = (high << 4 | low) as u8;
    }
    Ok(key)
}

//! `[takeover]`: what an active node runs, what watches it, and what keeps two from being active.
//!
//! A switch that is silently ignored would be found out in the hour of need: what the arbiter decides is refused here, and said where it stands.

mod vip;

use std::path::PathBuf;
use std::time::Duration;

use crate::domains::{self, Domain};
use crate::located::Section;
pub use vip::{Route, Vip};

const FINAL_EXPORT: Duration = Duration::from_secs(300);
const PAUSE_MOST: Duration = Duration::from_secs(60);
const ACTIVATION: Duration = Duration::from_secs(600);
const FAILBACK_AFTER: Duration = Duration::from_secs(60);
const CHECK_EVERY: Duration = Duration::from_secs(5);
const CHECK_WITHIN: Duration = Duration::from_secs(3);

/// `[takeover]` as written; without it there is no lease, no fencing, and takeover is done by hand.
#[derive(Debug, Clone, PartialEq)]
pub struct Takeover {
    pub automatic: bool,
    /// Units of systemd.
    pub services: Vec<String>,
    /// Services that programs start and stop.
    pub commands: Vec<Commands>,
    /// Ports that are closed to other hosts unless this node is active.
    pub ports: Vec<u16>,
    pub checks: Vec<Check>,
    pub hooks: Vec<Hook>,
    /// Addresses that clients know the service by.
    pub vips: Vec<Vip>,
    /// Domains whose names point to the active node.
    pub domains: Vec<Domain>,
    /// Exits 0 when what was imported may be taken over with.
    pub valid: Option<Vec<String>>,
    pub final_export: Duration,
    pub max_pause: Duration,
    /// By itself this node takes over only when the last drill of each dataset was good, and no longer ago.
    pub drill_within: Option<Duration>,
    /// How long an activation may take that no arbiter granted.
    pub activation: Duration,
    /// The role comes home by itself to a node that lost it unwillingly, when this node was ready for so long.
    pub failback: Option<Duration>,
}

/// One service by its programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commands {
    pub name: String,
    pub start: Vec<String>,
    pub stop: Vec<String>,
    pub status: Vec<String>,
}

/// How it is known that the application works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    pub name: String,
    pub probe: Probe,
    pub every: Duration,
    pub within: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// A program that exits 0.
    Command(Vec<String>),
    /// HOST:PORT and path, answered with a status below 400.
    Http { at: String, path: String },
    /// HOST:PORT that takes a connection.
    Tcp(String),
    /// A question to the data of a source, answered by rows that begin with something true.
    Sql { question: String, source: String, database: Option<String> },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    pub name: String,
    pub program: Vec<String>,
    /// Whether it knows `check`.
    pub checks: bool,
}

pub(crate) fn read(mut section: Section<'_>) -> Takeover {
    let automatic = section.boolean("automatic").unwrap_or(false);
    let services = section.strings("services").unwrap_or_default();
    let commands = section.sections("service").unwrap_or_default().into_iter().filter_map(commands).collect();
    let checks = section.sections("check").unwrap_or_default().into_iter().filter_map(check).collect();
    let hooks = section.sections("hook").unwrap_or_default().into_iter().filter_map(hook).collect();
    let domains = pointed(&mut section);
    let ports = ports(&mut section);
    let valid = section.program("valid");
    section.refuse(
        "max_loss",
        "the arbiter decides how old the data of a node may be that takes over: `max_age` in [cluster.NAME] of pull-backup.toml",
    );
    section.refuse("two_hosts", "the arbiter decides what a cluster of two may do: `two_hosts` in [cluster.NAME] of pull-backup.toml");
    let drill_within = section.duration("drill_within");
    let mut duration = |key, default| section.duration(key).unwrap_or(default);
    let (final_export, max_pause) = (duration("final_export", FINAL_EXPORT), duration("max_pause", PAUSE_MOST));
    let activation = duration("activation", ACTIVATION);
    let vips = vip::read_all(&mut section);
    let failback = failback(&mut section);
    section.finish(&["max_loss", "two_hosts"]);
    Takeover {
        automatic,
        services,
        commands,
        ports,
        checks,
        hooks,
        vips,
        domains,
        valid,
        drill_within,
        final_export,
        max_pause,
        activation,
        failback,
    }
}

/// After how long the role is asked for, where it comes home by itself.
fn failback(section: &mut Section<'_>) -> Option<Duration> {
    let how = section.parsed("failback", |text| one_of(text, &["switchover", "automatic"]));
    let after = section.duration("failback_after");
    let automatic = how.as_deref() == Some("automatic");
    if after.is_some() && !automatic {
        section.wrong("failback_after", "is for failback = \"automatic\"");
    }
    automatic.then(|| after.unwrap_or(FAILBACK_AFTER))
}

fn pointed(section: &mut Section<'_>) -> Vec<Domain> {
    let found = section.sections("dns").unwrap_or_default().into_iter().filter_map(domains::read);
    let mut list: Vec<Domain> = Vec::new();
    for domain in found {
        if list.iter().any(|other| other.domain == domain.domain) {
            section.wrong("dns", format!("the domain {} stands here twice", domain.domain));
        }
        list.push(domain);
    }
    list
}

fn ports(section: &mut Section<'_>) -> Vec<u16> {
    let numbers = section.integers("ports", 1, 65_535).unwrap_or_default();
    numbers.into_iter().filter_map(|number| u16::try_from(number).ok()).collect()
}

fn commands(mut section: Section<'_>) -> Option<Commands> {
    for (key, example) in
        [("name", "\"shop\""), ("start", "[\"/usr/local/bin/shop\", \"start\"]"), ("stop", "a program"), ("status", "a program")]
    {
        section.require(key, example);
    }
    let name = section.parsed("name", plain_name);
    let (start, stop, status) = (section.program("start"), section.program("stop"), section.program("status"));
    section.finish(&[]);
    Some(Commands { name: name?, start: start?, stop: stop?, status: status? })
}

fn hook(mut section: Section<'_>) -> Option<Hook> {
    section.require("name", "\"announce\"");
    section.require("program", "[\"/usr/local/bin/announce\"]");
    let (name, program) = (section.parsed("name", plain_name), section.program("program"));
    let checks = section.boolean("checks").unwrap_or(false);
    section.finish(&[]);
    Some(Hook { name: name?, program: program?, checks })
}

fn check(mut section: Section<'_>) -> Option<Check> {
    let command = section.program("command").map(Probe::Command);
    let http = section.parsed("http", http);
    let tcp = section.parsed("tcp", at).map(Probe::Tcp);
    let (question, source, database) = (section.string("sql"), section.string("source"), section.string("database"));
    let sql = question.zip(source).map(|(question, source)| Probe::Sql { question, source, database });
    if section.has("sql") && !section.has("source") {
        section.require("source", "\"orders\", the name of a source of a dataset");
    }
    let every = section.duration("every").unwrap_or(CHECK_EVERY);
    let within = section.duration("within").unwrap_or(CHECK_WITHIN);
    let mut probes: Vec<Probe> = [command, http, tcp, sql].into_iter().flatten().collect();
    let written = ["command", "http", "tcp", "sql"].iter().filter(|key| section.has(key)).count();
    if written != 1 {
        section.wrong_here("needs exactly one of `command`, `http`, `tcp` and `sql`");
    }
    let named = section.parsed("name", plain_name);
    section.finish(&[]);
    let probe = probes.pop().filter(|_| written == 1)?;
    let name = named.unwrap_or_else(|| match &probe {
        Probe::Command(words) => words[0].rsplit('/').next().unwrap_or_default().to_owned(),
        Probe::Http { at, path } => format!("http://{at}{path}"),
        Probe::Tcp(at) => at.clone(),
        Probe::Sql { source, .. } => format!("sql of {source}"),
    });
    Some(Check { name, probe, every, within })
}

fn plain_name(text: &str) -> Result<String, String> {
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if plain && !text.is_empty() && text.len() <= 64 {
        return Ok(text.to_owned());
    }
    Err(format!("must be of letters, digits, - and _, not \"{text}\""))
}

fn at(text: &str) -> Result<String, String> {
    let port = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    match port {
        Some((host, port)) if !host.is_empty() && port > 0 => Ok(text.to_owned()),
        _ => Err(format!("must be HOST:PORT, as 127.0.0.1:80, not \"{text}\"")),
    }
}

fn http(text: &str) -> Result<Probe, String> {
    let Some(rest) = text.strip_prefix("http://") else {
        return Err("must begin with http://; what asks by other ways is a `command`".into());
    };
    let (host, path) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
    let host = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    Ok(Probe::Http { at: at(&host)?, path: path.to_owned() })
}

/// The default place of what a reboot forgets.
pub(crate) fn run_folder() -> PathBuf {
    PathBuf::from("/run/resilient")
}

pub(crate) fn one_of(text: &str, choices: &[&str]) -> Result<String, String> {
    if choices.contains(&text) {
        return Ok(text.to_owned());
    }
    let list: Vec<String> = choices.iter().map(|choice| format!("\"{choice}\"")).collect();
    Err(format!("must be {}, not \"{text}\"", list.join(" or ")))
}

#[cfg(test)]
mod tests {
    use crate::node_file::{NodeFile, Probe};
    use std::path::Path;

    fn read(check: &str) -> Result<NodeFile, String> {
        let text = format!(
            "cluster = \"shop\"\n[node]\nname = \"web1\"\n[[dataset]]\nname = \"shop\"\nseal = false\n[[dataset.source]]\nrecipe = \"sqlite\"\npath = \"/srv/shop.db\"\n[takeover]\n[[takeover.check]]\n{check}\n"
        );
        NodeFile::parse(&text, Path::new("node.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn a_check_asks_in_one_way() {
        let file = read("sql = \"select 1\"\nsource = \"sqlite\"").unwrap();
        let check = &file.takeover.unwrap().checks[0];
        let asked = Probe::Sql { question: "select 1".into(), source: "sqlite".into(), database: None };
        assert_eq!((check.name.as_str(), &check.probe), ("sql of sqlite", &asked));
        assert!(read("sql = \"select 1\"").unwrap_err().contains("source"));
        assert!(
            read("sql = \"select 1\"\nsource = \"sqlite\"\ntcp = \"127.0.0.1:80\"")
                .unwrap_err()
                .contains("exactly one of")
        );
    }
}

//! `[[takeover.dns]]`: a domain whose names point to the active node.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::located::Section;
use crate::takeover::one_of;

const DNS_PORT: u16 = 53;
const SHORT: Duration = Duration::from_secs(300);
const LONG: Duration = Duration::from_secs(14_400);
const EVERY: Duration = Duration::from_secs(30);
const OBJECTIVE: Duration = Duration::from_secs(900);
const MEANS: [&str; 4] = ["zone-file", "update", "dyndns2", "hook"];

/// One domain as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Domain {
    pub domain: String,
    /// The zone in which it stands: itself, unless something else is said.
    pub zone: String,
    pub means: Pointing,
    /// Whether a takeover points it by itself, where takeovers happen by themselves.
    pub automatic: bool,
    /// The node whose addresses ClonePanel calls WEB_MASTER.
    pub home: String,
    /// Public addresses, by node.
    pub nodes: Vec<(String, Vec<IpAddr>)>,
    /// The folder of PREPARE.ov, FAILOVER.ov, RESTORE.ov and others.
    pub actions: Option<PathBuf>,
    /// What moves where there are no action files.
    pub names: Vec<String>,
    pub ttl_short: Duration,
    pub ttl_long: Duration,
    /// How late a failover may be seen.
    pub objective: Duration,
    /// The authoritative servers; else those that the zone names.
    pub servers: Vec<SocketAddr>,
    /// How often they are asked where it points.
    pub every: Duration,
}

/// How a domain is pointed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pointing {
    ZoneFile {
        file: PathBuf,
        /// `rndc`, with what it needs.
        rndc: Option<Vec<String>>,
    },
    Update {
        server: SocketAddr,
        key_file: PathBuf,
    },
    Dyndns2 {
        url: String,
        user: String,
        password_file: PathBuf,
    },
    Hook {
        program: Vec<String>,
    },
}

pub(crate) fn read(mut section: Section<'_>) -> Option<Domain> {
    for (key, example) in [("domain", "\"example.org\""), ("means", "\"update\""), ("home", "\"web1\""), ("node", "[[takeover.dns.node]]")]
    {
        section.require(key, example);
    }
    let domain = section.parsed("domain", name);
    let zone = section.parsed("zone", name);
    let home = section.string("home");
    let means = section.parsed("means", |text| one_of(text, &MEANS));
    let pointing = means.as_deref().and_then(|means| pointing(means, &mut section));
    let automatic = section.boolean("automatic").unwrap_or(false);
    let nodes: Vec<_> = section.sections("node").unwrap_or_default().into_iter().filter_map(node).collect();
    if let Some(home) = home.as_ref().filter(|home| !nodes.is_empty() && !nodes.iter().any(|(name, _)| name == *home)) {
        section.wrong("home", format!("\"{home}\" is none of the nodes whose addresses stand here"));
    }
    let (actions, listed) = (section.path("actions"), section.strings("names"));
    if actions.is_some() && listed.is_some() {
        section.wrong("names", "stands beside `actions`; only one of them can hold");
    }
    let mut duration = |key, default| section.parsed(key, lifetime).unwrap_or(default);
    let (ttl_short, ttl_long) = (duration("ttl_short", SHORT), duration("ttl_long", LONG));
    if ttl_short > ttl_long {
        section.wrong("ttl_short", "is longer than `ttl_long`");
    }
    let objective = section.duration("objective").unwrap_or(OBJECTIVE);
    let every = section.parsed("every", often).unwrap_or(EVERY);
    let servers = section.strings("servers").unwrap_or_default();
    let servers = servers
        .iter()
        .filter_map(|text| server(text).map_err(|what| section.wrong("servers", what)).ok())
        .collect();
    // Which keys a means has is not known when none is.
    if means.is_some() {
        section.finish(&[]);
    }
    let domain = domain?;
    Some(Domain {
        zone: zone.unwrap_or_else(|| domain.clone()),
        domain,
        means: pointing?,
        automatic,
        home: home?,
        nodes,
        actions,
        names: listed.unwrap_or_else(|| vec!["@".into(), "www".into()]),
        ttl_short,
        ttl_long,
        objective,
        servers,
        every,
    })
}

fn pointing(means: &str, section: &mut Section<'_>) -> Option<Pointing> {
    let keys: &[(&str, &str)] = match means {
        "zone-file" => &[("file", "\"/etc/bind/db.example.org\"")],
        "update" => &[("server", "\"192.0.2.53\""), ("key_file", "\"/etc/resilient/dns.key\"")],
        "dyndns2" => &[("url", "\"https://HOST/nic/update\""), ("user", "\"NAME\""), ("password_file", "\"/etc/resilient/dns.password\"")],
        _ => &[("program", "[\"/usr/local/bin/point\"]")],
    };
    for (key, example) in keys {
        section.require(key, example);
    }
    match means {
        "zone-file" => {
            let (file, rndc) = (section.path("file"), section.program("rndc"));
            Some(Pointing::ZoneFile { file: file?, rndc })
        }
        "update" => {
            let (server, key_file) = (section.parsed("server", server), section.path("key_file"));
            Some(Pointing::Update { server: server?, key_file: key_file? })
        }
        "dyndns2" => {
            let (url, user, password_file) = (section.string("url"), section.string("user"), section.path("password_file"));
            Some(Pointing::Dyndns2 { url: url?, user: user?, password_file: password_file? })
        }
        _ => Some(Pointing::Hook { program: section.program("program")? }),
    }
}

fn node(mut section: Section<'_>) -> Option<(String, Vec<IpAddr>)> {
    section.require("name", "\"web1\"");
    section.require("addresses", "[\"203.0.113.1\", \"2001:db8::1\"]");
    let (name, list) = (section.string("name"), section.strings("addresses").unwrap_or_default());
    let address = |text: &String| text.parse().map_err(|_| section.wrong("addresses", format!("\"{text}\" is no address"))).ok();
    let addresses: Vec<IpAddr> = list.iter().filter_map(address).collect();
    if addresses.is_empty() && section.has("addresses") && list.is_empty() {
        section.wrong("addresses", "must have one at least");
    }
    section.finish(&[]);
    Some((name?, addresses))
}

fn name(text: &str) -> Result<String, String> {
    let text = text.trim_end_matches('.').to_ascii_lowercase();
    let label = |label: &str| {
        let plain = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        plain && !label.is_empty() && label.len() <= 63
    };
    match text.split('.').all(label) && text.contains('.') {
        true => Ok(text),
        false => Err(format!("\"{text}\" is no domain; write it as \"example.org\", and other letters as xn--…")),
    }
}

fn server(text: &str) -> Result<SocketAddr, String> {
    let alone = || text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, DNS_PORT));
    text.parse()
        .or_else(|_| alone())
        .map_err(|_| format!("\"{text}\" is no address of a server; write it as \"192.0.2.53\" or \"192.0.2.53:5353\""))
}

fn often(text: &str) -> Result<Duration, String> {
    let found = crate::quantity::duration(text)?;
    match found {
        found if found < Duration::from_secs(1) => Err("is shorter than a second".into()),
        found if found > Duration::from_secs(3600) => Err("is longer than an hour".into()),
        found => Ok(found),
    }
}

fn lifetime(text: &str) -> Result<Duration, String> {
    let found = crate::quantity::duration(text)?;
    if found > Duration::from_secs(604_800) { Err("is longer than a week".into()) } else { Ok(found) }
}

//! Where the addresses and names of a cluster are, as this host sees them from outside: what the segment and the name servers answered when they were asked last.
//!
//! A daemon looks and keeps it on disk (`Kept`); this judges it by the node's own part. What a daemon meant to bring about counts for nothing here, and what was never looked
//! at, long ago, or in vain is never ok.

use crate::place::{ago, moment};
use link::state_file;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use watch::Word;

mod judged;
mod metrics;
mod table;

pub use metrics::text as metrics;
pub use table::text;

/// Of one file in a state folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Kept {
    pub address: Vec<Looked>,
    pub domain: Vec<Asked>,
}

/// What one look for an address gave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Looked {
    pub address: String,
    pub at_ms: u64,
    /// The link address of the interface here.
    pub own: Option<String>,
    /// The kernel here has it.
    pub here: bool,
    /// It has it on another interface than the one that is meant.
    pub astray: bool,
    /// How long it keeps it; none where that has no end.
    pub left_seconds: Option<u64>,
    /// Link addresses of the other hosts that answered.
    pub others: Vec<String>,
    /// Why nobody could be asked.
    pub unseen: Option<String>,
    /// What other members saw since it is here.
    pub by: Vec<SeenBy>,
}

/// What another member sees of an address that is here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SeenBy {
    pub node: String,
    pub at_ms: u64,
    /// Link addresses of those that have it, by its word.
    pub holders: Vec<String>,
}

/// What the servers of a domain answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Asked {
    pub domain: String,
    pub at_ms: u64,
    pub server: Vec<Server>,
    /// Why none could be asked.
    pub unseen: Option<String>,
}

/// One authoritative server at one of its addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    pub name: String,
    pub at: String,
    pub says: Says,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Says {
    /// To this node.
    To(String),
    /// To none of the nodes.
    Elsewhere(String),
    /// Nothing that counts.
    Silent(String),
}

impl Default for Says {
    fn default() -> Says {
        Says::Silent("it was not asked".into())
    }
}

/// What this node has to do with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Active,
    /// It takes the role, or gives it up.
    Turns,
    Rests,
}

/// Where an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    Here,
    Elsewhere,
    Nobody,
    /// Several hosts say that they have it.
    Conflict,
    Unknown,
}

/// Where a domain points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pointing {
    Here,
    /// To another node, by every server.
    Node,
    /// To none of the nodes, by every server.
    Elsewhere,
    /// Not all servers say the same, or some say nothing.
    Differ,
    Unknown,
}

/// An address, judged. Fields may be added, never changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Address {
    pub address: String,
    pub interface: String,
    pub state: State,
    /// Link addresses of those that have it.
    pub holders: Vec<String>,
    /// How long the kernel here keeps it.
    pub left_seconds: Option<u64>,
    pub seen_by: Vec<SeenBy>,
    /// When it was looked.
    pub looked: Option<String>,
    pub age_seconds: Option<u64>,
    pub word: Word,
    pub why: String,
}

/// A domain, judged. Fields may be added, never changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Domain {
    pub domain: String,
    pub state: Pointing,
    /// The node to which all servers point.
    pub node: Option<String>,
    /// How many servers point where they should: here on the active node; where most point on others.
    pub well: usize,
    pub servers: Vec<Server>,
    pub looked: Option<String>,
    pub age_seconds: Option<u64>,
    pub word: Word,
    pub why: String,
}

/// What a node file says of a domain, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meant<'a> {
    pub domain: &'a str,
    /// This node.
    pub node: &'a str,
    pub is_home: bool,
    /// A takeover points it by itself.
    pub automatic: bool,
    /// How often it is asked.
    pub every_ms: u64,
}

/// An address is looked for each few seconds.
const OLD_MS: u64 = 20_000;

impl Kept {
    pub fn path(state: &Path) -> PathBuf {
        state.join("outside.toml")
    }

    pub fn open(state: &Path) -> link::Result<Kept> {
        Ok(state_file::read(&Kept::path(state))?.unwrap_or_default())
    }

    /// An address of the node file, as it was seen last.
    pub fn address(&self, address: &str, interface: &str, part: Part, now_ms: u64) -> Address {
        let looked = self.address.iter().find(|looked| looked.address == address);
        let (word, why) = match looked {
            None => (Word::Never, "it was never looked where it is: see that `importer serve` runs here".into()),
            Some(looked) if looked.is_old(now_ms) => (Word::Late, old(looked.at_ms, now_ms)),
            Some(looked) => looked.judged(part, now_ms),
        };
        let fresh = looked.filter(|looked| !looked.is_old(now_ms));
        Address {
            address: address.into(),
            interface: interface.into(),
            state: fresh.map_or(State::Unknown, Looked::state),
            holders: fresh.map(Looked::holders).unwrap_or_default(),
            left_seconds: fresh.and_then(|looked| looked.left_at(now_ms)),
            seen_by: fresh.map(|looked| looked.by.clone()).unwrap_or_default(),
            looked: looked.map(|looked| moment(looked.at_ms)),
            age_seconds: looked.map(|looked| now_ms.abs_diff(looked.at_ms) / 1000),
            word,
            why,
        }
    }

    /// A domain of the node file, as its servers answered last.
    pub fn domain(&self, meant: &Meant<'_>, part: Part, now_ms: u64) -> Domain {
        let asked = self.domain.iter().find(|asked| asked.domain == meant.domain);
        let is_old = |asked: &Asked| now_ms.abs_diff(asked.at_ms) > meant.every_ms.saturating_mul(3).saturating_add(OLD_MS);
        let (word, why) = match asked {
            None => (Word::Never, "its servers were never asked: see that `importer serve` runs here".into()),
            Some(asked) if is_old(asked) => (Word::Late, old(asked.at_ms, now_ms)),
            Some(asked) => asked.judged(meant, part),
        };
        let fresh = asked.filter(|asked| !is_old(asked));
        Domain {
            domain: meant.domain.into(),
            state: fresh.map_or(Pointing::Unknown, |asked| asked.state(meant.node)),
            node: fresh.and_then(Asked::node).map(str::to_owned),
            well: fresh.map_or(0, |asked| asked.well(meant.node, part)),
            servers: fresh.map(|asked| asked.server.clone()).unwrap_or_default(),
            looked: asked.map(|asked| moment(asked.at_ms)),
            age_seconds: asked.map(|asked| now_ms.abs_diff(asked.at_ms) / 1000),
            word,
            why,
        }
    }
}

fn old(at_ms: u64, now_ms: u64) -> String {
    // A clock that was set back makes it old, too.
    format!("it was looked last {} ago, which tells nothing of now: see that `importer serve` runs here", ago(at_ms.min(now_ms), now_ms))
}

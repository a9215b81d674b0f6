//! What hosts say to each other, as JSON. Unknown fields are passed over, so that a newer host can talk to an older one.

use crate::reigns::Reigns;
use archive::id::{RunId, SnapshotId};
use archive::name::Position;
use archive::repository::Known;
use archive::sync::Listing;
use serde::{Deserialize, Deserializer, Serialize};
use watch::Rule;

/// Which datasets a host offers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heads {
    pub datasets: Vec<Head>,
}

/// What is newest in a dataset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    pub cluster: String,
    pub dataset: String,
    /// Differs whenever the repository has something that it had not.
    pub change: String,
    /// The name of the newest snapshot.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub snapshot: Option<String>,
    /// With which keys the cluster's nodes sign, now and before; told to pull-backups that follow.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub signers: Vec<String>,
    /// When it is exported, so that whoever keeps it can tell when it is late. Nothing where nobody said so.
    #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "rule")]
    pub rule: Option<Rule>,
    /// Whose epoch it is in the cluster; told to pull-backups that follow.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reigns: Option<Reigns>,
}

/// A rule that this version does not know is none: the data is good all the same.
fn rule<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Rule>, D::Error> {
    Ok(serde_json::from_value(serde_json::Value::deserialize(from)?).ok())
}

/// What a repository has, by name.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Names {
    pub snapshots: Vec<String>,
    pub runs: Vec<String>,
    pub records: Vec<String>,
}

impl Names {
    pub fn of(listing: Listing) -> Names {
        Names {
            snapshots: listing.snapshots.into_iter().map(|known| known.name).collect(),
            runs: listing.runs.iter().map(ToString::to_string).collect(),
            records: listing.records,
        }
    }

    /// As a sync takes it; names that name nothing are left out, as in a folder.
    pub fn listing(self) -> Listing {
        let snapshot = |name: String| {
            let (at, id) = archive::name::parse_snapshot(&name)?;
            (name == archive::name::snapshot(at, id)).then_some(Known { at, id, name })
        };
        let mut snapshots: Vec<Known> = self.snapshots.into_iter().filter_map(snapshot).collect();
        snapshots.sort();
        Listing {
            snapshots,
            runs: self.runs.iter().filter_map(|text| RunId::parse(text)).collect(),
            records: self.records,
        }
    }
}

/// Asks for segments of a run: from, up to and without.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WantSegments {
    pub run: String,
    pub ranges: Vec<(u32, u32)>,
}

impl WantSegments {
    pub fn new(run: RunId, sequences: &[u32]) -> WantSegments {
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for &sequence in sequences {
            match ranges.last_mut() {
                Some((_, end)) if *end == sequence && sequence < u32::MAX => *end += 1,
                _ => ranges.push((sequence, sequence.saturating_add(1))),
            }
        }
        WantSegments { run: run.to_string(), ranges }
    }
}

/// Asks for a run's record.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WantRun {
    pub run: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub record: Option<String>,
}

/// Asks for small records.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WantRecords {
    pub names: Vec<String>,
}

/// There is something new. A hint: whoever hears it looks for itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    pub cluster: String,
    pub dataset: String,
}

/// What a receiver has of a dataset, durable and verified, and what it needs and lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub cluster: String,
    pub dataset: String,
    /// The newest snapshot that it holds whole.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub held: Option<String>,
    /// When that was last known to be current: captured, or confirmed by a heartbeat that is held as well.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub captured_ms: Option<u64>,
    /// Runs, each with ranges of segments, that its snapshots need and it lacks.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub lacking: Vec<WantedRun>,
    /// The newest snapshot that was imported there.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub imported: Option<String>,
    /// The evidence of that: the signed record, in hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub evidence: Option<String>,
    /// Snapshots that it keeps aside from the history.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub quarantined: Vec<String>,
    /// The heads at which reigns ended, as far as they are those of this dataset.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub sealed: Vec<String>,
    /// Why it is not further, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub trouble: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WantedRun {
    pub run: String,
    pub ranges: Vec<(u32, u32)>,
}

/// Asks to be taken in. The key on the wire is the one that the connection proved.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Join {
    pub token: String,
    /// The node's cluster, which must be the one that it is invited to.
    #[serde(default)]
    pub cluster: String,
    /// The node's name, which must be the invited one; of a pull-backup that follows, its own.
    pub name: String,
    /// What it signs with: `ed25519:…`.
    pub signing: String,
    /// Where its daemons listen; none where it dials out.
    #[serde(default)]
    pub ports: Ports,
    /// Addresses at which it can be reached; where it called from when there are none.
    #[serde(default)]
    pub hosts: Vec<String>,
}

/// Where the daemons of a node listen, and where each tells without keys that it lives.
pub const EXPORTER_PORT: u16 = 8023;
pub const IMPORTER_PORT: u16 = 8024;
pub const IMPORTER_HEALTH: u16 = 8026;
pub const EXPORTER_HEALTH: u16 = 8027;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub exporter: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub importer: Option<u16>,
    /// Of a pull-backup that follows.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pull_backup: Option<u16>,
}

impl Ports {
    /// A node's: none where nobody can reach it.
    pub fn of_node(dials_out: bool) -> Ports {
        let port = |port| (!dials_out).then_some(port);
        Ports { exporter: port(EXPORTER_PORT), importer: port(IMPORTER_PORT), pull_backup: None }
    }
}

/// Says that it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    pub cluster: String,
    pub name: String,
    /// Whether it is to work (epoch 1) or to stand by; nothing is said where roles are not given.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub active: Option<bool>,
    /// Which epoch it is; the first when nothing is said.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub epoch: Option<u64>,
    /// With which key the pull-backup signs receipts: `ed25519:…`.
    pub receipt: String,
}

impl Joined {
    /// What a person is told, and what comes next.
    pub fn words(&self, signing: archive::sign::PublicKey, uncertified: bool) -> Vec<String> {
        let role = match self.active {
            Some(true) => "as the active node",
            Some(false) => "to stand by",
            None => "without a role: it exports, and nothing is imported on it",
        };
        let mut lines = vec![format!("{} joined cluster {} {role}", self.name, self.cluster), format!("this node signs with {signing}")];
        if uncertified {
            lines.push(format!("next, where the cluster key is: exporter certify {signing} --node {}", self.name));
            lines.push("then, here: exporter certificate 'LINE', with the line that it prints".into());
        }
        lines.push(format!("next, here: {}", if self.active == Some(false) { "importer serve" } else { "exporter serve" }));
        lines
    }
}

/// Why something was refused.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Told {
    pub error: String,
}

/// The position and id in a snapshot's name.
pub fn snapshot_of(name: &str) -> Option<(Position, SnapshotId)> {
    archive::name::parse_snapshot(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_are_asked_for_in_ranges() {
        let run = RunId::parse(&"0f".repeat(16)).unwrap();
        assert_eq!(WantSegments::new(run, &[0, 1, 2, 7, 9, 10]).ranges, [(0, 3), (7, 8), (9, 11)]);
        assert_eq!(WantSegments::new(run, &[]).ranges, []);
    }

    #[test]
    fn a_head_of_an_older_or_newer_host_is_read() {
        let rule = |text: &str| {
            let text = format!(r#"{{"cluster":"shop","dataset":"files","change":"0a"{text}}}"#);
            serde_json::from_str::<Head>(&text).unwrap().rule
        };
        assert_eq!(rule(""), None);
        assert_eq!(rule(r#","rule":{"by_moon":{"phase":"full"}}"#), None);
        assert_eq!(rule(r#","rule":{"every":{"seconds":5}}"#), Some(Rule::Every { seconds: 5 }));
    }

    #[test]
    fn names_of_nothing_are_left_out() {
        let names = Names {
            snapshots: vec!["../../etc/passwd".into(), "snapshots/x".into()],
            runs: vec!["x".into()],
            records: vec![],
        };
        let listing = names.listing();
        assert!(listing.snapshots.is_empty() && listing.runs.is_empty());
    }
}

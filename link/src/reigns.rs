//! The reigns of a cluster as one document: whose epoch it is, where the ones before it ended, and who says that an epoch is his without having been given it.
//!
//! The arbiter keeps it, and pull-backups that follow are told it. What follows from it for a snapshot is not decided here.

use archive::id::SnapshotId;
use archive::name::Position;
use archive::repository::Known;
use archive::sign::PublicKey;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where a dataset stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct At {
    pub epoch: u64,
    pub sequence: u64,
    pub snapshot: String,
}

/// By dataset.
pub type Tops = BTreeMap<String, At>;

impl At {
    pub fn of(known: &Known) -> At {
        At { epoch: known.at.epoch, sequence: known.at.sequence, snapshot: known.id.to_string() }
    }

    pub fn position(&self) -> Position {
        Position { epoch: self.epoch, sequence: self.sequence }
    }

    pub fn is(&self, id: SnapshotId) -> bool {
        self.snapshot == id.to_string()
    }

    /// The name of that snapshot; none when what was told is no id.
    pub fn name(&self) -> Option<String> {
        Some(archive::name::snapshot(self.position(), SnapshotId::parse(&self.snapshot)?))
    }
}

/// The node of a reign.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    pub node: String,
    /// With which key it signs: `ed25519:…`.
    pub key: String,
    /// With which it signed before, in the same reign: it was installed anew.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub former: Vec<String>,
}

impl Holder {
    pub fn new(node: &str, key: PublicKey) -> Holder {
        Holder { node: node.into(), key: key.to_string(), former: vec![] }
    }

    pub fn signs(&self, key: &PublicKey) -> bool {
        self.key == key.to_string()
    }

    pub fn signed(&self, key: &PublicKey) -> bool {
        self.signs(key) || self.former.contains(&key.to_string())
    }
}

/// A reign that ended, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    pub epoch: u64,
    pub sealed_ms: u64,
    pub holder: Holder,
    /// Of each dataset the last that counts. Its epoch is an older one where this reign published nothing.
    #[serde(default)]
    pub heads: Tops,
}

/// A node that signs for an epoch which nobody gave it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    pub epoch: u64,
    pub since_ms: u64,
    /// A person said that it counts nothing.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub dismissed: bool,
    pub holder: Holder,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reigns {
    /// The current one.
    pub epoch: u64,
    pub since_ms: u64,
    /// Another pull-backup said so, which is followed.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub told: bool,
    pub holder: Holder,
    /// The first snapshot of the current reign, by dataset.
    #[serde(skip_serializing_if = "Tops::is_empty", default)]
    pub begun: Tops,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub sealed: Vec<Sealed>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub claims: Vec<Claim>,
}

impl Reigns {
    pub fn first(holder: Holder, now_ms: u64) -> Reigns {
        Reigns { epoch: 1, since_ms: now_ms, told: false, holder, begun: Tops::new(), sealed: vec![], claims: vec![] }
    }

    /// Claims that a person has to look at.
    pub fn open_claims(&self) -> impl Iterator<Item = &Claim> {
        self.claims.iter().filter(|claim| claim.epoch > self.epoch && !claim.dismissed)
    }

    /// Two nodes that say that one epoch is theirs, above all that was given: nobody can tell which is, but a person.
    pub fn conflict(&self) -> Option<(&Claim, &Claim)> {
        let open: Vec<&Claim> = self.open_claims().collect();
        let other = |one: &&Claim, two: &&Claim| one.epoch == two.epoch && one.holder.node != two.holder.node;
        open.iter()
            .enumerate()
            .find_map(|(n, one)| Some((*one, *open[n + 1..].iter().find(|two| other(one, two))?)))
    }

    /// Where an epoch ended, if it did.
    pub fn seal_of(&self, epoch: u64) -> Option<&Sealed> {
        self.sealed.iter().find(|sealed| sealed.epoch == epoch)
    }

    /// The head that the current reign's first snapshot of a dataset must follow.
    pub fn base(&self, dataset: &str) -> Option<&At> {
        self.sealed.last()?.heads.get(dataset)
    }
}

//! Which pull-backups this one follows, and whose signatures it believes of what they keep: `state/following.toml` and `state/signers`.
//!
//! Whom to believe: where `cluster_key` stands in `[cluster.NAME]`, only nodes that it certified; their certificates travel with the repository, so the one that is
//! followed has no say in it, and one that was stolen can give nothing new. Where it does not stand, the keys that the followed one tells, over the connection whose key
//! was pinned when joining: then its word is what counts, as it is for who its members are. Each key that is told is kept, so that it is seen when
//! one comes, and so that those who follow this one can be told. A follower's history can thus be no worse than its leader's, and with a cluster key it is better.
//!
//! Receipts of the followed one count here too: its key was pinned when joining. What it received first keeps its time in the retention here.

use crate::members::FOLLOWERS;
use archive::sign::PublicKey;
use archive::trust::Trust;
use console::pull_backup_file::PullBackupFile;
use link::error::Result;
use link::identity::{Identity, Pin};
use link::invitation::Invitation;
use link::membership::Membership;
use link::message::{Head, Join, Ports};
use link::pull::believing;
use link::state_file;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A pull-backup that this one follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leader {
    /// HOST:PORT.
    pub address: String,
    pub pin: Pin,
    /// With which key it signs receipts.
    pub receipt: String,
    /// How this one is called there.
    pub called: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Following {
    #[serde(rename = "pull-backup", default)]
    pub leaders: Vec<Leader>,
}

impl Following {
    fn path(state: &Path) -> PathBuf {
        state.join("following.toml")
    }

    pub fn open(state: &Path) -> Result<Following> {
        Ok(state_file::read(&Following::path(state))?.unwrap_or_default())
    }

    /// With which keys the followed ones sign receipts.
    pub fn receipts(&self) -> impl Iterator<Item = PublicKey> {
        self.leaders.iter().filter_map(|leader| PublicKey::parse(&leader.receipt))
    }

    /// Joins the pull-backup that gave an invitation, and keeps that.
    pub async fn join(file: &PullBackupFile, identity: &Identity, receipt: PublicKey, invitation: &Invitation) -> Result<Leader> {
        let own = Some(file.listen.ip()).filter(|address| !address.is_unspecified());
        let told = file.address.as_ref().and_then(|address| address.rsplit_once(':'));
        let host = told.map(|(host, _)| host.to_owned()).or(own.map(|address| address.to_string()));
        let port = told.and_then(|(_, port)| port.parse().ok()).unwrap_or(file.listen.port());
        let join = Join {
            token: invitation.token.reveal(),
            cluster: FOLLOWERS.into(),
            name: String::new(),
            signing: receipt.to_string(),
            ports: Ports { pull_backup: Some(port), ..Ports::default() },
            hosts: host.into_iter().collect(),
        };
        let joined = Membership::enrol(identity, invitation, &join).await?;
        let leader = Leader {
            address: invitation.address.clone(),
            pin: invitation.pin,
            receipt: joined.receipt,
            called: joined.name,
        };
        let mut following = Following::open(&file.state)?;
        following.leaders.retain(|known| known.pin != leader.pin && known.address != leader.address);
        following.leaders.push(leader.clone());
        state_file::say(&Following::path(&file.state), &following)?;
        Ok(leader)
    }
}

/// Signing keys of a cluster's nodes, as others told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Told {
    #[serde(default)]
    keys: BTreeSet<String>,
}

/// Nobody has so many nodes; more are not noted.
const TOLD_MAX: usize = 1000;

fn told_path(state: &Path, cluster: &str) -> PathBuf {
    state.join("signers").join(format!("{cluster}.toml"))
}

/// Keys of a cluster's nodes that those who are followed told.
pub fn told(state: &Path, cluster: &str) -> Result<Vec<PublicKey>> {
    let told: Told = state_file::read(&told_path(state, cluster))?.unwrap_or_default();
    Ok(told.keys.iter().filter_map(|key| PublicKey::parse(key)).collect())
}

/// Keeps the keys that were told with a dataset. Those that are new.
pub fn note(state: &Path, head: &Head) -> Result<Vec<PublicKey>> {
    let path = told_path(state, &head.cluster);
    let mut all: Told = state_file::read(&path)?.unwrap_or_default();
    let keys = head.signers.iter().filter_map(|key| PublicKey::parse(key));
    let new: Vec<PublicKey> = keys.filter(|key| !all.keys.contains(&key.to_string())).collect();
    if new.is_empty() || all.keys.len() + new.len() > TOLD_MAX {
        return Ok(vec![]);
    }
    all.keys.extend(new.iter().map(ToString::to_string));
    state_file::say(&path, &all)?;
    Ok(new)
}

/// Who is believed of what a cluster's nodes signed: `own` says whom this host believes by itself, `told` whom a followed one names.
pub fn trust(mut own: Trust, told: &[PublicKey]) -> Trust {
    if own.cluster_key.is_none() {
        own.pinned.extend(told);
    }
    believing(own)
}

/// The keys that are told with a dataset.
pub fn told_with(head: &Head) -> Vec<PublicKey> {
    head.signers.iter().filter_map(|key| PublicKey::parse(key)).collect()
}

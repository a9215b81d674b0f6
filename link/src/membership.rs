//! What a node knows of the pull-backups that it joined, and its role: `state/membership.toml` and `state/role`.
//!
//! An administrator's files are never touched. Without a role file a node exports at epoch 0, and nothing is imported on it.

use crate::client::Client;
use crate::error::{Error, Result};
use crate::identity::{Identity, Pin};
use crate::invitation::Invitation;
use crate::message::{Join, Joined};
use crate::role::Role;
use crate::state_file;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The file in a node's state folder with the key that it signs with.
pub const NODE_KEY: &str = "node.key";

/// The pull-backups that a node joined.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Membership {
    #[serde(rename = "pull-backup", default)]
    pub pull_backups: Vec<PullBackup>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PullBackup {
    pub cluster: String,
    /// HOST:PORT.
    pub address: String,
    pub pin: Pin,
    /// With which key it signs receipts.
    pub receipt: String,
}

impl Membership {
    pub fn path(state: &Path) -> PathBuf {
        state.join("membership.toml")
    }

    pub fn open(state: &Path) -> Result<Membership> {
        Ok(state_file::read(&Membership::path(state))?.unwrap_or_default())
    }

    /// What the holder of a key is to this node.
    pub fn role(&self, pin: &Pin) -> Role {
        let known = self.pull_backups.iter().find(|known| known.pin == *pin);
        known.map_or(Role::Stranger, |known| Role::PullBackup { cluster: known.cluster.clone() })
    }

    /// Asks to be taken in with an invitation. What was answered is about who asked; a name that was not said is as invited.
    pub async fn enrol(identity: &Identity, invitation: &Invitation, join: &Join) -> Result<Joined> {
        let client = Client::dial(&invitation.address, identity, invitation.pin)?;
        let (cluster, name) = (&join.cluster, &join.name);
        let joined: Joined = client.post("/v1/join", join).await?;
        if joined.name != *name && !name.is_empty() {
            let why = format!("it took in {} and not {name}", joined.name);
            return Err(Error::Nonsense { peer: client.peer, why });
        }
        if joined.cluster != *cluster {
            let why = format!("it took this node into cluster {} and not {cluster}", joined.cluster);
            return Err(Error::Nonsense { peer: client.peer, why });
        }
        Ok(joined)
    }

    /// Joins with an invitation, and keeps what came of it.
    pub async fn join(state: &Path, identity: &Identity, invitation: &Invitation, join: Join) -> Result<Joined> {
        let joined = Membership::enrol(identity, invitation, &join).await?;
        let mut membership = Membership::open(state)?;
        membership
            .pull_backups
            .retain(|known| known.pin != invitation.pin && known.address != invitation.address);
        membership.pull_backups.push(PullBackup {
            cluster: joined.cluster.clone(),
            address: invitation.address.clone(),
            pin: invitation.pin,
            receipt: joined.receipt.clone(),
        });
        if let Some(active) = joined.active
            && Reign::open(state)?.is_none()
        {
            Reign { epoch: 1, active }.keep(state)?;
        }
        state_file::say(&Membership::path(state), &membership)?;
        Ok(joined)
    }
}

/// A node's role: the number of the reign, and whether it is its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reign {
    pub epoch: u64,
    pub active: bool,
}

impl Reign {
    pub fn open(state: &Path) -> Result<Option<Reign>> {
        state_file::read(&state.join("role"))
    }

    pub fn keep(&self, state: &Path) -> Result<()> {
        state_file::say(&state.join("role"), self)
    }
}

/// What a node tells of itself when it joins.
#[derive(Clone, Debug)]
pub struct Joining<'a> {
    pub state: &'a Path,
    pub name: &'a str,
    pub cluster: &'a str,
    pub signing: archive::sign::PublicKey,
    /// Where it listens, when not everywhere.
    pub listen: Option<std::net::IpAddr>,
    pub ports: crate::message::Ports,
}

impl Joining<'_> {
    /// Joins with the line of an invitation. It blocks.
    pub fn with(&self, line: &str) -> Result<Joined> {
        let invitation = Invitation::parse(line)?;
        let identity = Identity::open_or_make(self.state)?;
        let join = Join {
            token: invitation.token.reveal(),
            cluster: self.cluster.into(),
            name: self.name.into(),
            signing: self.signing.to_string(),
            ports: self.ports,
            hosts: self.listen.filter(|address| !address.is_unspecified()).iter().map(ToString::to_string).collect(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(Error::file("start a runtime for", self.state))?;
        runtime.block_on(Membership::join(self.state, &identity, &invitation, join))
    }
}

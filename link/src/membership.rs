//! What a node knows of the pull-backups that it joined, and its role: `state/membership.toml` and `state/role`.
//!
//! An administrator's files are never touched. Without a role file a node exports at epoch 0, and nothing is imported on it.

use crate::boot;
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
        let before = Reign::open(state)?;
        // A role that was given stays, unless this is a later reign.
        if let Some(active) = joined.active
            && before.is_none_or(|before| joined.epoch.is_some_and(|epoch| epoch > before.epoch))
        {
            Reign::given(joined.epoch.unwrap_or(1), active).keep(state)?;
        }
        state_file::say(&Membership::path(state), &membership)?;
        Ok(joined)
    }
}

/// A node's role: the number of the reign, and whether it is its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reign {
    pub epoch: u64,
    pub active: bool,
    /// Where the role is granted and not given: what it was granted until. Without it, it is for good.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub lease: Option<election::Role>,
}

impl Reign {
    /// One that was given for good.
    pub fn given(epoch: u64, active: bool) -> Reign {
        Reign { epoch, active, lease: None }
    }

    /// One that was granted, as the protocol has it: what is exported, or may be, is the active's.
    pub fn leased(role: election::Role) -> Reign {
        use election::message::Standing::{Active, Failsafe, SteppingDown};
        let active = matches!(role.standing, Active | Failsafe | SteppingDown);
        Reign { epoch: role.epoch.0, active, lease: Some(role) }
    }

    /// As it is now: a lease that is over, or of another boot, makes nobody active.
    pub fn open(state: &Path) -> Result<Option<Reign>> {
        let Some(mut reign) = Reign::written(state)? else { return Ok(None) };
        if let Some(role) = reign.lease.as_ref().filter(|_| reign.active) {
            reign.active = role.boot == boot::id()? && boot::now() < role.lease_until;
        }
        Ok(Some(reign))
    }

    /// As it was written, whenever that was.
    pub fn written(state: &Path) -> Result<Option<Reign>> {
        state_file::read(&state.join("role"))
    }

    /// Whether this node stands by: what is on it is a copy, and newer data may be put in its place.
    pub fn stands_by(&self) -> bool {
        use election::message::Standing::{Passive, Ready, Syncing};
        match &self.lease {
            None => !self.active,
            Some(role) => matches!(role.standing, Passive | Ready | Syncing),
        }
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

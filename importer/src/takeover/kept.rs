//! What a node keeps of its part in takeover: the member's record, the role, and that it wrote data of its own.
//!
//! `member.toml` is durable before anything rests on it. `role` is written with each renewal and need not outlive a power cut: after one no lease counts. `reigned.toml` is there
//! from before this node's services first run in a reign until all that they wrote is captured; while it is there nothing is imported, because what an import would write over may be nowhere else.

use election::{MemberRecord, Role};
use link::error::{Error, Result};
use link::membership::Reign;
use link::state_file;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub fn member(state: &Path) -> Result<MemberRecord> {
    Ok(state_file::read(&state.join("member.toml"))?.unwrap_or_default())
}

pub fn keep_member(state: &Path, record: &MemberRecord) -> Result<()> {
    state_file::say(&state.join("member.toml"), record)
}

/// The role as it was last written, where it was granted.
pub fn role(state: &Path) -> Result<Option<Role>> {
    Ok(Reign::written(state)?.and_then(|reign| reign.lease))
}

/// Writes the role. One that a person gave for good, to a node that works, is not taken away by a node that merely started: only a reign of its own takes its place.
pub fn keep_role(state: &Path, role: &Role, reigns: bool) -> Result<()> {
    let given = |reign: &Reign| reign.active && reign.lease.is_none();
    if !reigns && Reign::written(state)?.as_ref().is_some_and(given) {
        return Ok(());
    }
    state_file::say_lightly(&state.join("role"), &Reign::leased(role.clone()))
}

/// This node is, or was, active, and what it wrote is not known to be captured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reigned {
    pub epoch: u64,
}

impl Reigned {
    fn path(state: &Path) -> PathBuf {
        state.join("reigned.toml")
    }

    pub fn open(state: &Path) -> Result<Option<Reigned>> {
        state_file::read(&Reigned::path(state))
    }

    pub fn keep(&self, state: &Path) -> Result<()> {
        state_file::say(&Reigned::path(state), self)
    }

    /// Everything is captured.
    pub fn forget(state: &Path) -> Result<()> {
        remove(Reigned::path(state))
    }
}

/// What was the data here when this node took over, by dataset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    pub epoch: u64,
    pub snapshots: BTreeMap<String, String>,
}

impl Before {
    fn path(state: &Path) -> PathBuf {
        state.join("before-activation.toml")
    }

    pub fn open(state: &Path) -> Result<Option<Before>> {
        state_file::read(&Before::path(state))
    }

    pub fn keep(&self, state: &Path) -> Result<()> {
        state_file::say(&Before::path(state), self)
    }

    /// It is the data again, or counts no more.
    pub fn forget(state: &Path) -> Result<()> {
        remove(Before::path(state))
    }
}

/// This node was active, and did not give the role up: whoever has it now has it until this one is back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    pub epoch: u64,
}

impl Lost {
    fn path(state: &Path) -> PathBuf {
        state.join("role-lost.toml")
    }

    pub fn open(state: &Path) -> Result<Option<Lost>> {
        state_file::read(&Lost::path(state))
    }

    /// From the first moment of a reign: how it ends is not known before.
    pub fn keep(&self, state: &Path) -> Result<()> {
        state_file::say(&Lost::path(state), self)
    }

    /// It was given up.
    pub fn forget(state: &Path) -> Result<()> {
        remove(Lost::path(state))
    }
}

fn remove(path: PathBuf) -> Result<()> {
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::File { operation: "remove", path, source: error }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use election::member::{Hold, Own};
    use election::message::{Members, Standing};
    use election::timers::Values;
    use election::{BootId, Epoch, Pause, Time, Timers};
    use std::time::Duration;

    fn lease(standing: Standing) -> Role {
        let pause = Pause { number: 2, length: Duration::from_millis(7_200_500) };
        let (boot, epoch) = (BootId("a boot".into()), Epoch(7));
        Role {
            epoch,
            standing,
            lease_until: Time::from_ms(u64::MAX >> 2),
            boot,
            renewed: Time::from_ms(5),
            forced: true,
            rival: Some("web3".into()),
            paused: Some(pause),
            handed: true,
        }
    }

    #[test]
    fn what_a_member_must_not_forget_comes_back_whole() {
        let state = tempfile::tempdir().unwrap();
        assert_eq!(member(state.path()).unwrap(), MemberRecord::default());
        let timers = Timers::new(Values::FAST, Duration::ZERO).unwrap();
        let record = MemberRecord {
            seen: Epoch(8),
            hold: Some(Hold {
                epoch: Epoch(7),
                boot: BootId("a boot".into()),
                until: Time::from_ms(9),
                wait: Duration::from_millis(7120),
            }),
            own: Some(Own {
                epoch: Epoch(8),
                active: true,
                timers,
                activation_max: Duration::from_secs(600),
                forced: Some("web1".into()),
                handed: false,
            }),
            members: Members { generation: 3, nodes: ["web1", "web2"].map(Into::into).into() },
            closed: true,
        };
        keep_member(state.path(), &record).unwrap();
        assert_eq!(member(state.path()).unwrap(), record);
    }

    #[test]
    fn a_role_that_was_given_is_not_taken_by_a_node_that_merely_starts() {
        let state = tempfile::tempdir().unwrap();
        Reign::given(1, true).keep(state.path()).unwrap();
        keep_role(state.path(), &lease(Standing::Passive), false).unwrap();
        assert_eq!(Reign::written(state.path()).unwrap(), Some(Reign::given(1, true)));
        keep_role(state.path(), &lease(Standing::Active), true).unwrap();
        assert_eq!(role(state.path()).unwrap(), Some(lease(Standing::Active)));
        let reign = Reign::open(state.path()).unwrap().unwrap();
        assert!(!reign.active && !reign.stands_by(), "its lease is of another boot, and its data is no copy");
        keep_role(state.path(), &lease(Standing::Ready), false).unwrap();
        assert!(Reign::open(state.path()).unwrap().unwrap().stands_by());
    }

    #[test]
    fn what_was_written_in_a_reign_is_remembered_until_it_is_captured() {
        let state = tempfile::tempdir().unwrap();
        Reigned { epoch: 4 }.keep(state.path()).unwrap();
        assert_eq!(Reigned::open(state.path()).unwrap(), Some(Reigned { epoch: 4 }));
        Reigned::forget(state.path()).unwrap();
        Reigned::forget(state.path()).unwrap();
        assert_eq!(Reigned::open(state.path()).unwrap(), None);
    }
}

//! Who may ask for what. One table, and nothing in it writes into a repository or removes from one.

use crate::identity::Pin;

/// What a caller is to the host that it calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Nobody that is known here.
    Stranger,
    /// A node of a cluster, at a pull-backup that serves it.
    Node { cluster: String, name: String },
    /// A pull-backup that this node joined.
    PullBackup { cluster: String },
    /// Another node of this one's cluster: what is between them is who is active, and nothing else.
    Fellow { cluster: String, name: String },
    /// A pull-backup that keeps what this one keeps.
    Follower { name: String },
    /// A pull-backup that this one follows: it may say that there is something new, and gets nothing.
    Leader,
}

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Whether the daemon is there.
    Live,
    /// To be taken in, or anew, with an invitation.
    Join,
    /// Which datasets there are and what is newest in each.
    Heads,
    /// To read repositories.
    Fetch,
    /// To be heard: there is something new to pull.
    Notify,
    /// To be heard: what was received, and what is lacking.
    Report,
    /// To be pulled over the connection that was opened.
    Lend,
    /// To be heard about who is active.
    Elect,
}

impl Role {
    pub fn may(&self, ask: Ask) -> bool {
        match self {
            Role::Stranger => matches!(ask, Ask::Live | Ask::Join),
            Role::Node { .. } => true,
            Role::PullBackup { .. } => matches!(ask, Ask::Live | Ask::Heads | Ask::Fetch | Ask::Notify | Ask::Report | Ask::Elect),
            Role::Fellow { .. } => matches!(ask, Ask::Live | Ask::Elect),
            Role::Follower { .. } => matches!(ask, Ask::Live | Ask::Join | Ask::Heads | Ask::Fetch | Ask::Report),
            Role::Leader => matches!(ask, Ask::Live | Ask::Join | Ask::Notify),
        }
    }

    /// Whether datasets of this cluster are its business.
    pub fn sees(&self, of: &str) -> bool {
        match self {
            Role::Stranger => false,
            Role::Node { cluster, .. } | Role::PullBackup { cluster } | Role::Fellow { cluster, .. } => cluster == of,
            Role::Follower { .. } | Role::Leader => true,
        }
    }
}

/// Who calls: its role, and the key it proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub role: Role,
    pub pin: Option<Pin>,
    pub address: std::net::SocketAddr,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_gets_nothing_and_nobody_sees_another_cluster() {
        let all = [Ask::Live, Ask::Join, Ask::Heads, Ask::Fetch, Ask::Notify, Ask::Report, Ask::Lend, Ask::Elect];
        let may = |role: &Role| all.into_iter().filter(|ask| role.may(*ask)).collect::<Vec<_>>();
        assert_eq!(may(&Role::Stranger), [Ask::Live, Ask::Join]);
        let node = Role::Node { cluster: "shop".into(), name: "web1".into() };
        assert!(node.sees("shop") && !node.sees("bank"));
        let follower = Role::Follower { name: "second".into() };
        let fellow = Role::Fellow { cluster: "shop".into(), name: "web2".into() };
        assert_eq!(may(&fellow), [Ask::Live, Ask::Elect]);
        assert!(!follower.may(Ask::Notify) && !follower.may(Ask::Lend) && follower.sees("bank"));
    }
}

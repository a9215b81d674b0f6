//! Who is enrolled at this pull-backup: nodes of clusters, and pull-backups that follow it. Each is a file under `state/members`, an invitation one under
//! `state/invitations` that bears the hash of its token.
//!
//! `invite` and `expel` are processes of their own beside the daemon, so who is known is read anew whenever one of them said that something changed. A token works once: using it up
//! is removing its file, which only one can do.

use archive::sign::PublicKey;
use archive::trust::Trust;
use link::error::{Error, Result};
use link::identity::Pin;
use link::invitation::Token;
use link::message::{Join, Ports};
use link::role::Role;
use link::state_file;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The cluster of those that follow: no cluster can have this name.
pub const FOLLOWERS: &str = "+followers";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    pub cluster: String,
    pub name: String,
    pub pin: Pin,
    /// With which key it signs: `ed25519:…`.
    pub signing: String,
    /// Where it can be reached.
    pub hosts: Vec<String>,
    #[serde(default)]
    pub ports: Ports,
    pub joined_ms: u64,
    /// What it signed with before, when it joined anew with another key.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub former: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub expelled_ms: Option<u64>,
    /// Whether it is the one that works; nothing is said where roles are not given.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub active: Option<bool>,
    /// Whether it was the one that worked, before it joined anew: what it signed then is history.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub was_active: bool,
}

impl Member {
    fn has_been_active(&self) -> bool {
        self.active == Some(true) || self.was_active
    }

    pub fn is_follower(&self) -> bool {
        self.cluster == FOLLOWERS
    }

    /// Where it is reached at a port: HOST:PORT.
    pub fn address(&self, port: u16) -> Option<String> {
        let host = self.hosts.first()?;
        Some(if host.contains(':') && !host.starts_with('[') { format!("[{host}]:{port}") } else { format!("{host}:{port}") })
    }

    pub fn role(&self) -> Role {
        match self.is_follower() {
            true => Role::Follower { name: self.name.clone() },
            false => Role::Node { cluster: self.cluster.clone(), name: self.name.clone() },
        }
    }

    pub fn key(&self) -> Option<PublicKey> {
        PublicKey::parse(&self.signing)
    }

    /// All that it ever signed with.
    fn keys(&self) -> impl Iterator<Item = PublicKey> {
        self.key().into_iter().chain(self.former.iter().filter_map(|key| PublicKey::parse(key)))
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invited {
    pub cluster: String,
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub active: Option<bool>,
    /// Unix time in seconds.
    pub expires: u64,
}

/// Why nobody was taken in.
#[derive(Debug)]
pub enum Rejected {
    /// The invitation is used, expired, forged or for another name.
    Invitation(&'static str),
    State(Error),
}

impl From<Error> for Rejected {
    fn from(error: Error) -> Self {
        Rejected::State(error)
    }
}

/// What `changed` says: other bytes after each change. A folder's time is too coarse to tell two of them apart.
type Change = Option<Vec<u8>>;
type Known = Arc<HashMap<Pin, Member>>;

pub struct Members {
    state: PathBuf,
    known: Mutex<(Change, Known)>,
}

impl Members {
    pub fn new(state: &Path) -> Members {
        Members { state: state.into(), known: Mutex::default() }
    }

    fn folder(&self) -> PathBuf {
        self.state.join("members")
    }

    fn path(&self, cluster: &str, name: &str) -> PathBuf {
        self.folder().join(format!("{cluster}.{name}.toml"))
    }

    fn invitation(&self, token: &Token) -> PathBuf {
        self.state.join("invitations").join(format!("{}.toml", token.hash()))
    }

    /// All, expelled ones too.
    pub fn all(&self) -> Result<Vec<Member>> {
        let entries = match std::fs::read_dir(self.folder()) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
            Err(source) => return Err(Error::File { operation: "read", path: self.folder(), source }),
        };
        let mut members = Vec::new();
        for entry in entries.flatten() {
            let named = entry.file_name().to_str().is_some_and(|name| name.ends_with(".toml") && !name.starts_with('.'));
            if named && let Some(member) = state_file::read::<Member>(&entry.path())? {
                members.push(member);
            }
        }
        members.sort_by(|a, b| (&a.cluster, &a.name).cmp(&(&b.cluster, &b.name)));
        Ok(members)
    }

    fn change(&self) -> Change {
        std::fs::read(self.folder().join(".changed")).ok()
    }

    /// Keeps a member, so that every process that knows the members reads them anew.
    fn keep(&self, member: &Member) -> Result<()> {
        state_file::say(&self.path(&member.cluster, &member.name), member)?;
        state_file::replace(&self.folder().join(".changed"), &archive::sign::random::<16>())
    }

    /// Who is enrolled now, by key.
    pub fn now(&self) -> Known {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let change = self.change();
        if known.0 != change {
            // What cannot be read is nobody: better closed than open.
            let all = self.all().unwrap_or_default();
            let enrolled = all.into_iter().filter(|member| member.expelled_ms.is_none());
            *known = (change, Arc::new(enrolled.map(|member| (member.pin, member)).collect()));
        }
        known.1.clone()
    }

    pub fn role(&self, pin: &Pin) -> Role {
        self.now().get(pin).map_or(Role::Stranger, Member::role)
    }

    /// Keys of the cluster's nodes; those of expelled ones, and of hosts before they joined anew, for what was received of them then.
    pub fn trust(&self, cluster: &str) -> Trust {
        let all = self.all().unwrap_or_default();
        let of = all.iter().filter(|member| member.cluster == cluster);
        let mut trust = Trust::default();
        for member in of {
            let keys = if member.expelled_ms.is_none() { &mut trust.pinned } else { &mut trust.former };
            keys.extend(member.key());
            trust.former.extend(member.former.iter().filter_map(|text| PublicKey::parse(text)));
        }
        trust
    }

    /// Whose signatures count in a cluster: those whom its key certified, where it is known, else members.
    pub fn trust_by(&self, cluster: &str, cluster_key: Option<PublicKey>) -> Trust {
        match cluster_key {
            Some(_) => Trust { cluster_key, ..Trust::default() },
            None => self.trust(cluster),
        }
    }

    /// Keys of those that are or were the active one: only they ever published. Where roles are not given, of all.
    pub fn publishers(&self, cluster: &str) -> Vec<PublicKey> {
        let all = self.all().unwrap_or_default();
        let of: Vec<&Member> = all.iter().filter(|member| member.cluster == cluster).collect();
        let given = of.iter().any(|member| member.has_been_active());
        of.into_iter()
            .filter(|member| member.has_been_active() || !given && member.active.is_none())
            .flat_map(Member::keys)
            .collect()
    }

    /// The members whose snapshots are published: of each cluster the active one, or all that have no role where none was ever given.
    pub fn published(&self) -> Vec<Member> {
        let all = self.all().unwrap_or_default();
        let given: HashSet<&str> = all.iter().filter(|member| member.has_been_active()).map(|member| member.cluster.as_str()).collect();
        let is_published = |member: &&Member| {
            let works = member.active == Some(true) || member.active.is_none() && !given.contains(member.cluster.as_str());
            works && member.expelled_ms.is_none() && !member.is_follower()
        };
        all.iter().filter(is_published).cloned().collect()
    }

    /// Nodes with roles that stand by: what they alone have is asked for, and nothing of it is published for their sake.
    pub fn standing_by(&self) -> Vec<Member> {
        let stands_by = |member: &Member| member.active == Some(false) && member.expelled_ms.is_none() && !member.is_follower();
        self.all().unwrap_or_default().into_iter().filter(stands_by).collect()
    }

    /// Makes the one active that reigns, of a cluster's nodes with roles, and no other.
    pub fn agree(&self, cluster: &str, holder: &str) -> Result<()> {
        for mut member in self.all()? {
            let active = member.name == holder;
            if member.cluster != cluster || member.expelled_ms.is_some() || member.active.is_none_or(|now| now == active) {
                continue;
            }
            member.was_active = member.was_active || member.active == Some(true);
            member.active = Some(active);
            self.keep(&member)?;
        }
        Ok(())
    }

    fn kept(&self, cluster: &str, name: &str) -> Result<Option<Member>> {
        state_file::read(&self.path(cluster, name))
    }

    /// What was signed before by whom this one comes in the place of.
    fn former(&self, cluster: &str, name: &str, signing: &str) -> Result<Vec<String>> {
        let Some(before) = self.kept(cluster, name)? else { return Ok(vec![]) };
        let mut keys = before.former;
        keys.push(before.signing);
        keys.retain(|key| key != signing);
        keys.dedup();
        Ok(keys)
    }

    pub fn invite(&self, token: &Token, invited: &Invited) -> Result<()> {
        state_file::say(&self.invitation(token), invited)
    }

    /// Takes in who shows an invitation.
    pub fn take_in(&self, join: &Join, pin: Pin, from: std::net::IpAddr, now_ms: u64) -> std::result::Result<Member, Rejected> {
        let token = Token::parse(&join.token).ok_or(Rejected::Invitation("it is not whole"))?;
        let path = self.invitation(&token);
        let Some(invited) = state_file::read::<Invited>(&path)? else {
            return Err(Rejected::Invitation("it was used already, or was never given; invite again"));
        };
        if now_ms / 1000 >= invited.expires {
            // It may be gone already.
            let _ = std::fs::remove_file(&path);
            return Err(Rejected::Invitation("it has expired; invite again"));
        }
        // A pull-backup has no name of its own: it is called as it was invited.
        let unnamed = join.name.is_empty() && invited.cluster == FOLLOWERS;
        if join.name != invited.name && !unnamed {
            return Err(Rejected::Invitation("it is for a node of another name; `name` in the node file must be the invited one"));
        }
        if join.cluster != invited.cluster {
            return Err(Rejected::Invitation(match (invited.cluster.as_str(), join.cluster.as_str()) {
                (FOLLOWERS, _) => "it is for a pull-backup that follows; a node needs one without --follower",
                (_, FOLLOWERS) => "it is for a node; a pull-backup that follows needs one with --follower",
                _ => "it is to another cluster; `cluster` in the node file must be the invited one",
            }));
        }
        if PublicKey::parse(&join.signing).is_none() {
            return Err(Rejected::Invitation("the node's signing key is not whole"));
        }
        match std::fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Rejected::Invitation("it was used already; invite again"));
            }
            Err(source) => return Err(Error::File { operation: "use up", path, source }.into()),
        }
        let was_active = self.kept(&invited.cluster, &invited.name)?.is_some_and(|before| before.has_been_active());
        let former = self.former(&invited.cluster, &invited.name, &join.signing)?;
        let hosts = if join.hosts.is_empty() { vec![from.to_string()] } else { join.hosts.iter().take(8).cloned().collect() };
        let member = Member {
            cluster: invited.cluster,
            name: invited.name,
            pin,
            signing: join.signing.clone(),
            hosts,
            ports: join.ports,
            joined_ms: now_ms,
            former,
            expelled_ms: None,
            active: invited.active,
            was_active,
        };
        self.keep(&member)?;
        Ok(member)
    }

    /// Ends a membership. Who it was; `None` when there is no such member.
    pub fn expel(&self, cluster: Option<&str>, name: &str, now_ms: u64) -> Result<Vec<Member>> {
        let is_meant =
            |member: &Member| member.name == name && member.expelled_ms.is_none() && cluster.is_none_or(|of| of == member.cluster);
        let mut meant: Vec<Member> = self.all()?.into_iter().filter(is_meant).collect();
        if meant.len() == 1 {
            meant[0].expelled_ms = Some(now_ms);
            self.keep(&meant[0])?;
        }
        Ok(meant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: std::net::IpAddr = std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn join(token: &Token, name: &str) -> Join {
        let signing = format!("ed25519:{}", "0a".repeat(32));
        Join {
            token: token.reveal(),
            cluster: "shop".into(),
            name: name.into(),
            signing,
            ports: Ports::default(),
            hosts: vec![],
        }
    }

    fn refused(outcome: std::result::Result<Member, Rejected>) -> &'static str {
        match outcome {
            Err(Rejected::Invitation(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_invitation_works_once_and_for_its_name_and_time() {
        let state = tempfile::tempdir().unwrap();
        let members = Members::new(state.path());
        let (token, late) = (Token::new(), Token::new());
        let invited = Invited { cluster: "shop".into(), name: "web1".into(), active: Some(true), expires: 1000 };
        members.invite(&token, &invited).unwrap();
        members.invite(&late, &Invited { expires: 10, ..invited }).unwrap();
        let (pin, now) = (Pin([1; 32]), 500_000);
        assert!(refused(members.take_in(&join(&Token::new(), "web1"), pin, FROM, now)).contains("never given"));
        assert!(refused(members.take_in(&join(&late, "web1"), pin, FROM, now)).contains("expired"));
        assert!(refused(members.take_in(&join(&token, "web2"), pin, FROM, now)).contains("another name"));
        assert_eq!(members.role(&pin), Role::Stranger);
        let member = members.take_in(&join(&token, "web1"), pin, FROM, now).unwrap();
        assert_eq!((member.active, member.hosts), (Some(true), vec!["127.0.0.1".to_owned()]));
        assert!(refused(members.take_in(&join(&token, "web1"), Pin([2; 32]), FROM, now)).contains("used already"));
        assert_eq!(members.role(&pin), Role::Node { cluster: "shop".into(), name: "web1".into() });
        assert_eq!(members.role(&Pin([2; 32])), Role::Stranger);
    }

    #[test]
    fn who_is_expelled_is_a_stranger_at_once_whose_key_stays_known() {
        let state = tempfile::tempdir().unwrap();
        let (members, beside) = (Members::new(state.path()), Members::new(state.path()));
        let token = Token::new();
        members
            .invite(&token, &Invited { cluster: "shop".into(), name: "web1".into(), active: None, expires: 1000 })
            .unwrap();
        let pin = Pin([1; 32]);
        members.take_in(&join(&token, "web1"), pin, FROM, 0).unwrap();
        assert_ne!(members.role(&pin), Role::Stranger);
        assert_eq!(beside.expel(Some("bank"), "web1", 7).unwrap(), vec![]);
        assert_eq!(beside.expel(None, "web1", 7).unwrap().len(), 1);
        assert_eq!(members.role(&pin), Role::Stranger, "another process expelled it");
        let trust = members.trust("shop");
        assert_eq!((trust.pinned.len(), trust.former.len()), (0, 1));
    }
}

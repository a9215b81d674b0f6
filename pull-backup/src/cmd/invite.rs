//! `invite`: prints one line with which a node can join, once, before it expires. And `expel`: ends a membership at once.

use crate::members::{FOLLOWERS, Invited, Member, Members};
use crate::reigns::Ledger;
use clap::Args;
use console::exit::{Failure, Status};
use console::output::{Output, tell};
use console::pull_backup_file::PullBackupFile;
use console::{place, quantity};
use election::ledger::ReignState;
use link::identity::Identity;
use link::invitation::{Invitation, Token};
use lookup::open::Surroundings;
use std::path::PathBuf;
use std::time::Duration;

/// Invites a node, or a pull-backup that is to follow this one
#[derive(Args, Debug)]
pub struct Invite {
    /// The node's name, as in its node file
    pub name: String,
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The node's cluster; needed when there is none yet, or more than one
    #[arg(long, value_name = "CLUSTER")]
    pub cluster: Option<String>,
    /// The node is the one that works; others that are invited with roles stand by
    #[arg(long, conflicts_with_all = ["standby", "follower"])]
    pub active: bool,
    /// The node stands by
    #[arg(long, conflicts_with = "follower")]
    pub standby: bool,
    /// It is a pull-backup that keeps a copy of all that is kept here
    #[arg(long, conflicts_with = "cluster")]
    pub follower: bool,
    /// How long the invitation is good, as "1h" or "30m"
    #[arg(long, value_name = "D", default_value = "1h", value_parser = quantity::duration)]
    pub valid: Duration,
    /// How the node reaches this host, as HOST:PORT, instead of `address` in the configuration
    #[arg(long, value_name = "HOST:PORT")]
    pub address: Option<String>,
}

/// Ends a membership at once
#[derive(Args, Debug)]
#[command(after_help = "What the node had signed stays what it was. Its data stays here.")]
pub struct Expel {
    pub name: String,
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[arg(long, value_name = "CLUSTER")]
    pub cluster: Option<String>,
    /// Also the active node: its lease is not renewed any more, so it is fenced when that ends
    #[arg(long)]
    pub force: bool,
}

fn open(config: Option<&PathBuf>, surroundings: &Surroundings) -> Result<PullBackupFile, Failure> {
    let path = place::of(config.map(PathBuf::as_path), surroundings.config.as_deref(), place::PULL_BACKUP);
    Ok(PullBackupFile::open(&path)?)
}

impl Invite {
    pub fn run(&self, surroundings: &Surroundings) -> Result<Status, Failure> {
        let file = open(self.config.as_ref(), surroundings)?;
        let members = Members::new(&file.state);
        for name in [Some(&self.name), self.cluster.as_ref()].into_iter().flatten() {
            if !archive::record::valid_name(name) {
                return Err(Failure::usage(format!("{name:?} is no name"))
                    .hint("use letters, digits, '-', '_' and '.', at most 64, not beginning with '-' or '.'"));
            }
        }
        let cluster = self.cluster(&file, &members)?;
        let address = self.address.clone().or_else(|| file.address.clone()).unwrap_or_else(|| {
            let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
            tell(format_args!("the line names this host as {host}; if nodes know it by another name, say `address` in the configuration"));
            format!("{host}:{}", file.listen.port())
        });
        let identity = Identity::open_or_make(&file.state).map_err(super::failure)?;
        let (token, expires) = (Token::new(), surroundings.now_ms() / 1000 + self.valid.as_secs());
        let active = (self.active || self.standby).then_some(self.active);
        if self.active {
            let other = members.all().map_err(super::failure)?.into_iter().find(|member| {
                member.cluster == cluster && member.active == Some(true) && member.expelled_ms.is_none() && member.name != self.name
            });
            if let Some(other) = other {
                return Err(Failure::refused(format!("{} is the active node of cluster {cluster}", other.name))
                    .hint("a cluster has one; invite this one with --standby"));
            }
        }
        let invited = Invited { cluster, name: self.name.clone(), active, expires };
        members.invite(&token, &invited).map_err(super::failure)?;
        let line = Invitation { address, pin: identity.pin, token, expires }.line();
        let mut output = Output::stdout();
        output.line(line)?;
        output.finish()?;
        let how = if self.follower { "pull-backup join" } else { "exporter join" };
        tell(format_args!("on {}: {how} 'LINE', within {}; it works once, and whoever has it can use it", self.name, minutes(self.valid)));
        Ok(Status::Done)
    }

    fn cluster(&self, file: &PullBackupFile, members: &Members) -> Result<String, Failure> {
        if self.follower {
            return Ok(FOLLOWERS.to_owned());
        }
        if let Some(cluster) = &self.cluster {
            return Ok(cluster.clone());
        }
        let mut known: Vec<String> = members.all().map_err(super::failure)?.into_iter().map(|member| member.cluster).collect();
        known.extend(file.clusters.keys().cloned());
        known.retain(|cluster| cluster != FOLLOWERS);
        known.sort();
        known.dedup();
        match known.as_slice() {
            [only] => Ok(only.clone()),
            [] => Err(Failure::usage("there is no cluster yet").hint("name it: --cluster NAME, as `cluster` in the node file")),
            several => Err(Failure::usage(format!("there are several clusters: {}", several.join(", "))).hint("say which: --cluster NAME")),
        }
    }
}

fn minutes(valid: Duration) -> String {
    match valid.as_secs() / 60 {
        0 => format!("{} s", valid.as_secs()),
        minutes if minutes % 60 == 0 => format!("{} h", minutes / 60),
        minutes => format!("{minutes} min"),
    }
}

impl Expel {
    pub fn run(&self, surroundings: &Surroundings) -> Result<Status, Failure> {
        let file = open(self.config.as_ref(), surroundings)?;
        let members = Members::new(&file.state);
        if !self.force {
            self.may_go(&file, &members)?;
        }
        let meant = members.expel(self.cluster.as_deref(), &self.name, surroundings.now_ms()).map_err(super::failure)?;
        let mut output = Output::stdout();
        match meant.as_slice() {
            [member] => output.line(format_args!("{} of cluster {} is expelled; its connections end now", member.name, member.cluster))?,
            [] => return Err(Failure::failed(format!("no member is called {}", self.name)).hint("`pull-backup status` lists them")),
            several => {
                let clusters: Vec<&str> = several.iter().map(|member| member.cluster.as_str()).collect();
                return Err(
                    Failure::usage(format!("{} is a member of {}", self.name, clusters.join(" and "))).hint("say which: --cluster NAME")
                );
            }
        }
        output.finish()?;
        Ok(Status::Done)
    }

    /// The active goes only by force; and so does whoever may be the active, as far as is known here.
    fn may_go(&self, file: &PullBackupFile, members: &Members) -> Result<(), Failure> {
        let ledger = Ledger::new(&file.state, &file.store);
        let is_meant = |member: &Member| {
            let of = self.cluster.as_ref().is_none_or(|cluster| *cluster == member.cluster);
            of && member.name == self.name && member.expelled_ms.is_none() && !member.is_follower()
        };
        for member in members.all().map_err(super::failure)?.into_iter().filter(is_meant) {
            let Some(record) = ledger.document(&member.cluster).map_err(super::failure)?.arbiter else { continue };
            let name = &self.name;
            if record.recovering {
                return Err(Failure::refused(format!("it is not known yet who is active in cluster {}, so {name} may be", member.cluster))
                    .hint(format!("see `pull-backup status`; when {name} is off for certain: `pull-backup expel {name} --force`")));
            }
            let last = record.last_reign().filter(|entry| entry.state == ReignState::Active);
            let reigns = record.holder.as_ref().or(last.map(|entry| &entry.reign.node));
            if reigns.is_some_and(|node| node.0 == *name) {
                return Err(Failure::refused(format!("{name} is the active node of cluster {}", member.cluster)).hint(format!(
                    "hand its role over first, by `importer switchover` on it; or `pull-backup expel {name} --force`, which fences it when its lease ends"
                )));
            }
        }
        Ok(())
    }
}

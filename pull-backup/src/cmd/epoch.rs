//! `epoch`: whose it is in each cluster, where the ones before ended, and a person's word where two nodes say that one is theirs.

use crate::cmd::{failure, now_ms};
use crate::publishing::Publish;
use crate::quarantine::resolve::{Resolved, resolve};
use crate::reigns::Ledger;
use clap::{Args, Subcommand};
use console::exit::{Failure, Status};
use console::output::{Output, tell};
use console::place;
use console::pull_backup_file::PullBackupFile;
use console::table::Table;
use link::reigns::Reigns;
use lookup::Surroundings;
use lookup::cmd::document;
use lookup::show;
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;

/// Shows whose epoch it is in each cluster, and settles whose it is
#[derive(Args, Debug)]
pub struct Epoch {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Show(Show),
    Resolve(Resolve),
}

/// Shows the epochs of a cluster, or of all
#[derive(Args, Debug)]
struct Show {
    cluster: Option<String>,
    /// One JSON document on standard output
    #[arg(long)]
    json: bool,
}

/// Says whose branch counts, of nodes that took an epoch by force
#[derive(Args, Debug)]
#[command(
    after_help = "What the other branches hold stays in quarantine: listed, and restored, by `pull-backup quarantine`. Where the branch that is kept goes on from an older snapshot than the newest here, those above it go there too."
)]
struct Resolve {
    cluster: String,
    /// The node whose branch counts; the holder itself ends the claims of others
    #[arg(long, value_name = "NODE")]
    keep: String,
}

/// Whose epochs they were and are.
#[derive(Serialize)]
pub struct Shape {
    clusters: Vec<ClusterShape>,
}

#[derive(Serialize)]
struct ClusterShape {
    cluster: String,
    conflict: bool,
    #[serde(flatten)]
    reigns: Reigns,
}

impl Shape {
    /// Of all clusters, or of one.
    pub fn of(ledger: &Ledger, only: Option<&str>) -> link::Result<Shape> {
        let mut clusters = Vec::new();
        for cluster in ledger.clusters().into_iter().filter(|cluster| only.is_none_or(|only| only == cluster)) {
            if let Some(reigns) = ledger.open(&cluster)? {
                clusters.push(ClusterShape { cluster, conflict: reigns.conflict().is_some(), reigns });
            }
        }
        Ok(Shape { clusters })
    }
}

impl Epoch {
    pub fn run(&self, config: Option<&Path>, surroundings: &Surroundings) -> Result<Status, Failure> {
        let path = place::of(config, surroundings.config.as_deref(), place::PULL_BACKUP);
        let file = PullBackupFile::open(&path)?;
        match &self.command {
            Command::Show(command) => command.run(&file, surroundings),
            Command::Resolve(command) => command.run(&file),
        }
    }
}

impl Show {
    fn run(&self, file: &PullBackupFile, surroundings: &Surroundings) -> Result<Status, Failure> {
        let shape = Shape::of(&Ledger::new(&file.state, &file.store), self.cluster.as_deref()).map_err(failure)?;
        let shown = &shape.clusters;
        if let Some(only) = self.cluster.as_ref().filter(|_| shown.is_empty()) {
            return Err(
                Failure::failed(format!("nobody reigns in cluster {only}")).hint("`pull-backup invite NAME --active` begins epoch 1")
            );
        }
        if self.json {
            document(&shape)?;
            return Ok(Status::Done);
        }
        let zone = surroundings.now.time_zone();
        let mut table = Table::new(&["CLUSTER", ">EPOCH", "NODE", "STATE", "WHEN", "HEADS"]);
        for ClusterShape { cluster, reigns, .. } in shown {
            for sealed in &reigns.sealed {
                let heads: Vec<String> = sealed.heads.iter().map(|(dataset, at)| format!("{dataset} {}", at.position())).collect();
                let (node, when) = (sealed.holder.node.clone(), show::time(sealed.sealed_ms, zone));
                table.row([cluster.clone(), sealed.epoch.to_string(), node, "sealed".into(), when, heads.join(", ")]);
            }
            let (node, when) = (reigns.holder.node.clone(), show::time(reigns.since_ms, zone));
            table.row([cluster.clone(), reigns.epoch.to_string(), node, "current".into(), when, String::new()]);
            for claim in reigns.open_claims() {
                let state = if reigns.conflict().is_some() { "CONFLICT" } else { "claimed" };
                let (node, when) = (claim.holder.node.clone(), show::time(claim.since_ms, zone));
                table.row([cluster.clone(), claim.epoch.to_string(), node, state.into(), when, String::new()]);
            }
        }
        let mut output = Output::stdout();
        if table.is_empty() {
            tell("nobody reigns anywhere yet: `pull-backup invite NAME --active` begins epoch 1");
        } else {
            output.line(table.to_string().trim_end())?;
        }
        output.finish()?;
        Ok(Status::Done)
    }
}

impl Resolve {
    fn run(&self, file: &PullBackupFile) -> Result<Status, Failure> {
        let publish = Publish::new(file, Arc::new(now_ms));
        let mut output = Output::stdout();
        match resolve(&publish, &file.store, &self.cluster, &self.keep).map_err(failure)? {
            Resolved::Kept(reigns) => {
                output.line(format_args!("epoch {} of cluster {} is {}'s", reigns.epoch, self.cluster, self.keep))?;
                output.line("`pull-backup serve` publishes its branch now; when none runs, at its start")?;
            }
            Resolved::Stays(reigns) => {
                output.line(format_args!("{} goes on in epoch {}; what others claim counts nothing", self.keep, reigns.epoch))?;
            }
            Resolved::NoClaim(reigns) => {
                let claims: Vec<String> =
                    reigns.open_claims().map(|claim| format!("{} (epoch {})", claim.holder.node, claim.epoch)).collect();
                let what = format!("{} claims no epoch of cluster {} above {}", self.keep, self.cluster, reigns.epoch);
                let hint = match claims.is_empty() {
                    true => "nobody does: there is nothing to resolve".to_owned(),
                    false => format!("these do: {}", claims.join(", ")),
                };
                return Err(Failure::refused(what).hint(hint));
            }
            Resolved::Recovering => {
                let what =
                    format!("the arbiter of cluster {} asks all members what they know, and has not heard all of them", self.cluster);
                let hint = format!(
                    "`pull-backup status` names those that are missing; for one that is off: `pull-backup attest {} --off NODE`",
                    self.cluster
                );
                return Err(Failure::refused(what).hint(hint));
            }
            Resolved::NoReign => {
                return Err(
                    Failure::refused(format!("nobody reigns in cluster {}", self.cluster)).hint("`pull-backup epoch show` lists clusters")
                );
            }
        }
        output.finish()?;
        Ok(Status::Done)
    }
}

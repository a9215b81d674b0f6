//! `quarantine`: what was kept aside from the history, listed, compared, restored, copied away, and dropped when a person says so by its name.
//!
//! Reading goes the ways of every repository, with the code of `diff` and `restore`; only where it lies and whose signatures count is found out here.

mod drop;
mod export;
mod list;

use crate::cmd::failure;
use crate::members::Members;
use crate::quarantine::{Name, Quarantine as Kept};
use archive::repository::Access;
use archive::sign::PublicKey;
use clap::{Args, Subcommand};
use console::exit::{Failure, Status};
use console::place;
use console::pull_backup_file::PullBackupFile;
use link::repositories::Layout;
use lookup::Surroundings;
use lookup::cmd::{Reading, diff, restore};
use lookup::open::{Identity, Roots, open_snapshot};
use lookup::place::Place;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Lists, compares, restores and drops what is kept aside from the history
#[derive(Args, Debug)]
pub struct Quarantine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    List(list::List),
    Diff(Diff),
    Restore(Restore),
    Export(export::Export),
    Drop(drop::Drop),
}

/// What opens a quarantined repository.
#[derive(Args, Debug)]
struct Opening {
    #[command(flatten)]
    identity: Identity,
    #[command(flatten)]
    roots: Roots,
    /// One JSON document on standard output
    #[arg(long)]
    json: bool,
}

/// Shows what differs between the archive and a snapshot in quarantine
#[derive(Args, Debug)]
struct Diff {
    /// As `quarantine list` names it: CLUSTER/DATASET/EPOCH/NODE
    name: String,
    /// The snapshot in quarantine: `latest`, an id, a date or a time
    #[arg(value_name = "SNAPSHOT", default_value = "latest")]
    after: String,
    /// The snapshot in the archive that it is compared with
    #[arg(long, value_name = "SNAPSHOT", default_value = "latest")]
    against: String,
    /// Only this path and what lies below it
    #[arg(long, value_name = "PATH")]
    path: Option<OsString>,
    #[command(flatten)]
    opening: Opening,
}

/// Restores a snapshot in quarantine into a folder
#[derive(Args, Debug)]
struct Restore {
    /// As `quarantine list` names it: CLUSTER/DATASET/EPOCH/NODE
    name: String,
    /// Which one: `latest`, an id, a date or a time
    #[arg(long, value_name = "TIME", default_value = "latest")]
    at: String,
    /// The folder to restore to; made when it is not there
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Only this path and what lies below it; may be given several times
    #[arg(long = "path", value_name = "PATH")]
    paths: Vec<OsString>,
    #[command(flatten)]
    opening: Opening,
}

/// The configuration, and what it means here.
struct Here {
    file: PullBackupFile,
    kept: Kept,
}

impl Quarantine {
    pub fn run(&self, config: Option<&Path>, surroundings: &Surroundings) -> Result<Status, Failure> {
        let path = place::of(config, surroundings.config.as_deref(), place::PULL_BACKUP);
        let file = PullBackupFile::open(&path)?;
        let kept = Kept::new(&file.store, file.quarantine);
        let here = Here { file, kept };
        match &self.command {
            Command::List(command) => command.run(&here, surroundings),
            Command::Diff(command) => command.run(&here, surroundings),
            Command::Restore(command) => command.run(&here, surroundings),
            Command::Export(command) => command.run(&here),
            Command::Drop(command) => command.run(&here),
        }
    }
}

impl Here {
    /// Which one is meant by what was typed.
    fn find(&self, typed: &str) -> Result<Name, Failure> {
        let all = self.kept.all();
        let meant: Vec<&Name> = all.iter().filter(|name| name.is(typed)).collect();
        match meant.as_slice() {
            [only] => Ok((*only).clone()),
            [] => Err(Failure::usage(format!("nothing in quarantine is called {}", console::human::text(typed.as_bytes())))
                .hint("`pull-backup quarantine list` names what there is")),
            several => {
                let names: Vec<String> = several.iter().map(ToString::to_string).collect();
                Err(Failure::usage(format!("{typed} may be {}", names.join(" or "))).hint("say the whole name"))
            }
        }
    }

    /// How a repository of this cluster is read.
    fn reading(&self, cluster: &str, path: PathBuf, opening: &Opening) -> Reading {
        let mut roots = Roots { cluster_key: opening.roots.cluster_key, signer: opening.roots.signer.clone(), former: vec![] };
        if roots.is_empty() {
            let cluster_key = self.file.clusters.get(cluster).and_then(|known| known.cluster_key).map(PublicKey);
            let trust = Members::new(&self.file.state).trust_by(cluster, cluster_key);
            (roots.cluster_key, roots.signer, roots.former) = (trust.cluster_key, trust.pinned, trust.former);
        }
        let Identity { identity, passphrase_file } = &opening.identity;
        Reading {
            place: Place { repository: Some(path), ..Place::default() },
            identity: Identity { identity: identity.clone(), passphrase_file: passphrase_file.clone() },
            roots,
            json: opening.json,
        }
    }
}

impl Diff {
    fn run(&self, here: &Here, surroundings: &Surroundings) -> Result<Status, Failure> {
        let name = here.find(&self.name)?;
        let archive = Layout::Archive { store: here.file.store.clone() }.path(&name.dataset());
        let before = here.reading(&name.cluster, archive, &self.opening);
        let after = here.reading(&name.cluster, here.kept.path(&name), &self.opening);
        let (archived, kept) = (before.repository()?, after.repository()?);
        let before = before.choose(&archived.facts()?, &archived, &self.against, "archive:    ", surroundings)?;
        let chosen = after.choose(&kept.facts()?, &kept, &self.after, "quarantine: ", surroundings)?;
        let mut keyring = after.identity.keyring()?;
        let old = open_snapshot(&archived, &before.fact, &mut keyring)?;
        let new = open_snapshot(&kept, &chosen.fact, &mut keyring)?;
        diff::show((&before.fact, &old), (&chosen.fact, &new), self.path.as_deref(), self.opening.json)?;
        let passed_over = before.unread.is_empty() && chosen.unread.is_empty();
        Ok(if passed_over { Status::Done } else { Status::Partial })
    }
}

impl Restore {
    fn run(&self, here: &Here, surroundings: &Surroundings) -> Result<Status, Failure> {
        let name = here.find(&self.name)?;
        // Said here, where it is known what it is, and not when the restore finds no folder.
        here.kept.open(&name, Access::Shared).map_err(lookup::failure::failure)?;
        let reading = here.reading(&name.cluster, here.kept.path(&name), &self.opening);
        let restore = restore::Restore {
            reading,
            name: None,
            at: self.at.clone(),
            to: Some(self.to.clone()),
            paths: self.paths.clone(),
            delete: false,
            stdout: false,
        };
        restore.run(surroundings)
    }
}

/// What is noted of a cluster.
fn noted(here: &Here, cluster: &str) -> Result<crate::quarantine::noted::Noted, Failure> {
    crate::quarantine::noted::Noted::open(&here.file.state, cluster).map_err(failure)
}

//! `join`: this pull-backup follows another from now on, with the line of an invitation for followers.

use crate::cmd::init::RECEIPT_KEY;
use crate::following::Following;
use clap::Args;
use console::exit::{Failure, Status};
use console::output::Output;
use console::place;
use console::pull_backup_file::PullBackupFile;
use link::identity::{Identity, signing_key};
use link::invitation::Invitation;
use lookup::open::Surroundings;
use std::path::PathBuf;

/// Follows another pull-backup: keeps all that it keeps
#[derive(Args, Debug)]
#[command(
    after_help = "Whom to believe: `cluster_key` in [cluster.NAME] of the configuration; without it, the signing keys that the other one tells."
)]
pub struct Join {
    /// The line that `pull-backup invite NAME --follower` printed there, in quotes
    pub line: String,
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl Join {
    pub fn run(&self, surroundings: &Surroundings) -> Result<Status, Failure> {
        let path = place::of(self.config.as_deref(), surroundings.config.as_deref(), place::PULL_BACKUP);
        let file = PullBackupFile::open(&path)?;
        let invitation = Invitation::parse(&self.line).map_err(super::failure)?;
        let identity = Identity::open_or_make(&file.state).map_err(super::failure)?;
        let receipt = signing_key(&file.state, RECEIPT_KEY).map_err(super::failure)?.public();
        let runtime = super::runtime()?;
        let leader = runtime.block_on(Following::join(&file, &identity, receipt, &invitation)).map_err(super::failure)?;
        let mut output = Output::stdout();
        output.line(format_args!("this pull-backup follows {}, which calls it {}", leader.address, leader.called))?;
        output.line("next, here: pull-backup serve (when it runs already, it begins now)")?;
        output.finish()?;
        Ok(Status::Done)
    }
}

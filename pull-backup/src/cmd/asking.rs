//! Asking the daemon's arbiters: what the commands about who is active have in common.

use super::failure;
use crate::arbiter::asked::{Answer, DAEMON, Question, Wish};
use console::exit::Failure;
use console::output::tell;
use console::place;
use console::pull_backup_file::PullBackupFile;
use link::control::{Ended, ask};
use lookup::Surroundings;
use std::path::Path;

/// Asks, and tells what it hears meanwhile unless that is not wanted.
pub(crate) fn asked(
    config: Option<&Path>,
    surroundings: &Surroundings,
    cluster: Option<&str>,
    wish: Wish,
    quiet: bool,
) -> Result<Answer, Failure> {
    let path = place::of(config, surroundings.config.as_deref(), place::PULL_BACKUP);
    let file = PullBackupFile::open(&path)?;
    let question = Question { cluster: cluster.map(str::to_owned), wish };
    let mut hear = |word: String| {
        if !quiet {
            tell(word);
        }
    };
    let ended: Option<Ended<Answer>> = ask(&file.state, DAEMON, &question, &mut hear).map_err(failure)?;
    match ended {
        Some(Ended::Done(answer)) => Ok(answer),
        Some(Ended::Refused { why, hint }) => Err(hinted(Failure::refused(why), hint)),
        Some(Ended::Failed { why, hint }) => Err(hinted(Failure::failed(why), hint)),
        None => Err(Failure::refused(format!("no daemon runs on {}, and it alone decides who is active", file.state.display()))
            .hint("start `pull-backup serve`")),
    }
}

fn hinted(failure: Failure, hint: Option<String>) -> Failure {
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// What an answer that fits no question is.
pub(crate) fn odd() -> Failure {
    Failure::failed("the daemon answered another question than was asked; it may be of another version").hint("start it anew")
}

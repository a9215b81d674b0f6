//! `quarantine drop`: the one way in which something leaves quarantine. It takes the whole name, as it is listed, and nothing shorter.

use super::{Here, noted};
use crate::cmd::failure as link_failure;
use archive::repository::Access;
use clap::Args;
use console::exit::{Failure, Status};
use console::human;
use console::output::Output;
use lookup::failure::failure;

/// Removes a repository in quarantine, for ever
#[derive(Args, Debug)]
#[command(after_help = "What was dropped is not taken again, and the node that has it is told that it may drop it as well.")]
pub struct Drop {
    /// The whole name, exactly as `quarantine list` shows it
    pub name: String,
}

impl Drop {
    pub fn run(&self, here: &Here) -> Result<Status, Failure> {
        let name = here.find(&self.name)?;
        if name.to_string() != self.name {
            return Err(Failure::refused(format!("{} is not the whole name", self.name)).hint(format!("to remove it for ever, say {name}")));
        }
        let (known, bytes) = (here.kept.snapshots(&name), here.kept.size(&name));
        let alone = here.kept.open(&name, Access::Exclusive).map_err(failure)?;
        // First, so that what is half removed is not taken anew in between.
        let mut noted = noted(here, &name.cluster)?;
        noted
            .dropped
            .entry(name.dataset.clone())
            .or_default()
            .extend(known.iter().map(|known| known.name.clone()));
        noted.keep(&here.file.state, &name.cluster).map_err(link_failure)?;
        let path = here.kept.path(&name);
        let failed = |error: std::io::Error| Failure::failed(format!("cannot remove {}: {error}", path.display()));
        // The configuration first: without it, it is no repository, and what remains after a crash is listed nowhere.
        std::fs::remove_file(path.join(archive::name::CONFIG)).map_err(failed)?;
        drop(alone);
        std::fs::remove_dir_all(&path).map_err(failed)?;
        let mut output = Output::stdout();
        output.line(format_args!("{name} is gone: {} snapshots, {}", known.len(), human::bytes(bytes)))?;
        output.finish()?;
        Ok(Status::Done)
    }
}

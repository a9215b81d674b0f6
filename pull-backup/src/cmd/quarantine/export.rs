//! `quarantine export`: a copy of a quarantined repository in a folder, to be taken away and read anywhere with `--repository`.

use super::Here;
use archive::name;
use archive::repository::{Access, Repository};
use archive::store::{FolderStore, publish, read_all};
use clap::Args;
use console::exit::{Failure, Status};
use console::human;
use console::output::Output;
use lookup::failure::failure;
use std::path::PathBuf;

/// Copies a repository in quarantine into a folder
#[derive(Args, Debug)]
pub struct Export {
    /// As `quarantine list` names it: CLUSTER/DATASET/EPOCH/NODE
    pub name: String,
    /// The folder; made when it is not there, and empty
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
}

/// No object is larger.
const OBJECT_MAX: usize = 4 << 30;

impl Export {
    pub fn run(&self, here: &Here) -> Result<Status, Failure> {
        let name = here.find(&self.name)?;
        let shown = human::text(self.to.as_os_str().as_encoded_bytes());
        if self.to.read_dir().is_ok_and(|mut entries| entries.next().is_some()) && !self.to.join(name::CONFIG).exists() {
            return Err(Failure::refused(format!("{shown} is not empty")).hint("name a folder that is not there yet"));
        }
        // What is read must not be dropped meanwhile.
        let from = here.kept.open(&name, Access::Shared).map_err(failure)?;
        archive::store::make_folder(&self.to, 0o700).map_err(|error| Failure::failed(format!("cannot make {shown}: {error}")))?;
        let into = FolderStore::open(&self.to).map_err(|error| Failure::failed(format!("cannot open {shown}: {error}")))?;
        let mut bytes = 0;
        let mut copy = |object: &str| {
            let content = read_all(from.store(), object, OBJECT_MAX)?;
            bytes += content.len() as u64;
            publish(&into, object, &content).map(drop)
        };
        // Snapshots last: broken off, the copy shows none that is not whole; and repository.json first, so that it can be gone on with.
        copy(name::CONFIG).map_err(failure)?;
        let last = |folder: &&&str| **folder == name::SNAPSHOTS;
        let folders = name::FOLDERS.iter().filter(|folder| !last(folder)).chain(name::FOLDERS.iter().filter(last));
        for folder in folders {
            for listed in from.list(folder).map_err(failure)? {
                copy(&listed.name).map_err(failure)?;
            }
        }
        let copied = Repository::open_folder(&self.to, Access::Shared)
            .and_then(|copy| copy.snapshots())
            .map_err(failure)?;
        let mut output = Output::stdout();
        output.line(format_args!("{name}: {} snapshots, {} copied to {shown}", copied.len(), human::bytes(bytes)))?;
        output.finish()?;
        Ok(Status::Done)
    }
}

//! The commands of an importer that are its own, one file each.

pub mod join;
pub mod serve;
pub mod status;

use console::exit::Failure;
use console::node_file::NodeFile;
use console::place;
use lookup::Surroundings;
use std::path::PathBuf;

/// An error between hosts, with what can be done about it.
pub(crate) fn failure(error: link::Error) -> Failure {
    let hint = error.hint();
    let failure = Failure::failed(error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

fn open(config: Option<&PathBuf>, surroundings: &Surroundings) -> Result<NodeFile, Failure> {
    Ok(NodeFile::open(&place::of(config.map(PathBuf::as_path), surroundings.config.as_deref(), place::NODE))?)
}

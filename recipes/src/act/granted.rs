//! The file that says that this host may be active: `/run/resilient/granted`.
//!
//! It lies where a reboot forgets it. Units have it as a condition, and the guards of database servers look at it.

use std::fs;
use std::io;
use std::path::Path;

use crate::Error;
use crate::replace::replace;

pub const FILE: &str = "/run/resilient/granted";

pub fn give(path: &Path, epoch: u64) -> Result<(), Error> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder)
        .and_then(|()| replace(path, format!("{epoch}\n").as_bytes()))
        .map_err(|error| Error::io("write", path, error))
}

/// It does not matter whether it was there.
pub fn withdraw(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path, error)),
        _ => Ok(()),
    }
}

pub fn is_given(path: &Path) -> bool {
    path.exists()
}

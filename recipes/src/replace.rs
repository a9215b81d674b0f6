//! A file that is replaced: whole or not at all, and durable when that returns.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_as(path, bytes, |_| Ok(()))
}

/// With an owner or rights that it has from its first moment under that name.
pub(crate) fn replace_as(path: &Path, bytes: &[u8], dress: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".coming");
    let beside = path.with_file_name(name);
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    dress(&file)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

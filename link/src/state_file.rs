//! Small files of a daemon's state: replaced whole, or not at all.
//!
//! What is in them is what the daemon knows (members, positions, what was said); a repository's objects are never written so.

use crate::error::{Error, Result};
use archive::id::hex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Puts `bytes` in the place of what is there. After a crash the one or the other is there.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    write(path, bytes).map_err(Error::file("write", path))
}

/// As `say`, but it need not outlive a power cut; who reads sees the one or the other, whole.
pub fn say_lightly<T: Serialize>(path: &Path, what: &T) -> Result<()> {
    let text = toml::to_string_pretty(what).map_err(|error| Error::Damaged { path: path.into(), why: error.to_string() })?;
    let draft = path.with_file_name(format!(".draft-{}", hex(&archive::sign::random::<8>())));
    let written = std::fs::write(&draft, text).and_then(|()| std::fs::rename(&draft, path));
    if written.is_err() {
        // What matters is the first error.
        let _ = std::fs::remove_file(&draft);
    }
    written.map_err(Error::file("write", path))
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().ok_or_else(|| io::Error::other("it lies in no folder"))?;
    archive::store::make_folder(folder, 0o700)?;
    let draft = folder.join(format!(".draft-{}", hex(&archive::sign::random::<8>())));
    let written = (|| {
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&draft, path)?;
        std::fs::File::open(folder)?.sync_all()
    })();
    if written.is_err() {
        // What matters is the first error.
        let _ = std::fs::remove_file(&draft);
    }
    written
}

/// What a file says; `None` when there is none.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::file("read", path)(error)),
    };
    toml::from_str(&text)
        .map(Some)
        .map_err(|error| Error::Damaged { path: path.into(), why: error.message().to_owned() })
}

/// Puts what is said in the place of what the file says.
pub fn say<T: Serialize>(path: &Path, what: &T) -> Result<()> {
    let text = toml::to_string_pretty(what).map_err(|error| Error::Damaged { path: path.into(), why: error.to_string() })?;
    replace(path, text.as_bytes())
}

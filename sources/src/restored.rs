//! What is remembered of trees of files that were imported, so that the next but one import writes only what changed since.
//!
//! Two trees take turns in being the data: when one is switched in, the one that it replaces is kept for a rollback, and the one kept until then goes. A file of that last one,
//! which the new snapshot has as it is, gets a name in the new tree in place of being written again (`archive::read::restore::Tags` says when it is as it was). At no time do the data and what is
//! kept of before share a file.
//!
//! In the state folder, a file for each of the two, named after the folder's inode. Nothing depends on them: what is not remembered is written anew.

use crate::import::of;
use archive::id::hex;
use archive::read::open::OpenSnapshot;
use archive::read::restore::Tags;
use console::node_file::Dataset;
use recipes::data::{Kin, Place};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// One tree of a source.
pub(crate) struct Restored {
    source: String,
    place: Place,
    kin: Kin,
    folder: PathBuf,
    /// What the names of its files begin with.
    name: String,
}

impl Restored {
    pub fn of(state: &Path, dataset: &Dataset, source: &str, place: &Place, kin: Kin) -> Restored {
        let folder = state.join("datasets").join(&dataset.name).join("restored");
        let which = archive::digest::sha256(&[source.as_bytes(), b"\0", &place.prefix].concat());
        Restored { source: source.into(), place: place.clone(), kin, folder, name: format!("{}.", hex(&which.0[..8])) }
    }

    /// The tree that files are taken from.
    pub fn leaves(&self) -> &Path {
        &self.kin.leaves
    }

    /// What is remembered of it.
    pub fn known(&self) -> Tags {
        let bytes = self.left().and_then(|inode| fs::read(self.file(inode)).ok());
        Tags::from_bytes(&bytes.unwrap_or_default())
    }

    /// Remembers the tree that is the data now. What fails here is only not known the next time.
    pub fn remember(&self, snapshot: &OpenSnapshot<'_>) {
        let becomes = folder_inode(&self.kin.becomes);
        self.forget(&[becomes, self.left()]);
        if let Some(inode) = becomes
            && let Ok(tags) = Tags::of(snapshot, &of(&self.source, &self.place), &self.kin.becomes, &self.place.prefix)
            && !tags.is_empty()
        {
            let _ = self.write(inode, &tags);
        }
    }

    /// The inode of the tree that is kept of before.
    fn left(&self) -> Option<u64> {
        let Kin { leaves, .. } = &self.kin;
        // Nothing joined to a path would make it one that follows links.
        match self.place.prefix.as_slice() {
            [] => folder_inode(leaves),
            prefix => folder_inode(&leaves.join(OsStr::from_bytes(prefix))),
        }
    }

    fn file(&self, inode: u64) -> PathBuf {
        self.folder.join(format!("{}{inode}", self.name))
    }

    /// Removes what is remembered of others.
    fn forget(&self, except: &[Option<u64>]) {
        let kept: Vec<PathBuf> = except.iter().flatten().map(|inode| self.file(*inode)).collect();
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(&self.name));
            if ours && !kept.contains(&entry.path()) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn write(&self, inode: u64, tags: &Tags) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let draft = self.folder.join(format!("{}draft", self.name));
        fs::write(&draft, tags.to_bytes())?;
        fs::rename(draft, self.file(inode))
    }
}

fn folder_inode(path: &Path) -> Option<u64> {
    let found = fs::symlink_metadata(path).ok()?;
    found.is_dir().then(|| found.ino())
}

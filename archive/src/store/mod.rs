//! Where objects lie: a folder, memory, later a bucket.
//!
//! The promise that everything stands on: an object appears under its name once, with all its bytes, durable, or not at all; and no object ever
//! changes. `conform::suite` holds every implementation to it, and `Faulty` breaks the world around it.

pub mod conform;
mod faulty;
mod folder;
mod memory;

pub use faulty::{Crash, Faulty};
pub use folder::{FolderLock, FolderStore, make_folder};
pub use memory::MemoryStore;

use std::io;

/// A name and a length in bytes, as `Store::list` gives them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    pub name: String,
    pub len: u64,
}

/// An object that is being written. Dropped without `publish`, it was never there.
pub trait Draft: Send {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes the object durable and visible under its name. `AlreadyExists` when the name is taken; what is there stays as it is.
    fn publish(self: Box<Self>, name: &str) -> io::Result<()>;
}

/// Objects by name. Names are folder and file, `packs/…`; folders exist as soon as something is in them.
pub trait Store: Send + Sync {
    /// The objects below a folder, at any depth, sorted by name; none when there is no such folder.
    fn list(&self, folder: &str) -> io::Result<Vec<Listed>>;

    /// `len` bytes at `offset`, replacing what is in `out`; fewer when the object ends there. `NotFound` when there is no object.
    fn read(&self, name: &str, offset: u64, len: usize, out: &mut Vec<u8>) -> io::Result<()>;

    /// Begins an object.
    fn draft(&self) -> io::Result<Box<dyn Draft>>;

    /// Gives an object another name, durably. `AlreadyExists` when that is taken, `NotFound` when the object is gone.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes an object. Removing what is not there is no error.
    fn remove(&self, name: &str) -> io::Result<()>;
}

/// Publishes bytes as one object. Says whether it is new: an object that is there already with the same bytes is as good.
pub fn publish(store: &dyn Store, name: &str, bytes: &[u8]) -> crate::Result<bool> {
    let failed = crate::Error::store;
    let mut draft = store.draft().map_err(failed("write", name))?;
    draft.append(bytes).map_err(failed("write", name))?;
    match draft.publish(name) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let there = read_all(store, name, bytes.len() + 1)?;
            if there == bytes { Ok(false) } else { Err(crate::Error::Conflict { name: name.into() }) }
        }
        Err(error) => Err(failed("publish", name)(error)),
    }
}

/// A whole object, or as much as `limit` bytes of it.
pub fn read_all(store: &dyn Store, name: &str, limit: usize) -> crate::Result<Vec<u8>> {
    read_part(store, name, 0, limit)
}

/// A part of an object, shorter when the object ends there.
pub fn read_part(store: &dyn Store, name: &str, offset: u64, len: usize) -> crate::Result<Vec<u8>> {
    let mut out = Vec::new();
    match store.read(name, offset, len, &mut out) {
        Ok(()) => Ok(out),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(crate::Error::Missing { name: name.into() }),
        Err(error) => Err(crate::Error::store("read", name)(error)),
    }
}

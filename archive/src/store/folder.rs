//! A store in a folder.
//!
//! A draft is a file whose name begins with `.`; publishing it is: write, fsync the file, link it under its name (which fails when the name is
//! taken), fsync the folder, unlink the draft. So a name never shows an object that is not wholly on disk, also after power loss. A process that was killed before it could
//! fsync a folder leaves that to the next: whoever finds a name taken, or a folder there, makes it durable before he builds on it.
//! Drafts of processes that died are removed when they are an hour old. File systems without hard links get `renameat2` with `NOREPLACE`.

use super::{Draft, Listed, Store};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags};
use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

pub struct FolderStore {
    root: PathBuf,
    /// Files that were read last, kept open: segments of one pack are read one after the other.
    open: Mutex<Vec<(String, Arc<File>)>>,
    /// Folders whose names this process knows to be durable.
    folders: Durable,
}

type Durable = Arc<Mutex<HashSet<PathBuf>>>;

const OPEN_MAX: usize = 32;

impl FolderStore {
    /// The folder must exist.
    pub fn open(root: &Path) -> io::Result<Self> {
        if !root.metadata()?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(FolderStore { root: root.to_path_buf(), open: Mutex::default(), folders: Durable::default() })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn file(&self, name: &str) -> io::Result<Arc<File>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = open.iter().position(|(known, _)| known == name) {
            return Ok(open[index].1.clone());
        }
        let file = Arc::new(File::open(self.path(name))?);
        if open.len() == OPEN_MAX {
            open.remove(0);
        }
        open.push((name.to_string(), file.clone()));
        Ok(file)
    }

    fn close(&self, name: &str) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).retain(|(known, _)| known != name);
    }

    fn folder_of(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        path.parent().map_or_else(|| self.root.clone(), Path::to_path_buf)
    }

    /// Removes drafts that nobody has touched for an hour. `now` is Unix time in seconds.
    pub fn remove_old_drafts(&self, now: u64) -> io::Result<u64> {
        let mut removed = 0;
        for entry in self.root.read_dir()? {
            let entry = entry?;
            let old = |seconds: i64| (seconds as u64).saturating_add(3600) < now;
            if entry.file_name().as_encoded_bytes().starts_with(DRAFT.as_bytes()) && old(entry.metadata()?.mtime()) {
                std::fs::remove_file(entry.path())?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

const DRAFT: &str = ".draft-";

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Like `sync_folder`; a folder that we may not read is none that we made.
fn sync_above(path: Option<&Path>) -> io::Result<()> {
    let Some(path) = path else { return Ok(()) };
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    match sync_folder(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        other => other,
    }
}

/// Makes a folder and its parents, and their names durable; so, too, the last that another process made before it was killed.
pub fn make_folder(path: &Path, mode: u32) -> io::Result<()> {
    let parent = path.parent();
    match std::fs::DirBuilder::new().mode(mode).create(path) {
        Ok(()) => sync_above(parent).and_then(|()| sync_above(parent.and_then(Path::parent))),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => sync_above(parent),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make_folder(parent.ok_or(error)?, mode)?;
            make_folder(path, mode)
        }
        Err(error) => Err(error),
    }
}

/// Makes a folder in a store, unless this process did so before.
fn make_inside(folder: &Path, durable: &Durable) -> io::Result<()> {
    let known = || durable.lock().unwrap_or_else(PoisonError::into_inner);
    if known().contains(folder) && folder.is_dir() {
        return Ok(());
    }
    make_folder(folder, 0o777)?;
    known().insert(folder.to_path_buf());
    Ok(())
}

struct FolderDraft {
    root: PathBuf,
    path: PathBuf,
    file: File,
    published: bool,
    folders: Durable,
}

impl Draft for FolderDraft {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        io::Write::write_all(&mut self.file, bytes)
    }

    fn publish(mut self: Box<Self>, name: &str) -> io::Result<()> {
        self.file.sync_all()?;
        let target = self.root.join(name);
        let folder = target.parent().unwrap_or(&self.root);
        make_inside(folder, &self.folders)?;
        match rustix::fs::linkat(CWD, &self.path, CWD, &target, AtFlags::empty()) {
            Ok(()) => {}
            Err(rustix::io::Errno::EXIST) => {
                sync_folder(folder)?;
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            Err(rustix::io::Errno::PERM | rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::MLINK) => {
                rustix::fs::renameat_with(CWD, &self.path, CWD, &target, RenameFlags::NOREPLACE)?;
                self.published = true;
            }
            Err(error) => return Err(error.into()),
        }
        sync_folder(folder)
    }
}

impl Drop for FolderDraft {
    fn drop(&mut self) {
        if !self.published {
            // What cannot be removed now is removed as an old draft later.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn list_below(root: &Path, folder: &str, out: &mut Vec<Listed>) -> io::Result<()> {
    let entries = match root.join(folder).read_dir() {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name.starts_with('.') {
            continue;
        }
        let name = format!("{folder}/{name}");
        let kind = entry.file_type()?;
        if kind.is_dir() {
            list_below(root, &name, out)?;
        } else if kind.is_file() {
            match entry.metadata() {
                Ok(metadata) => out.push(Listed { name, len: metadata.len() }),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

fn read_exact_or_end(file: &File, offset: u64, len: usize, out: &mut Vec<u8>) -> io::Result<()> {
    out.clear();
    let end = file.metadata()?.len();
    let len = len.min(end.saturating_sub(offset) as usize);
    out.resize(len, 0);
    let mut filled = 0;
    while filled < len {
        match file.read_at(&mut out[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    out.truncate(filled);
    Ok(())
}

impl Store for FolderStore {
    fn list(&self, folder: &str) -> io::Result<Vec<Listed>> {
        let mut out = Vec::new();
        list_below(&self.root, folder, &mut out)?;
        out.sort_unstable();
        Ok(out)
    }

    fn read(&self, name: &str, offset: u64, len: usize, out: &mut Vec<u8>) -> io::Result<()> {
        read_exact_or_end(&*self.file(name)?, offset, len, out)
    }

    fn draft(&self) -> io::Result<Box<dyn Draft>> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let chance = crate::id::hex(&crate::sign::random::<8>());
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = self.root.join(format!("{DRAFT}{chance}{number}"));
        let fd: OwnedFd =
            rustix::fs::open(&path, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC, Mode::from_raw_mode(0o640))?;
        Ok(Box::new(FolderDraft { root: self.root.clone(), path, file: fd.into(), published: false, folders: self.folders.clone() }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let folder = self.folder_of(to);
        make_inside(&folder, &self.folders)?;
        rustix::fs::renameat_with(CWD, self.path(from), CWD, self.path(to), RenameFlags::NOREPLACE)?;
        self.close(from);
        sync_folder(&folder)?;
        sync_folder(&self.folder_of(from))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.close(name);
        match std::fs::remove_file(self.path(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// An exclusive or shared lock on a folder's `lock` file, held until dropped. It also ends with the process.
pub struct FolderLock {
    file: File,
}

impl FolderLock {
    /// Waits for nobody: `None` when the lock is taken.
    pub fn take(root: &Path, exclusive: bool) -> io::Result<Option<FolderLock>> {
        use rustix::fs::{FlockOperation, flock};
        let path = root.join("lock");
        let file = match std::fs::OpenOptions::new().read(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => std::fs::OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o644)
                .open(&path)?,
            other => other?,
        };
        let operation = if exclusive { FlockOperation::NonBlockingLockExclusive } else { FlockOperation::NonBlockingLockShared };
        match flock(&file, operation) {
            Ok(()) => Ok(Some(FolderLock { file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for FolderLock {
    /// Closing is not enough: a child between fork and exec has the same open file, and would hold the lock until then.
    fn drop(&mut self) {
        // What cannot be unlocked ends with the last descriptor.
        let _ = rustix::fs::flock(&self.file, rustix::fs::FlockOperation::Unlock);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conforms() {
        super::super::conform::suite(&mut || {
            let folder = tempfile::tempdir().unwrap();
            let store = FolderStore::open(folder.path()).unwrap();
            (Box::new(store), Box::new(folder))
        });
    }

    #[test]
    fn old_drafts_go_and_young_ones_stay() {
        let folder = tempfile::tempdir().unwrap();
        let store = FolderStore::open(folder.path()).unwrap();
        std::fs::write(folder.path().join(".draft-old"), "x").unwrap();
        let written = folder.path().join(".draft-old").metadata().unwrap().mtime() as u64;
        assert_eq!(store.remove_old_drafts(written + 10).unwrap(), 0);
        assert_eq!(store.remove_old_drafts(written + 4000).unwrap(), 1);
    }

    #[test]
    fn locks_exclude() {
        let folder = tempfile::tempdir().unwrap();
        let shared = FolderLock::take(folder.path(), false).unwrap().unwrap();
        let _other = FolderLock::take(folder.path(), false).unwrap().unwrap();
        assert!(FolderLock::take(folder.path(), true).unwrap().is_none());
        drop((shared, _other));
        let alone = FolderLock::take(folder.path(), true).unwrap().unwrap();
        assert!(FolderLock::take(folder.path(), false).unwrap().is_none());
        drop(alone);
    }

    #[test]
    fn a_lock_is_given_up_at_once_though_a_child_was_forked_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let alone = FolderLock::take(folder.path(), true).unwrap().unwrap();
        // What a child has of it between fork and exec.
        let _inherited = alone.file.try_clone().unwrap();
        drop(alone);
        assert!(FolderLock::take(folder.path(), true).unwrap().is_some());
    }
}

//! Where an import goes: the target of one root, what lies beside it, and whether it can be switched in one step.

use std::ffi::{CString, OsStr};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::RenameFlags;
use rustix::io::Errno;

use super::exclude::{NEW, PREVIOUS};
use super::folder::{Folder, Found, Handles, stat_at};
use super::walk::c_name;
use super::{Inner, Root};
use crate::Error;
use crate::data::{Finding, Level};

pub(crate) struct Target {
    /// Without symlinks.
    pub label: PathBuf,
    pub parent: Arc<Folder>,
    /// In `parent`.
    pub name: CString,
    /// In the tree that arrives. It differs from `name` where the path is a symlink.
    pub entry: CString,
    pub new: CString,
    pub previous: CString,
}

impl Target {
    /// None for `/`, which lies in no folder. Creates the folders on the way if it may.
    pub fn resolve(root: &Root, create: bool) -> Result<Option<Target>, Error> {
        let label = real(&root.path, create)?;
        let (Some(above), Some(name)) = (label.parent(), label.file_name()) else {
            return Ok(None);
        };
        let failed = |error: io::Error| Error::io("open the folder of", &label, error);
        let parent = Folder::root(above, &Handles::new()).map_err(failed)?;
        let named = |name: &[u8]| c_name(name).map_err(|error| failed(error.into()));
        let name = name.as_bytes();
        let beside = |ending: &str| named(&[b".", name, ending.as_bytes()].concat());
        let (new, previous) = (beside(NEW)?, beside(PREVIOUS)?);
        let (name, entry) = (named(name)?, named(&root.name)?);
        Ok(Some(Target { label, parent, name, entry, new, previous }))
    }

    /// What is there now.
    pub fn live(&self) -> io::Result<Option<Found>> {
        self.beside(&self.name)
    }

    pub fn beside(&self, name: &CString) -> io::Result<Option<Found>> {
        absent(stat_at(&*self.parent.fd()?, name))
    }

    /// The folder that holds what arrives, or what was before. It stays open, unlike others.
    pub fn container(&self, name: &CString) -> io::Result<Option<Arc<Folder>>> {
        match super::folder::open_folder_at(&*self.parent.fd()?, name) {
            Ok(fd) => Ok(Some(Folder::root_of(fd, &Handles::new())?)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&*self.parent.fd()?)?)
    }

    pub fn exchange(&self, one: &CString, other: &CString) -> io::Result<()> {
        let fd = self.parent.fd()?;
        rustix::fs::renameat_with(&*fd, one, &*fd, other, RenameFlags::EXCHANGE)?;
        self.sync()
    }

    pub fn rename(&self, from: &CString, to: &CString) -> io::Result<()> {
        let fd = self.parent.fd()?;
        rustix::fs::renameat_with(&*fd, from, &*fd, to, RenameFlags::NOREPLACE)?;
        self.sync()
    }

    /// Why this target cannot be switched, if that can be told before trying.
    pub fn fixed(&self, inner: &Inner) -> Option<&'static str> {
        if mounted(&self.label) {
            return Some("a file system is mounted on it or below it");
        }
        let skipped = inner.skip.iter().filter_map(|skip| fs::canonicalize(skip).ok());
        if skipped.into_iter().any(|skip| skip.starts_with(&self.label)) {
            return Some("a folder that is skipped lies in it");
        }
        None
    }
}

pub(crate) fn absent<T>(result: rustix::io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The administrator's path without its symlinks. What it leads to need not exist, but a symlink to nowhere is a
/// mistake that nobody but the administrator can mend.
pub(crate) fn real(path: &Path, create: bool) -> Result<PathBuf, Error> {
    let missing = |source| Error::Missing { path: path.to_path_buf(), source };
    match fs::canonicalize(path) {
        Ok(real) => return Ok(real),
        Err(error) if error.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(path).is_err() => {}
        Err(error) => return Err(missing(error)),
    }
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(path.to_path_buf());
    };
    if create {
        fs::create_dir_all(above).map_err(|error| Error::io("create", above, error))?;
    }
    Ok(fs::canonicalize(above).map_err(missing)?.join(name))
}

/// Whether a mount point is this path or lies below it: renaming would take the mount along.
fn mounted(path: &Path) -> bool {
    let Ok(mounts) = fs::read("/proc/self/mountinfo") else {
        return false;
    };
    let points = mounts.split(|byte| *byte == b'\n').filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
    points.map(unescape).any(|point| Path::new(OsStr::from_bytes(&point)).starts_with(path))
}

/// The kernel writes blanks and backslashes as three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let (mut plain, mut rest) = (Vec::with_capacity(field.len()), field);
    while let [byte, tail @ ..] = rest {
        let octal = tail.get(..3).filter(|digits| *byte == b'\\' && digits.iter().all(|d| (b'0'..=b'7').contains(d)));
        match octal {
            Some(digits) => {
                plain.push(digits.iter().fold(0u8, |value, digit| value.wrapping_mul(8).wrapping_add(digit - b'0')));
                rest = &tail[3..];
            }
            None => {
                plain.push(*byte);
                rest = tail;
            }
        }
    }
    plain
}

/// What a check says of a target. Creates nothing.
pub(crate) fn check(inner: &Inner, root: &Root) -> Vec<Finding> {
    let Ok(Some(target)) = Target::resolve(root, false) else {
        return Vec::new();
    };
    let (mut found, shown) = (Vec::new(), target.label.display());
    if let Ok(Some(_)) = target.beside(&target.new) {
        let what = format!("an import into {shown} did not end");
        found.push(Finding::new(Level::Warning, what).hint("import again: that finishes it or undoes it first"));
    }
    if let Some(reason) = target.fixed(inner) {
        let what = format!("imports into {shown} are made in place, not switched in one step: {reason}");
        found.push(Finding::new(Level::Note, what));
    }
    found
}

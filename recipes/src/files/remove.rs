//! Removing: a whole tree that is the recipe's own, or from a target what is gone in the source.
//!
//! Both go by descriptors, so a symlink is removed and never followed.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;

use super::exclude::Excludes;
use super::folder::Folder;
use super::walk::{Bounds, Step, Walk, c_name};
use crate::Error;
use crate::data::{Finding, Level};

const FINDINGS: usize = 100;

/// Removes the entry and all below it. That it is not there is no error.
pub(crate) fn whole(parent: &Arc<Folder>, name: &[u8]) -> io::Result<()> {
    let name = c_name(name)?;
    let fd = parent.fd()?;
    match rustix::fs::unlinkat(&*fd, &name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    let (folder, _) = parent.open(&name)?;
    let nothing = Excludes::nothing();
    let bounds = Bounds { excludes: &nothing, skip: &[], device: None, leavings: false };
    let mut walk = Walk::new(folder, bounds);
    while let Some(step) = walk.next() {
        match step {
            Step::Entry { folder: None, found } if !found.is_folder() => unlink(&walk, AtFlags::empty())?,
            Step::Leave => unlink(&walk, AtFlags::REMOVEDIR)?,
            Step::Entry { .. } | Step::Excluded => {}
            Step::Unread(error) | Step::Unlisted(error) => return Err(error),
        }
    }
    Ok(rustix::fs::unlinkat(&*fd, &name, AtFlags::REMOVEDIR)?)
}

fn unlink(walk: &Walk<'_>, flags: AtFlags) -> io::Result<()> {
    let Some(parent) = walk.parent() else {
        return Ok(());
    };
    match rustix::fs::unlinkat(&*parent.fd()?, &c_name(walk.name())?, flags) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Removes what is neither held nor excluded. `prefix` stands before the paths that `holds` is asked about. What cannot
/// be removed is reported, and the rest goes on.
pub(crate) fn gone(
    root: &Arc<Folder>,
    label: &Path,
    bounds: Bounds<'_>,
    prefix: &[u8],
    holds: &mut dyn FnMut(&[u8]) -> bool,
) -> Result<Vec<Finding>, Error> {
    let mut found = Vec::new();
    let mut walk = Walk::new(root.clone(), bounds);
    let mut path = prefix.to_vec();
    while let Some(step) = walk.next() {
        path.truncate(prefix.len());
        if !prefix.is_empty() && !walk.path().is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(walk.path());
        let result = match step {
            // Never exported, so never gone.
            Step::Entry { found, .. } if found.kind == FileType::Socket => Ok(()),
            Step::Entry { found, .. } if !found.is_folder() && !holds(&path) => unlink(&walk, AtFlags::empty()),
            Step::Leave if !holds(&path) => match unlink(&walk, AtFlags::REMOVEDIR) {
                // Something excluded lives in it.
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
                other => other,
            },
            Step::Unread(error) | Step::Unlisted(error) => Err(error),
            Step::Entry { .. } | Step::Leave | Step::Excluded => Ok(()),
        };
        if let Err(error) = result
            && found.len() < FINDINGS
        {
            let shown = String::from_utf8_lossy(&path);
            found.push(Finding::new(Level::Warning, format!("cannot remove {shown} in {}: {error}", label.display())));
        }
    }
    Ok(found)
}

//! Extended attributes, ACLs among them, of one entry.
//!
//! Lists and values may grow between asking for their size and reading them; the reading is then tried again, bounded.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::io::Errno;

pub(crate) type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

pub(crate) fn of_fd(fd: &OwnedFd) -> rustix::io::Result<Xattrs> {
    read(|buf| rustix::fs::flistxattr(fd, buf), |name, buf| rustix::fs::fgetxattr(fd, name, buf))
}

/// Of an entry that cannot or must not be opened. The kernel takes only paths here; this one goes through the folder's
/// descriptor, so that nothing but the entry itself is resolved by name.
pub(crate) fn of_entry(folder: &OwnedFd, name: &CStr) -> rustix::io::Result<Xattrs> {
    let mut path = format!("/proc/self/fd/{}/", folder.as_raw_fd()).into_bytes();
    path.extend_from_slice(name.to_bytes());
    let path = path.as_slice();
    read(|buf| rustix::fs::llistxattr(path, buf), |name, buf| rustix::fs::lgetxattr(path, name, buf))
}

fn read(
    mut list: impl FnMut(&mut [u8]) -> rustix::io::Result<usize>,
    mut get: impl FnMut(&CStr, &mut [u8]) -> rustix::io::Result<usize>,
) -> rustix::io::Result<Xattrs> {
    let names = match grow(&mut list) {
        Ok(names) => names,
        Err(Errno::NOTSUP) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for name in names.split_inclusive(|byte| *byte == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name) else {
            continue;
        };
        match grow(|buf| get(name, buf)) {
            Ok(value) => found.push((name.to_bytes().to_vec(), value)),
            // Gone since it was listed, or of a kind that is listed but not readable.
            Err(Errno::NODATA | Errno::NOTSUP) => {}
            Err(error) => return Err(error),
        }
    }
    found.sort();
    Ok(found)
}

fn grow(mut call: impl FnMut(&mut [u8]) -> rustix::io::Result<usize>) -> rustix::io::Result<Vec<u8>> {
    // The kernel's own limit for a list and for a value.
    const MOST: usize = 64 << 10;
    let mut small = [0; 256];
    match call(&mut small) {
        Ok(length) => return Ok(small[..length].to_vec()),
        Err(Errno::RANGE) => {}
        Err(error) => return Err(error),
    }
    let mut large = vec![0; MOST];
    let length = call(&mut large)?;
    large.truncate(length);
    Ok(large)
}

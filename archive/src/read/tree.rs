//! Writing below a target and nowhere else, whatever a snapshot says and whoever swaps a folder for a link meanwhile.
//!
//! Everything goes through file descriptors of folders that were reached from the target's without following a link. Paths longer than the kernel takes in one
//! call are walked in pieces.

use crate::entry::{Attributes, Time, Xattrs};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The most of a path that is handed to the kernel at once.
const PART_MAX: usize = 3000;

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A target on disk.
pub struct Tree {
    root: OwnedFd,
}

fn open_below(folder: BorrowedFd<'_>, path: &[u8]) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(folder, path, FOLDER, Mode::empty(), resolve) {
        Err(Errno::NOSYS) => {
            let mut at: Option<OwnedFd> = None;
            for part in path.split(|&byte| byte == b'/') {
                if part == b".." {
                    return Err(io::Error::from(Errno::XDEV));
                }
                let from = at.as_ref().map_or(folder, AsFd::as_fd);
                at = Some(rustix::fs::openat(from, part, FOLDER, Mode::empty())?);
            }
            at.ok_or_else(|| io::ErrorKind::InvalidInput.into())
        }
        other => Ok(other?),
    }
}

/// Opens the folder at `path` below another.
pub fn open_folder(folder: BorrowedFd<'_>, path: &[u8]) -> io::Result<OwnedFd> {
    if path.is_empty() {
        return Ok(rustix::io::fcntl_dupfd_cloexec(folder, 0)?);
    }
    let (mut at, mut rest): (Option<OwnedFd>, &[u8]) = (None, path);
    while rest.len() > PART_MAX {
        let cut = rest[..PART_MAX].iter().rposition(|&byte| byte == b'/').ok_or(Errno::NAMETOOLONG)?;
        at = Some(open_below(at.as_ref().map_or(folder, AsFd::as_fd), &rest[..cut])?);
        rest = &rest[cut + 1..];
    }
    open_below(at.as_ref().map_or(folder, AsFd::as_fd), rest)
}

impl Tree {
    /// Opens the target, and makes it when it is not there. The target itself may be reached through links: it was named by a person.
    pub fn open(target: &Path) -> io::Result<Tree> {
        std::fs::create_dir_all(target)?;
        let root = rustix::fs::open(target.as_os_str().as_bytes(), OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Tree { root })
    }

    /// One that is there, and open.
    pub fn of(root: OwnedFd) -> Tree {
        Tree { root }
    }

    pub fn folder(&self, path: &[u8]) -> io::Result<OwnedFd> {
        open_folder(self.root.as_fd(), path)
    }

    /// Waits until everything below the target is on disk.
    pub fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.root)?)
    }
}

/// What is at a name now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub kind: FileType,
    pub len: u64,
    pub mtime: Time,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

/// Looks at a name without following it. `None` when nothing is there.
pub fn look(folder: BorrowedFd<'_>, name: &[u8]) -> io::Result<Option<Found>> {
    match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(Found {
            kind: FileType::from_raw_mode(stat.st_mode),
            len: stat.st_size as u64,
            mtime: Time { seconds: stat.st_mtime, nanos: stat.st_mtime_nsec as u32 },
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
        })),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Creates a file that is not there.
pub fn create_file(folder: BorrowedFd<'_>, name: &[u8]) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(folder, name, flags, Mode::from_raw_mode(0o600))?.into())
}

/// Opens a file that is there and is a file.
pub fn open_file(folder: BorrowedFd<'_>, name: &[u8], write: bool) -> io::Result<File> {
    let access = if write { OFlags::RDWR } else { OFlags::RDONLY };
    let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file: File = rustix::fs::openat(folder, name, flags, Mode::empty())?.into();
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is not a file")) }
}

/// Removes whatever is at a name, folders with all that is in them, without following links.
pub fn remove(folder: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    let inside = rustix::fs::openat(folder, name, FOLDER, Mode::empty())?;
    for child in names(inside.as_fd())? {
        remove(inside.as_fd(), &child)?;
    }
    Ok(rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR)?)
}

/// The names in a folder.
pub fn names(folder: BorrowedFd<'_>) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}

fn timestamps(mtime: Time) -> Timestamps {
    let time = Timespec { tv_sec: mtime.seconds, tv_nsec: mtime.nanos.into() };
    Timestamps { last_access: time, last_modification: time }
}

/// Whose attributes are restored: owners only by the superuser.
#[derive(Clone, Copy, Debug)]
pub struct Owners(pub bool);

/// Gives an open file or folder its attributes; the times last, because the rest changes them.
pub fn set_attributes(file: BorrowedFd<'_>, attributes: &Attributes, owners: Owners) -> io::Result<()> {
    if owners.0 {
        rustix::fs::fchown(file, Some(rustix::fs::Uid::from_raw(attributes.uid)), Some(rustix::fs::Gid::from_raw(attributes.gid)))?;
    }
    rustix::fs::fchmod(file, Mode::from_raw_mode(attributes.mode))?;
    for (name, value) in &attributes.xattrs {
        set_xattr(name, || rustix::fs::fsetxattr(file, name.as_slice(), value, XattrFlags::empty()))?;
    }
    Ok(rustix::fs::futimens(file, &timestamps(attributes.mtime))?)
}

fn set_xattr(name: &[u8], set: impl FnOnce() -> rustix::io::Result<()>) -> io::Result<()> {
    set().map_err(|errno| {
        let error = io::Error::from(errno);
        io::Error::new(error.kind(), format!("extended attribute {}: {error}", crate::entry::display(name)))
    })
}

/// Removes extended attributes that `wanted` does not have. Those of other name spaces than the user's and the ACLs' are left to the system.
pub fn drop_xattrs(file: BorrowedFd<'_>, wanted: &Xattrs) -> io::Result<()> {
    surplus_xattrs(file, wanted)?
        .iter()
        .try_for_each(|name| Ok(rustix::fs::fremovexattr(file, name.as_slice())?))
}

/// Whether a file has the extended attributes that are wanted, and none that would be removed.
pub fn has_xattrs(file: BorrowedFd<'_>, wanted: &Xattrs) -> io::Result<bool> {
    let mut buffer = vec![0; 64 << 10];
    for (name, value) in wanted {
        match rustix::fs::fgetxattr(file, name.as_slice(), &mut buffer[..]) {
            Ok(len) if buffer.get(..len) == Some(value.as_slice()) => {}
            _ => return Ok(false),
        }
    }
    Ok(surplus_xattrs(file, wanted)?.is_empty())
}

/// The names of those that a restore would remove.
fn surplus_xattrs(file: BorrowedFd<'_>, wanted: &Xattrs) -> io::Result<Vec<Vec<u8>>> {
    let mut buffer = vec![0; 64 << 10];
    let len = match rustix::fs::flistxattr(file, &mut buffer[..]) {
        Ok(len) => len,
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let names = buffer[..len].split(|&byte| byte == 0).filter(|name| !name.is_empty());
    let ours = names.filter(|name| name.starts_with(b"user.") || name.starts_with(b"system.posix_acl_"));
    Ok(ours.filter(|name| !wanted.iter().any(|(have, _)| have == name)).map(<[u8]>::to_vec).collect())
}

/// Gives something that cannot be opened (a link, a device) its attributes.
pub fn set_attributes_at(folder: BorrowedFd<'_>, name: &[u8], attributes: &Attributes, owners: Owners, link: bool) -> io::Result<()> {
    if owners.0 {
        let (uid, gid) = (rustix::fs::Uid::from_raw(attributes.uid), rustix::fs::Gid::from_raw(attributes.gid));
        rustix::fs::chownat(folder, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    if !link {
        // By a descriptor of the very thing: a name may be a link by now, and chmodat would follow it.
        let thing = rustix::fs::openat(folder, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        if FileType::from_raw_mode(rustix::fs::fstat(&thing)?.st_mode) == FileType::Symlink {
            return Err(io::Error::other("it was replaced by a link"));
        }
        rustix::fs::chmod(format!("/proc/self/fd/{}", thing.as_raw_fd()), Mode::from_raw_mode(attributes.mode))?;
    }
    let path = [format!("/proc/self/fd/{}/", folder.as_raw_fd()).as_bytes(), name].concat();
    for (key, value) in &attributes.xattrs {
        set_xattr(key, || rustix::fs::lsetxattr(path.as_slice(), key.as_slice(), value, XattrFlags::empty()))?;
    }
    Ok(rustix::fs::utimensat(folder, name, &timestamps(attributes.mtime), AtFlags::SYMLINK_NOFOLLOW)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_in_the_way_is_not_followed() {
        let (target, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::os::unix::fs::symlink(outside.path(), target.path().join("link")).unwrap();
        std::fs::create_dir_all(outside.path().join("inner")).unwrap();
        std::fs::write(outside.path().join("file"), "x").unwrap();
        let tree = Tree::open(target.path()).unwrap();
        assert!(tree.folder(b"link").is_err());
        assert!(tree.folder(b"link/inner").is_err());
        assert!(tree.folder(b"../").is_err());
        let root = tree.folder(b"").unwrap();
        remove(root.as_fd(), b"link").unwrap();
        assert!(outside.path().join("file").exists());
        std::os::unix::fs::symlink(outside.path().join("file"), target.path().join("file")).unwrap();
        assert!(open_file(root.as_fd(), b"file", true).is_err());
        assert!(create_file(root.as_fd(), b"file").is_err());
    }

    #[test]
    fn paths_longer_than_the_kernel_takes_are_walked() {
        let target = tempfile::tempdir().unwrap();
        let tree = Tree::open(target.path()).unwrap();
        let mut path = Vec::new();
        let mut at = tree.folder(b"").unwrap();
        for _ in 0..60 {
            let name = [b'x'; 100];
            rustix::fs::mkdirat(&at, &name[..], Mode::from_raw_mode(0o700)).unwrap();
            path = if path.is_empty() { name.to_vec() } else { [&path[..], b"/", &name].concat() };
            at = tree.folder(&path).unwrap();
        }
        assert!(path.len() > 6000);
        remove(tree.folder(b"").unwrap().as_fd(), &[b'x'; 100]).unwrap();
        assert!(names(tree.folder(b"").unwrap().as_fd()).unwrap().is_empty());
    }
}

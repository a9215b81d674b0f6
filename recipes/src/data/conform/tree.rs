//! Writes received items into a staging place, plainly: the suite trusts its own items, unlike a restore.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};

use super::{Kind, Taken};
use crate::data::{Attributes, Contents, Place};

/// Writes what belongs into this place.
pub fn write_tree(taken: &[Taken], place: &Place) {
    let inside = |path: &[u8]| {
        let rest = path.strip_prefix(place.prefix.as_slice());
        place.prefix.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    };
    let taken: Vec<&Taken> = taken.iter().filter(|taken| inside(&taken.path)).collect();
    let at = |path: &[u8]| match path {
        b"" => place.folder.clone(),
        path => place.folder.join(OsStr::from_bytes(path)),
    };
    for taken in &taken {
        write_entry(taken, &at(&taken.path), &at);
    }
    // Children first, since they change their folder's time.
    for taken in taken.iter().rev() {
        dress(&at(&taken.path), &taken.attributes, matches!(taken.kind, Kind::Symlink(_)));
    }
}

fn write_entry(taken: &Taken, path: &Path, at: &dyn Fn(&[u8]) -> PathBuf) {
    if let Ok(found) = fs::symlink_metadata(path) {
        match (&taken.kind, found.is_dir()) {
            (Kind::Folder, true) => return,
            (_, true) => fs::remove_dir_all(path).expect("the old folder goes"),
            (_, false) => fs::remove_file(path).expect("the old entry goes"),
        }
    }
    let node = |kind, major, minor| {
        let device = rustix::fs::makedev(major, minor);
        rustix::fs::mknodat(CWD, path, kind, Mode::RUSR, device).expect("the node is made");
    };
    match &taken.kind {
        Kind::Folder => fs::DirBuilder::new().mode(0o700).create(path).expect("the folder is made"),
        Kind::File(content) => {
            fs::File::create_new(path)
                .and_then(|mut file| file.write_all(content))
                .expect("the file is written");
        }
        Kind::Symlink(to) => symlink(OsStr::from_bytes(to), path).expect("the symlink is made"),
        Kind::HardLink(first) => fs::hard_link(at(first), path).expect("the link is made"),
        Kind::Fifo => node(FileType::Fifo, 0, 0),
        Kind::CharDevice(major, minor) => node(FileType::CharacterDevice, *major, *minor),
        Kind::BlockDevice(major, minor) => node(FileType::BlockDevice, *major, *minor),
    }
}

fn dress(path: &Path, attributes: &Attributes, symlink: bool) {
    std::os::unix::fs::lchown(path, Some(attributes.uid), Some(attributes.gid)).expect("the owner is set");
    if !symlink {
        rustix::fs::chmodat(CWD, path, Mode::from_raw_mode(attributes.mode), AtFlags::empty()).expect("the mode is set");
    }
    for (name, value) in &attributes.xattrs {
        rustix::fs::lsetxattr(path, name.as_slice(), value, XattrFlags::empty()).expect("the attribute is set");
    }
    let time = Timespec { tv_sec: attributes.mtime.seconds, tv_nsec: attributes.mtime.nanos.into() };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).expect("the time is set");
}

/// The whole content, holes as zeros.
pub(super) fn read_all(contents: &dyn Contents) -> Vec<u8> {
    let (mut content, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        let length = contents.read_at(&mut buffer, content.len() as u64).expect("the file can be read");
        if length == 0 {
            return content;
        }
        content.extend_from_slice(&buffer[..length]);
    }
}

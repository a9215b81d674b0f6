//! The names in one folder, sorted by bytes, in little memory: a million of them cost their bytes and 16 each.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use rustix::fs::{FileType, RawDir};
use rustix::io::Errno;

#[derive(Clone, Copy)]
struct Name {
    /// The first bytes, big-endian, so that most comparisons need not look at the name.
    first: u64,
    offset: u32,
    /// With the NUL at its end.
    length: u16,
    kind: FileType,
}

/// Names as read by getdents, each with its kind as far as the file system tells.
#[derive(Default)]
pub(crate) struct Names {
    bytes: Vec<u8>,
    names: Vec<Name>,
}

pub(crate) type Buffer = [MaybeUninit<u8>];

pub(crate) fn buffer() -> Vec<MaybeUninit<u8>> {
    vec![MaybeUninit::uninit(); 64 << 10]
}

impl Names {
    /// Reads from where the descriptor stands, which is rewound first: a descriptor may be read more than once.
    pub fn read(fd: &OwnedFd, buffer: &mut Buffer) -> rustix::io::Result<Names> {
        rustix::fs::seek(fd, rustix::fs::SeekFrom::Start(0))?;
        let mut found = Names::default();
        let mut entries = RawDir::new(fd, buffer);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes_with_nul();
            if name == b".\0" || name == b"..\0" {
                continue;
            }
            let offset = u32::try_from(found.bytes.len()).map_err(|_| Errno::OVERFLOW)?;
            let length = u16::try_from(name.len()).map_err(|_| Errno::NAMETOOLONG)?;
            found.names.push(Name { first: first(name), offset, length, kind: entry.file_type() });
            found.bytes.extend_from_slice(name);
        }
        found.sort();
        Ok(found)
    }

    fn sort(&mut self) {
        let bytes = &self.bytes;
        self.names
            .sort_unstable_by(|a, b| a.first.cmp(&b.first).then_with(|| slice(bytes, a).cmp(slice(bytes, b))));
        // A folder that changes while it is listed may list a name twice.
        self.names.dedup_by(|a, b| slice(bytes, a) == slice(bytes, b));
    }

    pub fn get(&self, index: usize) -> Option<(&CStr, FileType)> {
        let name = self.names.get(index)?;
        Some((CStr::from_bytes_with_nul(slice(&self.bytes, name)).ok()?, name.kind))
    }
}

fn slice<'a>(bytes: &'a [u8], name: &Name) -> &'a [u8] {
    let start = name.offset as usize;
    &bytes[start..start + usize::from(name.length)]
}

fn first(name: &[u8]) -> u64 {
    let mut first = [0; 8];
    let length = name.len().min(8);
    first[..length].copy_from_slice(&name[..length]);
    u64::from_be_bytes(first)
}

//! What tells that an entry is still what it was when it was read.

use crate::entry::Time;
use crate::export::item::Stamp;

/// What is known of an entry besides what the index says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EntryStamp {
    pub device: u64,
    pub inode: u64,
    pub ctime: Time,
    /// Its times were so near to when it was read that a later change might not show.
    pub racy: bool,
    /// The file under `lists/` that holds its list of extents; 0 when that stands in the entry.
    pub lists: u64,
}

pub const STAMP: usize = 40;

impl EntryStamp {
    pub fn bytes(&self) -> [u8; STAMP] {
        let mut bytes = [0; STAMP];
        bytes[..8].copy_from_slice(&self.device.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.inode.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.ctime.seconds.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.ctime.nanos.to_le_bytes());
        bytes[28] = self.racy.into();
        bytes[32..].copy_from_slice(&self.lists.to_le_bytes());
        bytes
    }

    pub fn parse(bytes: &[u8; STAMP]) -> Self {
        let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        EntryStamp {
            device: u64_at(0),
            inode: u64_at(8),
            ctime: Time { seconds: u64_at(16) as i64, nanos: u32::from_le_bytes(bytes[24..28].try_into().expect("four bytes")) },
            racy: bytes[28] != 0,
            lists: u64_at(32),
        }
    }

    pub fn of(stamp: &Stamp, racy: bool) -> Self {
        EntryStamp { device: stamp.device, inode: stamp.inode, ctime: stamp.ctime, racy, lists: 0 }
    }

    pub fn matches(&self, stamp: &Stamp) -> bool {
        !self.racy && self.device == stamp.device && self.inode == stamp.inode && self.ctime == stamp.ctime
    }
}

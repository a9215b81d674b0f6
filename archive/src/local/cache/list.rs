//! The cache's side index: an append-only file of small records, each with its own check.
//!
//! Records have one size, so a torn or damaged one costs itself only. What a record says is a claim about a data file;
//! the entry's own check decides.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::super::RunTag;
use super::sum;

pub(super) const NAME: &str = "index";
const UNFINISHED: &str = ".index";

/// Where an entry's bytes are: file, offset, length, and the sum over key and bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Entry {
    pub file: u32,
    pub offset: u32,
    pub len: u32,
    pub sum: u64,
}

pub(super) enum Record {
    Put { run: RunTag, sequence: u32, entry: Entry },
    Forgotten { run: RunTag, sequence: u32 },
    Evicted { file: u32 },
}

/// Kind, three zero bytes, sequence, run, file, offset, length, four zero bytes, sum, check.
const RECORD_LEN: usize = 48;
const SEED: u64 = 0x7265_7369_6C69_656E;

impl Record {
    pub(super) fn encode(&self) -> [u8; RECORD_LEN] {
        let nothing = Entry { file: 0, offset: 0, len: 0, sum: 0 };
        let (kind, run, sequence, entry) = match *self {
            Self::Put { run, sequence, entry } => (1u32, run.0, sequence, entry),
            Self::Forgotten { run, sequence } => (2, run.0, sequence, nothing),
            Self::Evicted { file } => (3, 0, 0, Entry { file, ..nothing }),
        };
        let mut out = [0; RECORD_LEN];
        out[..4].copy_from_slice(&kind.to_le_bytes());
        out[4..8].copy_from_slice(&sequence.to_le_bytes());
        out[8..16].copy_from_slice(&run.to_le_bytes());
        out[16..20].copy_from_slice(&entry.file.to_le_bytes());
        out[20..24].copy_from_slice(&entry.offset.to_le_bytes());
        out[24..28].copy_from_slice(&entry.len.to_le_bytes());
        out[32..40].copy_from_slice(&entry.sum.to_le_bytes());
        let check = sum(SEED, &out[..40]);
        out[40..].copy_from_slice(&check.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        if number(&bytes[40..48]) != sum(SEED, &bytes[..40]) {
            return None;
        }
        let (run, sequence) = (RunTag(number(&bytes[8..16])), number(&bytes[4..8]) as u32);
        let file = number(&bytes[16..20]) as u32;
        match number(&bytes[..4]) {
            1 => {
                let (offset, len) = (number(&bytes[20..24]) as u32, number(&bytes[24..28]) as u32);
                Some(Self::Put { run, sequence, entry: Entry { file, offset, len, sum: number(&bytes[32..40]) } })
            }
            2 => Some(Self::Forgotten { run, sequence }),
            3 => Some(Self::Evicted { file }),
            _ => None,
        }
    }
}

pub(super) fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | *byte as u64)
}

/// The file, and where the next record goes.
pub(super) struct List {
    file: File,
    end: u64,
}

impl List {
    /// Opens the list of a folder and hands each sound record to `each`, in order.
    pub(super) fn open(folder: &Path, each: &mut dyn FnMut(Record)) -> io::Result<Self> {
        let path = folder.join(NAME);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        bytes.chunks_exact(RECORD_LEN).filter_map(Record::decode).for_each(each);
        let file = options().create(true).truncate(false).open(&path)?;
        let end = (bytes.len() - bytes.len() % RECORD_LEN) as u64;
        Ok(Self { file, end })
    }

    pub(super) fn records(&self) -> u64 {
        self.end / RECORD_LEN as u64
    }

    /// Writes a list of just these records in place of the old one.
    pub(super) fn replace(&mut self, folder: &Path, records: impl Iterator<Item = Record>) -> io::Result<()> {
        let unfinished: PathBuf = folder.join(UNFINISHED);
        let file = options().create(true).truncate(true).open(&unfinished)?;
        let bytes: Vec<u8> = records.flat_map(|record| record.encode()).collect();
        file.write_all_at(&bytes, 0)?;
        std::fs::rename(&unfinished, folder.join(NAME))?;
        *self = Self { file, end: bytes.len() as u64 };
        Ok(())
    }

    pub(super) fn append(&mut self, record: &Record) -> io::Result<()> {
        self.file.write_all_at(&record.encode(), self.end)?;
        self.end += RECORD_LEN as u64;
        Ok(())
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

//! What a session of the segment cache knows: entries, data files, and the list that says so on the disk.
//!
//! A number of a data file is not used again, so an entry of a file that is gone cannot mean a later one.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::RunTag;
use super::list::{Entry, List, Record};

const ENDING: &str = "segments";

pub(super) struct State {
    pub(super) entries: HashMap<(RunTag, u32), Entry>,
    pub(super) files: BTreeMap<u32, DataFile>,
    /// What the data files take on the disk.
    pub(super) total: u64,
    pub(super) current: Option<(u32, Arc<File>)>,
    /// Number of the newest file there ever was.
    pub(super) newest: u32,
    pub(super) list: Option<List>,
    chance: u64,
}

#[derive(Default)]
pub(super) struct DataFile {
    pub(super) len: u64,
    pub(super) live: u64,
}

impl State {
    pub(super) fn read(folder: &Path, seed: u64) -> io::Result<Self> {
        let mut files = BTreeMap::new();
        for item in std::fs::read_dir(folder)? {
            let item = item?;
            if let Some(number) = number_of(&item.path()) {
                files.insert(number, DataFile { len: item.metadata()?.len(), live: 0 });
            }
        }
        let mut entries = HashMap::new();
        let mut newest = files.last_key_value().map_or(0, |(number, _)| *number);
        let list = List::open(folder, &mut |record| match record {
            Record::Put { run, sequence, entry } => {
                newest = newest.max(entry.file);
                entries.insert((run, sequence), entry);
            }
            Record::Forgotten { run, sequence } => drop(entries.remove(&(run, sequence))),
            Record::Evicted { file } => newest = newest.max(file),
        })?;
        // Numbers are not used again, so an entry of a file that is gone cannot mean a later one.
        entries.retain(|_, entry| {
            let Some(file) = files.get_mut(&entry.file) else {
                return false;
            };
            let within = entry.offset as u64 + entry.len as u64 <= file.len;
            file.live += if within { entry.len as u64 } else { 0 };
            within
        });
        let total = files.values().map(|file| file.len).sum();
        Ok(Self { entries, files, total, current: None, newest, list: Some(list), chance: seed })
    }

    pub(super) fn next_chance(&mut self) -> u64 {
        self.chance = self.chance.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let word = (self.chance ^ (self.chance >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word ^ (word >> 29)
    }

    /// The list is a claim only: a record that cannot be written leaves claims that fail.
    fn note(&mut self, record: &Record) {
        if self.list.as_mut().is_some_and(|list| list.append(record).is_err()) {
            self.list = None;
        }
    }

    pub(super) fn forget(&mut self, run: RunTag, sequence: u32) {
        if let Some(entry) = self.entries.remove(&(run, sequence)) {
            if let Some(file) = self.files.get_mut(&entry.file) {
                file.live = file.live.saturating_sub(entry.len as u64);
            }
            self.note(&Record::Forgotten { run, sequence });
        }
    }

    pub(super) fn evict(&mut self, folder: &Path, number: u32) {
        if let Some(file) = self.files.remove(&number) {
            self.total -= file.len.min(self.total);
        }
        self.current.take_if(|(current, _)| *current == number);
        self.entries.retain(|_, entry| entry.file != number);
        self.note(&Record::Evicted { file: number });
        // A file that stays is counted again, and removed, by a later session.
        let _ = std::fs::remove_file(path_of(folder, number));
    }

    pub(super) fn remove_all(&mut self, folder: &Path) -> io::Result<()> {
        for number in std::mem::take(&mut self.files).into_keys() {
            std::fs::remove_file(path_of(folder, number))?;
        }
        self.entries.clear();
        self.total = 0;
        self.list.as_mut().map_or(Ok(()), |list| list.replace(folder, std::iter::empty()))
    }
}

pub(super) fn path_of(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("{number:08x}.{ENDING}"))
}

fn number_of(path: &Path) -> Option<u32> {
    let name = path.file_name()?.to_str()?.strip_suffix(ENDING)?.strip_suffix('.')?;
    u32::from_str_radix(name, 16).ok().filter(|_| name.len() == 8)
}

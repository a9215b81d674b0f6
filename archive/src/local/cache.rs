//! A bounded cache of segments in their plain form: compressed, unsealed (FORMAT.md, 3).
//!
//! It is what makes matching possible on a node that cannot open its own snapshots. It holds the live data's bytes, so
//! it is protected like them: the folder is for its owner only. It may lose anything at any time, and it never gives
//! wrong bytes: each entry's bytes are checked, together with its address, when they are read. Therefore nothing is
//! synced.
//!
//! Entries are appended to few large files, and listed in a side index. Over the limit, whole files go, chosen at
//! random: least-recently-used would hit nothing under a scan larger than the cache. Bytes are written outside of all
//! locks; an entry is seen when they are written. A write that fails (a full disk) turns putting off for the session
//! and is no error: the export goes on without.
//!
//! It does not exclude other processes; the caller holds a lock on the state folder. It does not unpack segments.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::RunTag;

mod list;
mod state;

use list::{Entry, Record, number};
use state::{DataFile, State, path_of};

/// The most that a data file grows to, unless one entry alone is larger.
const FILE_LEN_MAX: u64 = 16 << 20;
/// There are about so many files, lest one eviction takes too much.
const FILES: u64 = 16;
/// A list shorter than this is not worth rewriting.
const RECORDS_MIN: u64 = 4096;

/// The cache in a folder.
pub struct SegmentCache {
    folder: PathBuf,
    limit_bytes: u64,
    file_len_max: u64,
    state: Mutex<State>,
    /// Putting failed; what is there stays readable.
    off: AtomicBool,
}

impl SegmentCache {
    /// Opens the cache in `folder`, which is made when missing. With a limit of zero it holds nothing, and what an
    /// earlier session left is removed. `seed` decides which files are evicted.
    pub fn open(folder: &Path, limit_bytes: u64, seed: u64) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        std::fs::set_permissions(folder, PermissionsExt::from_mode(0o700))?;
        let mut state = State::read(folder, seed)?;
        if limit_bytes == 0 {
            state.remove_all(folder)?;
        }
        let file_len_max = (limit_bytes / FILES).min(FILE_LEN_MAX);
        // Not to leave a file for each of a day's sessions.
        state.current = state.files.last_key_value().filter(|(_, file)| file.len < file_len_max).and_then(|(&number, _)| {
            let file = OpenOptions::new().write(true).open(path_of(folder, number)).ok()?;
            Some((number, Arc::new(file)))
        });
        let off = AtomicBool::new(limit_bytes == 0);
        let cache = Self { folder: folder.to_owned(), limit_bytes, file_len_max, state: Mutex::new(state), off };
        cache.shrink(&mut cache.state(), 0);
        Ok(cache)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Keeps a segment's plain form; that it could not be kept is no error.
    pub fn put(&self, run: RunTag, sequence: u32, plain_form: &[u8]) -> io::Result<()> {
        let len = plain_form.len() as u64;
        if self.off.load(Ordering::Relaxed) || len > self.limit_bytes || len > FILE_LEN_MAX {
            return Ok(());
        }
        if self.try_put(run, sequence, plain_form).is_err() {
            self.off.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    fn try_put(&self, run: RunTag, sequence: u32, plain_form: &[u8]) -> io::Result<()> {
        let len = plain_form.len() as u64;
        let (number, file, offset) = {
            let mut state = self.state();
            if state.entries.contains_key(&(run, sequence)) {
                return Ok(());
            }
            self.reserve(&mut state, len)?
        };
        file.write_all_at(plain_form, offset)?;
        let entry = Entry { file: number, offset: offset as u32, len: len as u32, sum: sum_of(run, sequence, plain_form) };
        let mut state = self.state();
        let State { entries, files, list, .. } = &mut *state;
        // Evicted meanwhile, or put by another thread: these bytes stay unlisted.
        let Some(data) = files.get_mut(&number) else {
            return Ok(());
        };
        if entries.contains_key(&(run, sequence)) {
            return Ok(());
        }
        data.live += len;
        entries.insert((run, sequence), entry);
        list.as_mut().map_or(Ok(()), |list| list.append(&Record::Put { run, sequence, entry }))
    }

    /// Room for `len` bytes: a file, and where in it.
    fn reserve(&self, state: &mut State, len: u64) -> io::Result<(u32, Arc<File>, u64)> {
        self.shrink(state, len);
        let current = state.current.clone().filter(|(number, _)| {
            let so_far = state.files.get(number).map_or(0, |file| file.len);
            so_far > 0 && so_far + len <= self.file_len_max
        });
        let (number, file) = match current {
            Some(current) => current,
            None => {
                let number = state.newest + 1;
                let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path_of(&self.folder, number))?;
                state.newest = number;
                state.files.insert(number, DataFile::default());
                let current = (number, Arc::new(file));
                state.current = Some(current.clone());
                current
            }
        };
        let data = state.files.entry(number).or_default();
        let offset = data.len;
        data.len += len;
        state.total += len;
        Ok((number, file, offset))
    }

    /// Removes files until `more` bytes fit: those with nothing live in them, then at random.
    fn shrink(&self, state: &mut State, more: u64) {
        while state.total + more > self.limit_bytes && !state.files.is_empty() {
            // What is being written looks dead; it goes when nothing else is left.
            let current = state.current.as_ref().map(|(number, _)| *number);
            let others = state.files.iter().filter(|(number, _)| Some(**number) != current);
            let dead = others.clone().find(|(_, file)| file.live * 2 < file.len).map(|(&number, _)| number);
            let rest: Vec<u32> = others.map(|(&number, _)| number).collect();
            let chosen = dead.or_else(|| rest.get(state.next_chance() as usize % rest.len().max(1)).copied()).or(current);
            let Some(number) = chosen else { return };
            state.evict(&self.folder, number);
        }
    }

    /// The plain form of a segment, in `out`. False when it is not had; `out` is then of no use.
    pub fn get(&self, run: RunTag, sequence: u32, out: &mut Vec<u8>) -> io::Result<bool> {
        out.clear();
        let Some(entry) = self.state().entries.get(&(run, sequence)).copied() else {
            return Ok(false);
        };
        let sound = File::open(path_of(&self.folder, entry.file)).is_ok_and(|file| {
            out.resize(entry.len as usize, 0);
            file.read_exact_at(out, entry.offset as u64).is_ok() && sum_of(run, sequence, out) == entry.sum
        });
        if !sound {
            out.clear();
            let mut state = self.state();
            // Another thread may have put it anew.
            if state.entries.get(&(run, sequence)) == Some(&entry) {
                state.forget(run, sequence);
            }
        }
        Ok(sound)
    }

    /// Whether the segment seems to be had; `get` may still find it damaged.
    pub fn contains(&self, run: RunTag, sequence: u32) -> bool {
        self.state().entries.contains_key(&(run, sequence))
    }

    /// Forgets all segments that `keep` does not take; files with nothing left are removed.
    pub fn forget_except(&self, keep: &dyn Fn(RunTag, u32) -> bool) {
        let mut state = self.state();
        let gone: Vec<(RunTag, u32)> = state.entries.keys().copied().filter(|&(run, sequence)| !keep(run, sequence)).collect();
        for (run, sequence) in gone {
            state.forget(run, sequence);
        }
        let current = state.current.as_ref().map(|(number, _)| *number);
        let dead: Vec<u32> = state
            .files
            .iter()
            .filter(|(number, file)| file.live == 0 && Some(**number) != current)
            .map(|(&number, _)| number)
            .collect();
        for number in dead {
            state.evict(&self.folder, number);
        }
    }

    /// Bytes that the data files take.
    pub fn bytes(&self) -> u64 {
        self.state().total
    }

    /// Whether putting was turned off in this session.
    pub fn is_off(&self) -> bool {
        self.off.load(Ordering::Relaxed)
    }

    /// Ends the session: the index is rewritten when most of it is dead.
    pub fn finish(self) -> io::Result<()> {
        let mut state = self.state();
        let State { entries, list: Some(list), .. } = &mut *state else {
            return Ok(());
        };
        if list.records() > RECORDS_MIN.max(2 * entries.len() as u64) {
            list.replace(&self.folder, entries.iter().map(|(&(run, sequence), &entry)| Record::Put { run, sequence, entry }))?;
        }
        Ok(())
    }
}

/// The sum of an entry, over its address too: bytes found under another address are not believed.
fn sum_of(run: RunTag, sequence: u32, bytes: &[u8]) -> u64 {
    sum(run.0 ^ (sequence as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15), bytes)
}

/// A fast sum against damage, not against an adversary: who can write to the folder can read the live data as well.
/// Each step can be undone, so any single changed word changes the state it goes into.
fn sum(seed: u64, bytes: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9FB2_1C65_1E98_DF25;
    let step = |state: u64, word: u64| (state.rotate_left(29) ^ word).wrapping_mul(FACTOR);
    let mut lanes: [u64; 8] = std::array::from_fn(|lane| seed.wrapping_add((lane as u64 + 1).wrapping_mul(0xD6E8_FEB8_6659_FD93)));
    let mut strides = bytes.chunks_exact(64);
    for stride in &mut strides {
        for (lane, word) in lanes.iter_mut().zip(stride.chunks_exact(8)) {
            *lane = step(*lane, number(word));
        }
    }
    let mut state = step(seed, bytes.len() as u64);
    for word in strides.remainder().chunks(8) {
        state = step(state, number(word));
    }
    for lane in lanes {
        state = step(state ^ (state >> 32), lane ^ (lane >> 31));
    }
    state ^ (state >> 29)
}

//! The mapped file of the chunk table: a header and slots, probed one after the other from where a key belongs.
//!
//! A slot is five words: the key (two), the run, sequence and length, offset and check. A slot whose first word is zero
//! is empty. It does not know what a chunk is.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{MmapOptions, MmapRaw};

use super::super::RunTag;
use super::Place;

const MAGIC: u64 = u64::from_le_bytes(*b"RCHUNKS1");
const HEADER_WORDS: usize = 512;
/// Words of the header.
const MAGIC_AT: usize = 0;
const CAPACITY_AT: usize = 1;
const KEY_AT: usize = 2;
const COUNT_AT: usize = 3;
/// How many were left when places were last forgotten.
const KEPT_AT: usize = 4;
/// Hash (two words), run, sequence and length, offset and check.
const SLOT_WORDS: usize = 5;
pub(super) const CAPACITY_MIN: u64 = 1536;
/// A slot is not looked for further than this; an insert that gets so far makes the table grow.
const PROBES_MAX: u64 = 256;

pub(super) struct Table {
    pub(super) map: MmapRaw,
    pub(super) capacity: u64,
    pub(super) count: AtomicU64,
}

pub(super) fn is_full(count: u64, capacity: u64) -> bool {
    count * 10 >= capacity * 7
}

/// Spreads a change of any bit over all bits.
pub(super) fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

fn check(words: &[u64; SLOT_WORDS], seed: u64) -> u64 {
    let offset = words[4] >> 32;
    let all = [words[0], words[1], words[2], words[3], offset];
    all.iter().fold(seed, |state, word| mix(state.rotate_left(23) ^ word)) >> 32
}

pub(super) fn words(key: [u64; 2], place: &Place, seed: u64) -> [u64; SLOT_WORDS] {
    let mut words = [key[0], key[1], place.run.0, (place.sequence as u64) << 32 | place.len as u64, (place.offset as u64) << 32];
    words[4] |= check(&words, seed);
    words
}

/// The key and place in a slot; nothing when it is empty or its check does not fit.
pub(super) fn read(slot: &[AtomicU64], seed: u64) -> Option<([u64; 2], Place)> {
    let mut words = [0; SLOT_WORDS];
    for (word, stored) in words.iter_mut().zip(slot) {
        *word = stored.load(Ordering::Relaxed);
    }
    if words[0] == 0 || words[4] & u32::MAX as u64 != check(&words, seed) {
        return None;
    }
    let place = Place {
        run: RunTag(words[2]),
        sequence: (words[3] >> 32) as u32,
        offset: (words[4] >> 32) as u32,
        len: words[3] as u32,
    };
    (place.len > 0).then_some(([words[0], words[1]], place))
}

impl Table {
    pub(super) fn open(path: &Path, seed: u64) -> io::Result<Option<Self>> {
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let len = file.metadata()?.len();
        if len < bytes_len(CAPACITY_MIN) as u64 || (len as usize) < HEADER_WORDS * 8 {
            return Ok(None);
        }
        let table = Self { map: map(&file, len as usize)?, capacity: CAPACITY_MIN, count: AtomicU64::new(0) };
        let capacity = table.word(CAPACITY_AT).load(Ordering::Relaxed);
        let fits = (CAPACITY_MIN..1 << 40).contains(&capacity) && bytes_len(capacity) as u64 == len;
        let mine = table.word(MAGIC_AT).load(Ordering::Relaxed) == MAGIC && table.word(KEY_AT).load(Ordering::Relaxed) == mix(seed);
        let count = AtomicU64::new(table.word(COUNT_AT).load(Ordering::Relaxed).min(capacity));
        Ok((fits && mine).then_some(Self { capacity, count, ..table }))
    }

    /// An empty table in a file beside `path`; `placed` puts it there.
    pub(super) fn create(path: &Path, seed: u64, capacity: u64) -> io::Result<Self> {
        let beside = beside(path);
        match std::fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&beside)?;
        if let Err(error) = allocate(&file, bytes_len(capacity) as u64) {
            // A disk that is full is not to stay so on this account; what matters is the first error.
            let _ = std::fs::remove_file(&beside);
            return Err(error);
        }
        let table = Self { map: map(&file, bytes_len(capacity))?, capacity, count: AtomicU64::new(0) };
        table.word(MAGIC_AT).store(MAGIC, Ordering::Relaxed);
        table.word(CAPACITY_AT).store(capacity, Ordering::Relaxed);
        table.word(KEY_AT).store(mix(seed), Ordering::Relaxed);
        Ok(table)
    }

    pub(super) fn placed(self, path: &Path) -> io::Result<Self> {
        std::fs::rename(beside(path), path)?;
        Ok(self)
    }

    /// The same knowledge, as far as it is sound and `keep` takes it, in a new file.
    pub(super) fn rebuilt(&self, path: &Path, seed: u64, capacity: u64, keep: &dyn Fn(RunTag, u32) -> bool) -> io::Result<Self> {
        let mut capacity = capacity;
        'larger: loop {
            let table = Self::create(path, seed, capacity)?;
            for slot in self.slots() {
                let Some((key, place)) = read(slot, seed) else {
                    continue;
                };
                if keep(place.run, place.sequence) && !table.insert(words(key, &place, seed)) {
                    capacity *= 2;
                    continue 'larger;
                }
            }
            table.note_count();
            table.note_kept(self.kept());
            return table.placed(path);
        }
    }

    fn all_words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is aligned to pages, at least `len` bytes long and lives as long as `self`; it is shared
        // and only ever reached through these atomic words. The file is not truncated: only this process, which holds
        // the lock of the state folder, writes to it, and it replaces files instead of cutting them.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().cast::<AtomicU64>(), self.map.len() / 8) }
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        &self.all_words()[at]
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = &[AtomicU64]> {
        self.all_words()[HEADER_WORDS..].chunks_exact(SLOT_WORDS)
    }

    /// The slots where a key may be, in order.
    fn probes(&self, key: [u64; 2]) -> impl Iterator<Item = &[AtomicU64]> {
        let home = ((key[0] as u128 * self.capacity as u128) >> 64) as u64;
        (0..PROBES_MAX).map(move |step| {
            let at = HEADER_WORDS + ((home + step) % self.capacity) as usize * SLOT_WORDS;
            &self.all_words()[at..at + SLOT_WORDS]
        })
    }

    pub(super) fn find(&self, key: [u64; 2], seed: u64) -> Option<Place> {
        for slot in self.probes(key) {
            let first = slot[0].load(Ordering::Relaxed);
            if first == 0 {
                return None;
            }
            if first == key[0] {
                return read(slot, seed).filter(|(found, _)| *found == key).map(|(_, place)| place);
            }
        }
        None
    }

    /// False when the table has to grow first.
    pub(super) fn insert(&self, words: [u64; SLOT_WORDS]) -> bool {
        for slot in self.probes([words[0], words[1]]) {
            let mut first = slot[0].load(Ordering::Relaxed);
            if first == 0 {
                if is_full(self.count.load(Ordering::Relaxed), self.capacity) {
                    return false;
                }
                first = match slot[0].compare_exchange(0, words[0], Ordering::Relaxed, Ordering::Relaxed) {
                    Ok(_) => {
                        self.count.fetch_add(1, Ordering::Relaxed);
                        words[0]
                    }
                    Err(other) => other,
                };
            }
            if first == words[0] {
                for (stored, word) in slot.iter().zip(words).skip(1) {
                    stored.store(word, Ordering::Relaxed);
                }
                return true;
            }
        }
        false
    }

    pub(super) fn kept(&self) -> u64 {
        // No more than there is room for, whatever the file says.
        self.word(KEPT_AT).load(Ordering::Relaxed).min(self.capacity)
    }

    pub(super) fn note_kept(&self, kept: u64) {
        self.word(KEPT_AT).store(kept, Ordering::Relaxed);
    }

    pub(super) fn note_count(&self) {
        self.word(COUNT_AT).store(self.count.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

fn bytes_len(capacity: u64) -> usize {
    (HEADER_WORDS + capacity as usize * SLOT_WORDS) * 8
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}

fn map(file: &File, len: usize) -> io::Result<MmapRaw> {
    MmapOptions::new().len(len).map_raw(file)
}

fn allocate(file: &File, len: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    match fallocate(file, FallocateFlags::empty(), 0, len) {
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
            io::copy(&mut io::Read::take(io::repeat(0), len), &mut &*file).map(|_| ())
        }
        other => Ok(other?),
    }
}

//! The chunk table: from the hash of a chunk to the places where its bytes lie in segments.
//!
//! It is knowledge that can be lost, never truth: a slot may be left over from an export that was not finished, from
//! a run long gone, or torn by a power loss, and nothing here is synced before it is used. So a find believes a slot
//! only when its check fits its hash and place, and when the caller accepts the run it names. What a slot says of a
//! run's segment was true when it was written and segments never change, so an accepted slot is true at any age.
//!
//! A chunk whose bytes lie in several places has one slot for each, under a key made of the chunk's hash and of where
//! in the chunk the piece begins. So old and new slots of one chunk, mixed, still each say where *their* bytes lie.
//!
//! The file is mapped and never read whole: memory is the system's page cache. It is preallocated, so that a full
//! disk is an error of growing and not a fault on a mapped page. Slots are read and written without locks, as atomic
//! words; what two threads mixed up fails its check. Only growing excludes the others.
//!
//! It does not exclude other processes (the caller holds a lock on the state folder), and forgets nothing by itself:
//! `retain` does.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::RwLock;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{MmapOptions, MmapRaw};

use super::RunTag;

/// Keyed BLAKE3 of a chunk, cut to 128 bits. It never leaves the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChunkHash([u64; 2]);

/// Where bytes lie: part of the content of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub run: RunTag,
    pub sequence: u32,
    pub offset: u32,
    pub len: u32,
}

/// A chunk in more places than this is not noted.
pub const PLACES_MAX: usize = 8;

/// A table in a file.
pub struct ChunkTable {
    path: PathBuf,
    key: [u8; 32],
    /// Makes checks of another key's table fail.
    seed: u64,
    table: RwLock<Table>,
}

const MAGIC: u64 = u64::from_le_bytes(*b"RCHUNKS1");
const HEADER_WORDS: usize = 512;
/// Words of the header.
const MAGIC_AT: usize = 0;
const CAPACITY_AT: usize = 1;
const KEY_AT: usize = 2;
const COUNT_AT: usize = 3;
/// Hash (two words), run, sequence and length, offset and check.
const SLOT_WORDS: usize = 5;
const CAPACITY_MIN: u64 = 1536;
/// A slot is not looked for further than this; an insert that gets so far makes the table grow.
const PROBES_MAX: u64 = 256;

struct Table {
    map: MmapRaw,
    capacity: u64,
    count: AtomicU64,
}

impl ChunkTable {
    /// Opens the table in the file `path`, or starts an empty one: when there is none, or when what is there is cut
    /// short, damaged or made with another key.
    pub fn open(path: &Path, key: &[u8; 32]) -> io::Result<Self> {
        let seed = ChunkHash::of(key, b"resilient chunk table").0[0];
        let found = Table::open(path, seed)?;
        let table = match found {
            Some(table) => table,
            None => Table::create(path, seed, CAPACITY_MIN)?.placed(path)?,
        };
        Ok(Self {
            path: path.to_owned(),
            key: *key,
            seed,
            table: RwLock::new(table),
        })
    }

    pub fn hash(&self, bytes: &[u8]) -> ChunkHash {
        ChunkHash::of(&self.key, bytes)
    }

    /// Appends the places of a chunk to `out`, in order; their lengths sum to `len` and `accept` took each one's run
    /// and sequence. False, and `out` as it was, when that is not known.
    pub fn find(
        &self,
        hash: &ChunkHash,
        len: u32,
        accept: &dyn Fn(RunTag, u32) -> bool,
        out: &mut Vec<Place>,
    ) -> bool {
        let table = self
            .table
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let before = out.len();
        let mut from = 0;
        while from < len && out.len() - before < PLACES_MAX {
            match table.find(hash.piece(from), self.seed) {
                Some(place) if place.len <= len - from && accept(place.run, place.sequence) => {
                    from += place.len;
                    out.push(place);
                }
                _ => break,
            }
        }
        let complete = from == len && len > 0;
        if !complete {
            out.truncate(before);
        }
        complete
    }

    /// Notes where the bytes of a chunk lie, in order, in place of what was noted of it. More than `PLACES_MAX` places
    /// are not noted.
    pub fn insert(&self, hash: &ChunkHash, places: &[Place]) -> io::Result<()> {
        if places.len() > PLACES_MAX {
            return Ok(());
        }
        let mut from = 0;
        for place in places {
            if place.len == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "a place without bytes",
                ));
            }
            self.insert_piece(hash.piece(from), place)?;
            from += place.len;
        }
        Ok(())
    }

    fn insert_piece(&self, key: [u64; 2], place: &Place) -> io::Result<()> {
        loop {
            let capacity = {
                let table = self
                    .table
                    .read()
                    .unwrap_or_else(|poisoned| poisoned.into_inner());
                if table.insert(words(key, place, self.seed)) {
                    return Ok(());
                }
                table.capacity
            };
            self.grow(capacity)?;
        }
    }

    /// Doubles the table, unless another thread has just done so.
    fn grow(&self, full: u64) -> io::Result<()> {
        let mut table = self
            .table
            .write()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if table.capacity != full {
            return Ok(());
        }
        *table = table.rebuilt(&self.path, self.seed, full * 2, &|_, _| true)?;
        Ok(())
    }

    /// Forgets all places in segments that `keep` does not take. Costs a pass over the table.
    pub fn retain(&self, keep: &dyn Fn(RunTag, u32) -> bool) -> io::Result<()> {
        let mut table = self
            .table
            .write()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let kept = table
            .slots()
            .filter(|slot| {
                read(slot, self.seed).is_some_and(|(_, place)| keep(place.run, place.sequence))
            })
            .count();
        let mut capacity = CAPACITY_MIN;
        while is_full(kept as u64, capacity) {
            capacity *= 2;
        }
        *table = table.rebuilt(&self.path, self.seed, capacity, keep)?;
        Ok(())
    }

    /// How many places are noted: about, after the process was killed.
    pub fn len(&self) -> u64 {
        self.table
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .count
            .load(Ordering::Relaxed)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes everything to the disk. Without it nothing wrong is ever found, only less.
    pub fn flush(&self) -> io::Result<()> {
        let table = self
            .table
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        table.note_count();
        table.map.flush()
    }
}

impl Drop for ChunkTable {
    fn drop(&mut self) {
        self.table
            .get_mut()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .note_count();
    }
}

impl ChunkHash {
    fn of(key: &[u8; 32], bytes: &[u8]) -> Self {
        let hash = blake3::keyed_hash(key, bytes);
        let word = |at: usize| {
            hash.as_bytes()[at..at + 8]
                .iter()
                .rev()
                .fold(0, |word, byte| word << 8 | *byte as u64)
        };
        Self([word(0), word(8)])
    }

    /// The key of the slot for the piece that begins at `from`.
    fn piece(&self, from: u32) -> [u64; 2] {
        let [first, second] = match from {
            0 => self.0,
            _ => [
                mix(self.0[0] ^ from as u64),
                mix(self.0[1].wrapping_add(from as u64)),
            ],
        };
        // Zero is an empty slot.
        [first.max(1), second]
    }
}

fn is_full(count: u64, capacity: u64) -> bool {
    count * 10 >= capacity * 7
}

/// Spreads a change of any bit over all bits.
fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

fn check(words: &[u64; SLOT_WORDS], seed: u64) -> u64 {
    let offset = words[4] >> 32;
    let all = [words[0], words[1], words[2], words[3], offset];
    all.iter()
        .fold(seed, |state, word| mix(state.rotate_left(23) ^ word))
        >> 32
}

fn words(key: [u64; 2], place: &Place, seed: u64) -> [u64; SLOT_WORDS] {
    let mut words = [
        key[0],
        key[1],
        place.run.0,
        (place.sequence as u64) << 32 | place.len as u64,
        (place.offset as u64) << 32,
    ];
    words[4] |= check(&words, seed);
    words
}

/// The key and place in a slot; nothing when it is empty or its check does not fit.
fn read(slot: &[AtomicU64], seed: u64) -> Option<([u64; 2], Place)> {
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
    fn open(path: &Path, seed: u64) -> io::Result<Option<Self>> {
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let len = file.metadata()?.len();
        if len < bytes_len(CAPACITY_MIN) as u64 || (len as usize) < HEADER_WORDS * 8 {
            return Ok(None);
        }
        let table = Self {
            map: map(&file, len as usize)?,
            capacity: CAPACITY_MIN,
            count: AtomicU64::new(0),
        };
        let capacity = table.word(CAPACITY_AT).load(Ordering::Relaxed);
        let fits = (CAPACITY_MIN..1 << 40).contains(&capacity) && bytes_len(capacity) as u64 == len;
        let mine = table.word(MAGIC_AT).load(Ordering::Relaxed) == MAGIC
            && table.word(KEY_AT).load(Ordering::Relaxed) == mix(seed);
        let count = AtomicU64::new(table.word(COUNT_AT).load(Ordering::Relaxed).min(capacity));
        Ok((fits && mine).then_some(Self {
            capacity,
            count,
            ..table
        }))
    }

    /// An empty table in a file beside `path`; `placed` puts it there.
    fn create(path: &Path, seed: u64, capacity: u64) -> io::Result<Self> {
        let beside = beside(path);
        match std::fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&beside)?;
        allocate(&file, bytes_len(capacity) as u64)?;
        let table = Self {
            map: map(&file, bytes_len(capacity))?,
            capacity,
            count: AtomicU64::new(0),
        };
        table.word(MAGIC_AT).store(MAGIC, Ordering::Relaxed);
        table.word(CAPACITY_AT).store(capacity, Ordering::Relaxed);
        table.word(KEY_AT).store(mix(seed), Ordering::Relaxed);
        Ok(table)
    }

    fn placed(self, path: &Path) -> io::Result<Self> {
        std::fs::rename(beside(path), path)?;
        Ok(self)
    }

    /// The same knowledge, as far as it is sound and `keep` takes it, in a new file.
    fn rebuilt(
        &self,
        path: &Path,
        seed: u64,
        capacity: u64,
        keep: &dyn Fn(RunTag, u32) -> bool,
    ) -> io::Result<Self> {
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
            return table.placed(path);
        }
    }

    fn all_words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is aligned to pages, at least `len` bytes long and lives as long as `self`; it is shared
        // and only ever reached through these atomic words. The file is not truncated: only this process, which holds
        // the lock of the state folder, writes to it, and it replaces files instead of cutting them.
        unsafe {
            std::slice::from_raw_parts(self.map.as_ptr().cast::<AtomicU64>(), self.map.len() / 8)
        }
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        &self.all_words()[at]
    }

    fn slots(&self) -> impl Iterator<Item = &[AtomicU64]> {
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

    fn find(&self, key: [u64; 2], seed: u64) -> Option<Place> {
        for slot in self.probes(key) {
            let first = slot[0].load(Ordering::Relaxed);
            if first == 0 {
                return None;
            }
            if first == key[0] {
                return read(slot, seed)
                    .filter(|(found, _)| *found == key)
                    .map(|(_, place)| place);
            }
        }
        None
    }

    /// False when the table has to grow first.
    fn insert(&self, words: [u64; SLOT_WORDS]) -> bool {
        for slot in self.probes([words[0], words[1]]) {
            let mut first = slot[0].load(Ordering::Relaxed);
            if first == 0 {
                if is_full(self.count.load(Ordering::Relaxed), self.capacity) {
                    return false;
                }
                first = match slot[0].compare_exchange(
                    0,
                    words[0],
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                ) {
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

    fn note_count(&self) {
        self.word(COUNT_AT)
            .store(self.count.load(Ordering::Relaxed), Ordering::Relaxed);
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

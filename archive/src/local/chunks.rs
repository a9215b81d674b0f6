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

use std::io;
use std::path::{Path, PathBuf};
use std::sync::RwLock;
use std::sync::atomic::Ordering;

use super::RunTag;

mod table;

use table::{CAPACITY_MIN, Table, is_full, mix, read, words};

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
pub const PLACES_MAX: usize = 40;

/// A table in a file.
pub struct ChunkTable {
    path: PathBuf,
    key: [u8; 32],
    /// Makes checks of another key's table fail.
    seed: u64,
    table: RwLock<Table>,
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
        Ok(Self { path: path.to_owned(), key: *key, seed, table: RwLock::new(table) })
    }

    pub fn hash(&self, bytes: &[u8]) -> ChunkHash {
        ChunkHash::of(&self.key, bytes)
    }

    /// Appends the places of a chunk to `out`, in order; their lengths sum to `len` and `accept` took each one's run
    /// and sequence. False, and `out` as it was, when that is not known.
    pub fn find(&self, hash: &ChunkHash, len: u32, accept: &dyn Fn(RunTag, u32) -> bool, out: &mut Vec<Place>) -> bool {
        let table = self.table.read().unwrap_or_else(|poisoned| poisoned.into_inner());
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
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "a place without bytes"));
            }
            self.insert_piece(hash.piece(from), place)?;
            from += place.len;
        }
        Ok(())
    }

    fn insert_piece(&self, key: [u64; 2], place: &Place) -> io::Result<()> {
        loop {
            let capacity = {
                let table = self.table.read().unwrap_or_else(|poisoned| poisoned.into_inner());
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
        let mut table = self.table.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        if table.capacity != full {
            return Ok(());
        }
        *table = table.rebuilt(&self.path, self.seed, full * 2, &|_, _| true)?;
        Ok(())
    }

    /// Forgets all places in segments that `keep` does not take. Costs a pass over the table.
    pub fn retain(&self, keep: &dyn Fn(RunTag, u32) -> bool) -> io::Result<()> {
        let mut table = self.table.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        let kept = table
            .slots()
            .filter(|slot| read(slot, self.seed).is_some_and(|(_, place)| keep(place.run, place.sequence)))
            .count();
        let mut capacity = CAPACITY_MIN;
        while is_full(kept as u64, capacity) {
            capacity *= 2;
        }
        *table = table.rebuilt(&self.path, self.seed, capacity, keep)?;
        table.note_kept(kept as u64);
        Ok(())
    }

    /// Whether `retain` is worth its pass: it has twice what is expected, and twice what the last pass left.
    pub fn is_untidy(&self, expected: u64) -> bool {
        let kept = self.table.read().unwrap_or_else(|poisoned| poisoned.into_inner()).kept();
        self.len() > expected.max(kept) * 2
    }

    /// How many places are noted: about, after the process was killed.
    pub fn len(&self) -> u64 {
        self.table.read().unwrap_or_else(|poisoned| poisoned.into_inner()).count.load(Ordering::Relaxed)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes everything to the disk. Without it nothing wrong is ever found, only less.
    pub fn flush(&self) -> io::Result<()> {
        let table = self.table.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        table.note_count();
        table.map.flush()
    }
}

impl Drop for ChunkTable {
    fn drop(&mut self) {
        self.table.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner()).note_count();
    }
}

impl ChunkHash {
    fn of(key: &[u8; 32], bytes: &[u8]) -> Self {
        let hash = blake3::keyed_hash(key, bytes);
        let word = |at: usize| hash.as_bytes()[at..at + 8].iter().rev().fold(0, |word, byte| word << 8 | *byte as u64);
        Self([word(0), word(8)])
    }

    /// The key of the slot for the piece that begins at `from`.
    fn piece(&self, from: u32) -> [u64; 2] {
        let [first, second] = match from {
            0 => self.0,
            _ => [mix(self.0[0] ^ from as u64), mix(self.0[1].wrapping_add(from as u64))],
        };
        // Zero is an empty slot.
        [first.max(1), second]
    }
}

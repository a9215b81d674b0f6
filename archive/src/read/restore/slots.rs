//! What a window gathers: pieces of segments, and the slots that they fill.
//!
//! A slot is a block of 1 MiB of a file, or the whole of a shorter one. Its bytes are put together in memory, so that a block is hashed and written once,
//! whatever number of pieces it comes from. A file that is one piece of one segment needs no memory: it is written as it is decoded. Holes are zeros in a
//! slot and are not written; blocks that are nothing but a hole take no memory.
//!
//! Pieces of one slot do not overlap, for a list's extents follow one another: several threads may fill the same slot. It reads and writes no file.

use crate::digest::BLOCK;
use crate::error::{Error, Result};
use crate::extent::Place;
use crate::id::Hash;
use memmap2::{Advice, MmapMut};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// The bytes of all slots together; two windows have hardly more.
const BUFFER: usize = 64 << 20;
/// Content that does not lie scattered gains nothing by a window of more than this, and less memory is faster.
const DENSE: usize = 16 << 20;
/// Pieces and holes in a window. The last slot may come to more.
const PIECES_MAX: usize = 400_000;

/// How many segments are found without a search.
const NEAR: usize = 256;

/// A stretch of a segment, and where it goes.
#[derive(Clone, Copy)]
pub(super) struct Piece {
    segment: u32,
    pub offset: u32,
    pub len: u32,
    pub slot: u32,
    at: u32,
}

/// Where a slot's bytes come together.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// Nowhere: its only piece is the whole file.
    Whole,
    /// In the buffer, from here on.
    Buffer(usize),
    /// Nowhere: so many blocks are a hole.
    Empty(u64),
}

pub(super) struct Slot {
    pub job: u32,
    pub room: Room,
    /// Where in the file it lies.
    pub start: u64,
    pub len: u32,
    /// Bytes that are still to come from pieces.
    missing: AtomicU32,
    pub hash: OnceLock<Hash>,
}

struct Hole {
    slot: u32,
    from: u32,
    to: u32,
}

/// Memory that several threads fill at once.
struct Buffer {
    start: *mut u8,
    /// Keeps the memory; never looked at through this.
    _map: MmapMut,
}

// SAFETY: the memory belongs to the map, and who writes where is settled by the slots.
unsafe impl Sync for Buffer {}
// SAFETY: nothing of it is bound to a thread.
unsafe impl Send for Buffer {}

#[derive(Default)]
pub(super) struct Slots {
    pub all: Vec<Slot>,
    pub pieces: Vec<Piece>,
    segments: Vec<(u64, u32)>,
    numbers: HashMap<(u64, u32), u32>,
    /// Segments seen lately, each where its number in the run puts it: extents go to and fro between a few.
    near: Vec<((u64, u32), u32)>,
    /// Segments that a piece of a slot was the first to name.
    scattered: usize,
    holes: Vec<Hole>,
    /// Slots that no piece fills.
    pub ready: Vec<u32>,
    buffer: Option<Buffer>,
    used: usize,
    /// How much of the last slot was laid out.
    filled: u32,
}

/// Pieces by segment.
pub(super) struct Groups {
    segments: Vec<(u64, u32)>,
    bounds: Vec<usize>,
    order: Vec<u32>,
}

impl Groups {
    pub fn len(&self) -> usize {
        self.segments.len()
    }

    /// A segment, and the numbers of its pieces.
    pub fn get(&self, group: usize) -> ((u64, u32), &[u32]) {
        (self.segments[group], &self.order[self.bounds[group]..self.bounds[group + 1]])
    }
}

impl Slots {
    fn segment(&mut self, place: Place) -> u32 {
        let key = (place.ordinal, place.sequence);
        if self.near.is_empty() {
            self.near = vec![((0, 0), u32::MAX); NEAR];
        }
        let near = &mut self.near[(place.ordinal as usize ^ (place.sequence as usize) << 2) % NEAR];
        if near.0 == key && near.1 != u32::MAX {
            return near.1;
        }
        let number = *self.numbers.entry(key).or_insert_with(|| {
            self.segments.push(key);
            self.segments.len() as u32 - 1
        });
        *near = (key, number);
        number
    }

    fn push(&mut self, job: u32, room: Room, start: u64, len: u32) {
        self.all.push(Slot { job, room, start, len, missing: AtomicU32::new(0), hash: OnceLock::new() });
        self.filled = 0;
    }

    /// A file that is one piece.
    pub fn whole(&mut self, job: u32, place: Place, len: u32) {
        let segment = self.segment(place);
        self.push(job, Room::Whole, 0, len);
        self.pieces
            .push(Piece { segment, offset: place.offset, len, slot: self.all.len() as u32 - 1, at: 0 });
        self.filled = len;
    }

    /// Blocks that are a hole. Those that follow one another are one slot, however many extents they come in.
    pub fn empty(&mut self, job: u32, start: u64, blocks: u64) {
        if let Some(Slot { room: Room::Empty(before), .. }) = self.all.last_mut().filter(|last| last.job == job) {
            *before += blocks;
            return;
        }
        self.push(job, Room::Empty(blocks), start, 0);
    }

    /// Whether there is no room for another slot, while another window takes so much.
    pub fn is_full(&self, other: usize) -> bool {
        let dense = self.used >= DENSE && self.scattered <= 2 * self.used / BLOCK;
        let room = (BUFFER - other).max(DENSE);
        dense || self.used + BLOCK > room || self.pieces.len() + self.holes.len() >= PIECES_MAX
    }

    /// How much of the buffer is taken.
    pub fn used(&self) -> usize {
        self.used
    }

    /// Begins a slot in the buffer.
    pub fn open(&mut self, job: u32, start: u64, len: u32) -> Result<()> {
        if self.buffer.is_none() {
            let mut map = MmapMut::map_anon(BUFFER).map_err(Error::store("make", "memory for a window"))?;
            // Without huge pages it is only slower.
            let _ = map.advise(Advice::HugePage);
            self.buffer = Some(Buffer { start: map.as_mut_ptr(), _map: map });
        }
        self.push(job, Room::Buffer(self.used), start, len);
        self.used += len as usize;
        Ok(())
    }

    /// How much of the last slot is still to be laid out.
    pub fn open_len(&self) -> u32 {
        self.all.last().map_or(0, |slot| slot.len - self.filled)
    }

    /// Lays out a piece at the end of what the last slot has.
    pub fn data(&mut self, place: Place, len: u32) {
        let known = self.segments.len();
        let segment = self.segment(place);
        self.scattered += self.segments.len() - known;
        let (slot, at) = (self.all.len() as u32 - 1, self.filled);
        self.pieces.push(Piece { segment, offset: place.offset, len, slot, at });
        *self.last().missing.get_mut() += len;
        self.lay(len);
    }

    /// Lays out a hole.
    pub fn hole(&mut self, len: u32) {
        let (slot, from) = (self.all.len() as u32 - 1, self.filled);
        self.holes.push(Hole { slot, from, to: from + len });
        if let Room::Buffer(start) = self.last().room {
            let room = start + from as usize..start + (from + len) as usize;
            // SAFETY: no other thread knows of this slot yet.
            unsafe { self.room(room.start, room.len()).write_bytes(0, room.len()) };
        }
        self.lay(len);
    }

    fn last(&mut self) -> &mut Slot {
        self.all.last_mut().expect("a slot was opened")
    }

    fn lay(&mut self, len: u32) {
        self.filled += len;
        if self.open_len() == 0 && *self.last().missing.get_mut() == 0 {
            self.ready.push(self.all.len() as u32 - 1);
        }
    }

    /// Gives up the slot that was begun.
    pub fn abandon(&mut self) {
        self.filled += self.open_len();
    }

    fn room(&self, start: usize, len: usize) -> *mut u8 {
        assert!(start + len <= BUFFER, "slots lie in the buffer");
        let buffer = self.buffer.as_ref().expect("there is a buffer when there is a slot in it");
        // SAFETY: within the map, as was just seen.
        unsafe { buffer.start.add(start) }
    }

    /// Puts a piece where it belongs. Whether its slot is full now; then it is the caller's alone.
    pub fn put(&self, piece: &Piece, bytes: &[u8]) -> bool {
        let slot = &self.all[piece.slot as usize];
        let Room::Buffer(start) = slot.room else { return false };
        assert!(bytes.len() == piece.len as usize && piece.at + piece.len <= slot.len, "a piece lies in its slot");
        let to = self.room(start + piece.at as usize, bytes.len());
        // SAFETY: nobody else writes here, for pieces do not overlap; nobody reads before all are there, as `missing` tells.
        unsafe { to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        slot.missing.fetch_sub(piece.len, Ordering::AcqRel) == piece.len
    }

    /// The bytes of a slot that is full.
    pub fn bytes(&self, slot: &Slot) -> &[u8] {
        let Room::Buffer(start) = slot.room else { return &[] };
        assert!(slot.missing.load(Ordering::Acquire) == 0, "a slot is looked at when it is full");
        // SAFETY: all its bytes were written, by pieces and holes, and nobody writes there any more.
        unsafe { std::slice::from_raw_parts(self.room(start, slot.len as usize), slot.len as usize) }
    }

    /// What of a slot is no hole.
    pub fn data_in(&self, number: u32) -> impl Iterator<Item = Range<usize>> + '_ {
        let first = self.holes.partition_point(|hole| hole.slot < number);
        let holes = self.holes[first..].iter().take_while(move |hole| hole.slot == number);
        let len = self.all[number as usize].len;
        let ends = holes.map(|hole| (hole.from, hole.to)).chain([(len, len)]);
        let mut at = 0;
        ends.filter_map(move |(from, to)| {
            let data = std::mem::replace(&mut at, to as usize)..from as usize;
            (!data.is_empty()).then_some(data)
        })
    }

    /// Sorts the pieces by segment; those of one segment stay in order.
    pub fn groups(&self) -> Groups {
        let mut by_place: Vec<u32> = (0..self.segments.len() as u32).collect();
        by_place.sort_unstable_by_key(|&number| self.segments[number as usize]);
        let mut counts = vec![0usize; self.segments.len()];
        self.pieces.iter().for_each(|piece| counts[piece.segment as usize] += 1);
        let (mut bounds, mut next) = (vec![0], vec![0; counts.len()]);
        for &number in &by_place {
            let start = *bounds.last().expect("it begins with one");
            next[number as usize] = start;
            bounds.push(start + counts[number as usize]);
        }
        let mut order = vec![0; self.pieces.len()];
        for (index, piece) in self.pieces.iter().enumerate() {
            order[next[piece.segment as usize]] = index as u32;
            next[piece.segment as usize] += 1;
        }
        Groups { segments: by_place.iter().map(|&number| self.segments[number as usize]).collect(), bounds, order }
    }

    pub fn clear(&mut self) {
        if self.used > DENSE {
            // The other window may need it next.
            self.buffer = None;
        }
        self.all.clear();
        self.pieces.clear();
        self.segments.clear();
        self.numbers.clear();
        self.holes.clear();
        self.ready.clear();
        self.near.fill(((0, 0), u32::MAX));
        (self.used, self.filled, self.scattered) = (0, 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(ordinal: u64, sequence: u32, offset: u32) -> Place {
        Place { ordinal, sequence, offset }
    }

    #[test]
    fn pieces_of_several_segments_fill_a_slot_around_a_hole() {
        let mut slots = Slots::default();
        slots.whole(0, place(9, 0, 5), 3);
        slots.open(1, 0, 10).unwrap();
        slots.data(place(9, 0, 0), 4);
        slots.hole(2);
        assert_eq!(slots.open_len(), 4);
        slots.data(place(2, 7, 1), 4);
        slots.open(2, 0, 6).unwrap();
        slots.hole(6);
        assert_eq!(slots.ready, [2], "a slot that is a hole waits for nothing");
        let groups = slots.groups();
        let by_segment: Vec<_> = (0..groups.len()).map(|group| groups.get(group)).collect();
        assert_eq!(by_segment, [((2, 7), &[2][..]), ((9, 0), &[0, 1][..])]);
        assert!(!slots.put(&slots.pieces[2], b"late"));
        assert!(slots.put(&slots.pieces[1], b"soon"), "the last piece fills it");
        assert_eq!(slots.bytes(&slots.all[1]), b"soon\0\0late");
        assert_eq!(slots.data_in(1).collect::<Vec<_>>(), [0..4, 6..10]);
        assert_eq!(slots.data_in(2).count(), 0);
        slots.clear();
        assert!(slots.open_len() == 0 && slots.groups().len() == 0);
    }

    #[test]
    fn a_window_of_what_lies_together_is_smaller_than_one_of_what_lies_scattered() {
        let blocks = |scattered: u64| {
            let mut slots = Slots::default();
            while !slots.is_full(0) {
                let number = slots.all.len() as u64;
                slots.open(0, number * BLOCK as u64, BLOCK as u32).unwrap();
                for part in 0..16 {
                    slots.data(place(number * 16 + part % scattered, 0, 0), BLOCK as u32 / 16);
                }
            }
            slots.all.len()
        };
        assert_eq!((blocks(1), blocks(16)), (DENSE / BLOCK, BUFFER / BLOCK));
    }
}

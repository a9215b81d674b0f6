//! Extents and their encoding. FORMAT.md §5.
//!
//! Cursors make the common case short: content that goes on where it left off, in one of the few segments that a stretch of a file alternates between. After
//! a change the cursors settle again within a few extents, so that unchanged stretches of a list give unchanged bytes.

use crate::digest::BLOCK;
use crate::encode::{Malformed, Put, Take, Taken};

/// A byte range of a segment. Runs are named by the ordinal that the snapshot gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    pub ordinal: u64,
    pub sequence: u32,
    pub offset: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// `None` is a hole.
    pub place: Option<Place>,
    pub len: u64,
}

impl Extent {
    /// Whether `next` goes on where this one ends.
    pub fn joins(&self, next: &Extent) -> bool {
        match (self.place, next.place) {
            (None, None) => true,
            (Some(a), Some(b)) => {
                a.ordinal == b.ordinal && a.sequence == b.sequence && u64::from(a.offset) + self.len == u64::from(b.offset)
            }
            _ => false,
        }
    }

    /// The part of it from `skip` on, at most `len` bytes long.
    pub fn part(&self, skip: u64, len: u64) -> Extent {
        let place = self.place.map(|place| Place { offset: place.offset + skip as u32, ..place });
        Extent { place, len: len.min(self.len - skip) }
    }
}

/// Adds an extent, joined to the last one if it goes on there.
pub fn push(extents: &mut Vec<Extent>, extent: Extent) {
    match extents.last_mut() {
        Some(last) if last.joins(&extent) => last.len += extent.len,
        _ => extents.push(extent),
    }
}

/// A list of extents as an entry or a root carries it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List {
    pub depth: u8,
    pub bytes: Vec<u8>,
}

/// The most bytes of a list that stand in an entry; longer ones are streams themselves.
pub const INLINE_MAX: usize = 4096;
pub const DEPTH_MAX: u8 = 3;

impl List {
    pub fn put(&self, out: &mut Vec<u8>) {
        out.raw(&[self.depth]);
        out.bytes(&self.bytes);
    }

    pub fn take(take: &mut Take<'_>) -> Taken<List> {
        let depth = take.u8()?;
        let bytes = take.bytes()?;
        if depth > DEPTH_MAX || bytes.len() > INLINE_MAX {
            return Err(Malformed("a list of extents is too deep or too long"));
        }
        Ok(List { depth, bytes: bytes.to_vec() })
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Cursor {
    ordinal: u64,
    sequence: u32,
    end: u32,
}

#[derive(Clone, Debug, Default)]
struct Cursors {
    slots: [Cursor; 8],
    used: usize,
}

impl Cursors {
    fn front(&mut self, taken: Option<usize>, cursor: Cursor) {
        let from = match taken {
            Some(index) => index,
            None => {
                self.used = (self.used + 1).min(8);
                self.used - 1
            }
        };
        self.slots.copy_within(..from, 1);
        self.slots[0] = cursor;
    }

    fn get(&self, index: usize) -> Taken<Cursor> {
        if index < self.used { Ok(self.slots[index]) } else { Err(Malformed("an extent names a cursor that is not there")) }
    }
}

const NEW: u64 = 8;
const STEP: u64 = 9;
const HOLE: u64 = 15;

/// Encodes extents one after the other.
#[derive(Clone, Debug, Default)]
pub struct ExtentEncoder {
    cursors: Cursors,
}

impl ExtentEncoder {
    pub fn put(&mut self, extent: &Extent, out: &mut Vec<u8>) {
        let head = extent.len << 4;
        let Some(place) = extent.place else {
            out.varint(head | HOLE);
            return;
        };
        let used = &self.cursors.slots[..self.cursors.used];
        let same = used.iter().position(|cursor| cursor.ordinal == place.ordinal && cursor.sequence == place.sequence);
        let taken = match same {
            Some(index) => {
                out.varint(head | index as u64);
                out.zigzag(i64::from(place.offset) - i64::from(used[index].end));
                Some(index)
            }
            None => match used.iter().position(|cursor| cursor.ordinal == place.ordinal) {
                Some(index) => {
                    out.varint(head | STEP);
                    out.varint(index as u64);
                    out.zigzag(i64::from(place.sequence) - i64::from(used[index].sequence));
                    out.varint(place.offset.into());
                    Some(index)
                }
                None => {
                    out.varint(head | NEW);
                    out.varint(place.ordinal);
                    out.varint(place.sequence.into());
                    out.varint(place.offset.into());
                    None
                }
            },
        };
        let end = place.offset + extent.len as u32;
        self.cursors.front(taken, Cursor { ordinal: place.ordinal, sequence: place.sequence, end });
    }
}

/// Decodes extents from bytes that come in pieces: `feed` takes what is whole and says how much that was.
#[derive(Clone, Debug, Default)]
pub struct ExtentDecoder {
    cursors: Cursors,
}

impl ExtentDecoder {
    fn next(&mut self, take: &mut Take<'_>) -> Taken<Extent> {
        let head = take.varint()?;
        let (len, code) = (head >> 4, head & 15);
        if len == 0 {
            return Err(Malformed("an extent is empty"));
        }
        let (taken, ordinal, sequence, offset) = match code {
            HOLE => return Ok(Extent { place: None, len }),
            NEW => (None, take.varint()?, take.varint_u32()?, take.varint()? as i64),
            STEP => {
                let index = take.varint()? as usize;
                let cursor = self.cursors.get(index)?;
                let sequence = i64::from(cursor.sequence).checked_add(take.zigzag()?).and_then(|n| u32::try_from(n).ok());
                (Some(index), cursor.ordinal, sequence.ok_or(Malformed("a number is too large"))?, take.varint()? as i64)
            }
            index if index < 8 => {
                let cursor = self.cursors.get(index as usize)?;
                let offset = i64::from(cursor.end).checked_add(take.zigzag()?).ok_or(Malformed("a number is too large"))?;
                (Some(index as usize), cursor.ordinal, cursor.sequence, offset)
            }
            _ => return Err(Malformed("an extent has an unknown code")),
        };
        if offset < 0 || offset > BLOCK as i64 || len > BLOCK as u64 - offset as u64 {
            return Err(Malformed("an extent lies outside of any segment"));
        }
        let offset = offset as u32;
        self.cursors.front(taken, Cursor { ordinal, sequence, end: offset + len as u32 });
        Ok(Extent { place: Some(Place { ordinal, sequence, offset }), len })
    }

    /// Decodes all of `bytes`.
    pub fn all(&mut self, bytes: &[u8], each: &mut dyn FnMut(Extent) -> Taken<()>) -> Taken<()> {
        let mut take = Take::new(bytes);
        while !take.is_empty() {
            each(self.next(&mut take)?)?;
        }
        Ok(())
    }

    /// Decodes what is whole in `bytes`, and leaves the beginning of an extent at the end. Gives how many bytes were used.
    pub fn feed(&mut self, bytes: &[u8], each: &mut dyn FnMut(Extent) -> Taken<()>) -> Taken<usize> {
        /// No extent is longer than four numbers of ten bytes.
        const LONGEST: usize = 40;
        let mut take = Take::new(bytes);
        while bytes.len() - take.position() >= LONGEST {
            each(self.next(&mut take)?)?;
        }
        Ok(take.position())
    }
}

/// Encodes a whole list.
pub fn encode(extents: &[Extent]) -> Vec<u8> {
    let mut out = Vec::with_capacity(extents.len() * 6);
    let mut encoder = ExtentEncoder::default();
    extents.iter().for_each(|extent| encoder.put(extent, &mut out));
    out
}

/// Decodes a whole list.
pub fn decode(bytes: &[u8]) -> Taken<Vec<Extent>> {
    let mut extents = Vec::new();
    ExtentDecoder::default().all(bytes, &mut |extent| {
        extents.push(extent);
        Ok(())
    })?;
    Ok(extents)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn extents() -> impl Strategy<Value = Vec<Extent>> {
        let place = (0..12u64, 0..5u32, 0..BLOCK as u32).prop_map(|(ordinal, sequence, offset)| Some(Place { ordinal, sequence, offset }));
        let extent = (prop_oneof![9 => place, 1 => Just(None)], 1..BLOCK as u64).prop_map(|(place, len)| match place {
            Some(at) => Extent { place, len: len.min(BLOCK as u64 - u64::from(at.offset)) },
            None => Extent { place, len },
        });
        prop::collection::vec(extent, 0..200)
    }

    proptest! {
        #[test]
        fn a_list_comes_back(extents in extents()) {
            prop_assert_eq!(decode(&encode(&extents)).unwrap(), extents);
        }

        #[test]
        fn a_list_in_pieces_comes_back(extents in extents(), step in 1usize..100) {
            let bytes = encode(&extents);
            let (mut decoder, mut pending, mut out) = (ExtentDecoder::default(), Vec::new(), Vec::new());
            let mut each = |extent| { out.push(extent); Ok(()) };
            for piece in bytes.chunks(step) {
                pending.extend_from_slice(piece);
                let used = decoder.feed(&pending, &mut each).unwrap();
                pending.drain(..used);
            }
            decoder.all(&pending, &mut each).unwrap();
            prop_assert_eq!(out, extents);
        }

        #[test]
        fn any_bytes_are_decoded_without_panic(bytes: Vec<u8>) {
            let _ = decode(&bytes);
        }
    }
}

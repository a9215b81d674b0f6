//! Extents, lists of them, and their encoding. FORMAT.md §5.
//!
//! Cursors make the common case short: content that goes on where it left off, in one of the few segments that a stretch of a file alternates between.
//! A list has layers, so that a change costs what changed: the lowest lists everything, each above says what it keeps of what lies below, and what it puts in between.

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

    /// How far inside of it the beginning of another one lies. All holes are alike.
    pub fn skip_to(&self, other: &Extent) -> Option<u64> {
        match (self.place, other.place) {
            (None, None) => Some(0),
            (Some(a), Some(b)) if a.ordinal == b.ordinal && a.sequence == b.sequence => {
                b.offset.checked_sub(a.offset).map(u64::from).filter(|skip| *skip < self.len)
            }
            _ => None,
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

/// One piece of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Content that lies here.
    Here(Extent),
    /// The next `len` bytes of what the layers below give, after `skip` bytes that are left out.
    Below { skip: u64, len: u64 },
}

/// A layer of a list: pieces, encoded; or, when `stored`, extents whose content is that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layer {
    pub stored: bool,
    pub bytes: Vec<u8>,
}

/// A list of extents as an entry or a root carries it, the lowest layer first. Without any it is the list of nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List {
    pub layers: Vec<Layer>,
}

/// The most bytes of all layers as they stand in an entry.
pub const LIST_MAX: usize = 16 << 10;
pub const LAYERS_MAX: usize = 32;

impl List {
    /// One layer, whose pieces stand in the list.
    pub fn inline(bytes: Vec<u8>) -> List {
        List { layers: vec![Layer { stored: false, bytes }] }
    }

    /// One layer, whose pieces are the content of these extents.
    pub fn stored(extents: &[Extent]) -> List {
        List { layers: vec![Layer { stored: true, bytes: encode(extents) }] }
    }

    /// How many bytes its layers take in an entry.
    pub fn bytes(&self) -> usize {
        self.layers.iter().map(|layer| layer.bytes.len()).sum()
    }

    pub fn put(&self, out: &mut Vec<u8>) {
        out.varint(self.layers.len() as u64);
        for layer in &self.layers {
            out.varint((layer.bytes.len() as u64) << 1 | u64::from(layer.stored));
            out.raw(&layer.bytes);
        }
    }

    pub fn take(take: &mut Take<'_>) -> Taken<List> {
        let count = take.count(1)?;
        if count > LAYERS_MAX {
            return Err(Malformed("a list of extents has too many layers"));
        }
        let (mut layers, mut room) = (Vec::with_capacity(count), LIST_MAX as u64);
        for _ in 0..count {
            let head = take.varint()?;
            room = room.checked_sub(head >> 1).ok_or(Malformed("a list of extents is too long"))?;
            layers.push(Layer { stored: head & 1 == 1, bytes: take.raw((head >> 1) as usize)?.to_vec() });
        }
        Ok(List { layers })
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
const BELOW: u64 = 14;
const HOLE: u64 = 15;

/// Encodes the pieces of a layer, one after the other.
#[derive(Clone, Debug, Default)]
pub struct PieceEncoder {
    cursors: Cursors,
}

impl PieceEncoder {
    pub fn put(&mut self, piece: &Piece, out: &mut Vec<u8>) {
        match piece {
            Piece::Here(extent) => self.here(extent, out),
            Piece::Below { skip, len } => {
                out.varint(len << 4 | BELOW);
                out.varint(*skip);
            }
        }
    }

    fn here(&mut self, extent: &Extent, out: &mut Vec<u8>) {
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

/// Decodes the pieces of a layer.
#[derive(Clone, Debug, Default)]
pub struct PieceDecoder {
    cursors: Cursors,
}

/// No piece is longer than four numbers of ten bytes.
pub const PIECE_MAX: usize = 40;

impl PieceDecoder {
    pub fn next(&mut self, take: &mut Take<'_>) -> Taken<Piece> {
        let head = take.varint()?;
        let (len, code) = (head >> 4, head & 15);
        if len == 0 {
            return Err(Malformed("an extent is empty"));
        }
        let (taken, ordinal, sequence, offset) = match code {
            HOLE => return Ok(Piece::Here(Extent { place: None, len })),
            BELOW => return Ok(Piece::Below { skip: take.varint()?, len }),
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
        Ok(Piece::Here(Extent { place: Some(Place { ordinal, sequence, offset }), len }))
    }
}

/// Encodes extents.
pub fn encode(extents: &[Extent]) -> Vec<u8> {
    let mut out = Vec::with_capacity(extents.len() * 6);
    let mut encoder = PieceEncoder::default();
    extents.iter().for_each(|extent| encoder.here(extent, &mut out));
    out
}

/// Decodes extents, where there is nothing below.
pub fn decode(bytes: &[u8]) -> Taken<Vec<Extent>> {
    let (mut extents, mut decoder, mut take) = (Vec::new(), PieceDecoder::default(), Take::new(bytes));
    while !take.is_empty() {
        match decoder.next(&mut take)? {
            Piece::Here(extent) => extents.push(extent),
            Piece::Below { .. } => return Err(Malformed("the lowest layer of a list of extents keeps something from below")),
        }
    }
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
        fn any_bytes_are_decoded_without_panic(bytes: Vec<u8>) {
            let _ = decode(&bytes);
        }
    }
}

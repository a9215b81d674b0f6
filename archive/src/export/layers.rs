//! Layers of lists in the making: what a new list shares with the base's, and which layers become one.
//!
//! A new layer is as long as what changed. Layers of like size are merged when there are several, so each change is written again only some times however many
//! exports follow; when all of them together are half as long as the whole list, the list is written whole.

use super::base::BaseFile;
use crate::encode::{Malformed, Take};
use crate::error::{Error, Result};
use crate::extent::{Extent, Layer, Piece, PieceDecoder, PieceEncoder};

/// A layer of the base's list.
#[derive(Clone, Debug)]
pub struct Held {
    pub layer: Layer,
    /// Its pieces, encoded.
    pub body: Vec<u8>,
    /// Where that lies when it is stored.
    pub stored: Vec<Extent>,
}

/// Writes pieces, those joined that go on where the one before ends.
#[derive(Default)]
pub struct PieceWriter {
    encoder: PieceEncoder,
    pub bytes: Vec<u8>,
    last: Option<Piece>,
    skipped: u64,
}

impl PieceWriter {
    pub fn here(&mut self, extent: Extent) {
        match &mut self.last {
            Some(Piece::Here(last)) if last.joins(&extent) => last.len += extent.len,
            _ => self.next(Piece::Here(extent)),
        }
    }

    /// Leaves out what comes next below.
    pub fn skip(&mut self, len: u64) {
        self.skipped += len;
    }

    pub fn keep(&mut self, more: u64) {
        if more == 0 {
            return;
        }
        match &mut self.last {
            Some(Piece::Below { len, .. }) if self.skipped == 0 => *len += more,
            _ => {
                let skip = std::mem::take(&mut self.skipped);
                self.next(Piece::Below { skip, len: more });
            }
        }
    }

    fn next(&mut self, piece: Piece) {
        if let Some(ended) = self.last.replace(piece) {
            self.encoder.put(&ended, &mut self.bytes);
        }
    }

    pub fn finish(mut self) -> Vec<u8> {
        if let Some(ended) = self.last.take() {
            self.encoder.put(&ended, &mut self.bytes);
        }
        self.bytes
    }
}

/// How much of the base may be left out to find the next extent there, besides so many times what was not found before.
const AHEAD: u64 = 64 << 10;
const RELUCTANT: u64 = 16;
/// How many extents of the base are looked at before all of them are.
const NEAR: usize = 8;

/// What a new list keeps of the base's.
#[derive(Default)]
pub struct Difference {
    writer: PieceWriter,
    /// How far the base was kept or left out.
    at: u64,
    index: usize,
    not_found: u64,
    changed: bool,
}

impl Difference {
    /// The next extent of the new list.
    pub fn push(&mut self, mut extent: Extent, base: &BaseFile) {
        while extent.len > 0 {
            let Some((position, len)) = self.find(&extent, base) else {
                self.not_found += extent.len;
                self.changed = true;
                return self.writer.here(extent);
            };
            self.changed |= position != self.at;
            self.writer.skip(position - self.at);
            self.writer.keep(len);
            self.at = position + len;
            self.not_found = 0;
            extent = extent.part(len, extent.len - len);
        }
    }

    /// Where the beginning of an extent stands in the base, not before what was kept already, and how much of it.
    fn find(&mut self, extent: &Extent, base: &BaseFile) -> Option<(u64, u64)> {
        self.index = base.index_of(self.at, self.index)?;
        let near = (self.index..base.count().min(self.index + NEAR)).find_map(|index| {
            let (start, there) = base.extent(index);
            let skip = there.skip_to(extent)?;
            (start + skip >= self.at).then_some(start + skip)
        });
        let position = match (near, extent.place) {
            (Some(position), _) if extent.place.is_none() => position.max(self.at),
            (Some(position), _) => position,
            (None, Some(place)) => base.position(place)?,
            (None, None) => return None,
        };
        let skipped = position.checked_sub(self.at)?;
        if skipped > AHEAD + RELUCTANT * self.not_found {
            return None;
        }
        let index = base.index_of(position, self.index)?;
        let (start, there) = base.extent(index);
        Some((position, extent.len.min(start + there.len - position)))
    }

    /// The layer; none when the new list is the base's.
    pub fn finish(self, base: &BaseFile) -> Option<Vec<u8>> {
        let same = !self.changed && self.at == base.len();
        (!same).then(|| self.writer.finish())
    }
}

/// The pieces of a layer, taken by lengths.
struct Lower<'b> {
    take: Take<'b>,
    decoder: PieceDecoder,
    rest: Option<Piece>,
}

impl Lower<'_> {
    fn consume(&mut self, mut len: u64, each: &mut dyn FnMut(Piece)) -> std::result::Result<(), Malformed> {
        while len > 0 {
            let piece = match self.rest.take() {
                Some(piece) => piece,
                None => self.decoder.next(&mut self.take)?,
            };
            let (part, rest) = split(piece, len);
            len -= length(&part);
            self.rest = rest;
            each(part);
        }
        Ok(())
    }
}

fn length(piece: &Piece) -> u64 {
    match piece {
        Piece::Here(extent) => extent.len,
        Piece::Below { len, .. } => *len,
    }
}

fn split(piece: Piece, most: u64) -> (Piece, Option<Piece>) {
    if length(&piece) <= most {
        return (piece, None);
    }
    match piece {
        Piece::Here(extent) => (Piece::Here(extent.part(0, most)), Some(Piece::Here(extent.part(most, extent.len - most)))),
        Piece::Below { skip, len } => (Piece::Below { skip, len: most }, Some(Piece::Below { skip: 0, len: len - most })),
    }
}

/// One layer that does what two do.
pub fn merge(lower: &[u8], upper: &[u8]) -> Result<Vec<u8>> {
    let bad = |why: Malformed| Error::damaged("a list in local state", why.0);
    let mut below = Lower { take: Take::new(lower), decoder: PieceDecoder::default(), rest: None };
    let (mut take, mut decoder) = (Take::new(upper), PieceDecoder::default());
    let mut writer = PieceWriter::default();
    while !take.is_empty() {
        match decoder.next(&mut take).map_err(bad)? {
            Piece::Here(extent) => writer.here(extent),
            Piece::Below { skip, len } => {
                let skipped = &mut |piece| {
                    if let Piece::Below { skip, len } = piece {
                        writer.skip(skip + len);
                    }
                };
                below.consume(skip, skipped).map_err(bad)?;
                let kept = &mut |piece| match piece {
                    Piece::Here(extent) => writer.here(extent),
                    Piece::Below { skip, len } => {
                        writer.skip(skip);
                        writer.keep(len);
                    }
                };
                below.consume(len, kept).map_err(bad)?;
            }
        }
    }
    Ok(writer.finish())
}

/// So many layers of like size become one.
const ALIKE: usize = 6;
/// Lists of so few bytes have one layer.
const SHORT: usize = 512;
/// Layers that the writer makes at most.
const MOST: usize = 28;

/// What a list comes to be.
pub enum Plan {
    /// One layer, with everything.
    Whole,
    /// So many of the base's layers, and above them this one.
    Above { kept: usize, body: Vec<u8> },
}

/// How to write a list of so many bytes, of which `new` is what differs from the base's.
pub fn plan(base: &[Held], new: Vec<u8>, whole_bytes: usize) -> Result<Plan> {
    let above: usize = base.iter().skip(1).map(|held| held.body.len()).sum();
    if base.is_empty() || whole_bytes <= SHORT || (above + new.len()) * 2 > whole_bytes {
        return Ok(Plan::Whole);
    }
    let (mut kept, mut body) = (base.len(), new);
    loop {
        let tier = tier(body.len());
        let alike = base[1..kept].iter().rev().take_while(|held| self::tier(held.body.len()) <= tier).count();
        let merged = if kept >= MOST {
            kept - 1
        } else if alike + 1 >= ALIKE {
            alike
        } else {
            0
        };
        if merged == 0 {
            return Ok(Plan::Above { kept, body });
        }
        for held in base[kept - merged..kept].iter().rev() {
            body = merge(&held.body, &body)?;
        }
        kept -= merged;
    }
}

/// Layers of one tier are of like size.
fn tier(bytes: usize) -> u32 {
    (bytes as u64 / 32 + 1).ilog2() / 3
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extent::{Place, decode, encode, push};
    use crate::read::list::Layers;
    use proptest::prelude::*;

    fn flat(bodies: &[&[u8]]) -> Vec<Extent> {
        let mut layers = Layers::of_bodies(bodies.iter().copied());
        let mut out = Vec::new();
        while let Some(extent) = layers.next(&mut |_| unreachable!("all bodies are at hand")).unwrap() {
            push(&mut out, extent);
        }
        out
    }

    fn difference(base: &[Extent], new: &[Extent]) -> Option<Vec<u8>> {
        let base = BaseFile::listed(base.to_vec());
        let mut difference = Difference::default();
        new.iter().for_each(|extent| difference.push(*extent, &base));
        difference.finish(&base)
    }

    fn extents() -> impl Strategy<Value = Vec<Extent>> {
        let place = (0..3u64, 0..2u32, 0..400u32).prop_map(|(ordinal, sequence, offset)| Some(Place { ordinal, sequence, offset }));
        let extent = (prop_oneof![9 => place, 1 => Just(None)], 1..300u64).prop_map(|(place, len)| Extent { place, len });
        prop::collection::vec(extent, 1..60).prop_map(joined)
    }

    fn joined(extents: Vec<Extent>) -> Vec<Extent> {
        let mut out = Vec::new();
        extents.into_iter().for_each(|extent| push(&mut out, extent));
        out
    }

    /// Another list with some stretches left out, moved or put in between.
    fn edited(base: &[Extent], edits: &[(usize, usize, u8)], number: u64) -> Vec<Extent> {
        let mut out = base.to_vec();
        for &(at, count, kind) in edits {
            let at = at % (out.len() + 1);
            let until = (at + count).min(out.len());
            match kind % 3 {
                0 => drop(out.drain(at..until)),
                1 => out.insert(
                    at,
                    Extent { place: Some(Place { ordinal: 10 + number, sequence: 0, offset: at as u32 }), len: 1 + count as u64 },
                ),
                _ => {
                    let moved: Vec<Extent> = out.drain(at..until).collect();
                    out.splice(0..0, moved);
                }
            }
        }
        joined(out)
    }

    proptest! {
        #[test]
        fn layers_give_the_newest_list_and_merging_changes_nothing(
            base in extents(),
            edits in prop::collection::vec(prop::collection::vec((0..60usize, 1..5usize, any::<u8>()), 0..4), 1..6),
        ) {
            let mut bodies = vec![encode(&base)];
            let mut last = base;
            for (number, edits) in edits.iter().enumerate() {
                let new = edited(&last, edits, number as u64);
                match difference(&last, &new) {
                    Some(body) => bodies.push(body),
                    None => prop_assert_eq!(&last, &new),
                }
                let all: Vec<&[u8]> = bodies.iter().map(Vec::as_slice).collect();
                prop_assert_eq!(&flat(&all), &new);
                last = new;
            }
            while let Some(upper) = bodies.pop() && let Some(lower) = bodies.pop() {
                bodies.push(merge(&lower, &upper).unwrap());
                let all: Vec<&[u8]> = bodies.iter().map(Vec::as_slice).collect();
                prop_assert_eq!(&flat(&all), &last);
                if bodies.len() == 1 {
                    prop_assert_eq!(joined(decode(&bodies[0]).unwrap()), last.clone());
                    break;
                }
            }
        }
    }

    #[test]
    fn a_change_costs_a_few_bytes_however_long_the_list() {
        let base: Vec<Extent> = (0..100_000u32)
            .map(|n| Extent { place: Some(Place { ordinal: u64::from(n % 60), sequence: 0, offset: n * 7 % 900_000 }), len: 120 })
            .collect();
        let mut new = base.clone();
        for n in 0..100 {
            new[n * 900].place = Some(Place { ordinal: 70, sequence: 0, offset: n as u32 * 120 });
        }
        assert!(difference(&base, &new).unwrap().len() < 1000);
        assert_eq!(difference(&base, &base), None);
    }

    #[test]
    fn layers_of_like_size_become_one_and_many_become_the_whole_list() {
        let held = |len: usize| Held { layer: Layer::default(), body: vec![0; len], stored: vec![] };
        assert!(matches!(plan(&[], vec![0; 10], 10_000).unwrap(), Plan::Whole));
        assert!(matches!(plan(&[held(10_000)], vec![0; 6_000], 10_000).unwrap(), Plan::Whole));
        assert!(matches!(plan(&[held(10_000), held(900)], vec![0; 10], 10_000).unwrap(), Plan::Above { kept: 2, .. }));
        let keep_all = |len: u64| {
            let mut writer = PieceWriter::default();
            writer.keep(len);
            Held { layer: Layer::default(), body: writer.finish(), stored: vec![] }
        };
        let base: Vec<Held> = std::iter::once(held(10_000)).chain((0..5).map(|_| keep_all(100))).collect();
        assert!(matches!(plan(&base, keep_all(100).body, 10_000).unwrap(), Plan::Above { kept: 1, .. }));
    }
}

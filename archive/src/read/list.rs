//! Lists of extents, unrolled without holding them in memory: each layer is read piece by piece, and asks the one below for what it keeps.

use super::segments::Recent;
use crate::encode::Take;
use crate::error::{Error, Result};
use crate::extent::{self, Extent, List, PIECE_MAX, Piece, PieceDecoder};

/// How much of a stored layer is gathered in a time.
const BATCH: u64 = 1 << 20;

/// Gives the bytes of some extents, one after the other.
pub type Fetch<'f> = dyn FnMut(&[Extent]) -> Result<Vec<u8>> + 'f;

/// The pieces of one layer, as they come.
struct Body {
    decoder: PieceDecoder,
    bytes: Vec<u8>,
    at: usize,
    /// Where the rest of its bytes lies.
    left: std::vec::IntoIter<Extent>,
}

impl Body {
    fn here(bytes: Vec<u8>) -> Body {
        Body { decoder: PieceDecoder::default(), bytes, at: 0, left: vec![].into_iter() }
    }

    fn stored(extents: Vec<Extent>) -> Body {
        Body { left: extents.into_iter(), ..Body::here(vec![]) }
    }

    fn next(&mut self, fetch: &mut Fetch<'_>) -> Result<Option<Piece>> {
        while self.bytes.len() - self.at < PIECE_MAX && self.left.len() > 0 {
            self.refill(fetch)?;
        }
        if self.at == self.bytes.len() {
            return Ok(None);
        }
        let mut take = Take::new(&self.bytes[self.at..]);
        let piece = self.decoder.next(&mut take).map_err(|why| Error::damaged("a list of extents", why))?;
        self.at += take.position();
        Ok(Some(piece))
    }

    fn refill(&mut self, fetch: &mut Fetch<'_>) -> Result<()> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while bytes < BATCH
            && let Some(extent) = self.left.next()
        {
            bytes += extent.len;
            batch.push(extent);
        }
        self.bytes.drain(..self.at);
        self.at = 0;
        self.bytes.extend_from_slice(&fetch(&batch)?);
        Ok(())
    }
}

struct Layer {
    body: Body,
    /// What is left of the last piece that lies here.
    rest: Option<Extent>,
    /// What is still to be kept of what lies below.
    keep: u64,
}

/// The layers of a list, lowest first.
pub struct Layers(Vec<Layer>);

impl Layers {
    /// Begins to read a list. `above` hears of the extents that hold the list itself.
    pub fn open(list: &List, above: &mut dyn FnMut(&Extent)) -> Result<Layers> {
        let mut layers = Layers(Vec::with_capacity(list.layers.len()));
        for layer in &list.layers {
            if !layer.stored {
                layers.push(Body::here(layer.bytes.clone()));
                continue;
            }
            let extents = located(&layer.bytes)?;
            extents.iter().for_each(&mut *above);
            layers.push(Body::stored(extents));
        }
        Ok(layers)
    }

    /// The same of bodies that are at hand.
    pub fn of_bodies<'b>(bodies: impl Iterator<Item = &'b [u8]>) -> Layers {
        let mut layers = Layers(vec![]);
        bodies.for_each(|body| layers.push(Body::here(body.to_vec())));
        layers
    }

    fn push(&mut self, body: Body) {
        self.0.push(Layer { body, rest: None, keep: 0 });
    }

    /// The next extent of the content.
    pub fn next(&mut self, fetch: &mut Fetch<'_>) -> Result<Option<Extent>> {
        next_part(&mut self.0, u64::MAX, fetch)
    }
}

/// Where a stored layer lies.
pub fn located(bytes: &[u8]) -> Result<Vec<Extent>> {
    let extents = extent::decode(bytes).map_err(|why| Error::damaged("a list of extents", why))?;
    if extents.iter().any(|extent| extent.place.is_none()) {
        return Err(Error::damaged("a list of extents", "it has a hole in it"));
    }
    Ok(extents)
}

/// The next extent that these layers give together, at most `most` bytes of it.
fn next_part(layers: &mut [Layer], most: u64, fetch: &mut Fetch<'_>) -> Result<Option<Extent>> {
    let Some((top, below)) = layers.split_last_mut() else { return Ok(None) };
    loop {
        if let Some(rest) = top.rest.take() {
            let part = rest.part(0, most);
            top.rest = (part.len < rest.len).then(|| rest.part(part.len, rest.len - part.len));
            return Ok(Some(part));
        }
        if top.keep > 0 {
            let part = next_part(below, top.keep.min(most), fetch)?.ok_or_else(short)?;
            top.keep -= part.len;
            return Ok(Some(part));
        }
        match top.body.next(fetch)? {
            None => return Ok(None),
            Some(Piece::Here(extent)) => top.rest = Some(extent),
            Some(Piece::Below { skip, len }) => {
                let mut left = skip;
                while left > 0 {
                    left -= next_part(below, left, fetch)?.ok_or_else(short)?.len;
                }
                top.keep = len;
            }
        }
    }
}

fn short() -> Error {
    Error::damaged("a list of extents", "one of its layers keeps more than there is below it")
}

/// Calls `each` for every extent of the content, in order. `above` hears of the extents that hold the list itself.
pub fn walk(
    list: &List,
    recent: &mut Recent<'_>,
    above: &mut dyn FnMut(&Extent),
    each: &mut dyn FnMut(Extent) -> Result<()>,
) -> Result<()> {
    let mut layers = Layers::open(list, above)?;
    while let Some(extent) = layers.next(&mut |batch| recent.assemble(batch))? {
        each(extent)?;
    }
    Ok(())
}

/// The most extents that are held in memory at once.
pub const EXTENTS_MAX: usize = 4 << 20;

/// All extents of a list of so much content, in memory. `None` when there are more than `EXTENTS_MAX`.
pub fn collect(list: &List, recent: &mut Recent<'_>, len: u64) -> Result<Option<Vec<Extent>>> {
    let (mut out, mut left, mut many) = (Vec::new(), len, false);
    let walked = walk(list, recent, &mut |_| (), &mut |extent| {
        left = left.checked_sub(extent.len).ok_or_else(other_length)?;
        many = out.len() == EXTENTS_MAX;
        if many {
            return Err(other_length());
        }
        extent::push(&mut out, extent);
        Ok(())
    });
    match walked {
        _ if many => Ok(None),
        Ok(()) if left > 0 => Err(other_length()),
        Ok(()) => Ok(Some(out)),
        Err(error) => Err(error),
    }
}

/// The error for a list whose extents do not give the length of their content.
pub fn other_length() -> Error {
    Error::damaged("a list of extents", "it does not give the length of its content")
}

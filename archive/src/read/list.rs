//! Lists of extents that are streams themselves: unrolled without holding them in memory.

use super::segments::Recent;
use crate::encode::Taken;
use crate::error::{Error, Result};
use crate::extent::{Extent, ExtentDecoder, List};

/// One depth of a list: extents decoded so far, and the beginning of the next.
#[derive(Default)]
struct Level {
    decoder: ExtentDecoder,
    pending: Vec<u8>,
}

impl Level {
    fn decode(&mut self, last: bool) -> Result<Vec<Extent>> {
        let mut out = Vec::new();
        let mut each = |extent| {
            out.push(extent);
            Taken::Ok(())
        };
        let used = if last {
            self.decoder.all(&self.pending, &mut each).map(|()| self.pending.len())
        } else {
            self.decoder.feed(&self.pending, &mut each)
        };
        let used = used.map_err(|why| Error::damaged("a list of extents", why))?;
        self.pending.drain(..used);
        Ok(out)
    }
}

/// A piece of a list's stream that is decoded in a time.
const STEP: usize = 64 << 10;
/// How much of a list's stream is gathered in a time.
const BATCH: u64 = 8 << 20;

/// Calls `each` for every extent of the content, in order. `above` hears of the extents that hold the list itself.
pub fn walk(
    list: &List,
    recent: &mut Recent<'_>,
    above: &mut dyn FnMut(&Extent),
    each: &mut dyn FnMut(Extent) -> Result<()>,
) -> Result<()> {
    let mut levels: Vec<Level> = (0..=list.depth).map(|_| Level::default()).collect();
    levels[usize::from(list.depth)].pending.extend_from_slice(&list.bytes);
    descend(&mut levels, true, recent, above, each)
}

/// Works off what the topmost of these levels has pending; `last` when nothing follows.
fn descend(
    levels: &mut [Level],
    last: bool,
    recent: &mut Recent<'_>,
    above: &mut dyn FnMut(&Extent),
    each: &mut dyn FnMut(Extent) -> Result<()>,
) -> Result<()> {
    let (top, below) = levels.split_last_mut().expect("a list has at least one level");
    let extents = top.decode(last)?;
    if below.is_empty() {
        return extents.into_iter().try_for_each(each);
    }
    // A list that was changed often lies scattered: its pieces are gathered with each segment decoded once, some MiB at a time.
    let mut batch: Vec<Extent> = Vec::new();
    let mut bytes = 0;
    for extent in extents {
        above(&extent);
        if extent.place.is_none() {
            return Err(Error::damaged("a list of extents", "it has a hole in it"));
        }
        bytes += extent.len;
        batch.push(extent);
        if bytes >= BATCH {
            gather(&std::mem::take(&mut batch), below, recent, above, each)?;
            bytes = 0;
        }
    }
    if !batch.is_empty() {
        gather(&batch, below, recent, above, each)?;
    }
    if last { descend(below, true, recent, above, each) } else { Ok(()) }
}

/// Hands the bytes of these extents to the level below.
fn gather(
    batch: &[Extent],
    below: &mut [Level],
    recent: &mut Recent<'_>,
    above: &mut dyn FnMut(&Extent),
    each: &mut dyn FnMut(Extent) -> Result<()>,
) -> Result<()> {
    let bytes = recent.assemble(batch)?;
    for part in bytes.chunks(STEP) {
        below.last_mut().expect("there is a level below").pending.extend_from_slice(part);
        descend(below, false, recent, above, each)?;
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
        out.push(extent);
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

//! Containers: items back to back, then a trailer that lists them. FORMAT.md §2.
//!
//! A trailer saves reading the file; when it is missing or wrong, a scan finds the same items, and what lies behind damage too.

use crate::digest::sha256;
use crate::encode::{Malformed, Put, Take, Taken};
use crate::id::{Address, Hash, PackId, RecordId, RunId};
use crate::record::{self, RecordKind};
use crate::seal::{HEADER, Header};

/// What an item is, and how it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemKey {
    Segment(Address),
    Record(RecordKind, RecordId),
}

/// An item of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    pub key: ItemKey,
    pub offset: u32,
    pub len: u32,
}

/// The bytes of an entry in a trailer or an index file.
pub const ENTRY: usize = 29;
/// The end of every container: length of the trailer, magic.
pub const FOOT: usize = 8;
const TRAILER_MIN: usize = 8 + 16 + 4 + 32;

impl Item {
    pub fn put(&self, out: &mut Vec<u8>) {
        let (kind, id, sequence) = match self.key {
            ItemKey::Segment(address) => (0, address.run.0, address.sequence),
            ItemKey::Record(kind, id) => (kind as u8, id.0, 0),
        };
        out.raw(&[kind]);
        out.raw(&id);
        for number in [sequence, self.offset, self.len] {
            out.raw(&number.to_le_bytes());
        }
    }

    pub fn take(take: &mut Take<'_>) -> Taken<Item> {
        let (kind, id, sequence) = (take.u8()?, take.array()?, take.u32()?);
        let key = match kind {
            0 => ItemKey::Segment(Address { run: RunId(id), sequence }),
            _ if sequence != 0 => return Err(Malformed("a record has a number that only segments have")),
            kind => ItemKey::Record(RecordKind::from_number(kind).ok_or(Malformed("a record is of an unknown kind"))?, RecordId(id)),
        };
        let (offset, len) = (take.u32()?, take.u32()?);
        offset.checked_add(len).ok_or(Malformed("an item lies out of bounds"))?;
        Ok(Item { key, offset, len })
    }
}

/// Lays out a container: tells where each item comes to lie, and gives the trailer.
#[derive(Default)]
pub struct Layout {
    items: Vec<Item>,
    len: u32,
}

impl Layout {
    pub fn add(&mut self, key: ItemKey, len: usize) {
        let len = u32::try_from(len).expect("an item is shorter than 4 GiB");
        self.items.push(Item { key, offset: self.len, len });
        self.len = self.len.checked_add(len).expect("a container is closed long before 4 GiB");
    }

    /// Where the next item comes to lie.
    pub fn end(&self) -> u32 {
        self.len
    }

    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// The trailer, and the name of a pack that ends with it. The tag tells apart packs that hold the same items: a damaged one and
    /// the one that replaces it.
    pub fn trailer(&self, tag: [u8; 16]) -> (Vec<u8>, PackId) {
        let mut out = Vec::with_capacity(TRAILER_MIN + FOOT + self.items.len() * ENTRY);
        out.raw(b"REND\x01\0\0\0");
        out.raw(&tag);
        out.raw(&(self.items.len() as u32).to_le_bytes());
        self.items.iter().for_each(|item| item.put(&mut out));
        let hash = sha256(&out);
        out.raw(&hash.0);
        let len = out.len() as u32;
        out.raw(&len.to_le_bytes());
        out.raw(b"RPKE");
        (out, PackId::of(&hash.0))
    }
}

/// How long the trailer is, told by the last eight bytes of a container.
pub fn trailer_len(foot: &[u8]) -> Taken<usize> {
    let mut take = Take::new(foot);
    let len = take.u32()? as usize;
    if take.raw(4)? != b"RPKE" || len < TRAILER_MIN {
        return Err(Malformed("its trailer is missing"));
    }
    Ok(len)
}

/// Reads a trailer (from `REND` to its hash). Items must lie one behind the other before it.
pub fn parse_trailer(trailer: &[u8], start: u64) -> Taken<(Vec<Item>, Hash)> {
    if trailer.len() < TRAILER_MIN {
        return Err(Malformed("its trailer is too short"));
    }
    let (body, hash) = trailer.split_at(trailer.len() - 32);
    if sha256(body).0 != hash {
        return Err(Malformed("its trailer has another hash"));
    }
    let mut take = Take::new(body);
    if take.raw(8)? != b"REND\x01\0\0\0" {
        return Err(Malformed("its trailer has an unknown form"));
    }
    take.raw(16)?;
    let count = take.u32()? as usize;
    if count * ENTRY != body.len() - take.position() {
        return Err(Malformed("its trailer lists another number of items"));
    }
    let items = (0..count).map(|_| Item::take(&mut take)).collect::<Taken<Vec<_>>>()?;
    let mut end = 0u64;
    for item in &items {
        if u64::from(item.offset) != end {
            return Err(Malformed("its trailer lists items that do not follow each other"));
        }
        end += u64::from(item.len);
    }
    if end != start {
        return Err(Malformed("its trailer lists items beyond it"));
    }
    Ok((items, Hash(hash.try_into().expect("32 bytes were split off"))))
}

/// The items of a container that lies in memory, by its trailer.
pub fn items(bytes: &[u8]) -> Taken<Vec<Item>> {
    let foot = bytes.len().checked_sub(FOOT).ok_or(Malformed("it is too short"))?;
    let len = trailer_len(&bytes[foot..])?;
    let start = foot.checked_sub(len).ok_or(Malformed("its trailer is longer than it"))?;
    Ok(parse_trailer(&bytes[start..foot], start as u64)?.0)
}

/// The length of the item that begins these bytes, as its header says. `None` at a trailer or where nothing begins.
fn item_at(bytes: &[u8]) -> Option<(Option<Address>, usize)> {
    match bytes.get(..4)? {
        b"RSEG" => {
            let header = Header::parse(bytes.get(..HEADER)?).ok()?;
            Some((Some(header.address), HEADER + header.payload as usize))
        }
        b"RREC" => Some((None, record::frame(bytes).ok()?.1)),
        _ => None,
    }
}

/// Finds the items of a container without its trailer. Segments are taken by their headers; whether their bytes are right is for the run to say.
/// Reads in a window that moves, so that a pack needs no more memory than two segments.
pub struct Scan<'a> {
    read: &'a mut dyn FnMut(u64, usize) -> crate::Result<Vec<u8>>,
    len: u64,
}

/// How much of a container a scan looks at in a time; more than the longest segment.
const WINDOW: usize = 4 << 20;

impl<'a> Scan<'a> {
    pub fn new(len: u64, read: &'a mut dyn FnMut(u64, usize) -> crate::Result<Vec<u8>>) -> Self {
        Scan { read, len }
    }

    pub fn items(mut self) -> crate::Result<Vec<Item>> {
        let mut found = Vec::new();
        let mut position = 0u64;
        while position < self.len {
            let window = self.window(position)?;
            let mut inside = 0;
            let whole = position + window.len() as u64 == self.len;
            while inside < window.len() {
                match self.next(&window[inside..], position + inside as u64) {
                    Next::Item(item) => {
                        found.push(item);
                        inside += item.len as usize;
                    }
                    Next::Skip(bytes) => inside += bytes,
                    Next::More if whole || inside == 0 => inside += 1,
                    Next::More => break,
                }
            }
            position += inside as u64;
        }
        Ok(found)
    }

    fn window(&mut self, position: u64) -> crate::Result<Vec<u8>> {
        let len = (self.len - position).min(WINDOW as u64) as usize;
        (self.read)(position, len)
    }

    fn next(&self, bytes: &[u8], offset: u64) -> Next {
        let Some((address, len)) = item_at(bytes) else {
            // The next place where a magic number could begin.
            let skip = bytes[1..].iter().position(|&byte| byte == b'R').map_or(bytes.len(), |at| at + 1);
            return Next::Skip(skip);
        };
        if len > bytes.len() {
            return if len > WINDOW || offset + len as u64 > self.len { Next::Skip(1) } else { Next::More };
        }
        let key = match address {
            Some(address) => ItemKey::Segment(address),
            None => {
                let kind = record::frame(bytes).map(|(kind, _)| kind);
                let Ok(kind) = kind else { return Next::Skip(1) };
                ItemKey::Record(kind, RecordId::of(&sha256(&bytes[..len]).0))
            }
        };
        match u32::try_from(offset) {
            Ok(offset) => Next::Item(Item { key, offset, len: len as u32 }),
            Err(_) => Next::Skip(bytes.len()),
        }
    }
}

enum Next {
    Item(Item),
    Skip(usize),
    /// The item goes on behind the window.
    More,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::seal_segment;

    fn pack() -> (Vec<u8>, Vec<Item>) {
        let mut bytes = Vec::new();
        let mut layout = Layout::default();
        for sequence in 0..5u32 {
            let address = Address { run: RunId([sequence as u8; 16]), sequence };
            let mut item = vec![0; HEADER];
            item.extend_from_slice(&crate::sign::random::<9000>());
            seal_segment(&mut item, address, None);
            layout.add(ItemKey::Segment(address), item.len());
            bytes.extend_from_slice(&item);
        }
        bytes.extend_from_slice(&layout.trailer([0; 16]).0);
        (bytes, layout.items().to_vec())
    }

    fn scan(bytes: &[u8]) -> Vec<Item> {
        let mut read = |offset: u64, len: usize| Ok(bytes[offset as usize..offset as usize + len].to_vec());
        Scan::new(bytes.len() as u64, &mut read).items().unwrap()
    }

    #[test]
    fn trailer_and_scan_agree() {
        let (bytes, laid) = pack();
        assert_eq!(items(&bytes).unwrap(), laid);
        assert_eq!(scan(&bytes), laid);
    }

    #[test]
    fn a_scan_finds_what_lies_behind_damage() {
        let (mut bytes, laid) = pack();
        bytes[laid[1].offset as usize] ^= 1;
        bytes.truncate(bytes.len() - 3);
        assert!(items(&bytes).is_err());
        let found = scan(&bytes);
        assert_eq!(found, [&laid[..1], &laid[2..]].concat());
    }

    #[test]
    fn any_flip_in_a_trailer_is_found() {
        let (bytes, laid) = pack();
        let start = laid.iter().map(|item| item.len as usize).sum::<usize>();
        for bit in start * 8..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(items(&damaged).is_err(), "bit {bit}");
        }
    }
}

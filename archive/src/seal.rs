//! Segments as bytes: header, plain form, sealing. FORMAT.md §§2-3.
//!
//! A key seals one segment: it is derived from the run key, a random salt, the run and the sequence number, so its nonce can be zero. The header is bound as
//! associated data. Content is bounded before it is decompressed: a bomb costs 1 MiB.

use crate::digest::BLOCK;
use crate::encode::{Malformed, Put, Take, Taken};
use crate::id::{Address, ExportId, RunId};
use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};

pub const HEADER: usize = 48;
pub const TAG: usize = 16;
/// The longest payload: the plain form of 1 MiB stored as it is, and the tag.
pub const PAYLOAD_MAX: usize = 1 + 3 + BLOCK + TAG;

/// A run key: random, never on a disk in the clear, forgotten when the run closes.
#[derive(Clone)]
pub struct RunKey(pub(crate) [u8; 32]);

impl std::fmt::Debug for RunKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RunKey(…)")
    }
}

impl Drop for RunKey {
    fn drop(&mut self) {
        self.0.fill(0);
        std::hint::black_box(&self.0);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub sealed: bool,
    pub address: Address,
    pub payload: u32,
    pub salt: [u8; 16],
}

impl Header {
    pub fn bytes(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..4].copy_from_slice(b"RSEG");
        bytes[4] = 1;
        bytes[5] = self.sealed.into();
        bytes[8..24].copy_from_slice(&self.address.run.0);
        bytes[24..28].copy_from_slice(&self.address.sequence.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.payload.to_le_bytes());
        bytes[32..].copy_from_slice(&self.salt);
        bytes
    }

    pub fn parse(bytes: &[u8]) -> Taken<Header> {
        let mut take = Take::new(bytes);
        if take.raw(4)? != b"RSEG" {
            return Err(Malformed("it is not a segment"));
        }
        if take.u8()? != 1 {
            return Err(Malformed("the segment has a version from the future"));
        }
        let sealed = take.flag()?;
        if take.raw(2)? != [0, 0] {
            return Err(Malformed("reserved bytes are not zero"));
        }
        let address = Address { run: RunId(take.array()?), sequence: take.u32()? };
        let payload = take.u32()?;
        if payload as usize > PAYLOAD_MAX {
            return Err(Malformed("the segment is too long"));
        }
        Ok(Header { sealed, address, payload, salt: take.array()? })
    }
}

/// Decodes plain forms; one for each thread.
pub struct Decoder {
    zstd: zstd::bulk::Decompressor<'static>,
}

impl Default for Decoder {
    fn default() -> Self {
        Decoder { zstd: zstd::bulk::Decompressor::new().expect("a zstd context needs only memory") }
    }
}

impl Decoder {
    /// Replaces `content` by what the plain form holds.
    pub fn decode(&mut self, plain: &[u8], content: &mut Vec<u8>) -> Taken<()> {
        let mut take = Take::new(plain);
        let method = take.u8()?;
        let len = take.varint()? as usize;
        if len > BLOCK {
            return Err(Malformed("it claims more than 1 MiB of content"));
        }
        let stored = take.raw(plain.len() - take.position())?;
        content.clear();
        match method {
            0 if stored.len() == len => content.extend_from_slice(stored),
            1 => {
                content.reserve(len.max(1));
                let written = self
                    .zstd
                    .decompress_to_buffer(stored, &mut Bounded(content, len))
                    .map_err(|_| Malformed("it does not decompress"))?;
                if written != len {
                    return Err(Malformed("its content has another length than it claims"));
                }
            }
            0 => return Err(Malformed("its content has another length than it claims")),
            _ => return Err(Malformed("it is compressed in a way from the future")),
        }
        Ok(())
    }
}

/// A vector that zstd may fill up to a length that was checked, whatever capacity it has.
struct Bounded<'a>(&'a mut Vec<u8>, usize);

// SAFETY: the pointer and capacity are the vector's own, capped at a length that was reserved; `filled_until` is only called after
// that many bytes were written.
unsafe impl zstd::zstd_safe::WriteBuf for Bounded<'_> {
    fn as_slice(&self) -> &[u8] {
        self.0
    }

    fn capacity(&self) -> usize {
        self.1
    }

    fn as_mut_ptr(&mut self) -> *mut u8 {
        self.0.as_mut_ptr()
    }

    unsafe fn filled_until(&mut self, n: usize) {
        unsafe { self.0.set_len(n) }
    }
}

/// Makes plain forms; one for each thread. Gives up early on what does not compress.
pub struct Encoder {
    zstd: zstd::bulk::Compressor<'static>,
    probe: zstd::bulk::Compressor<'static>,
    buffer: Vec<u8>,
}

/// How much of a segment is tried at the fastest level before the rest is.
const PROBE: usize = 16 << 10;

impl Encoder {
    pub fn new(level: i32) -> std::io::Result<Self> {
        Ok(Encoder {
            zstd: zstd::bulk::Compressor::new(level)?,
            // Not below 1: the levels there leave out what alone shrinks hexadecimal digits and base64.
            probe: zstd::bulk::Compressor::new(1)?,
            buffer: Vec::new(),
        })
    }

    /// Whether three samples all fail to shrink by a fiftieth.
    fn hopeless(&mut self, content: &[u8]) -> bool {
        if content.len() < 4 * PROBE {
            return false;
        }
        let last = content.len() - PROBE;
        [0, last / 2, last].iter().all(|&start| {
            self.buffer.clear();
            self.buffer.reserve(PROBE + PROBE / 8 + 64);
            match self.probe.compress_to_buffer(&content[start..start + PROBE], &mut self.buffer) {
                Ok(len) => len + PROBE / 50 > PROBE,
                Err(_) => true,
            }
        })
    }

    /// Replaces `plain` by the plain form of `content`, leaving room before it for `room` bytes that the caller fills in.
    pub fn encode(&mut self, content: &[u8], room: usize, plain: &mut Vec<u8>) {
        assert!(content.len() <= BLOCK, "a segment holds at most 1 MiB");
        plain.clear();
        plain.resize(room, 0);
        if !self.hopeless(content) {
            self.buffer.clear();
            self.buffer.reserve(zstd::zstd_safe::compress_bound(content.len()));
            let compressed = self.zstd.compress_to_buffer(content, &mut self.buffer);
            if let Ok(len) = compressed
                && len + len / 64 < content.len()
            {
                plain.push(1);
                plain.varint(content.len() as u64);
                plain.extend_from_slice(&self.buffer[..len]);
                return;
            }
        }
        plain.push(0);
        plain.varint(content.len() as u64);
        plain.extend_from_slice(content);
    }
}

struct Length32;

impl KeyType for Length32 {
    fn len(&self) -> usize {
        32
    }
}

fn derive(key: &RunKey, salt: &[u8; 16], info: &[&[u8]]) -> LessSafeKey {
    let mut bytes = [0; 32];
    let prk = Salt::new(HKDF_SHA256, salt).extract(&key.0);
    prk.expand(info, Length32).and_then(|okm| okm.fill(&mut bytes)).expect("32 bytes can be derived");
    LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &bytes).expect("the key has 32 bytes"))
}

fn segment_key(key: &RunKey, header: &Header) -> LessSafeKey {
    derive(key, &header.salt, &[b"resilient 1 segment\n", &header.address.run.0, &header.address.sequence.to_le_bytes()])
}

fn root_key(key: &RunKey, salt: &[u8; 16], export: ExportId) -> LessSafeKey {
    derive(key, salt, &[b"resilient 1 root\n", &export.0])
}

fn zero_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

/// Finishes a segment in place: `item` begins with room for the header, the plain form follows.
pub fn seal_segment(item: &mut Vec<u8>, address: Address, key: Option<(&RunKey, [u8; 16])>) {
    let plain = item.len() - HEADER;
    let (payload, salt) = match key {
        Some((_, salt)) => (plain + TAG, salt),
        None => (plain, [0; 16]),
    };
    let header = Header { sealed: key.is_some(), address, payload: payload as u32, salt };
    let bytes = header.bytes();
    item[..HEADER].copy_from_slice(&bytes);
    if let Some((key, _)) = key {
        let tag = segment_key(key, &header)
            .seal_in_place_separate_tag(zero_nonce(), Aad::from(bytes), &mut item[HEADER..])
            .expect("a segment is shorter than the cipher's limit");
        item.extend_from_slice(tag.as_ref());
    }
}

/// Whether an item says that it is the segment at this address.
pub fn header_is(item: &[u8], address: Address) -> bool {
    Header::parse(item).is_ok_and(|header| header.address == address)
}

/// The plain form of a segment whose bytes are `item`. Changes `item` in place.
pub fn open_segment<'a>(item: &'a mut [u8], key: Option<&RunKey>) -> Taken<&'a [u8]> {
    let header = Header::parse(item)?;
    let (head, payload) = item.split_at_mut(HEADER);
    if payload.len() != header.payload as usize {
        return Err(Malformed("the segment has another length than its header says"));
    }
    match (header.sealed, key) {
        (false, None) => Ok(payload),
        (true, Some(key)) => {
            let aad = Aad::from(&*head);
            let plain = segment_key(key, &header).open_in_place(zero_nonce(), aad, payload);
            plain.map(|plain| &*plain).map_err(|_| Malformed("the seal is broken"))
        }
        (true, None) => Err(Malformed("it is sealed, its run is not")),
        (false, Some(_)) => Err(Malformed("it is not sealed, its run is")),
    }
}

/// Seals the root of a snapshot.
pub fn seal_root(plain: &mut Vec<u8>, key: &RunKey, salt: &[u8; 16], export: ExportId, bound: &[u8]) {
    let tag = root_key(key, salt, export)
        .seal_in_place_separate_tag(zero_nonce(), Aad::from(bound), plain)
        .expect("a root is shorter than the cipher's limit");
    plain.extend_from_slice(tag.as_ref());
}

/// Opens the root of a snapshot.
pub fn open_root(sealed: &[u8], key: &RunKey, salt: &[u8; 16], export: ExportId, bound: &[u8]) -> Taken<Vec<u8>> {
    let mut plain = sealed.to_vec();
    let len = root_key(key, salt, export)
        .open_in_place(zero_nonce(), Aad::from(bound), &mut plain)
        .map_err(|_| Malformed("the seal of the root is broken"))?
        .len();
    plain.truncate(len);
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(content: &[u8], key: Option<(&RunKey, [u8; 16])>) -> Vec<u8> {
        let mut item = Vec::new();
        Encoder::new(3).unwrap().encode(content, HEADER, &mut item);
        seal_segment(&mut item, Address { run: RunId([7; 16]), sequence: 3 }, key);
        item
    }

    #[test]
    fn a_segment_comes_back_sealed_and_unsealed() {
        let key = RunKey([5; 32]);
        for content in [&b""[..], b"x", &[9; BLOCK], &crate::sign::random::<70_000>()] {
            for sealed in [true, false] {
                let mut bytes = item(content, sealed.then_some((&key, [1; 16])));
                let mut out = Vec::new();
                let plain = open_segment(&mut bytes, sealed.then_some(&key)).unwrap();
                Decoder::default().decode(plain, &mut out).unwrap();
                assert_eq!(out, content);
            }
        }
    }

    #[test]
    fn every_flipped_bit_breaks_the_seal() {
        let key = RunKey([5; 32]);
        let whole = item(b"some content that is sealed", Some((&key, [1; 16])));
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(open_segment(&mut bytes, Some(&key)).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_bomb_is_refused_before_it_grows() {
        let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 1).unwrap();
        for claimed in [64 << 20, BLOCK as u64, 10] {
            let mut plain = vec![1];
            plain.varint(claimed);
            plain.extend_from_slice(&bomb);
            let mut out = Vec::new();
            assert!(Decoder::default().decode(&plain, &mut out).is_err());
            assert!(out.capacity() <= 2 * BLOCK);
        }
    }

    #[test]
    fn what_only_uses_few_bytes_is_compressed() {
        let digits = crate::id::hex(&crate::sign::random::<200_000>());
        let mut plain = Vec::new();
        Encoder::new(3).unwrap().encode(digits.as_bytes(), 0, &mut plain);
        assert!(plain[0] == 1 && plain.len() < digits.len() * 6 / 10, "{} of {}", plain.len(), digits.len());
    }

    #[test]
    fn random_content_is_stored() {
        let mut plain = Vec::new();
        Encoder::new(3).unwrap().encode(&crate::sign::random::<200_000>(), 0, &mut plain);
        assert_eq!(plain[0], 0);
    }
}

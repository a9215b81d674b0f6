//! How many rows a table's text has, and a hash of them that does not depend on their order: read back from another server, the same rows may come in another.
//!
//! Each row is hashed by itself (XXH3, 128 bits) and the hashes are added. It finds what a load lost, doubled or changed by accident; against somebody who means
//! harm, the digests and the signature of the snapshot stand, and its rows never come from elsewhere.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// Of so many rows, this is the sum of their hashes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rows {
    pub count: u64,
    #[serde(with = "hexadecimal")]
    pub hash: u128,
}

impl Rows {
    pub fn add(&mut self, other: Rows) {
        self.count += other.count;
        self.hash = self.hash.wrapping_add(other.hash);
    }

    fn row(&mut self, hash: u128) {
        self.count += 1;
        self.hash = self.hash.wrapping_add(hash);
    }
}

mod hexadecimal {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(hash: &u128, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&format!("{hash:032x}"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u128, D::Error> {
        u128::from_str_radix(&String::deserialize(from)?, 16).map_err(D::Error::custom)
    }
}

/// Counts rows of a text, each ended by a newline, however it is cut.
#[derive(Default)]
pub struct Counter {
    rows: Rows,
    bytes: u64,
    /// The beginning of a row whose end has not come.
    begun: Option<Box<Xxh3>>,
}

impl Counter {
    pub fn take(&mut self, mut text: &[u8]) {
        self.bytes += text.len() as u64;
        while let Some(end) = memchr::memchr(b'\n', text) {
            let (row, rest) = (&text[..end], &text[end + 1..]);
            self.rows.row(match self.begun.take() {
                Some(mut begun) => {
                    begun.update(row);
                    begun.digest128()
                }
                None => xxh3_128(row),
            });
            text = rest;
        }
        if !text.is_empty() {
            self.begun.get_or_insert_default().update(text);
        }
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The rows, if the last one was ended.
    pub fn rows(&self) -> Option<Rows> {
        self.begun.is_none().then_some(self.rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(parts: &[&[u8]]) -> Option<Rows> {
        let mut counter = Counter::default();
        parts.iter().for_each(|part| counter.take(part));
        counter.rows()
    }

    #[test]
    fn however_it_is_cut_and_in_whatever_order_the_same_rows_have_the_same_hash() {
        let whole = of(&[b"one\ntwo\n\nthree\n"]).unwrap();
        assert_eq!(whole.count, 4);
        assert_eq!(of(&[b"o", b"ne\nt", b"wo", b"\n", b"\nthree\n"]), Some(whole));
        assert_eq!(of(&[b"three\n\ntwo\none\n"]), Some(whole));
        let mut parts = of(&[b"three\n\n"]).unwrap();
        parts.add(of(&[b"two\none\n"]).unwrap());
        assert_eq!(parts, whole);
        for other in [b"one\ntwo\n\nthree\nthree\n".as_slice(), b"one\ntwo\n\nthre\n", b"one\ntwo\nthree\n", b"onet\nwo\n\nthree\n"] {
            assert_ne!(of(&[other]), Some(whole), "{other:?}");
        }
    }

    #[test]
    fn a_row_without_its_end_is_no_row() {
        assert_eq!(of(&[b"one\ntw"]), None);
        assert_eq!(of(&[]), Some(Rows::default()));
    }

    #[test]
    fn rows_are_written_and_read_back() {
        let rows = of(&[b"one\n"]).unwrap();
        assert_eq!(serde_json::from_str::<Rows>(&serde_json::to_string(&rows).unwrap()).unwrap(), rows);
    }
}

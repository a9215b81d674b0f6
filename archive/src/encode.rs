//! The encoding of FORMAT.md §1. `Take` is handed bytes that an enemy may have made: it never reads beyond them, never allocates what
//! they only claim, and accepts one encoding of each number.

use crate::id::Hash;

/// Why bytes could not be read. Callers add the name of the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

pub type Taken<T> = Result<T, Malformed>;

/// Reads fields one after the other.
#[derive(Clone)]
pub struct Take<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Take<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Take { bytes, position: 0 }
    }

    pub fn position(&self) -> usize {
        self.position
    }

    pub fn is_empty(&self) -> bool {
        self.position == self.bytes.len()
    }

    pub fn raw(&mut self, len: usize) -> Taken<&'a [u8]> {
        let rest = &self.bytes[self.position..];
        if len > rest.len() {
            return Err(Malformed("it ends too early"));
        }
        self.position += len;
        Ok(&rest[..len])
    }

    pub fn array<const N: usize>(&mut self) -> Taken<[u8; N]> {
        Ok(self.raw(N)?.try_into().expect("raw gives N bytes"))
    }

    pub fn u8(&mut self) -> Taken<u8> {
        Ok(self.raw(1)?[0])
    }

    pub fn flag(&mut self) -> Taken<bool> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed("a flag is neither 0 nor 1")),
        }
    }

    pub fn u32(&mut self) -> Taken<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub fn hash(&mut self) -> Taken<Hash> {
        Ok(Hash(self.array()?))
    }

    pub fn varint(&mut self) -> Taken<u64> {
        let mut value = 0u64;
        for (index, &byte) in self.bytes[self.position..].iter().take(10).enumerate() {
            let part = u64::from(byte & 127);
            if index == 9 && part > 1 {
                return Err(Malformed("a number is too large"));
            }
            value |= part << (7 * index);
            if byte < 128 {
                if byte == 0 && index > 0 {
                    return Err(Malformed("a number is longer than needed"));
                }
                self.position += index + 1;
                return Ok(value);
            }
        }
        Err(Malformed("a number has no end"))
    }

    pub fn varint_u32(&mut self) -> Taken<u32> {
        u32::try_from(self.varint()?).map_err(|_| Malformed("a number is too large"))
    }

    pub fn zigzag(&mut self) -> Taken<i64> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    pub fn bytes(&mut self) -> Taken<&'a [u8]> {
        let len = self.varint()?;
        self.raw(usize::try_from(len).map_err(|_| Malformed("it ends too early"))?)
    }

    pub fn text(&mut self) -> Taken<String> {
        String::from_utf8(self.bytes()?.to_vec()).map_err(|_| Malformed("a name is not text"))
    }

    /// A count of things of which each takes at least `least` bytes, so that a count that lies cannot make anyone allocate.
    pub fn count(&mut self, least: usize) -> Taken<usize> {
        let count = self.varint()?;
        let rest = (self.bytes.len() - self.position) as u64;
        if count.saturating_mul(least as u64) > rest {
            return Err(Malformed("a list is longer than the bytes that hold it"));
        }
        Ok(count as usize)
    }

    pub fn end(&self) -> Taken<()> {
        if self.is_empty() { Ok(()) } else { Err(Malformed("bytes are left over")) }
    }
}

/// Writes fields one after the other.
pub trait Put {
    fn raw(&mut self, bytes: &[u8]);

    fn varint(&mut self, mut value: u64) {
        let mut buffer = [0u8; 10];
        let mut len = 0;
        while value >= 128 {
            buffer[len] = value as u8 | 128;
            value >>= 7;
            len += 1;
        }
        buffer[len] = value as u8;
        self.raw(&buffer[..=len]);
    }

    fn zigzag(&mut self, value: i64) {
        self.varint(((value << 1) ^ (value >> 63)) as u64);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.varint(bytes.len() as u64);
        self.raw(bytes);
    }
}

impl Put for Vec<u8> {
    fn raw(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_come_back(value: u64, signed: i64) {
            let mut bytes = Vec::new();
            bytes.varint(value);
            bytes.zigzag(signed);
            let mut take = Take::new(&bytes);
            prop_assert_eq!(take.varint().unwrap(), value);
            prop_assert_eq!(take.zigzag().unwrap(), signed);
            take.end().unwrap();
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            let mut take = Take::new(&bytes);
            while take.varint().is_ok() {}
            let mut take = Take::new(&bytes);
            while take.bytes().is_ok() && !take.is_empty() {}
        }
    }

    #[test]
    fn a_number_has_one_encoding() {
        assert!(Take::new(&[0x80, 0x00]).varint().is_err());
        assert!(Take::new(&[0xff; 10]).varint().is_err());
        assert!(Take::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]).varint().is_ok());
        assert!(Take::new(&[0x80]).varint().is_err());
    }

    #[test]
    fn a_lying_count_is_refused() {
        let mut bytes = Vec::new();
        bytes.varint(1 << 60);
        assert!(Take::new(&bytes).count(1).is_err());
    }
}

//! Identifiers as types of their own, so that a run id cannot be taken for a snapshot id. They print as lower-case hexadecimal.

use crate::local::RunTag;
use std::fmt;

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)] as char);
        text.push(DIGITS[usize::from(byte & 15)] as char);
    }
    text
}

/// Bytes of any number, from hexadecimal digits.
pub fn unhex_all(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Some(unhex::<1>(std::str::from_utf8(pair).ok()?)?[0])).collect()
}

/// Reads lower-case hexadecimal of exactly `N` bytes.
pub fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != N * 2 {
        return None;
    }
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(bytes)
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $size:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $size]);

        impl $name {
            pub const NONE: Self = Self([0; $size]);

            pub fn parse(text: &str) -> Option<Self> {
                unhex(text).map(Self)
            }

            pub fn is_none(&self) -> bool {
                self.0 == [0; $size]
            }

            /// The first `SIZE` bytes of a hash.
            pub fn of(hash: &[u8; 32]) -> Self {
                let mut bytes = [0; $size];
                bytes.copy_from_slice(&hash[..$size]);
                Self(bytes)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex(&self.0[..4]))
            }
        }
    };
}

id!(
    /// A batch of segments that one node wrote under one key.
    RunId,
    16
);
id!(
    /// One complete export.
    SnapshotId,
    16
);
id!(
    /// One attempt at an export, finished or not.
    ExportId,
    16
);
id!(
    /// A sealing identity.
    IdentityId,
    16
);
id!(
    /// A file that holds many segments.
    PackId,
    16
);
id!(
    /// Any record, by its bytes.
    RecordId,
    16
);
id!(
    /// A repository.
    RepositoryId,
    16
);
id!(
    /// The SHA-256 of a whole item or of content.
    Hash,
    32
);

impl RunId {
    /// The first eight bytes: enough to tell runs apart in local tables, where nobody chooses ids.
    pub fn tag(&self) -> RunTag {
        RunTag(u64::from_le_bytes(self.0[..8].try_into().expect("a run id has sixteen bytes")))
    }
}

/// Where a segment is: a run and a number in it. It does not name a pack, so packs can be rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    pub run: RunId,
    pub sequence: u32,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.run, self.sequence)
    }
}

//! SHA-256, and the digest of content that FORMAT.md §5 defines: blocks of 1 MiB, so that it can be made and checked in parallel and in any order.

mod lanes;

use crate::id::Hash;
use aws_lc_rs::digest::{Context, SHA256, digest};

/// The block of a digest, and the most content that a segment holds.
pub const BLOCK: usize = 1 << 20;

pub fn sha256(bytes: &[u8]) -> Hash {
    Hash(digest(&SHA256, bytes).as_ref().try_into().expect("SHA-256 has 32 bytes"))
}

/// The hashes of several contents: of two in hardly more time than of one.
pub fn sha256_each(contents: &[&[u8]]) -> Vec<Hash> {
    let together = if contents.len() > 1 { lanes::each(contents) } else { None };
    together.unwrap_or_else(|| contents.iter().map(|content| sha256(content)).collect())
}

pub fn sha256_of(parts: &[&[u8]]) -> Hash {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    Hash(context.finish().as_ref().try_into().expect("SHA-256 has 32 bytes"))
}

/// The hash of a block that is all zeros.
pub fn of_zeros() -> Hash {
    static HASH: std::sync::OnceLock<Hash> = std::sync::OnceLock::new();
    *HASH.get_or_init(|| sha256(&vec![0; BLOCK]))
}

/// The digest of content whose blocks have these hashes.
pub fn of_blocks(blocks: &[Hash]) -> Hash {
    match blocks {
        [] => sha256(b""),
        [only] => *only,
        many => {
            let parts: Vec<&[u8]> = many.iter().map(|hash| hash.0.as_slice()).collect();
            sha256_of(&parts)
        }
    }
}

/// The digest of content whose blocks' hashes come in order, however many there are.
pub struct OfBlocks {
    context: Context,
    only: Option<Hash>,
    count: u64,
}

impl Default for OfBlocks {
    fn default() -> Self {
        OfBlocks { context: Context::new(&SHA256), only: None, count: 0 }
    }
}

impl OfBlocks {
    pub fn push(&mut self, hash: Hash) {
        self.context.update(&hash.0);
        self.count += 1;
        self.only = (self.count == 1).then_some(hash);
    }

    pub fn finish(self) -> Hash {
        self.only
            .unwrap_or_else(|| Hash(self.context.finish().as_ref().try_into().expect("SHA-256 has 32 bytes")))
    }
}

/// The digest of content that lies in memory.
pub fn of_content(content: &[u8]) -> Hash {
    let blocks: Vec<&[u8]> = content.chunks(BLOCK).collect();
    of_blocks(&sha256_each(&blocks))
}

/// The digest of content that comes in order, in pieces of any size.
pub struct Digester {
    blocks: Vec<Hash>,
    context: Context,
    filled: usize,
}

impl Default for Digester {
    fn default() -> Self {
        Digester { blocks: Vec::new(), context: Context::new(&SHA256), filled: 0 }
    }
}

impl Digester {
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let take = bytes.len().min(BLOCK - self.filled);
            self.context.update(&bytes[..take]);
            self.filled += take;
            bytes = &bytes[take..];
            if self.filled == BLOCK {
                self.close_block();
            }
        }
    }

    fn close_block(&mut self) {
        let context = std::mem::replace(&mut self.context, Context::new(&SHA256));
        self.blocks.push(Hash(context.finish().as_ref().try_into().expect("SHA-256 has 32 bytes")));
        self.filled = 0;
    }

    pub fn finish(mut self) -> Hash {
        if self.filled > 0 {
            self.close_block();
        }
        of_blocks(&self.blocks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_any_size_give_the_same_digest() {
        let content: Vec<u8> = (0..BLOCK * 2 + 77).map(|i| (i * 7 % 251) as u8).collect();
        for step in [1000, BLOCK - 1, BLOCK, BLOCK + 1, content.len()] {
            let mut digester = Digester::default();
            content.chunks(step).for_each(|piece| digester.update(piece));
            assert_eq!(digester.finish(), of_content(&content), "step {step}");
        }
        for blocks in 0..4 {
            let hashes: Vec<Hash> = (0..blocks).map(|n| sha256(&[n])).collect();
            let mut one_by_one = OfBlocks::default();
            hashes.iter().for_each(|hash| one_by_one.push(*hash));
            assert_eq!(one_by_one.finish(), of_blocks(&hashes));
        }
        assert_eq!(of_content(&content[..BLOCK]), sha256(&content[..BLOCK]));
        assert_eq!(Digester::default().finish(), sha256(b""));
    }
}

//! The root of a snapshot: where its index is, and what its sources were. FORMAT.md §5.

use crate::encode::{Malformed, Put, Take, Taken};
use crate::extent::List;
use crate::id::Hash;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub name: String,
    pub recipe: String,
    /// What the recipe wants to know at import.
    pub manifest: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    pub next_ordinal: u64,
    pub index_len: u64,
    pub index_digest: Hash,
    pub index: List,
    pub sources: Vec<Source>,
}

impl Root {
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.varint(1);
        out.varint(self.next_ordinal);
        out.varint(self.index_len);
        out.raw(&self.index_digest.0);
        self.index.put(&mut out);
        out.varint(self.sources.len() as u64);
        for source in &self.sources {
            out.bytes(source.name.as_bytes());
            out.bytes(source.recipe.as_bytes());
            out.bytes(&source.manifest);
        }
        out
    }

    pub fn parse(bytes: &[u8]) -> Taken<Root> {
        let mut take = Take::new(bytes);
        if take.varint()? != 1 {
            return Err(Malformed("the root has a version from the future"));
        }
        let (next_ordinal, index_len, index_digest, index) = (take.varint()?, take.varint()?, take.hash()?, List::take(&mut take)?);
        let count = take.count(3)?;
        let sources = (0..count)
            .map(|_| Ok(Source { name: take.text()?, recipe: take.text()?, manifest: take.bytes()?.to_vec() }))
            .collect::<Taken<Vec<_>>>()?;
        take.end()?;
        Ok(Root { next_ordinal, index_len, index_digest, index, sources })
    }
}

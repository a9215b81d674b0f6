//! The new index on its way to local files, with its stamps.

use crate::entry::{self, Entry};
use crate::error::{Error, Result};
use crate::id::Hash;
use crate::local::state::{EntryStamp, LocalFiles, private};
use std::io::{self, Write};

/// Writes the index and its stamps to local files.
pub struct IndexWriter {
    index: Hashed,
    stamps: Hashed,
    previous: Vec<u8>,
    buffer: Vec<u8>,
}

struct Hashed {
    path: std::path::PathBuf,
    file: io::BufWriter<std::fs::File>,
    hasher: blake3::Hasher,
}

impl Hashed {
    fn create(path: std::path::PathBuf) -> Result<Self> {
        let file = private(&path).map_err(Error::file("create", &path))?;
        Ok(Hashed { path, file: io::BufWriter::with_capacity(256 << 10, file), hasher: blake3::Hasher::new() })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.hasher.update(bytes);
        self.file.write_all(bytes).map_err(Error::file("write", &self.path))
    }

    fn finish(&mut self) -> Result<Hash> {
        self.file
            .flush()
            .and_then(|()| self.file.get_ref().sync_all())
            .map_err(Error::file("write", &self.path))?;
        Ok(Hash(*self.hasher.finalize().as_bytes()))
    }
}

impl IndexWriter {
    pub fn create(local: &LocalFiles, generation: u64) -> Result<Self> {
        let (index, stamps) = (Hashed::create(local.index(generation))?, Hashed::create(local.stamps(generation))?);
        Ok(IndexWriter { index, stamps, previous: vec![], buffer: vec![] })
    }

    pub fn write(&mut self, entry: &Entry, stamp: &EntryStamp) -> Result<()> {
        self.buffer.clear();
        entry::put(entry, &self.previous, &mut self.buffer);
        self.previous.clone_from(&entry.path);
        self.index.write(&self.buffer)?;
        self.stamps.write(&stamp.bytes())
    }

    pub fn finish(&mut self) -> Result<[Hash; 2]> {
        Ok([self.index.finish()?, self.stamps.finish()?])
    }
}

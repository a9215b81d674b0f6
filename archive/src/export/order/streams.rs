//! Content that is read once, in order: a table's rows, a program's output.
//!
//! It is read into a few buffers that come back when their region is done, so that memory stays bounded however slow the threads are, and is not had anew from the
//! system for each region. What is short is copied out: many of it may wait together.

use super::{Coming, Order};
use crate::entry;
use crate::error::{Error, Result};
use crate::export::region::REGION;
use crate::export::walk::BaseList;
use crate::export::work::{Job, Source};
use std::io::{self, Read};

/// What is shorter gets a place of its own length.
const SHORT: usize = REGION / 4;

/// Buffers of a region's length.
pub(super) struct Buffers {
    free: Vec<Vec<u8>>,
    /// How many more may be made.
    left: usize,
}

impl Buffers {
    /// Each thread has one at work; one more waits, and one is being filled.
    pub fn new(threads: usize) -> Buffers {
        Buffers { free: vec![], left: threads + 2 }
    }

    fn take(&mut self) -> Option<Vec<u8>> {
        self.free.pop().or_else(|| {
            self.left = self.left.checked_sub(1)?;
            Some(vec![0; REGION])
        })
    }

    pub fn back(&mut self, buffer: Option<Vec<u8>>) {
        self.free.extend(buffer.filter(|buffer| buffer.len() == REGION));
    }
}

impl Order {
    pub fn stream(&mut self, coming: Coming, mut stream: Box<dyn Read + Send>, base: Option<BaseList>, read_ms: u64) -> Result<()> {
        self.flush_batch()?;
        let path = coming.entry.path.clone();
        let number = self.begin_large(coming, None, None, 0, base, read_ms);
        let mut index = 0;
        loop {
            let mut bytes = self.buffer()?;
            let filled = fill(&mut stream, &mut bytes);
            let len = filled.map_err(|source| Error::Store { operation: "read the stream", name: entry::display(&path), source })?;
            if len < SHORT {
                let short = bytes[..len].to_vec();
                self.streams.back(Some(std::mem::replace(&mut bytes, short)));
            }
            if len > 0 {
                let file = self.large_mut(number).expect("streams are not dropped").file.clone();
                self.dispatch(Job::Region { file, attempt: 1, index, len, source: Source::Bytes(bytes) }, len as u64)?;
                index += 1;
            }
            if len < REGION {
                break;
            }
        }
        let large = self.large_mut(number).expect("streams are not dropped");
        large.regions = Some(index);
        self.complete_large(number)
    }

    /// A buffer, when one is free.
    fn buffer(&mut self) -> Result<Vec<u8>> {
        loop {
            if let Some(buffer) = self.streams.take() {
                return Ok(buffer);
            }
            self.wait()?;
        }
    }
}

/// Less than all of the buffer only at the end.
fn fill(stream: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match stream.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

//! An export as a stream: read while the program writes, and whole only when it ended well. Nothing is sent before its
//! first bytes: a program that fails at once fails like any source that is missing.

use std::io::{self, Read};
use std::path::PathBuf;

use super::capture::Room;
use super::process::{Output, Process};
use super::{Act, Inner, STREAM};
use crate::Error;
use crate::data::{Attributes, Body, Item, Sink, Stop};

struct Stream {
    process: Process,
    program: PathBuf,
    /// What was read to see whether there is anything.
    first: io::Cursor<Vec<u8>>,
    /// Held until the program has ended.
    _room: Room,
}

const FIRST_BYTES: usize = 64 << 10;

pub(crate) fn export(inner: &Inner, sink: &mut dyn Sink) -> Result<(), Error> {
    let room = Room::take(inner)?;
    let mut process = inner.start(Act::Export, None, room.input(inner)?, Output::Wanted)?;
    let failed = inner.failed(Act::Export);
    let mut first = vec![0; FIRST_BYTES];
    let length = process.read(&mut first).map_err(&failed)?;
    if length == 0 {
        return Err(failed(process.told("it wrote nothing")));
    }
    first.truncate(length);
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    // Written by this run, so its time says nothing, and would make each export another.
    let attributes = |mode| Attributes { mode, uid, gid, ..Attributes::default() };
    let stopped = |Stop| Error::Stopped;
    let root = Item { path: Vec::new(), attributes: attributes(0o755), stamp: None, body: Body::Folder };
    sink.item(root).map_err(stopped)?;
    let stream = Stream { process, program: inner.program(Act::Export), first: io::Cursor::new(first), _room: room };
    let body = Body::Stream(Box::new(stream));
    sink.item(Item { path: STREAM.to_vec(), attributes: attributes(0o600), stamp: None, body })
        .map_err(stopped)
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.first.read(buf)?;
        if n > 0 || buf.is_empty() {
            return Ok(n);
        }
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{} failed: {error}", self.program.display()));
        self.process.read(buf).map_err(named)
    }
}

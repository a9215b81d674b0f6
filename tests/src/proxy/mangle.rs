//! The same plans for any pair of reader and writer, so that they reach inside TLS: a member with good keys and bad intent.
//!
//! It goes around the clear side of a TLS stream, where a proxy can only break the outside. Waiting has a bound of its own, after which
//! it is an error of the kind `TimedOut`. It blocks; it is no adapter for an async stream.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use super::plan::{Flow, Plan, Step, Way};

const PIECE: usize = 16 << 10;

type Steady = fn() -> bool;

/// A stream whose bytes are mangled by a plan.
pub struct Mangle<S> {
    inner: S,
    read: Flow<Steady>,
    write: Flow<Steady>,
    /// Read from `inner` and not yet judged.
    ahead: Vec<u8>,
    begin: usize,
    plan: Arc<Plan>,
    way: Way,
}

impl<S> Mangle<S> {
    /// Around one end of a connection; `writes` is the way of what is written here: up at the side that connected.
    pub fn new(inner: S, plan: &Arc<Plan>, writes: Way, patience: Duration) -> Mangle<S> {
        let reads = if writes == Way::Up { Way::Down } else { Way::Up };
        let mut number = 0;
        plan.count(|counts| {
            number = counts.connections;
            counts.connections += 1;
        });
        let flow = |way| Flow::new(plan, way, number, patience, (|| true) as Steady);
        let (read, write) = (flow(reads), flow(writes));
        Mangle { inner, read, write, ahead: Vec::new(), begin: 0, plan: plan.clone(), way: writes }
    }

    fn passed(&self, len: usize, written: bool) {
        self.plan.count(|counts| match (self.way, written) {
            (Way::Up, true) | (Way::Down, false) => counts.up += len as u64,
            (Way::Down, true) | (Way::Up, false) => counts.down += len as u64,
        });
    }
}

fn gave_up() -> io::Error {
    io::Error::new(ErrorKind::TimedOut, "stalled by the plan")
}

impl<S: Read> Read for Mangle<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let end = self.ahead.len().min(self.begin + buffer.len());
            match self.read.step(&mut self.ahead[self.begin..end]) {
                Step::Send(0) => {
                    self.ahead.resize(PIECE, 0);
                    let read = self.inner.read(&mut self.ahead);
                    self.ahead.truncate(*read.as_ref().unwrap_or(&0));
                    self.begin = 0;
                    if read? == 0 {
                        return if self.read.may_end() { Ok(0) } else { Err(gave_up()) };
                    }
                }
                Step::Send(len) => {
                    buffer[..len].copy_from_slice(&self.ahead[self.begin..self.begin + len]);
                    self.begin += len;
                    self.passed(len, false);
                    return Ok(len);
                }
                Step::Lose(len) => self.begin += len,
                Step::End => return Ok(0),
                Step::Reset => return Err(ErrorKind::ConnectionReset.into()),
                Step::GiveUp => return Err(gave_up()),
            }
        }
    }
}

impl<S: Write> Write for Mangle<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let mut bytes = bytes[..bytes.len().min(PIECE)].to_vec();
        match self.write.step(&mut bytes) {
            Step::Send(len) => {
                self.inner.write_all(&bytes[..len])?;
                self.passed(len, true);
                Ok(len)
            }
            // For the writer they are written.
            Step::Lose(len) => Ok(len),
            Step::End => Err(ErrorKind::BrokenPipe.into()),
            Step::Reset => Err(ErrorKind::ConnectionReset.into()),
            Step::GiveUp => Err(gave_up()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

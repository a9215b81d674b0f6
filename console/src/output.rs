//! Standard output and error that bear a reader who leaves.
//!
//! `pull-backup ls | head` ends quietly: a closed pipe is no failure of ours, and `println!` would panic on it. Every other
//! failure to write (a full disk behind `>`) is one, because a list cut short looks like a whole one.

use std::io::{self, BufWriter, ErrorKind, Stdout, Write};

use crate::Error;

/// Where a command's results go. Buffered; [`Output::finish`] says whether all of it arrived.
pub struct Output<W: Write = Stdout> {
    to: BufWriter<W>,
    closed: bool,
}

impl Output {
    pub fn stdout() -> Output {
        Output::to(io::stdout())
    }
}

impl<W: Write> Output<W> {
    pub fn to(writer: W) -> Output<W> {
        Output { to: BufWriter::with_capacity(64 << 10, writer), closed: false }
    }

    /// Writes one line.
    pub fn line(&mut self, text: impl std::fmt::Display) -> Result<(), Error> {
        writeln!(self, "{text}").map_err(|source| Error::Write { source })
    }

    /// Has the reader left? Long work for its eyes alone may then end.
    pub fn closed(&self) -> bool {
        self.closed
    }

    /// Hands on what is still held back.
    pub fn finish(mut self) -> Result<(), Error> {
        self.flush().map_err(|source| Error::Write { source })
    }

    fn judge<T>(&mut self, outcome: io::Result<T>, otherwise: T) -> io::Result<T> {
        match outcome {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(otherwise)
            }
            outcome => outcome,
        }
    }
}

impl<W: Write> Write for Output<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.closed {
            return Ok(bytes.len());
        }
        let outcome = self.to.write(bytes);
        self.judge(outcome, bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.closed {
            return Ok(());
        }
        let outcome = self.to.flush();
        self.judge(outcome, ())
    }
}

/// A line on standard error; nobody may be there to read it, which changes nothing.
pub fn tell(text: impl std::fmt::Display) {
    drop(writeln!(io::stderr().lock(), "{text}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes, then fails with `then`.
    struct Ends {
        room: usize,
        then: ErrorKind,
    }

    impl Write for Ends {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.room == 0 {
                return Err(self.then.into());
            }
            let taken = bytes.len().min(self.room);
            self.room -= taken;
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn fill(then: ErrorKind) -> Result<bool, Error> {
        let mut output = Output::to(Ends { room: 100_000, then });
        for number in 0..100_000 {
            output.line(number)?;
        }
        let closed = output.closed();
        output.finish().map(|()| closed)
    }

    #[test]
    fn a_closed_pipe_is_no_failure() {
        assert!(fill(ErrorKind::BrokenPipe).unwrap());
    }

    #[test]
    fn a_full_disk_is_one() {
        assert!(matches!(fill(ErrorKind::StorageFull), Err(Error::Write { .. })));
    }

    #[test]
    fn a_failure_in_the_last_buffer_is_seen() {
        let mut output = Output::to(Ends { room: 0, then: ErrorKind::StorageFull });
        output.line("short").unwrap();
        assert!(output.finish().is_err());
    }
}

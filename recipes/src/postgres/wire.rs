//! Tables' text as the server sends it, read from the socket itself.
//!
//! The client library hands on each row by itself, by way of a queue and a runtime: that took more time than all else of an export in which nothing changed. So the
//! library connects, is let in and begins the transaction; then it gives the socket up, and from there on only `COPY … TO STDOUT` is spoken, into one buffer.
//!
//! What was not expected is an error, and a text without its end is one too: no row is passed over. After an error, or when not all of a text was wanted, the
//! connection is of no more use. It does not look at rows, and sends nothing but such queries.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::pin::pin;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::{Config, NoTls};

use super::connect::{CONNECT_TIMEOUT, SESSION, failed};
use super::{Inner, Settings, TOOL_TIMEOUT};
use crate::Error;

const BUFFER_BYTES: usize = 128 << 10;
/// What is no row is short.
const MESSAGE_MAX: usize = 1 << 20;

/// A connection in a transaction that only reads.
pub(super) struct Wire {
    /// A socket of either kind.
    socket: File,
    buffer: Vec<u8>,
    /// What was received and not looked at.
    start: usize,
    end: usize,
    /// Whether the server is slower than we are.
    ahead: bool,
}

impl Inner {
    /// Connects and begins a transaction: of its own, or in a snapshot that another one shares.
    pub(super) fn wire(&self, database: &str, begin: &str) -> Result<Wire, Error> {
        let config = self.config(database)?;
        let io = |source| Error::Read { database: database.to_owned(), source };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(io)?;
        let (given, socket): (_, OwnedFd) = match self.settings.dial().map_err(io)? {
            Socket::Local(stream) => {
                let kept = stream.try_clone().map_err(io)?;
                let _within = runtime.enter();
                let stream = tokio::net::UnixStream::from_std(stream).map_err(io)?;
                (runtime.block_on(begun(stream, &config, begin)), kept.into())
            }
            Socket::Network(stream) => {
                let kept = stream.try_clone().map_err(io)?;
                let _within = runtime.enter();
                let stream = tokio::net::TcpStream::from_std(stream).map_err(io)?;
                (runtime.block_on(begun(stream, &config, begin)), kept.into())
            }
        };
        given.map_err(failed("connect to", database))?;
        rustix::io::ioctl_fionbio(&socket, false).map_err(|error| io(error.into()))?;
        Ok(Wire { socket: File::from(socket), buffer: vec![0; BUFFER_BYTES], start: 0, end: 0, ahead: false })
    }
}

enum Socket {
    Local(UnixStream),
    Network(TcpStream),
}

impl Settings {
    fn dial(&self) -> io::Result<Socket> {
        if self.is_socket() {
            let path = format!("{}/.s.PGSQL.{}", self.host, self.port);
            let stream = self.acting(|| UnixStream::connect(&path))?;
            stream.set_read_timeout(Some(TOOL_TIMEOUT))?;
            stream.set_nonblocking(true)?;
            return Ok(Socket::Local(stream));
        }
        let mut outcome = Err(io::ErrorKind::NotFound.into());
        for address in (self.host.as_str(), self.port).to_socket_addrs()? {
            outcome = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT);
            if outcome.is_ok() {
                break;
            }
        }
        let stream = outcome?;
        stream.set_read_timeout(Some(TOOL_TIMEOUT))?;
        stream.set_nonblocking(true)?;
        Ok(Socket::Network(stream))
    }
}

/// Is let in and begins. That the library is gone then, its task unfinished, leaves the session as it is.
async fn begun(stream: impl AsyncRead + AsyncWrite + Unpin, config: &Config, begin: &str) -> Result<(), tokio_postgres::Error> {
    let (client, connection) = config.connect_raw(stream, NoTls).await?;
    let mut connection = pin!(connection);
    let asked = async {
        client.batch_execute(SESSION).await?;
        client.batch_execute(begin).await
    };
    tokio::select! {
        done = asked => done,
        Err(error) = &mut connection => Err(error),
    }
}

impl Wire {
    /// Gives the text of a query, in pieces of any size, until `each` wants no more.
    pub fn copy(&mut self, query: &str, each: &mut dyn FnMut(&[u8]) -> bool) -> io::Result<()> {
        let mut message = vec![b'Q'];
        message.extend_from_slice(&(query.len() as u32 + 5).to_be_bytes());
        message.extend_from_slice(query.as_bytes());
        message.push(0);
        self.socket.write_all(&message)?;
        let mut whole = false;
        loop {
            self.have(HEADER)?;
            let header = &self.buffer[self.start..self.start + HEADER];
            let (kind, length) = (header[0], u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize);
            let length = length.checked_sub(4).ok_or_else(|| strange(kind))?;
            self.start += HEADER;
            if kind == b'd' {
                if !self.row(length, each)? {
                    return Ok(());
                }
                continue;
            }
            if length > MESSAGE_MAX {
                return Err(strange(kind));
            }
            self.have(length)?;
            let body = &self.buffer[self.start..self.start + length];
            match kind {
                // A text comes; it was complete; so was the query; a notice; a setting changed.
                b'H' | b'C' | b'N' | b'S' => {}
                b'c' => whole = true,
                b'E' => return Err(refused(body)),
                b'Z' if whole => {
                    self.start += length;
                    return Ok(());
                }
                _ => return Err(strange(kind)),
            }
            self.start += length;
        }
    }

    fn row(&mut self, mut length: usize, each: &mut dyn FnMut(&[u8]) -> bool) -> io::Result<bool> {
        while length > 0 {
            if self.start == self.end {
                self.have(1)?;
            }
            let part = length.min(self.end - self.start);
            if !each(&self.buffer[self.start..self.start + part]) {
                return Ok(false);
            }
            self.start += part;
            length -= part;
        }
        Ok(true)
    }

    /// Receives until there are so many bytes to look at.
    fn have(&mut self, length: usize) -> io::Result<()> {
        while self.end - self.start < length {
            if self.start > 0 {
                self.buffer.copy_within(self.start..self.end, 0);
                (self.start, self.end) = (0, self.end - self.start);
            }
            if self.buffer.len() < length {
                self.buffer.resize(length, 0);
            }
            if self.ahead {
                // It sends eight kilobytes at a time. Waiting for them wakes us for each, and takes the processor from it: it goes on first.
                std::thread::yield_now();
            }
            match self.socket.read(&mut self.buffer[self.end..]) {
                Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection")),
                Ok(count) => {
                    self.end += count;
                    self.ahead = count < BUFFER_BYTES / 2;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        // Farewell; a server that does not hear it sees the connection end.
        let _ = self.socket.write_all(b"X\0\0\0\x04");
    }
}

/// The kind of a message, and its length.
const HEADER: usize = 5;

fn strange(kind: u8) -> io::Error {
    let what = format!("the server sent a message that was not expected ({:?})", char::from(kind));
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// What the server says of an error: fields, each with a letter before and a zero behind it.
fn refused(body: &[u8]) -> io::Error {
    let field = |wanted: u8| {
        let mut fields = body.split(|byte| *byte == 0);
        let found = fields.find(|field| field.first() == Some(&wanted))?;
        Some(String::from_utf8_lossy(&found[1..]).into_owned())
    };
    let text = field(b'M').unwrap_or_else(|| "an error without a message".into());
    let detail = field(b'D').map(|detail| format!(": {detail}")).unwrap_or_default();
    io::Error::other(format!("{text}{detail}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of a query when a server answers so, in pieces of so many bytes, and hangs up.
    fn answered(answer: &[u8], step: usize) -> io::Result<Vec<u8>> {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut wire = Wire { socket: File::from(OwnedFd::from(ours)), buffer: vec![0; 16], start: 0, end: 0, ahead: false };
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut query = [0; 12];
                (&theirs).read_exact(&mut query).unwrap();
                assert_eq!(&query, b"Q\0\0\0\x0bSELECT\0");
                // One who heard enough hangs up first.
                let _ = answer.chunks(step).try_for_each(|piece| (&theirs).write_all(piece));
            });
            let mut text = Vec::new();
            let outcome = wire.copy("SELECT", &mut |part| {
                text.extend_from_slice(part);
                true
            });
            drop(wire);
            outcome.map(|()| text)
        })
    }

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = (body.len() as u32 + 4).to_be_bytes();
        [&[kind][..], &length, body].concat()
    }

    #[test]
    fn rows_arrive_whole_however_they_are_cut() {
        let long = [b'x'; 100];
        let messages =
            [(b'H', &b"\0\0\0"[..]), (b'd', b"one\n"), (b'N', b"SNOTICE\0\0"), (b'd', &long), (b'd', b""), (b'd', b"\n"), (b'c', b"")];
        let begun: Vec<u8> = messages.iter().flat_map(|(kind, body)| message(*kind, body)).collect();
        let answer = [begun.clone(), message(b'C', b"COPY 2\0"), message(b'Z', b"T")].concat();
        let text = [b"one\n", &long[..], b"\n"].concat();
        for step in 1..=answer.len() {
            assert_eq!(answered(&answer, step).unwrap(), text, "step {step}");
        }
        for end in 0..answer.len() {
            assert!(answered(&answer[..end], 7).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn errors_and_what_was_not_expected_are_told() {
        let refusal = message(b'E', b"SERROR\0C55P03\0Mcanceling statement due to lock timeout\0Dfor long\0\0");
        let told = |answer: &[u8]| answered(answer, 64).unwrap_err().to_string();
        assert_eq!(told(&[message(b'd', b"one\n"), refusal].concat()), "canceling statement due to lock timeout: for long");
        let strange = "the server sent a message that was not expected ";
        for (answer, kind) in [(message(b'G', b""), "G"), (message(b'Z', b"T"), "Z"), (message(b'C', &vec![0; MESSAGE_MAX + 1]), "C")] {
            assert_eq!(told(&answer), format!("{strange}('{kind}')"));
        }
        assert_eq!(told(b"H\0\0\0\x01"), format!("{strange}('H')"));
    }
}

//! The protocol's packets: three bytes of length, a number, and at most 16 MiB; what is longer comes in several.
//!
//! Written here because the recipe needs little of it and needs that fast: a row is read into one buffer and handed on from there.

use std::io::{self, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

const PACKET_MAX: usize = 0xff_ffff;
const BUFFER_BYTES: usize = 128 << 10;

/// A connection of either kind.
pub(super) enum Transport {
    Socket(UnixStream),
    Network(TcpStream),
}

impl Transport {
    pub fn another(&self) -> io::Result<Transport> {
        Ok(match self {
            Transport::Socket(stream) => Transport::Socket(stream.try_clone()?),
            Transport::Network(stream) => Transport::Network(stream.try_clone()?),
        })
    }

    /// How long one answer, or one piece of it, may take.
    pub fn bound(&self, limit: Duration) -> io::Result<()> {
        match self {
            Transport::Socket(stream) => stream.set_read_timeout(Some(limit)).and_then(|()| stream.set_write_timeout(Some(limit))),
            Transport::Network(stream) => stream.set_read_timeout(Some(limit)).and_then(|()| stream.set_write_timeout(Some(limit))),
        }
    }

    /// Whoever reads or writes on it fails from here on.
    pub fn hang_up(&self) {
        let _ = match self {
            Transport::Socket(stream) => stream.shutdown(Shutdown::Both),
            Transport::Network(stream) => stream.shutdown(Shutdown::Both),
        };
    }
}

impl Read for Transport {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Transport::Socket(stream) => stream.read(buf),
            Transport::Network(stream) => stream.read(buf),
        }
    }
}

impl Write for Transport {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Transport::Socket(stream) => stream.write(buf),
            Transport::Network(stream) => stream.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(super) struct Wire {
    stream: BufReader<Transport>,
    number: u8,
    packet: Vec<u8>,
}

impl Wire {
    pub fn new(transport: Transport) -> Wire {
        Wire { stream: BufReader::with_capacity(BUFFER_BYTES, transport), number: 0, packet: Vec::new() }
    }

    pub fn transport(&self) -> &Transport {
        self.stream.get_ref()
    }

    /// A new exchange begins.
    pub fn begin(&mut self) {
        self.number = 0;
    }

    pub fn send(&mut self, mut payload: &[u8]) -> io::Result<()> {
        loop {
            let (part, rest) = payload.split_at(payload.len().min(PACKET_MAX));
            let mut bytes = Vec::with_capacity(part.len() + 4);
            bytes.extend_from_slice(&(part.len() as u32).to_le_bytes()[..3]);
            bytes.push(self.number);
            bytes.extend_from_slice(part);
            self.stream.get_mut().write_all(&bytes)?;
            self.number = self.number.wrapping_add(1);
            payload = rest;
            if part.len() < PACKET_MAX {
                return Ok(());
            }
        }
    }

    pub fn receive(&mut self) -> io::Result<&[u8]> {
        self.packet.clear();
        loop {
            let mut header = [0; 4];
            self.stream.read_exact(&mut header)?;
            let len = u32::from_le_bytes([header[0], header[1], header[2], 0]) as usize;
            if header[3] != self.number {
                return Err(broken("packets out of order"));
            }
            self.number = self.number.wrapping_add(1);
            let begin = self.packet.len();
            self.packet.resize(begin + len, 0);
            self.stream.read_exact(&mut self.packet[begin..])?;
            if len < PACKET_MAX {
                return Ok(&self.packet);
            }
        }
    }
}

pub(super) fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the server's answer cannot be understood: {what}"))
}

/// Takes fields from a packet, one after the other.
pub(super) struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    pub fn bytes(&mut self, n: usize) -> io::Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n).ok_or_else(|| broken("it is too short"))?;
        self.0 = rest;
        Ok(taken)
    }

    pub fn number(&mut self, bytes: usize) -> io::Result<u64> {
        let mut whole = [0; 8];
        whole[..bytes].copy_from_slice(self.bytes(bytes)?);
        Ok(u64::from_le_bytes(whole))
    }

    pub fn until_nul(&mut self) -> io::Result<&'a [u8]> {
        let end = memchr::memchr(0, self.0).ok_or_else(|| broken("a text without an end"))?;
        let text = self.bytes(end)?;
        self.bytes(1)?;
        Ok(text)
    }

    /// A number that says its own width; `None` stands for NULL.
    pub fn length(&mut self) -> io::Result<Option<u64>> {
        Ok(Some(match self.number(1)? {
            0xfb => return Ok(None),
            0xfc => self.number(2)?,
            0xfd => self.number(3)?,
            0xfe => self.number(8)?,
            0xff => return Err(broken("a length that is none")),
            small => small,
        }))
    }

    /// A value of a row.
    pub fn value(&mut self) -> io::Result<Option<&'a [u8]>> {
        match self.length()? {
            Some(len) => Ok(Some(self.bytes(usize::try_from(len).map_err(|_| broken("a length"))?)?)),
            None => Ok(None),
        }
    }
}

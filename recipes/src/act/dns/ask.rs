//! Asking a server: one message each way, over TCP, within a budget.
//!
//! TCP, so that nobody who cannot read along can answer in another's place, and no answer is cut.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use super::message::{Answer, Message, code};
use super::name::Name;
use super::set::{Kind, Set, is_sound};
use crate::act::budget::Budget;

const NXDOMAIN: u8 = 3;

/// What one server says of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    pub authoritative: bool,
    pub set: Set,
    /// Where the name is an alias instead.
    pub alias: Option<Name>,
}

/// A number for the next message.
pub fn id() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Sends a message, and hands back what came.
pub fn exchange(at: SocketAddr, message: &[u8], budget: &Budget) -> io::Result<Vec<u8>> {
    let left = || match budget.left() {
        Duration::ZERO => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer came in time")),
        left => Ok(left),
    };
    let mut stream = TcpStream::connect_timeout(&at, left()?)?;
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(left()?))?;
    let length = u16::try_from(message.len()).map_err(|_| io::Error::other("the message is too long"))?;
    stream.write_all(&[&length.to_be_bytes(), message].concat())?;
    let mut read = |count: usize| {
        let mut bytes = vec![0; count];
        let mut filled = 0;
        while filled < count {
            stream.set_read_timeout(Some(left()?))?;
            match stream.read(&mut bytes[filled..]) {
                Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection without an answer")),
                Ok(more) => filled += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => drop(left()?),
                Err(error) => return Err(error),
            }
        }
        Ok(bytes)
    };
    let length = read(2)?;
    read(usize::from(u16::from_be_bytes([length[0], length[1]])))
}

/// Asks for one set.
pub fn set(at: SocketAddr, name: &Name, kind: Kind, budget: &Budget) -> Result<Said, String> {
    let id = id();
    let bytes = exchange(at, &Message::question(id, name, kind).bytes, budget).map_err(|error| error.to_string())?;
    let answer = Answer::read(&bytes)
        .filter(|answer| answer.id == id && !answer.cut)
        .ok_or("its answer cannot be understood")?;
    if ![0, NXDOMAIN].contains(&answer.code) {
        return Err(code(answer.code));
    }
    if !answer.is_to(name, kind) {
        return Err("it answers another question".into());
    }
    let alias = match kind {
        Kind::CNAME => None,
        _ => answer.set(name, Kind::CNAME).targets().into_iter().next(),
    };
    let set = answer.set(name, kind);
    match set.values.iter().all(|value| is_sound(kind, value)) {
        true => Ok(Said { authoritative: answer.authoritative, set, alias }),
        false => Err(format!("its answer has what is no {kind}")),
    }
}

//! Messages to the kernel's network stack (rtnetlink), and its answers: requests with attributes, refusals as errors, lists read to their end.

use std::io;
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};

const HEADER: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_DUMP: u16 = 0x300;
/// What was listed changed meanwhile.
const NLM_F_DUMP_INTR: u16 = 0x10;
pub(super) const NLM_F_REPLACE: u16 = 0x100;
pub(super) const NLM_F_EXCL: u16 = 0x200;
pub(super) const NLM_F_CREATE: u16 = 0x400;
/// The kernel's own pieces are no larger.
const PIECE: usize = 64 << 10;
const LISTINGS: u32 = 10;
/// It answers while it is asked; this is for one that does not.
const ANSWER: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

#[derive(Debug)]
pub(super) struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

#[derive(Debug, Clone)]
pub(super) struct Request {
    kind: u16,
    flags: u16,
    body: Vec<u8>,
}

impl Request {
    /// `fixed` is what stands before the attributes in messages of this kind.
    pub fn new(kind: u16, flags: u16, fixed: &[u8]) -> Request {
        Request { kind, flags, body: fixed.to_vec() }
    }

    pub fn with(mut self, attribute: u16, value: &[u8]) -> Request {
        let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.body.extend(length.to_ne_bytes());
        self.body.extend(attribute.to_ne_bytes());
        self.body.extend(value);
        self.body.resize(self.body.len().next_multiple_of(4), 0);
        self
    }

    /// As a whole message.
    pub fn bytes(&self, sequence: u32, flags: u16) -> Vec<u8> {
        let length = u32::try_from(HEADER + self.body.len()).unwrap_or(u32::MAX);
        let mut bytes = Vec::with_capacity(HEADER + self.body.len());
        bytes.extend(length.to_ne_bytes());
        bytes.extend(self.kind.to_ne_bytes());
        bytes.extend((self.flags | flags).to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend(0_u32.to_ne_bytes());
        bytes.extend(&self.body);
        bytes
    }

    pub fn number(self, attribute: u16, value: u32) -> Request {
        self.with(attribute, &value.to_ne_bytes())
    }
}

/// Attributes, one after the other; what is broken ends them.
pub(super) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (length, kind) = (usize::from(u16_at(bytes, 0)?), u16_at(bytes, 2)?);
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        // The two highest bits say how it is written.
        Some((kind & 0x3fff, value))
    })
}

/// The first of this kind.
pub(super) fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(one, _)| *one == kind).map(|(_, value)| value)
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer cannot be understood")
}

impl Netlink {
    pub fn open() -> io::Result<Netlink> {
        // The first of its protocols is the one for routes.
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        Ok(Netlink { socket, sequence: 0 })
    }

    fn send(&mut self, request: &Request, flags: u16) -> io::Result<u32> {
        self.sequence = self.sequence.wrapping_add(1);
        send(&self.socket, &request.bytes(self.sequence, flags | NLM_F_REQUEST), SendFlags::empty())?;
        Ok(self.sequence)
    }

    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&ANSWER)) {
                Ok(0) => return Err(io::Error::new(io::ErrorKind::TimedOut, "the kernel gave no answer")),
                Ok(_) => break,
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
        }
        let (length, whole) = recv(&self.socket, &mut buffer[..], RecvFlags::TRUNC)?;
        if whole > buffer.len() { Err(broken()) } else { Ok(length) }
    }

    /// Changes something; what the kernel refuses is the error.
    pub fn change(&mut self, request: &Request) -> io::Result<()> {
        let sequence = self.send(request, NLM_F_ACK)?;
        self.answers(sequence, |_| {}).map(drop)
    }

    /// Asks for one thing.
    pub fn ask(&mut self, request: &Request) -> io::Result<Option<Vec<u8>>> {
        let sequence = self.send(request, NLM_F_ACK)?;
        let mut found = None;
        self.answers(sequence, |body| found = Some(body.to_vec()))?;
        Ok(found)
    }

    /// Asks for all there is, as it was at one time.
    pub fn list(&mut self, request: &Request) -> io::Result<Vec<Vec<u8>>> {
        for _ in 0..LISTINGS {
            let sequence = self.send(request, NLM_F_DUMP)?;
            let mut found = Vec::new();
            if self.answers(sequence, |body| found.push(body.to_vec()))? {
                return Ok(found);
            }
        }
        Err(io::Error::new(io::ErrorKind::WouldBlock, "what the kernel lists changes all the time"))
    }

    /// Reads to the end of the answer; whether nothing changed while it was given.
    fn answers(&self, sequence: u32, mut each: impl FnMut(&[u8])) -> io::Result<bool> {
        let (mut buffer, mut steady) = (vec![0; PIECE], true);
        loop {
            let length = self.receive(&mut buffer)?;
            if piece(&buffer[..length], sequence, &mut steady, &mut each)? {
                return Ok(steady);
            }
        }
    }
}

/// Reads one piece of an answer; whether it is over. A list that the kernel could not end is none.
pub(super) fn piece(mut rest: &[u8], sequence: u32, steady: &mut bool, each: &mut impl FnMut(&[u8])) -> io::Result<bool> {
    while !rest.is_empty() {
        let whole = usize::try_from(u32_at(rest, 0).ok_or_else(broken)?).unwrap_or(usize::MAX);
        let message = rest.get(..whole).filter(|message| message.len() >= HEADER).ok_or_else(broken)?;
        rest = rest.get(whole.next_multiple_of(4)..).unwrap_or_default();
        let (kind, flags) = (u16_at(message, 4).ok_or_else(broken)?, u16_at(message, 6).ok_or_else(broken)?);
        // The end of an earlier question that was given up.
        if u32_at(message, 8) != Some(sequence) {
            continue;
        }
        *steady &= flags & NLM_F_DUMP_INTR == 0;
        let code = match kind {
            // Kernels say in it how the list ended.
            NLMSG_DONE => u32_at(message, HEADER).unwrap_or(0),
            NLMSG_ERROR => u32_at(message, HEADER).ok_or_else(broken)?,
            _ => {
                each(&message[HEADER..]);
                continue;
            }
        };
        return match code.cast_signed() {
            0 => Ok(true),
            // Those of the kernel are below zero, and no number of a list is above.
            refused => Err(io::Error::from_raw_os_error(refused.saturating_neg())),
        };
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEADER + body.len()).unwrap();
        let mut bytes =
            [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &flags.to_ne_bytes(), &sequence.to_ne_bytes(), &[0; 4], body].concat();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    /// What was handed on, and how it ended: over or not, and steady or not.
    fn read(bytes: &[u8]) -> (Vec<Vec<u8>>, io::Result<(bool, bool)>) {
        let (mut found, mut steady) = (Vec::new(), true);
        let over = piece(bytes, 7, &mut steady, &mut |body: &[u8]| found.push(body.to_vec()));
        (found, over.map(|over| (over, steady)))
    }

    #[test]
    fn an_answer_is_read_to_its_end_and_only_ones_own() {
        let one = message(20, 2, 7, b"one!");
        let others = message(20, 2, 6, b"late");
        let done = message(NLMSG_DONE, 2, 7, &0_i32.to_ne_bytes());
        let (found, over) = read(&[others, one.clone()].concat());
        assert_eq!((found, over.unwrap()), (vec![b"one!".to_vec()], (false, true)));
        assert_eq!(read(&[one.clone(), done.clone()].concat()).1.unwrap(), (true, true));
        let changed = message(20, 2 | NLM_F_DUMP_INTR, 7, b"two!");
        assert_eq!(read(&[one.clone(), changed].concat()).1.unwrap(), (false, false));
        assert_eq!(read(&message(NLMSG_DONE, 2 | NLM_F_DUMP_INTR, 7, &0_i32.to_ne_bytes())).1.unwrap(), (true, false));
        assert_eq!(read(&message(NLMSG_DONE, 2, 7, &[])).1.unwrap(), (true, true), "an old kernel says nothing in it");
    }

    #[test]
    fn a_list_that_the_kernel_could_not_end_is_none() {
        let kind = |bytes: &[u8]| read(bytes).1.unwrap_err().raw_os_error();
        let one = message(20, 2, 7, b"one!");
        assert_eq!(kind(&[one, message(NLMSG_DONE, 2, 7, &(-90_i32).to_ne_bytes())].concat()), Some(90));
        assert_eq!(kind(&message(NLMSG_ERROR, 0, 7, &(-1_i32).to_ne_bytes())), Some(1));
        assert!(kind(&message(NLMSG_ERROR, 0, 7, &i32::MIN.to_ne_bytes())).is_some());
    }

    #[test]
    fn what_is_cut_or_has_no_length_is_broken() {
        let one = message(20, 2, 7, b"one!");
        for length in 1..one.len() {
            assert!(read(&one[..length]).1.is_err(), "{length}");
        }
        for length in [0_u32, 1, 15, u32::MAX] {
            let bytes = [&length.to_ne_bytes()[..], &one[4..]].concat();
            assert!(read(&bytes).1.is_err(), "{length}");
        }
    }
}

//! The segment that an interface is on: frames are sent there, and what others say there about one address is heard.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::addr::{SocketAddrArg, SocketAddrLen, SocketAddrOpaque};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with};

use super::super::budget::Budget;
use super::frames::{self, Mac, Sighting};
use super::kernel::Link;

/// No frame that matters here is longer.
const FRAME: usize = 512;

#[derive(Debug)]
pub(super) struct Segment {
    socket: OwnedFd,
    index: u32,
    mac: Mac,
    address: IpAddr,
}

/// An interface, and the kind of frames wanted from it.
struct Place(libc::sockaddr_ll);

// SAFETY: the pointer is to a whole `sockaddr_ll`, which is what sockets of this family are bound to, and it lives during the call.
unsafe impl SocketAddrArg for Place {
    unsafe fn with_sockaddr<R>(&self, call: impl FnOnce(*const SocketAddrOpaque, SocketAddrLen) -> R) -> R {
        call((&raw const self.0).cast(), size_of::<libc::sockaddr_ll>() as SocketAddrLen)
    }
}

fn instruction(code: u32, (if_so, if_not): (u8, u8), value: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: if_so, jf: if_not, k: value }
}

/// Of all that arrives, only what is said about the address is let in: whatever storms there, that is not lost among it.
pub(super) fn filter(address: IpAddr) -> Vec<libc::sock_filter> {
    let byte = |at: u32| instruction(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, (0, 0), at);
    let word = |at: u32| instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, (0, 0), at);
    // Whoever does not pass a test goes to the end, which is so many steps away.
    let test = |value: u32, ways: (u8, u8)| instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, ways, value);
    let ends = [FRAME as u32, 0].map(|length| instruction(libc::BPF_RET, (0, 0), length));
    match address {
        // Its sender, or what somebody without an address asks for.
        IpAddr::V4(address) => {
            let address = address.to_bits();
            let tests = [word(28), test(address, (3, 0)), test(0, (0, 3)), word(38), test(address, (0, 1))];
            [&tests[..], &ends].concat()
        }
        // What is advertised, or what somebody without an address asks for.
        IpAddr::V6(address) => {
            let mut program = vec![byte(20), test(58, (0, 20)), byte(54), test(136, (9, 0)), test(135, (0, 17))];
            let parts: Vec<[u8; 4]> = address.octets().chunks_exact(4).filter_map(|part| part.try_into().ok()).collect();
            let source = (0..4).map(|at| (22 + 4 * at, 0));
            let target = (0..).zip(parts).map(|(at, part)| (62 + 4 * at, u32::from_be_bytes(part)));
            for (left, (at, value)) in source.chain(target).enumerate() {
                program.extend([word(at), test(value, (0, 15 - 2 * left as u8))]);
            }
            program.extend(ends);
            program
        }
    }
}

fn hear_only(socket: BorrowedFd<'_>, mut program: Vec<libc::sock_filter>) -> io::Result<()> {
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    let length = size_of::<libc::sock_fprog>() as libc::socklen_t;
    // SAFETY: the option takes a `sock_fprog`, which points to `program`; the kernel copies both before it returns.
    let set = unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, (&raw const filter).cast(), length) };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

impl Segment {
    /// From here on, everything that is said about the address is heard.
    pub fn open(link: &Link, address: IpAddr) -> io::Result<Segment> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        // Without a kind of frames it hears nothing, until it is bound.
        let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None)?;
        hear_only(socket.as_fd(), filter(address))?;
        let kind = if address.is_ipv4() { frames::ARP } else { frames::IPV6 };
        let place = Place(libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: kind.to_be(),
            sll_ifindex: link.index.cast_signed(),
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        });
        bind(&socket, &place)?;
        Ok(Segment { socket, index: link.index, mac: link.mac, address })
    }

    /// Whether it is on this very interface still.
    pub fn is_on(&self, link: &Link) -> bool {
        self.index == link.index && self.mac == link.mac
    }

    pub fn address(&self) -> IpAddr {
        self.address
    }

    pub fn announce(&self, is_router: bool) -> io::Result<()> {
        for frame in frames::announcements(self.mac, self.address, is_router) {
            send(&self.socket, &frame, SendFlags::empty())?;
        }
        Ok(())
    }

    pub fn ask(&self, source: Option<IpAddr>) -> io::Result<()> {
        send(&self.socket, &frames::question(self.mac, source, self.address), SendFlags::empty())?;
        Ok(())
    }

    /// What another host says, within that time; None as well when `wake` has something to read.
    pub fn hear(&self, within: Duration, wake: Option<BorrowedFd<'_>>) -> io::Result<Option<Sighting>> {
        let budget = Budget::of(within)?;
        loop {
            let left = budget.left();
            let mut frame = [0; FRAME];
            match recv(&self.socket, &mut frame[..], RecvFlags::empty()) {
                Ok((length, _)) => match frames::read(&frame[..length], self.address) {
                    Some(sighting) if sighting.mac != self.mac => return Ok(Some(sighting)),
                    // However many there are, they take no longer than was asked for, and keep nobody waiting.
                    _ if left.is_zero() || wait(None, Duration::ZERO, wake)? => return Ok(None),
                    _ => continue,
                },
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            if left.is_zero() {
                return Ok(None);
            }
            if wait(Some(self.socket.as_fd()), left, wake)? {
                return Ok(None);
            }
        }
    }
}

/// Where nothing can be heard.
pub(super) fn rest(within: Duration, wake: Option<BorrowedFd<'_>>) -> io::Result<()> {
    wait(None, within, wake).map(drop)
}

/// Until one of them has something to read, or so long; whether it is `wake`.
fn wait(socket: Option<BorrowedFd<'_>>, within: Duration, wake: Option<BorrowedFd<'_>>) -> io::Result<bool> {
    let limit = Timespec { tv_sec: i64::try_from(within.as_secs()).unwrap_or(i64::MAX), tv_nsec: within.subsec_nanos().into() };
    let mut waits: Vec<PollFd<'_>> = wake.iter().chain(&socket).map(|one| PollFd::new(one, PollFlags::IN)).collect();
    match poll(&mut waits, Some(&limit)) {
        Ok(_) | Err(Errno::INTR) => Ok(wake.is_some() && waits.first().is_some_and(|wake| !wake.revents().is_empty())),
        Err(error) => Err(error.into()),
    }
}

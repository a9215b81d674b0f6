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

/// Of all that arrives for IPv6, only what is about neighbours: the rest would cost a copy each.
fn hear_neighbours_only(socket: BorrowedFd<'_>) -> io::Result<()> {
    let (load, test, end) = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, libc::BPF_RET);
    let mut program = [
        instruction(load, (0, 0), 20),
        instruction(test, (0, 4), 58),
        instruction(load, (0, 0), 54),
        instruction(test, (1, 0), 135),
        instruction(test, (0, 1), 136),
        instruction(end, (0, 0), FRAME as u32),
        instruction(end, (0, 0), 0),
    ];
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
        let kind = match address {
            IpAddr::V4(_) => frames::ARP,
            IpAddr::V6(_) => {
                hear_neighbours_only(socket.as_fd())?;
                frames::IPV6
            }
        };
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
                    // However many there are, they take no longer than was asked for.
                    _ if left.is_zero() => return Ok(None),
                    _ => continue,
                },
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            if left.is_zero() {
                return Ok(None);
            }
            let limit = Timespec { tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX), tv_nsec: left.subsec_nanos().into() };
            let mut waits = vec![PollFd::new(&self.socket, PollFlags::IN)];
            waits.extend(wake.as_ref().map(|wake| PollFd::new(wake, PollFlags::IN)));
            match poll(&mut waits, Some(&limit)) {
                Ok(_) if waits.get(1).is_some_and(|wake| !wake.revents().is_empty()) => return Ok(None),
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

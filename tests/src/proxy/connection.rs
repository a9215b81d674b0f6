//! One connection through the proxy: two sockets, and a thread for each way between them.
//!
//! Whoever ends it sets `over` and shuts the reading of both sockets, which wakes who reads and sends nothing; writes wait in short
//! turns, so that they see it, too. A reset is what the kernel sends when a socket with no time to linger closes, so it comes when the
//! last thread lets go.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustix::net::sockopt;

use super::plan::{Flow, Plan, Step, Way};

const PIECE: usize = 64 << 10;
const WRITE_TURN: Duration = Duration::from_millis(50);
/// No plan stalls a connection for longer than this without a change.
const PATIENCE: Duration = Duration::from_secs(3_600);

pub(super) struct Connection {
    client: TcpStream,
    server: OnceLock<TcpStream>,
    number: u64,
    over: AtomicBool,
    /// One way was ended as if by its source; what still comes against it is read and dropped.
    ended: AtomicBool,
}

/// Lets the socket send a reset when it closes.
pub(super) fn reset(socket: &TcpStream) {
    // It may be closed by its peer already; then there is nothing to reset.
    let _ = sockopt::set_socket_linger(socket, Some(Duration::ZERO));
    let _ = socket.shutdown(Shutdown::Read);
}

impl Connection {
    pub fn new(client: TcpStream, number: u64) -> Connection {
        Connection { client, server: OnceLock::new(), number, over: AtomicBool::new(false), ended: AtomicBool::new(false) }
    }

    pub fn goes_on(&self) -> bool {
        !self.over.load(Ordering::SeqCst)
    }

    /// Both sides get a reset. Who waits for the plan must be woken besides.
    pub fn reset(&self) {
        self.over.store(true, Ordering::SeqCst);
        reset(&self.client);
        if let Some(server) = self.server.get() {
            reset(server);
        }
    }

    /// Carries bytes both ways until both have ended.
    pub fn carry(&self, server: TcpStream, plan: &Arc<Plan>) {
        for socket in [&self.client, &server] {
            // What fails here fails again where the socket is used.
            let _ = socket.set_nodelay(true);
            let _ = socket.set_write_timeout(Some(WRITE_TURN));
        }
        let server = self.server.get_or_init(|| server);
        if !self.goes_on() {
            return reset(server);
        }
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("proxied up".into()).stack_size(super::STACK);
            thread
                .spawn_scoped(scope, || self.pump(plan, Way::Up, &self.client, server))
                .expect("a thread can be begun");
            self.pump(plan, Way::Down, server, &self.client);
        });
    }

    fn pump(&self, plan: &Arc<Plan>, way: Way, from: &TcpStream, to: &TcpStream) {
        let mut flow = Flow::new(plan, way, self.number, PATIENCE, || self.goes_on());
        let (mut buffer, mut begin, mut end) = (vec![0; PIECE], 0, 0);
        loop {
            match flow.step(&mut buffer[begin..end]) {
                Step::Send(0) => match read(from, &mut buffer) {
                    Ok(0) => {
                        if flow.may_end() {
                            let _ = to.shutdown(Shutdown::Write);
                        }
                        return;
                    }
                    Ok(len) => (begin, end) = (0, len),
                    Err(_) => return self.broken(plan),
                },
                Step::Send(len) => {
                    if self.write(to, &buffer[begin..begin + len]).is_err() {
                        return if self.ended.load(Ordering::SeqCst) { drain(from, &mut buffer) } else { self.broken(plan) };
                    }
                    begin += len;
                    plan.count(|counts| match way {
                        Way::Up => counts.up += len as u64,
                        Way::Down => counts.down += len as u64,
                    });
                }
                Step::Lose(len) => begin += len,
                Step::End => {
                    self.ended.store(true, Ordering::SeqCst);
                    let _ = to.shutdown(Shutdown::Write);
                    let _ = from.shutdown(Shutdown::Both);
                    return;
                }
                Step::Reset => return self.broken(plan),
                Step::GiveUp => return,
            }
        }
    }

    fn broken(&self, plan: &Plan) {
        self.reset();
        plan.wake();
    }

    fn write(&self, mut to: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match to.write(bytes) {
                Ok(len) => bytes = &bytes[len..],
                Err(error) if waits(&error) && self.goes_on() => (),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn waits(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

fn read(mut from: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match from.read(buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => (),
            other => return other,
        }
    }
}

/// Reads what a side still sends that was told of an end, so that its end comes and not a reset.
fn drain(from: &TcpStream, buffer: &mut [u8]) {
    while read(from, buffer).is_ok_and(|len| len > 0) {}
}

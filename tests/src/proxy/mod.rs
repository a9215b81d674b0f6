//! A hostile stretch of network: a TCP proxy on a free port that does to bytes what its plan says, and to connections what its door does.
//!
//! Threads that block, two for each connection, with a bound on connections, so that it stands in any test, in any namespace of a host
//! ([`crate::hosts`]) and beside any runtime. It knows nothing of what passes, so it stands before TLS and before plain text alike; what a
//! member that holds keys can do inside TLS, [`Mangle`] does to a pair of reader and writer. A proxy that is dropped ends all that it
//! began. It keeps its port while it refuses, so that nobody else gets it meanwhile.

mod connection;
mod mangle;
mod plan;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::net;

use connection::{Connection, reset};
pub use mangle::Mangle;
pub use plan::{Act, Counts, Plan, Way};

/// At a time; who comes then is turned away.
const CONNECTIONS_MOST: usize = 512;
const BACKLOG: i32 = 1024;
/// What it waits for the server behind it.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const STACK: usize = 256 << 10;

/// What happens to those who come. Connections that stand go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    Open,
    /// Connection refused, as where nobody listens.
    Refuse,
    /// Accepted and never answered; the server hears nothing of it. Opened again, they are served.
    Silent,
}

/// A running proxy.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    plan: Arc<Plan>,
    listener: TcpListener,
    gate: Mutex<Gate>,
    opened: Condvar,
    over: AtomicBool,
    connections: Mutex<Vec<(Weak<Connection>, JoinHandle<()>)>>,
}

struct Gate {
    door: Door,
    target: SocketAddr,
}

impl Proxy {
    /// On loopback, everything passing.
    pub fn start(target: SocketAddr) -> Proxy {
        Proxy::start_at(Ipv4Addr::LOCALHOST.into(), target, Plan::new())
    }

    /// At an address of this host (or of the namespace that this thread is in), by a plan that others may share.
    pub fn start_at(address: IpAddr, target: SocketAddr, plan: Arc<Plan>) -> Proxy {
        let listener = listen(address);
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            plan,
            listener,
            gate: Mutex::new(Gate { door: Door::Open, target }),
            opened: Condvar::new(),
            over: AtomicBool::new(false),
            connections: Mutex::default(),
        });
        let accepting = shared.clone();
        let acceptor = begin("proxy", move || accepting.accept());
        Proxy { address, shared, acceptor: Some(acceptor) }
    }

    /// Where to connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn plan(&self) -> &Arc<Plan> {
        &self.shared.plan
    }

    /// Whoever connects from now on meets this; when it returns, it holds.
    pub fn door(&self, door: Door) {
        let mut gate = self.shared.gate();
        let before = std::mem::replace(&mut gate.door, door);
        self.shared.plan.silence(door == Door::Silent);
        match (before == Door::Refuse, door == Door::Refuse) {
            (false, true) => net::shutdown(&self.shared.listener, net::Shutdown::Both).expect("a listener can be shut"),
            (true, false) => net::listen(&self.shared.listener, BACKLOG).expect("the port is still ours"),
            _ => (),
        }
        drop(gate);
        self.shared.opened.notify_all();
    }

    /// New connections go there; for a server that came back elsewhere.
    pub fn retarget(&self, target: SocketAddr) {
        self.shared.gate().target = target;
    }

    /// Resets all connections that stand.
    pub fn reset_all(&self) {
        for (connection, _) in self.shared.connections().iter() {
            if let Some(connection) = connection.upgrade() {
                connection.reset();
            }
        }
        self.shared.plan.wake();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        // Already shut when it refuses; either way nobody is accepted any more.
        let _ = net::shutdown(&self.shared.listener, net::Shutdown::Both);
        drop(self.shared.gate());
        self.shared.opened.notify_all();
        self.shared.plan.wake();
        let mut ended = vec![self.acceptor.take().expect("it is dropped once").join()];
        self.reset_all();
        let connections = std::mem::take(&mut *self.shared.connections());
        ended.extend(connections.into_iter().map(|(_, thread)| thread.join()));
        if ended.iter().any(Result::is_err) && !std::thread::panicking() {
            panic!("a thread of the proxy panicked");
        }
    }
}

impl Shared {
    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connections(&self) -> MutexGuard<'_, Vec<(Weak<Connection>, JoinHandle<()>)>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    fn accept(self: &Arc<Self>) {
        for number in 0.. {
            let client = loop {
                let refuses = |gate: &mut Gate| gate.door == Door::Refuse && !self.is_over();
                drop(self.opened.wait_while(self.gate(), refuses).unwrap_or_else(PoisonError::into_inner));
                if self.is_over() {
                    return;
                }
                // An error is a listener that was shut, or a client that is gone again.
                if let Ok((client, _)) = self.listener.accept() {
                    break client;
                }
            };
            self.plan.count(|counts| counts.connections += 1);
            let mut connections = self.connections();
            connections.retain(|(_, thread)| !thread.is_finished());
            if connections.len() >= CONNECTIONS_MOST {
                self.turn_away(client);
                continue;
            }
            let connection = Arc::new(Connection::new(client, number));
            let (shared, weak) = (self.clone(), Arc::downgrade(&connection));
            let thread = begin("proxied", move || {
                shared.plan.count(|counts| counts.open += 1);
                shared.carry(&connection);
                // Its sockets close before it counts as ended.
                drop(connection);
                shared.plan.count(|counts| counts.open -= 1);
            });
            connections.push((weak, thread));
        }
    }

    fn carry(&self, connection: &Connection) {
        if !self.plan.wait_silence(|| connection.goes_on() && !self.is_over()) {
            return;
        }
        let target = self.gate().target;
        match TcpStream::connect_timeout(&target, CONNECT_LIMIT) {
            Ok(server) => connection.carry(server, &self.plan),
            Err(_) => {
                connection.reset();
                self.plan.count(|counts| counts.turned_away += 1);
            }
        }
    }

    fn turn_away(&self, client: TcpStream) {
        reset(&client);
        drop(client);
        self.plan.count(|counts| counts.turned_away += 1);
    }
}

/// Listens where the port is the socket's own, so that it stays when the socket is shut for a while.
fn listen(address: IpAddr) -> TcpListener {
    let family = if address.is_ipv4() { net::AddressFamily::INET } else { net::AddressFamily::INET6 };
    let bound = |port| -> rustix::io::Result<OwnedFd> {
        let socket = net::socket_with(family, net::SocketType::STREAM, net::SocketFlags::CLOEXEC, None)?;
        net::sockopt::set_socket_reuseaddr(&socket, true)?;
        net::bind(&socket, &SocketAddr::new(address, port))?;
        Ok(socket)
    };
    // The kernel gives up a port that it chose itself; one that was asked for by number is kept.
    let chosen = bound(0).expect("there is a free port");
    let port = SocketAddr::try_from(net::getsockname(&chosen).expect("it is bound"))
        .expect("an address of IP")
        .port();
    let socket = bound(port).expect("the port is ours");
    net::listen(&socket, BACKLOG).expect("nobody listens there");
    TcpListener::from(socket)
}

fn begin(name: &str, work: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    let thread = std::thread::Builder::new().name(name.into()).stack_size(STACK);
    thread.spawn(work).expect("a thread can be begun")
}

//! Taking connections. Whatever comes, a bounded number of connections is held, and those who are known here are served.
//!
//! A connection is first nobody's: its handshake has a deadline, and when too many wait, the oldest of them goes, so that ten thousand who say nothing keep
//! nobody out. Then it is a stranger's or a known peer's; each kind has room of its own, and one peer cannot take all of it.
//! Plain health addresses are served by `plain`, for `/live` and what a daemon adds.

use crate::bounds::Bounds;
use crate::identity::Pin;
use crate::paced::{Pace, Paced};
use crate::role::Role;
use crate::routes::Shelf;
use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

/// A connection that was opened from the other side, to be asked over.
pub type Upgraded = TokioIo<hyper::upgrade::Upgraded>;

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    pub pin: Option<Pin>,
    pub address: SocketAddr,
}

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections whose handshake is not over.
    pub waiting: usize,
    pub strangers: usize,
    /// Connections of one peer that is known.
    pub of_one: usize,
    pub known: usize,
    pub handshake: Duration,
    /// Until a question is there whole; also how long a connection may be idle.
    pub question: Duration,
    pub question_of_stranger: Duration,
    /// How fast an answer must be taken.
    pub pace: Pace,
    pub bounds: Bounds,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            waiting: 256,
            strangers: 64,
            of_one: 64,
            known: 1024,
            handshake: Duration::from_secs(10),
            question: Duration::from_secs(90),
            question_of_stranger: Duration::from_secs(5),
            pace: Pace::default(),
            bounds: Bounds::default(),
        }
    }
}

/// A queue of tasks of which the oldest goes when there are too many.
struct Few {
    tasks: Mutex<VecDeque<(u64, AbortHandle)>>,
    most: usize,
}

impl Few {
    fn new(most: usize) -> Arc<Few> {
        Arc::new(Few { tasks: Mutex::default(), most })
    }

    fn add(&self, number: u64, task: AbortHandle) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.push_back((number, task));
        while tasks.len() > self.most {
            if let Some((_, oldest)) = tasks.pop_front() {
                oldest.abort();
            }
        }
    }

    fn remove(&self, number: u64) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.retain(|(other, _)| *other != number);
    }
}

/// How many connections each known peer has.
#[derive(Default)]
struct Known {
    of: Mutex<HashMap<Pin, usize>>,
}

struct Seat<'a>(&'a Known, Pin);

impl Known {
    fn seat(&self, pin: Pin, limits: &Limits) -> Option<Seat<'_>> {
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        if of.values().sum::<usize>() >= limits.known || of.get(&pin).is_some_and(|&count| count >= limits.of_one) {
            return None;
        }
        *of.entry(pin).or_default() += 1;
        Some(Seat(self, pin))
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut of = self.0.of.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = of.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                of.remove(&self.1);
            }
        }
    }
}

/// What a server is made of.
pub struct Server {
    pub tls: Arc<ServerConfig>,
    pub shelf: Arc<dyn Shelf>,
    pub router: Router,
    pub limits: Limits,
    /// Whether an address may connect at all: a second fence before the keys.
    pub allow: Arc<dyn Fn(IpAddr) -> bool + Send + Sync>,
}

struct Rooms {
    waiting: Arc<Few>,
    strangers: Arc<Few>,
    known: Known,
}

impl Server {
    /// Serves until `stop` turns true.
    pub async fn serve(self, listener: TcpListener, mut stop: watch::Receiver<bool>) {
        let limits = self.limits;
        let rooms = Arc::new(Rooms { waiting: Few::new(limits.waiting), strangers: Few::new(limits.strangers), known: Known::default() });
        let server = Arc::new(self);
        let mut number = 0;
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            let Ok((stream, address)) = accepted else {
                // Out of files, most likely: those that are open must end first.
                sleep(Duration::from_millis(50)).await;
                continue;
            };
            if !(server.allow)(address.ip()) {
                continue;
            }
            number += 1;
            let (server, rooms_here, stop) = (server.clone(), rooms.clone(), stop.clone());
            let task = tokio::spawn(async move { server.connection(stream, address, number, &rooms_here, stop).await });
            rooms.waiting.add(number, task.abort_handle());
        }
    }

    async fn connection(&self, stream: TcpStream, address: SocketAddr, number: u64, rooms: &Rooms, stop: watch::Receiver<bool>) {
        let handshake = async {
            stream.set_nodelay(true)?;
            TlsAcceptor::from(self.tls.clone()).accept(Paced::new(stream, self.limits.pace)).await
        };
        let Ok(Ok(stream)) = timeout(self.limits.handshake, handshake).await else {
            return rooms.waiting.remove(number);
        };
        let pin = stream.get_ref().1.peer_certificates().and_then(|chain| Pin::of(chain.first()?));
        let known = pin.filter(|pin| self.shelf.role(pin) != Role::Stranger);
        let peer = Peer { pin, address };
        match known {
            Some(pin) => {
                rooms.waiting.remove(number);
                let Some(_seat) = rooms.known.seat(pin, &self.limits) else { return };
                self.questions(TokioIo::new(stream), peer, self.limits.question, stop).await;
            }
            None => {
                let Some(task) = rooms.waiting.take(number) else { return };
                rooms.strangers.add(number, task);
                // Whoever is taken in comes back.
                let all = self.limits.question_of_stranger * 4;
                let _ = timeout(all, self.questions(TokioIo::new(stream), peer, self.limits.question_of_stranger, stop)).await;
                rooms.strangers.remove(number);
            }
        }
    }

    async fn questions<S>(&self, stream: TokioIo<S>, peer: Peer, deadline: Duration, stop: watch::Receiver<bool>)
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
    {
        answer(stream, peer, self.router.clone(), deadline, stop).await;
    }
}

impl Few {
    fn take(&self, number: u64) -> Option<AbortHandle> {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let at = tasks.iter().position(|(other, _)| *other == number)?;
        tasks.remove(at).map(|(_, task)| task)
    }
}

/// Answers what is asked over a connection, until it ends or `stop` turns true.
pub async fn answer<S>(stream: TokioIo<S>, peer: Peer, router: Router, deadline: Duration, mut stop: watch::Receiver<bool>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let router = router.layer(axum::Extension(peer));
    let service = TowerToHyperService::new(router.into_service::<Incoming>());
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(deadline)
        .max_buf_size(64 << 10)
        .serve_connection(stream, service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // How a connection ends is the other side's business.
        _ = connection.as_mut() => return,
        _ = stop.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
    }
    let _ = timeout(Duration::from_secs(10), connection).await;
}

/// Connections without keys that are held at once, and how long each.
const PLAIN_MAX: usize = 64;
const PLAIN: Duration = Duration::from_secs(10);

/// Serves routes without keys, on an address that should be the host's own. One question a connection, within a time.
pub async fn plain(listener: TcpListener, router: Router, mut stop: watch::Receiver<bool>) -> io::Result<()> {
    let (few, mut number) = (Few::new(PLAIN_MAX), 0);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        };
        let Ok((stream, _)) = accepted else {
            sleep(Duration::from_millis(50)).await;
            continue;
        };
        number += 1;
        let (service, few_here) = (TowerToHyperService::new(router.clone().into_service::<Incoming>()), few.clone());
        let task = tokio::spawn(async move {
            let connection = http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), service);
            // How it ends is the other side's business.
            let _ = timeout(PLAIN, connection).await;
            few_here.remove(number);
        });
        few.add(number, task.abort_handle());
    }
}

//! Connections that a host behind NAT opens and lends, to be asked over: the one who would be dialled dials, and nothing else changes.
//!
//! The host that lends (`Lending`) proves its key to the pull-backup whose key it pinned, as whenever it calls, and then answers over that connection what it is
//! asked, as if it had been called. So whose connection it is says the key that was proven when it was opened, and nobody can lend for another. It keeps a
//! few lent; each that ends is opened anew after a wait that grows while nothing is asked over them. One over which nobody asks ends by the deadline of a question, so what a
//! router forgot in silence is found.
//!
//! The pull-backup keeps what one host lent in a `Pool` and borrows the newest. A pool is bounded: the oldest goes.

use crate::backoff::Backoff;
use crate::client::{Deadlines, Lender, Stream, broken, dial};
use crate::error::{Error, Result};
use crate::follow::Contact;
use crate::identity::{Identity, Pin};
use crate::message::Told;
use crate::node::Node;
use crate::server::{Limits, Peer, Upgraded, answer};
use axum::Router;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::header::{CONNECTION, CONTENT_LENGTH, HOST, UPGRADE};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_rustls::rustls::ClientConfig;

/// So many connections are kept lent to each pull-backup.
const LENT: usize = 8;
/// So many of one host wait to be borrowed.
const POOL_MAX: usize = 16;
/// The host that lent it closed it before.
const STALE: Duration = Duration::from_secs(300);

/// What one host lent and nobody borrowed yet.
#[derive(Default)]
pub struct Pool {
    free: Mutex<VecDeque<(Instant, Upgraded)>>,
    came: Notify,
}

impl Pool {
    pub fn add(&self, connection: Upgraded) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.push_back((Instant::now(), connection));
        while free.len() > POOL_MAX {
            free.pop_front();
        }
        self.came.notify_one();
    }

    /// The newest that still stands: the older one is, the likelier a router forgot it.
    fn take(&self) -> Option<Upgraded> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.retain(|(since, _)| since.elapsed() < STALE);
        while let Some((_, mut connection)) = free.pop_back() {
            if is_quiet(&mut connection) {
                return Some(connection);
            }
        }
        None
    }
}

/// Whether nothing came over it: who lends is silent until it is asked, so it would be the end or nonsense.
fn is_quiet(connection: &mut Upgraded) -> bool {
    let mut byte = [0];
    let mut context = Context::from_waker(Waker::noop());
    pin!(connection).poll_read(&mut context, &mut ReadBuf::new(&mut byte)).is_pending()
}

impl Lender for Pool {
    fn borrow(&self) -> std::pin::Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send + '_>> {
        Box::pin(async move {
            loop {
                if let Some(connection) = self.take() {
                    return Ok(Box::new(connection) as Box<dyn Stream>);
                }
                self.came.notified().await;
            }
        })
    }
}

/// Lends connections to one pull-backup.
pub struct Lending {
    /// HOST:PORT of the pull-backup.
    pub address: String,
    pub pin: Pin,
    pub tls: Arc<ClientConfig>,
    /// What answers over them.
    pub router: Router,
    pub deadlines: Deadlines,
    pub limits: Limits,
    pub backoff: Backoff,
    pub clock: Arc<dyn Fn() -> u64 + Send + Sync>,
    pub chance: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// When it took one last, and why it takes none.
    pub contact: Arc<Mutex<Contact>>,
}

impl Lending {
    /// Until `stop` turns true.
    pub async fn run(self, stop: watch::Receiver<bool>) {
        let lending = Arc::new(self);
        let mut tasks = JoinSet::new();
        for _ in 0..LENT {
            tasks.spawn(lending.clone().keep_one(stop.clone()));
        }
        while tasks.join_next().await.is_some() {}
    }

    async fn keep_one(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut failures = 0;
        loop {
            let lent = tokio::select! {
                lent = self.open() => lent,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            self.note(&lent);
            let asked = match lent {
                Ok((connection, address)) => self.answer(connection, address, stop.clone()).await,
                Err(_) => false,
            };
            // Whoever takes connections and drops them is waited for as whoever takes none.
            failures = if asked { 0 } else { failures + 1 };
            let wait = self.backoff.after(failures.max(1), (self.chance)());
            if timeout(wait, stop.wait_for(|stop| *stop)).await.is_ok() {
                return;
            }
        }
    }

    fn note(&self, lent: &Result<(Upgraded, SocketAddr)>) {
        let mut contact = self.contact.lock().unwrap_or_else(PoisonError::into_inner);
        match lent {
            Ok(_) => (contact.answered_ms, contact.trouble, contact.failures) = (Some((self.clock)()), None, 0),
            Err(error) => {
                contact.failures += 1;
                contact.trouble = Some(crate::pull::chain(error));
            }
        }
    }

    /// Opens a connection and has it taken.
    async fn open(&self) -> Result<(Upgraded, SocketAddr)> {
        let Deadlines { connect, answer, .. } = self.deadlines;
        let late = |what, after| move |_| Error::Deadline { peer: self.address.clone(), what, after };
        let stream = timeout(connect, dial(&self.address, &self.address, &self.tls))
            .await
            .map_err(late("connecting", connect))??;
        let address = stream
            .get_ref()
            .0
            .get_ref()
            .peer_addr()
            .map_err(|source| Error::Connect { peer: self.address.clone(), source })?;
        let upgraded = timeout(answer, self.lend(stream)).await.map_err(late("lending it a connection", answer))??;
        Ok((upgraded, address))
    }

    async fn lend(&self, stream: impl Stream + 'static) -> Result<Upgraded> {
        let failed = |error| broken(self.address.clone(), error);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
        // It ends with the connection, or when that is taken over.
        tokio::spawn(async move { drop(connection.with_upgrades().await) });
        let request = Request::post("/v1/lend")
            .header(HOST, "resilient")
            .header(CONNECTION, "upgrade")
            .header(UPGRADE, "resilient")
            .header(CONTENT_LENGTH, 0)
            .body(Empty::<Bytes>::new())
            .map_err(|error| Error::Nonsense { peer: self.address.clone(), why: error.to_string() })?;
        let response = sender.send_request(request).await.map_err(failed)?;
        let status = response.status();
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(TokioIo::new(hyper::upgrade::on(response).await.map_err(failed)?));
        }
        let body = Limited::new(response.into_body(), 64 << 10).collect().await.ok().map(|body| body.to_bytes());
        let told = body.and_then(|bytes| serde_json::from_slice::<Told>(&bytes).ok());
        Err(Error::Refused { peer: self.address.clone(), why: told.map_or_else(|| format!("status {status}"), |told| told.error) })
    }

    /// Answers what is asked over it, until it ends. Whether anything was.
    async fn answer(&self, connection: Upgraded, address: SocketAddr, stop: watch::Receiver<bool>) -> bool {
        let asked = Arc::new(AtomicBool::new(false));
        let seen = asked.clone();
        let router = self.router.clone().layer(axum::middleware::map_request(move |request: axum::extract::Request| {
            seen.store(true, Ordering::Relaxed);
            std::future::ready(request)
        }));
        let peer = Peer { pin: Some(self.pin), address };
        answer(TokioIo::new(connection), peer, router, self.limits.question, stop).await;
        asked.load(Ordering::Relaxed)
    }
}

/// What a node that dials out lends with.
pub struct Dialling {
    pub node: Arc<Node>,
    pub identity: Arc<Identity>,
    pub router: Router,
    pub deadlines: Deadlines,
    pub limits: Limits,
    pub clock: Arc<dyn Fn() -> u64 + Send + Sync>,
    pub chance: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// Hears why nothing is lent, once for each reason.
    pub tell: Arc<dyn Fn(String) + Send + Sync>,
}

/// How often it is looked which pull-backups there are.
const LOOK: Duration = Duration::from_secs(1);

struct Borrower {
    stop: watch::Sender<bool>,
    contact: Arc<Mutex<Contact>>,
    told: Option<String>,
}

impl Dialling {
    /// Lends to every pull-backup that the node joined, those that it joins meanwhile too, until `stop` turns true.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let (mut known, mut tasks) = (HashMap::<Pin, Borrower>::new(), JoinSet::new());
        loop {
            let joined = self.node.pull_backups();
            known.retain(|pin, borrower| {
                let stays = joined.iter().any(|joined| joined.pin == *pin);
                if !stays {
                    borrower.stop.send_replace(true);
                }
                stays
            });
            for pull_backup in &joined {
                if !known.contains_key(&pull_backup.pin)
                    && let Ok(tls) = crate::tls::client(&self.identity, pull_backup.pin)
                {
                    let (lending, borrower, stopped) = self.lending(&pull_backup.address, pull_backup.pin, tls);
                    tasks.spawn(lending.run(stopped));
                    known.insert(pull_backup.pin, borrower);
                }
            }
            known.values_mut().for_each(|borrower| borrower.tell(&*self.tell));
            while tasks.try_join_next().is_some() {}
            if timeout(LOOK, stop.wait_for(|stop| *stop)).await.is_ok() {
                break;
            }
        }
        known.values().for_each(|borrower| _ = borrower.stop.send_replace(true));
        while tasks.join_next().await.is_some() {}
    }

    fn lending(&self, address: &str, pin: Pin, tls: Arc<ClientConfig>) -> (Lending, Borrower, watch::Receiver<bool>) {
        let ((stop, stopped), contact) = (watch::channel(false), Arc::<Mutex<Contact>>::default());
        let lending = Lending {
            address: address.into(),
            pin,
            tls,
            router: self.router.clone(),
            deadlines: self.deadlines,
            limits: self.limits,
            backoff: Backoff::default(),
            clock: self.clock.clone(),
            chance: self.chance.clone(),
            contact: contact.clone(),
        };
        (lending, Borrower { stop, contact, told: None }, stopped)
    }
}

impl Borrower {
    fn tell(&mut self, tell: &dyn Fn(String)) {
        let trouble = self.contact.lock().unwrap_or_else(PoisonError::into_inner).trouble.clone();
        if let Some(why) = trouble.clone().filter(|_| trouble != self.told) {
            tell(format!("no connection can be lent: {why}"));
        }
        self.told = trouble;
    }
}

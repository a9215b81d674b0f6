//! Asking another host. Every wait has a deadline: for the connection, for the answer to begin, for each stretch of it; and an answer that comes at a trickle is
//! given up as one that does not come.
//!
//! A connection is kept for the next question. One that the other side closed meanwhile costs a second try, since every question can be asked twice.

use crate::error::{Error, Result};
use crate::identity::Pin;
use crate::message::Told;
use crate::paced::{Pace, Paced};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, HOST, HeaderValue, IF_NONE_MATCH};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::{IpAddr, Ipv4Addr, ServerName};

/// How long each wait may take.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// Until the connection stands, keys and all.
    pub connect: Duration,
    /// Until an answer begins.
    pub answer: Duration,
    /// Until its next bytes come.
    pub stretch: Duration,
    /// In this time as many bytes must come as `least` says, or it is too slow.
    pub pace: Duration,
    pub least: u64,
}

impl Default for Deadlines {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Deadlines { connect: seconds(10), answer: seconds(60), stretch: seconds(30), pace: seconds(60), least: 60 << 10 }
    }
}

/// Bytes a second, shared by all who pull.
#[derive(Debug)]
pub struct Rate {
    pub bytes_per_second: u64,
    /// When the next byte may come.
    free: Mutex<Option<Instant>>,
}

impl Rate {
    pub fn new(bytes_per_second: u64) -> Rate {
        Rate { bytes_per_second: bytes_per_second.max(1), free: Mutex::new(None) }
    }

    /// Waits until these bytes are paid for.
    async fn take(&self, bytes: usize) {
        let until = {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            let from = free.map_or_else(now, |at| at.max(now()));
            let until = from + Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
            *free = Some(until);
            from
        };
        tokio::time::sleep_until(until).await;
    }
}

fn now() -> Instant {
    Instant::now()
}

/// A connection that the other side opened and lent.
pub trait Lender: Send + Sync {
    /// One that is free; waits for one.
    fn borrow(&self) -> std::pin::Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send + '_>>;
}

/// What bytes go over.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// The way to a host.
#[derive(Clone)]
pub enum Way {
    /// HOST:PORT.
    Dial {
        address: String,
        tls: Arc<ClientConfig>,
    },
    Lent(Arc<dyn Lender>),
}

type Sender = SendRequest<Full<Bytes>>;

/// A host that can be asked.
pub struct Client {
    /// What it is called in messages.
    pub peer: String,
    way: Way,
    pub deadlines: Deadlines,
    rate: Option<Arc<Rate>>,
    idle: Arc<Mutex<Vec<Sender>>>,
    /// Bytes of answers.
    received: Arc<AtomicU64>,
    /// Turns true when nothing more is to come from there.
    cut: watch::Sender<bool>,
}

/// So many connections are kept.
const IDLE_MAX: usize = 4;
/// No answer that is taken whole is longer.
const WHOLE_MAX: usize = 64 << 20;

impl Client {
    pub fn new(peer: impl Into<String>, way: Way, deadlines: Deadlines, rate: Option<Arc<Rate>>) -> Client {
        Client {
            peer: peer.into(),
            way,
            deadlines,
            rate,
            idle: Arc::default(),
            received: Arc::default(),
            cut: watch::Sender::new(false),
        }
    }

    /// Breaks off what is under way, and asks no more.
    pub fn cut(&self) {
        self.cut.send_replace(true);
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// One for a host that listens.
    pub fn dial(address: &str, identity: &crate::identity::Identity, pin: Pin) -> Result<Client> {
        let tls = crate::tls::client(identity, pin)?;
        Ok(Client::new(address, Way::Dial { address: address.into(), tls }, Deadlines::default(), None))
    }

    pub fn with(mut self, deadlines: Deadlines, rate: Option<Arc<Rate>>) -> Client {
        (self.deadlines, self.rate) = (deadlines, rate);
        self
    }

    /// How many bytes of answers came so far.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    async fn connect(&self) -> Result<Sender> {
        let peer = || self.peer.clone();
        let after = self.deadlines.connect;
        let what = if matches!(self.way, Way::Lent(_)) { "waiting for a connection that it lends" } else { "connecting" };
        let late = |_| Error::Deadline { peer: peer(), what, after };
        let open = async {
            let stream: Box<dyn Stream> = match &self.way {
                Way::Dial { address, tls } => Box::new(dial(&self.peer, address, tls).await?),
                Way::Lent(lender) => lender.borrow().await.map_err(|source| Error::Connect { peer: peer(), source })?,
            };
            let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| broken(peer(), error))?;
            // It ends with the connection; who asks hears of it.
            tokio::spawn(async move {
                let _ = connection.await;
            });
            Ok(sender)
        };
        timeout(after, open).await.map_err(late)?
    }

    fn kept(&self) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match idle.pop() {
                Some(sender) if !sender.is_closed() && sender.is_ready() => return Some(sender),
                Some(_) => {}
                None => return None,
            }
        }
    }

    async fn send(&self, request: &Request<Full<Bytes>>) -> Result<(Sender, Response<Incoming>)> {
        let after = self.deadlines.answer;
        if let Some(mut sender) = self.kept() {
            match timeout(after, sender.send_request(request.clone())).await {
                Ok(Ok(response)) => return Ok((sender, response)),
                // It was closed while nobody looked: once more, on a new one.
                Ok(Err(_)) => {}
                Err(_) => return Err(Error::Deadline { peer: self.peer.clone(), what: "waiting for its answer", after }),
            }
        }
        let mut sender = self.connect().await?;
        match timeout(after, sender.send_request(request.clone())).await {
            Ok(Ok(response)) => Ok((sender, response)),
            Ok(Err(error)) => Err(broken(self.peer.clone(), error)),
            Err(_) => Err(Error::Deadline { peer: self.peer.clone(), what: "waiting for its answer", after }),
        }
    }

    /// Asks, and gives the answer that comes.
    pub async fn ask(&self, method: Method, path: &str, body: Bytes, known: Option<&str>) -> Result<Answer> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "resilient")
            .header(CONTENT_TYPE, "application/json")
            .header(CONTENT_LENGTH, body.len());
        if let Some(known) = known.and_then(|known| HeaderValue::from_str(known).ok()) {
            request = request.header(IF_NONE_MATCH, known);
        }
        let request = request
            .body(Full::new(body))
            .map_err(|error| Error::Nonsense { peer: self.peer.clone(), why: error.to_string() })?;
        let mut cut = self.cut.subscribe();
        let (sender, response) = tokio::select! {
            biased;
            Ok(_) = cut.wait_for(|cut| *cut) => return Err(given_up(&self.peer)),
            sent = self.send(&request) => sent?,
        };
        let status = response.status();
        let etag = response.headers().get(ETAG).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let mut answer = Answer {
            peer: self.peer.clone(),
            status,
            etag,
            incoming: response.into_body(),
            deadlines: self.deadlines,
            rate: self.rate.clone(),
            home: Some((sender, self.idle.clone())),
            received: self.received.clone(),
            cut,
            since: now(),
            bytes: 0,
        };
        if status.is_success() || status == StatusCode::NOT_MODIFIED {
            return Ok(answer);
        }
        let told = answer.whole(64 << 10).await.ok().and_then(|bytes| serde_json::from_slice::<Told>(&bytes).ok());
        let why = told.map_or_else(|| format!("status {status}"), |told| told.error);
        let peer = self.peer.clone();
        Err(match status {
            StatusCode::NOT_FOUND => Error::Missing { peer, what: why },
            status if status.is_client_error() => Error::Refused { peer, why },
            _ => Error::Failed { peer, why },
        })
    }

    /// Asks for something small.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.ask(Method::GET, path, Bytes::new(), None).await?.json().await
    }

    /// Says something, and takes what is answered.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        let body = serde_json::to_vec(body).map_err(|error| Error::Nonsense { peer: self.peer.clone(), why: error.to_string() })?;
        self.ask(Method::POST, path, body.into(), None).await?.json().await
    }
}

/// A connection to a host whose key is pinned.
pub async fn dial(peer: &str, address: &str, tls: &Arc<ClientConfig>) -> Result<TlsStream<Paced<TcpStream>>> {
    let peer = || peer.to_owned();
    let stream = TcpStream::connect(address).await.map_err(|source| Error::Connect { peer: peer(), source })?;
    stream.set_nodelay(true).map_err(|source| Error::Connect { peer: peer(), source })?;
    // A name means nothing here: the pin does.
    let name = ServerName::IpAddress(IpAddr::V4(Ipv4Addr::from([127, 0, 0, 1])));
    TlsConnector::from(tls.clone())
        .connect(name, Paced::new(stream, Pace::default()))
        .await
        .map_err(|source| if is_stranger(&source) { Error::Stranger { peer: peer() } } else { Error::Connect { peer: peer(), source } })
}

fn given_up(peer: &str) -> Error {
    Error::Broken { peer: peer.to_owned(), source: io::Error::other("it is asked no more") }
}

pub(crate) fn broken(peer: String, error: hyper::Error) -> Error {
    Error::Broken { peer, source: io::Error::other(error) }
}

fn is_stranger(error: &io::Error) -> bool {
    use tokio_rustls::rustls::{CertificateError, Error as Tls};
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Tls>());
    matches!(inner, Some(Tls::InvalidCertificate(CertificateError::ApplicationVerificationFailure)))
}

/// An answer as it comes.
pub struct Answer {
    peer: String,
    pub status: StatusCode,
    pub etag: Option<String>,
    incoming: Incoming,
    deadlines: Deadlines,
    rate: Option<Arc<Rate>>,
    /// Where the connection goes when the answer is over.
    home: Option<(Sender, Arc<Mutex<Vec<Sender>>>)>,
    received: Arc<AtomicU64>,
    cut: watch::Receiver<bool>,
    since: Instant,
    bytes: u64,
}

impl Answer {
    /// The next bytes; none at the end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>> {
        loop {
            let after = self.deadlines.stretch;
            let next = tokio::select! {
                biased;
                Ok(_) = self.cut.wait_for(|cut| *cut) => return Err(given_up(&self.peer)),
                next = timeout(after, self.incoming.frame()) => next,
            };
            let next = next.map_err(|_| Error::Deadline { peer: self.peer.clone(), what: "waiting for more of it", after })?;
            let Some(frame) = next.transpose().map_err(|error| broken(self.peer.clone(), error))? else {
                self.go_home().await;
                return Ok(None);
            };
            let Ok(bytes) = frame.into_data() else { continue };
            self.received.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            self.pace(bytes.len() as u64)?;
            if let Some(rate) = &self.rate {
                rate.take(bytes.len()).await;
                self.is_held_back();
            }
            return Ok(Some(bytes));
        }
    }

    fn pace(&mut self, bytes: u64) -> Result<()> {
        self.bytes += bytes;
        let Deadlines { pace, least, .. } = self.deadlines;
        if now().duration_since(self.since) < pace {
            return Ok(());
        }
        if self.bytes < least {
            return Err(Error::Slow { peer: self.peer.clone(), bytes: self.bytes, within: pace });
        }
        (self.since, self.bytes) = (now(), 0);
        Ok(())
    }

    /// Begins its pace anew: what is held back on this side is not the peer's fault.
    pub(crate) fn is_held_back(&mut self) {
        (self.since, self.bytes) = (now(), 0);
    }

    async fn go_home(&mut self) {
        let Some((mut sender, idle)) = self.home.take() else { return };
        // The connection is ready a moment after the last byte.
        let ready = timeout(Duration::from_secs(1), sender.ready()).await;
        let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(ready, Ok(Ok(()))) && idle.len() < IDLE_MAX {
            idle.push(sender);
        }
    }

    /// All of it, when it is no more than `most` bytes.
    pub async fn whole(&mut self, most: usize) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(bytes) = self.chunk().await? {
            if all.len() + bytes.len() > most {
                return Err(Error::Nonsense { peer: self.peer.clone(), why: format!("it is longer than {most} bytes") });
            }
            all.extend_from_slice(&bytes);
        }
        Ok(all)
    }

    /// What it says.
    pub async fn json<T: DeserializeOwned>(&mut self) -> Result<T> {
        let bytes = self.whole(WHOLE_MAX).await?;
        serde_json::from_slice(&bytes).map_err(|error| Error::Nonsense { peer: self.peer.clone(), why: error.to_string() })
    }

    pub(crate) fn nonsense(&self, why: impl std::fmt::Display) -> Error {
        Error::Nonsense { peer: self.peer.clone(), why: why.to_string() }
    }
}

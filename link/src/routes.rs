//! The routes of a host that offers repositories. What is asked for is looked up in the table of roles first; who is unknown gets as little as a closed door.
//!
//! A repository's bytes are read on threads of their own, a little ahead of the network. Between two items the caller's role is asked again: who is expelled
//! gets no more, in the middle of an answer too.

use crate::bounds::{Bounds, Turns, bounded};
use crate::frame;
use crate::message::{Head, Heads, Join, Joined, Names, Notice, Report, Told, WantRecords, WantRun, WantSegments};
use crate::post::Said;
use crate::role::{Ask, Caller, Role};
use crate::server::{Peer, Upgraded};
use archive::id::{RecordId, RunId};
use archive::repository::{Known, Repository};
use archive::sync::Source;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, FromRequestParts, Path, Request, State};
use axum::http::header::{CONNECTION, ETAG, IF_NONE_MATCH, UPGRADE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use hyper::body::Frame;
use hyper_util::rt::TokioIo;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

/// Why something is not given.
#[derive(Debug)]
pub struct Refusal {
    pub status: StatusCode,
    pub why: String,
}

impl Refusal {
    pub fn not_yours(why: impl Into<String>) -> Refusal {
        Refusal { status: StatusCode::FORBIDDEN, why: why.into() }
    }

    pub fn missing(what: impl Into<String>) -> Refusal {
        Refusal { status: StatusCode::NOT_FOUND, why: what.into() }
    }

    /// What is wrong here, and may pass.
    pub fn failed(why: impl std::fmt::Display) -> Refusal {
        Refusal { status: StatusCode::SERVICE_UNAVAILABLE, why: why.to_string() }
    }
}

impl From<archive::Error> for Refusal {
    fn from(error: archive::Error) -> Refusal {
        match error {
            archive::Error::Missing { name } => Refusal::missing(name),
            error if error.kind() == archive::Kind::Corrupt => Refusal::missing(error.to_string()),
            error => Refusal::failed(error),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(Told { error: self.why })).into_response()
    }
}

/// What a caller says.
#[derive(Debug)]
pub enum Word {
    Notice(Notice),
    Report(Report),
    Join(Box<Join>),
}

/// A host that offers repositories. Its methods may block.
pub trait Shelf: Send + Sync + 'static {
    /// What the holder of a key is here, now.
    fn role(&self, pin: &crate::identity::Pin) -> Role;

    fn heads(&self, caller: &Caller) -> Result<Vec<Head>, Refusal>;

    fn open(&self, caller: &Caller, cluster: &str, dataset: &str) -> Result<Arc<Repository>, Refusal>;

    /// Takes note of what somebody was given of a repository.
    fn gave(&self, caller: &Caller, bytes: u64) {
        let _ = (caller, bytes);
    }

    /// Takes note of what was said; only joining has an answer.
    fn hear(&self, caller: &Caller, word: Word) -> Result<Option<Joined>, Refusal>;

    /// Takes a connection over which the caller will be asked.
    fn lend(&self, caller: &Caller, connection: Upgraded) -> Result<(), Refusal>;

    /// Hears about who is active, and answers.
    fn elect(&self, caller: &Caller, said: Said) -> Result<Said, Refusal> {
        let _ = (caller, said);
        Err(Refusal::not_yours("nobody is elected here"))
    }
}

type Shared = Arc<dyn Shelf>;

/// No question is longer.
const QUESTION_MAX: usize = 2 << 20;
/// Items read ahead of the network.
const AHEAD: usize = 4;

pub fn routes(shelf: Shared, bounds: Bounds) -> Router {
    Router::new()
        .route("/live", get(|| async { "alive\n" }))
        .route("/v1/join", post(join))
        .route("/v1/heads", get(heads))
        .route("/v1/notice", post(notice))
        .route("/v1/report", post(report))
        .route("/v1/lend", post(lend))
        .route("/v1/{cluster}/{dataset}/list", get(list))
        .route("/v1/{cluster}/{dataset}/snapshot", post(snapshot))
        .route("/v1/{cluster}/{dataset}/run", post(run))
        .route("/v1/{cluster}/{dataset}/segments", post(segments))
        .route("/v1/{cluster}/{dataset}/records", post(records))
        .layer(DefaultBodyLimit::max(QUESTION_MAX))
        .layer(axum::middleware::from_fn_with_state(Turns::new(bounds), bounded))
        // Turns of its own: who is active does not wait for data.
        .merge(
            Router::new()
                .route("/v1/election", post(elect))
                .layer(DefaultBodyLimit::max(QUESTION_MAX))
                .layer(axum::middleware::from_fn_with_state(Turns::new(Bounds::of_elections()), bounded)),
        )
        .with_state(shelf)
}

impl FromRequestParts<Shared> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, shelf: &Shared) -> Result<Caller, Refusal> {
        let peer = parts.extensions.get::<Peer>().ok_or_else(|| Refusal::failed("it is not known who asks"))?;
        let role = peer.pin.as_ref().map_or(Role::Stranger, |pin| shelf.role(pin));
        let caller = Caller { role, pin: peer.pin, address: peer.address };
        // Before anything of the question is read.
        admit(&caller, ask_of(parts.uri.path()))?;
        Ok(caller)
    }
}

/// What a path asks for.
fn ask_of(path: &str) -> Ask {
    match path {
        "/live" => Ask::Live,
        "/v1/join" => Ask::Join,
        "/v1/heads" => Ask::Heads,
        "/v1/notice" => Ask::Notify,
        "/v1/report" => Ask::Report,
        "/v1/lend" => Ask::Lend,
        "/v1/election" => Ask::Elect,
        _ => Ask::Fetch,
    }
}

fn admit(caller: &Caller, ask: Ask) -> Result<(), Refusal> {
    if caller.role.may(ask) {
        return Ok(());
    }
    Err(Refusal::not_yours(match caller.role {
        Role::Stranger => "this host does not know your key: join with an invitation",
        _ => "this is not for your role",
    }))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Refusal> + Send + 'static) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work).await.map_err(Refusal::failed)?
}

async fn heads(State(shelf): State<Shared>, caller: Caller, headers: HeaderMap) -> Result<Response, Refusal> {
    let datasets = blocking(move || shelf.heads(&caller)).await?;
    let body = serde_json::to_vec(&Heads { datasets }).map_err(Refusal::failed)?;
    let tag = archive::id::hex(&archive::digest::sha256(&body).0[..16]);
    if headers.get(IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        return Ok((StatusCode::NOT_MODIFIED, [(ETAG, tag)]).into_response());
    }
    Ok(([(ETAG, tag)], body).into_response())
}

async fn hear(shelf: Shared, caller: Caller, word: Word) -> Result<Option<Joined>, Refusal> {
    let of = match &word {
        Word::Notice(notice) => Some(&notice.cluster),
        Word::Report(report) => Some(&report.cluster),
        Word::Join(_) => None,
    };
    if of.is_some_and(|cluster| !caller.role.sees(cluster)) {
        return Err(Refusal::not_yours("this is another cluster's"));
    }
    blocking(move || shelf.hear(&caller, word)).await
}

async fn notice(State(shelf): State<Shared>, caller: Caller, Json(said): Json<Notice>) -> Result<Response, Refusal> {
    hear(shelf, caller, Word::Notice(said)).await?;
    Ok(Json(()).into_response())
}

async fn report(State(shelf): State<Shared>, caller: Caller, Json(said): Json<Report>) -> Result<Response, Refusal> {
    hear(shelf, caller, Word::Report(said)).await?;
    Ok(Json(()).into_response())
}

async fn join(State(shelf): State<Shared>, caller: Caller, Json(said): Json<Join>) -> Result<Response, Refusal> {
    if caller.pin.is_none() {
        return Err(Refusal::not_yours("show the key that is to be known here"));
    }
    let joined = hear(shelf, caller, Word::Join(Box::new(said))).await?;
    joined
        .map(|joined| Json(joined).into_response())
        .ok_or_else(|| Refusal::not_yours("nobody is taken in here"))
}

async fn lend(State(shelf): State<Shared>, caller: Caller, request: Request) -> Result<Response, Refusal> {
    let upgrade = hyper::upgrade::on(request);
    tokio::spawn(async move {
        if let Ok(connection) = upgrade.await {
            // Refused or not: it closes when it is dropped.
            let _ = shelf.lend(&caller, TokioIo::new(connection));
        }
    });
    Ok((StatusCode::SWITCHING_PROTOCOLS, [(CONNECTION, "upgrade"), (UPGRADE, "resilient")]).into_response())
}

async fn elect(State(shelf): State<Shared>, caller: Caller, Json(said): Json<Said>) -> Result<Response, Refusal> {
    let answer = blocking(move || shelf.elect(&caller, said)).await?;
    Ok(Json(answer).into_response())
}

type Place = Path<(String, String)>;

async fn open(shelf: &Shared, caller: &Caller, Path((cluster, dataset)): Place) -> Result<Arc<Repository>, Refusal> {
    if !caller.role.sees(&cluster) {
        return Err(Refusal::not_yours("this is another cluster's"));
    }
    let (shelf, caller) = (shelf.clone(), caller.clone());
    blocking(move || shelf.open(&caller, &cluster, &dataset)).await
}

async fn list(State(shelf): State<Shared>, caller: Caller, place: Place) -> Result<Response, Refusal> {
    let repository = open(&shelf, &caller, place).await?;
    let listing = blocking(move || Ok(Source::list(&*repository)?)).await?;
    Ok(Json(Names::of(listing)).into_response())
}

async fn snapshot(State(shelf): State<Shared>, caller: Caller, place: Place, Json(want): Json<WantRecords>) -> Result<Response, Refusal> {
    let repository = open(&shelf, &caller, place).await?;
    let wanted = want.names.first().and_then(|name| Some((archive::name::parse_snapshot(name)?, name.clone())));
    let ((at, id), name) = wanted.ok_or_else(|| Refusal::missing("a snapshot of that name"))?;
    if name != archive::name::snapshot(at, id) {
        return Err(Refusal::missing("a snapshot of that name"));
    }
    let bytes = blocking(move || Ok(Source::snapshot(&*repository, &Known { at, id, name })?)).await?;
    shelf.gave(&caller, bytes.len() as u64);
    Ok(bytes.into_response())
}

async fn run(State(shelf): State<Shared>, caller: Caller, place: Place, Json(want): Json<WantRun>) -> Result<Response, Refusal> {
    let repository = open(&shelf, &caller, place).await?;
    let id = run_id(&want.run)?;
    let record = want
        .record
        .as_deref()
        .map(|text| RecordId::parse(text).ok_or_else(|| Refusal::missing("such a record")))
        .transpose()?;
    let bytes = blocking(move || Ok(Source::run(&*repository, id, record)?)).await?;
    shelf.gave(&caller, bytes.len() as u64);
    Ok(bytes.into_response())
}

fn run_id(text: &str) -> Result<RunId, Refusal> {
    RunId::parse(text).ok_or_else(|| Refusal::missing(format!("run {text:?}")))
}

/// Segments of one question.
const SEGMENTS_MAX: usize = 4096;

async fn segments(State(shelf): State<Shared>, caller: Caller, place: Place, Json(want): Json<WantSegments>) -> Result<Response, Refusal> {
    let repository = open(&shelf, &caller, place).await?;
    let run = run_id(&want.run)?;
    let sequences: Vec<u32> = want.ranges.iter().flat_map(|&(from, to)| from..to).take(SEGMENTS_MAX).collect();
    Ok(streamed(shelf, caller, move |out| repository.segments(run, &sequences, &mut |sequence, bytes| out.item(sequence, bytes))))
}

async fn records(State(shelf): State<Shared>, caller: Caller, place: Place, Json(want): Json<WantRecords>) -> Result<Response, Refusal> {
    let repository = open(&shelf, &caller, place).await?;
    if let Some(name) = want.names.iter().find(|name| !is_record(name)) {
        return Err(Refusal::missing(format!("a record {name:?}")));
    }
    Ok(streamed(shelf, caller, move |out| {
        for (number, name) in want.names.iter().enumerate() {
            let one = std::slice::from_ref(name);
            repository.records(one, &mut |_, bytes| out.item(number as u32, bytes))?;
        }
        Ok(())
    }))
}

/// Whether a name is one of the small records': nothing else is read by name.
fn is_record(name: &str) -> bool {
    use archive::name::{HEARTBEATS, KEYS, NODES, RECEIPTS, RECORDS};
    let Some((folder, rest)) = name.split_once('/') else { return false };
    let plain = rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    [HEARTBEATS, KEYS, NODES, RECEIPTS, RECORDS].contains(&folder) && plain && !rest.starts_with('.') && !rest.is_empty()
}

/// Where the items of an answer go.
struct Out {
    shelf: Shared,
    caller: Caller,
    runtime: Handle,
    to: mpsc::Sender<Result<Bytes, std::io::Error>>,
    began: Instant,
}

/// Who takes nothing for so long gets no more: a thread and a repository's lock wait for it.
const TAKES_NOTHING: Duration = Duration::from_secs(60);
/// And no answer takes longer than this: a repository that is read cannot be swept.
const ANSWER_MOST: Duration = Duration::from_secs(3600);

impl Out {
    fn item(&self, number: u32, bytes: &[u8]) -> archive::Result<()> {
        let gone = || archive::Error::Refused { name: "an answer".into(), why: "nobody takes it any more".into() };
        let still = self.caller.pin.is_some_and(|pin| self.shelf.role(&pin) == self.caller.role);
        if !still || self.began.elapsed() > ANSWER_MOST {
            return Err(gone());
        }
        let whole = Bytes::from([&frame::head(number, bytes.len())[..], bytes].concat());
        let len = whole.len() as u64;
        self.give(Ok(whole)).ok_or_else(gone)?;
        self.shelf.gave(&self.caller, len);
        Ok(())
    }

    fn give(&self, what: Result<Bytes, std::io::Error>) -> Option<()> {
        self.runtime.block_on(timeout(TAKES_NOTHING, self.to.send(what))).ok()?.ok()
    }
}

/// An answer whose items are read while it is on its way. One that fails ends without its end mark.
fn streamed(shelf: Shared, caller: Caller, work: impl FnOnce(&Out) -> archive::Result<()> + Send + 'static) -> Response {
    let (to, from) = mpsc::channel(AHEAD);
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || {
        let out = Out { shelf, caller, runtime, to, began: Instant::now() };
        let last = match work(&out) {
            Ok(()) => Ok(frame::end()),
            Err(error) => Err(std::io::Error::other(error)),
        };
        // Whoever asked may have gone.
        let _ = out.give(last);
    });
    Body::new(Streamed(from)).into_response()
}

struct Streamed(mpsc::Receiver<Result<Bytes, std::io::Error>>);

impl hyper::body::Body for Streamed {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        self.0.poll_recv(context).map(|next| next.map(|bytes| bytes.map(Frame::data)))
    }
}

//! What one caller may cost: its question must be there within a time, and so many of its questions are answered at once, the others waiting their turn.
//!
//! The bound is by the key that was proven, not by connection, and a turn lasts until the last byte of an answer is taken. How fast that must be says `paced`.

use crate::identity::Pin;
use crate::routes::Refusal;
use crate::server::Peer;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use std::collections::HashMap;
use std::io;
use std::pin::Pin as Pinned;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep, timeout};

#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Until a question whose head is there is there whole.
    pub question: Duration,
    /// Answers of one caller under way.
    pub at_once: usize,
    /// Until a question's turn comes, or it is turned away.
    pub turn: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds { question: Duration::from_secs(30), at_once: 12, turn: Duration::from_secs(20) }
    }
}

impl Bounds {
    /// Of small questions whose answers are late when they are not quick.
    pub fn of_elections() -> Bounds {
        Bounds { question: Duration::from_secs(5), at_once: 4, turn: Duration::from_secs(2) }
    }
}

/// Who is being answered.
pub struct Turns {
    bounds: Bounds,
    of: Mutex<HashMap<Option<Pin>, Arc<Semaphore>>>,
}

impl Turns {
    pub fn new(bounds: Bounds) -> Arc<Turns> {
        Arc::new(Turns { bounds, of: Mutex::default() })
    }

    fn of(&self, pin: Option<Pin>) -> Arc<Semaphore> {
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        // Whom nobody answers now needs no place.
        of.retain(|_, turns| Arc::strong_count(turns) > 1 || turns.available_permits() < self.bounds.at_once);
        of.entry(pin).or_insert_with(|| Arc::new(Semaphore::new(self.bounds.at_once))).clone()
    }
}

/// Lets a question through when it is its turn.
pub async fn bounded(State(turns): State<Arc<Turns>>, request: Request, next: Next) -> Response {
    let pin = request.extensions().get::<Peer>().and_then(|peer| peer.pin);
    let Bounds { question, turn, .. } = turns.bounds;
    let Ok(Ok(permit)) = timeout(turn, turns.of(pin).acquire_owned()).await else {
        return Refusal::failed("too much is asked at once").into_response();
    };
    let request = request.map(|body| Body::new(Timely { body, left: Box::pin(sleep(question)) }));
    next.run(request).await.map(|body| Body::new(InTurn { body, _permit: permit }))
}

/// A question's body, until its time is over.
struct Timely {
    body: Body,
    left: Pinned<Box<Sleep>>,
}

impl hyper::body::Body for Timely {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pinned<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.left.as_mut().poll(context).is_ready() {
            let late = io::Error::new(io::ErrorKind::TimedOut, "the question does not come");
            return Poll::Ready(Some(Err(axum::Error::new(late))));
        }
        Pinned::new(&mut self.body).poll_frame(context)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer's body, that ends a turn when it ends.
struct InTurn {
    body: Body,
    _permit: OwnedSemaphorePermit,
}

impl hyper::body::Body for InTurn {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pinned<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pinned::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

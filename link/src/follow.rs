//! Following a host: its heads are asked for at intervals, and at once when it says that there is something new. A question about what did not change is one
//! small request and an answer without content.
//!
//! A host that fails is asked again after a wait that grows. What is new is pulled beside the asking, so that one slow dataset delays no other.

use crate::backoff::Backoff;
use crate::error::{Error, Result};
use crate::identity::Pin;
use crate::message::{Head, Heads};
use crate::pull::{Origin, Pulls};
use crate::repositories::Dataset;
use bytes::Bytes;
use hyper::{Method, StatusCode};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// What is known of a host that is followed.
#[derive(Clone, Debug, Default)]
pub struct Contact {
    /// When it answered last, in Unix milliseconds.
    pub answered_ms: Option<u64>,
    pub trouble: Option<String>,
    pub failures: u32,
    pub received: u64,
    /// What it offered last.
    pub heads: Arc<Vec<Head>>,
}

pub struct Follow {
    pub origin: Arc<Origin>,
    pub pulls: Arc<Pulls>,
    /// Which of its datasets are wanted here.
    pub wanted: Box<dyn Fn(&Head) -> bool + Send + Sync>,
    pub every: Duration,
    pub backoff: Backoff,
    /// It said that there is something new.
    pub poke: Arc<Notify>,
    pub contact: Arc<Mutex<Contact>>,
    pub clock: Arc<dyn Fn() -> u64 + Send + Sync>,
    pub chance: Arc<dyn Fn() -> u64 + Send + Sync>,
}

/// No stop waits longer for what is under way.
const LAST: Duration = Duration::from_secs(10);

/// A dataset that is being pulled: it is said to be so until that ends, however it does.
struct UnderWay {
    pulls: Arc<Pulls>,
    dataset: Dataset,
    pin: Pin,
    over: bool,
}

impl UnderWay {
    /// Whether it was wanted again meanwhile.
    fn ended(mut self) -> bool {
        self.over = true;
        self.pulls.ended(&self.dataset, self.pin)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if !self.over {
            self.pulls.ended(&self.dataset, self.pin);
        }
    }
}

/// Whether its names can be those of a cluster and a dataset: they become a folder's.
fn is_named(head: &Head) -> bool {
    archive::record::valid_name(&head.cluster) && archive::record::valid_name(&head.dataset)
}

impl Follow {
    /// Until `stop` turns true; what is being pulled then is broken off, to be gone on with.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut known: Option<(String, Vec<Head>)> = None;
        let mut tasks = JoinSet::new();
        loop {
            let asked = self.ask(&mut known).await;
            let wait = self.note(&asked);
            if let (Ok(()), Some((_, heads))) = (&asked, &known) {
                self.begin(heads, &mut tasks);
            }
            while tasks.try_join_next().is_some() {}
            tokio::select! {
                _ = timeout(wait, self.poke.notified()) => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        self.origin.client.cut();
        // What was under way ends by that; what waits for its turn behind another host is not waited for.
        let _ = timeout(LAST, async { while tasks.join_next().await.is_some() {} }).await;
    }

    async fn ask(&self, known: &mut Option<(String, Vec<Head>)>) -> Result<()> {
        let tag = known.as_ref().map(|(tag, _)| tag.as_str());
        let mut answer = self.origin.client.ask(Method::GET, "/v1/heads", Bytes::new(), tag).await?;
        if answer.status == StatusCode::NOT_MODIFIED {
            // The connection is used again once the answer is over.
            return answer.whole(0).await.map(drop);
        }
        let heads: Heads = answer.json().await?;
        self.contact.lock().unwrap_or_else(PoisonError::into_inner).heads = Arc::new(heads.datasets.clone());
        *known = Some((answer.etag.take().unwrap_or_default(), heads.datasets));
        Ok(())
    }

    /// Notes how it went. How long to wait now.
    fn note(&self, asked: &Result<()>) -> Duration {
        let mut contact = self.contact.lock().unwrap_or_else(PoisonError::into_inner);
        contact.received = self.origin.client.received();
        match asked {
            Ok(()) => {
                (contact.answered_ms, contact.trouble, contact.failures) = (Some((self.clock)()), None, 0);
                self.every
            }
            Err(error) => {
                contact.failures += 1;
                contact.trouble = Some(crate::pull::chain(error));
                self.backoff.after(contact.failures, (self.chance)()).max(self.every.min(self.backoff.first))
            }
        }
    }

    fn begin(&self, heads: &[Head], tasks: &mut JoinSet<Result<(), Error>>) {
        for head in heads
            .iter()
            .filter(|head| is_named(head) && (self.wanted)(head) && !self.pulls.is_done(self.origin.pin, head))
        {
            let (dataset, pin) = (crate::pull::dataset_of(head), self.origin.pin);
            if !self.pulls.begin(&dataset, pin) {
                continue;
            }
            let under_way = UnderWay { pulls: self.pulls.clone(), dataset, pin, over: false };
            let (pulls, origin, head, poke) = (self.pulls.clone(), self.origin.clone(), head.clone(), self.poke.clone());
            tasks.spawn(async move {
                let outcome = pulls.pull(&origin, &head).await;
                // What came meanwhile is looked for at once; what failed, at the next time.
                if under_way.ended() && outcome.is_ok() {
                    poke.notify_one();
                }
                outcome
            });
        }
    }
}

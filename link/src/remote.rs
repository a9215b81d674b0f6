//! A repository behind a connection, as a sync's source. It is called on a thread that may block; the runtime does the waiting.
//!
//! Nothing of what comes is believed: the sync checks every byte. Here only sizes are bounded, and an answer without its end is an error that ends the sync.

use crate::budget::Budget;
use crate::client::{Answer, Client};
use crate::error::Error;
use crate::frame::Frames;
use crate::message::{Names, WantRecords, WantRun, WantSegments};
use archive::id::{RecordId, RunId};
use archive::repository::Known;
use archive::sync::{EachRecord, EachSegment, Listing, Source};
use bytes::Bytes;
use hyper::Method;
use serde::Serialize;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

/// No object that holds a snapshot is longer.
const SNAPSHOT_MAX: usize = 256 << 20;
/// A segment as it is stored: 1 MiB of content that did not compress, with what stands around it.
const SEGMENT_MAX: usize = (1 << 20) + (64 << 10);
const RECORD_MAX: usize = 1 << 20;
/// So many segments are asked for at once: 64 MiB at most, so that what breaks off is soon asked for again.
const SEGMENTS_AT_ONCE: usize = 64;
const RECORDS_AT_ONCE: usize = 512;
/// So many stretches of an answer wait at most: few, since a segment may be 1 MiB.
const ITEMS_AHEAD: usize = 4;

pub struct Remote {
    client: Arc<Client>,
    runtime: Handle,
    /// What stands before the question in each path.
    path: String,
    /// How much may come; no bound when there is none.
    budget: Option<Arc<Budget>>,
}

impl Remote {
    pub fn new(client: Arc<Client>, runtime: Handle, cluster: &str, dataset: &str) -> Remote {
        Remote { client, runtime, path: format!("/v1/{cluster}/{dataset}"), budget: None }
    }

    /// No more comes than that.
    pub fn within(mut self, budget: Option<Arc<Budget>>) -> Remote {
        self.budget = budget;
        self
    }

    fn count(&self, bytes: usize) -> Result<(), Error> {
        self.budget.as_ref().map_or(Ok(()), |budget| budget.take(bytes as u64))
    }

    fn ask(&self, method: Method, what: &str, body: Vec<u8>) -> Result<Answer, Error> {
        let path = format!("{}/{what}", self.path);
        self.runtime.block_on(self.client.ask(method, &path, Bytes::from(body), None))
    }

    fn post(&self, what: &str, body: &impl Serialize) -> Result<Answer, Error> {
        self.ask(Method::POST, what, serde_json::to_vec(body).expect("a question of strings and numbers can be written"))
    }

    fn whole(&self, what: &str, body: &impl Serialize, most: usize) -> Result<Vec<u8>, Error> {
        let mut answer = self.post(what, body)?;
        let bytes = self.runtime.block_on(answer.whole(most))?;
        self.count(bytes.len())?;
        Ok(bytes)
    }

    /// Asks for several items, and gives each as it comes.
    ///
    /// The runtime gathers the next ones while `each` works on one: waking this thread for each stretch of the answer would cost more than hashing it.
    fn items(
        &self,
        what: &str,
        body: &impl Serialize,
        most: usize,
        each: &mut dyn FnMut(u32, &[u8]) -> archive::Result<()>,
    ) -> archive::Result<()> {
        let answer = self.post(what, body)?;
        let (sender, mut gathered) = mpsc::channel(ITEMS_AHEAD);
        self.runtime.spawn(gather(answer, most, self.budget.clone(), sender));
        let mut whole = false;
        while let Some(some) = self.runtime.block_on(gathered.recv()) {
            let Gathered { items, last } = some?;
            whole = last;
            for (number, item) in items {
                each(number, &item)?;
            }
        }
        if whole {
            Ok(())
        } else {
            Err(archive::Error::from(Error::Failed { peer: self.client.peer.clone(), why: "the answer was given up".to_owned() }))
        }
    }
}

/// Items of an answer that came together.
struct Gathered {
    items: Vec<(u32, Bytes)>,
    /// Whether the end mark was behind them.
    last: bool,
}

/// Takes an answer apart, until it ends or nobody wants more of it.
async fn gather(mut answer: Answer, most: usize, budget: Option<Arc<Budget>>, to: mpsc::Sender<Result<Gathered, Error>>) {
    let mut frames = Frames::new(most);
    loop {
        let part = tokio::select! {
            part = next(&mut answer, &mut frames, budget.as_deref()) => part,
            () = to.closed() => return,
        };
        let over = !matches!(part, Ok(Gathered { last: false, .. }));
        let full = to.capacity() == 0;
        if to.send(part).await.is_err() || over {
            return;
        }
        if full {
            answer.is_held_back();
        }
    }
}

/// The next items; the last when the answer is over, which it must be.
async fn next(answer: &mut Answer, frames: &mut Frames, budget: Option<&Budget>) -> Result<Gathered, Error> {
    let mut items = Vec::new();
    while let Some(bytes) = answer.chunk().await? {
        budget.map_or(Ok(()), |budget| budget.take(bytes.len() as u64))?;
        frames.add(&bytes);
        while let Some(item) = frames.take().map_err(|why| answer.nonsense(why))? {
            items.push(item);
        }
        if !items.is_empty() {
            return Ok(Gathered { items, last: false });
        }
    }
    if frames.is_whole() { Ok(Gathered { items, last: true }) } else { Err(answer.nonsense("it ends too early")) }
}

impl Source for Remote {
    fn list(&self) -> archive::Result<Listing> {
        let mut answer = self.ask(Method::GET, "list", vec![])?;
        let names: Names = self.runtime.block_on(answer.json())?;
        Ok(names.listing())
    }

    fn snapshot(&self, known: &Known) -> archive::Result<Vec<u8>> {
        Ok(self.whole("snapshot", &WantRecords { names: vec![known.name.clone()] }, SNAPSHOT_MAX)?)
    }

    fn run(&self, id: RunId, record: Option<RecordId>) -> archive::Result<Vec<u8>> {
        let want = WantRun { run: id.to_string(), record: record.map(|record| record.to_string()) };
        Ok(self.whole("run", &want, SNAPSHOT_MAX)?)
    }

    fn segments(&self, run: RunId, sequences: &[u32], each: EachSegment<'_>) -> archive::Result<()> {
        for part in sequences.chunks(SEGMENTS_AT_ONCE) {
            self.items("segments", &WantSegments::new(run, part), SEGMENT_MAX, each)?;
        }
        Ok(())
    }

    fn records(&self, names: &[String], each: EachRecord<'_>) -> archive::Result<()> {
        for part in names.chunks(RECORDS_AT_ONCE) {
            self.items(
                "records",
                &WantRecords { names: part.to_vec() },
                RECORD_MAX,
                &mut |number, bytes| match part.get(number as usize) {
                    Some(name) => each(name, bytes),
                    None => Ok(()),
                },
            )?;
        }
        Ok(())
    }
}

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

/// No object that holds a snapshot is longer.
const SNAPSHOT_MAX: usize = 256 << 20;
/// A segment as it is stored: 1 MiB of content that did not compress, with what stands around it.
const SEGMENT_MAX: usize = (1 << 20) + (64 << 10);
const RECORD_MAX: usize = 1 << 20;
/// So many segments are asked for at once: 64 MiB at most, so that what breaks off is soon asked for again.
const SEGMENTS_AT_ONCE: usize = 64;
const RECORDS_AT_ONCE: usize = 512;

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
    fn items(
        &self,
        what: &str,
        body: &impl Serialize,
        most: usize,
        each: &mut dyn FnMut(u32, &[u8]) -> archive::Result<()>,
    ) -> archive::Result<()> {
        let mut answer = self.post(what, body)?;
        let mut frames = Frames::new(most);
        while let Some(bytes) = self.runtime.block_on(answer.chunk())? {
            self.count(bytes.len())?;
            frames.add(&bytes);
            while let Some((number, item)) = frames.take().map_err(|why| answer.nonsense(why))? {
                each(number, &item)?;
            }
        }
        if frames.is_whole() { Ok(()) } else { Err(answer.nonsense("it ends too early").into()) }
    }
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

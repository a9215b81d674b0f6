//! A source to sync from that counts what it gives, and breaks off or lies where it is told.

use archive::id::{RecordId, RunId};
use archive::repository::{Known, Repository};
use archive::sync::{EachRecord, EachSegment, Listing, Source};
use archive::{Error, Result};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Changes what a source gives, or does not give it.
pub type Lie<T> = Box<dyn Fn(T) -> Option<T> + Send + Sync>;

/// A segment on its way: run, sequence number, item.
pub type Segment = (RunId, u32, Vec<u8>);

pub struct Origin {
    pub repository: Arc<Repository>,
    /// Breaks off before it gives the segment with this number, counted from 0.
    pub break_at: AtomicU64,
    pub given: AtomicU64,
    pub addresses: Mutex<BTreeSet<(RunId, u32)>>,
    pub segment_lie: Option<Lie<Segment>>,
    pub snapshot_lie: Option<Lie<(Known, Vec<u8>)>>,
    pub run_lie: Option<Lie<(RunId, Vec<u8>)>>,
    pub record_lie: Option<Lie<(String, Vec<u8>)>>,
    pub list_lie: Option<Lie<Listing>>,
}

impl Origin {
    pub fn of(repository: &Arc<Repository>) -> Self {
        Origin {
            repository: repository.clone(),
            break_at: AtomicU64::new(u64::MAX),
            given: AtomicU64::new(0),
            addresses: Mutex::default(),
            segment_lie: None,
            snapshot_lie: None,
            run_lie: None,
            record_lie: None,
            list_lie: None,
        }
    }

    pub fn given(&self) -> u64 {
        self.given.load(Ordering::SeqCst)
    }
}

fn tell<T>(lie: Option<&Lie<T>>, truth: T) -> Option<T> {
    match lie {
        Some(lie) => lie(truth),
        None => Some(truth),
    }
}

fn gone(name: String) -> impl FnOnce() -> Error {
    || Error::Missing { name }
}

impl Source for Origin {
    fn list(&self) -> Result<Listing> {
        let listing = Source::list(&*self.repository)?;
        tell(self.list_lie.as_ref(), listing).ok_or_else(gone("the listing".into()))
    }

    fn snapshot(&self, known: &Known) -> Result<Vec<u8>> {
        let truth = Source::snapshot(&*self.repository, known).unwrap_or_default();
        let told = tell(self.snapshot_lie.as_ref(), (known.clone(), truth)).map(|(_, bytes)| bytes);
        told.filter(|bytes| !bytes.is_empty()).ok_or_else(gone(known.name.clone()))
    }

    fn run(&self, id: RunId, record: Option<RecordId>) -> Result<Vec<u8>> {
        let truth = Source::run(&*self.repository, id, record)?;
        tell(self.run_lie.as_ref(), (id, truth)).map(|(_, item)| item).ok_or_else(gone(format!("run {id}")))
    }

    fn segments(&self, run: RunId, sequences: &[u32], each: EachSegment<'_>) -> Result<()> {
        self.repository.segments(run, sequences, &mut |sequence, item| {
            let Some((_, sequence, item)) = tell(self.segment_lie.as_ref(), (run, sequence, item.to_vec())) else { return Ok(()) };
            if self.given.load(Ordering::SeqCst) >= self.break_at.load(Ordering::SeqCst) {
                let source = std::io::ErrorKind::ConnectionReset.into();
                return Err(Error::Store { operation: "fetch", name: format!("segment {run}:{sequence}"), source });
            }
            self.given.fetch_add(1, Ordering::SeqCst);
            self.addresses.lock().expect("no test panics while it holds this").insert((run, sequence));
            each(sequence, &item)
        })
    }

    fn records(&self, names: &[String], each: EachRecord<'_>) -> Result<()> {
        self.repository
            .records(names, &mut |name, bytes| match tell(self.record_lie.as_ref(), (name.to_string(), bytes.to_vec())) {
                Some((name, bytes)) => each(&name, &bytes),
                None => Ok(()),
            })
    }
}

//! Runs that are being written: keys that are forgotten, segments that get their numbers, packs that fill, records that are signed.
//!
//! A run is retired when it is 1 GiB or 60 s old; it closes when the last segment that was begun in it is written. Closing makes its packs durable and then publishes it, so that an export that is
//! interrupted later has lost at most a minute.

use crate::container::Item;
use crate::error::{Error, Result};
use crate::id::{Address, ExportId, Hash, RecordId, RunId};
use crate::identity::SealingKey;
use crate::local::RunTag;
use crate::pack::PackWriter;
use crate::record::{Run, Seal, SealingIdentity, SegmentRecord, Signed, run_id};
use crate::repository::Repository;
use crate::seal::RunKey;
use crate::sign::{Signer, random};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

const RUN_BYTES_MAX: u64 = 1 << 30;
const RUN_AGE_MAX_MS: u64 = 60_000;

/// A run in the making.
pub struct OpenRun {
    pub ordinal: u64,
    pub id: RunId,
    nonce: [u8; 32],
    key: Option<RunKey>,
    seal: Option<Seal>,
    started_ms: u64,
    retired: AtomicBool,
    state: Mutex<Filling>,
}

#[derive(Default)]
struct Filling {
    segments: Vec<Option<(SegmentRecord, u32)>>,
    outstanding: u32,
    bytes: u64,
}

impl OpenRun {
    pub fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed)
    }

    pub fn key(&self) -> Option<&RunKey> {
        self.key.as_ref()
    }

    fn state(&self) -> MutexGuard<'_, Filling> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A run that was closed, with the length of each segment's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosedRun {
    pub ordinal: u64,
    pub id: RunId,
    pub record: RecordId,
    pub content_lens: Vec<u32>,
}

/// Who writes, and for whom it is sealed.
pub struct Writer {
    pub node: String,
    pub signer: Arc<Signer>,
    pub sealing: Option<(SealingKey, Signed<SealingIdentity>)>,
    pub export: ExportId,
}

struct Inner {
    packs: PackWriter,
    current: Arc<OpenRun>,
    retired: Vec<Arc<OpenRun>>,
    closed: Vec<ClosedRun>,
    next_ordinal: u64,
    stored_bytes: u64,
}

pub struct Runs {
    repository: Arc<Repository>,
    writer: Writer,
    inner: Mutex<Inner>,
    /// Tags and ordinals of all runs that were begun or adopted.
    names: RwLock<Vec<(RunTag, u64)>>,
}

/// What a last run that is small leaves: to be published in one object with the snapshot.
pub struct Held {
    pub run: Signed<Run>,
    pub items: Vec<Item>,
    pub bytes: Vec<u8>,
}

impl Runs {
    /// Begins. Runs that an unfinished export before this one closed are `adopted`: what they hold need not be written again.
    pub fn new(repository: Arc<Repository>, writer: Writer, next_ordinal: u64, adopted: Vec<ClosedRun>, now_ms: u64) -> Runs {
        let mut names: Vec<_> = adopted.iter().map(|run| (run.id.tag(), run.ordinal)).collect();
        let current = Arc::new(new_run(&writer, next_ordinal, now_ms));
        let inner = Inner {
            packs: PackWriter::default(),
            current,
            retired: vec![],
            closed: adopted,
            next_ordinal: next_ordinal + 1,
            stored_bytes: 0,
        };
        names.push((inner.current.id.tag(), next_ordinal));
        Runs { repository, writer, inner: Mutex::new(inner), names: RwLock::new(names) }
    }

    pub fn ordinal_of(&self, tag: RunTag) -> Option<u64> {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        names.iter().find(|(known, _)| *known == tag).map(|(_, ordinal)| *ordinal)
    }

    pub fn tag_of(&self, ordinal: u64) -> Option<RunTag> {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        names.iter().find(|(_, known)| *known == ordinal).map(|(tag, _)| *tag)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn writer(&self) -> &Writer {
        &self.writer
    }

    /// Begins a segment: in which run, and its number there. Each one that is begun must be finished.
    pub fn begin_segment(&self) -> (Arc<OpenRun>, u32) {
        let run = self.inner().current.clone();
        let mut state = run.state();
        state.segments.push(None);
        state.outstanding += 1;
        let sequence = state.segments.len() as u32 - 1;
        drop(state);
        (run, sequence)
    }

    /// Puts a sealed segment into a pack.
    pub fn finish_segment(&self, run: &OpenRun, sequence: u32, item: &[u8], hash: Hash, content_len: u32) -> Result<()> {
        let mut inner = self.inner();
        inner.packs.segment(&self.repository, Address { run: run.id, sequence }, item)?;
        inner.stored_bytes += item.len() as u64;
        let mut state = run.state();
        state.segments[sequence as usize] = Some((SegmentRecord { len: item.len() as u32, hash }, content_len));
        state.outstanding -= 1;
        state.bytes += item.len() as u64;
        Ok(())
    }

    /// Retires the current run when it is due.
    pub fn retire_due(&self, now_ms: u64) {
        let mut inner = self.inner();
        let old = inner.current.clone();
        let due = {
            let state = old.state();
            !state.segments.is_empty() && (state.bytes >= RUN_BYTES_MAX || now_ms.saturating_sub(old.started_ms) >= RUN_AGE_MAX_MS)
        };
        if !due {
            return;
        }
        let next = Arc::new(new_run(&self.writer, inner.next_ordinal, now_ms));
        inner.next_ordinal += 1;
        self.names.write().unwrap_or_else(PoisonError::into_inner).push((next.id.tag(), next.ordinal));
        inner.current = next;
        old.retired.store(true, Ordering::Relaxed);
        inner.retired.push(old);
    }

    /// Closes a run that was retired and is whole. Says whether there was one. One at a time: the caller writes down each before the next, so that whoever stops here has
    /// lost one at most.
    pub fn close_one(&self, now_ms: u64) -> Result<bool> {
        let mut inner = self.inner();
        let Some(ready) = inner.retired.iter().position(|run| run.state().outstanding == 0) else { return Ok(false) };
        let run = inner.retired.remove(ready);
        self.close(&mut inner, &run, now_ms).map(|()| true)
    }

    fn close(&self, inner: &mut Inner, run: &OpenRun, now_ms: u64) -> Result<()> {
        self.finish_packs(inner)?;
        let (signed, done) = self.sign(run, now_ms)?;
        self.repository.publish_run(&signed)?;
        inner.stored_bytes += signed.item.len() as u64;
        inner.closed.push(done);
        Ok(())
    }

    fn finish_packs(&self, inner: &mut Inner) -> Result<()> {
        if inner.packs.is_empty() {
            return Ok(());
        }
        if let Some((_, identity)) = &self.writer.sealing {
            inner.packs.record(&self.repository, crate::record::RecordKind::Identity, &identity.item)?;
        }
        inner.packs.finish(&self.repository)
    }

    fn sign(&self, run: &OpenRun, now_ms: u64) -> Result<(Signed<Run>, ClosedRun)> {
        let config = self.repository.config();
        let segments: Option<Vec<_>> = run.state().segments.iter().copied().collect();
        let segments =
            segments.ok_or_else(|| Error::refused(format!("run {}", run.id), "it was closed before all its segments were written"))?;
        let content_lens = segments.iter().map(|(_, len)| *len).collect();
        let body = Run {
            cluster: config.cluster.clone(),
            dataset: config.dataset.clone(),
            node: self.writer.node.clone(),
            id: run.id,
            nonce: run.nonce,
            export: self.writer.export,
            started_ms: run.started_ms,
            closed_ms: now_ms,
            seal: run.seal.clone(),
            segments: segments.into_iter().map(|(record, _)| record).collect(),
        };
        let signed = Signed::sign(body, &self.writer.signer);
        let closed = ClosedRun { ordinal: run.ordinal, id: run.id, record: signed.id(), content_lens };
        Ok((signed, closed))
    }

    /// The runs that were closed so far.
    pub fn closed(&self) -> Vec<ClosedRun> {
        self.inner().closed.clone()
    }

    /// Closes the last run; those that were retired are closed already. When all of this export is one small run, gives it back unpublished, if `small` allows it.
    pub fn finish(&self, now_ms: u64, small: u64) -> Result<Finished> {
        let mut inner = self.inner();
        let alone = inner.closed.is_empty() && inner.retired.is_empty();
        let last = inner.current.clone();
        if alone
            && inner.stored_bytes < small
            && let Some((items, bytes)) = inner.packs.take_held()
        {
            let (run, closed) = self.sign(&last, now_ms)?;
            inner.closed.push(closed);
            let stored_bytes = inner.stored_bytes + run.item.len() as u64;
            return Ok(Finished {
                last,
                closed: inner.closed.clone(),
                held: Some(Held { run, items, bytes }),
                stored_bytes,
                next_ordinal: inner.next_ordinal,
            });
        }
        if !inner.retired.is_empty() {
            return Err(Error::refused("the export", "segments were begun and not finished"));
        }
        self.close(&mut inner, &last, now_ms)?;
        let (closed, stored_bytes) = (inner.closed.clone(), inner.stored_bytes);
        Ok(Finished { last, closed, held: None, stored_bytes, next_ordinal: inner.next_ordinal })
    }
}

/// What became of an export's runs.
pub struct Finished {
    /// The run that seals the root.
    pub last: Arc<OpenRun>,
    pub closed: Vec<ClosedRun>,
    pub held: Option<Held>,
    pub stored_bytes: u64,
    pub next_ordinal: u64,
}

fn new_run(writer: &Writer, ordinal: u64, now_ms: u64) -> OpenRun {
    let nonce = random();
    let key = writer.sealing.as_ref().map(|_| RunKey(random()));
    let seal = writer.sealing.as_ref().zip(key.as_ref()).map(|((sealing, _), key)| sealing.wrap(key));
    OpenRun {
        ordinal,
        id: run_id(&writer.signer.public(), &nonce),
        nonce,
        key,
        seal,
        started_ms: now_ms,
        retired: AtomicBool::new(false),
        state: Mutex::default(),
    }
}

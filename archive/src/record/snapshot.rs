//! A snapshot: the dataset as it was at one time. In the clear what a keyless receiver must know; sealed the rest.

use super::{Body, RecordKind, take_name};
use crate::encode::{Malformed, Put, Take, Taken};
use crate::id::{ExportId, RecordId, RunId, SnapshotId};

/// Segments `first .. first + count` of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveRange {
    pub first: u32,
    pub count: u32,
}

/// A run that a snapshot uses. The ordinal is what extents call it; it is never renumbered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunUse {
    pub ordinal: u64,
    pub run: RunId,
    /// The id of the run's record: whoever signed it cannot show another instead.
    pub record: RecordId,
    pub live: Vec<LiveRange>,
}

impl RunUse {
    pub fn holds(&self, sequence: u32) -> bool {
        let after = self.live.partition_point(|range| range.first <= sequence);
        after > 0 && sequence - self.live[after - 1].first < self.live[after - 1].count
    }

    pub fn sequences(&self) -> impl Iterator<Item = u32> + '_ {
        self.live.iter().flat_map(|range| range.first..range.first + range.count)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub cluster: String,
    pub dataset: String,
    pub node: String,
    pub epoch: u64,
    pub sequence: u64,
    pub previous: SnapshotId,
    pub base: SnapshotId,
    pub export: ExportId,
    pub started_ms: u64,
    pub captured_ms: u64,
    pub entries: u64,
    pub content_bytes: u64,
    pub stored_bytes: u64,
    pub sealed: bool,
    pub key_ordinal: u64,
    pub runs: Vec<RunUse>,
    pub salt: [u8; 16],
    pub root: Vec<u8>,
}

impl Snapshot {
    /// Everything before the root: what its seal binds.
    pub fn bound(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for name in [&self.cluster, &self.dataset, &self.node] {
            out.bytes(name.as_bytes());
        }
        out.varint(self.epoch);
        out.varint(self.sequence);
        out.raw(&self.previous.0);
        out.raw(&self.base.0);
        out.raw(&self.export.0);
        for number in [self.started_ms, self.captured_ms, self.entries, self.content_bytes, self.stored_bytes] {
            out.varint(number);
        }
        out.raw(&[self.sealed.into()]);
        out.varint(self.key_ordinal);
        out.varint(self.runs.len() as u64);
        let mut last = 0;
        for run in &self.runs {
            out.varint(run.ordinal - last);
            last = run.ordinal;
            out.raw(&run.run.0);
            out.raw(&run.record.0);
            put_ranges(&run.live, &mut out);
        }
        out.raw(&self.salt);
        out
    }

    pub fn run(&self, ordinal: u64) -> Option<&RunUse> {
        self.runs.binary_search_by_key(&ordinal, |run| run.ordinal).ok().map(|index| &self.runs[index])
    }
}

fn put_ranges(live: &[LiveRange], out: &mut Vec<u8>) {
    out.varint(live.len() as u64);
    let mut end = 0;
    for range in live {
        out.varint(u64::from(range.first - end));
        out.varint(u64::from(range.count));
        end = range.first + range.count;
    }
}

fn take_ranges(take: &mut Take<'_>) -> Taken<Vec<LiveRange>> {
    let count = take.count(2)?;
    let mut end = 0u32;
    let mut live = Vec::with_capacity(count);
    for index in 0..count {
        let (gap, count) = (take.varint_u32()?, take.varint_u32()?);
        if count == 0 || (index > 0 && gap == 0) {
            return Err(Malformed("a live range is empty or touches another"));
        }
        let first = end.checked_add(gap).ok_or(Malformed("a live range is out of bounds"))?;
        end = first.checked_add(count).ok_or(Malformed("a live range is out of bounds"))?;
        live.push(LiveRange { first, count });
    }
    Ok(live)
}

fn take_runs(take: &mut Take<'_>) -> Taken<Vec<RunUse>> {
    let count = take.count(34)?;
    let mut runs: Vec<RunUse> = Vec::with_capacity(count);
    for _ in 0..count {
        let step = take.varint()?;
        let ordinal = match runs.last() {
            None => step,
            Some(_) if step == 0 => return Err(Malformed("two runs have one ordinal")),
            Some(last) => last.ordinal.checked_add(step).ok_or(Malformed("a number is too large"))?,
        };
        runs.push(RunUse { ordinal, run: RunId(take.array()?), record: RecordId(take.array()?), live: take_ranges(take)? });
    }
    let mut ids: Vec<RunId> = runs.iter().map(|run| run.run).collect();
    ids.sort_unstable();
    if ids.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(Malformed("a run is listed twice"));
    }
    Ok(runs)
}

impl Body for Snapshot {
    const KIND: RecordKind = RecordKind::Snapshot;

    fn put(&self, out: &mut Vec<u8>) {
        out.raw(&self.bound());
        out.bytes(&self.root);
    }

    fn take(take: &mut Take<'_>) -> Taken<Self> {
        let snapshot = Snapshot {
            cluster: take_name(take)?,
            dataset: take_name(take)?,
            node: take_name(take)?,
            epoch: take.varint_u32()?.into(),
            sequence: take.varint()?,
            previous: SnapshotId(take.array()?),
            base: SnapshotId(take.array()?),
            export: ExportId(take.array()?),
            started_ms: take.varint()?,
            captured_ms: take.varint()?,
            entries: take.varint()?,
            content_bytes: take.varint()?,
            stored_bytes: take.varint()?,
            sealed: take.flag()?,
            key_ordinal: take.varint()?,
            runs: take_runs(take)?,
            salt: take.array()?,
            root: take.bytes()?.to_vec(),
        };
        if snapshot.run(snapshot.key_ordinal).is_none() {
            return Err(Malformed("the run that seals the root is not listed"));
        }
        Ok(snapshot)
    }
}

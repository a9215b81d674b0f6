//! A heartbeat: the dataset was looked at and had not changed, so that the age of the data stays known.

use super::{Body, RecordKind, take_name};
use crate::encode::{Put, Take, Taken};
use crate::id::SnapshotId;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    pub cluster: String,
    pub dataset: String,
    pub node: String,
    pub epoch: u64,
    pub snapshot: SnapshotId,
    pub counter: u64,
    pub time_ms: u64,
}

impl Body for Heartbeat {
    const KIND: RecordKind = RecordKind::Heartbeat;

    fn put(&self, out: &mut Vec<u8>) {
        for name in [&self.cluster, &self.dataset, &self.node] {
            out.bytes(name.as_bytes());
        }
        out.varint(self.epoch);
        out.raw(&self.snapshot.0);
        out.varint(self.counter);
        out.varint(self.time_ms);
    }

    fn take(take: &mut Take<'_>) -> Taken<Self> {
        Ok(Heartbeat {
            cluster: take_name(take)?,
            dataset: take_name(take)?,
            node: take_name(take)?,
            epoch: take.varint_u32()?.into(),
            snapshot: SnapshotId(take.array()?),
            counter: take.varint()?,
            time_ms: take.varint()?,
        })
    }
}

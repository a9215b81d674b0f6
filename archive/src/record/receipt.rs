//! A receipt: when a receiver first held a snapshot. Retention goes by receipts, never by times that an exporter claims.

use super::{Body, RecordKind, take_name};
use crate::encode::{Put, Take, Taken};
use crate::id::SnapshotId;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    pub cluster: String,
    pub dataset: String,
    pub snapshot: SnapshotId,
    pub epoch: u64,
    pub sequence: u64,
    pub received_ms: u64,
}

impl Body for Receipt {
    const KIND: RecordKind = RecordKind::Receipt;

    fn put(&self, out: &mut Vec<u8>) {
        out.bytes(self.cluster.as_bytes());
        out.bytes(self.dataset.as_bytes());
        out.raw(&self.snapshot.0);
        out.varint(self.epoch);
        out.varint(self.sequence);
        out.varint(self.received_ms);
    }

    fn take(take: &mut Take<'_>) -> Taken<Self> {
        Ok(Receipt {
            cluster: take_name(take)?,
            dataset: take_name(take)?,
            snapshot: SnapshotId(take.array()?),
            epoch: take.varint_u32()?.into(),
            sequence: take.varint()?,
            received_ms: take.varint()?,
        })
    }
}

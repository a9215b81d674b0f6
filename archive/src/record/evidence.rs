//! Evidence that a snapshot restores: an import or a drill, and how it went.

use super::{Body, RecordKind, take_name};
use crate::encode::{Malformed, Put, Take, Taken};
use crate::id::SnapshotId;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvidenceKind {
    Import,
    Drill,
}

impl EvidenceKind {
    pub fn word(self) -> &'static str {
        match self {
            EvidenceKind::Import => "import",
            EvidenceKind::Drill => "drill",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    pub cluster: String,
    pub dataset: String,
    pub node: String,
    pub snapshot: SnapshotId,
    pub kind: EvidenceKind,
    pub started_ms: u64,
    pub finished_ms: u64,
    pub good: bool,
    pub text: String,
}

impl Body for Evidence {
    const KIND: RecordKind = RecordKind::Evidence;

    fn put(&self, out: &mut Vec<u8>) {
        for name in [&self.cluster, &self.dataset, &self.node] {
            out.bytes(name.as_bytes());
        }
        out.raw(&self.snapshot.0);
        out.raw(&[match self.kind {
            EvidenceKind::Import => 1,
            EvidenceKind::Drill => 2,
        }]);
        out.varint(self.started_ms);
        out.varint(self.finished_ms);
        out.raw(&[self.good.into()]);
        out.bytes(self.text.as_bytes());
    }

    fn take(take: &mut Take<'_>) -> Taken<Self> {
        Ok(Evidence {
            cluster: take_name(take)?,
            dataset: take_name(take)?,
            node: take_name(take)?,
            snapshot: SnapshotId(take.array()?),
            kind: match take.u8()? {
                1 => EvidenceKind::Import,
                2 => EvidenceKind::Drill,
                _ => return Err(Malformed("it is evidence of an unknown kind")),
            },
            started_ms: take.varint()?,
            finished_ms: take.varint()?,
            good: take.flag()?,
            text: take.text()?,
        })
    }
}

//! A run: a batch of segments that one node wrote under one key.

use super::{Body, RecordKind, take_name};
use crate::digest::sha256_of;
use crate::encode::{Malformed, Put, Take, Taken};
use crate::id::{ExportId, Hash, IdentityId, RunId};
use crate::sign::PublicKey;

/// Which sealing identity opens the run key, and the key as age wrapped it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal {
    pub identity: IdentityId,
    pub wrapped_key: Vec<u8>,
}

/// A segment as the run vouches for it: the whole item, header included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentRecord {
    pub len: u32,
    pub hash: Hash,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    pub cluster: String,
    pub dataset: String,
    pub node: String,
    pub id: RunId,
    pub nonce: [u8; 32],
    pub export: ExportId,
    pub started_ms: u64,
    pub closed_ms: u64,
    pub seal: Option<Seal>,
    pub segments: Vec<SegmentRecord>,
}

/// The id of the run that this signer makes with this nonce: nobody can make a run with another's id.
pub fn run_id(signer: &PublicKey, nonce: &[u8; 32]) -> RunId {
    RunId::of(&sha256_of(&[b"resilient 1 run id\n", &signer.0, nonce]).0)
}

impl Body for Run {
    const KIND: RecordKind = RecordKind::Run;

    fn put(&self, out: &mut Vec<u8>) {
        for name in [&self.cluster, &self.dataset, &self.node] {
            out.bytes(name.as_bytes());
        }
        out.raw(&self.id.0);
        out.raw(&self.nonce);
        out.raw(&self.export.0);
        out.varint(self.started_ms);
        out.varint(self.closed_ms);
        out.raw(&[self.seal.is_some().into()]);
        if let Some(seal) = &self.seal {
            out.raw(&seal.identity.0);
            out.bytes(&seal.wrapped_key);
        }
        out.varint(self.segments.len() as u64);
        for segment in &self.segments {
            out.raw(&segment.len.to_le_bytes());
            out.raw(&segment.hash.0);
        }
    }

    fn take(take: &mut Take<'_>) -> Taken<Self> {
        let (cluster, dataset, node) = (take_name(take)?, take_name(take)?, take_name(take)?);
        let (id, nonce, export) = (RunId(take.array()?), take.array()?, ExportId(take.array()?));
        let (started_ms, closed_ms) = (take.varint()?, take.varint()?);
        let seal = match take.flag()? {
            true => Some(Seal { identity: IdentityId(take.array()?), wrapped_key: take.bytes()?.to_vec() }),
            false => None,
        };
        let count = take.count(36)?;
        let segments = (0..count)
            .map(|_| Ok(SegmentRecord { len: take.u32()?, hash: take.hash()? }))
            .collect::<Taken<Vec<_>>>()?;
        if u32::try_from(segments.len()).is_err() {
            return Err(Malformed("a run has too many segments"));
        }
        Ok(Run { cluster, dataset, node, id, nonce, export, started_ms, closed_ms, seal, segments })
    }
}

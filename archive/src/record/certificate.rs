//! A node certificate: the cluster key says that a signing key belongs to a node.

use super::{Body, RecordKind, take_name};
use crate::encode::{Put, Take, Taken};
use crate::sign::PublicKey;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    pub cluster: String,
    pub node: String,
    pub key: PublicKey,
    pub issued_ms: u64,
}

impl Body for Certificate {
    const KIND: RecordKind = RecordKind::Certificate;

    fn put(&self, out: &mut Vec<u8>) {
        out.bytes(self.cluster.as_bytes());
        out.bytes(self.node.as_bytes());
        out.raw(&self.key.0);
        out.varint(self.issued_ms);
    }

    fn take(take: &mut Take<'_>) -> Taken<Self> {
        Ok(Certificate {
            cluster: take_name(take)?,
            node: take_name(take)?,
            key: PublicKey(take.array()?),
            issued_ms: take.varint()?,
        })
    }
}

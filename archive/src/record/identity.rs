//! A sealing identity: what run keys are wrapped to for a month. Its private half is here only as age wrapped it for the recipients.

use super::{Body, RecordKind, take_name};
use crate::digest::sha256;
use crate::encode::{Malformed, Put, Take, Taken};
use crate::id::IdentityId;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealingIdentity {
    pub cluster: String,
    pub dataset: String,
    pub node: String,
    pub id: IdentityId,
    pub generation: u64,
    /// `age1…`
    pub public: String,
    pub created_ms: u64,
    /// For whom this generation was wrapped.
    pub recipients: Vec<String>,
    pub wrapped: Vec<u8>,
}

impl SealingIdentity {
    pub fn id_of(public: &str) -> IdentityId {
        IdentityId::of(&sha256(public.as_bytes()).0)
    }
}

impl Body for SealingIdentity {
    const KIND: RecordKind = RecordKind::Identity;

    fn put(&self, out: &mut Vec<u8>) {
        for name in [&self.cluster, &self.dataset, &self.node] {
            out.bytes(name.as_bytes());
        }
        out.raw(&self.id.0);
        out.varint(self.generation);
        out.bytes(self.public.as_bytes());
        out.varint(self.created_ms);
        out.varint(self.recipients.len() as u64);
        for recipient in &self.recipients {
            out.bytes(recipient.as_bytes());
        }
        out.bytes(&self.wrapped);
    }

    fn take(take: &mut Take<'_>) -> Taken<Self> {
        let (cluster, dataset, node) = (take_name(take)?, take_name(take)?, take_name(take)?);
        let (id, generation, public) = (IdentityId(take.array()?), take.varint()?, take.text()?);
        let created_ms = take.varint()?;
        let count = take.count(1)?;
        let recipients = (0..count).map(|_| take.text()).collect::<Taken<Vec<_>>>()?;
        let wrapped = take.bytes()?.to_vec();
        if id != Self::id_of(&public) {
            return Err(Malformed("the sealing identity's id is not that of its public half"));
        }
        if generation == 0 {
            return Err(Malformed("generations are counted from 1"));
        }
        Ok(SealingIdentity { cluster, dataset, node, id, generation, public, created_ms, recipients, wrapped })
    }
}

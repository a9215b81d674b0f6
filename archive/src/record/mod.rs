//! Records: what nodes and receivers sign. FORMAT.md §§2 and 4.
//!
//! A record is read in two steps: its frame and signature (`Signed::parse`), which prove who wrote it, and then whether that signer
//! counts (`Trust`). Nothing here decides trust.

mod certificate;
mod evidence;
mod heartbeat;
mod identity;
mod receipt;
mod run;
mod snapshot;

pub use certificate::Certificate;
pub use evidence::{Evidence, EvidenceKind};
pub use heartbeat::Heartbeat;
pub use identity::SealingIdentity;
pub use receipt::Receipt;
pub use run::{Run, Seal, SegmentRecord, run_id};
pub use snapshot::{LiveRange, RunUse, Snapshot};

use crate::digest::sha256;
use crate::encode::{Malformed, Put, Take, Taken};
use crate::id::{Hash, RecordId};
use crate::sign::{PublicKey, Signer};

/// The kinds of records, by their number in the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum RecordKind {
    Run = 1,
    Snapshot = 2,
    Receipt = 3,
    Identity = 4,
    Certificate = 5,
    Heartbeat = 6,
    Evidence = 7,
}

impl RecordKind {
    pub fn from_number(number: u8) -> Option<Self> {
        use RecordKind::*;
        [Run, Snapshot, Receipt, Identity, Certificate, Heartbeat, Evidence]
            .into_iter()
            .find(|kind| *kind as u8 == number)
    }

    fn domain(self) -> &'static str {
        match self {
            RecordKind::Run => "resilient 1 run\n",
            RecordKind::Snapshot => "resilient 1 snapshot\n",
            RecordKind::Receipt => "resilient 1 receipt\n",
            RecordKind::Identity => "resilient 1 identity\n",
            RecordKind::Certificate => "resilient 1 certificate\n",
            RecordKind::Heartbeat => "resilient 1 heartbeat\n",
            RecordKind::Evidence => "resilient 1 evidence\n",
        }
    }
}

/// Bytes before the body, and behind it.
pub const FRAME: usize = 12;
pub const SIGNATURE: usize = 32 + 64;

/// What a record says.
pub trait Body: Sized {
    const KIND: RecordKind;

    fn put(&self, out: &mut Vec<u8>);
    fn take(take: &mut Take<'_>) -> Taken<Self>;
}

/// A record whose signature is right.
#[derive(Clone, Debug)]
pub struct Signed<B> {
    pub body: B,
    pub signer: PublicKey,
    /// The whole item, as it is stored and travels.
    pub item: Vec<u8>,
    pub hash: Hash,
}

/// The kind and the whole length of the record item that begins these bytes.
pub fn frame(bytes: &[u8]) -> Taken<(RecordKind, usize)> {
    let mut take = Take::new(bytes);
    if take.raw(4)? != b"RREC" {
        return Err(Malformed("it is not a record"));
    }
    if take.u8()? != 1 {
        return Err(Malformed("the record has a version from the future"));
    }
    let kind = RecordKind::from_number(take.u8()?).ok_or(Malformed("the record is of an unknown kind"))?;
    if take.raw(2)? != [0, 0] {
        return Err(Malformed("reserved bytes are not zero"));
    }
    let body = take.u32()? as usize;
    Ok((kind, FRAME + body + SIGNATURE))
}

impl<B: Body> Signed<B> {
    pub fn sign(body: B, signer: &Signer) -> Self {
        let mut item = Vec::new();
        item.raw(b"RREC");
        item.raw(&[1, B::KIND as u8, 0, 0, 0, 0, 0, 0]);
        body.put(&mut item);
        let len = (item.len() - FRAME) as u32;
        item[8..12].copy_from_slice(&len.to_le_bytes());
        item.raw(&signer.public().0);
        let signature = signer.sign(B::KIND.domain(), &item);
        item.raw(&signature);
        let hash = sha256(&item);
        Signed { body, signer: signer.public(), item, hash }
    }

    /// Reads a record item and checks its signature. The bytes must be the item and nothing else.
    pub fn parse(item: &[u8]) -> Taken<Self> {
        let (kind, len) = frame(item)?;
        if kind != B::KIND {
            return Err(Malformed("the record is of another kind"));
        }
        if len != item.len() {
            return Err(Malformed("the record has another length than it says"));
        }
        let signed = item.len() - 64;
        let signer = PublicKey(item[signed - 32..signed].try_into().expect("32 bytes were cut"));
        if !signer.verifies(kind.domain(), &item[..signed], &item[signed..]) {
            return Err(Malformed("the signature is wrong"));
        }
        let mut take = Take::new(&item[FRAME..signed - 32]);
        let body = B::take(&mut take)?;
        take.end()?;
        Ok(Signed { body, signer, item: item.to_vec(), hash: sha256(item) })
    }

    pub fn id(&self) -> RecordId {
        RecordId::of(&self.hash.0)
    }
}

/// A name of a cluster, dataset or node: what can stand in a path and a message.
pub fn valid_name(name: &str) -> bool {
    let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=64).contains(&name.len()) && name.chars().all(inside) && !name.starts_with(['.', '-'])
}

pub(crate) fn take_name(take: &mut Take<'_>) -> Taken<String> {
    let name = take.text()?;
    if valid_name(&name) { Ok(name) } else { Err(Malformed("a name has characters that no name has")) }
}

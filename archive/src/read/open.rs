//! A snapshot, proven and opened: its signer counts, its runs are those it lists, their keys open, and what extents may name is fixed.

use super::assemble;
use super::list::collect;
use super::segments::{Recent, Segments, Workspace};
use crate::digest;
use crate::encode::Take;
use crate::entry::{Entry, EntryDecoder};
use crate::error::{Error, Result};
use crate::id::{Address, IdentityId, SnapshotId};
use crate::identity::Keyring;
use crate::record::{Run, RunUse, SealingIdentity, Signed, Snapshot};
use crate::repository::{Known, Repository};
use crate::root::Root;
use crate::seal::{self, Decoder, RunKey};
use crate::trust::{Standing, Trust};
use std::collections::HashSet;

/// A run that a snapshot uses, with the key that opens it.
struct OpenRun {
    used: RunUse,
    run: Run,
    key: Option<RunKey>,
}

pub struct OpenSnapshot<'r> {
    repository: &'r Repository,
    pub snapshot: Signed<Snapshot>,
    pub root: Root,
    pub standing: Standing,
    /// By ordinal.
    runs: Vec<OpenRun>,
}

/// Room for a billion entries. An index that says it is longer is not assembled, for it may be the same segment again and again.
const INDEX_MAX: u64 = 64 << 30;
/// An index of more bytes than this goes through a scratch file.
const INDEX_IN_MEMORY: u64 = 24 << 20;

impl<'r> OpenSnapshot<'r> {
    pub fn open(repository: &'r Repository, known: &Known, trust: &Trust, keyring: &mut Keyring) -> Result<Self> {
        let snapshot = repository.snapshot(known)?;
        let certified = repository.certified(trust)?;
        let body = &snapshot.body;
        let standing = trust.standing(&certified, &snapshot.signer, &body.node, &known.name)?;
        let mut runs = Vec::with_capacity(body.runs.len());
        for used in &body.runs {
            let run = repository.run(used)?;
            trust.standing(&certified, &run.signer, &run.body.node, &format!("run {}", used.run))?;
            if run.body.seal.is_some() != body.sealed {
                return Err(Error::refused(format!("run {}", used.run), "it is sealed and its snapshot is not, or the other way"));
            }
            let key = open_run(repository, &run, trust, keyring)?;
            runs.push(OpenRun { used: used.clone(), run: run.body, key });
        }
        let root = open_root(&snapshot, &runs, known)?;
        Ok(OpenSnapshot { repository, snapshot, root, standing, runs })
    }

    pub fn id(&self) -> SnapshotId {
        SnapshotId::of(&self.snapshot.hash.0)
    }

    pub fn repository(&self) -> &'r Repository {
        self.repository
    }

    /// Whether all that it uses can be opened by these, and was never wrapped for anybody else; by none of them: whether it is unsealed.
    pub(crate) fn is_sealed_for(&self, recipients: Option<&[String]>, trust: &Trust) -> Result<bool> {
        let Some(recipients) = recipients.filter(|_| self.snapshot.body.sealed) else {
            return Ok(recipients.is_none() && !self.snapshot.body.sealed);
        };
        let wanted: HashSet<&String> = recipients.iter().collect();
        let certified = self.repository.certified(trust)?;
        let identities: HashSet<IdentityId> = self.runs.iter().filter_map(|run| Some(run.run.seal.as_ref()?.identity)).collect();
        for id in identities {
            let mut records = self.repository.sealing_identities(id)?;
            records.retain(|record| trust.standing(&certified, &record.signer, &record.body.node, &id).is_ok());
            let all: HashSet<&String> = records.iter().flat_map(|record| &record.body.recipients).collect();
            let for_all = |record: &Signed<SealingIdentity>| wanted.iter().all(|recipient| record.body.recipients.contains(recipient));
            if all != wanted || !records.iter().any(for_all) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Calls `each` for every entry, in order. The index's digest is checked before the first.
    pub fn entries(&self, threads: usize, each: &mut dyn FnMut(Entry) -> Result<()>) -> Result<()> {
        let mut recent = Recent::new(self, 4);
        let len = self.root.index_len;
        if len > INDEX_MAX {
            return Err(Error::refused("the index", "it is longer than any index is"));
        }
        let extents =
            collect(&self.root.index, &mut recent, len)?.ok_or_else(|| Error::refused("the index", "it lies in too many pieces"))?;
        drop(recent);
        if extents.iter().any(|extent| extent.place.is_none()) {
            return Err(Error::damaged("the index", "it has a hole in it"));
        }
        if len <= INDEX_IN_MEMORY {
            let bytes = assemble::to_memory(self, &extents, threads)?;
            return self.decode_entries(&bytes, each);
        }
        let file = assemble::to_scratch(self, &extents, &std::env::temp_dir(), threads)?;
        // SAFETY: the file has no name, so nobody else changes it.
        let mapped = unsafe { memmap2::Mmap::map(&file) }.map_err(Error::store("map", "the index"))?;
        self.decode_entries(&mapped, each)
    }

    fn decode_entries(&self, bytes: &[u8], each: &mut dyn FnMut(Entry) -> Result<()>) -> Result<()> {
        if digest::of_content(bytes) != self.root.index_digest {
            return Err(Error::damaged("the index", "its digest is not that of the snapshot"));
        }
        let (mut take, mut decoder) = (Take::new(bytes), EntryDecoder::default());
        while !take.is_empty() {
            let entry = decoder.next(&mut take).map_err(|why| Error::refused("the index", why))?;
            each(entry)?;
        }
        Ok(())
    }
}

fn open_run(repository: &Repository, run: &Signed<Run>, trust: &Trust, keyring: &mut Keyring) -> Result<Option<RunKey>> {
    let Some(seal) = &run.body.seal else { return Ok(None) };
    if !keyring.has(seal.identity) {
        let certified = repository.certified(trust)?;
        let records = repository.sealing_identities(seal.identity)?;
        if records.is_empty() {
            return Err(Error::Missing { name: format!("sealing identity {}", seal.identity) });
        }
        // Another generation may be good where one is not: whoever can add a file must not be able to lock anyone out.
        let mut refused = None;
        for record in records {
            let standing = trust.standing(&certified, &record.signer, &record.body.node, &format!("sealing identity {}", seal.identity));
            match standing.and_then(|_| keyring.open_sealing_identity(&record.body)) {
                Ok(true) => break,
                Ok(false) => {}
                Err(error) => refused = Some(error),
            }
        }
        if let Some(error) = refused.filter(|_| !keyring.has(seal.identity)) {
            return Err(error);
        }
    }
    match keyring.run_key(run)? {
        Some(key) => Ok(Some(key)),
        None => Err(Error::Sealed { name: format!("run {}", run.body.id) }),
    }
}

fn open_root(snapshot: &Signed<Snapshot>, runs: &[OpenRun], known: &Known) -> Result<Root> {
    let body = &snapshot.body;
    let damaged = |why| Error::damaged(&known.name, why);
    let run = runs
        .iter()
        .find(|run| run.used.ordinal == body.key_ordinal)
        .expect("a parsed snapshot lists its key run");
    let plain = match &run.key {
        Some(key) => seal::open_root(&body.root, key, &body.salt, body.export, &body.bound()).map_err(damaged)?,
        None => body.root.clone(),
    };
    let mut content = Vec::new();
    Decoder::default().decode(&plain, &mut content).map_err(damaged)?;
    Root::parse(&content).map_err(damaged)
}

impl OpenSnapshot<'_> {
    /// The runs that it uses, each with the number of its segments.
    pub(crate) fn runs(&self) -> impl Iterator<Item = (&RunUse, usize)> {
        self.runs.iter().map(|run| (&run.used, run.run.segments.len()))
    }

    /// The plain form of a segment, and which one it is.
    pub(crate) fn plain<'w>(&self, ordinal: u64, sequence: u32, item: &'w mut Vec<u8>) -> Result<(Address, &'w [u8])> {
        let name = || format!("segment {sequence} of run number {ordinal}");
        let index = self.runs.binary_search_by_key(&ordinal, |run| run.used.ordinal);
        let run = index
            .map(|index| &self.runs[index])
            .map_err(|_| Error::refused(name(), "the snapshot does not list that run"))?;
        if !run.used.holds(sequence) {
            return Err(Error::refused(name(), "it is not in the snapshot's live ranges"));
        }
        let address = Address { run: run.run.id, sequence };
        let damaged = |why| Error::damaged(format!("segment {address}"), why);
        // Unsealed, only the hash proves anything. Sealed, the tag does; the hash is asked when the tag is wrong, for another copy may be good.
        let Some(key) = &run.key else {
            self.repository.verified_segment(&run.run, sequence, item)?;
            return Ok((address, seal::open_segment(item, None).map_err(damaged)?));
        };
        let read = self.repository.segment_item(address, item);
        let first = read.is_ok() && seal::header_is(item, address);
        if first && let Ok(len) = seal::open_segment(item, Some(key)).map(<[u8]>::len) {
            return Ok((address, &item[seal::HEADER..][..len]));
        }
        self.repository.verified_segment(&run.run, sequence, item)?;
        Ok((address, seal::open_segment(item, Some(key)).map_err(damaged)?))
    }
}

impl Segments for OpenSnapshot<'_> {
    fn content(&self, ordinal: u64, sequence: u32, workspace: &mut Workspace, out: &mut Vec<u8>) -> Result<()> {
        let Workspace { decoder, item } = workspace;
        let (address, plain) = self.plain(ordinal, sequence, item)?;
        decoder.decode(plain, out).map_err(|why| Error::damaged(format!("segment {address}"), why))
    }
}

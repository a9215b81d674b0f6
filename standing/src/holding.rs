//! What a repository holds, and how old that data is.
//!
//! The age is that of the newest snapshot that can be read, by the clear header that its node signed; a heartbeat that says that nothing changed since makes it
//! younger. What was damaged after it was verified counts for nothing and is named. No lock is taken: names are published whole, so whoever only looks at the
//! newest need not keep a sweep waiting, and a sweep must not make a dataset look ill.
//!
//! Looks are repeated every few seconds by daemons, so what did not change is not read again: that is told by the folders' times, where these are not so young
//! that a later change could bear the same.

use crate::error::{Error, Result};
use archive::id::SnapshotId;
use archive::name::{self, Position};
use archive::repository::{Known, Repository};
use archive::store::FolderStore;
use link::current::beat;
use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What counts of a snapshot's clear header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub id: SnapshotId,
    pub at: Position,
    pub captured_ms: u64,
    pub stored_bytes: u64,
}

/// A repository as it was looked at.
#[derive(Debug, Default)]
pub struct Holding {
    path: PathBuf,
    /// Oldest first.
    pub snapshots: Vec<Known>,
    /// The newest that can be read.
    pub newest: Option<Header>,
    /// When nothing had changed since the newest, as its node said last.
    pub beat_ms: Option<u64>,
    /// Snapshots above that which cannot be read, each with why.
    pub damaged: Vec<String>,
    headers: Mutex<HashMap<SnapshotId, Option<Header>>>,
}

/// So many of the newest are tried; more that are damaged need a person anyway.
const DAMAGED_MAX: usize = 8;
/// Snapshots whose bytes are counted where more wait.
const COUNTED_MAX: usize = 64;
/// A folder's time this young may be that of a later change as well.
const SETTLED_MS: u64 = 2_000;

impl Holding {
    fn look(path: &Path, before: Option<&Holding>) -> archive::Result<Holding> {
        let repository = open(path)?;
        let mut holding = Holding { path: path.into(), snapshots: repository.snapshots()?, ..Holding::default() };
        if let Some(before) = before {
            *holding.headers() = before.headers().clone();
            let here: Vec<SnapshotId> = holding.snapshots.iter().map(|known| known.id).collect();
            holding.headers().retain(|id, header| header.is_some() && here.contains(id));
        }
        for known in holding.snapshots.iter().rev().take(DAMAGED_MAX) {
            match repository.snapshot(known) {
                Ok(signed) => {
                    let (captured_ms, stored_bytes) = (signed.body.captured_ms, signed.body.stored_bytes);
                    holding.newest = Some(Header { id: known.id, at: known.at, captured_ms, stored_bytes });
                    break;
                }
                Err(error) => holding.damaged.push(link::pull::chain(&error)),
            }
        }
        if let Some(newest) = &holding.newest {
            holding.headers().insert(newest.id, Some(newest.clone()));
            holding.beat_ms = beat(&repository, newest.id)?;
        }
        Ok(holding)
    }

    fn headers(&self) -> MutexGuard<'_, HashMap<SnapshotId, Option<Header>>> {
        self.headers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the data that is newest here was as it is.
    pub fn captured_ms(&self) -> Option<u64> {
        let newest = self.newest.as_ref()?;
        Some(self.beat_ms.map_or(newest.captured_ms, |beat| beat.max(newest.captured_ms)))
    }

    /// The header of a snapshot by its position, when it is here.
    pub fn header(&self, at: Position, id: SnapshotId) -> Option<Header> {
        let index = self.snapshots.binary_search_by(|known| (known.at, known.id).cmp(&(at, id))).ok()?;
        self.read(&self.snapshots[index])
    }

    fn read(&self, known: &Known) -> Option<Header> {
        if let Some(header) = self.headers().get(&known.id) {
            return header.clone();
        }
        let signed = open(&self.path).and_then(|repository| repository.snapshot(known)).ok();
        let header = signed.map(|signed| Header {
            id: known.id,
            at: known.at,
            captured_ms: signed.body.captured_ms,
            stored_bytes: signed.body.stored_bytes,
        });
        self.headers().insert(known.id, header.clone());
        header
    }

    /// How many snapshots lie above a position, and what they added.
    pub fn above(&self, at: Option<Position>) -> (u64, u64) {
        let first = at.map_or(0, |at| self.snapshots.partition_point(|known| known.at <= at));
        let waiting = &self.snapshots[first..];
        let bytes = waiting
            .iter()
            .rev()
            .take(COUNTED_MAX)
            .filter_map(|known| self.read(known))
            .map(|header| header.stored_bytes);
        (waiting.len() as u64, bytes.sum())
    }
}

fn open(path: &Path) -> archive::Result<Repository> {
    let failed = |source| archive::Error::File { operation: "open", path: path.into(), source };
    Repository::open(Arc::new(FolderStore::open(path).map_err(failed)?))
}

type Stamp = [(u64, i64, i64); 2];

/// All repositories that a host looks at.
#[derive(Debug, Default)]
pub struct Holdings {
    seen: Mutex<HashMap<PathBuf, (Option<Stamp>, Arc<Holding>)>>,
}

impl Holdings {
    /// What a repository holds; `None` when there is none. A time that is not settled yet, by `now_ms`, is not relied on.
    pub fn of(&self, path: &Path, now_ms: u64) -> Result<Option<Arc<Holding>>> {
        let Some(stamp) = stamp(path)? else { return Ok(None) };
        let before = self.seen().get(path).cloned();
        if let Some((_, holding)) = before.as_ref().filter(|(seen, _)| *seen == Some(stamp)) {
            return Ok(Some(holding.clone()));
        }
        let holding = Holding::look(path, before.as_ref().map(|(_, holding)| &**holding)).map_err(|source| Error::Holding { source })?;
        let holding = Arc::new(holding);
        let youngest = stamp
            .iter()
            .map(|(_, seconds, nanos)| (*seconds).max(0) as u64 * 1000 + *nanos as u64 / 1_000_000)
            .max();
        let settled = youngest.is_some_and(|youngest| youngest + SETTLED_MS < now_ms);
        self.seen().insert(path.into(), (settled.then_some(stamp), holding.clone()));
        Ok(Some(holding))
    }

    fn seen(&self) -> MutexGuard<'_, HashMap<PathBuf, (Option<Stamp>, Arc<Holding>)>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stamp(path: &Path) -> Result<Option<Stamp>> {
    let failed = |source| Error::Holding { source: archive::Error::File { operation: "look at", path: path.into(), source } };
    match std::fs::metadata(path.join(name::CONFIG)) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    }
    let mut stamp = Stamp::default();
    for (folder, stamp) in [name::SNAPSHOTS, name::HEARTBEATS].iter().zip(&mut stamp) {
        match std::fs::metadata(path.join(folder)) {
            Ok(found) => *stamp = (found.ino(), found.mtime(), found.mtime_nsec()),
            // It is made with what comes first into it.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(Some(stamp))
}

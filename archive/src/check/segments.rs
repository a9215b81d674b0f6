//! Segments against the hashes that their runs list: containers are read from front to back in large pieces, several threads at once, each with its own container.

use super::{CheckOptions, CheckReport, Finding, Part, Users, finding};
use crate::container::{Item, ItemKey};
use crate::digest::{self, sha256};
use crate::error::{Error, Result};
use crate::id::{Address, RunId, SnapshotId};
use crate::locate::read_items;
use crate::name;
use crate::record::Run;
use crate::repository::Repository;
use crate::roots::is_damage;
use crate::store::Listed;
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// How much is read at once; a piece is longer only by its last segment.
const PIECE: u32 = 4 << 20;
/// Hashes of no more segments than this are remembered by a thread.
const HASHES_MAX: usize = 64 << 10;

/// Whether a container belongs to a part.
fn is_in(part: Part, container: &str) -> bool {
    let hash = sha256(container.as_bytes()).0;
    let number = u64::from_le_bytes(hash[..8].try_into().expect("eight bytes were cut"));
    number % u64::from(part.of.max(1)) == u64::from(part.number)
}

pub fn check(repository: &Repository, users: &Users, part: Part, options: &CheckOptions<'_>, report: &mut CheckReport) -> Result<()> {
    let mut containers = Vec::new();
    for folder in [name::PACKS, name::SNAPSHOTS, name::QUARANTINE] {
        containers.extend(repository.list(folder)?.into_iter().filter(|listed| is_in(part, &listed.name)));
    }
    let (next, bytes_read) = (AtomicUsize::new(0), AtomicU64::new(0));
    let outcome: Mutex<Result<Vec<Finding>>> = Mutex::new(Ok(vec![]));
    let work = || {
        let mut reader = Reader { repository, users, runs: HashMap::new(), hashes: 0, piece: Vec::new() };
        while let Some(listed) = containers.get(next.fetch_add(1, Ordering::Relaxed)) {
            let mut advance = |bytes: u64| {
                bytes_read.fetch_add(bytes, Ordering::Relaxed);
                (options.advance)(bytes);
            };
            let found = reader.container(listed, &mut advance);
            let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
            match (found, &mut *outcome) {
                (Ok(found), Ok(all)) => all.extend(found),
                (Err(error), Ok(_)) => {
                    *outcome = Err(error);
                    next.store(containers.len(), Ordering::Relaxed);
                }
                (_, Err(_)) => {}
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..options.threads.max(1) {
            scope.spawn(work);
        }
        work();
    });
    report.findings.extend(outcome.into_inner().unwrap_or_else(PoisonError::into_inner)?);
    report.bytes_read = bytes_read.into_inner();
    Ok(())
}

struct Reader<'a> {
    repository: &'a Repository,
    users: &'a Users,
    /// `None`: its record cannot be had.
    runs: HashMap<RunId, Option<Arc<Run>>>,
    hashes: usize,
    piece: Vec<u8>,
}

/// What is wrong with a container.
#[derive(Default)]
struct Bad {
    segments: u64,
    first: Option<String>,
    snapshots: BTreeSet<SnapshotId>,
}

impl Reader<'_> {
    fn container(&mut self, listed: &Listed, advance: &mut dyn FnMut(u64)) -> Result<Option<Finding>> {
        let items = match read_items(self.repository.store(), listed) {
            Ok((items, _)) => items,
            Err(Error::Missing { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bad = Bad::default();
        let mut rest = &items[..];
        while let Some(first) = rest.first() {
            let count = rest.iter().take_while(|item| item.offset - first.offset < PIECE).count();
            let (now, later) = rest.split_at(count);
            rest = later;
            let end = now.last().map_or(0, |item| u64::from(item.offset) + u64::from(item.len));
            let len = (end - u64::from(first.offset)).min(u64::from(PIECE) * 2);
            let mut piece = std::mem::take(&mut self.piece);
            let read = self.repository.store().read(&listed.name, first.offset.into(), len as usize, &mut piece);
            if let Err(error) = &read {
                piece.clear();
                bad.first.get_or_insert(format!("it cannot be read: {error}"));
            }
            advance(piece.len() as u64);
            for item in now {
                let start = (item.offset - first.offset) as usize;
                let bytes = piece.get(start..start + item.len as usize).unwrap_or_default();
                self.item(item, bytes, &mut bad)?;
            }
            self.piece = piece;
        }
        Ok(bad
            .first
            .map(|first| finding(&listed.name, format!("{} segments are damaged, the first: {first}", bad.segments), bad.snapshots)))
    }

    fn item(&mut self, item: &Item, bytes: &[u8], bad: &mut Bad) -> Result<()> {
        let ItemKey::Segment(address) = item.key else { return Ok(()) };
        let Some(run) = self.run(address.run)? else { return Ok(()) };
        let why = match run.segments.get(address.sequence as usize) {
            None => "its run does not list it",
            Some(expected) if bytes.len() == expected.len as usize && digest::sha256(bytes) == expected.hash => return Ok(()),
            Some(_) => "its bytes are not those that were signed",
        };
        bad.segments += 1;
        bad.first.get_or_insert_with(|| format!("segment {address} at byte {}: {why}", item.offset));
        self.who_needs(address, &run, &mut bad.snapshots)
    }

    /// Nobody is harmed while another copy is whole.
    fn who_needs(&self, address: Address, run: &Run, out: &mut BTreeSet<SnapshotId>) -> Result<()> {
        match self.repository.verified_segment(run, address.sequence, &mut Vec::new()) {
            Ok(()) => {}
            Err(_) => self.users.need(address, out),
        }
        Ok(())
    }

    fn run(&mut self, id: RunId) -> Result<Option<Arc<Run>>> {
        if let Some(run) = self.runs.get(&id) {
            return Ok(run.clone());
        }
        let used = self.users.uses(id).next().map(|(_, used)| used);
        let read = match used {
            Some(used) => self.repository.run(used),
            None => self.repository.first_record::<Run>(&name::run(id)),
        };
        let run = match read {
            Ok(signed) => Some(Arc::new(signed.body)),
            Err(error) if is_damage(&error) => None,
            Err(error) => return Err(error),
        };
        self.hashes += run.as_ref().map_or(1, |run| run.segments.len() + 1);
        if self.hashes > HASHES_MAX {
            self.runs.clear();
            self.hashes = 0;
        }
        self.runs.insert(id, run.clone());
        Ok(run)
    }
}

//! A store that stops at an operation of one's choice, as a host that loses power does.
//!
//! Every operation counts one. At the chosen one the store stops: that operation happens wholly or not at all as `Crash` says, what was not durable is
//! lost, and every later call fails. `reopen` gives what a new process would find. Renames and removals are durable when they return;
//! whether one that was interrupted took place is what `Crash` says too.

use super::{Draft, Listed, MemoryStore, Store};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What becomes of the operation at which the store stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// Nothing of it happened.
    Before,
    /// It happened, but the caller never heard.
    After,
    /// It fails as on a full disk, and so do all that write after it; reading goes on.
    Full,
}

struct World {
    inner: MemoryStore,
    operations: AtomicU64,
    stop_at: u64,
    crash: Crash,
}

/// A `MemoryStore` that fails.
#[derive(Clone)]
pub struct Faulty {
    world: Arc<World>,
}

enum Step {
    Go,
    LastOne,
}

impl Faulty {
    /// Stops at operation number `stop_at`, counted from 0.
    pub fn new(inner: MemoryStore, stop_at: u64, crash: Crash) -> Self {
        Faulty { world: Arc::new(World { inner, operations: AtomicU64::new(0), stop_at, crash }) }
    }

    /// How many operations were begun.
    pub fn operations(&self) -> u64 {
        self.world.operations.load(Ordering::SeqCst)
    }

    /// Whether it stopped.
    pub fn stopped(&self) -> bool {
        self.operations() > self.world.stop_at
    }

    /// What is durable.
    pub fn reopen(&self) -> MemoryStore {
        self.world.inner.clone()
    }

    fn step(&self, writes: bool) -> io::Result<Step> {
        let number = self.world.operations.fetch_add(1, Ordering::SeqCst);
        let stop = self.world.stop_at;
        match self.world.crash {
            Crash::Full if number >= stop && writes => Err(io::ErrorKind::StorageFull.into()),
            Crash::Full => Ok(Step::Go),
            _ if number > stop => Err(io::Error::other("the host is down")),
            Crash::Before if number == stop => Err(io::Error::other("the host went down")),
            Crash::After if number == stop => Ok(Step::LastOne),
            _ => Ok(Step::Go),
        }
    }

    fn run<T>(&self, writes: bool, operation: impl FnOnce(&MemoryStore) -> io::Result<T>) -> io::Result<T> {
        let step = self.step(writes)?;
        let result = operation(&self.world.inner);
        match step {
            Step::Go => result,
            Step::LastOne => Err(io::Error::other("the host went down")),
        }
    }
}

struct FaultyDraft {
    store: Faulty,
    inner: Box<dyn Draft>,
}

impl Draft for FaultyDraft {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.store.step(true)?;
        self.inner.append(bytes)
    }

    fn publish(self: Box<Self>, name: &str) -> io::Result<()> {
        let FaultyDraft { store, inner } = *self;
        store.run(true, |_| inner.publish(name))
    }
}

impl Store for Faulty {
    fn list(&self, folder: &str) -> io::Result<Vec<Listed>> {
        self.run(false, |inner| inner.list(folder))
    }

    fn read(&self, name: &str, offset: u64, len: usize, out: &mut Vec<u8>) -> io::Result<()> {
        self.run(false, |inner| inner.read(name, offset, len, out))
    }

    fn draft(&self) -> io::Result<Box<dyn Draft>> {
        let inner = self.run(true, |inner| inner.draft())?;
        Ok(Box::new(FaultyDraft { store: self.clone(), inner }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.run(true, |inner| inner.rename(from, to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.run(true, |inner| inner.remove(name))
    }
}

#[cfg(test)]
mod tests {
    use super::super::conform;
    use super::*;

    #[test]
    fn a_store_that_never_fails_conforms() {
        conform::suite(&mut || (Box::new(Faulty::new(MemoryStore::default(), u64::MAX, Crash::Before)), Box::new(())));
        conform::suite(&mut || (Box::new(MemoryStore::default()), Box::new(())));
    }

    #[test]
    fn it_stops_where_it_is_told() {
        for crash in [Crash::Before, Crash::After, Crash::Full] {
            let faulty = Faulty::new(MemoryStore::default(), 2, crash);
            assert!(super::super::publish(&faulty, "runs/a", b"x").is_err());
            let there = faulty.reopen().list("runs").unwrap().len();
            assert_eq!(there, usize::from(crash == Crash::After), "{crash:?}");
            assert!(faulty.draft().is_err());
        }
    }
}

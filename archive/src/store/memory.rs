//! A store in memory, for tests and trials.

use super::{Draft, Listed, Store};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Objects = BTreeMap<String, Arc<Vec<u8>>>;

#[derive(Clone, Default)]
pub struct MemoryStore {
    objects: Arc<Mutex<Objects>>,
}

impl MemoryStore {
    fn objects(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts bytes under a name whatever was there: for tests that damage things.
    pub fn set(&self, name: &str, bytes: Vec<u8>) {
        self.objects().insert(name.into(), Arc::new(bytes));
    }
}

struct MemoryDraft {
    store: MemoryStore,
    bytes: Vec<u8>,
}

impl Draft for MemoryDraft {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn publish(self: Box<Self>, name: &str) -> io::Result<()> {
        let mut objects = self.store.objects();
        if objects.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        objects.insert(name.into(), Arc::new(self.bytes));
        Ok(())
    }
}

impl Store for MemoryStore {
    fn list(&self, folder: &str) -> io::Result<Vec<Listed>> {
        let prefix = format!("{folder}/");
        let objects = self.objects();
        let below = objects.range(prefix.clone()..).take_while(|(name, _)| name.starts_with(&prefix));
        Ok(below.map(|(name, bytes)| Listed { name: name.clone(), len: bytes.len() as u64 }).collect())
    }

    fn read(&self, name: &str, offset: u64, len: usize, out: &mut Vec<u8>) -> io::Result<()> {
        let bytes = self.objects().get(name).cloned().ok_or(io::ErrorKind::NotFound)?;
        let start = (offset as usize).min(bytes.len());
        out.clear();
        out.extend_from_slice(&bytes[start..start + len.min(bytes.len() - start)]);
        Ok(())
    }

    fn draft(&self) -> io::Result<Box<dyn Draft>> {
        Ok(Box::new(MemoryDraft { store: self.clone(), bytes: Vec::new() }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut objects = self.objects();
        if objects.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let bytes = objects.remove(from).ok_or(io::ErrorKind::NotFound)?;
        objects.insert(to.into(), bytes);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.objects().remove(name);
        Ok(())
    }
}

//! The repositories that a daemon serves and fills: found by cluster and dataset, kept open for a while, watched for change.
//!
//! Whether a repository changed is seen from its folders' times, so that a question about a hundred datasets costs a hundred times a few `stat`s. A time so
//! young that a later change could bear the same is never taken for settled.
//!
//! A repository that is open holds the shared lock. Who wants one alone keeps others of this process waiting at a gate meanwhile (`alone`).

use crate::message::Head;
use archive::name;
use archive::repository::{Access, Repository};
use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A dataset of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dataset {
    pub cluster: String,
    pub name: String,
}

impl std::fmt::Display for Dataset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.cluster, self.name)
    }
}

/// Where repositories lie.
#[derive(Clone, Debug)]
pub enum Layout {
    /// Of a node: `datasets/NAME/repository`, all of one cluster.
    Node { state: PathBuf, cluster: String },
    /// Of a pull-backup: `CLUSTER/NAME`.
    Archive { store: PathBuf },
}

impl Layout {
    pub fn path(&self, dataset: &Dataset) -> PathBuf {
        match self {
            Layout::Node { state, .. } => state.join("datasets").join(&dataset.name).join("repository"),
            Layout::Archive { store } => store.join(&dataset.cluster).join(&dataset.name),
        }
    }

    /// What there is.
    pub fn datasets(&self) -> Vec<Dataset> {
        let mut found: Vec<Dataset> = match self {
            Layout::Node { state, cluster } => {
                let names = folders(&state.join("datasets"));
                names.into_iter().map(|name| Dataset { cluster: cluster.clone(), name }).collect()
            }
            Layout::Archive { store } => {
                let of = |cluster: String| {
                    folders(&store.join(&cluster))
                        .into_iter()
                        .map(move |name| Dataset { cluster: cluster.clone(), name })
                };
                folders(store).into_iter().flat_map(of).collect()
            }
        };
        found.retain(|dataset| self.path(dataset).join(name::CONFIG).exists());
        found.sort();
        found
    }
}

/// The folders in a folder that can be a cluster's, a dataset's or a node's; none where it cannot be read.
pub fn folders(path: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| archive::record::valid_name(name))
        .collect()
}

struct Open {
    repository: Arc<Repository>,
    used_ms: u64,
}

pub struct Repositories {
    layout: Layout,
    clock: Arc<dyn Fn() -> u64 + Send + Sync>,
    open: Mutex<HashMap<Dataset, Open>>,
    heads: Mutex<HashMap<Dataset, Head>>,
    /// Those that somebody has alone.
    gated: Mutex<HashSet<Dataset>>,
    freed: Condvar,
}

/// Others of this process wait before a repository while this lives.
pub struct Gate<'a> {
    repositories: &'a Repositories,
    dataset: Dataset,
}

impl Drop for Gate<'_> {
    fn drop(&mut self) {
        self.repositories.gated.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.dataset);
        self.repositories.freed.notify_all();
    }
}

/// So long the opening of a repository waits at a gate; then it is busy.
const GATE_WAIT: Duration = Duration::from_secs(40);

/// An open repository that nobody asked for in this time is closed.
const IDLE_MS: u64 = 3_000;
/// A folder's time this young may be that of a later change as well.
const SETTLED_MS: u64 = 2_000;

impl Repositories {
    pub fn new(layout: Layout, clock: Arc<dyn Fn() -> u64 + Send + Sync>) -> Repositories {
        Repositories {
            layout,
            clock,
            open: Mutex::default(),
            heads: Mutex::default(),
            gated: Mutex::default(),
            freed: Condvar::new(),
        }
    }

    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    fn opened(&self) -> MutexGuard<'_, HashMap<Dataset, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn open(&self, dataset: &Dataset) -> archive::Result<Arc<Repository>> {
        let now = (self.clock)();
        self.close_idle();
        let gated = self.gated.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever has it for longer than that is found out by the lock.
        drop(self.freed.wait_timeout_while(gated, GATE_WAIT, |gated| gated.contains(dataset)));
        if let Some(open) = self.opened().get_mut(dataset) {
            open.used_ms = now;
            return Ok(open.repository.clone());
        }
        let repository = Arc::new(Repository::open_folder(&self.layout.path(dataset), Access::Shared)?);
        self.opened().insert(dataset.clone(), Open { repository: repository.clone(), used_ms: now });
        Ok(repository)
    }

    /// Opens it, or makes an empty one.
    pub fn open_or_create(&self, dataset: &Dataset) -> archive::Result<Arc<Repository>> {
        if !archive::record::valid_name(&dataset.cluster) || !archive::record::valid_name(&dataset.name) {
            return Err(archive::Error::Refused { name: format!("dataset {dataset}"), why: "it is no name".into() });
        }
        let path = self.layout.path(dataset);
        if !path.join(name::CONFIG).exists() {
            let failed = |operation| move |source| archive::Error::File { operation, path: self.layout.path(dataset), source };
            archive::store::make_folder(&path, 0o700).map_err(failed("make"))?;
            let store = archive::store::FolderStore::open(&path).map_err(failed("open"))?;
            match Repository::create(&store, &dataset.cluster, &dataset.name) {
                // Another was first.
                Ok(_) | Err(archive::Error::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.open(dataset)
    }

    /// Closes those that nobody asked for lately.
    pub fn close_idle(&self) {
        let now = (self.clock)();
        self.opened().retain(|_, open| open.used_ms <= now && now - open.used_ms < IDLE_MS);
    }

    /// Closes one, as far as this daemon itself holds it, and keeps it closed; answers under way keep it until they end. `None` when somebody else has it alone.
    pub fn alone(&self, dataset: &Dataset) -> Option<Gate<'_>> {
        let new = self.gated.lock().unwrap_or_else(PoisonError::into_inner).insert(dataset.clone());
        self.opened().remove(dataset);
        new.then(|| Gate { repositories: self, dataset: dataset.clone() })
    }

    /// What is newest in each dataset that `wanted` takes.
    pub fn heads(&self, wanted: &dyn Fn(&Dataset) -> bool) -> Vec<Head> {
        self.close_idle();
        let datasets = self.layout.datasets();
        datasets.iter().filter(|dataset| wanted(dataset)).filter_map(|dataset| self.head(dataset)).collect()
    }

    /// What is newest in a dataset.
    pub fn head(&self, dataset: &Dataset) -> Option<Head> {
        let path = self.layout.path(dataset);
        let change = self.change(&path)?;
        let mut heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = heads.get(dataset).filter(|known| known.change == change) {
            return Some(known.clone());
        }
        let snapshot = std::fs::read_dir(path.join(name::SNAPSHOTS)).into_iter().flatten().flatten();
        let names = snapshot.filter_map(|entry| Some(format!("{}/{}", name::SNAPSHOTS, entry.file_name().to_str()?)));
        let newest = names.filter_map(|name| Some((name::parse_snapshot(&name)?, name))).max();
        let head = Head {
            cluster: dataset.cluster.clone(),
            dataset: dataset.name.clone(),
            change,
            snapshot: newest.map(|(_, name)| name),
            signers: vec![],
            rule: None,
            reigns: None,
        };
        heads.insert(dataset.clone(), head.clone());
        Some(head)
    }

    /// Differs when a name came or went.
    fn change(&self, path: &Path) -> Option<String> {
        let now = (self.clock)();
        let (mut all, mut youngest) = (Vec::new(), 0u64);
        for folder in [name::SNAPSHOTS, name::RUNS, name::RECEIPTS, name::HEARTBEATS, name::KEYS, name::NODES, name::RECORDS] {
            let Ok(found) = std::fs::metadata(path.join(folder)) else { continue };
            all.extend_from_slice(&found.ino().to_le_bytes());
            all.extend_from_slice(&found.mtime().to_le_bytes());
            all.extend_from_slice(&found.mtime_nsec().to_le_bytes());
            youngest = youngest.max(found.mtime().max(0) as u64 * 1000 + found.mtime_nsec() as u64 / 1_000_000);
        }
        if all.is_empty() {
            return None;
        }
        if youngest + SETTLED_MS > now {
            all.extend_from_slice(&now.to_le_bytes());
        }
        Some(archive::id::hex(&archive::digest::sha256(&all).0[..12]))
    }
}

//! How much of the store a node may fill: above its quota its pulls stop, and only its.
//!
//! What counts is what lies on disk, so nothing is lost over a restart, and what retention frees may be filled again. A node answers for every dataset that was
//! ever pulled from it, whether it offers it still or not, else it could fill the store one dataset at a time; which those are is kept in
//! `state/pulled`. A repository is measured anew only when one of its folders changed.
//!
//! All that is pulled from a node at once shares one budget. What is under way when the quota is reached is broken off; what was verified by then stays.

use console::human;
use console::pull_backup_file::PullBackupFile;
use link::budget::Budget;
use link::error::{Error, Result};
use link::repositories::{Dataset, Layout};
use link::state_file;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// The datasets that a node brought.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Brought {
    #[serde(default)]
    datasets: BTreeSet<String>,
}

type Node = (String, String);

#[derive(Default)]
struct Known {
    brought: HashMap<Node, Brought>,
    /// What a repository took, and how its folders looked then.
    measured: HashMap<Dataset, (Vec<u8>, u64)>,
    budgets: HashMap<Node, Weak<Budget>>,
}

pub struct Quotas {
    file: PullBackupFile,
    layout: Layout,
    known: Mutex<Known>,
}

impl Quotas {
    pub fn new(file: &PullBackupFile) -> Quotas {
        let layout = Layout::Archive { store: file.store.clone() };
        Quotas { file: file.clone(), layout, known: Mutex::default() }
    }

    fn path(&self, (cluster, name): &Node) -> PathBuf {
        self.file.state.join("pulled").join(format!("{cluster}.{name}.toml"))
    }

    /// How many bytes a node may still bring, before one of its datasets is pulled.
    pub fn allowance(&self, cluster: &str, name: &str, dataset: &Dataset) -> Result<Arc<Budget>> {
        let node = (cluster.to_owned(), name.to_owned());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let brought = self.note(&mut known, &node, &dataset.name)?;
        let Some(quota) = self.file.quota_of(cluster, name) else {
            return Ok(Arc::new(Budget::new(u64::MAX, String::new())));
        };
        // Others are under way: what they still bring does not lie on disk yet.
        if let Some(budget) = known.budgets.get(&node).and_then(Weak::upgrade) {
            return Ok(budget);
        }
        let mut used = 0;
        for name in brought.datasets {
            used += self.measure(&mut known, Dataset { cluster: cluster.to_owned(), name });
        }
        let words = words(cluster, name, quota, used);
        if used >= quota {
            return Err(Error::Quota { why: words });
        }
        let budget = Arc::new(Budget::new(quota - used, words));
        known.budgets.insert(node, Arc::downgrade(&budget));
        Ok(budget)
    }

    /// What all that a node brought takes on disk now.
    pub fn used(&self, cluster: &str, name: &str) -> Result<u64> {
        let node = (cluster.to_owned(), name.to_owned());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let brought: Brought = state_file::read(&self.path(&node))?.unwrap_or_default();
        let of = |name| Dataset { cluster: cluster.to_owned(), name };
        Ok(brought.datasets.into_iter().map(|name| self.measure(&mut known, of(name))).sum())
    }

    /// Notes durably, before anything comes, that a node brings a dataset.
    fn note(&self, known: &mut Known, node: &Node, dataset: &str) -> Result<Brought> {
        if !known.brought.contains_key(node) {
            let brought = state_file::read(&self.path(node))?.unwrap_or_default();
            known.brought.insert(node.clone(), brought);
        }
        let mut brought = known.brought.get(node).cloned().unwrap_or_default();
        if brought.datasets.insert(dataset.to_owned()) {
            state_file::say(&self.path(node), &brought)?;
            known.brought.insert(node.clone(), brought.clone());
        }
        Ok(brought)
    }

    fn measure(&self, known: &mut Known, dataset: Dataset) -> u64 {
        let path = self.layout.path(&dataset);
        let looks = looks(&path);
        if let Some((_, bytes)) = known.measured.get(&dataset).filter(|(before, _)| *before == looks) {
            return *bytes;
        }
        let bytes = size(&path);
        known.measured.insert(dataset, (looks, bytes));
        bytes
    }
}

fn words(cluster: &str, name: &str, quota: u64, used: u64) -> String {
    format!(
        "the quota of {name} of cluster {cluster} is reached: {} of {} are used, and nothing more is pulled from it; raise `quota` in pull-backup.toml, or keep fewer \
         snapshots (`[retain]`)",
        human::bytes(used),
        human::bytes(quota)
    )
}

/// Differs when a file came or went.
fn looks(path: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for folder in archive::name::FOLDERS {
        let Ok(found) = std::fs::metadata(path.join(folder)) else { continue };
        all.extend_from_slice(&found.mtime().to_le_bytes());
        all.extend_from_slice(&found.mtime_nsec().to_le_bytes());
    }
    all
}

/// Bytes of all files below a folder; one that goes meanwhile counts nothing.
pub(crate) fn size(path: &Path) -> u64 {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let of = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => size(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    };
    entries.map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quotas(folder: &Path, quota: &str) -> Quotas {
        let text = format!("state = {:?}\nstore = {{ path = {:?} }}\n{quota}", folder.join("state"), folder.join("store"));
        Quotas::new(&PullBackupFile::parse(&text, Path::new("pull-backup.toml")).unwrap())
    }

    fn dataset(name: &str) -> Dataset {
        Dataset { cluster: "shop".into(), name: name.into() }
    }

    fn fill(folder: &Path, name: &str, file: &str, len: usize) {
        let packs = folder.join("store/shop").join(name).join("packs");
        std::fs::create_dir_all(&packs).unwrap();
        std::fs::write(packs.join(file), vec![0; len]).unwrap();
    }

    #[test]
    fn all_that_a_node_ever_brought_counts_after_a_restart_too() {
        let folder = tempfile::tempdir().unwrap();
        let quota = "quota = \"1GB\"\n[cluster.shop]\nquota = \"5kB\"\nquotas = { web2 = \"1MB\" }\n";
        let first = quotas(folder.path(), quota);
        first.allowance("shop", "web1", &dataset("a")).unwrap().take(5000).unwrap();
        fill(folder.path(), "a", "1", 3000);
        let budget = first.allowance("shop", "web1", &dataset("b")).unwrap();
        assert!(budget.take(2001).is_err(), "2000 are left");
        drop(budget);
        fill(folder.path(), "b", "1", 2500);
        for quotas in [first, quotas(folder.path(), quota)] {
            let refused = quotas.allowance("shop", "web1", &dataset("c")).unwrap_err().to_string();
            assert!(refused.contains("5.5 kB of 5 kB") && refused.contains("raise `quota`"), "{refused}");
            assert_eq!(quotas.used("shop", "web1").unwrap(), 5500);
            quotas.allowance("shop", "web2", &dataset("a")).expect("another node's quota is its own");
        }
        std::fs::remove_file(folder.path().join("store/shop/b/packs/1")).unwrap();
        quotas(folder.path(), quota).allowance("shop", "web1", &dataset("b")).expect("what retention freed");
    }

    #[test]
    fn what_is_pulled_at_once_shares_what_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let quotas = quotas(folder.path(), "quota = \"10kB\"\n");
        let one = quotas.allowance("shop", "web1", &dataset("a")).unwrap();
        let other = quotas.allowance("shop", "web1", &dataset("b")).unwrap();
        one.take(6000).unwrap();
        assert!(other.take(6000).is_err());
    }
}

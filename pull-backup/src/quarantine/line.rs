//! One quarantined repository as it is listed: what it holds, and whether a person has seen it.

use super::{Name, Quarantine};
use crate::quarantine::noted::Noted;
use archive::id::SnapshotId;
use archive::repository::{Access, Known};
use link::repositories::Layout;
use serde::Serialize;
use std::collections::HashSet;
use std::path::Path;

/// A line of `quarantine list`. Fields may be added, never changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// What is typed to mean it.
    pub name: String,
    pub cluster: String,
    pub dataset: String,
    pub epoch: u64,
    pub node: String,
    pub snapshots: u64,
    /// Those that are not in the archive as well.
    pub only_here: u64,
    /// Those that nobody has seen.
    pub new: u64,
    /// On disk.
    pub bytes: u64,
    /// Of the newest snapshot, unpacked.
    pub content_bytes: Option<u64>,
    pub newest: Option<String>,
    /// When the newest was captured, in Unix milliseconds, as its node says.
    pub captured_ms: Option<u64>,
}

impl Line {
    /// `archived` are the snapshots in the archive of its dataset.
    pub fn of(quarantine: &Quarantine, name: &Name, archived: &HashSet<SnapshotId>, noted: &Noted) -> Line {
        let known = quarantine.snapshots(name);
        let newest = known.last();
        // What cannot be read is listed all the same.
        let read = |known: &Known| quarantine.open(name, Access::Shared).and_then(|repository| repository.snapshot(known)).ok();
        let body = newest.and_then(read).map(|signed| signed.body);
        let open = || known.iter().filter(|known| !archived.contains(&known.id));
        Line {
            name: name.to_string(),
            cluster: name.cluster.clone(),
            dataset: name.dataset.clone(),
            epoch: name.epoch,
            node: name.node.clone(),
            snapshots: known.len() as u64,
            only_here: open().count() as u64,
            new: open().filter(|known| !noted.seen.contains(&known.id.to_string())).count() as u64,
            bytes: quarantine.size(name),
            content_bytes: body.as_ref().map(|body| body.content_bytes),
            newest: newest.map(|known| known.id.to_string()),
            captured_ms: body.map(|body| body.captured_ms),
        }
    }
}

/// The snapshots in the archive of a quarantined repository's dataset.
pub fn archived(store: &Path, name: &Name) -> HashSet<SnapshotId> {
    let folder = Layout::Archive { store: store.into() }.path(&name.dataset()).join(archive::name::SNAPSHOTS);
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| Some(archive::name::parse_snapshot(entry.file_name().to_str()?)?.1))
        .collect()
}

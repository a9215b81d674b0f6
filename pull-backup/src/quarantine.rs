//! Quarantine: where snapshots go that were validly signed and that the rule does not publish. Each epoch and node has a repository of its own for each dataset,
//! `STORE/+quarantine/CLUSTER/DATASET/EPOCH/NODE`, beside the archive: no cluster can have that name, so it is never offered to anybody.
//!
//! A repository of its own holds whole what is needed to restore it, whatever happens to the archive, and can be copied away as it is. What it shares with the archive is stored
//! twice, but does not come twice: it is read here first. Both writing and reading go the ways of every repository; nothing in it was ever believed that the archive
//! would not believe.
//!
//! Nothing here removes anything but `drop`, which a person orders by name. At the quota it refuses, says so, and the node keeps what it has.

pub mod line;
pub mod noted;
pub mod resolve;
pub mod settle;
pub mod standing;

use archive::id::SnapshotId;
use archive::name;
use archive::repository::{Access, Known, Repository};
use archive::sign::PublicKey;
use archive::store::FolderStore;
use archive::sync::{Aside, EachRecord, EachSegment, Everything, Listing, Source, SyncOptions, SyncReport, Wanted, sync};
use console::human;
use link::publishing::Kept;
use link::pull::chain;
use link::repositories::{Dataset, folders};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The folder of all, in the store.
pub const FOLDER: &str = "+quarantine";

/// With the digits of the key it is still a name.
const NODE_MAX: usize = 50;

/// One repository of it. As text CLUSTER/DATASET/EPOCH/NODE, where NODE is the node's name with the first digits of the key that signed: two hosts that use one name stay apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    pub cluster: String,
    pub dataset: String,
    pub epoch: u64,
    pub node: String,
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}/{}", self.cluster, self.dataset, self.epoch, self.node)
    }
}

impl Name {
    pub fn of(dataset: &Dataset, epoch: u64, node: &str, signer: &PublicKey) -> Name {
        let node: String = if archive::record::valid_name(node) { node.chars().take(NODE_MAX).collect() } else { "node".into() };
        let (cluster, name) = (dataset.cluster.clone(), dataset.name.clone());
        Name { cluster, dataset: name, epoch, node: format!("{node}-{}", &signer.hex()[..8]) }
    }

    pub fn dataset(&self) -> Dataset {
        Dataset { cluster: self.cluster.clone(), name: self.dataset.clone() }
    }

    /// Whether what was typed means this one: the whole name, or the node without the digits of its key.
    pub fn is(&self, typed: &str) -> bool {
        let node = self.node.rsplit_once('-').map_or(self.node.as_str(), |(node, _)| node);
        typed == self.to_string() || typed == format!("{}/{}/{}/{node}", self.cluster, self.dataset, self.epoch)
    }
}

#[derive(Clone, Debug)]
pub struct Quarantine {
    store: PathBuf,
    /// How many bytes all of it may take.
    quota: u64,
}

impl Quarantine {
    pub fn new(store: &Path, quota: u64) -> Quarantine {
        Quarantine { store: store.into(), quota }
    }

    pub fn path(&self, name: &Name) -> PathBuf {
        let Name { cluster, dataset, epoch, node } = name;
        self.store.join(FOLDER).join(cluster).join(dataset).join(epoch.to_string()).join(node)
    }

    /// All that there is.
    pub fn all(&self) -> Vec<Name> {
        let mut found = Vec::new();
        let root = self.store.join(FOLDER);
        for cluster in folders(&root) {
            for dataset in folders(&root.join(&cluster)) {
                found.extend(self.of(&Dataset { cluster: cluster.clone(), name: dataset }));
            }
        }
        found.sort();
        found
    }

    /// What there is of a dataset.
    pub fn of(&self, dataset: &Dataset) -> Vec<Name> {
        let root = self.store.join(FOLDER).join(&dataset.cluster).join(&dataset.name);
        let mut found = Vec::new();
        for epoch in folders(&root).iter().filter_map(|epoch| epoch.parse().ok()) {
            let nodes = folders(&root.join(format!("{epoch}")));
            let name = |node| Name { cluster: dataset.cluster.clone(), dataset: dataset.name.clone(), epoch, node };
            found.extend(nodes.into_iter().map(name).filter(|name| self.path(name).join(name::CONFIG).exists()));
        }
        found
    }

    /// The snapshots in one, oldest first, by their names alone.
    pub fn snapshots(&self, name: &Name) -> Vec<Known> {
        let entries = std::fs::read_dir(self.path(name).join(name::SNAPSHOTS)).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| Some(format!("{}/{}", name::SNAPSHOTS, entry.file_name().to_str()?)));
        let mut known: Vec<Known> = names
            .filter_map(|name| name::parse_snapshot(&name).map(|(at, id)| Known { at, id, name }))
            .collect();
        known.sort();
        known
    }

    pub fn open(&self, name: &Name, access: Access) -> archive::Result<Repository> {
        Repository::open_folder(&self.path(name), access)
    }

    fn open_or_create(&self, name: &Name) -> archive::Result<Repository> {
        let path = self.path(name);
        if !path.join(name::CONFIG).exists() {
            let failed = |operation| move |source| archive::Error::File { operation, path: self.path(name), source };
            archive::store::make_folder(&path, 0o700).map_err(failed("make"))?;
            match Repository::create(&FolderStore::open(&path).map_err(failed("open"))?, &name.cluster, &name.dataset) {
                Ok(_) | Err(archive::Error::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.open(name, Access::Shared)
    }

    pub fn size(&self, name: &Name) -> u64 {
        crate::quota::size(&self.path(name))
    }

    pub fn used(&self) -> u64 {
        crate::quota::size(&self.store.join(FOLDER))
    }

    /// Why nothing more is taken, when that is so.
    pub fn full(&self) -> Option<String> {
        let used = self.used();
        (used >= self.quota).then(|| self.words(used))
    }

    fn words(&self, used: u64) -> String {
        format!(
            "the quarantine is full: {} of {} are used; raise `quarantine` in pull-backup.toml, or look at what is there (`pull-backup quarantine list`) and `quarantine drop` \
             what nobody needs. Nothing is removed by itself, and the node keeps what was refused",
            human::bytes(used),
            human::bytes(self.quota)
        )
    }

    /// Keeps what was put aside; what is held in the archive is read there.
    pub fn keep(
        &self,
        dataset: &Dataset,
        aside: &[Aside],
        from: &dyn Source,
        held: &Repository,
        options: &SyncOptions,
    ) -> archive::Result<Vec<Kept>> {
        if aside.is_empty() {
            return Ok(vec![]);
        }
        let mut by: BTreeMap<Name, Vec<&Aside>> = BTreeMap::new();
        for aside in aside {
            by.entry(Name::of(dataset, aside.known.at.epoch, &aside.node, &aside.signer))
                .or_default()
                .push(aside);
        }
        let is_held = |(name, aside): (&Name, &Vec<&Aside>)| {
            let there = self.snapshots(name);
            aside.iter().all(|aside| there.iter().any(|known| known.id == aside.known.id))
        };
        let listing = if by.iter().all(is_held) { Listing::default() } else { from.list()? };
        let beside = Beside { held, from, listing };
        let mut kept = Vec::new();
        for (name, mut aside) in by {
            let there = self.snapshots(&name);
            aside.sort_by(|a, b| a.known.cmp(&b.known));
            for aside in aside {
                let is_held = there.iter().any(|known| known.id == aside.known.id);
                let trouble = if is_held { None } else { self.take(&name, aside.known.id, (&beside, from), options)? };
                kept.push(Kept { name: aside.known.name.clone(), trouble });
            }
        }
        Ok(kept)
    }

    /// Takes one snapshot. Why it could not be kept, if it could not.
    fn take(
        &self,
        name: &Name,
        id: SnapshotId,
        (beside, from): (&dyn Source, &dyn Source),
        options: &SyncOptions,
    ) -> archive::Result<Option<String>> {
        let used = self.used();
        if used >= self.quota {
            return Ok(Some(self.words(used)));
        }
        let into = self.open_or_create(name)?;
        let options = SyncOptions {
            admission: Some(Arc::new(Everything)),
            publishers: None,
            runs_ahead: false,
            bytes_max: self.quota - used,
            ..options.clone()
        };
        let report = sync(beside, &into, &Wanted::Only(id), &options)?;
        // What is held may be damaged: then all comes from where it was offered.
        let report = if report.lacking.is_empty() { report } else { sync(from, &into, &Wanted::Only(id), &options)? };
        Ok(trouble(&report, id, || self.words(self.used())))
    }
}

fn trouble(report: &SyncReport, id: SnapshotId, full: impl FnOnce() -> String) -> Option<String> {
    if report.snapshots.iter().any(|known| known.id == id) {
        return None;
    }
    Some(match &report.stopped {
        Some(archive::Error::Unsuitable { .. }) => full(),
        Some(error) => format!("it could not be put into quarantine yet: {}", chain(error)),
        None => match report.refused.first() {
            Some(refused) => format!("it could not be put into quarantine: {}: {}", refused.name, refused.why),
            None => format!("it could not be put into quarantine: {} of its segments are lacking", report.lacking.len()),
        },
    })
}

/// A source of which the archive has a part already: what is held is not fetched again.
struct Beside<'a> {
    held: &'a Repository,
    from: &'a dyn Source,
    /// As it was when this began.
    listing: Listing,
}

impl Source for Beside<'_> {
    fn list(&self) -> archive::Result<Listing> {
        Ok(self.listing.clone())
    }

    fn snapshot(&self, known: &Known) -> archive::Result<Vec<u8>> {
        self.from.snapshot(known)
    }

    fn run(&self, id: archive::id::RunId, record: Option<archive::id::RecordId>) -> archive::Result<Vec<u8>> {
        Source::run(self.held, id, record).or_else(|_| self.from.run(id, record))
    }

    fn segments(&self, run: archive::id::RunId, sequences: &[u32], each: EachSegment<'_>) -> archive::Result<()> {
        let mut open = std::collections::BTreeSet::from_iter(sequences.iter().copied());
        self.held.segments(run, sequences, &mut |sequence, item| {
            each(sequence, item)?;
            open.remove(&sequence);
            Ok(())
        })?;
        let rest: Vec<u32> = open.into_iter().collect();
        if rest.is_empty() { Ok(()) } else { self.from.segments(run, &rest, each) }
    }

    fn records(&self, names: &[String], each: EachRecord<'_>) -> archive::Result<()> {
        self.from.records(names, each)
    }
}

//! What this node's exports build on once it took over: the snapshot that is its data.
//!
//! It is made beside the activation, and nothing waits for it but the dataset's first export: the folder is locked before this node has the role, and free when the process ends,
//! however it ends. An export that finds nothing there stores everything anew, which costs much and is right.

use crate::import::Imports;
use crate::imported::Imported;
use archive::export::adopt::{Adopted, Adoption, adopt};
use archive::identity::Keyring;
use archive::local::state::Local;
use archive::name;
use archive::read::open::OpenSnapshot;
use archive::repository::{Access, Repository};
use archive::sign::PublicKey;
use archive::trust::Trust;
use console::exit::Failure;
use console::human;
use console::node_file::{Dataset, NodeFile, Settings};
use link::boot;
use sources::import::failure;
use standing::log::{Log, Said};
use std::sync::Arc;

/// The datasets whose local state is held until what they build on is made.
pub struct Bases {
    imports: Arc<Imports>,
    held: Vec<(Dataset, Local)>,
}

impl Bases {
    /// Holds all that nobody else holds.
    pub fn hold(imports: &Arc<Imports>) -> Bases {
        let datasets = imports.file.datasets.iter();
        let held = datasets.filter_map(|dataset| Some((dataset.clone(), Local::open(&folder(&imports.file, dataset)).ok()?)));
        Bases { held: held.collect(), imports: imports.clone() }
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.held.iter().map(|(dataset, _)| dataset.name.as_str())
    }

    /// Makes them, one after the other, and lets go of each, which is told: the small ones first, whose exports often come every few minutes, and would wait for a large
    /// one's.
    pub fn make(mut self, log: &Log, done: &dyn Fn(&str)) {
        self.held.sort_by_cached_key(|(dataset, _)| self.imports.content_bytes(dataset));
        for (dataset, local) in self.held {
            let began = boot::now();
            let made = self.imports.base(&dataset, &local);
            drop(local);
            let said = match made {
                Ok(None) => None,
                Ok(Some(Adopted { entries, read_bytes })) => {
                    let (read, took) = (human::bytes(read_bytes), human::duration(boot::now().since(began)));
                    Some(Said::info("takeover", format!("exports build on what was imported: {entries} entries, {read} read in {took}")))
                }
                Err(why) => Some(Said::warn("takeover", format!("the first export stores everything anew, for {why}"))),
            };
            if let Some(said) = said {
                log.say(said.dataset(&dataset.name));
            }
            done(&dataset.name);
        }
    }
}

fn folder(file: &NodeFile, dataset: &Dataset) -> std::path::PathBuf {
    file.node.state.join("datasets").join(&dataset.name).join("local")
}

/// Whether what a source gives comes as a stream, or may.
fn is_streamed(dataset: &Dataset, path: &[u8]) -> bool {
    let first = path.split(|byte| *byte == b'/').next().unwrap_or_default();
    let source = dataset.sources.iter().find(|source| source.name.as_bytes() == first);
    source.is_some_and(|source| !matches!(source.settings, Settings::Files(_) | Settings::Sqlite(_)))
}

impl Imports {
    /// How large a dataset is, as far as that can be told.
    fn content_bytes(&self, dataset: &Dataset) -> Option<u64> {
        let repository = Repository::open_folder(&self.repository(dataset), Access::Shared).ok()?;
        let (known, _) = self.history(&repository, dataset).ok()?;
        Some(repository.snapshot(&known?).ok()?.body.content_bytes)
    }

    /// Local state of the snapshot that is the data here. None: that is there, or what is here is no import.
    fn base(&self, dataset: &Dataset, local: &Local) -> Result<Option<Adopted>, Failure> {
        let path = self.repository(dataset);
        if !path.join(name::CONFIG).exists() {
            return Ok(None);
        }
        let repository = Repository::open_folder(&path, Access::Shared).map_err(failure)?;
        let imported = Imported::open(&self.file.node.state, &dataset.name).map_err(crate::cmd::failure)?;
        let (Some(known), _) = self.history(&repository, dataset)? else { return Ok(None) };
        // Where the newest is this node's own, its local state is that of the exports.
        if imported.begun.is_some() || imported.snapshot.as_ref() != Some(&known.name) {
            return Ok(None);
        }
        let trust = Trust { cluster_key: self.file.seal.cluster_key.map(PublicKey), ..Trust::default() };
        let snapshot = {
            let mut none = Keyring::default();
            let mut held = self.keys.held();
            let keyring = held.as_mut().ok().and_then(Option::as_mut).unwrap_or(&mut none);
            OpenSnapshot::open(&repository, &known, &trust, keyring).map_err(failure)?
        };
        let adoption = Adoption {
            signer: self.signer.public(),
            trust: &trust,
            recipients: dataset.seal.then_some(&self.file.seal.recipients[..]),
            cache_bytes: dataset.cache,
            threads: archive::threads(),
            streamed: &|path| is_streamed(dataset, path),
        };
        adopt(&snapshot, local, &adoption).map_err(failure)
    }
}

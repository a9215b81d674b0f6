//! Importing the newest snapshot of the mirror, when this node stands by and has the means to open it.
//!
//! Nothing is imported on a node without a role, nor on the active one, nor where what a reign wrote is not captured yet: what is there is somebody's work. A node without
//! identity is blind, and keeps the mirror ready. An older snapshot than the one that was imported is never imported by itself, whatever the mirror has.
//!
//! What was begun is written down before the first byte changes, so that a process that dies in the middle is known to have left two snapshots mixed; the next
//! import mends that.

use crate::imported::Imported;
use crate::keys::{Held, Keys};
use crate::pause::wait;
use crate::takeover::kept::Reigned;
use archive::id::SnapshotId;
use archive::identity::Keyring;
use archive::name;
use archive::read::open::OpenSnapshot;
use archive::record::{Evidence, EvidenceKind, Signed};
use archive::repository::{Access, Known, Repository};
use archive::sign::{PublicKey, Signer};
use archive::trust::Trust;
use console::exit::Failure;
use console::node_file::{Dataset, NodeFile};
use console::output::tell;
use link::boot;
use link::membership::Reign;
use link::node::Receivers;
use recipes::data::Finding;
use rustix::fs::{FlockOperation, flock};
use sources::import::{Broken, failure, import};
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What there is to import with.
pub struct Imports {
    pub file: NodeFile,
    pub keys: Keys,
    /// Signs the evidence of what was imported.
    pub signer: Arc<Signer>,
    pub clock: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// How long another import of the same dataset is waited for. A daemon comes again, and waits for none.
    pub patience: Duration,
}

/// Why one imports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum For {
    /// This node stands by.
    StandingBy,
    /// This node was granted the role, and has not begun to serve.
    TakingOver,
}

/// What came of it.
#[derive(Debug)]
pub enum Did {
    /// The newest is imported already, or there is none.
    Nothing,
    /// Nothing is imported here, and why.
    NotHere(&'static str),
    Imported(Box<Done>),
}

#[derive(Debug)]
pub struct Done {
    pub known: Known,
    pub captured_ms: u64,
    pub entries: u64,
    pub bytes_written: u64,
    pub findings: Vec<(String, Finding)>,
}

/// How often it is looked whether another import ended.
const AGAIN: Duration = Duration::from_millis(200);
const BLIND: &str = "no identity is configured: the mirror is kept ready and not imported";

impl Imports {
    /// Something is sealed, and nothing opens it here.
    pub fn is_blind(&self) -> bool {
        self.keys.is_blind() && self.file.datasets.iter().any(|dataset| dataset.seal)
    }

    /// Imports the newest snapshot, unless that was done. It blocks for as long as it takes.
    pub fn newest(&self, dataset: &Dataset, purpose: For) -> Result<Did, Failure> {
        let state = &self.file.node.state;
        if let Some(why) = self.elsewhere(purpose)? {
            return Ok(Did::NotHere(why));
        }
        if dataset.seal && matches!(*self.keys.held(), Ok(None)) {
            return Ok(Did::NotHere(BLIND));
        }
        let path = self.repository(dataset);
        if !path.join(name::CONFIG).exists() {
            return Ok(Did::Nothing);
        }
        let _alone = self.alone(dataset)?;
        // Once more: the role may have come while another import was waited for.
        if let Some(why) = self.elsewhere(purpose)? {
            return Ok(Did::NotHere(why));
        }
        let repository = Repository::open_folder(&path, Access::Shared).map_err(failure)?;
        let (Some(known), aside) = self.history(&repository, dataset)? else { return Ok(Did::Nothing) };
        let imported = Imported::open(state, &dataset.name).map_err(crate::cmd::failure)?;
        let strayed = aside.iter().any(|known| imported.snapshot.as_ref() == Some(&known.name));
        if imported.begun.is_none() && imported.has(&known.name) && !strayed {
            return self.judge_newest(dataset, &known, &imported);
        }
        self.bring_and_note(&repository, dataset, &known, imported)
    }

    fn bring_and_note(&self, repository: &Repository, dataset: &Dataset, known: &Known, mut imported: Imported) -> Result<Did, Failure> {
        let mut none = Keyring::default();
        let held: &mut Held = &mut self.keys.held();
        let keyring = match held {
            Ok(keyring) => keyring.as_mut().unwrap_or(&mut none),
            Err(why) => return Err(self.cannot_open(dataset, why)),
        };
        let mixed_before = imported.begun.clone();
        let outcome = self.bring(repository, dataset, known, keyring, &mut imported);
        self.note(repository, dataset, known, outcome, Imported { begun: mixed_before, ..imported })
    }

    /// The newest of the mirror, and what is newer and no history: this node wrote it in a reign that came to nothing, and a pull-backup keeps it aside. Whoever had that
    /// as its data would stand beside the history until somebody else makes more of it.
    pub(crate) fn history(&self, repository: &Repository, dataset: &Dataset) -> Result<(Option<Known>, Vec<Known>), Failure> {
        let receivers = self.receivers(&dataset.name);
        let is_aside = |known: &Known| receivers.keep_aside(&known.name);
        let (mut list, mut aside) = (repository.snapshots().map_err(failure)?, Vec::new());
        while let Some(newest) = list.pop_if(|known| is_aside(known)) {
            aside.push(newest);
        }
        Ok((list.pop(), aside))
    }

    // What was not told is not known to be aside.
    fn receivers(&self, dataset: &str) -> Receivers {
        Receivers::open(&self.file.node.state, dataset).unwrap_or_default()
    }

    /// Whether the data here, by what was told meanwhile, is no history.
    pub fn strayed(&self) -> bool {
        self.file.datasets.iter().any(|dataset| {
            let imported = Imported::open(&self.file.node.state, &dataset.name).ok();
            let snapshot = imported.and_then(|imported| imported.snapshot);
            snapshot.is_some_and(|snapshot| self.receivers(&dataset.name).keep_aside(&snapshot))
        })
    }

    /// Why nothing is imported here.
    fn elsewhere(&self, purpose: For) -> Result<Option<&'static str>, Failure> {
        let state = &self.file.node.state;
        if purpose == For::TakingOver {
            return Ok(None);
        }
        let role = match Reign::open(state).map_err(crate::cmd::failure)? {
            None => Some("this node was given no role: nothing is imported on it"),
            Some(reign) if reign.active => Some("this is the active node: its data is what others import"),
            Some(reign) if !reign.stands_by() => Some("this node is on its way from one role to the other: nothing is imported meanwhile"),
            Some(_) => None,
        };
        let captured = || Reigned::open(state).map(|reigned| reigned.is_none()).map_err(crate::cmd::failure);
        Ok(match role {
            None if !captured()? => Some("what this node wrote while it was active is captured first"),
            role => role,
        })
    }

    /// Imports a certain snapshot, older than what is here or not: it was the data before this node took over.
    pub fn back_to(&self, dataset: &Dataset, name: &str) -> Result<(), Failure> {
        let state = &self.file.node.state;
        let _alone = self.alone(dataset)?;
        let imported = Imported::open(state, &dataset.name).map_err(crate::cmd::failure)?;
        let repository = Repository::open_folder(&self.repository(dataset), Access::Shared).map_err(failure)?;
        let known = repository.snapshots().map_err(failure)?.into_iter().find(|known| known.name == name);
        let known = known.ok_or_else(|| {
            Failure::failed(format!("dataset {}: {name} is no more in the mirror", dataset.name))
                .hint("`importer restore --at` brings it back by date from the archive")
        })?;
        self.bring_and_note(&repository, dataset, &known, imported).map(drop)
    }

    /// Takes back the last import; which one that was, and what is worth knowing. It is not imported again by itself.
    pub fn take_back(&self, dataset: &Dataset) -> Result<(String, Vec<(String, Finding)>), Failure> {
        let state = &self.file.node.state;
        let nothing = || Failure::refused(format!("dataset {}: nothing was imported on this host", dataset.name));
        if !self.repository(dataset).exists() {
            return Err(nothing());
        }
        let _alone = self.alone(dataset)?;
        let imported = Imported::open(state, &dataset.name).map_err(crate::cmd::failure)?;
        let name = imported.snapshot.clone().ok_or_else(nothing)?;
        if imported.begun.is_some() {
            let what = format!("dataset {}: an import was interrupted, so there is no whole one to take back", dataset.name);
            return Err(Failure::refused(what).hint("`importer sync` finishes it"));
        }
        if imported.mended {
            let what =
                format!("dataset {}: before the last import two snapshots were mixed, and there is no going back to that", dataset.name);
            return Err(Failure::refused(what).hint("`importer restore --at` brings an older state back into a folder, by date"));
        }
        // As of an import: a process that dies in the middle is known to have left two snapshots mixed, and nobody takes that for good.
        let being = Imported { failed_ms: (self.clock)(), failures: imported.failures + 1, ..imported.clone() };
        let trouble = Some(format!("{name} was being taken back, and that did not end"));
        Imported { begun: Some(name.clone()), trouble, ..being }
            .keep(state, &dataset.name)
            .map_err(crate::cmd::failure)?;
        let mut after = Imported { failed_ms: (self.clock)(), failures: imported.failures + 1, ..imported.clone() };
        match sources::back::back(dataset, state) {
            Ok(found) => {
                after.trouble = Some(format!("{name} was taken back; what was before it is the data until a newer one comes"));
                after.keep(state, &dataset.name).map_err(crate::cmd::failure)?;
                Ok((name, found))
            }
            Err(Broken { failure, mixed }) => {
                if mixed {
                    (after.begun, after.trouble) = (Some(name), Some(failure.to_string()));
                } else {
                    after = imported;
                }
                after.keep(state, &dataset.name).map_err(crate::cmd::failure)?;
                Err(failure)
            }
        }
    }

    fn cannot_open(&self, dataset: &Dataset, why: &str) -> Failure {
        let (state, name) = (&self.file.node.state, &dataset.name);
        let failure = Failure::failed(format!("dataset {name}: nothing is imported: {why}"))
            .hint("the mirror is kept; give `importer serve` the identity of [node], and its passphrase with --passphrase-file");
        let known = Imported::open(state, name).unwrap_or_default();
        if known.trouble.as_deref() != Some(why) {
            let imported = Imported { trouble: Some(why.into()), failures: known.failures + 1, failed_ms: (self.clock)(), ..known };
            // What could not be written down is said in any case.
            let _ = imported.keep(state, name);
        }
        failure
    }

    pub(crate) fn repository(&self, dataset: &Dataset) -> PathBuf {
        self.file.node.state.join("datasets").join(&dataset.name).join("repository")
    }

    fn judge_newest(&self, dataset: &Dataset, known: &Known, imported: &Imported) -> Result<Did, Failure> {
        match imported.snapshot.as_deref() {
            Some(name) if name != known.name => Err(Failure::refused(format!(
                "dataset {}: the newest snapshot of the mirror, {} ({}), is older than what was imported here ({name})",
                dataset.name,
                &known.id.to_string()[..8],
                known.at
            ))
            .hint("the archive or the mirror lost snapshots: see `pull-backup check` there; `importer restore --at` brings an older state back on purpose")),
            _ => Ok(Did::Nothing),
        }
    }

    /// One import at a time, of whatever process.
    fn alone(&self, dataset: &Dataset) -> Result<File, Failure> {
        let path = self.file.node.state.join("datasets").join(&dataset.name).join("import.lock");
        let failed = |error: std::io::Error| Failure::failed(format!("cannot lock {}: {error}", path.display()));
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
        let until = boot::now() + self.patience;
        let mut told = false;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(file),
                Err(rustix::io::Errno::WOULDBLOCK) if boot::now() < until => {
                    if !std::mem::replace(&mut told, true) {
                        tell(format_args!("dataset {}: another import of it is at work, and waited for", dataset.name));
                    }
                    wait(AGAIN);
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    let what = format!("dataset {}: another import of it is at work", dataset.name);
                    return Err(Failure::failed(what).hint("wait until it ends; the log of `importer serve` says what it does"));
                }
                Err(error) => return Err(failed(error.into())),
            }
        }
    }

    fn bring(
        &self,
        repository: &Repository,
        dataset: &Dataset,
        known: &Known,
        keyring: &mut Keyring,
        imported: &mut Imported,
    ) -> Result<Done, Broken> {
        let trust = Trust { cluster_key: self.file.seal.cluster_key.map(PublicKey), ..Trust::default() };
        let snapshot = OpenSnapshot::open(repository, known, &trust, keyring).map_err(failure)?;
        imported.begun = Some(known.name.clone());
        imported.keep(&self.file.node.state, &dataset.name).map_err(crate::cmd::failure)?;
        let done = import(&snapshot, dataset, &self.file.node.state, &|_| ())?;
        Ok(Done {
            known: known.clone(),
            captured_ms: snapshot.snapshot.body.captured_ms,
            entries: done.entries,
            bytes_written: done.bytes_written,
            findings: done.findings,
        })
    }

    /// Writes down how it went.
    fn note(
        &self,
        repository: &Repository,
        dataset: &Dataset,
        known: &Known,
        outcome: Result<Done, Broken>,
        before: Imported,
    ) -> Result<Did, Failure> {
        let (now, state) = ((self.clock)(), &self.file.node.state);
        let keep = |imported: Imported| imported.keep(state, &dataset.name).map_err(crate::cmd::failure);
        match outcome {
            Ok(done) => {
                let how = (EvidenceKind::Import, true, String::new());
                let evidence = prove(repository, &self.file.node.name, &self.signer, known.id, (now, now), how)?;
                keep(Imported {
                    snapshot: Some(known.name.clone()),
                    captured_ms: done.captured_ms,
                    at_ms: now,
                    evidence: Some(evidence),
                    mended: before.begun.is_some(),
                    ..Imported::default()
                })?;
                Ok(Did::Imported(Box::new(done)))
            }
            Err(Broken { failure, mixed }) => {
                let (trouble, begun) = (Some(failure.to_string()), if mixed { Some(known.name.clone()) } else { before.begun.clone() });
                keep(Imported { begun, failures: before.failures + 1, trouble, failed_ms: now, ..before })?;
                Err(failure)
            }
        }
    }
}

/// Evidence of what was done with a snapshot, signed by this node: retention keeps the newest that could be imported.
pub fn prove(
    repository: &Repository,
    node: &str,
    signer: &Signer,
    snapshot: SnapshotId,
    (started_ms, finished_ms): (u64, u64),
    (kind, good, text): (EvidenceKind, bool, String),
) -> Result<String, Failure> {
    let config = repository.config();
    let evidence = Evidence {
        cluster: config.cluster.clone(),
        dataset: config.dataset.clone(),
        node: node.to_owned(),
        snapshot,
        kind,
        started_ms,
        finished_ms,
        good,
        text,
    };
    let signed = Signed::sign(evidence, signer);
    repository.publish_record(&name::evidence(snapshot, kind, signed.id()), &signed).map_err(failure)?;
    Ok(archive::id::hex(&signed.item))
}

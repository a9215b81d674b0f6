//! What an act did, on disk before it is done.
//!
//! One file for each act, replaced as a whole: for whom it was done, how far it came, and what exactly (`did`). Beside it lies
//! `NAME.lock`. Whoever works on the act holds that locked; the programs it starts have the same file as their standard input,
//! with what they are told in it, and so hold the lock as well: one that outlived its parent is waited for. (Not those that
//! are started to leave something running: that would hold the lock for ever.)
//!
//! A damaged record is an error for `take`. `release` goes on without it, since stepping down must not wait for a person.

use std::fs;
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::Call;
use super::budget::Budget;
use crate::Error;
use crate::data::{Finding, Level};
use crate::lock::{Lock, make_folder};
use crate::replace::replace;

/// How often a lock that another holds is tried.
const TRY_AGAIN: Duration = Duration::from_millis(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Stage {
    Taking,
    Taken,
    Releasing,
    Released,
}

impl Stage {
    /// Cut short.
    pub fn is_between(self) -> bool {
        matches!(self, Stage::Taking | Stage::Releasing)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record<D> {
    pub act: String,
    pub cluster: String,
    pub epoch: u64,
    pub node: String,
    pub stage: Stage,
    pub did: D,
}

/// Where an act's record lies, and what it is called.
#[derive(Debug, Clone)]
pub(super) struct Place {
    name: String,
    path: PathBuf,
}

/// The record while this process works on the act.
pub(super) struct Journal {
    place: Place,
    lock: Lock,
}

impl Place {
    /// `name` becomes a file's name.
    pub fn new(folder: &Path, name: &str) -> Result<Place, Error> {
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || name.starts_with('.') || !name.chars().all(fits) {
            return Err(Error::Settings { reason: format!("{name:?} cannot be the name of an act: letters, digits, - _ . are") });
        }
        if !folder.is_absolute() {
            return Err(Error::Settings { reason: format!("{} is not an absolute path", folder.display()) });
        }
        Ok(Place { name: name.into(), path: folder.join(format!("{name}.json")) })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Beside the record.
    pub fn with(&self, ending: &str) -> PathBuf {
        self.path.with_file_name(format!("{}.{ending}", self.name))
    }

    /// Begins to work on the act, when nobody else does.
    pub fn open(&self, action: &'static str, budget: &Budget) -> Result<Journal, Error> {
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        make_folder(folder).map_err(|error| Error::io("make", folder, error))?;
        let path = self.with("lock");
        let failed = |error| Error::io("lock", &path, error);
        loop {
            match Lock::take(&path) {
                Ok(lock) => return Ok(Journal { place: self.clone(), lock }),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if budget.is_over() {
                        return Err(Error::ActInUse { action, name: self.name.clone(), waited: budget.whole() });
                    }
                    budget.pause(TRY_AGAIN).map_err(failed)?;
                }
                Err(error) => return Err(failed(error)),
            }
        }
    }

    pub fn read<D: DeserializeOwned>(&self) -> Result<Option<Record<D>>, Error> {
        let damaged = |source: io::Error| Error::ActRecord { name: self.name.clone(), path: self.path.clone(), source };
        match fs::read(&self.path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| damaged(error.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(damaged(error)),
        }
    }

    /// What a check says of the record.
    pub fn findings<D: DeserializeOwned>(&self) -> Vec<Finding> {
        match self.read::<D>() {
            Err(error) => vec![error.finding()],
            Ok(Some(record)) if record.stage.is_between() => {
                let doing = if record.stage == Stage::Taking { "taking" } else { "releasing" };
                let what = format!("{doing} {} for epoch {} did not end", self.name, record.epoch);
                vec![Finding::new(Level::Warning, what).hint("the next take or release goes on from there")]
            }
            Ok(_) => Vec::new(),
        }
    }
}

impl Journal {
    /// What was done before, if this call may change it.
    pub fn known<D: DeserializeOwned>(&self, call: &Call) -> Result<Option<Record<D>>, Error> {
        let known = self.place.read::<D>()?;
        if let Some(known) = &known {
            self.admit(call, known)?;
        }
        Ok(known)
    }

    /// The same for a release, which goes on without what cannot be read.
    pub fn known_or_lost<D: DeserializeOwned>(&self, call: &Call, found: &mut Vec<Finding>) -> Result<Option<Record<D>>, Error> {
        match self.place.read::<D>() {
            Ok(Some(known)) => self.admit(call, &known).map(|()| Some(known)),
            Ok(None) => Ok(None),
            Err(error) => {
                let mut finding = error.finding();
                finding.level = Level::Warning;
                found.push(finding);
                Ok(None)
            }
        }
    }

    fn admit<D>(&self, call: &Call, known: &Record<D>) -> Result<(), Error> {
        let name = self.place.name.clone();
        if known.cluster != call.cluster {
            let reason = format!("{name} was taken for the cluster {:?}, not for {:?}", known.cluster, call.cluster);
            return Err(Error::Settings { reason });
        }
        if known.epoch > call.epoch {
            return Err(Error::Outdated { name, epoch: call.epoch, known: known.epoch });
        }
        Ok(())
    }

    /// Durable when it returns.
    pub fn note<D: Serialize>(&self, call: &Call, stage: Stage, did: D) -> Result<(), Error> {
        let Call { cluster, epoch, node, .. } = call.clone();
        let record = Record { act: self.place.name.clone(), cluster, epoch, node, stage, did };
        let failed = |error: io::Error| Error::io("write the record", &self.place.path, error);
        let bytes = serde_json::to_vec_pretty(&record).map_err(|error| failed(error.into()))?;
        replace(&self.place.path, &bytes).map_err(failed)
    }

    /// A standard input with these bytes, which holds the lock.
    pub fn input(&self, bytes: &[u8]) -> Result<Stdio, Error> {
        let mut file = self.lock.file();
        let filled = file
            .set_len(0)
            .and_then(|()| file.write_all(bytes))
            .and_then(|()| file.rewind())
            .and_then(|()| file.try_clone());
        Ok(filled.map_err(|error| Error::io("write", &self.place.with("lock"), error))?.into())
    }
}

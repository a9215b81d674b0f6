//! What those who pull from this pull-backup said last: what they hold and have imported, and what went wrong there. A file for each dataset under
//! `state/receivers`, as a node has one for its pull-backups.

use link::identity::Pin;
use link::message::Report;
use link::node::{Receiver, Receivers};
use link::repositories::Dataset;
use link::{Result, state_file};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

pub struct Reports {
    state: PathBuf,
    /// One at a time: what is said is put beside what others said.
    one: Mutex<()>,
}

impl Reports {
    pub fn new(state: &Path) -> Reports {
        Reports { state: state.into(), one: Mutex::default() }
    }

    fn path(state: &Path, dataset: &Dataset) -> PathBuf {
        state.join("receivers").join(&dataset.cluster).join(format!("{}.toml", dataset.name))
    }

    pub fn open(state: &Path, dataset: &Dataset) -> Result<Receivers> {
        Ok(state_file::read(&Reports::path(state, dataset))?.unwrap_or_default())
    }

    /// Takes note of what a receiver says of a dataset that is kept here.
    pub fn take(&self, pin: &Pin, report: Report, now_ms: u64) -> Result<()> {
        let dataset = Dataset { cluster: report.cluster, name: report.dataset };
        let _one = self.one.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = Reports::open(&self.state, &dataset)?;
        let Report { held, captured_ms, lacking, imported, trouble, .. } = report;
        all.receiver
            .insert(pin.to_string(), Receiver { said_ms: now_ms, held, captured_ms, imported, trouble, lacking });
        state_file::say(&Reports::path(&self.state, &dataset), &all)
    }
}

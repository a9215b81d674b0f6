//! How exports of a dataset go, kept on disk: why the last one failed, when, and how many in a row; what it could not capture.
//!
//! Whoever exports keeps it, the daemon and `exporter run` from cron alike, so that `status` need not ask either. A success is not written: the snapshot or the
//! heartbeat in the spool is the better evidence. Only the failures that it ends are taken back.

use archive::entry::display;
use archive::export::ExportReport;
use link::state_file;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attempts {
    /// In a row.
    pub failures: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// What the last good one left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_out: Option<String>,
}

impl Attempts {
    pub fn path(state: &Path, dataset: &str) -> PathBuf {
        state.join("datasets").join(dataset).join("attempts.toml")
    }

    pub fn open(state: &Path, dataset: &str) -> link::Result<Attempts> {
        Ok(state_file::read(&Attempts::path(state, dataset))?.unwrap_or_default())
    }

    /// Takes note of an export that ended.
    pub fn note(state: &Path, dataset: &str, outcome: Result<&ExportReport, String>, now_ms: u64) -> link::Result<()> {
        // What cannot be read is replaced: it says only how it was.
        let before = Attempts::open(state, dataset).unwrap_or_default();
        let now = match outcome {
            Ok(report) => Attempts { left_out: left_out(report), ..Attempts::default() },
            Err(why) => Attempts {
                failures: before.failures.saturating_add(1),
                failed_ms: Some(now_ms),
                trouble: Some(why),
                left_out: before.left_out.clone(),
            },
        };
        if now == before { Ok(()) } else { state_file::say(&Attempts::path(state, dataset), &now) }
    }
}

fn left_out(report: &ExportReport) -> Option<String> {
    let first = report.troubles.first()?;
    let count = report.troubles.len();
    let more = if count > 1 { format!(" and {} more", count - 1) } else { String::new() };
    Some(format!("not captured: {}{more} ({}); let the exporter read it, or exclude it", display(&first.path), first.why))
}

//! Withdrawing: a published snapshot leaves the history, because another reign's took its place. The caller holds it whole elsewhere by then.
//!
//! As in retention, what others need of its file moves into a pack first, the newest goes first, and segments wait in the trash and for the sweep.

use super::{Decision, RetainReport, carry_out};
use crate::error::{Error, Result};
use crate::id::SnapshotId;
use crate::repository::Repository;
use crate::roots::Roots;

/// Takes these out of the history. The caller holds the repository alone (`Access::Exclusive`). How many went; those that are not there count nothing.
pub fn withdraw(repository: &Repository, ids: &[SnapshotId], now_ms: u64) -> Result<usize> {
    repository.forget_locations();
    let roots = Roots::load(repository)?;
    let known = repository.snapshots()?.into_iter().filter(|known| ids.contains(&known.id));
    let mut going: Vec<Decision> = known.map(|known| Decision { known, received_ms: None, reasons: vec![] }).collect();
    carry_out(repository, &roots, &mut going, now_ms, &mut RetainReport::default())?;
    match going.iter().find(|decision| decision.is_kept()) {
        Some(stays) => Err(Error::Unsuitable {
            what: format!("taking {} out of the history", stays.known.name),
            why: "other snapshots need something in its file that is damaged".into(),
        }),
        None => Ok(going.len()),
    }
}

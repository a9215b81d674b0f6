//! Dropping from a daemon's own repository what need not stay, and freeing its space.
//!
//! That needs the repository alone. The daemon's own handle is given back first; answers that are under way, or another process, are not waited for: then it is
//! not the time, and the caller comes back.

use crate::repositories::{Dataset, Repositories};
use archive::repository::{Access, Repository};
use archive::retain::{RetainOptions, RetainReport, retain};
use archive::sweep::{SweepOptions, SweepReport, sweep};

/// What was dropped and freed.
#[derive(Debug)]
pub struct Kept {
    pub retained: RetainReport,
    /// None when nothing could be dropped.
    pub swept: Option<SweepReport>,
}

/// Retains and sweeps. `None` while somebody is at work in it.
pub fn keep(
    repositories: &Repositories,
    dataset: &Dataset,
    options: &RetainOptions,
    sweeping: &SweepOptions<'_>,
) -> archive::Result<Option<Kept>> {
    repositories.release(dataset);
    let repository = match Repository::open_folder(&repositories.layout().path(dataset), Access::Exclusive) {
        Ok(repository) => repository,
        Err(archive::Error::Busy { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let retained = retain(&repository, options)?;
    let swept = match retained.refused {
        None => Some(sweep(&repository, sweeping)?),
        Some(_) => None,
    };
    Ok(Some(Kept { retained, swept }))
}

//! Dropping from a daemon's own repository what need not stay, and freeing its space.
//!
//! That needs the repository alone. Others of this process wait meanwhile; answers that are under way are awaited for a moment, another process is not: then it is
//! not the time, and the caller comes back.

use crate::repositories::{Dataset, Repositories};
use archive::repository::{Access, Repository};
use archive::retain::{RetainOptions, RetainReport, retain};
use archive::sweep::{SweepOptions, SweepReport, sweep};
use std::time::Duration;

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
    let Some(_gate) = repositories.alone(dataset) else { return Ok(None) };
    let Some(repository) = open_alone(repositories, dataset)? else { return Ok(None) };
    let retained = retain(&repository, options)?;
    let swept = match retained.refused {
        None => Some(sweep(&repository, sweeping)?),
        Some(_) => None,
    };
    Ok(Some(Kept { retained, swept }))
}

/// How often, and how long apart, it is tried while answers are under way, or another process reads: those who ask meanwhile wait as long.
const TRIES: u32 = 6;
const PAUSE: Duration = Duration::from_millis(50);

fn open_alone(repositories: &Repositories, dataset: &Dataset) -> archive::Result<Option<Repository>> {
    for _ in 0..TRIES {
        match Repository::open_folder(&repositories.layout().path(dataset), Access::Exclusive) {
            Ok(repository) => return Ok(Some(repository)),
            Err(archive::Error::Busy { .. }) => {
                #[expect(clippy::disallowed_methods, reason = "nothing tells when a lock is given back")]
                std::thread::sleep(PAUSE);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

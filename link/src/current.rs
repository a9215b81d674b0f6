//! When data was last known to be as a snapshot has it: when that was captured, or when its node said by a heartbeat that nothing had changed since.

use crate::repositories::{Dataset, Repositories};
use archive::id::SnapshotId;
use archive::name;
use archive::record::{Heartbeat, Signed};
use archive::repository::{Known, Repository};

/// The newest heartbeat about a snapshot.
pub fn beat(repository: &Repository, id: SnapshotId) -> archive::Result<Option<u64>> {
    let listed = repository.list(name::HEARTBEATS)?;
    let beats = listed.iter().filter_map(|listed| repository.first_record::<Heartbeat>(&listed.name).ok());
    let about = |beat: &Signed<Heartbeat>| {
        let config = repository.config();
        beat.body.snapshot == id && beat.body.cluster == config.cluster && beat.body.dataset == config.dataset
    };
    Ok(beats.filter(about).map(|beat| beat.body.time_ms).max())
}

/// When the data of this snapshot was last known to be current. Nothing where it cannot be read: then nothing is claimed.
pub fn captured(repositories: &Repositories, dataset: &Dataset, known: &Known) -> Option<u64> {
    let repository = repositories.open(dataset).ok()?;
    let captured = repository.snapshot(known).ok()?.body.captured_ms;
    Some(beat(&repository, known.id).ok()?.map_or(captured, |beat| beat.max(captured)))
}

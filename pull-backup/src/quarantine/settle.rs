//! Settling: the archive is brought in line with the reigns after they changed. What lies above the head at which a reign was sealed goes to quarantine, whole, before it leaves
//! the history; what is in quarantine and counts now is published from there, so that a branch that was chosen needs its host no more.
//!
//! It can be broken off anywhere and done again. Nothing leaves quarantine by it.

use super::trouble;
use crate::publishing::Publish;
use archive::id::SnapshotId;
use archive::name::Position;
use archive::repository::{Access, Known, Repository};
use archive::retain::withdraw;
use archive::sync::{Aside, SyncOptions, Wanted, sync};
use link::publishing::Publishing;
use link::reigns::Reigns;
use link::repositories::{Dataset, Repositories};
use std::time::Duration;

/// What was done to a dataset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Taken out of the history, and kept in quarantine.
    pub withdrawn: Vec<Known>,
    /// Published from quarantine.
    pub published: Vec<Known>,
    /// What remains to be done.
    pub troubles: Vec<String>,
}

/// So often, and so long apart, it is tried to have the archive alone.
const TRIES: u32 = 60;
const PAUSE: Duration = Duration::from_millis(100);

/// Brings one dataset in line.
pub fn settle(publish: &Publish, repositories: &Repositories, dataset: &Dataset, options: &SyncOptions) -> link::Result<Settled> {
    let failed = |error: archive::Error| link::Error::Failed { peer: format!("settling {dataset}"), why: link::pull::chain(&error) };
    let mut settled = Settled::default();
    let Some(reigns) = publish.ledger.open(&dataset.cluster)? else { return Ok(settled) };
    let repository = repositories.open_or_create(dataset).map_err(failed)?;
    let stray = stray(&repository, &reigns, dataset).map_err(failed)?;
    if !stray.is_empty() {
        let aside: Vec<Aside> = stray.iter().map(|(_, aside)| aside.clone()).collect();
        let kept = publish.keep(dataset, &aside, &*repository, &repository, options)?;
        settled.troubles.extend(kept.iter().filter_map(|kept| kept.trouble.clone()));
        let is_kept = |known: &Known| kept.iter().any(|kept| kept.name == known.name && kept.trouble.is_none());
        let going: Vec<Known> = stray.into_iter().map(|(known, _)| known).filter(is_kept).collect();
        drop(repository);
        take_out(repositories, dataset, &going, publish.now_ms()).map_err(failed)?;
        settled.withdrawn = going;
    }
    for name in publish.quarantine.of(dataset).into_iter().filter(|name| name.epoch <= reigns.epoch) {
        let from = publish.quarantine.open(&name, Access::Shared).map_err(failed)?;
        let admission = publish.rule_of(dataset)?;
        let options = SyncOptions { admission, publishers: None, runs_ahead: false, ..options.clone() };
        let into = repositories.open(dataset).map_err(failed)?;
        let report = sync(&from, &into, &Wanted::Above(Position::default()), &options).map_err(failed)?;
        if report.stopped.is_some() || !report.refused.is_empty() {
            settled.troubles.extend(trouble(&report, SnapshotId::NONE, String::new));
        }
        settled.published.extend(report.snapshots);
    }
    Ok(settled)
}

/// What is in the archive above the head at which its reign was sealed.
fn stray(repository: &Repository, reigns: &Reigns, dataset: &Dataset) -> archive::Result<Vec<(Known, Aside)>> {
    let mut stray = Vec::new();
    for known in repository.snapshots()? {
        let Some(seal) = reigns.seal_of(known.at.epoch) else { continue };
        let within = seal
            .heads
            .get(&dataset.name)
            .is_some_and(|head| known.at < head.position() || known.at == head.position() && head.is(known.id));
        if known.at.epoch == 0 || within {
            continue;
        }
        let snapshot = repository.snapshot(&known)?;
        let why = format!("epoch {} was sealed below it", known.at.epoch);
        stray.push((known.clone(), Aside { known, node: snapshot.body.node, signer: snapshot.signer, why }));
    }
    Ok(stray)
}

fn take_out(repositories: &Repositories, dataset: &Dataset, going: &[Known], now_ms: u64) -> archive::Result<()> {
    let ids: Vec<SnapshotId> = going.iter().map(|known| known.id).collect();
    if ids.is_empty() {
        return Ok(());
    }
    let path = repositories.layout().path(dataset);
    let _gate = repositories.alone(dataset).ok_or(archive::Error::Busy { path: path.clone(), what: "retention" })?;
    for _ in 0..TRIES {
        match Repository::open_folder(&path, Access::Exclusive) {
            Err(archive::Error::Busy { .. }) => {
                #[expect(clippy::disallowed_methods, reason = "nothing tells when a lock is given back")]
                std::thread::sleep(PAUSE);
            }
            other => return withdraw(&other?, &ids, now_ms).map(drop),
        }
    }
    Err(archive::Error::Busy { path, what: "reading, serving or publishing" })
}

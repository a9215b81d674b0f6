//! Restoring: onto what is there, again after a stop, in part, from damage, from long histories, and through a real disk.

mod again;
mod disk;
mod history;
mod part;
mod taken;

use archive::read::open::OpenSnapshot;
use archive::read::restore::{RestoreOptions, RestoreReport, restore};
use archive::repository::Known;
use archive::trust::Trust;
use std::path::Path;
use tests::trial::Trial;

fn newest(trial: &Trial) -> Known {
    trial.repository.forget_locations();
    trial.repository.snapshots().unwrap().pop().unwrap()
}

/// Does something with the newest snapshot.
fn opened<T>(trial: &Trial, act: impl FnOnce(&OpenSnapshot<'_>) -> T) -> T {
    let known = newest(trial);
    let opened = OpenSnapshot::open(&trial.repository, &known, &Trust::default(), &mut trial.keyring()).expect("it opens");
    act(&opened)
}

fn restored(trial: &Trial, target: &Path, options: &RestoreOptions<'_>) -> RestoreReport {
    opened(trial, |opened| restore(opened, target, options).expect("it restores"))
}

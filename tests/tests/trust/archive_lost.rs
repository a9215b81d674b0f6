//! An archive that lost, or was put back to before, what it had acknowledged: whole again after the next exports.

use super::*;
use archive::check::{CheckOptions, check};
use tests::history::copy_of;

#[test]
fn put_back_to_yesterday_it_takes_again_what_the_spool_has() {
    let (trial, mut tree) = (Trial::new(), tree());
    let trust = pins(&[&trial.options.signer]);
    trial.export(&tree);
    let keeper = Keeper::new();
    keeper.take(&*trial.repository, &trust, LATER_MS);
    let yesterday = copy_of(&keeper.store);
    for number in 1..4 {
        version(&mut tree, number);
        tree.file(format!("s/new{number}"), tests::chance::noise(number, 400_000));
        trial.export(&tree);
        keeper.take(&*trial.repository, &trust, LATER_MS);
    }
    let put_back = Keeper::of(yesterday, false);
    let report = put_back.pull(&*trial.repository, &trust, LATER_MS);
    assert!(report.is_complete() && report.snapshots.len() == 3, "{report:?}");
    assert_eq!(put_back.names(), keeper.names());
    put_back.assert_newest_is(&trial, &tree, "put back");
}

#[test]
fn files_removed_under_it_come_again_with_the_next_export() {
    for what in [archive::name::PACKS, archive::name::RUNS, archive::name::SNAPSHOTS, archive::name::KEYS, archive::name::INDEX] {
        let (trial, mut tree) = (Trial::new(), tree());
        let trust = pins(&[&trial.options.signer]);
        trial.export(&tree);
        let keeper = Keeper::new();
        keeper.take(&*trial.repository, &trust, LATER_MS);
        version(&mut tree, 1);
        trial.export(&tree);
        keeper.take(&*trial.repository, &trust, LATER_MS);
        for listed in keeper.store.list(what).unwrap() {
            keeper.store.remove(&listed.name).unwrap();
        }
        version(&mut tree, 2);
        tree.file("s/more", tests::chance::noise(7, 300_000));
        trial.export(&tree);
        let report = keeper.pull(&*trial.repository, &trust, LATER_MS);
        assert!(report.is_complete(), "{what}: {report:?}");
        keeper.assert_newest_is(&trial, &tree, what);
        let newest = keeper.repository.snapshots().unwrap().pop().unwrap();
        let found = check(&keeper.repository, &CheckOptions::default()).unwrap();
        let about_newest = found.findings.iter().filter(|finding| finding.snapshots.contains(&newest.id));
        assert_eq!(about_newest.count(), 0, "{what}: {:?}", found.findings);
    }
}

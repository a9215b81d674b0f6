//! Keys of expelled nodes: what was received of them stays theirs, and nothing comes after it.

use super::*;
use archive::id::SnapshotId;
use archive::record::Snapshot;
use archive::repository::alone;
use tests::history::copy_of;

/// What the pull-backup believes when the node of the trial was expelled and another one works.
fn after(trial: &Trial, other: &Signer) -> Trust {
    Trust { former: vec![trial.options.signer.public()], ..pins(&[other]) }
}

#[test]
fn what_an_expelled_node_signs_later_comes_in_by_no_way() {
    let (trial, other) = (Trial::new(), Signer::from_seed(&[8; 32]));
    let mut tree = tree();
    trial.export(&tree);
    let keeper = Keeper::new();
    assert!(keeper.pull(&*trial.repository, &pins(&[&trial.options.signer]), LATER_MS).is_complete());
    let before = keeper.names();
    version(&mut tree, 1);
    trial.export(&tree);
    let report = keeper.pull(&*trial.repository, &after(&trial, &other), LATER_MS);
    assert!(report.refused.iter().any(|refusal| refusal.why.contains("was expelled")), "{report:?}");
    assert_eq!(keeper.names(), before);
    // What it had before is read as ever.
    let trust = after(&trial, &other);
    let known = keeper.repository.snapshots().unwrap().pop().unwrap();
    assert!(archive::read::open::OpenSnapshot::open(&keeper.repository, &known, &trust, &mut trial.keyring()).is_ok());
}

#[test]
fn what_the_next_node_writes_may_use_runs_of_the_expelled_one() {
    let (trial, keeper) = (Trial::new(), Keeper::new());
    let first = trial.options.signer.clone();
    let tree = tree();
    trial.export(&tree);
    keeper.take(&*trial.repository, &pins(&[&first]), LATER_MS);
    // As after a takeover: another node's snapshot, in a higher epoch, of the same runs.
    let second = Signer::from_seed(&[8; 32]);
    let source = Keeper::of(copy_of(trial.repository.store()), false);
    let known = trial.repository.snapshots().unwrap().pop().unwrap();
    let body = trial.repository.snapshot(&known).unwrap().body;
    let at = Position { epoch: 1, sequence: body.sequence + 1 };
    let next = Signed::sign(Snapshot { node: "web2".into(), epoch: at.epoch, sequence: at.sequence, ..body }, &second);
    source.store.set(&archive::name::snapshot(at, SnapshotId::of(&next.hash.0)), alone(&next));
    let report = keeper.pull(&*source.repository, &after(&trial, &second), LATER_MS);
    assert!(report.is_complete() && report.snapshots.len() == 1 && report.segments == 0, "{report:?}");
}

#[test]
fn a_lost_archive_gets_back_what_it_had_received_of_an_expelled_node() {
    let (trial, other) = (Trial::new(), Signer::from_seed(&[8; 32]));
    let tree = tree();
    trial.export(&tree);
    let (keeper, mirror) = (Keeper::new(), Keeper::new());
    keeper.take(&*trial.repository, &pins(&[&trial.options.signer]), LATER_MS);
    let mirror_options = SyncOptions::new(Trust::default(), Arc::new(Signer::from_seed(&[91; 32])), Arc::new(|| LATER_MS));
    let _ = sync(&*keeper.repository, &mirror.repository, &ALL, &mirror_options).unwrap();
    // Its receipts prove it to the one who gave them, and to nobody else.
    let (again, stranger) = (Keeper::new(), Keeper { receipt: Arc::new(Signer::from_seed(&[92; 32])), ..Keeper::new() });
    assert_eq!(again.pull(&*mirror.repository, &after(&trial, &other), LATER_MS).snapshots.len(), 1);
    again.assert_newest_is(&trial, &tree, "what came back");
    assert!(stranger.pull(&*mirror.repository, &after(&trial, &other), LATER_MS).snapshots.is_empty());
}

#[test]
fn numbers_from_the_end_of_an_expelled_node_keep_nobody_away() {
    let (mut trial, keeper) = (Trial::new(), Keeper::new());
    let first = trial.options.signer.clone();
    let mut tree = tree();
    trial.export(&tree);
    // Its key in other hands: the last position that there is.
    let source = Keeper::of(copy_of(trial.repository.store()), false);
    let known = trial.repository.snapshots().unwrap().pop().unwrap();
    let honest = trial.repository.snapshot(&known).unwrap().body;
    let at = Position { epoch: 0, sequence: u64::MAX };
    let forged = Signed::sign(Snapshot { epoch: at.epoch, sequence: at.sequence, ..honest }, &first);
    source.store.set(&archive::name::snapshot(at, SnapshotId::of(&forged.hash.0)), alone(&forged));
    let report = keeper.pull(&*source.repository, &pins(&[&first]), LATER_MS);
    assert_eq!(report.snapshots.len(), 2, "while it was a member it counted: {report:?}");
    let second = Arc::new(Signer::from_seed(&[8; 32]));
    (trial.options.signer, trial.options.node, trial.options.epoch) = (second.clone(), "web2".into(), 0);
    version(&mut tree, 1);
    trial.export(&tree);
    let trust = Trust { former: vec![first.public()], ..pins(&[&second]) };
    let report = keeper.pull(&*trial.repository, &trust, LATER_MS);
    assert_eq!(report.snapshots.len(), 1, "{report:?}");
    assert_eq!(report.head, Some(report.snapshots[0].clone()), "what it reports as held is not the forged one");
}

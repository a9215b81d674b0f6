//! Branches that were forced on both sides, and a seal that is learned late: the archive is brought in line, and every branch is kept.

use crate::scene::{Scene, dataset, export, tree};
use link::reigns::{At, Reigns, Sealed};
use link::repositories::{Layout, Repositories};
use pull_backup::quarantine::resolve::{Resolved, resolve};
use pull_backup::quarantine::settle::{Settled, settle};
use std::sync::Arc;
use tests::trial::{CLUSTER, DATASET, START_MS};

fn settles(scene: &Scene) -> Settled {
    let layout = Layout::Archive { store: scene.file.store.clone() };
    let repositories = Repositories::new(layout, Arc::new(|| START_MS));
    let settled = settle(&scene.publish, &repositories, &dataset(), &scene.options()).unwrap();
    assert!(settled.troubles.is_empty(), "{settled:?}");
    settled
}

#[test]
fn of_two_forced_branches_a_person_chooses_and_the_other_is_kept() {
    let scene = Scene::new();
    let base = export(&scene.first, &tree(1));
    scene.takes(&*scene.first.repository);
    // The second branch was cut off earlier than the archive: it goes on from the first snapshot.
    let two = scene.branch(&scene.first, "web2", 2, 2);
    let above = export(&scene.first, &tree(4));
    scene.takes(&*scene.first.repository);
    let one = scene.branch(&scene.first, "web1", 1, 2);
    let (of_one, of_two) = (export(&one, &tree(5)), [export(&two, &tree(6)), export(&two, &tree(7))]);
    for branch in [&one, &two] {
        let (report, kept) = scene.pull_and_keep(&*branch.repository);
        assert!(report.snapshots.is_empty() && kept.iter().all(|kept| kept.trouble.is_none()), "{report:?} {kept:?}");
    }
    let reigns = scene.publish.ledger.open(CLUSTER).unwrap().unwrap();
    let (a, b) = reigns.conflict().expect("two nodes took epoch 2");
    assert_eq!((a.epoch, a.holder.node.as_str(), b.holder.node.as_str()), (2, "web1", "web2"));
    export(&scene.first, &tree(8));
    assert!(scene.pull(&*scene.first.repository).snapshots.is_empty(), "nothing of the cluster is published");
    assert_eq!(scene.published(), [base, above]);
    assert!(matches!(resolve(&scene.publish, &scene.file.store, CLUSTER, "web3").unwrap(), Resolved::NoClaim(_)));
    let Resolved::Kept(reigns) = resolve(&scene.publish, &scene.file.store, CLUSTER, "web2").unwrap() else { panic!("it claims epoch 2") };
    assert!(reigns.conflict().is_none() && reigns.epoch == 2 && reigns.holder.node == "web2");
    assert_eq!(reigns.base(DATASET).unwrap().sequence, 1, "sealed where the branch begins");
    let settled = settles(&scene);
    assert_eq!(settled.withdrawn.iter().map(|known| known.id).collect::<Vec<_>>(), [above]);
    assert_eq!(settled.published.iter().map(|known| known.id).collect::<Vec<_>>(), of_two, "without its host");
    assert_eq!(scene.published(), [base, of_two[0], of_two[1]], "one chain");
    scene.first.assert_is_in(&scene, above, 4);
    scene.first.assert_is_in(&scene, of_one, 5);
    assert_eq!(settles(&scene), Settled::default(), "once");
    // The chosen one goes on; the other's next is put aside.
    let next = export(&two, &tree(9));
    export(&one, &tree(10));
    assert_eq!(scene.pull(&*two.repository).snapshots[0].id, next);
    let (report, _) = scene.pull_and_keep(&*one.repository);
    assert!(report.snapshots.is_empty(), "{report:?}");
    assert!(scene.publish.ledger.open(CLUSTER).unwrap().unwrap().claims.is_empty());
}

#[test]
fn the_holder_may_end_what_others_claim_until_they_claim_more() {
    let scene = Scene::new();
    export(&scene.first, &tree(1));
    scene.takes(&*scene.first.repository);
    for (node, seed) in [("web2", 2), ("web3", 3)] {
        let branch = scene.branch(&scene.first, node, seed, 2);
        export(&branch, &tree(u64::from(seed)));
        scene.keeps(&*branch.repository);
    }
    let after = export(&scene.first, &tree(9));
    assert!(scene.pull(&*scene.first.repository).snapshots.is_empty());
    assert!(matches!(resolve(&scene.publish, &scene.file.store, CLUSTER, "web1").unwrap(), Resolved::Stays(_)));
    assert_eq!(scene.pull(&*scene.first.repository).snapshots[0].id, after);
    let more = scene.branch(&scene.first, "web2", 2, 3);
    export(&more, &tree(11));
    scene.keeps(&*more.repository);
    assert_eq!(scene.publish.ledger.open(CLUSTER).unwrap().unwrap().open_claims().count(), 1);
}

#[test]
fn who_learns_late_of_a_seal_puts_aside_what_it_published_above() {
    let scene = Scene::new();
    let base = export(&scene.first, &tree(1));
    let above = [export(&scene.first, &tree(2)), export(&scene.first, &tree(3))];
    scene.takes(&*scene.first.repository);
    let sealed = scene.archive().snapshots().unwrap().remove(0);
    let next = scene.branch(&scene.first, "web2", 2, 2);
    let own = scene.publish.ledger.open(CLUSTER).unwrap().unwrap();
    let heads = [(DATASET.to_owned(), At::of(&sealed))].into();
    let seal = Sealed { epoch: 1, sealed_ms: 7, holder: own.holder.clone(), heads };
    let holder = link::reigns::Holder::new("web2", next.options.signer.public());
    let told = Reigns { epoch: 2, holder, sealed: vec![seal], ..own };
    assert!(scene.publish.ledger.told(CLUSTER, &told).unwrap());
    assert!(!scene.publish.ledger.told(CLUSTER, &told).unwrap(), "it knows that now");
    let settled = settles(&scene);
    assert_eq!(settled.withdrawn.len(), 2);
    assert_eq!(scene.published(), [base]);
    for (number, id) in above.into_iter().enumerate() {
        scene.first.assert_is_in(&scene, id, 2 + number as u64);
    }
    let target = tempfile::tempdir().unwrap();
    let report = tests::trial::restore_from(&scene.archive(), &sealed, &mut scene.first.keyring(), target.path()).unwrap();
    assert!(report.problems.is_empty(), "the history is whole without them: {:?}", report.problems);
}

trait Kept {
    fn assert_is_in(&self, scene: &Scene, id: archive::id::SnapshotId, seed: u64);
}

impl Kept for tests::trial::Trial {
    fn assert_is_in(&self, scene: &Scene, id: archive::id::SnapshotId, seed: u64) {
        scene.assert_whole(self, id, &tree(seed), "a branch");
    }
}

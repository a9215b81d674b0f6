//! The rule as a table of cases, each on repositories of its own; and the ledger that it goes by.

use crate::scene::{Scene, dataset, export, signer, tree};
use archive::id::SnapshotId;
use archive::name::SEQUENCE_MAX;
use link::reigns::Holder;
use tests::reigning::grant;
use tests::trial::CLUSTER;

/// What becomes of a snapshot.
enum Becomes {
    Published,
    /// Put aside, with these words.
    Aside(&'static str),
}

/// Makes a snapshot whose fate is asked for, in a scene whose `first` has exported once and was pulled.
type Makes = fn(&mut Scene) -> (tests::trial::Trial, SnapshotId);

fn cases() -> Vec<(&'static str, Makes, Becomes)> {
    use Becomes::{Aside, Published};
    vec![
        ("the holder goes on", |scene| go_on(scene, "web1", 1, 1), Published),
        ("another node signs for the epoch", |scene| go_on(scene, "web2", 2, 1), Aside("another key signed it")),
        ("an epoch that nobody granted", |scene| go_on(scene, "web1", 1, 2), Aside("nobody granted epoch 2")),
        ("an epoch from the far future", |scene| go_on(scene, "web1", 1, 0xffff_ffff), Aside("nobody granted")),
        (
            "the old holder after the seal",
            |scene| {
                scene.grant(1, "web2", 2);
                go_on(scene, "web1", 1, 1)
            },
            Aside("epoch 1 was sealed at 1.1"),
        ),
        (
            "the old holder in the new epoch",
            |scene| {
                scene.grant(1, "web2", 2);
                go_on(scene, "web1", 1, 2)
            },
            Aside("web2 holds epoch 2"),
        ),
        (
            "the new holder from the sealed head",
            |scene| {
                scene.grant(1, "web2", 2);
                go_on(scene, "web2", 2, 2)
            },
            Published,
        ),
        (
            "the new holder from before the sealed head",
            |scene| {
                let old = scene.branch(&scene.first, "web2", 2, 2);
                export(&scene.first, &tree(2));
                scene.takes(&*scene.first.repository);
                scene.grant(1, "web2", 2);
                let id = export(&old, &tree(3));
                (old, id)
            },
            Aside("does not follow the sealed head 1.2"),
        ),
    ]
}

/// Of sequences, of conflict, and of an archive that was rolled back.
fn stranger_cases() -> Vec<(&'static str, Makes, Becomes)> {
    use Becomes::{Aside, Published};
    vec![
        (
            "a sequence from the end of all numbers",
            |scene| {
                let mut branch = scene.branch(&scene.first, "web1", 1, 1);
                branch.options.above = SEQUENCE_MAX;
                let id = export(&branch, &tree(2));
                (branch, id)
            },
            Aside("leaves no number"),
        ),
        (
            "another snapshot at a position that is taken",
            |scene| {
                let branch = scene.branch(&scene.first, "web1", 1, 1);
                export(&scene.first, &tree(2));
                scene.takes(&*scene.first.repository);
                let id = export(&branch, &tree(3));
                (branch, id)
            },
            Aside("is taken by another snapshot"),
        ),
        (
            "two nodes that took one epoch by force",
            |scene| {
                for (node, seed) in [("web2", 2), ("web3", 3)] {
                    let branch = scene.branch(&scene.first, node, seed, 2);
                    export(&branch, &tree(10 + u64::from(seed)));
                    scene.keeps(&*branch.repository);
                }
                go_on(scene, "web1", 1, 1)
            },
            Aside("CONFLICT"),
        ),
        (
            "what an archive lacks that was rolled back behind a seal",
            |scene| {
                let id = export(&scene.first, &tree(2));
                scene.takes(&*scene.first.repository);
                scene.grant(1, "web2", 2);
                let newest = scene.archive().snapshots().unwrap().pop().unwrap();
                std::fs::remove_file(scene.path().join(&newest.name)).unwrap();
                (scene.branch(&scene.first, "web1", 1, 1), id)
            },
            Published,
        ),
    ]
}

fn go_on(scene: &mut Scene, node: &str, seed: u8, epoch: u64) -> (tests::trial::Trial, SnapshotId) {
    let branch = scene.branch(&scene.first, node, seed, epoch);
    let id = export(&branch, &tree(2));
    (branch, id)
}

#[test]
fn every_snapshot_is_published_or_whole_in_quarantine_as_the_rule_says() {
    for (case, makes, becomes) in cases().into_iter().chain(stranger_cases()) {
        let mut scene = Scene::new();
        export(&scene.first, &tree(1));
        assert_eq!(scene.pull(&*scene.first.repository).snapshots.len(), 1, "{case}");
        let (node, id) = makes(&mut scene);
        let before = scene.published();
        let (report, kept) = scene.pull_and_keep(&*node.repository);
        assert!(report.refused.is_empty() && report.stopped.is_none(), "{case}: {report:?}");
        match becomes {
            Becomes::Published => {
                assert_eq!(report.snapshots.iter().map(|known| known.id).collect::<Vec<_>>(), [id], "{case}");
                assert!(report.aside.is_empty(), "{case}: {:?}", report.aside);
            }
            Becomes::Aside(words) => {
                let aside = report
                    .aside
                    .iter()
                    .find(|aside| aside.known.id == id)
                    .unwrap_or_else(|| panic!("{case}: {report:?}"));
                assert!(aside.why.contains(words), "{case}: {}", aside.why);
                assert!(kept.iter().all(|kept| kept.trouble.is_none()), "{case}: {kept:?}");
                assert_eq!(scene.published(), before, "{case}");
                let what = if case.contains("position") || words.contains("follow") { tree(3) } else { tree(2) };
                scene.assert_whole(&node, id, &what, case);
            }
        }
        // The same again changes nothing.
        let (published, quarantined) = (scene.published(), scene.quarantined());
        scene.keeps(&*node.repository);
        assert_eq!((scene.published(), scene.quarantined()), (published, quarantined), "{case}");
    }
}

#[test]
fn epoch_0_is_as_it_was_without_anybody_who_reigns() {
    let mut scene = Scene::new();
    scene.first.options.epoch = 0;
    let id = export(&scene.first, &tree(1));
    let report = scene.pull(&*scene.first.repository);
    assert_eq!((report.snapshots[0].id, report.aside.len()), (id, 0));
}

#[test]
fn an_epoch_may_be_skipped_and_a_holder_may_come_anew() {
    let scene = Scene::new();
    let ledger = &scene.publish.ledger;
    assert_eq!(grant(ledger, CLUSTER, 1, 7, ("web2", signer(2).public())).epoch, 7);
    let anew = ledger.first(CLUSTER, Holder::new("web2", signer(3).public()), 6).unwrap().unwrap();
    assert_eq!((anew.epoch, anew.holder.former.as_slice()), (7, [signer(2).public().to_string()].as_slice()));
    let other = ledger.first(CLUSTER, Holder::new("web9", signer(1).public()), 7).unwrap().unwrap();
    assert_eq!((other.epoch, other.sealed.len()), (8, 2), "another node's reign is another epoch");
}

#[test]
fn what_a_peer_claims_is_bounded_and_stops_nobody_who_was_granted() {
    let scene = Scene::new();
    let ledger = &scene.publish.ledger;
    let holder = |seed: u8| Holder::new(&format!("web{seed}"), signer(seed).public());
    assert!(!ledger.claimed(CLUSTER, 1, holder(2), 1).unwrap(), "no epoch above the current one");
    assert!(!ledger.claimed(CLUSTER, 1_000_000, holder(2), 1).unwrap(), "out of reach");
    assert!(ledger.claimed(CLUSTER, 2, holder(2), 1).unwrap());
    assert!(!ledger.claimed(CLUSTER, 2, holder(2), 1).unwrap(), "noted once");
    let reigns = ledger.open(CLUSTER).unwrap().unwrap();
    assert!(reigns.conflict().is_none() && reigns.epoch == 1, "one alone changes nothing");
    export(&scene.first, &tree(1));
    assert_eq!(scene.pull(&*scene.first.repository).snapshots.len(), 1);
    // Whom the arbiter gives that epoch after all has no rival in it.
    scene.grant(1, "web3", 3);
    assert_eq!(ledger.open(CLUSTER).unwrap().unwrap().claims, []);
    assert!(!ledger.claimed(CLUSTER, 2, holder(2), 2).unwrap());
}

#[test]
fn nothing_but_the_ledger_is_asked_when_nobody_reigns() {
    let scene = Scene::new();
    std::fs::remove_dir_all(scene.file.state.join("clusters")).unwrap();
    assert!(scene.publish.rule_of(&dataset()).unwrap().is_none());
}

//! What happens in between: a seal while something is pulled, a process that dies at any step, a quota that is reached, a peer that lies.

use crate::scene::{Scene, dataset, export, signer, tree};
use archive::name::{Position, SEQUENCE_MAX};
use archive::record::{Signed, Snapshot};
use archive::repository::{Access, Known};
use archive::sync::{Admission, Offer, SyncOptions, Verdict, Wanted, sync};
use link::publishing::Publishing;
use pull_backup::quarantine::noted::Noted;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tests::origin::Origin;
use tests::plain::PlainTree;
use tests::reigning::grant;
use tests::trial::CLUSTER;

/// So much that it comes in packs of its own.
fn large(seed: u64) -> PlainTree {
    let mut large = tree(seed);
    large.file("s/new", tests::history::noise(500 + seed, 3 << 20));
    large
}

#[test]
fn a_snapshot_whose_epoch_is_sealed_while_it_is_pulled_goes_to_quarantine() {
    let scene = Scene::new();
    let base = export(&scene.first, &tree(1));
    scene.takes(&*scene.first.repository);
    let late = export(&scene.first, &large(2));
    let mut origin = Origin::of(&scene.first.repository);
    let (ledger, given) = (scene.publish.ledger.clone(), AtomicU64::new(0));
    origin.segment_lie = Some(Box::new(move |segment| {
        if given.fetch_add(1, Ordering::SeqCst) == 1 {
            grant(&ledger, CLUSTER, 1, 2, ("web2", signer(2).public()));
        }
        Some(segment)
    }));
    let (report, kept) = scene.pull_and_keep(&origin);
    assert!(report.snapshots.is_empty(), "it was whole only after the seal");
    assert!(report.aside[0].why.contains("epoch 1 was sealed at 1.1"), "{:?}", report.aside);
    assert_eq!(kept[0].trouble, None);
    assert_eq!(scene.published(), [base]);
    let before = origin.given();
    scene.assert_whole(&scene.first, late, &large(2), "sealed during the pull");
    assert_eq!(scene.publish.ledger.open(CLUSTER).unwrap().unwrap().base("data").unwrap().sequence, 1);
    let fetched: std::collections::BTreeSet<_> = origin.addresses.lock().unwrap().iter().copied().collect();
    assert_eq!(before, fetched.len() as u64, "what had come for the archive did not come twice");
}

/// A rule whose process dies after the object is published, or before.
struct Dies {
    rule: Arc<dyn Admission>,
    before: bool,
}

impl Admission for Dies {
    fn concerns(&self, known: &Known) -> bool {
        self.rule.concerns(known)
    }

    fn judge(&self, offer: &Offer<'_>) -> archive::Result<Verdict> {
        self.rule.judge(offer)
    }

    fn publish(&self, offer: &Offer<'_>, publish: &mut dyn FnMut() -> archive::Result<()>) -> archive::Result<Verdict> {
        let died = || archive::Error::Store { operation: "go on", name: "it died".into(), source: io::ErrorKind::Other.into() };
        let outcome = self.rule.publish(offer, &mut || if self.before { Err(died()) } else { publish() });
        outcome.and_then(|_| Err(died()))
    }
}

#[test]
fn who_dies_between_storing_and_recording_loses_nothing_and_publishes_nothing_twice() {
    for before in [true, false] {
        let scene = Scene::new();
        let base = export(&scene.first, &tree(1));
        scene.takes(&*scene.first.repository);
        let next = scene.branch(&scene.first, "web2", 2, 2);
        let tail = export(&scene.first, &tree(2));
        scene.grant(1, "web2", 2);
        // The first of an epoch: noted in the ledger, then published.
        let first = export(&next, &tree(3));
        let dies = Dies { rule: scene.rule(), before };
        let options = SyncOptions { admission: Some(Arc::new(dies)), ..scene.options() };
        assert!(sync(&*next.repository, &scene.archive(), &Wanted::Above(Position::default()), &options).is_err());
        let report = scene.pull(&*next.repository);
        assert_eq!(report.snapshots.len(), usize::from(before), "once, before its death or after");
        assert_eq!(scene.published(), [base, first]);
        // The tail: stored in quarantine, and nobody noted it.
        let report = scene.pull(&*scene.first.repository);
        let archive = scene.archive();
        scene
            .publish
            .quarantine
            .keep(&dataset(), &report.aside, &*scene.first.repository, &archive, &scene.options())
            .unwrap();
        let quarantined = scene.quarantined();
        assert_eq!(quarantined.len(), 1);
        scene.keeps(&*scene.first.repository);
        assert_eq!(scene.quarantined(), quarantined);
        assert_eq!(scene.published(), [base, first]);
        scene.assert_whole(&scene.first, tail, &tree(2), "the tail");
    }
}

#[test]
fn a_pull_into_quarantine_that_breaks_off_anywhere_is_gone_on_with() {
    let scene = Scene::new();
    export(&scene.first, &tree(1));
    scene.takes(&*scene.first.repository);
    scene.grant(1, "web2", 2);
    let tail = export(&scene.first, &large(2));
    let mut breaks = 0;
    for at in 0..50 {
        let origin = Origin::of(&scene.first.repository);
        origin.break_at.store(at, Ordering::SeqCst);
        let (_, kept) = scene.pull_and_keep(&origin);
        let trouble = kept.first().and_then(|kept| kept.trouble.clone());
        if trouble.is_none() {
            break;
        }
        assert_eq!(scene.quarantined().iter().map(|(_, known)| known.len()).sum::<usize>(), 0, "not before it is whole");
        breaks += 1;
    }
    assert!(breaks > 0 && breaks < 50, "{breaks}");
    scene.assert_whole(&scene.first, tail, &large(2), "in spite of all");
}

#[test]
fn a_full_quarantine_refuses_and_says_so_and_drops_nothing() {
    let scene = Scene::with("quarantine = \"1MB\"\n");
    export(&scene.first, &tree(1));
    scene.takes(&*scene.first.repository);
    scene.grant(1, "web2", 2);
    let fits = export(&scene.first, &tree(2));
    scene.keeps(&*scene.first.repository);
    scene.assert_whole(&scene.first, fits, &tree(2), "what fits");
    let beyond = export(&scene.first, &large(3));
    let (_, kept) = scene.pull_and_keep(&*scene.first.repository);
    let trouble = kept.iter().find_map(|kept| kept.trouble.clone()).expect("it does not fit");
    assert!(trouble.contains("the quarantine is full") && trouble.contains("raise `quarantine`"), "{trouble}");
    let noted = Noted::open(&scene.file.state, CLUSTER).unwrap();
    assert_eq!(noted.refused["data"].len(), 1, "status will say it");
    scene.assert_whole(&scene.first, fits, &tree(2), "what was there");
    // With more room it is taken, by the next pull of the same.
    let publish = pull_backup::publishing::Publish::new(
        &console::pull_backup_file::PullBackupFile { quarantine: 1 << 30, ..scene.file.clone() },
        Arc::new(|| 1),
    );
    let report = scene.pull(&*scene.first.repository);
    let kept = publish
        .keep(&dataset(), &report.aside, &*scene.first.repository, &scene.archive(), &scene.options())
        .unwrap();
    assert!(kept.iter().all(|kept| kept.trouble.is_none()), "{kept:?}");
    assert!(Noted::open(&scene.file.state, CLUSTER).unwrap().refused.is_empty());
    scene.assert_whole(&scene.first, beyond, &large(3), "what did not fit");
}

#[test]
fn a_lying_peer_reaches_neither_history_nor_the_ledger() {
    let scene = Scene::new();
    let good = export(&scene.first, &tree(1));
    scene.takes(&*scene.first.repository);
    let ledger = scene.publish.ledger.open(CLUSTER).unwrap();
    // A member that stands by forges: epochs, sequences, and the holder's name.
    for (number, (epoch, above, node)) in [(1, 1 << 40, "web1"), (9_999, 5, "web2"), (0xffff_ffff, SEQUENCE_MAX, "web1")]
        .into_iter()
        .enumerate()
    {
        let mut forger = scene.branch(&scene.first, node, 2, epoch);
        forger.options.above = above;
        export(&forger, &tree(20 + number as u64));
        let (report, kept) = scene.pull_and_keep(&*forger.repository);
        assert!(report.snapshots.is_empty() && kept.iter().all(|kept| kept.trouble.is_none()), "{report:?} {kept:?}");
    }
    // A stranger is not even put aside.
    let stranger = scene.branch(&scene.first, "web1", 66, 1);
    export(&stranger, &tree(30));
    let (report, _) = scene.pull_and_keep(&*stranger.repository);
    assert!(!report.refused.is_empty() && report.aside.is_empty(), "{report:?}");
    assert_eq!(scene.published(), [good]);
    assert_eq!(scene.publish.ledger.open(CLUSTER).unwrap(), ledger);
    // Whose it is says the key, so that the holder's name covers nothing of another's.
    let own = archive::sign::PublicKey::hex(&signer(1).public())[..8].to_owned();
    assert!(scene.quarantined().iter().all(|(name, _)| !name.node.ends_with(&own)));
    let after = export(&scene.first, &tree(2));
    scene.takes(&*scene.first.repository);
    assert_eq!(scene.published(), [good, after], "the holder goes on");
}

#[test]
fn what_is_in_quarantine_needs_nothing_of_the_archive() {
    let scene = Scene::new();
    export(&scene.first, &tree(1));
    scene.takes(&*scene.first.repository);
    scene.grant(1, "web2", 2);
    let tail = export(&scene.first, &tree(2));
    scene.keeps(&*scene.first.repository);
    std::fs::remove_dir_all(scene.path()).unwrap();
    scene.assert_whole(&scene.first, tail, &tree(2), "the archive is lost");
    let (name, known) = scene.quarantined().remove(0);
    let repository = scene.publish.quarantine.open(&name, Access::Shared).unwrap();
    let signed: Signed<Snapshot> = repository.snapshot(&known[0]).unwrap();
    assert_eq!((signed.body.node.as_str(), name.epoch), ("web1", 1));
}

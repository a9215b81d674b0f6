//! A stolen pull-backup, its keys and disk in other hands: an importer that knows the cluster key takes nothing of it that no certified node wrote, and moves back to
//! nothing older.

use super::*;
use archive::id::SnapshotId;
use archive::record::Snapshot;
use archive::repository::alone;
use tests::history::copy_of;
use tests::origin::Origin;

/// A cluster of one certified node, its archive, and an importer's mirror.
struct Scene {
    trial: Trial,
    cluster: Signer,
    keeper: Keeper,
    mirror: Keeper,
    tree: PlainTree,
}

fn scene() -> Scene {
    let (trial, cluster) = (Trial::new(), Signer::from_seed(&[11; 32]));
    publish(&trial.repository, &certificate(&cluster, "web1", trial.options.signer.public()));
    let (keeper, mirror, mut tree) = (Keeper::new(), Keeper::new(), tree());
    for number in 0..3 {
        version(&mut tree, number);
        trial.export(&tree);
        assert!(keeper.pull(&*trial.repository, &pins(&[&trial.options.signer]), LATER_MS + number).is_complete());
    }
    assert!(mirror.pull(&*keeper.repository, &rooted(&cluster), LATER_MS).is_complete());
    Scene { trial, cluster, keeper, mirror, tree }
}

impl Scene {
    fn assert_unmoved(&self, stolen: &dyn Source, what: &str) -> SyncReport {
        let before = self.mirror.names();
        let report = self.mirror.pull(stolen, &rooted(&self.cluster), LATER_MS);
        assert!(report.snapshots.is_empty(), "{what}: {report:?}");
        assert_eq!(report.head.as_ref().map(|known| &known.name), before.last(), "{what}: the head stays");
        assert_eq!(self.mirror.names(), before, "{what}");
        self.mirror.assert_newest_is(&self.trial, &self.tree, what);
        report
    }
}

#[test]
fn what_no_certified_node_wrote_is_not_taken() {
    let scene = scene();
    let thief = Signer::from_seed(&[66; 32]);
    let newest = scene.keeper.repository.snapshots().unwrap().pop().unwrap();
    let honest = scene.keeper.repository.snapshot(&newest).unwrap().body;
    let at = Position { epoch: honest.epoch, sequence: honest.sequence + 1 };
    let put = |what: &str, body: Snapshot, by: &Signer, certificates: &[Signed<Certificate>]| {
        let stolen = Keeper::of(copy_of(&scene.keeper.store), false);
        let signed = Signed::sign(body, by);
        let at = Position { epoch: signed.body.epoch, sequence: signed.body.sequence };
        stolen.store.set(&archive::name::snapshot(at, SnapshotId::of(&signed.hash.0)), alone(&signed));
        certificates.iter().for_each(|certificate| publish(&stolen.repository, certificate));
        let report = scene.assert_unmoved(&*stolen.repository, what);
        assert!(!report.refused.is_empty(), "{what}: and it is said: {report:?}");
    };
    let next = Snapshot { sequence: at.sequence, ..honest.clone() };
    put("its own key", next.clone(), &thief, &[]);
    put("a key that it enrolled and certified itself", next.clone(), &thief, &[certificate(&thief, "web1", thief.public())]);
    put("the receipt key that it has", next.clone(), &scene.keeper.receipt, &[]);
    let other = certificate(&scene.cluster, "web2", thief.public());
    put("a certified key that speaks for another node", next.clone(), &thief, std::slice::from_ref(&other));
    put("another epoch", Snapshot { epoch: 7, ..next }, &thief, &[certificate(&thief, "web1", thief.public())]);
}

#[test]
fn a_true_snapshot_under_another_position_is_not_taken() {
    let scene = scene();
    let stolen = Keeper::of(copy_of(&scene.keeper.store), false);
    let old = stolen.repository.snapshots().unwrap()[0].clone();
    let bytes = archive::store::read_all(&stolen.store, &old.name, 1 << 20).unwrap();
    stolen.store.set(&archive::name::snapshot(Position { epoch: 9, sequence: 9 }, old.id), bytes);
    let _ = scene.assert_unmoved(&*stolen.repository, "an old state as the newest");
}

#[test]
fn an_archive_that_was_put_back_moves_no_head() {
    let mut scene = scene();
    let rolled_back = Keeper::of(copy_of(&scene.keeper.store), false);
    version(&mut scene.tree, 9);
    scene.trial.export(&scene.tree);
    scene.keeper.take(&*scene.trial.repository, &pins(&[&scene.trial.options.signer]), LATER_MS);
    assert_eq!(scene.mirror.pull(&*scene.keeper.repository, &rooted(&scene.cluster), LATER_MS).snapshots.len(), 1);
    let _ = scene.assert_unmoved(&*rolled_back.repository, "put back");
    let _ = scene.assert_unmoved(&*Keeper::new().repository, "emptied");
}

#[test]
fn what_it_changes_on_the_way_is_found() {
    let mut scene = scene();
    scene.tree.file("s/more", tests::chance::noise(5, 2_000_000));
    scene.trial.export(&scene.tree);
    scene.keeper.take(&*scene.trial.repository, &pins(&[&scene.trial.options.signer]), LATER_MS);
    let before = scene.mirror.names();
    let mut lying = Origin::of(&scene.keeper.repository);
    lying.segment_lie = Some(Box::new(|(run, sequence, mut item)| {
        let last = item.len() - 1;
        item[last] ^= 1;
        Some((run, sequence, item))
    }));
    let report = scene.mirror.pull(&lying, &rooted(&scene.cluster), LATER_MS);
    assert!(!report.is_complete());
    assert_eq!(scene.mirror.names(), before);
    // From an honest one it comes.
    assert_eq!(scene.mirror.pull(&*scene.keeper.repository, &rooted(&scene.cluster), LATER_MS).snapshots.len(), 1);
    scene.mirror.assert_newest_is(&scene.trial, &scene.tree, "after the lie");
}

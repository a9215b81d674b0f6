//! Sources that lie. What they lie about is refused and named, nothing of it is stored under a name that counts, and what is true still comes.

use super::*;
use archive::id::{Address, Hash, RunId};
use archive::name::{self, Position};
use archive::record::{LiveRange, Run, Signed, Snapshot, run_id};
use archive::repository::Known;
use std::sync::Mutex;
use tests::origin::Origin;
use tests::trial::known_in;

/// A source whose second and third snapshots do not need the first one's packs: each export has a dataset of its own.
struct Scene {
    trial: Trial,
    versions: Versions,
    first: RunId,
}

fn scene() -> Scene {
    let trial = Trial::new();
    let mut versions = vec![];
    let mut tree = PlainTree::new("s");
    tree.file("s/first", noise(1, 1_500_000));
    version(&trial, &tree, &mut versions);
    let first = trial.repository.snapshot(&trial.known(versions[0].0)).unwrap().body.runs[0].run;
    let mut other = PlainTree::new("s");
    other.file("s/second", noise(2, 1_500_000));
    // Without local state the next export has no base.
    std::fs::remove_dir_all(trial.local()).unwrap();
    version(&trial, &other, &mut versions);
    Scene { trial, versions, first }
}

impl Scene {
    fn origin(&self) -> Origin {
        Origin::of(&self.trial.repository)
    }

    /// Pulls from the liar: the first snapshot is refused and a word of the reason is in the report, the second arrives. Then an honest source completes it. Gives what was lacking.
    fn assert_first_is_refused(&self, origin: &Origin, word: &str) -> Vec<Address> {
        let into = memory();
        let report = pull(origin, &into);
        let ids: Vec<_> = report.snapshots.iter().map(|known| known.id).collect();
        assert_eq!(ids, [self.versions[1].0], "{word}: {report:?}");
        assert!(!report.is_complete());
        assert!(report.refused.iter().any(|refusal| refusal.why.contains(word)), "{word}: {report:?}");
        assert_restores(&self.trial, &into, &self.versions, word);
        let honest = sync(&*self.trial.repository, &into, &Wanted::History, &options()).unwrap();
        assert!(honest.is_complete(), "{word}: {honest:?}");
        assert_eq!(assert_restores(&self.trial, &into, &self.versions, word), 2);
        report.lacking
    }

    /// Publishes a snapshot in the source that this change makes of the first one.
    fn forge(&self, signer: &Signer, change: impl FnOnce(&mut Snapshot)) -> Known {
        let mut body = self.trial.repository.snapshot(&self.trial.known(self.versions[0].0)).unwrap().body;
        change(&mut body);
        let at = Position { epoch: body.epoch, sequence: body.sequence };
        let signed = Signed::sign(body, signer);
        let id = archive::id::SnapshotId::of(&signed.hash.0);
        let name = name::snapshot(at, id);
        self.trial.repository.publish_record(&name, &signed).unwrap();
        Known { at, id, name }
    }
}

#[test]
fn a_segment_with_another_hash_is_refused_and_its_address_is_lacking() {
    let scene = scene();
    let mut origin = scene.origin();
    let first = scene.first;
    origin.segment_lie = Some(Box::new(move |(run, sequence, mut item)| {
        if run == first && sequence == 0 {
            item[1000] ^= 1;
        }
        Some((run, sequence, item))
    }));
    let lacking = scene.assert_first_is_refused(&origin, "not those that were signed");
    assert_eq!(lacking, [Address { run: scene.first, sequence: 0 }]);
}

#[test]
fn a_segment_that_the_source_lacks_is_named_and_no_other() {
    let scene = scene();
    let mut origin = scene.origin();
    let first = scene.first;
    origin.segment_lie = Some(Box::new(move |segment| (segment.0 != first || segment.1 != 1).then_some(segment)));
    let lacking = scene.assert_first_is_refused(&origin, "not to be had");
    assert_eq!(lacking, [Address { run: scene.first, sequence: 1 }]);
}

#[test]
fn swapped_repeated_and_unasked_segments_are_refused() {
    let scene = scene();
    for shift in [1, 1000] {
        let mut origin = scene.origin();
        let first = scene.first;
        origin.segment_lie = Some(Box::new(move |(run, sequence, item)| {
            let told = if run == first { (sequence + shift) % (shift + 1) + shift / 1000 * 7000 } else { sequence };
            Some((run, told, item))
        }));
        scene.assert_first_is_refused(&origin, if shift == 1 { "signed" } else { "nobody asked" });
    }
}

#[test]
fn a_run_that_was_changed_or_is_another_is_refused() {
    let scene = scene();
    let stranger = Signer::from_seed(&[66; 32]);
    let first = scene.first;
    let mut body = archive::repository::Repository::run(
        &scene.trial.repository,
        &scene.trial.repository.snapshot(&scene.trial.known(scene.versions[0].0)).unwrap().body.runs[0],
    )
    .unwrap()
    .body;
    body.nonce = [3; 32];
    body.id = run_id(&stranger.public(), &body.nonce);
    let another = Signed::sign(body.clone(), &stranger).item;
    body.id = first;
    let same_id = Signed::sign(body, &stranger).item;
    let lies: Vec<(&str, Box<dyn Fn(Vec<u8>) -> Vec<u8> + Send + Sync>)> = vec![
        (
            "signature",
            Box::new(|mut item| {
                item[200] ^= 4;
                item
            }),
        ),
        ("ends too early", Box::new(|item| item[..5].to_vec())),
        ("another run", Box::new(move |_| another.clone())),
        ("not made by its signer", Box::new(move |_| same_id.clone())),
    ];
    for (word, lie) in lies {
        let mut origin = scene.origin();
        origin.run_lie = Some(Box::new(move |(id, item)| Some((id, if id == first { lie(item) } else { item }))));
        scene.assert_first_is_refused(&origin, word);
    }
    let mut origin = scene.origin();
    origin.run_lie = Some(Box::new(move |(id, item)| (id != first).then_some((id, item))));
    scene.assert_first_is_refused(&origin, "is not there");
}

#[test]
fn a_snapshot_that_is_not_what_its_name_says_is_refused() {
    let scene = scene();
    let (first, second) = (scene.trial.known(scene.versions[0].0), scene.trial.known(scene.versions[1].0));
    let other = Source::snapshot(&*scene.trial.repository, &second).unwrap();
    let lies: Vec<(&str, Box<dyn Fn(Vec<u8>) -> Vec<u8> + Send + Sync>)> = vec![
        ("another snapshot than its name", Box::new(move |_| other.clone())),
        (
            "signature",
            Box::new(|mut bytes| {
                bytes[40] ^= 1;
                bytes
            }),
        ),
        ("ends too early", Box::new(|bytes| bytes[..100].to_vec())),
    ];
    for (word, lie) in lies {
        let mut origin = scene.origin();
        let first = first.clone();
        origin.snapshot_lie = Some(Box::new(move |(known, bytes)| Some((known.clone(), if known == first { lie(bytes) } else { bytes }))));
        scene.assert_first_is_refused(&origin, word);
    }
}

#[test]
fn names_that_climb_and_names_that_are_none_are_refused() {
    let scene = scene();
    let mut origin = scene.origin();
    let id = scene.versions[0].0;
    origin.list_lie = Some(Box::new(move |mut listing| {
        listing
            .snapshots
            .iter_mut()
            .filter(|known| known.id == id)
            .for_each(|known| known.name = "../../etc/passwd".into());
        listing.records.push("keys/../../evil".into());
        listing.records.push("packs/00000000000000000000000000000000".into());
        Some(listing)
    }));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = asked.clone();
    origin.record_lie = Some(Box::new(move |(name, bytes)| {
        seen.lock().unwrap().push(name.clone());
        Some((name, bytes))
    }));
    scene.assert_first_is_refused(&origin, "another name");
    assert!(asked.lock().unwrap().iter().all(|name| !name.starts_with("packs/")), "no small record lies there");
}

#[test]
fn another_dataset_and_another_signer_are_refused_before_anything_is_stored() {
    let scene = scene();
    let foreign = Arc::new(MemoryStore::default());
    Repository::create(&*foreign, "shop", "other").unwrap();
    let foreign = Repository::open(foreign).unwrap();
    let report = pull(&*scene.trial.repository, &foreign);
    assert!(report.snapshots.is_empty() && report.bytes == 0 && !report.refused.is_empty());
    let pinned = Trust { pinned: vec![Signer::from_seed(&[1; 32]).public()], ..Trust::default() };
    let into = memory();
    let report = sync(&*scene.trial.repository, &into, &ALL, &SyncOptions { trust: pinned, ..options() }).unwrap();
    assert!(report.snapshots.is_empty() && report.bytes == 0, "{report:?}");
    assert!(report.refused.iter().any(|refusal| refusal.why.contains("not the pinned one")));
    for repository in [&foreign, &*into] {
        for folder in name::FOLDERS {
            assert!(repository.list(folder).unwrap().is_empty(), "{folder}");
        }
    }
}

#[test]
fn only_a_certified_node_is_believed_and_its_certificate_travels() {
    let scene = scene();
    let cluster = Signer::from_seed(&[11; 32]);
    let trust = Trust { cluster_key: Some(cluster.public()), ..Trust::default() };
    let strict = SyncOptions { trust, ..options() };
    let certificate = |node: &str, by: &Signer| {
        let body = archive::record::Certificate {
            cluster: "shop".into(),
            node: node.into(),
            key: scene.trial.options.signer.public(),
            issued_ms: 1,
        };
        Signed::sign(body, by)
    };
    let name = |signed: &Signed<_>| name::node(&scene.trial.options.signer.public(), signed.id());
    for wrong in [certificate("web1", &Signer::from_seed(&[12; 32])), certificate("web2", &cluster)] {
        scene.trial.repository.publish_record(&name(&wrong), &wrong).unwrap();
        let report = sync(&*scene.trial.repository, &memory(), &ALL, &strict).unwrap();
        assert!(report.snapshots.is_empty() && !report.refused.is_empty());
    }
    let right = certificate("web1", &cluster);
    scene.trial.repository.publish_record(&name(&right), &right).unwrap();
    let into = memory();
    let report = sync(&*scene.trial.repository, &into, &ALL, &strict).unwrap();
    assert_eq!(report.snapshots.len(), scene.trial.repository.snapshots().unwrap().len(), "{report:?}");
    assert_eq!(into.list(name::NODES).unwrap().len(), 2, "both that the cluster key made; the forged one stays outside");
}

#[test]
fn without_its_sealing_identity_a_snapshot_is_not_taken() {
    let scene = scene();
    let mut origin = scene.origin();
    origin.record_lie = Some(Box::new(|(name, bytes)| (!name.starts_with("keys/")).then_some((name, bytes))));
    let into = memory();
    let report = pull(&origin, &into);
    assert!(report.snapshots.is_empty() && report.segments == 0);
    assert!(report.refused.iter().any(|refusal| refusal.why.contains("sealing identity")), "{report:?}");
    pull_all(&*scene.trial.repository, &into);
}

#[test]
fn one_node_with_two_snapshots_at_one_position_is_named() {
    let scene = scene();
    let into = memory();
    pull_all(&*scene.trial.repository, &into);
    let double = scene.forge(&scene.trial.options.signer, |body| body.captured_ms += 1);
    // Who has the first keeps it and says so; who has none takes neither.
    for (into, expected) in [(into, 2), (memory(), 1)] {
        for wanted in [ALL, Wanted::History] {
            let report = sync(&*scene.trial.repository, &into, &wanted, &options()).unwrap();
            let named: Vec<_> = report
                .refused
                .iter()
                .filter(|refusal| refusal.why.contains("several snapshots for position"))
                .map(|refusal| &refusal.name)
                .collect();
            assert!(named.contains(&&double.name), "{report:?}");
            assert_eq!(into.snapshots().unwrap().len(), expected);
            assert!(into.snapshots().unwrap().iter().all(|known| known.id != double.id));
        }
    }
}

#[test]
fn two_nodes_at_one_position_are_no_lie() {
    let scene = scene();
    let other = scene.forge(&Signer::from_seed(&[8; 32]), |body| body.node = "web2".into());
    let into = memory();
    pull_all(&*scene.trial.repository, &into);
    assert_eq!(known_in(&into, other.id), other);
    assert_eq!(into.snapshots().unwrap().len(), 3);
}

#[test]
fn ranges_that_no_run_has_cost_nothing_and_are_refused() {
    let scene = scene();
    for (first, count) in [(0, u32::MAX), (4_000_000_000, 1)] {
        let forged = scene.forge(&scene.trial.options.signer, |body| {
            body.sequence += 100 + u64::from(first);
            body.runs[0].live = vec![LiveRange { first, count }];
        });
        let report = pull(&*scene.trial.repository, &memory());
        assert_eq!(report.snapshots.len(), 2);
        let refusal = report.refused.iter().find(|refusal| refusal.name == forged.name).expect("it is named");
        assert!(refusal.why.contains("does not have"), "{refusal:?}");
        scene.trial.repository.store().remove(&forged.name).unwrap();
    }
}

#[test]
fn one_run_id_with_two_records_is_refused_and_the_first_stays() {
    let scene = scene();
    let into = memory();
    pull_all(&*scene.trial.repository, &into);
    let signer = scene.trial.options.signer.clone();
    let first = scene.trial.known(scene.versions[0].0);
    let used = scene.trial.repository.snapshot(&first).unwrap().body.runs[0].clone();
    let truth = Repository::run(&scene.trial.repository, &used).unwrap();
    let mut body: Run = truth.body.clone();
    body.segments[0].hash = Hash([5; 32]);
    let twin = Signed::sign(body, &signer);
    let forged = scene.forge(&signer, |body| {
        body.sequence += 100;
        body.runs[0].record = twin.id();
    });
    let mut origin = scene.origin();
    let id = scene.first;
    origin.run_lie = Some(Box::new(move |(run, item)| Some((run, if run == id { twin.item.clone() } else { item }))));
    let report = pull(&origin, &into);
    assert!(report.snapshots.is_empty());
    assert!(
        report
            .refused
            .iter()
            .any(|refusal| refusal.name == forged.name && refusal.why.contains("not the run")),
        "{report:?}"
    );
    assert_eq!(assert_restores(&scene.trial, &into, &scene.versions, "the first stays"), 2);
}

#[test]
fn small_records_that_are_not_what_they_are_called_are_refused() {
    let scene = scene();
    let into = memory();
    let mut origin = scene.origin();
    origin.list_lie = Some(Box::new(|mut listing| {
        listing.records.push("receipts/00000000000000000000000000000000.0000000000000000".into());
        listing.records.push(name::key(archive::id::IdentityId([1; 16]), 1));
        Some(listing)
    }));
    // Gives one record under the name of another that was asked for.
    let last: Mutex<Option<Vec<u8>>> = Mutex::new(None);
    origin.record_lie = Some(Box::new(move |(name, bytes)| {
        let before = last.lock().unwrap().replace(bytes.clone());
        Some((name, before.unwrap_or(bytes)))
    }));
    let report = pull(&origin, &into);
    for refusal in &report.refused {
        assert!(!refusal.name.is_empty() && !refusal.why.is_empty());
    }
    for folder in [name::KEYS, name::RECEIPTS, name::RECORDS] {
        for listed in into.list(folder).unwrap() {
            assert!(scene.trial.repository.list(folder).unwrap().contains(&listed), "{} came from nowhere", listed.name);
        }
    }
    pull_all(&*scene.trial.repository, &into);
    assert_eq!(assert_restores(&scene.trial, &into, &scene.versions, "after all"), 2);
}

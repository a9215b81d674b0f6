//! Heal: whatever is damaged or gone in an archive comes back from a peer, and nothing else changes.

use archive::heal::{HealReport, Scope, heal};
use archive::id::Address;
use archive::name;
use archive::repository::Repository;
use archive::sign::Signer;
use archive::store::{Crash, Faulty, MemoryStore, Store, read_all};
use archive::sync::{SyncOptions, Wanted, sync};
use archive::trust::Trust;
use std::sync::Arc;
use tests::origin::Origin;
use tests::plain::PlainTree;
use tests::trial::{START_MS, Trial, restore_from};

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(len);
    out
}

fn options() -> SyncOptions {
    SyncOptions::new(Trust::default(), Arc::new(Signer::from_seed(&[99; 32])), Arc::new(|| START_MS + 86_400_000))
}

/// A spool, and an archive that pulled all of it: packs, a small object, a heartbeat.
struct Scene {
    trial: Trial,
    trees: Vec<(archive::id::SnapshotId, PlainTree)>,
    disk: MemoryStore,
}

impl Scene {
    fn new() -> Self {
        let trial = Trial::new();
        let mut tree = PlainTree::new("s");
        let mut trees = vec![];
        for (path, content) in [("s/one", noise(1, 900_000)), ("s/two", noise(2, 900)), ("s/three", noise(3, 700_000))] {
            tree.file(path, content);
            match trial.export(&tree).outcome {
                archive::export::Outcome::Snapshot { id, .. } => trees.push((id, tree.clone())),
                other => panic!("{other:?}"),
            }
        }
        trial.export(&tree);
        let disk = MemoryStore::default();
        Repository::create(&disk, "shop", "data").unwrap();
        let archive = Repository::open(Arc::new(disk.clone())).unwrap();
        assert!(sync(&*trial.repository, &archive, &Wanted::History, &options()).unwrap().is_complete());
        Scene { trial, trees, disk }
    }

    fn heal(&self, disk: &MemoryStore) -> HealReport {
        let archive = Repository::open(Arc::new(disk.clone())).unwrap();
        heal(&archive, &*self.trial.repository, Scope::Everything, &options()).unwrap()
    }

    fn assert_restores(&self, disk: &MemoryStore, count: usize, what: &str) {
        let archive = Repository::open(Arc::new(disk.clone())).unwrap();
        let known = archive.snapshots().unwrap();
        assert_eq!(known.len(), count, "{what}");
        for known in known {
            let (_, tree) = self.trees.iter().find(|(id, _)| *id == known.id).unwrap();
            let target = tempfile::tempdir().unwrap();
            let report = restore_from(&archive, &known, &mut self.trial.keyring(), target.path()).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(report.problems.is_empty(), "{what}: {:?}", report.problems);
            tree.assert_same(&PlainTree::read(target.path()), what);
        }
    }
}

fn objects(disk: &dyn Store) -> Vec<String> {
    let folders = name::FOLDERS.iter().filter(|folder| **folder != name::TRASH);
    folders.flat_map(|folder| disk.list(folder).unwrap()).map(|listed| listed.name).collect()
}

fn bytes_of(disk: &dyn Store, name: &str) -> Vec<u8> {
    read_all(disk, name, usize::MAX / 2).unwrap()
}

fn copy(from: &dyn Store) -> MemoryStore {
    let to = MemoryStore::default();
    for name in objects(from) {
        to.set(&name, bytes_of(from, &name));
    }
    to.set(name::CONFIG, bytes_of(from, name::CONFIG));
    to
}

#[test]
fn a_whole_repository_is_left_as_it_is() {
    let scene = Scene::new();
    let before = objects(&scene.disk);
    let report = scene.heal(&scene.disk);
    assert!(report.is_whole() && report.healed.is_empty() && report.segments == 0, "{report:?}");
    assert_eq!(objects(&scene.disk), before);
    assert!(scene.disk.list(name::TRASH).unwrap().is_empty());
}

#[test]
fn every_object_that_is_cut_flipped_swapped_or_gone_comes_back() {
    let scene = Scene::new();
    for name in objects(&scene.disk) {
        let truth = bytes_of(&scene.disk, &name);
        let flipped = |at: usize| {
            let mut bytes = truth.clone();
            bytes[at] ^= 0x10;
            Some(bytes)
        };
        let folder = name.split('/').next().unwrap();
        let neighbour = objects(&scene.disk).into_iter().find(|other| *other != name && other.starts_with(folder));
        let mut damages = vec![("gone", None), ("empty", Some(vec![])), ("cut", Some(truth[..truth.len() / 2].to_vec())), ("longer", Some([&truth[..], b"x"].concat()))];
        damages.extend([0, 5, 20, 60, truth.len() / 2, truth.len() - 50, truth.len() - 1].map(|at| ("flipped", flipped(at))));
        damages.extend(neighbour.map(|other| ("swapped", Some(bytes_of(&scene.disk, &other)))));
        for (damage, bytes) in damages {
            let what = format!("{name} {damage}");
            let disk = copy(&scene.disk);
            let is_gone = bytes.is_none();
            match bytes {
                Some(bytes) => disk.set(&name, bytes),
                None => disk.remove(&name).unwrap(),
            }
            let report = scene.heal(&disk);
            assert!(report.is_whole(), "{what}: {report:?}");
            let lost = usize::from(is_gone && folder == name::SNAPSHOTS);
            scene.assert_restores(&disk, 3 - lost, &what);
            let again = scene.heal(&disk);
            assert!(again.is_whole() && again.healed.is_empty() && again.bytes == 0, "{what}: {again:?}");
            if ![name::PACKS, name::INDEX].contains(&folder) && lost == 0 {
                let now = bytes_of(&disk, &name);
                // Our own receipt is nowhere else: a snapshot whose object was wholly unreadable comes back without it.
                assert!(now == truth || folder == name::SNAPSHOTS || folder == name::RUNS, "{what}: it is another object now");
            }
        }
    }
}

#[test]
fn only_what_is_broken_is_fetched() {
    let scene = Scene::new();
    let pack = scene.disk.list(name::PACKS).unwrap().into_iter().max_by_key(|listed| listed.len).unwrap();
    let mut bytes = bytes_of(&scene.disk, &pack.name);
    bytes[100] ^= 1;
    scene.disk.set(&pack.name, bytes);
    let origin = Origin::of(&scene.trial.repository);
    let archive = Repository::open(Arc::new(scene.disk.clone())).unwrap();
    let report = heal(&archive, &origin, Scope::Everything, &options()).unwrap();
    assert!(report.is_whole());
    assert_eq!((report.segments, origin.given()), (1, 1));
    assert_eq!(report.healed, std::slice::from_ref(&pack.name));
    let trash: Vec<String> = scene.disk.list(name::TRASH).unwrap().into_iter().map(|listed| listed.name).collect();
    assert_eq!(trash, [name::trash(START_MS / 1000 + 86_400, &pack.name)], "the damaged pack waits in the trash");
    scene.assert_restores(&scene.disk, 3, "healed");
}

#[test]
fn what_a_check_found_is_enough_to_heal_it() {
    let scene = Scene::new();
    let archive = Repository::open(Arc::new(scene.disk.clone())).unwrap();
    let first = archive.snapshots().unwrap().remove(0);
    let run = archive.snapshot(&first).unwrap().body.runs[0].run;
    let address = Address { run, sequence: 0 };
    let (pack, at) = archive.locate(address).unwrap().unwrap();
    let mut bytes = bytes_of(&scene.disk, &pack);
    bytes[at.offset as usize + 77] ^= 1;
    scene.disk.set(&pack, bytes);
    let report = heal(&archive, &*scene.trial.repository, Scope::Segments(&[address]), &options()).unwrap();
    assert!(report.is_whole() && report.segments == 1, "{report:?}");
    scene.assert_restores(&scene.disk, 3, "healed");
}

#[test]
fn what_the_peer_lacks_too_is_named_and_the_damaged_pack_stays() {
    let scene = Scene::new();
    let archive = Repository::open(Arc::new(scene.disk.clone())).unwrap();
    let first = archive.snapshots().unwrap().remove(0);
    let address = Address { run: archive.snapshot(&first).unwrap().body.runs[0].run, sequence: 0 };
    let (pack, at) = archive.locate(address).unwrap().unwrap();
    let mut bytes = bytes_of(&scene.disk, &pack);
    bytes[at.offset as usize + 77] ^= 1;
    scene.disk.set(&pack, bytes);
    for lie in [None, Some(1u8)] {
        let mut origin = Origin::of(&scene.trial.repository);
        origin.segment_lie = Some(Box::new(move |(run, sequence, mut item)| {
            item[90] ^= lie?;
            Some((run, sequence, item))
        }));
        let report = heal(&archive, &origin, Scope::Everything, &options()).unwrap();
        assert!(!report.is_whole() && report.lacking == [address], "{report:?}");
        assert_eq!(report.remaining.len(), usize::from(lie.is_some()), "a lie is named");
        assert!(objects(&scene.disk).contains(&pack));
    }
    assert!(scene.heal(&scene.disk).is_whole());
    scene.assert_restores(&scene.disk, 3, "from an honest peer");
}

#[test]
fn a_crash_at_any_operation_of_heal_is_mended_by_the_next() {
    let scene = Scene::new();
    let hurt = copy(&scene.disk);
    // One of each kind that is replaced: a pack, a run, a snapshot, a sealing identity, an index file.
    for folder in [name::PACKS, name::RUNS, name::SNAPSHOTS, name::KEYS, name::INDEX] {
        let name = hurt.list(folder).unwrap().remove(0).name;
        let mut bytes = bytes_of(&hurt, &name);
        bytes[30] ^= 1;
        hurt.set(&name, bytes);
    }
    for crash in [Crash::Before, Crash::After, Crash::Full] {
        for stop_at in 0.. {
            let what = format!("{crash:?} at {stop_at}");
            let faulty = Faulty::new(copy(&hurt), stop_at, crash);
            let outcome = Repository::open(Arc::new(faulty.clone()))
                .and_then(|archive| heal(&archive, &*scene.trial.repository, Scope::Everything, &options()));
            assert!(outcome.is_ok_and(|report| report.is_whole()) || faulty.stopped(), "{what}");
            let disk = faulty.reopen();
            let report = scene.heal(&disk);
            assert!(report.is_whole(), "{what}: {report:?}");
            scene.assert_restores(&disk, 3, &what);
            assert!(scene.heal(&disk).healed.is_empty(), "{what}: a second heal finds nothing");
            if !faulty.stopped() {
                assert!(stop_at > 50);
                break;
            }
        }
    }
}

//! The store stops at each single operation of an export, in three ways.

use super::{Published, assert_all_good};
use archive::export::Outcome;
use archive::repository::Repository;
use archive::store::{Crash, Faulty, MemoryStore};
use std::io::ErrorKind;
use std::sync::Arc;
use tests::chance::noise;
use tests::plain::{Plain, PlainTree};
use tests::trial::{Trial, copy_store};

/// What was before, and what the export that is stopped shall capture.
struct Scene {
    store: MemoryStore,
    trial: Trial,
    published: Published,
    next: PlainTree,
}

impl Scene {
    fn new(sealed: bool) -> Scene {
        let store = MemoryStore::default();
        let trial = Trial::with(Arc::new(store.clone()), sealed);
        Scene { store, trial, published: Published::new(), next: tree() }
    }

    fn published(mut self) -> Scene {
        if let Outcome::Snapshot { id, .. } = self.trial.export(&self.next).outcome {
            self.published.insert(id, self.next.clone());
        }
        self
    }

    fn then(mut self, change: impl FnOnce(&mut PlainTree)) -> Scene {
        change(&mut self.next);
        self
    }
}

fn tree() -> PlainTree {
    let mut tree = PlainTree::new("s");
    tree.put("s/sub", Plain::Folder);
    for n in 0..16 {
        tree.file(format!("s/sub/{n:02}"), noise(n, 60 << 10));
    }
    tree.file("s/text", "a line of text\n".repeat(3000));
    tree.put("s/twin", Plain::HardLink(b"s/text".to_vec()));
    tree
}

/// One export that stops at operation `stop_at`, and all that must hold afterwards. `false` when it never came so far.
fn stopped_once(scene: &Scene, stop_at: u64, crash: Crash, what: &str) -> bool {
    let faulty = Faulty::new(copy_store(&scene.store), stop_at, crash);
    let what = format!("{what}, {crash:?} operation {stop_at}");
    let shared = Arc::new(faulty.clone());
    // Opening reads the configuration: it may stop there already.
    let result = Repository::open(shared.clone()).map(|repository| {
        let mut during = scene.trial.fork(Arc::new(faulty.reopen())).expect("what is durable opens");
        during.repository = Arc::new(repository);
        let result = during.try_export(&scene.next);
        (result, during)
    });
    let (result, during) = match result {
        Ok((result, during)) => (result, during),
        Err(error) => (Err(error), scene.trial.fork(Arc::new(faulty.reopen())).unwrap()),
    };
    if !faulty.stopped() {
        result.expect("nothing was in its way");
        return false;
    }
    if let (Err(archive::Error::Store { source, .. }), Crash::Full) = (&result, crash) {
        assert_eq!(source.kind(), ErrorKind::StorageFull, "{what}");
    }
    // What a new process finds: what is durable, and local state as it was left.
    let after = during.fork(Arc::new(faulty.reopen())).expect("what is durable opens");
    drop(during);
    assert_all_good(&after, &scene.published, &scene.next, &format!("{what}, before the rerun"));
    let before = after.repository.snapshots().unwrap();
    let report = after.try_export(&scene.next).unwrap_or_else(|error| panic!("{what}: the rerun fails: {error}"));
    assert!(report.troubles.is_empty(), "{what}");
    if let Outcome::Snapshot { at, .. } = report.outcome {
        assert!(before.iter().all(|known| known.at < at), "{what}: not above what was there");
    }
    assert_all_good(&after, &scene.published, &scene.next, &format!("{what}, after the rerun"));
    after.assert_newest_is(&scene.next, &what);
    let again = after.try_export(&scene.next).unwrap();
    assert!(matches!(again.outcome, Outcome::Unchanged { .. }), "{what}: it settles");
    true
}

fn stopped_everywhere(scene: &Scene, what: &str) {
    for crash in [Crash::Before, Crash::After, Crash::Full] {
        let stops = (0..).find(|&stop_at| !stopped_once(scene, stop_at, crash, what)).expect("an export ends");
        assert!(stops >= 5, "{what}: only {stops} operations were stopped");
    }
}

#[test]
fn a_first_export_may_stop_anywhere() {
    stopped_everywhere(&Scene::new(true), "first, sealed");
    stopped_everywhere(&Scene::new(false), "first, unsealed");
}

#[test]
fn an_incremental_export_may_stop_anywhere() {
    let scene = Scene::new(true).published().then(|tree| {
        tree.file("s/more", noise(99, 700_000));
        tree.file("s/sub/03", noise(98, 60 << 10));
        tree.remove(b"s/sub/07");
    });
    stopped_everywhere(&scene, "incremental");
}

#[test]
fn an_export_that_rewrites_segments_may_stop_anywhere() {
    let few = |tree: &mut PlainTree| (0..14).for_each(|n| tree.remove(format!("s/sub/{n:02}").as_bytes()));
    let scene = Scene::new(true).published().then(few).published().then(|tree| tree.file("s/new", "new"));
    let control = scene.trial.fork(Arc::new(copy_store(&scene.store))).unwrap();
    let report = control.export(&scene.next);
    assert!(report.stored_bytes > 100 << 10, "what is left of the segment is written anew: {}", report.stored_bytes);
    stopped_everywhere(&scene, "rewriting");
}

#[test]
fn a_tiny_export_may_stop_anywhere() {
    let scene = Scene::new(true).published().then(|tree| tree.file("s/text", "short"));
    let before = archive::store::Store::list(&scene.store, "packs").unwrap().len();
    let control = scene.trial.fork(Arc::new(copy_store(&scene.store))).unwrap();
    control.export(&scene.next);
    assert_eq!(control.repository.list("packs").unwrap().len(), before, "it is one object");
    stopped_everywhere(&scene, "tiny");
}

#[test]
fn an_export_of_nothing_new_may_stop_anywhere() {
    stopped_everywhere(&Scene::new(true).published(), "first heartbeat");
    stopped_everywhere(&Scene::new(true).published().published().published(), "third heartbeat");
}

#[test]
fn an_export_after_one_that_stopped_may_stop_anywhere() {
    for crash in [Crash::Before, Crash::After] {
        let scene = Scene::new(true).published().then(|tree| tree.file("s/more", noise(99, 700_000)));
        let whole = Faulty::new(copy_store(&scene.store), u64::MAX, crash);
        scene.trial.fork(Arc::new(whole.clone())).unwrap().export(&scene.next);
        for stop_at in [whole.operations() / 2, whole.operations() - 1] {
            let faulty = Faulty::new(copy_store(&scene.store), stop_at, crash);
            let trial = scene.trial.fork(Arc::new(faulty.clone())).unwrap();
            assert!(trial.try_export(&scene.next).is_err());
            let store = faulty.reopen();
            let trial = trial.fork(Arc::new(store.clone())).unwrap();
            let mut next = scene.next.clone();
            next.file("s/even more", noise(97, 300_000));
            let mut published = scene.published.clone();
            for known in trial.repository.snapshots().unwrap() {
                published.entry(known.id).or_insert_with(|| scene.next.clone());
            }
            stopped_everywhere(&Scene { store, trial, published, next }, &format!("after one that stopped at {stop_at}"));
        }
    }
}

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

/// Bytes of the segments of each run that was published, oldest first.
fn published_runs(repository: &Repository) -> Vec<u64> {
    let listed = repository.list("runs").unwrap();
    let run = |name: &str| repository.first_record::<archive::record::Run>(name).unwrap().body;
    let mut runs: Vec<_> = listed.iter().map(|listed| run(&listed.name)).collect();
    runs.sort_by_key(|run| run.closed_ms);
    runs.iter().map(|run| run.segments.iter().map(|segment| u64::from(segment.len)).sum()).collect()
}

#[test]
fn closed_runs_of_an_export_that_stopped_are_not_written_again() {
    let store = MemoryStore::default();
    let mut trial = Trial::with(Arc::new(store.clone()), true);
    // Each look at the clock is four seconds: runs close every few files.
    let now = trial.clock.clone();
    trial.options.clock = Arc::new(move || now.fetch_add(4000, std::sync::atomic::Ordering::SeqCst));
    let mut tree = PlainTree::new("s");
    (0..70).for_each(|n| tree.file(format!("s/{n:02}"), noise(n, 900 << 10)));
    let whole = Faulty::new(copy_store(&store), u64::MAX, Crash::Before);
    let total = trial.fork(Arc::new(whole.clone())).unwrap().export(&tree).stored_bytes;
    let mut reused = 0;
    for tenths in [5, 7, 9] {
        let faulty = Faulty::new(copy_store(&store), whole.operations() * tenths / 10, Crash::Before);
        let during = trial.fork(Arc::new(faulty.clone())).unwrap();
        // How many operations there are depends on how the threads took turns: this one may have come to its end.
        if during.try_export(&tree).is_ok() {
            continue;
        }
        let after = during.fork(Arc::new(faulty.reopen())).unwrap();
        let runs = published_runs(&after.repository);
        // The last one may not have come into the journal.
        let kept: u64 = runs.iter().take(runs.len().saturating_sub(1)).sum();
        let report = after.export(&tree);
        assert!(report.stored_bytes + kept <= total + (3 << 20), "{} stored again, {kept} were there, {total} in all", report.stored_bytes);
        after.assert_newest_is(&tree, "with runs of one that stopped");
        reused += kept;
    }
    assert!(reused > total / 4, "too little was there to be used again: {reused} of {total}");
}

//! What an export that stopped had closed is not written again: whether it came from many files, from one long file, or from a stream.

use archive::Result;
use archive::export::ExportReport;
use archive::repository::Repository;
use archive::store::{Crash, Faulty, MemoryStore};
use std::io::Cursor;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tests::chance::noise;
use tests::plain::PlainTree;
use tests::trial::{Trial, copy_store};

/// Bytes of the segments of each run that was published, oldest first.
fn published_runs(repository: &Repository) -> Vec<u64> {
    let listed = repository.list("runs").unwrap();
    let run = |name: &str| repository.first_record::<archive::record::Run>(name).unwrap().body;
    let mut runs: Vec<_> = listed.iter().map(|listed| run(&listed.name)).collect();
    runs.sort_by_key(|run| run.closed_ms);
    runs.iter().map(|run| run.segments.iter().map(|segment| u64::from(segment.len)).sum()).collect()
}

/// Stops an export at three places, and looks at what the next one stores.
fn stopped_midway(what: &str, export: &dyn Fn(&Trial) -> Result<ExportReport>, check: &dyn Fn(&Trial)) {
    let store = MemoryStore::default();
    let mut trial = Trial::with(Arc::new(store.clone()), true);
    // Each look at the clock is four seconds: runs close every few megabytes.
    let now = trial.clock.clone();
    trial.options.clock = Arc::new(move || now.fetch_add(4000, Ordering::SeqCst));
    let whole = Faulty::new(copy_store(&store), u64::MAX, Crash::Before);
    let total = export(&trial.fork(Arc::new(whole.clone())).unwrap()).unwrap().stored_bytes;
    let mut reused = 0;
    for tenths in [5, 7, 9] {
        let faulty = Faulty::new(copy_store(&store), whole.operations() * tenths / 10, Crash::Before);
        let during = trial.fork(Arc::new(faulty.clone())).unwrap();
        // How many operations there are depends on how the threads took turns: this one may have come to its end.
        if export(&during).is_ok() {
            continue;
        }
        let after = during.fork(Arc::new(faulty.reopen())).unwrap();
        let runs = published_runs(&after.repository);
        // The last one may not have come into the journal.
        let kept: u64 = runs.iter().take(runs.len().saturating_sub(1)).sum();
        let stored = export(&after).unwrap().stored_bytes;
        assert!(stored + kept <= total + (3 << 20), "{what}: {stored} stored again, {kept} were there, {total} in all");
        check(&after);
        reused += kept;
    }
    assert!(reused > total / 4, "{what}: too little was there to be used again: {reused} of {total}");
}

fn tree_stopped_midway(what: &str, tree: &PlainTree) {
    stopped_midway(what, &|trial| trial.try_export(tree), &|trial| trial.assert_newest_is(tree, "after one that stopped"));
}

#[test]
fn many_files() {
    let mut tree = PlainTree::new("s");
    (0..70).for_each(|n| tree.file(format!("s/{n:02}"), noise(n, 900 << 10)));
    tree_stopped_midway("files", &tree);
}

#[test]
fn one_long_file() {
    let mut tree = PlainTree::new("s");
    tree.file("s/long", noise(1, 64 << 20));
    tree_stopped_midway("a long file", &tree);
}

#[test]
fn one_long_stream() {
    let contents = [noise(2, 64 << 20)];
    let export = |trial: &Trial| trial.try_export_streams(contents.iter().map(|content| Box::new(Cursor::new(content.clone())) as _));
    stopped_midway("a stream", &export, &|trial| trial.assert_streams_are(&contents));
}

//! A sweep takes what nobody needs and nothing else, patiently, and loses nothing wherever it is stopped.

use archive::name;
use archive::repository::Repository;
use archive::retain::{RetainOptions, Rules, retain};
use archive::store::{Crash, Faulty, MemoryStore, Store};
use archive::sweep::{SweepOptions, SweepReport, sweep};
use archive::trust::Trust;
use std::sync::Arc;
use tests::history::{History, copy_of, noise};
use tests::plain::PlainTree;
use tests::trial::START_MS;

const HOUR_MS: u64 = 3_600_000;
const PATIENCE_MS: u64 = 48 * HOUR_MS;
const DAY_MS: u64 = 24 * HOUR_MS;
const FIRST_MS: u64 = START_MS + 100 * HOUR_MS;

fn options(now_ms: u64, patience_ms: u64) -> SweepOptions<'static> {
    SweepOptions { now_ms, patience_ms, trash_ms: DAY_MS, dry_run: false, keep_runs: &|_| false }
}

fn run(store: &MemoryStore, options: &SweepOptions<'_>) -> SweepReport {
    sweep(&Repository::open(Arc::new(store.clone())).unwrap(), options).unwrap()
}

fn size(store: &MemoryStore, folder: &str) -> u64 {
    store.list(folder).unwrap().iter().map(|listed| listed.len).sum()
}

fn keep_last(store: &MemoryStore, last: u32) {
    let rules = Rules { last, ..Rules::default() };
    let zone = jiff::tz::TimeZone::UTC;
    let options = RetainOptions {
        rules,
        now_ms: FIRST_MS,
        zone,
        dry_run: false,
        receivers: vec![],
        pins: vec![],
        trust: Trust::default(),
    };
    retain(&Repository::open(Arc::new(store.clone())).unwrap(), &options).unwrap();
}

/// Six snapshots of files that come and go, so that packs are whole, half and not at all needed once only the last two are left.
fn worn(sealed: bool) -> History {
    let mut history = History::new(sealed);
    let mut tree = PlainTree::new("s");
    for n in 0..6u64 {
        tree.file("s/changing", noise(n, 1_500_000));
        tree.file(format!("s/staying {n}"), noise(100 + n, 400_000));
        history.trial.wait_ms(HOUR_MS);
        history.export(&tree);
    }
    keep_last(&history.store, 2);
    history
}

#[test]
fn what_nobody_needs_goes_and_the_rest_restores() {
    for sealed in [true, false] {
        let history = worn(sealed);
        let before = size(&history.store, name::PACKS);
        let report = run(&history.store, &options(FIRST_MS, 0));
        assert!(report.refused.is_none() && report.damaged.is_empty() && report.packs_trashed > 2, "{report:?}");
        assert_eq!(report.packs_written, 1, "small packs become one");
        assert!(size(&history.store, name::PACKS) < before - 3_000_000, "of {before}");
        assert_eq!(history.assert_all_restore(&history.store, "swept").len(), 2);
        assert_eq!(run(&history.store, &options(FIRST_MS + DAY_MS - 1000, 0)).trash_removed, 0);
        assert_eq!(run(&history.store, &options(FIRST_MS + DAY_MS, 0)).trash_removed, report.packs_trashed);
        assert_eq!(history.store.list(name::TRASH).unwrap(), []);
        assert_eq!(history.assert_all_restore(&history.store, "trash emptied").len(), 2);
        let again = run(&history.store, &options(FIRST_MS + 2 * DAY_MS, 0));
        assert_eq!(again, SweepReport { ..SweepReport::default() }, "nothing is left to do");
    }
}

/// The copies that a sweep makes carry their sealing identity: the file in `keys/` is not needed.
#[test]
fn rewritten_packs_carry_the_sealing_identity() {
    let history = worn(true);
    run(&history.store, &options(FIRST_MS, 0));
    run(&history.store, &options(FIRST_MS + DAY_MS, 0));
    for listed in history.store.list(name::KEYS).unwrap() {
        history.store.remove(&listed.name).unwrap();
    }
    assert_eq!(history.assert_all_restore(&history.store, "without keys").len(), 2);
}

#[test]
fn what_is_young_is_spared_and_what_was_announced_too() {
    let history = worn(true);
    let last = history.trial.repository.snapshots().unwrap().pop().unwrap();
    // As an interrupted transfer leaves it: packs and a run without their snapshot.
    history.store.remove(&last.name).unwrap();
    let first = run(&history.store, &options(FIRST_MS, PATIENCE_MS));
    assert!(first.packs_trashed == 0 && first.runs_removed == 0 && first.packs_spared == 6 && first.runs_spared > 0, "{first:?}");
    let hours47 = run(&history.store, &options(FIRST_MS + 47 * HOUR_MS, PATIENCE_MS));
    assert!(hours47.packs_trashed == 0 && hours47.runs_removed == 0, "{hours47:?}");
    let clock_back = run(&copy_of(&history.store), &options(START_MS, PATIENCE_MS));
    assert!(clock_back.packs_trashed == 0 && clock_back.runs_removed == 0);
    let all = SweepOptions { keep_runs: &|_| true, ..options(FIRST_MS + PATIENCE_MS, PATIENCE_MS) };
    let announced = run(&copy_of(&history.store), &all);
    assert_eq!(announced.runs_removed, 0);
    let dry = SweepOptions { dry_run: true, ..options(FIRST_MS + PATIENCE_MS, PATIENCE_MS) };
    let names = tests::history::names(&history.store);
    assert!(run(&history.store, &dry).packs_trashed > 0);
    assert_eq!(tests::history::names(&history.store), names, "a dry run changes nothing");
    let late = run(&history.store, &options(FIRST_MS + PATIENCE_MS, PATIENCE_MS));
    assert!(late.packs_trashed > 0 && late.runs_removed > 0, "{late:?}");
    assert_eq!(history.assert_all_restore(&history.store, "swept").len(), 1);
}

/// Nobody can use it, so it does not stay for good; but it is not younger than others because it is damaged.
#[test]
fn a_damaged_run_that_nobody_needs_goes_when_it_is_old() {
    let history = worn(true);
    let stray = name::run(archive::id::RunId([5; 16]));
    history.store.set(&stray, b"nonsense".to_vec());
    let there = || history.store.list(name::RUNS).unwrap().iter().any(|listed| listed.name == stray);
    run(&history.store, &options(FIRST_MS, PATIENCE_MS));
    run(&history.store, &options(FIRST_MS + PATIENCE_MS - 1, PATIENCE_MS));
    assert!(there());
    run(&history.store, &options(FIRST_MS + PATIENCE_MS, PATIENCE_MS));
    assert!(!there());
    assert_eq!(history.assert_all_restore(&history.store, "swept").len(), 2);
}

#[test]
fn lost_marks_cost_patience_only() {
    let history = worn(true);
    run(&history.store, &options(FIRST_MS, PATIENCE_MS));
    let marks = history.store.list(name::MARKS).unwrap();
    assert_eq!(marks.len(), 1);
    history.store.set(&marks[0].name, b"resilient marks 1\n0 packs/x\n".to_vec());
    let report = run(&history.store, &options(FIRST_MS + PATIENCE_MS, PATIENCE_MS));
    assert_eq!((report.packs_trashed, report.runs_removed), (0, 0));
    assert!(run(&history.store, &options(FIRST_MS + 2 * PATIENCE_MS, PATIENCE_MS)).packs_trashed > 0);
}

#[test]
fn while_a_snapshot_cannot_be_read_nothing_goes() {
    let history = worn(true);
    let known = history.trial.repository.snapshots().unwrap();
    history.store.set(&known[0].name, b"nonsense".to_vec());
    let names = tests::history::names(&history.store);
    let report = run(&history.store, &options(FIRST_MS, 0));
    assert!(report.refused.is_some_and(|why| why.contains(&known[0].name)));
    assert_eq!(tests::history::names(&history.store), names);
}

/// A segment that is damaged stays where it is, and the pack with it; others go on.
#[test]
fn a_pack_with_damage_that_is_needed_stays() {
    let history = worn(true);
    let packs = history.store.list(name::PACKS).unwrap();
    for listed in &packs {
        let store = copy_of(&history.store);
        let mut bytes = archive::store::read_all(&store, &listed.name, 1 << 30).unwrap();
        bytes.iter_mut().step_by(1000).for_each(|byte| *byte ^= 1);
        store.set(&listed.name, bytes);
        run(&store, &options(FIRST_MS, 0));
        run(&store, &options(FIRST_MS + DAY_MS, 0));
        let repository = Repository::open(Arc::new(store.clone())).unwrap();
        let needed = repository
            .snapshots()
            .unwrap()
            .iter()
            .any(|known| !matches!(history.try_restore(&repository, known, "damaged"), Ok(true)));
        assert_eq!(needed, store.list(name::PACKS).unwrap().contains(listed), "it stays when it is needed, and only then");
    }
}

#[test]
fn who_opened_before_still_finds_its_segments() {
    let history = worn(true);
    let reader = Repository::open(Arc::new(history.store.clone())).unwrap();
    let known = reader.snapshots().unwrap();
    drop(reader.locations().unwrap());
    // It reads both of a snapshot that stays and of one that is dropped meanwhile.
    run(&history.store, &options(FIRST_MS, 0));
    assert!(history.try_restore(&reader, &known[1], "moved").unwrap());
    let opened = Repository::open(Arc::new(history.store.clone())).unwrap();
    let first = opened.snapshot(&known[0]).unwrap();
    let run_of = opened.run(first.body.runs.last().unwrap()).unwrap();
    keep_last(&history.store, 1);
    run(&history.store, &options(FIRST_MS + HOUR_MS, 0));
    let mut item = Vec::new();
    for sequence in first.body.runs.last().unwrap().sequences() {
        opened.verified_segment(&run_of.body, sequence, &mut item).expect("it waits in the trash");
    }
}

/// A pack that came to the trash while something in it is needed comes back.
#[test]
fn what_is_needed_comes_back_from_the_trash() {
    let history = worn(true);
    for listed in history.store.list(name::PACKS).unwrap() {
        history.store.rename(&listed.name, &name::trash(FIRST_MS / 1000, &listed.name)).unwrap();
    }
    let report = run(&history.store, &options(FIRST_MS + DAY_MS, 0));
    assert!(report.rescued > 0, "{report:?}");
    assert_eq!(history.assert_all_restore(&history.store, "rescued").len(), 2);
}

/// Stopped at any operation, a sweep loses nothing that is needed, and another run completes it.
#[test]
fn stopped_anywhere_it_loses_nothing() {
    let history = worn(true);
    keep_last(&history.store, 1);
    run(&history.store, &options(FIRST_MS - DAY_MS, DAY_MS));
    let whole = copy_of(&history.store);
    run(&whole, &options(FIRST_MS, DAY_MS));
    let last = history.snapshots[5].0;
    let count = {
        let faulty = Faulty::new(copy_of(&history.store), u64::MAX, Crash::Before);
        sweep(&Repository::open(Arc::new(faulty.clone())).unwrap(), &options(FIRST_MS, DAY_MS)).unwrap();
        faulty.operations()
    };
    for crash in [Crash::Before, Crash::After, Crash::Full] {
        for stop_at in 0..count {
            let faulty = Faulty::new(copy_of(&history.store), stop_at, crash);
            let _ = Repository::open(Arc::new(faulty.clone())).and_then(|repository| sweep(&repository, &options(FIRST_MS, DAY_MS)));
            let left = faulty.reopen();
            let what = format!("stopped at {stop_at} of {count}, {crash:?}");
            assert_eq!(history.assert_all_restore(&left, &what), [last], "{what}");
            run(&left, &options(FIRST_MS + DAY_MS, DAY_MS));
            run(&left, &options(FIRST_MS + 2 * DAY_MS, DAY_MS));
            assert_eq!(history.assert_all_restore(&left, &what), [last], "{what}");
            (2..5).for_each(|n| drop(run(&left, &options(FIRST_MS + 2 * n * DAY_MS, DAY_MS))));
            assert!(size(&left, name::PACKS) <= size(&whole, name::PACKS) + 4096, "{what}: space comes back");
            assert_eq!(left.list(name::TRASH).unwrap(), [], "{what}");
        }
    }
}

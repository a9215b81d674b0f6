//! The damage table: what can happen to each kind of object, and what each command makes of it. Whatever it is, it is named or it is harmless; snapshots that do
//! not need what is damaged restore bit for bit; nothing panics, and nothing wrong is ever restored.

use archive::check::{CheckOptions, CheckReport, Part, check};
use archive::id::SnapshotId;
use archive::name;
use archive::repository::Repository;
use archive::retain::{RetainOptions, Rules, retain};
use archive::store::MemoryStore;
use archive::sweep::{SweepOptions, sweep};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use tests::chance::{Chance, budget};
use tests::damage::Damage;
use tests::history::{History, copy_of, names, noise};
use tests::plain::PlainTree;
use tests::trial::START_MS;

const HOUR_MS: u64 = 3_600_000;
const LATER_MS: u64 = START_MS + 2000 * HOUR_MS;

/// Two months of history: two sealing identities, several packs and runs, small exports in one object, and a later half that needs little of the earlier.
fn history(sealed: bool) -> History {
    let mut history = History::new(sealed);
    let mut tree = PlainTree::new("s");
    for part in 0..2u64 {
        tree.file("s/large", noise(part, 600_000));
        tree.file(format!("s/other {part}"), noise(10 + part, 300_000));
        history.export(&tree);
        tree.file(format!("s/small {part}"), noise(20 + part, 5_000));
        history.trial.wait_ms(HOUR_MS);
        history.export(&tree);
        history.trial.wait_ms(40 * 24 * HOUR_MS);
    }
    history
}

struct Cell {
    what: String,
    store: MemoryStore,
    /// What was damaged, and what must then be said: the bytes of something that is not a free copy are others than before.
    kind: &'static str,
    damage: Damage,
    name: String,
}

/// All kinds; in the long run more places, too.
fn damages(chance: &mut Chance) -> Vec<Damage> {
    let mut damages = Damage::ALL.to_vec();
    let more = budget(3) - 3;
    damages.extend((0..more).map(|_| match chance.one_in(3) {
        true => Damage::Truncate(chance.below(1000) as u64),
        false => Damage::Flip(chance.below(1000) as u64),
    }));
    damages
}

fn cells(history: &History) -> Vec<Cell> {
    let whole = names(&history.store);
    let mut cells = Vec::new();
    let mut chance = Chance::new(whole.len() as u64);
    for kind in [name::PACKS, name::INDEX, name::RUNS, name::SNAPSHOTS, name::KEYS, name::CONFIG] {
        let objects: Vec<&String> = whole.iter().filter(|name| name.starts_with(kind)).collect();
        for (index, name) in objects.iter().enumerate() {
            for damage in damages(&mut chance) {
                let store = copy_of(&history.store);
                let other = objects.get((index + 1) % objects.len()).filter(|_| objects.len() > 1).map(|name| name.as_str());
                if damage.apply(&store, name, other, &free_name(kind, name)) {
                    cells.push(Cell { what: format!("{damage:?} of {name}"), store, kind, damage, name: name.to_string() });
                }
            }
        }
    }
    cells
}

fn free_name(kind: &str, name: &str) -> String {
    let free = "0123456789abcdef0123456789abcdef";
    match kind {
        name::SNAPSHOTS => format!("{}{free}", &name[..name.len() - 32]),
        name::KEYS => format!("{}.9.age", &name[..name.len() - 6]),
        _ => format!("{kind}/{free}"),
    }
}

/// What restores as it should: every other snapshot must say what is wrong.
fn restorable(history: &History, store: &MemoryStore, what: &str) -> BTreeSet<SnapshotId> {
    let Ok(repository) = Repository::open(Arc::new(store.clone())) else { return BTreeSet::new() };
    let known = repository.snapshots().expect("a list is a list");
    let ours = |known: &archive::repository::Known| history.snapshots.iter().any(|(id, _)| *id == known.id);
    let restores = |known: &archive::repository::Known| matches!(history.try_restore(&repository, known, what), Ok(true));
    known.iter().filter(|known| ours(known) && restores(known)).map(|known| known.id).collect()
}

fn checked(store: &MemoryStore) -> archive::Result<CheckReport> {
    let repository = Repository::open(Arc::new(store.clone()))?;
    check(&repository, &CheckOptions { read: Some(Part { number: 0, of: 1 }), ..CheckOptions::default() })
}

/// Which snapshots use an object, told by the whole repository.
fn users(history: &History) -> BTreeMap<String, BTreeSet<SnapshotId>> {
    let repository = Repository::open(Arc::new(history.store.clone())).unwrap();
    let mut users: BTreeMap<String, BTreeSet<SnapshotId>> = BTreeMap::new();
    for known in repository.snapshots().unwrap() {
        let mut uses = |name: String| {
            users.entry(name).or_default().insert(known.id);
        };
        uses(known.name.clone());
        for used in repository.snapshot(&known).unwrap().body.runs {
            uses(name::run(used.run));
            let run = repository.run(&used).unwrap();
            run.body.seal.iter().for_each(|seal| uses(name::key(seal.identity, 1)));
            for sequence in used.sequences() {
                let place = repository.locate(archive::id::Address { run: used.run, sequence }).unwrap();
                uses(place.unwrap().0);
            }
            let embedded = repository.locations().unwrap();
            let locations = embedded.as_ref().unwrap();
            let at = locations.record(archive::record::RecordKind::Run, run.id());
            at.iter().for_each(|at| uses(locations.container(*at).to_string()));
        }
    }
    users
}

#[test]
fn check_names_the_damage_and_whom_it_concerns_and_the_others_restore() {
    for sealed in [true, false] {
        let history = history(sealed);
        assert!(checked(&history.store).unwrap().findings.is_empty());
        let users = users(&history);
        let all: BTreeSet<SnapshotId> = history.snapshots.iter().map(|(id, _)| *id).collect();
        for Cell { what, store, kind, damage, name } in cells(&history) {
            let what = format!("sealed {sealed}: {what}");
            let good = restorable(&history, &store, &what);
            let report = match checked(&store) {
                Ok(report) => report,
                Err(error) => {
                    assert!(kind == name::CONFIG && error.to_string().contains(name::CONFIG), "{what}: {error}");
                    assert!(good.is_empty());
                    continue;
                }
            };
            let deleted = damage == Damage::Delete && kind == name::SNAPSHOTS;
            let concerned = report.concerned();
            for id in all.difference(&good) {
                let gone = deleted && name.contains(&id.to_string());
                assert!(gone || concerned.contains(id), "{what}: {id} does not restore, and check does not say so: {:?}", report.findings);
            }
            let harmless = matches!(damage, Damage::Delete | Damage::Duplicate) || kind == name::CONFIG;
            assert!(harmless || !report.findings.is_empty(), "{what}: nobody noticed");
            let others: BTreeSet<SnapshotId> = match damage {
                Damage::Swap => continue,
                _ => all.difference(users.get(&name).unwrap_or(&BTreeSet::new())).copied().collect(),
            };
            if kind != name::CONFIG {
                let wrongly: Vec<_> = concerned.intersection(&others).collect();
                assert!(wrongly.is_empty(), "{what}: {wrongly:?} do not need it: {:?}", report.findings);
                assert!(others.is_subset(&good), "{what}: what does not need it must restore");
            }
        }
    }
}

#[test]
fn retain_and_sweep_make_no_damage_worse() {
    let history = history(true);
    let rules = Rules { last: 2, ..Rules::default() };
    let options = RetainOptions {
        rules,
        now_ms: LATER_MS,
        zone: jiff::tz::TimeZone::UTC,
        dry_run: false,
        receivers: vec![],
        pins: vec![],
        trust: archive::trust::Trust::default(),
    };
    let last: BTreeSet<SnapshotId> = history.snapshots[2..].iter().map(|(id, _)| *id).collect();
    for Cell { what, store, .. } in cells(&history) {
        let before = restorable(&history, &store, &what);
        let Ok(repository) = Repository::open(Arc::new(store.clone())) else { continue };
        let retained = retain(&repository, &options);
        let after = restorable(&history, &store, &what);
        let refused = retained.as_ref().is_ok_and(|report| report.refused.is_some());
        assert!(!(retained.is_err() || refused) || after == before, "{what}: it refused or failed, and dropped");
        assert!(before.intersection(&last).all(|id| after.contains(id)), "{what}: {:?}", retained.map(|report| report.decisions));
        for now_ms in [LATER_MS, LATER_MS + 48 * HOUR_MS] {
            let swept =
                sweep(&repository, &SweepOptions { now_ms, patience_ms: 0, trash_ms: HOUR_MS, dry_run: false, keep_runs: &|_| false });
            assert!(after.is_subset(&restorable(&history, &store, &what)), "{what}: {swept:?}");
        }
    }
}

fn copy_folder(from: &Path, to: &Path) {
    for entry in walkdir::WalkDir::new(from) {
        let entry = entry.unwrap();
        let target = to.join(entry.path().strip_prefix(from).unwrap());
        if entry.file_type().is_dir() {
            std::fs::create_dir_all(target).unwrap();
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// An exporter is blind: it may not notice. But then check does, and what it wrote is never restored wrong.
#[test]
fn exports_go_on_or_say_why_not() {
    let mut history = history(true);
    let mut tree = history.snapshots.last().unwrap().1.clone();
    tree.file("s/new", noise(77, 50_000));
    for Cell { what, store, .. } in cells(&history) {
        let before = restorable(&history, &store, &what);
        let Ok(repository) = Repository::open(Arc::new(store.clone())) else { continue };
        let local = tempfile::tempdir().unwrap();
        copy_folder(&history.trial.local(), local.path());
        if let Ok(report) = tree.export(&Arc::new(repository), local.path(), &history.trial.options)
            && let archive::export::Outcome::Snapshot { id, .. } = report.outcome
        {
            history.snapshots.push((id, tree.clone()));
            let good = restorable(&history, &store, &what);
            let named = checked(&store).unwrap().concerned();
            assert!(good.contains(&id) || named.contains(&id), "{what}: the new snapshot does not restore, and nobody says so");
            history.snapshots.pop();
        }
        assert!(before.is_subset(&restorable(&history, &store, &what)), "{what}");
    }
}

//! Local state that was torn, lost, or set back: the next export publishes what is right, at worst from the beginning.

use super::{Published, assert_all_good};
use archive::export::Outcome;
use std::path::{Path, PathBuf};
use tests::chance::{Chance, budget, noise};
use tests::plain::{Plain, PlainTree};
use tests::trial::{Trial, copy_folder};

fn tree() -> PlainTree {
    let mut tree = PlainTree::new("s");
    tree.put("s/sub", Plain::Folder);
    tree.file("s/large", noise(1, 3_000_000));
    tree.file("s/text", "a line of text\n".repeat(30_000));
    (0..20).for_each(|n| tree.file(format!("s/sub/{n:02}"), noise(n, 3000)));
    tree
}

/// Scatters a file, so that its list of extents is a stream with a file under `lists`.
fn scattered(seed: u64) -> Vec<u8> {
    let mut content = noise(1, 3_000_000);
    for n in 0..1200 {
        let at = n * 2500;
        content[at..at + 40].copy_from_slice(&noise(seed + n as u64, 40));
    }
    content
}

fn change(tree: &mut PlainTree, chance: &mut Chance) {
    let mut large = tree.content(b"s/large").unwrap().to_vec();
    for _ in 0..4 {
        let at = chance.below(large.len());
        let new = chance.noise(200);
        large.splice(at..at, new);
    }
    let at = chance.below(large.len() - 5000);
    large.drain(at..at + 3000);
    tree.file("s/large", large);
    tree.file(format!("s/sub/{:02}", chance.below(30)), chance.noise(2000));
}

/// A history of three exports, one with a list that is a stream, and an unfinished one behind it.
fn history() -> (Trial, PlainTree, Published, Chance) {
    let (trial, mut tree, mut chance) = (Trial::new(), tree(), Chance::new(5));
    let mut published = Published::new();
    let mut keep = |tree: &PlainTree| {
        if let Outcome::Snapshot { id, .. } = trial.export(tree).outcome {
            published.insert(id, tree.clone());
        }
    };
    keep(&tree);
    tree.file("s/large", scattered(1000));
    keep(&tree);
    change(&mut tree, &mut chance);
    keep(&tree);
    (trial, tree, published, chance)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let found = walkdir::WalkDir::new(folder).sort_by_file_name().into_iter().map(|entry| entry.unwrap());
    found
        .filter(|entry| entry.file_type().is_file() && entry.file_name() != "lock")
        .map(|entry| entry.into_path())
        .collect()
}

#[derive(Clone, Copy, Debug)]
enum Harm {
    Delete,
    Cut(usize),
    Empty,
    Flip(usize),
    Noise(usize),
}

fn harm(path: &Path, harm: Harm, chance: &mut Chance) {
    let mut bytes = std::fs::read(path).unwrap();
    match harm {
        Harm::Delete => return std::fs::remove_file(path).unwrap(),
        Harm::Empty => bytes.clear(),
        Harm::Cut(tenths) => bytes.truncate(bytes.len() * tenths / 10),
        Harm::Flip(_) if bytes.is_empty() => return,
        Harm::Flip(tenths) => {
            let at = (bytes.len() * tenths / 10).min(bytes.len() - 1);
            bytes[at] ^= 1 << chance.below(8);
        }
        Harm::Noise(count) => {
            for _ in 0..count.min(bytes.len()) {
                let at = chance.below(bytes.len());
                bytes[at] = chance.word() as u8;
            }
        }
    }
    std::fs::write(path, bytes).unwrap();
}

/// Exports the next version with what is left of local state, and then one more.
fn assert_goes_on(trial: &Trial, tree: &PlainTree, published: &Published, chance: &mut Chance, what: &str) {
    let mut next = tree.clone();
    change(&mut next, chance);
    let report = trial.try_export(&next).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(report.troubles.is_empty(), "{what}: {:?}", report.troubles);
    assert_all_good(trial, published, &next, what);
    trial.assert_newest_is(&next, what);
    change(&mut next, chance);
    trial.try_export(&next).unwrap_or_else(|error| panic!("{what}, the export after it: {error}"));
    trial.assert_newest_is(&next, what);
}

fn fork(trial: &Trial) -> Trial {
    trial.fork(std::sync::Arc::new(tests::trial::copy_store(trial.repository.store()))).unwrap()
}

#[test]
fn every_file_of_local_state_may_be_torn() {
    let (trial, tree, published, mut chance) = history();
    let names: Vec<PathBuf> = files(&trial.local())
        .iter()
        .map(|path| path.strip_prefix(trial.local()).unwrap().to_path_buf())
        .collect();
    for expected in ["state", "sequence", "sealing", "chunks"] {
        assert!(names.iter().any(|name| name == Path::new(expected)), "{expected} is not there: {names:?}");
    }
    assert!(names.iter().any(|name| name.starts_with("lists")), "a list is a stream: {names:?}");
    assert!(names.iter().any(|name| name.starts_with("cache")));
    let harms = [
        Harm::Delete,
        Harm::Empty,
        Harm::Cut(3),
        Harm::Cut(9),
        Harm::Flip(0),
        Harm::Flip(3),
        Harm::Flip(7),
        Harm::Flip(10),
        Harm::Noise(3),
        Harm::Noise(1000),
    ];
    for name in &names {
        for kind in harms {
            let torn = fork(&trial);
            harm(&torn.local().join(name), kind, &mut chance);
            assert_goes_on(&torn, &tree, &published, &mut chance, &format!("{} {kind:?}", name.display()));
        }
    }
}

#[test]
fn all_of_local_state_may_be_torn_at_once_or_gone() {
    let (trial, tree, published, _) = history();
    for seed in 0..budget(20) as u64 {
        let (torn, mut chance) = (fork(&trial), Chance::new(seed));
        for path in files(&torn.local()) {
            let kind = match chance.below(6) {
                0 => Harm::Delete,
                1 => Harm::Cut(chance.below(10)),
                2 => Harm::Flip(chance.below(11)),
                3 => Harm::Noise(1 + chance.below(5000)),
                _ => continue,
            };
            harm(&path, kind, &mut chance);
        }
        assert_goes_on(&torn, &tree, &published, &mut chance, &format!("seed {seed}"));
    }
    let lost = fork(&trial);
    std::fs::remove_dir_all(lost.local()).unwrap();
    let report = lost.export(&tree);
    assert!(!report.incremental);
    lost.assert_newest_is(&tree, "lost");
}

#[test]
fn the_journal_of_an_unfinished_export_may_be_torn() {
    use archive::store::{Crash, Faulty, MemoryStore};
    use std::sync::Arc;
    let store = MemoryStore::default();
    let mut trial = Trial::with(Arc::new(store.clone()), true);
    let now = trial.clock.clone();
    trial.options.clock = Arc::new(move || now.fetch_add(4000, std::sync::atomic::Ordering::SeqCst));
    let mut tree = PlainTree::new("s");
    (0..60).for_each(|n| tree.file(format!("s/{n:02}"), noise(n, 900 << 10)));
    let whole = Faulty::new(tests::trial::copy_store(&store), u64::MAX, Crash::Before);
    trial.fork(Arc::new(whole.clone())).unwrap().export(&tree);
    // How many operations there are depends on how the threads took turns: one of these moments lies after a run was closed, and before the end.
    let stopped = (1..10).rev().find_map(|tenths| {
        let faulty = Faulty::new(tests::trial::copy_store(&store), whole.operations() * tenths / 10, Crash::Before);
        let during = trial.fork(Arc::new(faulty.clone())).unwrap();
        (during.try_export(&tree).is_err() && during.local().join("journal").exists()).then_some((faulty, during))
    });
    let (faulty, during) = stopped.expect("it stopped in the middle");
    let mut chance = Chance::new(3);
    for kind in [Harm::Delete, Harm::Empty, Harm::Cut(5), Harm::Flip(1), Harm::Flip(8), Harm::Noise(10)] {
        let torn = during.fork(Arc::new(tests::trial::copy_store(&faulty.reopen()))).unwrap();
        harm(&torn.local().join("journal"), kind, &mut chance);
        torn.export(&tree);
        torn.assert_newest_is(&tree, &format!("journal {kind:?}"));
    }
    // Runs that the journal names and the repository does not have are not referred to.
    let swept = during.fork(Arc::new(tests::trial::copy_store(&faulty.reopen()))).unwrap();
    for listed in swept.repository.list("runs").unwrap() {
        swept.repository.store().remove(&listed.name).unwrap();
    }
    swept.export(&tree);
    swept.assert_newest_is(&tree, "swept");
}

#[test]
fn local_state_that_was_set_back_publishes_above_and_right() {
    let (trial, tree, published, mut chance) = history();
    let old = tempfile::tempdir().unwrap();
    copy_folder(&trial.local(), old.path());
    let (mut published, mut newer) = (published, tree.clone());
    for _ in 0..3 {
        change(&mut newer, &mut chance);
        if let Outcome::Snapshot { id, .. } = trial.export(&newer).outcome {
            published.insert(id, newer.clone());
        }
    }
    let back = |in_place: bool| {
        let forked = fork(&trial);
        if !in_place {
            std::fs::remove_dir_all(forked.local()).unwrap();
        }
        copy_folder(old.path(), &forked.local());
        forked
    };
    for in_place in [false, true] {
        assert_goes_on(&back(in_place), &newer, &published, &mut chance, "set back, then changed");
        // The data went back with it: what the old state is of is not what the newest snapshot is of.
        let trial = back(in_place);
        trial.export(&tree);
        trial.assert_newest_is(&tree, "set back with the data");
        assert_all_good(&trial, &published, &tree, "set back with the data");
    }
}

#[test]
fn heartbeats_go_on_above_those_that_are_there() {
    let (trial, tree, published, _) = history();
    let old = tempfile::tempdir().unwrap();
    copy_folder(&trial.local(), old.path());
    for _ in 0..3 {
        assert!(matches!(trial.export(&tree).outcome, Outcome::Unchanged { .. }));
    }
    let counter = |trial: &Trial| {
        trial
            .repository
            .list("heartbeats")
            .unwrap()
            .iter()
            .map(|listed| listed.name.clone())
            .collect::<Vec<_>>()
    };
    let before = counter(&trial);
    std::fs::remove_dir_all(trial.local()).unwrap();
    copy_folder(old.path(), &trial.local());
    for _ in 0..4 {
        assert!(matches!(trial.export(&tree).outcome, Outcome::Unchanged { .. }));
    }
    let after = counter(&trial);
    assert_eq!(after.len(), 1, "only the newest is kept");
    assert!(after > before, "{after:?} is not above {before:?}");
    assert_all_good(&trial, &published, &tree, "with heartbeats");
}

#[test]
fn a_chunk_table_or_cache_of_another_history_never_gives_wrong_bytes() {
    let (trial, tree, published, mut chance) = history();
    let other = Trial::new();
    let mut foreign = tree.clone();
    other.export(&foreign);
    change(&mut foreign, &mut chance);
    other.export(&foreign);
    let stale = fork(&trial);
    let mut ahead = tree.clone();
    change(&mut ahead, &mut chance);
    stale.export(&ahead);
    for (from, what) in [(&other, "of another node"), (&stale, "of a later history")] {
        for part in ["chunks", "cache", "lists"] {
            let mixed = fork(&trial);
            let (theirs, ours) = (from.local().join(part), mixed.local().join(part));
            if theirs.is_dir() {
                std::fs::remove_dir_all(&ours).unwrap();
                copy_folder(&theirs, &ours);
            } else if theirs.exists() {
                std::fs::copy(&theirs, &ours).unwrap();
            }
            assert_goes_on(&mixed, &tree, &published, &mut chance, &format!("{part} {what}"));
        }
    }
}

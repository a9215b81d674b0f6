//! Random edits, random stops, random loss of local state, one after the other. A seed gives the same again; `RESILIENT_SEED` runs one alone.

use super::{Published, assert_all_good};
use archive::export::Outcome;
use archive::store::{Crash, Faulty, MemoryStore};
use std::sync::Arc;
use tests::chance::{Chance, budget};
use tests::plain::{Plain, PlainTree};
use tests::trial::Trial;

fn edit(tree: &mut PlainTree, chance: &mut Chance) {
    let files = tree.files();
    let path = match files.is_empty() {
        true => b"s/0".to_vec(),
        false => files[chance.below(files.len())].clone(),
    };
    let mut content = tree.content(&path).map(|content| content.to_vec()).unwrap_or_default();
    match chance.below(9) {
        0 => {
            let at = chance.below(content.len() + 1);
            let most = if chance.one_in(4) { 400_000 } else { 3000 };
            let len = chance.below(most);
            let new = chance.noise(len);
            content.splice(at..at, new);
        }
        1 => {
            let at = chance.below(content.len());
            let end = (at + chance.below(50_000)).min(content.len());
            content.drain(at..end);
        }
        2 => {
            let at = chance.below(content.len());
            let end = (at + chance.below(20_000)).min(content.len());
            let new = chance.noise(end - at);
            content[at..end].copy_from_slice(&new);
        }
        3 => content.truncate(chance.below(content.len() + 1)),
        4 => content.resize(content.len() + chance.below(100_000), chance.word() as u8),
        5 if !files.is_empty() => {
            // Copied from elsewhere.
            let from = tree.content(&files[chance.below(files.len())]).unwrap().to_vec();
            let at = chance.below(from.len());
            content.extend_from_slice(&from[at..(at + chance.below(200_000)).min(from.len())]);
        }
        6 => return tree.remove(&path),
        7 => {
            let name = format!("s/{}", chance.below(12));
            let len = chance.below(300_000);
            return tree.file(name, chance.noise(len));
        }
        _ => {
            return tree.put(format!("s/z{}", chance.below(4)), if chance.one_in(2) { Plain::Fifo } else { Plain::Symlink(b"x".to_vec()) });
        }
    }
    tree.file(path, content);
}

fn soak(seed: u64) {
    let mut chance = Chance::new(seed);
    let mut store = MemoryStore::default();
    let mut trial = Trial::with(Arc::new(store.clone()), chance.one_in(2));
    let (mut tree, mut published) = (PlainTree::new("s"), Published::new());
    for n in 0..3 {
        let len = chance.below(1_500_000);
        tree.file(format!("s/{n}"), chance.noise(len));
    }
    for step in 0..12 {
        (0..1 + chance.below(4)).for_each(|_| edit(&mut tree, &mut chance));
        let what = format!("seed {seed}, step {step}");
        let crash = [Crash::Before, Crash::After, Crash::Full][chance.below(3)];
        if chance.one_in(2) {
            let stop_at = 1 + chance.below(25) as u64;
            let faulty = Faulty::new(store, stop_at, crash);
            trial = trial.fork(Arc::new(faulty.clone())).unwrap();
            let result = trial.try_export(&tree);
            assert!(result.is_ok() || faulty.stopped(), "{what}: {:?}", result.err());
            store = faulty.reopen();
            trial = trial.fork(Arc::new(store.clone())).unwrap();
        } else {
            trial.try_export(&tree).unwrap_or_else(|error| panic!("{what}: {error}"));
        }
        for known in trial.repository.snapshots().unwrap() {
            published.entry(known.id).or_insert_with(|| tree.clone());
        }
        if chance.one_in(8) {
            let part = ["chunks", "cache", "state", "lists", "sequence", "sealing", "journal"][chance.below(7)];
            let path = trial.local().join(part);
            let _ = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
        }
    }
    trial.try_export(&tree).unwrap_or_else(|error| panic!("seed {seed}, at the end: {error}"));
    assert_all_good(&trial, &published, &tree, &format!("seed {seed}"));
    trial.assert_newest_is(&tree, &format!("seed {seed}"));
    // What is little used is written anew also when nothing changed, but not for ever.
    let settled = (0..4).any(|_| matches!(trial.try_export(&tree).unwrap().outcome, Outcome::Unchanged { .. }));
    assert!(settled, "seed {seed}: it does not settle");
}

#[test]
fn random_edits_with_random_stops_come_back() {
    match std::env::var("RESILIENT_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => soak(seed),
        None => (0..budget(30) as u64).for_each(soak),
    }
}

//! A whole repository with one object damaged: what restores without a word is right.

use super::mutate::mutated;
use super::seeds::Seeds;
use super::targets::Target;
use archive::store::{Store, read_all};
use std::sync::Arc;
use tests::chance::Chance;
use tests::plain::PlainTree;
use tests::trial::copy_store;

pub fn target(seeds: Seeds) -> Target {
    let objects = |which: usize| -> Vec<String> {
        let (_, store, _) = &seeds.trials[which];
        archive::name::FOLDERS
            .iter()
            .flat_map(|folder| store.list(folder).unwrap())
            .map(|listed| listed.name)
            .collect()
    };
    let names = [objects(0), objects(1)];
    let parse = move |_: &[u8], chance: &mut Chance| {
        let which = chance.below(2);
        let (trial, store, tree) = &seeds.trials[which];
        let copy = copy_store(store);
        let name = &names[which][chance.below(names[which].len())];
        let other = &names[which][chance.below(names[which].len())];
        let read = |name: &str| read_all(store, name, 1 << 30).unwrap();
        match chance.below(8) {
            0 => copy.remove(name).unwrap(),
            1 => copy.set(name, read(other)),
            2 => {
                copy.set(name, read(other));
                copy.set(other, read(name));
            }
            _ => copy.set(name, mutated(&read(name), &read(other), chance)),
        }
        let Ok(repository) = archive::repository::Repository::open(Arc::new(copy)) else { return };
        let Some(known) = repository.snapshots().unwrap().pop() else { return };
        let target = tempfile::tempdir().unwrap();
        // The newest may be gone: an older one restores, and is not compared.
        let newest = known.id == trial.repository.snapshots().unwrap().pop().unwrap().id;
        if let Ok(report) = tests::trial::restore_from(&repository, &known, &mut trial.keyring(), target.path()) {
            let got = PlainTree::read(target.path());
            let mut expected = tree.clone();
            report.problems.iter().for_each(|problem| expected.remove(&problem.path));
            if newest {
                expected.assert_same(&got, &format!("{name} damaged"));
            }
        }
    };
    Target { name: "a damaged repository", seeds: vec![vec![]], cases: 120, parse: Box::new(parse) }
}

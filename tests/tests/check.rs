//! Check reads what it says it reads, in parts that are everything, and sees what a trailer cannot tell.

use archive::check::{CheckOptions, Part, check};
use archive::name;
use archive::repository::Repository;
use archive::sign::Signer;
use archive::store::{Store, read_all};
use archive::trust::Trust;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tests::history::{History, copy_of};

fn part(number: u32, of: u32) -> CheckOptions<'static> {
    CheckOptions { read: Some(Part { number, of }), ..CheckOptions::default() }
}

#[test]
fn parts_together_read_everything_once() {
    let history = History::grown(true, 12);
    let repository = &history.trial.repository;
    let all = AtomicU64::new(0);
    let advance = |bytes| {
        all.fetch_add(bytes, Ordering::SeqCst);
    };
    let whole = check(repository, &CheckOptions { advance: &advance, ..part(0, 1) }).unwrap();
    assert_eq!(whole.findings, []);
    assert_eq!((whole.snapshots, whole.bytes_read), (13, all.into_inner()));
    let stored: u64 = [name::PACKS, name::SNAPSHOTS]
        .iter()
        .flat_map(|folder| history.store.list(folder).unwrap())
        .map(|listed| listed.len)
        .sum();
    assert!(whole.bytes_read > stored * 9 / 10 && whole.bytes_read <= stored, "{} of {stored}", whole.bytes_read);
    let parts: Vec<u64> = (0..5).map(|number| check(repository, &part(number, 5)).unwrap().bytes_read).collect();
    assert_eq!(parts.iter().sum::<u64>(), whole.bytes_read);
    assert!(parts.iter().filter(|bytes| **bytes > 0).count() > 1, "{parts:?}");
    let structure = check(repository, &CheckOptions::default()).unwrap();
    assert_eq!((structure.bytes_read, structure.segments, structure.runs), (0, whole.segments, whole.runs));
}

#[test]
fn only_the_part_with_the_damage_finds_it() {
    let history = History::grown(true, 2);
    let pack = history.store.list(name::PACKS).unwrap().remove(0);
    let mut bytes = read_all(&history.store, &pack.name, 1 << 30).unwrap();
    bytes[5000] ^= 1;
    history.store.set(&pack.name, bytes);
    let repository = &history.trial.repository;
    let found: Vec<_> = (0..7).flat_map(|number| check(repository, &part(number, 7)).unwrap().findings).collect();
    assert!(found.len() == 1 && found[0].name == pack.name && found[0].snapshots.len() == 3, "{found:?}");
    assert_eq!(check(repository, &CheckOptions::default()).unwrap().findings, []);
}

/// Heartbeats, receipts, evidence and certificates are looked at as well.
#[test]
fn every_object_is_looked_at() {
    let mut history = History::grown(true, 1);
    let tree = history.snapshots.last().unwrap().1.clone();
    history.export(&tree);
    let names = tests::history::names(&history.store);
    assert!(names.iter().any(|name| name.starts_with(name::HEARTBEATS)));
    for name in names.iter().filter(|name| *name != name::CONFIG) {
        let store = copy_of(&history.store);
        let mut bytes = read_all(&store, name, 1 << 30).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x10;
        store.set(name, bytes);
        let found = check(&Repository::open(Arc::new(store)).unwrap(), &part(0, 1)).unwrap().findings;
        assert!(found.iter().any(|finding| finding.name == *name || finding.why.contains(name.as_str())), "{name}: {found:?}");
    }
}

#[test]
fn signers_that_do_not_count_are_named() {
    let history = History::grown(true, 1);
    let trust = Trust { cluster_key: Some(Signer::from_seed(&[9; 32]).public()), ..Trust::default() };
    let report = check(&history.trial.repository, &CheckOptions { trust, ..CheckOptions::default() }).unwrap();
    assert_eq!(report.concerned().len(), 2);
    let trust = Trust { pinned: vec![history.trial.options.signer.public()], ..Trust::default() };
    assert_eq!(
        check(&history.trial.repository, &CheckOptions { trust, ..CheckOptions::default() })
            .unwrap()
            .findings,
        []
    );
}

//! What every store must do. A new implementation's test is one call of `suite`.

use super::{Listed, Store, publish, read_all};
use crate::Error;
use std::any::Any;
use std::io::ErrorKind;

/// Makes an empty store, and what must live as long as it.
pub type Make<'a> = &'a mut dyn FnMut() -> (Box<dyn Store>, Box<dyn Any>);

/// Panics, saying what, when a store does not keep the promise of the trait.
pub fn suite(make: Make<'_>) {
    for case in [publishes, keeps_what_is_there, forgets_drafts, reads_parts, lists, renames, removes, one_of_many_wins] {
        let (store, _keep) = make();
        case(&*store);
    }
}

fn publishes(store: &dyn Store) {
    assert!(publish(store, "packs/aa", b"hello").expect("publish"));
    assert_eq!(read_all(store, "packs/aa", 100).expect("read"), b"hello");
    assert!(!publish(store, "packs/aa", b"hello").expect("publishing the same again is no error"));
}

fn keeps_what_is_there(store: &dyn Store) {
    publish(store, "runs/aa", b"first").expect("publish");
    let mut draft = store.draft().expect("draft");
    draft.append(b"second").expect("append");
    let error = draft.publish("runs/aa").expect_err("a taken name is refused");
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert!(matches!(publish(store, "runs/aa", b"second"), Err(Error::Conflict { .. })));
    assert!(matches!(publish(store, "runs/aa", b"firs"), Err(Error::Conflict { .. })));
    assert_eq!(read_all(store, "runs/aa", 100).expect("read"), b"first");
}

fn forgets_drafts(store: &dyn Store) {
    let mut draft = store.draft().expect("draft");
    draft.append(b"half").expect("append");
    drop(draft);
    assert_eq!(store.list("packs").expect("list"), vec![]);
    let missing = store.read("packs/none", 0, 1, &mut Vec::new()).expect_err("nothing is there");
    assert_eq!(missing.kind(), ErrorKind::NotFound);
}

fn reads_parts(store: &dyn Store) {
    publish(store, "packs/aa", b"0123456789").expect("publish");
    let mut out = b"old".to_vec();
    for (offset, len, expected) in [(0, 10, &b"0123456789"[..]), (3, 4, b"3456"), (8, 10, b"89"), (10, 1, b""), (99, 5, b"")] {
        store.read("packs/aa", offset, len, &mut out).expect("read");
        assert_eq!(out, expected, "{len} bytes at {offset}");
    }
}

fn lists(store: &dyn Store) {
    for name in ["packs/b", "packs/a", "quarantine/1/x/c", "quarantine/1/y/a", "packs2/z"] {
        publish(store, name, name.as_bytes()).expect("publish");
    }
    let listed = |name: &str| Listed { name: name.into(), len: name.len() as u64 };
    assert_eq!(store.list("packs").expect("list"), vec![listed("packs/a"), listed("packs/b")]);
    assert_eq!(store.list("quarantine").expect("list"), vec![listed("quarantine/1/x/c"), listed("quarantine/1/y/a")]);
    assert_eq!(store.list("nothing").expect("list"), vec![]);
}

fn renames(store: &dyn Store) {
    publish(store, "packs/a", b"a").expect("publish");
    publish(store, "packs/b", b"b").expect("publish");
    store.rename("packs/a", "trash/1.packs.a").expect("rename");
    assert_eq!(read_all(store, "trash/1.packs.a", 9).expect("read"), b"a");
    assert!(matches!(read_all(store, "packs/a", 9), Err(Error::Missing { .. })));
    let taken = store.rename("packs/b", "trash/1.packs.a").expect_err("a taken name is refused");
    assert_eq!(taken.kind(), ErrorKind::AlreadyExists);
    assert_eq!(read_all(store, "packs/b", 9).expect("read"), b"b");
    let gone = store.rename("packs/a", "trash/2").expect_err("nothing to rename");
    assert_eq!(gone.kind(), ErrorKind::NotFound);
}

fn removes(store: &dyn Store) {
    publish(store, "packs/a", b"a").expect("publish");
    read_all(store, "packs/a", 9).expect("read");
    store.remove("packs/a").expect("remove");
    store.remove("packs/a").expect("removing what is gone is no error");
    assert!(matches!(read_all(store, "packs/a", 9), Err(Error::Missing { .. })));
    assert!(publish(store, "packs/a", b"again").expect("publish"));
    assert_eq!(read_all(store, "packs/a", 9).expect("read"), b"again");
}

fn one_of_many_wins(store: &dyn Store) {
    let won: usize = std::thread::scope(|scope| {
        let attempts: Vec<_> = (0..8u8).map(|n| scope.spawn(move || publish(store, "snapshots/x", &[n; 1000]).is_ok())).collect();
        attempts.into_iter().map(|attempt| usize::from(attempt.join().expect("no panic"))).sum()
    });
    assert_eq!(won, 1, "exactly one of eight different objects gets the name");
    let bytes = read_all(store, "snapshots/x", 2000).expect("read");
    assert!(bytes.len() == 1000 && bytes.iter().all(|&b| b == bytes[0]), "and it is whole");
}

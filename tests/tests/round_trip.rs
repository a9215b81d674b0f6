//! What goes in comes out: trees of all kinds of entries, and sequences of edits, against a plain copy.

use proptest::prelude::*;
use tests::plain::{Plain, PlainTree};
use tests::trial::Trial;

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(len);
    out
}

fn mixed() -> PlainTree {
    let mut tree = PlainTree::new("s");
    tree.file("s/empty", "");
    tree.file("s/small", "hello");
    tree.file(b"s/with\nnewline\r\xff\xfe", "bytes as names");
    tree.put("s/dangling", Plain::Symlink(b"nowhere/at all".to_vec()));
    tree.put("s/fifo", Plain::Fifo);
    tree.put("s/sub", Plain::Folder);
    tree.file("s/sub/large", noise(1, 9_000_000));
    tree.file("s/sub/same", noise(1, 9_000_000));
    tree.put("s/sub/twin", Plain::HardLink(b"s/sub/large".to_vec()));
    tree.file("s/sub/text", "0123456789abcdef\n".repeat(100_000));
    for n in 0..300 {
        tree.file(format!("s/sub/{n}"), noise(n, (n * 97 % 5000) as usize));
    }
    tree
}

#[test]
fn a_tree_with_everything_comes_back_sealed_and_unsealed() {
    for trial in [Trial::new(), Trial::unsealed()] {
        let mut tree = mixed();
        let report = trial.export(&tree);
        assert!(!report.incremental && report.troubles.is_empty());
        trial.assert_newest_is(&tree, "first");
        tree.file("s/sub/again", noise(1, 9_000_000));
        let report = trial.export(&tree);
        assert!(report.stored_bytes < 50_000, "what is there already is not stored again: {}", report.stored_bytes);
        trial.assert_newest_is(&tree, "with another of the same");
        assert!(matches!(trial.export(&tree).outcome, archive::export::Outcome::Unchanged { .. }));
    }
}

#[test]
fn a_small_change_costs_little() {
    let trial = Trial::new();
    let mut tree = mixed();
    trial.export(&tree);
    let mut large = tree.content(b"s/sub/large").unwrap().to_vec();
    large[4_000_000..4_000_100].copy_from_slice(&[7; 100]);
    large.splice(2_000_000..2_000_000, noise(5, 1000));
    tree.file("s/sub/large", large);
    tree.put("s/sub/twin", Plain::HardLink(b"s/sub/large".to_vec()));
    let report = trial.export(&tree);
    assert!(report.incremental);
    assert!(report.stored_bytes < 12_000, "stored {}", report.stored_bytes);
    trial.assert_newest_is(&tree, "changed");
}

#[derive(Clone, Debug)]
enum Edit {
    Insert(usize, usize, Vec<u8>),
    Delete(usize, usize, usize),
    Move(usize, usize, usize, usize),
    Overwrite(usize, usize, Vec<u8>),
    Append(usize, Vec<u8>),
    Truncate(usize, usize),
    Rename(usize, String),
    Remove(usize),
    Create(String, Vec<u8>),
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        (any::<u64>(), 0..3000usize).prop_map(|(seed, len)| noise(seed, len)),
        (any::<u64>(), 0..300_000usize).prop_map(|(seed, len)| noise(seed, len)),
        (any::<u8>(), 0..100_000usize).prop_map(|(byte, len)| vec![byte; len]),
    ]
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = 0..2_000_000usize;
    let len = 1..50_000usize;
    let name = "[a-e]{1,2}";
    prop_oneof![
        (any::<usize>(), at.clone(), bytes()).prop_map(|(f, at, b)| Edit::Insert(f, at, b)),
        (any::<usize>(), at.clone(), len.clone()).prop_map(|(f, at, len)| Edit::Delete(f, at, len)),
        (any::<usize>(), at.clone(), at.clone(), len).prop_map(|(f, from, to, len)| Edit::Move(f, from, to, len)),
        (any::<usize>(), at.clone(), bytes()).prop_map(|(f, at, b)| Edit::Overwrite(f, at, b)),
        (any::<usize>(), bytes()).prop_map(|(f, b)| Edit::Append(f, b)),
        (any::<usize>(), at).prop_map(|(f, at)| Edit::Truncate(f, at)),
        (any::<usize>(), name).prop_map(|(f, n)| Edit::Rename(f, n)),
        any::<usize>().prop_map(Edit::Remove),
        (name, bytes()).prop_map(|(n, b)| Edit::Create(n, b)),
    ]
}

fn apply(tree: &mut PlainTree, edit: &Edit) {
    if let Edit::Create(name, content) = edit {
        return tree.file(format!("s/{name}"), content.clone());
    }
    let files = tree.files();
    let (Edit::Insert(f, ..)
    | Edit::Delete(f, ..)
    | Edit::Move(f, ..)
    | Edit::Overwrite(f, ..)
    | Edit::Append(f, ..)
    | Edit::Truncate(f, ..)
    | Edit::Rename(f, ..)
    | Edit::Remove(f)) = edit
    else {
        return;
    };
    if files.is_empty() {
        return;
    }
    let path = files[f % files.len()].clone();
    let mut content = tree.content(&path).unwrap().to_vec();
    let place = |at: usize, len: usize| if len == 0 { 0 } else { at % (len + 1) };
    match edit {
        Edit::Insert(_, at, new) => drop(content.splice(place(*at, content.len())..place(*at, content.len()), new.iter().copied())),
        Edit::Delete(_, at, len) => {
            let start = place(*at, content.len());
            content.drain(start..(start + len).min(content.len()));
        }
        Edit::Move(_, from, to, len) => {
            let start = place(*from, content.len());
            let moved: Vec<u8> = content.drain(start..(start + len).min(content.len())).collect();
            let to = place(*to, content.len());
            content.splice(to..to, moved);
        }
        Edit::Overwrite(_, at, new) => {
            let start = place(*at, content.len());
            let end = (start + new.len()).min(content.len());
            content.splice(start..end, new.iter().copied());
        }
        Edit::Append(_, new) => content.extend_from_slice(new),
        Edit::Truncate(_, at) => content.truncate(place(*at, content.len())),
        Edit::Rename(_, name) => {
            tree.remove(&path);
            return tree.file(format!("s/{name}"), content);
        }
        Edit::Remove(_) => return tree.remove(&path),
        Edit::Create(..) => {}
    }
    tree.file(path, content);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_edits_comes_back(first in prop::collection::vec(bytes(), 1..5), edits in prop::collection::vec(prop::collection::vec(edit(), 1..6), 1..8), sealed: bool) {
        let trial = if sealed { Trial::new() } else { Trial::unsealed() };
        let mut tree = PlainTree::new("s");
        for (n, content) in first.into_iter().enumerate() {
            tree.file(format!("s/file{n}"), content);
        }
        let mut versions = vec![];
        trial.export(&tree);
        for batch in edits {
            batch.iter().for_each(|edit| apply(&mut tree, edit));
            let report = trial.export(&tree);
            if let archive::export::Outcome::Snapshot { id, .. } = report.outcome {
                versions.push((id, tree.clone()));
            }
        }
        for (id, tree) in &versions {
            trial.assert_is(&trial.known(*id), tree, "a version");
        }
    }
}

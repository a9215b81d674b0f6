//! Long histories: many runs, many extents, lists of many layers.

use super::{newest, opened};
use archive::entry::Node;
use archive::read::view;
use tests::chance::{Chance, budget, noise};
use tests::plain::{Plain, PlainTree};
use tests::trial::Trial;

/// The number of layers and of extents of a file's list.
fn shape(trial: &Trial, path: &[u8]) -> (usize, usize) {
    opened(trial, |opened| {
        let Some(Node::File(content)) = view::entry_at(opened, path).unwrap().map(|entry| entry.node) else { panic!("it is a file") };
        let mut count = 0;
        view::extents(opened, &content, &mut |_| {
            count += 1;
            Ok(())
        })
        .unwrap();
        (content.list.layers.len(), count)
    })
}

#[test]
fn files_of_thousands_of_extents_come_back() {
    let trial = Trial::new();
    let mut tree = PlainTree::new("s");
    let mut content = noise(1, 8 << 20);
    tree.file("s/file", content.clone());
    tree.file("s/still", noise(2, 100_000));
    trial.export(&tree);
    let (mut chance, mut deepest, mut most) = (Chance::new(3), 0, 0);
    for round in 0..12 {
        for _ in 0..600 {
            let at = chance.below(content.len() - 100);
            let new = chance.noise(40);
            content[at..at + 40].copy_from_slice(&new);
        }
        let at = chance.below(content.len());
        let moved = chance.noise(777);
        content.splice(at..at, moved);
        tree.file("s/file", content.clone());
        let report = trial.export(&tree);
        assert!(report.stored_bytes < 600_000, "round {round} stored {}", report.stored_bytes);
        let (layers, count) = shape(&trial, b"s/file");
        (deepest, most) = (deepest.max(layers), most.max(count));
        trial.assert_newest_is(&tree, &format!("round {round}, {layers} layers, {count} extents"));
    }
    assert!(deepest >= 3 && most >= 3000, "{deepest} layers, {most} extents");
}

/// Windows are cut inside of files; what is before, between and behind stays what it is.
#[test]
fn files_longer_than_a_window_come_back() {
    let trial = Trial::new();
    let mut tree = PlainTree::new("s");
    let mut long = noise(1, (41 << 20) + 12_345);
    tree.file("s/before", noise(2, 3_000_000));
    tree.file("s/long", long.clone());
    tree.file("s/other", noise(3, 35 << 20));
    tree.file("s/small", noise(4, 5000));
    trial.export(&tree);
    trial.assert_newest_is(&tree, "as it was written first");
    let mut chance = Chance::new(5);
    for _ in 0..3 {
        for _ in 0..300 {
            let at = chance.below(long.len() - 100);
            let new = chance.noise(100);
            long[at..at + 100].copy_from_slice(&new);
        }
        long.drain(..1000);
        tree.file("s/long", long.clone());
        trial.export(&tree);
    }
    trial.assert_newest_is(&tree, "after changes");
}

#[test]
fn lists_of_many_layers_come_back() {
    let trial = Trial::new();
    let mut tree = PlainTree::new("s");
    let base = noise(4, 12 << 20);
    tree.file("s/base", base.clone());
    trial.export(&tree);
    let mut content = base;
    let (mut chance, mut most, mut merged) = (Chance::new(5), 0, 0);
    for round in 0..40 {
        // First so many changes that the list is long, then few: each a short layer, and layers of like size become one.
        for at in (0..content.len() - 200_000).step_by(if round < 2 { 400 } else { 900_000 }) {
            let at = at + chance.below(if round < 2 { 100 } else { 150_000 });
            let new = chance.noise(64);
            content[at..at + 64].copy_from_slice(&new);
        }
        tree.file("s/base", content.clone());
        trial.export(&tree);
        let before = most;
        let (layers, _) = shape(&trial, b"s/base");
        most = most.max(layers);
        merged += usize::from(layers < before);
        if round % 4 == 0 {
            trial.assert_newest_is(&tree, &format!("round {round}, {layers} layers"));
        }
    }
    assert!(most >= 5 && merged > 0, "at most {most} layers");
    // And from there on: unchanged, then cut.
    trial.export(&tree);
    trial.assert_newest_is(&tree, "unchanged");
    content.truncate(content.len() / 2);
    content.splice(1000..1000, noise(6, 500));
    tree.file("s/base", content);
    trial.export(&tree);
    trial.assert_newest_is(&tree, "cut");
}

#[test]
fn two_hundred_small_changes_leave_few_runs() {
    let trial = Trial::new();
    let mut tree = PlainTree::new("s");
    tree.put("s/sub", Plain::Folder);
    (0..60).for_each(|n| tree.file(format!("s/sub/{n:02}"), noise(n, 20_000)));
    tree.file("s/large", noise(99, 3 << 20));
    trial.export(&tree);
    let (mut chance, mut stored, mut most) = (Chance::new(8), 0, 0);
    for round in 0..budget(200) {
        let mut large = tree.content(b"s/large").unwrap().to_vec();
        for _ in 0..3 {
            let at = chance.below(large.len() - 4096);
            let new = chance.noise(4096);
            large[at..at + 4096].copy_from_slice(&new);
        }
        tree.file("s/large", large);
        let name = format!("s/sub/{:02}", chance.below(60));
        let len = 1000 + chance.below(30_000);
        tree.file(name, chance.noise(len));
        let report = trial.export(&tree);
        stored += report.stored_bytes;
        let runs = opened(&trial, |opened| opened.snapshot.body.runs.len());
        most = most.max(runs);
        assert!(runs <= 64, "round {round}: {runs} runs");
        if round % 40 == 39 {
            trial.assert_newest_is(&tree, &format!("round {round}"));
        }
    }
    trial.assert_newest_is(&tree, "in the end");
    let written = budget(200) as u64 * (3 * 4096 + 16_000);
    println!("{most} runs at most, {stored} bytes stored for {written} changed");
    assert!(stored < written * 4, "{stored} bytes stored for {written} changed");
}

#[test]
fn segments_less_than_half_used_are_written_anew() {
    let trial = Trial::new();
    let mut tree = PlainTree::new("s");
    (0..64).for_each(|n| tree.file(format!("s/{n:02}"), noise(n, 60_000)));
    trial.export(&tree);
    let live = |trial: &Trial| -> (u64, u64) {
        opened(trial, |opened| {
            let body = &opened.snapshot.body;
            let held = body.runs.iter().map(|used| {
                let run = trial.repository.run(used).unwrap().body;
                used.sequences().map(|sequence| u64::from(run.segments[sequence as usize].len)).sum::<u64>()
            });
            (held.sum(), body.content_bytes)
        })
    };
    // Three of four go; what is left lies in segments that are a quarter full.
    (0..64).filter(|n| n % 4 != 0).for_each(|n| tree.remove(format!("s/{n:02}").as_bytes()));
    trial.export(&tree);
    let (before, content) = live(&trial);
    tree.file("s/new", "new");
    trial.export(&tree);
    let (after, _) = live(&trial);
    assert!(before > content * 3, "the segments are still whole: {before} for {content}");
    assert!(after < content * 2, "what is little used was written anew: {after} for {content}");
    trial.assert_newest_is(&tree, "written anew");
    assert_eq!(newest(&trial).at.sequence, 3);
}

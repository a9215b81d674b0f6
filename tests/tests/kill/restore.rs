//! `pull-backup restore`, killed at any moment: the next makes the folder what the snapshot holds, and the repository is as it was.

use crate::moments::Moments;
use crate::past::Past;
use archive::store::FolderStore;
use std::path::Path;
use tests::chance::{Chance, budget};
use tests::history::{copy_of, names};
use tests::plain::PlainTree;
use tests::program::finish;

fn content(place: &Path) -> Vec<(String, Vec<u8>)> {
    let copy = copy_of(&FolderStore::open(place).expect("it opens"));
    let read = |name: String| {
        let bytes = archive::store::read_all(&copy, &name, 1 << 30).expect("it was listed");
        (name, bytes)
    };
    names(&copy).into_iter().map(read).collect()
}

#[test]
fn restore_killed_at_any_moment_is_completed_by_the_next() {
    let mut chance = Chance::new(20_261_124);
    let past = Past::new(9, &mut chance);
    let before = content(&past.place);
    let begin = |number: usize, to: &Path| {
        let id = past.snapshots[number].0.to_string();
        let mut command = past.command(&["restore", "--delete", "--at", &id], &past.place);
        command.arg("--to").arg(to).arg("--identity").arg(&past.trial.identity);
        command
    };
    let (rounds, mut moments) = (budget(12), Moments::new());
    for round in 0..rounds {
        let target = tempfile::tempdir().expect("a folder to restore to");
        // Into an empty folder, or over what another snapshot left there.
        if round % 2 == 1 {
            finish(&mut begin(chance.below(4), target.path())).ended(0);
        }
        for _ in 0..1 + chance.below(3) {
            moments.kill(&mut begin(8, target.path()), &mut chance);
        }
        finish(&mut begin(8, target.path())).ended(0);
        past.newest().assert_same(&PlainTree::read(target.path()), &format!("round {round}"));
    }
    assert!(moments.killed > rounds / 4, "only {} in {rounds} rounds were killed in time: the moments are wrong", moments.killed);
    assert_eq!(content(&past.place), before, "the repository is as it was");
}

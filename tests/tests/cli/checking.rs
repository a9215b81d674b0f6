//! `check`: what it finds, how it ends, and what healing brings back.

use crate::stand::{Stand, now_ms};
use std::fs;
use std::path::{Path, PathBuf};
use tests::history::noise;

/// With an export that is large enough for packs and a run of its own.
fn large() -> Stand {
    let mut stand = Stand::new(true);
    for seed in 1..5 {
        let mut tree = stand.trees.last().unwrap().clone();
        tree.file(format!("s/large-{seed}"), noise(seed, if seed == 2 { 3_000_000 } else { 600_000 }));
        stand.export(&tree, now_ms() - 3_000_000 + seed * 60_000);
    }
    stand
}

fn copy(stand: &Stand) -> PathBuf {
    let copy = stand.target("copy");
    for entry in walkdir::WalkDir::new(&stand.place).into_iter().map(Result::unwrap) {
        let to = copy.join(entry.path().strip_prefix(&stand.place).unwrap());
        match entry.file_type().is_dir() {
            true => fs::create_dir_all(to).unwrap(),
            false => assert!(fs::copy(entry.path(), to).is_ok()),
        }
    }
    copy
}

fn files(place: &Path, folder: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(place.join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_whole_repository_is_whole_in_one_and_in_parts() {
    let stand = large();
    let structure = stand.run(&["check"]).ended(0);
    assert!(structure.text().contains("6 snapshots") && structure.text().contains("not read"), "{}", structure.text());
    let whole = stand.run(&["check", "--read", "--json"]).ended(0).json();
    assert!(whole["whole"] == true && whole["bytes_read"].as_u64().unwrap() > 4_800_000, "{whole}");
    let parts = (1..=3).map(|number| {
        stand
            .run_as("importer", &["check", "--read", "--part", &format!("{number}/3"), "--json"])
            .ended(0)
            .json()
    });
    let read: u64 = parts.map(|part| part["bytes_read"].as_u64().unwrap()).sum();
    assert_eq!(Some(read), whole["bytes_read"].as_u64(), "all parts together are everything");
    for wrong in ["0/3", "4/3", "x"] {
        assert!(stand.run(&["check", "--read", "--part", wrong]).ended(2).err.contains("write it as 3/30"));
    }
    stand.run(&["check", "--part", "1/3"]).ended(2);
}

#[test]
fn damage_is_found_named_and_healed() {
    let stand = large();
    let copy = copy(&stand);
    // In the middle of the largest pack is content of one file and nothing of an index.
    let pack = files(&stand.place, "packs")
        .into_iter()
        .max_by_key(|pack| fs::metadata(pack).unwrap().len())
        .unwrap();
    flip(&pack, 1_500_000);
    let name = format!("packs/{}", pack.file_name().unwrap().to_str().unwrap());
    // Without reading, a flipped byte of content cannot be seen.
    stand.run(&["check"]).ended(0);
    let found = stand.run(&["check", "--read"]).ended(1);
    assert!(found.text().contains(&name) && found.text().contains("needed by ") && found.err.contains("hint: `check --heal"), "{found:?}");
    let target = stand.target("broken");
    let broken = stand.run(&["restore", "--at", "latest", "--to", target.to_str().unwrap()]).ended(4);
    assert!(broken.err.contains("not restored: s/large-2: "), "{}", broken.err);
    let healed = stand.run(&["check", "--read", "--heal", copy.to_str().unwrap(), "--json"]).ended(0).json();
    assert!(healed["whole"] == true && healed["heal"]["segments"].as_u64().unwrap() > 0, "{healed}");
    stand.run(&["check", "--read"]).ended(0);
    stand.run(&["restore", "--at", "latest", "--to", target.to_str().unwrap()]).ended(0);
    stand.trees.last().unwrap().assert_same(&tests::plain::PlainTree::read(&target), "after healing");
}

#[test]
fn what_the_other_has_not_either_is_named() {
    let stand = large();
    let copy = copy(&stand);
    for place in [&stand.place, &copy] {
        flip(&files(place, "packs")[0], 5_000);
    }
    flip(&files(&stand.place, "packs")[1], 5_000);
    let ran = stand.run(&["check", "--read", "--heal", copy.to_str().unwrap()]).ended(4);
    assert!(ran.err.contains("hint: heal from another repository"), "{}", ran.err);
    assert!(ran.text().contains("needed by "), "{}", ran.text());
}

#[test]
fn others_than_a_whole_copy_heal_nothing() {
    let stand = large();
    let mut all = String::new();
    let other = Stand::empty(true);
    let strange = stand.target("strange");
    fs::create_dir(&strange).unwrap();
    let config = fs::read_to_string(other.place.join("repository.json")).unwrap().replace("\"data\"", "\"mail\"");
    fs::write(strange.join("repository.json"), config).unwrap();
    let missing = stand.target("missing");
    for (name, from) in [("itself", &stand.place), ("no folder", &missing), ("another dataset", &strange)] {
        let ran = stand.run(&["check", "--heal", from.to_str().unwrap()]).ended(2);
        all.push_str(&format!("== {name}\n{}\n", stand.redact(&ran.err)));
    }
    insta::assert_snapshot!(all);
}

#[test]
fn a_signer_who_does_not_count_is_a_finding() {
    let stand = Stand::new(true);
    let ran = stand.run(&["check", "--cluster-key", &crate::stand::stranger()]).ended(1);
    assert!(ran.text().contains("was not certified by the cluster key"), "{}", ran.text());
}

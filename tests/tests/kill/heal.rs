//! `pull-backup check --heal`, killed at any moment: what restored before still does, and the next heals the rest.

use crate::moments::Moments;
use crate::past::Past;
use archive::name;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use tests::chance::{Chance, budget};
use tests::program::finish;

/// Damages about a third of packs and runs, and some snapshots; these are never wholly gone, for heal brings back no such ones.
fn damage(place: &Path, chance: &mut Chance) {
    for folder in [name::PACKS, name::RUNS, name::SNAPSHOTS, name::INDEX, name::KEYS] {
        let mut paths: Vec<PathBuf> = place
            .join(folder)
            .read_dir()
            .into_iter()
            .flatten()
            .map(|entry| entry.expect("it lists").path())
            .collect();
        paths.sort();
        for path in &paths {
            if !chance.one_in(3) {
                continue;
            }
            if folder != name::SNAPSHOTS && chance.one_in(3) {
                std::fs::remove_file(path).expect("it is ours");
                continue;
            }
            let mut bytes = std::fs::read(path).expect("it was listed");
            let at = chance.below(bytes.len());
            bytes[at] ^= 1 << chance.below(8);
            std::fs::write(path, bytes).expect("it is ours");
        }
    }
}

/// Names of objects that lie in the trash and nowhere else, though they are not replaced by something of another name, as packs and indexes are.
fn put_aside(place: &Path) -> BTreeSet<String> {
    let trash = place.join(name::TRASH).read_dir().into_iter().flatten().flatten();
    let names = trash.filter_map(|entry| name::parse_trash(&format!("{}/{}", name::TRASH, entry.file_name().to_str()?)));
    let same = |old: &String| !old.starts_with(name::PACKS) && !old.starts_with(name::INDEX) && !place.join(old).exists();
    names.map(|(_, old)| old).filter(same).collect()
}

#[test]
fn heal_killed_at_any_moment_harms_nothing_and_the_next_completes() {
    let mut chance = Chance::new(20_261_123);
    let past = Past::new(10, &mut chance);
    let from = past.place.to_str().expect("the path is text");
    let line = ["check", "--read", "--heal", from];
    let (rounds, mut moments) = (budget(8), Moments::new());
    for round in 0..rounds {
        let place = past.copy("damaged");
        damage(&place, &mut chance);
        for kill in 0..1 + chance.below(3) {
            let what = format!("round {round}, kill {kill}");
            let before = past.restorable(&place, &what);
            moments.kill(&mut past.command(&line, &place), &mut chance);
            let after = past.restorable(&place, &what);
            // A name cannot be taken over, only given up and taken: one object may be away, between the two, until the next heal.
            let away = put_aside(&place).len();
            assert!(before.is_subset(&after) || away == 1, "{what}: {before:?}, then {after:?}, {away} objects away");
        }
        let ran = finish(&mut past.command(&line, &place));
        // What nobody needs is not healed, but found.
        assert!(ran.status == 0 || ran.err.contains("which concern 0 snapshots"), "{ran:?}");
        assert_eq!(past.assert_all_restore(&place, "healed"), past.ids());
        past.assert_collected_days_later(&place, &format!("round {round}"));
        assert_eq!(past.assert_all_restore(&place, "days later"), past.ids());
        finish(&mut past.command(&["check", "--read"], &place)).ended(0);
    }
    assert!(moments.killed > rounds / 4, "only {} in {rounds} rounds were killed in time: the moments are wrong", moments.killed);
}

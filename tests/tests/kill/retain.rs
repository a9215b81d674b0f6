//! `pull-backup retain`, its sweep and its repack, killed at any moment.

use crate::moments::Moments;
use crate::past::Past;
use tests::chance::{Chance, budget};
use tests::program::finish;

const LINE: [&str; 3] = ["retain", "--keep-last", "3"];

#[test]
fn retain_killed_at_any_moment_loses_nothing_and_the_next_completes() {
    let mut chance = Chance::new(20_261_122);
    let past = Past::new(14, &mut chance);
    let reference = past.copy("reference");
    finish(&mut past.command(&LINE, &reference)).ended(0);
    let kept = past.ids().split_off(11);
    assert_eq!(past.assert_all_restore(&reference, "not killed"), kept);
    past.assert_collected_days_later(&reference, "not killed");
    let (rounds, mut moments) = (budget(8), Moments::new());
    for round in 0..rounds {
        let place = past.copy("killed");
        // What a kill left is where the next begins.
        for kill in 0..1 + chance.below(3) {
            moments.kill(&mut past.command(&LINE, &place), &mut chance);
            let what = format!("round {round}, kill {kill}");
            let there = past.assert_all_restore(&place, &what);
            assert!(kept.iter().all(|id| there.contains(id)), "{what}: {there:?}");
        }
        let ran = finish(&mut past.command(&LINE, &place)).ended(0);
        assert!(ran.text().contains("3 kept"), "{}", ran.text());
        assert_eq!(past.assert_all_restore(&place, "after the rerun"), kept);
        past.assert_collected_days_later(&place, &format!("round {round}"));
        assert_eq!(past.assert_all_restore(&place, "days later"), kept);
    }
    assert!(moments.killed > rounds / 4, "only {} in {rounds} rounds were killed in time: the moments are wrong", moments.killed);
}

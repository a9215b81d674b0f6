//! What every act must do, as a suite. A new implementation passes it before it is used.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Act, Call, Holds};
use crate::Error;
use crate::data::Level;

/// Long on any machine: nothing here waits for it.
const LONG: Duration = Duration::from_secs(60);

/// One implementation, and what the suite needs to look at it from outside.
pub trait Subject {
    /// The act at a place, which is a folder that is there. Two of one place share nothing but the disk and the world.
    fn act(&self, place: &Path) -> Box<dyn Act>;

    /// Where its record lies.
    fn record(&self, place: &Path) -> PathBuf;

    /// Whether it holds, seen without the act.
    fn holds(&self, place: &Path) -> bool;

    /// Undoes it behind the act's back, as a crash of a service or a stranger's hand does. False where there is no such thing.
    fn lose(&self, place: &Path) -> bool;

    /// Makes it so that it cannot be taken, or can be again.
    fn obstruct(&self, place: &Path, obstructed: bool);
}

pub fn call(epoch: u64) -> Call {
    Call { cluster: "shop".into(), epoch, node: "web1".into(), within: LONG, lifetime: Some(LONG) }
}

/// Checks everything that an `Act` promises. `place` is an empty folder.
pub fn suite(subject: &dyn Subject, place: &Path) {
    fresh(subject, place);
    takes_and_releases(subject, place);
    takes_again_what_was_lost(subject, place);
    extends_what_is_held(subject, place);
    refuses_older_epochs_and_other_clusters(subject, place);
    goes_on_from_every_stage(subject, place);
    fails_with_a_word_and_recovers(subject, place);
    keeps_its_deadline(subject, place);
}

/// Asks the act, and holds what it says against what is.
fn look(subject: &dyn Subject, place: &Path, expected: bool, when: &str) {
    assert_eq!(subject.holds(place), expected, "{when}");
    let checked = subject.act(place).check(&call(1)).expect("the check runs");
    let faults: Vec<_> = checked.findings.iter().filter(|finding| finding.level == Level::Fault).collect();
    assert!(faults.is_empty(), "{when}: {faults:?}");
    let told = if expected { Holds::Yes } else { Holds::No };
    assert!(checked.holds == told || checked.holds == Holds::Unknown, "{when}: {checked:?}");
    assert_eq!(subject.holds(place), expected, "{when}: a check changes nothing");
}

fn take(subject: &dyn Subject, place: &Path, epoch: u64, when: &str) {
    subject
        .act(place)
        .take(&call(epoch))
        .unwrap_or_else(|error| panic!("{when}: {}", crate::told(&error)));
    assert!(subject.holds(place), "{when}");
}

fn release(subject: &dyn Subject, place: &Path, epoch: u64, when: &str) {
    subject
        .act(place)
        .release(&call(epoch))
        .unwrap_or_else(|error| panic!("{when}: {}", crate::told(&error)));
    assert!(!subject.holds(place), "{when}");
}

fn fresh(subject: &dyn Subject, place: &Path) {
    assert!(!subject.holds(place), "it does not hold by itself");
    assert!(!subject.act(place).name().is_empty());
    subject.act(place).check(&call(1)).expect("the check runs");
    assert!(!subject.record(place).exists(), "a check leaves no record");
    release(subject, place, 1, "a release where nothing was taken");
    look(subject, place, false, "before anything was taken");
}

fn takes_and_releases(subject: &dyn Subject, place: &Path) {
    take(subject, place, 1, "the first take");
    look(subject, place, true, "taken");
    take(subject, place, 1, "the same take again, by another");
    take(subject, place, 2, "a take for a newer epoch");
    look(subject, place, true, "taken three times");
    release(subject, place, 2, "a release by another");
    look(subject, place, false, "released");
    release(subject, place, 2, "the same release again");
    take(subject, place, 2, "a take after a release in the same epoch");
    release(subject, place, 3, "a release for a newer epoch");
    look(subject, place, false, "released again");
}

fn takes_again_what_was_lost(subject: &dyn Subject, place: &Path) {
    take(subject, place, 4, "a take that will be lost");
    if subject.lose(place) {
        assert!(!subject.holds(place), "it is lost");
        take(subject, place, 4, "a take of what was lost");
        assert!(subject.lose(place));
    }
    release(subject, place, 4, "a release of what was lost");
    look(subject, place, false, "released after it was lost");
}

fn extends_what_is_held(subject: &dyn Subject, place: &Path) {
    // Those that end with us only have nothing to be refused.
    let unheld = subject.act(place).extend(&call(4));
    assert!(matches!(unheld, Ok(_) | Err(Error::NotHeld { .. })), "{unheld:?}");
    assert!(!subject.holds(place), "an extension takes nothing");
    take(subject, place, 4, "a take that will be extended");
    subject.act(place).extend(&call(4)).expect("what is held can be extended");
    look(subject, place, true, "extended");
    release(subject, place, 4, "a release after an extension");
}

fn refuses_older_epochs_and_other_clusters(subject: &dyn Subject, place: &Path) {
    take(subject, place, 6, "a take");
    let act = subject.act(place);
    let other = Call { cluster: "other".into(), ..call(7) };
    for (what, outcome) in [("take", act.take(&call(5))), ("release", act.release(&call(5)))] {
        assert!(matches!(outcome, Err(Error::Outdated { known: 6, epoch: 5, .. })), "{what}: {outcome:?}");
    }
    for (what, outcome) in [("take", act.take(&other)), ("release", act.release(&other))] {
        assert!(matches!(outcome, Err(Error::Settings { .. })), "{what}: {outcome:?}");
    }
    look(subject, place, true, "what was refused changed nothing");
    release(subject, place, 6, "the right one");
    let late = subject.act(place).take(&call(5));
    assert!(matches!(late, Err(Error::Outdated { .. })), "{late:?}");
    look(subject, place, false, "a late take changes nothing");
}

/// As after a kill between what is written down and what is done, in either order.
fn goes_on_from_every_stage(subject: &dyn Subject, place: &Path) {
    let record = subject.record(place);
    for taken in [true, false] {
        for stage in ["taking", "taken", "releasing", "released"] {
            for last in [true, false] {
                if taken {
                    take(subject, place, 6, stage)
                } else {
                    release(subject, place, 6, stage)
                }
                let text = std::fs::read_to_string(&record).expect("there is a record");
                let was = if taken { "\"taken\"" } else { "\"released\"" };
                assert!(text.contains(was), "{text}");
                std::fs::write(&record, text.replace(was, &format!("\"{stage}\""))).expect("the record can be written");
                // A record that says `released` of what holds does not come of a kill: release says nothing about it.
                match last {
                    true => take(subject, place, 6, stage),
                    false if taken && stage == "released" => take(subject, place, 6, stage),
                    false => release(subject, place, 6, stage),
                }
                let checked = subject.act(place).check(&call(6)).expect("the check runs");
                assert!(!checked.findings.iter().any(|finding| finding.what.contains("did not end")), "{checked:?}");
            }
        }
    }
    release(subject, place, 6, "after all stages");
    damaged(subject, place);
}

fn damaged(subject: &dyn Subject, place: &Path) {
    take(subject, place, 6, "a take whose record will be damaged");
    std::fs::write(subject.record(place), "{").expect("the record can be written");
    let refused = subject.act(place).take(&call(6));
    assert!(matches!(refused, Err(Error::ActRecord { .. })), "{refused:?}");
    release(subject, place, 6, "a release with a damaged record");
    look(subject, place, false, "released in spite of a damaged record");
}

fn fails_with_a_word_and_recovers(subject: &dyn Subject, place: &Path) {
    subject.obstruct(place, true);
    let error = subject.act(place).take(&call(6)).expect_err("it cannot be taken");
    assert!(!crate::told(&error).is_empty());
    assert!(!subject.holds(place), "what failed does not hold");
    subject.obstruct(place, false);
    release(subject, place, 6, "a release of what failed");
    take(subject, place, 6, "a take when nothing is in the way any more");
    release(subject, place, 6, "and its release");
}

/// Whatever comes of a call that has no time: it returns, and the next one goes on from there.
fn keeps_its_deadline(subject: &dyn Subject, place: &Path) {
    for within in [Duration::ZERO, Duration::from_millis(1), Duration::from_millis(5), Duration::from_millis(25)] {
        let short = Call { within, ..call(6) };
        if subject.act(place).take(&short).is_ok() {
            assert!(subject.holds(place), "a take that returns well holds");
        }
        take(subject, place, 6, "a take with time enough");
        if subject.act(place).release(&short).is_ok() {
            assert!(!subject.holds(place), "a release that returns well leaves nothing");
        }
        release(subject, place, 6, "a release with time enough");
    }
}

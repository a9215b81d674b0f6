//! The receiver's host goes down, or its disk is full, at every single operation.

use super::*;
use archive::store::{Crash, Faulty};

#[test]
fn a_crash_at_any_operation_leaves_whole_snapshots_and_a_rerun_completes() {
    let trial = Trial::new();
    let versions = packed(&trial, 400_000);
    for crash in [Crash::Before, Crash::After, Crash::Full] {
        for stop_at in 0.. {
            let what = format!("{crash:?} at {stop_at}");
            let disk = MemoryStore::default();
            Repository::create(&disk, "shop", "data").unwrap();
            let faulty = Faulty::new(disk, stop_at, crash);
            let outcome = Repository::open(Arc::new(faulty.clone())).and_then(|into| sync(&*trial.repository, &into, &ALL, &options()));
            let whole = outcome.is_ok_and(|report| report.is_complete());
            assert!(whole || faulty.stopped(), "{what}");
            assert!(!whole || !faulty.stopped() || crash == Crash::Full, "{what}: it went unnoticed");
            let after = Repository::open(Arc::new(faulty.reopen())).unwrap();
            assert_restores(&trial, &after, &versions, &what);
            assert!(pull(&*trial.repository, &after).is_complete(), "{what}");
            assert_eq!(assert_restores(&trial, &after, &versions, &what), 3);
            if !faulty.stopped() {
                assert!(stop_at > 40, "a sync has more operations than {stop_at}");
                break;
            }
        }
    }
}

//! Acts are killed with SIGKILL at any moment, by a process of their own, and another process goes on from there.

use std::path::{Path, PathBuf};
use std::time::Duration;

use recipes::act::conform::{Subject, call};

use crate::{apart, moment};

/// To be called first by a test: in the process that will be killed it never returns.
pub fn victim(subject: &dyn Subject) {
    let Some(part) = apart::part() else { return };
    let (what, place) = part.split_once(' ').unwrap();
    let act = subject.act(Path::new(place));
    apart::ready();
    let done = if what == "take" { act.take(&call(1)) } else { act.release(&call(1)) };
    done.unwrap();
    std::process::exit(0);
}

/// Kills takes and releases at many moments. `name` is that of the test.
pub fn suite(subject: &dyn Subject, name: &str, place: &Path) {
    let rounds = if std::env::var_os("RESILIENT_LONG").is_some() { 10 } else { 1 };
    let moments = [0, 500, 1_000, 2_000, 4_000, 7_000, 12_000, 20_000, 35_000, 60_000];
    let mut held = [0; 2];
    for round in 0..rounds {
        for moment_us in moments.map(|moment| moment + round * 131) {
            for (at, what) in ["take", "release"].into_iter().enumerate() {
                if what == "release" {
                    subject.act(place).take(&call(1)).unwrap();
                    assert!(subject.holds(place));
                }
                let mut child = apart::begin(name, &format!("{what} {}", place.display()));
                moment(Duration::from_micros(moment_us));
                child.kill().unwrap();
                child.wait().unwrap();
                held[at] += usize::from(subject.holds(place));
                // Whoever comes next may want either.
                if moment_us % 3 == 0 {
                    subject
                        .act(place)
                        .take(&call(1))
                        .unwrap_or_else(|error| panic!("{what}: {}", recipes::told(&error)));
                    assert!(subject.holds(place), "a take after a killed {what}");
                }
                subject
                    .act(place)
                    .release(&call(1))
                    .unwrap_or_else(|error| panic!("{what}: {}", recipes::told(&error)));
                assert!(!subject.holds(place), "a release after a killed {what} ({moment_us} us)");
            }
        }
    }
    println!("of {} kills each, {} takes and {} releases left it held", moments.len() * rounds as usize, held[0], held[1]);
}

/// A folder that the killed process can name.
pub fn place(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().to_path_buf()
}

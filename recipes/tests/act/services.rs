//! The `services` act by commands: services that fork, that do not end, that do not start.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use recipes::Error;
use recipes::act::conform::{Subject, call, suite};
use recipes::act::{Act, Call, Holds, Services, services};

use crate::{is_alive, killed, pid_in, script, until};

/// A daemon as they are: in a session of its own, known by the file with its number.
struct Daemon {
    /// What it does, in a shell.
    does: &'static str,
    /// What its stop does.
    stops: &'static str,
}

const PLAIN: Daemon = Daemon { does: "while :; do sleep 0.02; done", stops: "kill \"$(cat pid)\"" };

impl Daemon {
    fn settings(&self, place: &Path) -> services::Settings {
        let folder = place.display();
        let lines = [
            ("daemon", format!("cd '{folder}'\necho $$ > pid.coming; mv pid.coming pid\n{}", self.does)),
            (
                "start",
                format!(
                    "cd '{folder}'\n[ ! -e obstructed ] || {{ echo 'the port is taken' >&2; exit 1; }}\nrm -f pid\n\
                     setsid ./daemon < /dev/null > /dev/null 2>&1 &\nuntil [ -e pid ]; do sleep 0.01; done"
                ),
            ),
            ("stop", format!("cd '{folder}'\n{}", self.stops)),
            (
                "status",
                format!("cd '{folder}'\nread -r pid < pid || exit 3\ngrep -q '^State:.[^ZX]' /proc/$pid/status 2> /dev/null || exit 3"),
            ),
        ];
        for (name, lines) in lines {
            if !place.join(name).exists() {
                script(&place.join(name), &lines);
            }
        }
        let words = |name: &str| vec![OsString::from(place.join(name))];
        let (start, stop, status) = (words("start"), words("stop"), words("status"));
        services::Settings { name: "shop".into(), start, stop, status, records: place.join("records") }
    }

    fn pid(place: &Path) -> Option<i32> {
        pid_in(&place.join("pid"))
    }
}

impl Subject for Daemon {
    fn act(&self, place: &Path) -> Box<dyn Act> {
        Box::new(Services::new(self.settings(place)).unwrap())
    }

    fn record(&self, place: &Path) -> PathBuf {
        place.join("records/shop.json")
    }

    fn holds(&self, place: &Path) -> bool {
        Daemon::pid(place).is_some_and(is_alive)
    }

    fn lose(&self, place: &Path) -> bool {
        if let Some(pid) = Daemon::pid(place).filter(|pid| is_alive(*pid)) {
            rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL).unwrap();
            until("it to die", || (!is_alive(pid)).then_some(()));
        }
        true
    }

    fn obstruct(&self, place: &Path, obstructed: bool) {
        let path = place.join("obstructed");
        if obstructed { fs::write(path, "").unwrap() } else { fs::remove_file(path).unwrap() }
    }
}

fn short(seconds: u64) -> Call {
    Call { within: Duration::from_secs(seconds), ..call(1) }
}

#[test]
fn commands_conform() {
    let folder = tempfile::tempdir().unwrap();
    suite(&PLAIN, folder.path());
}

#[test]
fn services_killed_at_any_moment_are_taken_up_by_the_next() {
    killed::victim(&PLAIN);
    let folder = tempfile::tempdir().unwrap();
    killed::suite(&PLAIN, "services::services_killed_at_any_moment_are_taken_up_by_the_next", &killed::place(&folder));
}

#[test]
fn what_does_not_end_is_killed_with_all_that_it_forked() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon {
        does: "trap '' TERM\nsetsid sh -c 'trap \"\" TERM; echo $$ > forked; while :; do sleep 0.02; done' &\nwhile :; do sleep 0.02; done",
        stops: "kill \"$(cat pid)\" \"$(cat forked)\"",
    };
    let act = daemon.act(folder.path());
    act.take(&call(1)).unwrap();
    let forked = until("its fork", || pid_in(&folder.path().join("forked")));
    let pid = Daemon::pid(folder.path()).unwrap();
    let found = act.release(&short(4)).unwrap();
    assert!(!is_alive(pid) && !is_alive(forked), "nothing is left");
    assert!(found.iter().any(|finding| finding.what.contains("was killed")), "{found:?}");
}

#[test]
fn a_stop_that_hangs_does_not_help_it() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon { stops: "trap '' TERM; while :; do sleep 1; done", ..PLAIN };
    let act = daemon.act(folder.path());
    act.take(&call(1)).unwrap();
    let found = act.release(&short(4)).unwrap();
    assert!(!daemon.holds(folder.path()));
    assert!(found.iter().any(|finding| finding.what.contains("stop failed")), "{found:?}");
}

#[test]
fn one_that_does_not_start_says_why_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let settings = PLAIN.settings(folder.path());
    script(
        &folder.path().join("start"),
        &format!("cd '{}'\nsetsid sleep 1000 & echo $! > left\necho 'no such table' >&2; exit 2", folder.path().display()),
    );
    let error = Services::new(settings).unwrap().take(&call(1)).unwrap_err();
    assert!(recipes::told(&error).contains("no such table"), "{}", recipes::told(&error));
    let left = pid_in(&folder.path().join("left")).unwrap();
    until("what it left to end", || (!is_alive(left)).then_some(()));
}

#[test]
fn a_service_that_ran_before_is_taken_over_and_stopped_by_its_own_command() {
    let folder = tempfile::tempdir().unwrap();
    let settings = PLAIN.settings(folder.path());
    assert!(std::process::Command::new(folder.path().join("start")).status().unwrap().success());
    let pid = Daemon::pid(folder.path()).unwrap();
    let act = Services::new(settings).unwrap();
    let found = act.take(&call(1)).unwrap();
    assert!(found[0].what.contains("ran already"), "{found:?}");
    assert_eq!(Daemon::pid(folder.path()), Some(pid), "it was not started anew");
    act.release(&call(1)).unwrap();
    assert!(!is_alive(pid));
}

#[test]
fn what_cannot_be_stopped_is_never_called_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon { stops: "exit 0", ..PLAIN };
    let settings = daemon.settings(folder.path());
    // Begun by somebody else, so that nothing here may kill it.
    assert!(std::process::Command::new(folder.path().join("start")).status().unwrap().success());
    let act = Services::new(settings).unwrap();
    act.take(&call(1)).unwrap();
    let error = act.release(&short(2)).unwrap_err();
    assert!(matches!(error, Error::StillRuns { .. }), "{error:?}");
    let record = fs::read_to_string(daemon.record(folder.path())).unwrap();
    assert!(record.contains("\"releasing\""), "{record}");
    daemon.lose(folder.path());
    act.release(&call(1)).unwrap();
}

#[test]
fn a_status_that_tells_nothing_is_a_fault() {
    let folder = tempfile::tempdir().unwrap();
    let act = PLAIN.act(folder.path());
    script(&folder.path().join("status"), "exit 7");
    let checked = act.check(&call(1)).unwrap();
    assert!(checked.holds == Holds::Unknown && checked.findings[0].what.contains("does not tell"), "{checked:?}");
}

//! Processes beside the test.

use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tests::running::Running;
use tests::wait;

use crate::peer::LIMIT;

fn shell(script: &str, folder: &Path) -> Running {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    Running::start("shell", command, folder)
}

fn state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

#[test]
fn what_it_says_is_kept_and_awaited() {
    let folder = tempfile::tempdir().unwrap();
    let mut running = shell("echo ready; echo trouble >&2; read -r never || exit 3", folder.path());
    running.says(LIMIT, "ready");
    running.says(LIMIT, "trouble");
    assert_eq!(running.wait(LIMIT).code(), Some(3), "nobody types anything");
    assert_eq!((running.out().as_str(), running.err().as_str()), ("ready\n", "trouble\n"));
    assert!(catch_unwind(AssertUnwindSafe(|| running.says(LIMIT, "never said"))).is_err(), "it has ended and will not say it");
}

#[test]
fn it_is_killed_stopped_and_frozen_by_its_own_id() {
    let folder = tempfile::tempdir().unwrap();
    let mut obstinate = shell("trap '' TERM; echo up; while :; do read -t 1 x </dev/zero; done", folder.path());
    obstinate.says(LIMIT, "up");
    assert!(catch_unwind(AssertUnwindSafe(|| obstinate.stop(Duration::from_millis(50)))).is_err(), "it does not listen");
    assert_eq!(obstinate.kill().signal(), Some(9));
    assert_eq!(state(obstinate.pid()), None, "it is gone");

    let mut polite = shell("trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.01; done", folder.path());
    polite.says(LIMIT, "up");
    polite.freeze();
    wait::until(LIMIT, "it to stand still", || state(polite.pid()).filter(|state| *state == 'T'));
    polite.thaw();
    assert!(polite.stop(LIMIT).success());
    polite.says(LIMIT, "bye");
    polite.kill();
    assert!(polite.ended().unwrap().success(), "its end stays what it was");
}

#[test]
fn dropped_it_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let running = shell("exec sleep 1000", folder.path());
    let pid = running.pid();
    assert!(state(pid).is_some());
    drop(running);
    assert_eq!(state(pid), None);
}

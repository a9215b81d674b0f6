//! Imports and rollbacks that are killed at each of their steps, with SIGKILL, in a process of their own.
//!
//! After each kill the target is the old data or the new, nothing excluded is lost, and the next import completes.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use recipes::data::conform::{Collect, import};
use recipes::{Data, Files, Settings};

const BASE: &str = "FILES_CRASH_BASE";
const ACT: &str = "FILES_CRASH_ACT";
const STEP: &str = "FILES_CRASH_STEP";

fn settings(path: PathBuf) -> Settings {
    Settings { paths: vec![path], exclude: vec!["*.log".into(), "/cache/".into()], ..Settings::default() }
}

fn target(base: &Path) -> PathBuf {
    base.join("data")
}

fn act(data: &Files, base: &Path, act: &str) {
    if act == "rollback" {
        data.rollback().unwrap();
        return;
    }
    let source = Settings { paths: vec![base.join("sources").join(act)], ..Settings::default() };
    import(data, &Collect::of(&Files::new(source).unwrap()).taken);
}

/// The process that is killed; as a test of its own it has nothing to do.
#[test]
fn child() {
    let Some(base) = std::env::var_os(BASE).map(PathBuf::from) else {
        return;
    };
    let step: usize = std::env::var(STEP).unwrap().parse().unwrap();
    let steps = AtomicUsize::new(0);
    let hook = move |_: &str| {
        if steps.fetch_add(1, Ordering::Relaxed) == step {
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
        }
    };
    act(&Files::with_hook(settings(target(&base)), hook).unwrap(), &base, &std::env::var(ACT).unwrap());
}

/// Whether it ended by itself, before that step.
fn run_until(base: &Path, act: &str, step: usize) -> bool {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "child"]).env(BASE, base).env(ACT, act).env(STEP, step.to_string());
    let output = child.output().unwrap();
    let killed = output.status.signal() == Some(9);
    assert!(killed || output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    !killed
}

fn write(path: PathBuf, content: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

const LOGS: [&str; 3] = ["a.log", "sub/b.log", "cache/deep/x"];

/// A target that has seen two imports, with excluded entries, one of them left behind in what was before.
fn prepare(base: &Path) {
    for (name, content) in [("one", "1"), ("two", "2"), ("three", "3")] {
        write(base.join("sources").join(name).join("version"), content);
        write(base.join("sources").join(name).join("sub/only-in").join(name), content);
    }
    let data = Files::new(settings(target(base))).unwrap();
    act(&data, base, "one");
    for log in LOGS {
        write(target(base).join(log), log);
    }
    act(&data, base, "two");
    write(base.join(".data.resilient-previous/tree/data/late.log"), "late");
}

fn version(base: &Path) -> String {
    let path = target(base).join("version");
    let version = fs::read_to_string(path).unwrap();
    let name = ["one", "two", "three"][version.parse::<usize>().unwrap() - 1];
    let only: Vec<_> = fs::read_dir(target(base).join("sub/only-in")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(only, [name], "all of one version");
    version
}

/// Every excluded entry is somewhere below the base, once.
fn nothing_is_lost(base: &Path, when: &str) {
    for name in ["a.log", "b.log", "x", "late.log"] {
        let found = walkdir::WalkDir::new(base).into_iter().filter(|entry| entry.as_ref().unwrap().file_name() == name);
        assert_eq!(found.count(), 1, "{name}, {when}");
    }
}

fn is_complete(base: &Path, wanted: &str, when: &str) {
    assert_eq!(version(base), wanted, "{when}");
    for log in LOGS {
        assert_eq!(fs::read_to_string(target(base).join(log)).unwrap(), log, "{when}");
    }
    assert_eq!(fs::read_to_string(target(base).join("late.log")).unwrap(), "late", "{when}");
    let mut left: Vec<_> = fs::read_dir(base).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, [".data.resilient-previous", "data", "sources"], "{when}");
}

/// Kills `act` at each step; `wanted` are the versions that may be there then. Returns the number of steps.
fn kill_at_each_step(what: &str, wanted: [&str; 2]) -> usize {
    for step in 0..100 {
        let base = tempfile::tempdir().unwrap();
        let base = base.path();
        prepare(base);
        let ended = run_until(base, what, step);
        let when = format!("{what} killed at step {step}");
        assert!(wanted.contains(&version(base).as_str()), "{when}");
        nothing_is_lost(base, &when);
        if ended {
            is_complete(base, wanted[1], &when);
            return step;
        }
        // Clearing up is itself killed, at steps that go up with this one, and then left alone.
        run_until(base, "three", step % 7);
        nothing_is_lost(base, &when);
        let data = Files::new(settings(target(base))).unwrap();
        let was = version(base);
        act(&data, base, "one");
        is_complete(base, "1", &when);
        act(&data, base, "rollback");
        assert_eq!(version(base), was, "{when}: the last good is kept");
    }
    panic!("{what} never ends");
}

/// Kills `act` at each step, then only clears up, and takes back: that gives the version before, whichever is there.
fn take_back_after_each_step(what: &str, before: impl Fn(&str) -> &'static str) {
    for step in 0..100 {
        let base = tempfile::tempdir().unwrap();
        let base = base.path();
        prepare(base);
        let ended = run_until(base, what, step);
        let when = format!("{what} killed at step {step}");
        let data = Files::new(settings(target(base))).unwrap();
        let was = version(base);
        drop(data.stage().unwrap());
        assert_eq!(version(base), was, "{when}: clearing up changes no version");
        nothing_is_lost(base, &when);
        data.rollback().unwrap();
        is_complete(base, before(&was), &when);
        if ended {
            return;
        }
    }
    panic!("{what} never ends");
}

#[test]
fn the_last_good_is_kept_at_each_step() {
    take_back_after_each_step("three", |version| if version == "3" { "2" } else { "1" });
    take_back_after_each_step("rollback", |version| if version == "2" { "1" } else { "2" });
}

#[test]
fn imports_killed_at_each_step() {
    let steps = kill_at_each_step("three", ["2", "3"]);
    assert!(steps >= 10, "{steps}");
}

#[test]
fn rollbacks_killed_at_each_step() {
    let steps = kill_at_each_step("rollback", ["2", "1"]);
    assert!(steps >= 8, "{steps}");
}

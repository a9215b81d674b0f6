//! Imports and rollbacks of a database that are killed at each of their steps, with SIGKILL, in a process of their own.
//!
//! After each kill the database is the old one or the new one, whole; clearing up changes no content; what is kept is the
//! one before.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use recipes::data::conform::{Collect, import};
use recipes::{Data, Sqlite, sqlite};
use rusqlite::Connection;

const BASE: &str = "SQLITE_CRASH_BASE";
const ACT: &str = "SQLITE_CRASH_ACT";
const STEP: &str = "SQLITE_CRASH_STEP";

fn settings(base: &Path, name: &str) -> sqlite::Settings {
    sqlite::Settings::new(base.join(name), base.join("scratch"))
}

fn target(base: &Path) -> Sqlite {
    Sqlite::new(settings(&base.join("live"), "app.db")).unwrap()
}

fn act(data: &Sqlite, base: &Path, act: &str) {
    if act == "rollback" {
        data.rollback().unwrap();
        return;
    }
    import(data, &Collect::of(&Sqlite::new(settings(base, act)).unwrap()).taken);
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
    let data = Sqlite::with_hook(settings(&base.join("live"), "app.db"), hook).unwrap();
    act(&data, &base, &std::env::var(ACT).unwrap());
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

/// Three databases, and a target that has seen the first `imports` of them.
fn prepare(base: &Path, imports: usize) {
    for (at, name) in ["one", "two", "three"].into_iter().enumerate() {
        let connection = Connection::open(base.join(name)).unwrap();
        let mode = ["wal", "delete", "wal"][at];
        let rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200)";
        let batch = format!("PRAGMA journal_mode = {mode}; CREATE TABLE item AS {rows} SELECT i, '{name}' AS version FROM n;");
        connection.execute_batch(&batch).unwrap();
    }
    fs::create_dir(base.join("live")).unwrap();
    for name in &["one", "two"][..imports] {
        act(&target(base), base, name);
    }
}

/// None when there is no database.
fn version(base: &Path, when: &str) -> Option<String> {
    let path = base.join("live/app.db");
    if !path.exists() {
        return None;
    }
    let connection = Connection::open(path).unwrap();
    let said: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(said, "ok", "{when}");
    let empty: bool = connection.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| row.get(0)).unwrap();
    if empty {
        return None;
    }
    let read = "SELECT group_concat(DISTINCT version), count(*) FROM item";
    let (version, rows): (String, u32) = connection.query_row(read, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    assert_eq!(rows, 200, "{when}");
    Some(version)
}

fn left(base: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(base.join("live"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Kills `what` at each step; what there may be then, and what a rollback goes back to. Returns the number of steps.
fn kill_at_each_step(what: &str, imports: usize, wanted: [Option<&str>; 2], before: impl Fn(&str) -> Option<&'static str>) -> usize {
    for step in 0..100 {
        let base = tempfile::tempdir().unwrap();
        let base = base.path();
        prepare(base, imports);
        let ended = run_until(base, what, step);
        let when = format!("{what} killed at step {step}");
        let was = version(base, &when);
        assert!(wanted.contains(&was.as_deref()), "{when}: {was:?}");
        // Clearing up is itself killed, at steps that go up with this one.
        run_until(base, "three", step % 9);
        let base_again = tempfile::tempdir().unwrap();
        let base_again = base_again.path();
        prepare(base_again, imports);
        assert_eq!(run_until(base_again, what, step), ended);
        let data = target(base_again);
        drop(data.stage().unwrap());
        assert_eq!(version(base_again, &when), was, "{when}: clearing up changes no content");
        assert!(
            left(base_again)
                .iter()
                .all(|name| [".app.db.resilient-previous", "app.db", "scratch"].contains(&name.as_str())),
            "{when}"
        );
        if let Some(kept) = was.as_deref().and_then(&before) {
            data.rollback().unwrap();
            assert_eq!(version(base_again, &when).as_deref(), Some(kept), "{when}: the last good is kept");
        }
        let data = target(base);
        act(&data, base, "three");
        assert_eq!(version(base, &when).as_deref(), Some("three"), "{when}");
        if ended {
            return step;
        }
    }
    panic!("{what} never ends");
}

#[test]
fn imports_killed_at_each_step() {
    let steps = kill_at_each_step("three", 2, [Some("two"), Some("three")], |version| match version {
        "three" => Some("two"),
        _ => Some("one"),
    });
    assert!(steps >= 7, "{steps}");
}

#[test]
fn first_imports_killed_at_each_step() {
    let steps = kill_at_each_step("three", 0, [None, Some("three")], |_| None);
    assert!(steps >= 5, "{steps}");
}

#[test]
fn rollbacks_killed_at_each_step() {
    let steps = kill_at_each_step("rollback", 2, [Some("two"), Some("one")], |version| match version {
        "one" => Some("two"),
        _ => Some("one"),
    });
    assert!(steps >= 7, "{steps}");
}

//! Imports and rollbacks that are killed at each of their steps, with SIGKILL, in a process of their own; and a server that is killed under one.
//!
//! After each kill what readers see is the old data or the new, whole; clearing up changes no content, leaves no account and no database of its own but what is
//! kept, and the next import succeeds.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::server::Server;
use recipes::data::conform::{Collect, import};
use recipes::{Data, Mysql, mysql};

const SOCKET: &str = "MYSQL_CRASH_SOCKET";
const SCRATCH: &str = "MYSQL_CRASH_SCRATCH";
const ACT: &str = "MYSQL_CRASH_ACT";
const STEP: &str = "MYSQL_CRASH_STEP";

fn settings(socket: &Path, scratch: &Path) -> mysql::Settings {
    let mut settings = mysql::Settings::new(scratch.to_owned());
    settings.address = mysql::Address::Socket(socket.to_owned());
    settings.databases = vec!["app".into(), "more".into()];
    settings
}

/// Does what is to be killed. What is imported is what the source has.
fn act(target: &Mysql, act: &str, source: &str) {
    if act == "rollback" {
        target.rollback().unwrap();
        return;
    }
    let source = Mysql::new(settings(Path::new(source), &PathBuf::from(source).with_extension("scratch"))).unwrap();
    import(target, &Collect::of(&source).taken);
}

/// The process that is killed; as a test of its own it has nothing to do.
#[test]
fn child() {
    let Some(socket) = std::env::var_os(SOCKET).map(PathBuf::from) else { return };
    let step: usize = std::env::var(STEP).unwrap().parse().unwrap();
    let steps = AtomicUsize::new(0);
    let hook = move |_: &str| {
        if steps.fetch_add(1, Ordering::Relaxed) == step {
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
        }
    };
    let scratch = PathBuf::from(std::env::var_os(SCRATCH).unwrap());
    let target = Mysql::with_hook(settings(&socket, &scratch), hook).unwrap();
    let what = std::env::var(ACT).unwrap();
    let (what, source) = what.split_once(' ').unwrap();
    act(&target, what, source);
}

struct Hosts {
    from: Server,
    to: Server,
    scratch: tempfile::TempDir,
}

impl Hosts {
    fn new() -> Hosts {
        let hosts = Hosts { from: Server::start(&[]), to: Server::start(&[]), scratch: tempfile::tempdir().unwrap() };
        hosts.from.sql("CREATE DATABASE app; CREATE DATABASE more");
        hosts
    }

    fn target(&self) -> Mysql {
        Mysql::new(settings(&self.to.socket(), &self.scratch.path().join("scratch"))).unwrap()
    }

    /// Brings the source to a version.
    fn version(&self, version: usize) {
        for name in ["app", "more"] {
            let sql = format!(
                "DROP TABLE IF EXISTS t, only_{}, only_{version}; CREATE TABLE t (id INT PRIMARY KEY, version INT) SELECT seq AS id, {version} AS version FROM seq_1_to_100;
                 CREATE TABLE only_{version} (id INT); CREATE OR REPLACE VIEW v AS SELECT {version} AS version, id FROM t;
                 CREATE OR REPLACE PROCEDURE p() SELECT {version}; CREATE TRIGGER g BEFORE UPDATE ON t FOR EACH ROW SET NEW.id = {version}",
                version - 1
            );
            self.from.sql_in(name, &sql);
        }
    }

    /// Whether it ended by itself, before that step.
    fn run_until(&self, what: &str, step: usize) -> bool {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child
            .args(["--exact", "crash::child"])
            .env(SOCKET, self.to.socket())
            .env(SCRATCH, self.scratch.path().join("scratch"));
        let output = child
            .env(ACT, format!("{what} {}", self.from.socket().display()))
            .env(STEP, step.to_string())
            .output()
            .unwrap();
        let killed = output.status.signal() == Some(9);
        assert!(killed || output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        !killed
    }

    /// The version that readers of the target see in its tables.
    fn seen(&self, when: &str) -> usize {
        let sql = "SELECT MIN(version), MAX(version), COUNT(*) FROM (SELECT version FROM app.t UNION ALL SELECT version FROM more.t) x";
        let text = self.to.sql(sql);
        let row: Vec<usize> = text.split_whitespace().map(|word| word.parse().unwrap()).collect();
        assert!(row[0] == row[1] && row[2] == 200, "{when}: a mixture: {text}");
        row[0]
    }

    /// All of a version, code and all, by another program's account.
    fn whole(&self) -> String {
        self.to.dump("app") + &self.to.dump("more")
    }

    fn tidy(&self, when: &str) {
        let left = self
            .to
            .sql("SELECT User FROM mysql.user WHERE User LIKE 'resilient%'; SHOW DATABASES LIKE '%\\_\\_new'");
        assert_eq!(left, "", "{when}");
    }
}

/// Kills at each step; returns how many there were.
fn kill_at_each_step(what: &str) -> usize {
    let hosts = Hosts::new();
    hosts.version(1);
    act(&hosts.target(), "import", hosts.from.socket().to_str().unwrap());
    let mut version = 2;
    for step in 0..100 {
        hosts.version(version);
        act(&hosts.target(), "import", hosts.from.socket().to_str().unwrap());
        let last = hosts.whole();
        let before = {
            hosts.target().rollback().unwrap();
            hosts.whole()
        };
        act(&hosts.target(), "import", hosts.from.socket().to_str().unwrap());
        assert_eq!(hosts.whole(), last);
        let (old, new) = if what == "rollback" { (version, version - 1) } else { (version, version + 1) };
        if what == "import" {
            hosts.version(version + 1);
        }
        let ended = hosts.run_until(what, step);
        let when = format!("{what} killed at step {step}");
        let seen = hosts.seen(&when);
        assert!([old, new].contains(&seen), "{when}: {seen}");
        drop(hosts.target().stage().unwrap());
        assert_eq!(hosts.seen(&when), seen, "{when}: clearing up changes no content");
        hosts.tidy(&when);
        if seen == old {
            assert_eq!(hosts.whole(), last, "{when}: as it was, code and all");
            hosts.target().rollback().unwrap();
            assert_eq!(hosts.whole(), before, "{when}: what was kept is kept");
        } else if what == "import" {
            assert_eq!(hosts.to.sql("CALL app.p(); SELECT DISTINCT version FROM more.v"), format!("{new}\n{new}\n"), "{when}");
            hosts.target().rollback().unwrap();
            assert_eq!(hosts.whole(), last, "{when}: the last good is kept");
        } else {
            assert_eq!(hosts.whole(), before, "{when}");
        }
        hosts.tidy(&when);
        if ended {
            return step;
        }
        version += 1;
        hosts.version(version);
        act(&hosts.target(), "import", hosts.from.socket().to_str().unwrap());
        version += 1;
    }
    panic!("{what} never ends");
}

#[test]
fn imports_killed_at_each_step() {
    let steps = kill_at_each_step("import");
    assert!(steps >= 10, "{steps}");
}

#[test]
fn rollbacks_killed_at_each_step() {
    let steps = kill_at_each_step("rollback");
    assert!(steps >= 7, "{steps}");
}

#[test]
fn a_server_killed_under_an_import_has_the_old_or_the_new_data() {
    let mut hosts = Hosts::new();
    hosts.version(1);
    act(&hosts.target(), "import", hosts.from.socket().to_str().unwrap());
    let mut expected = 1;
    for step in ["load", "rows", "loaded", "record", "triggers", "rename", "switched", "code", "keep", "clear"] {
        hosts.version(expected + 1);
        let source = settings(&hosts.from.socket(), &hosts.from.socket().with_extension("scratch"));
        let taken = Collect::of(&Mysql::new(source).unwrap()).taken;
        let pid: i32 = std::fs::read_to_string(hosts.to.folder().join("pid")).unwrap().trim().parse().unwrap();
        let hook = move |name: &str| {
            if name == step {
                // A second time, there is none.
                let _ = rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL);
            }
        };
        let target = Mysql::with_hook(settings(&hosts.to.socket(), &hosts.scratch.path().join("scratch")), hook).unwrap();
        let done = || -> Result<(), recipes::Error> {
            let mut staging = target.stage()?;
            staging.places().iter().for_each(|place| recipes::data::conform::write_tree(&taken, place));
            staging.prepare()?;
            staging.commit(&mut |_| true).map(drop)
        };
        let done = done();
        hosts.to.kill();
        hosts.to.run();
        let seen = hosts.seen(step);
        assert!(seen == expected || seen == expected + 1, "{step}: {seen}");
        assert!(done.is_err() || seen == expected + 1, "{step}");
        drop(hosts.target().stage().unwrap());
        assert_eq!(hosts.seen(step), seen, "{step}: clearing up changes no content");
        hosts.tidy(step);
        act(&hosts.target(), "import", hosts.from.socket().to_str().unwrap());
        expected += 1;
        assert_eq!((hosts.seen(step), hosts.to.sql("CALL app.p()")), (expected, format!("{expected}\n")), "{step}");
    }
}

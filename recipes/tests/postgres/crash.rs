//! Exports and imports of a server that are cut off: the recipe's process by SIGKILL at each of its steps, the server itself in the middle.
//!
//! After each the databases in place are the old ones or the new ones, together and whole, and the next run goes on.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::server::Server;
use recipes::data::conform::{Collect, import};
use recipes::data::{Body, Item, Sink, Stamp, Stop};
use recipes::postgres::Settings;
use recipes::{Data, Error, Postgres};

const FROM: &str = "POSTGRES_CRASH_FROM";
const TO: &str = "POSTGRES_CRASH_TO";
const ACT: &str = "POSTGRES_CRASH_ACT";
const STEP: &str = "POSTGRES_CRASH_STEP";

fn at(host: &str, scratch: &str) -> Settings {
    Settings::new(host, format!("{host}/{scratch}").into())
}

/// The process that is killed; as a test of its own it has nothing to do.
#[test]
fn child() {
    let Ok(to) = std::env::var(TO) else { return };
    let step: usize = std::env::var(STEP).unwrap().parse().unwrap();
    let steps = AtomicUsize::new(0);
    let hook = move |_: &str| {
        if steps.fetch_add(1, Ordering::Relaxed) == step {
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
        }
    };
    let recipe = Postgres::new(at(&to, "scratch")).unwrap().watched(Arc::new(hook));
    if std::env::var(ACT).unwrap() == "rollback" {
        recipe.rollback().unwrap();
        return;
    }
    import(&recipe, &Collect::of(&Postgres::new(at(&std::env::var(FROM).unwrap(), "scratch")).unwrap()).taken);
}

/// Whether it ended by itself, before that step.
fn run_until(from: &Server, to: &Server, act: &str, step: usize) -> bool {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child
        .args(["--exact", "crash::child"])
        .env(FROM, from.host())
        .env(TO, to.host())
        .env(ACT, act)
        .env(STEP, step.to_string());
    let output = child.output().unwrap();
    let killed = output.status.signal() == Some(9);
    assert!(killed || output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    !killed
}

fn write(server: &Server, version: usize) {
    for name in ["shop", "more"] {
        if version == 0 {
            server.sql("postgres", &format!("CREATE DATABASE {name}"));
            server.sql(
                name,
                "CREATE TABLE steady AS SELECT repeat(i::text, 9) FROM generate_series(1, 3000) i; CREATE TABLE version (version int)",
            );
        }
        // One is loaded as a whole each time, and of the other only what changed.
        let other = if name == "shop" { "DROP TABLE version; CREATE TABLE version (version int);" } else { "DELETE FROM version;" };
        server.sql(name, &format!("{other} INSERT INTO version SELECT {version} FROM generate_series(1, 1000)"));
    }
}

/// What both databases hold, which must be one thing.
fn version(server: &Server, when: &str) -> usize {
    let of = |name| server.sql(name, "SELECT DISTINCT version, count(*) FROM version GROUP BY 1");
    let (shop, more) = (of("shop"), of("more"));
    assert_eq!(shop, more, "{when}");
    shop.strip_suffix("|1000\n").unwrap_or_else(|| panic!("{shop:?} {when}")).parse().unwrap()
}

#[test]
fn an_import_that_is_killed_at_any_step_leaves_the_old_or_the_new_and_the_next_goes_on() {
    let (from, to) = (Server::start(), Server::start());
    write(&from, 0);
    import(&to.recipe(), &Collect::of(&from.recipe()).taken);
    for step in 0.. {
        let now = version(&to, "before");
        write(&from, now + 1);
        let ended = run_until(&from, &to, "import", step);
        let after = version(&to, &format!("killed at step {step}"));
        assert!(after == now && !ended || after == now + 1, "{after} after {now}, killed at step {step}");
        if ended {
            assert!(step > 10, "there were steps");
            break;
        }
        // Whoever begins next clears up, and gives up: what is in place is not touched.
        drop(to.recipe().stage().unwrap());
        assert_eq!(version(&to, "cleared up"), after);
        assert_eq!(to.sql("postgres", "SELECT count(*) FROM pg_database WHERE datname LIKE '%new'"), "0\n");
    }
}

#[test]
fn a_rollback_that_is_killed_at_any_step_is_done_or_not() {
    let (from, to) = (Server::start(), Server::start());
    for version in 0..2 {
        write(&from, version);
        import(&to.recipe(), &Collect::of(&from.recipe()).taken);
    }
    for step in 0.. {
        let now = version(&to, "before");
        let ended = run_until(&from, &to, "rollback", step);
        drop(to.recipe().stage().unwrap());
        let after = version(&to, &format!("killed at step {step}"));
        if ended {
            assert_ne!(after, now);
            break;
        }
        if after != now {
            to.recipe().rollback().unwrap();
            assert_eq!(version(&to, "taken back"), now);
        }
    }
}

/// Does something when the first rows have come.
struct Disturbed<F: FnMut()> {
    act: F,
    streams: usize,
}

impl<F: FnMut()> Sink for Disturbed<F> {
    fn unchanged(&mut self, _: &[u8], _: &Stamp) -> Result<bool, Stop> {
        Ok(false)
    }

    fn item(&mut self, item: Item) -> Result<(), Stop> {
        let Body::Stream(mut stream) = item.body else { return Ok(()) };
        let mut buffer = [0; 4096];
        if item.path.windows(8).any(|part| part == b"/tables/") {
            self.streams += 1;
            assert!(stream.read(&mut buffer).map_err(|_| Stop)? > 0 || self.streams > 1);
            if self.streams == 1 {
                (self.act)();
            }
        }
        std::io::copy(&mut stream, &mut std::io::sink()).map_err(|_| Stop)?;
        Ok(())
    }

    fn trouble(&mut self, _: &[u8], _: std::io::Error) {}
}

#[test]
fn a_server_that_is_killed_in_the_middle_of_an_export_fails_it_and_the_next_is_whole() {
    let from = Server::start();
    from.sql("postgres", "CREATE DATABASE shop");
    // More than all that is read ahead.
    from.sql("shop", "CREATE TABLE big AS SELECT i, repeat(md5(i::text), 30) AS text FROM generate_series(1, 100000) i");
    let mut sink = Disturbed { act: || from.kill(), streams: 0 };
    assert!(matches!(from.recipe().export(&mut sink), Err(Error::Stopped | Error::Postgres { .. } | Error::Read { .. })));
    from.up();
    let mut sink = Disturbed { act: || (), streams: 0 };
    from.recipe().export(&mut sink).unwrap();
    assert!(sink.streams > 10, "a large table comes in ranges: {}", sink.streams);
}

#[test]
fn a_server_that_is_killed_in_the_middle_of_an_import_keeps_the_last_good_one() {
    let (from, to) = (Server::start(), Server::start());
    write(&from, 0);
    import(&to.recipe(), &Collect::of(&from.recipe()).taken);
    write(&from, 1);
    let taken = Collect::of(&from.recipe()).taken;
    for when in ["load", "index", "verify", "swap"] {
        let to = Arc::new(&to);
        let (host, folder) = (to.host().to_owned(), to.data());
        let recipe = to.recipe().watched(Arc::new(move |step: &str| {
            if step == when {
                super::server::end(&folder);
            }
        }));
        let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| import(&recipe, &taken)));
        assert!(failed.is_err(), "the server of {} was ended at {when}", host.display());
        to.up();
        assert_eq!(version(&to, when), 0);
    }
    import(&to.recipe(), &taken);
    assert_eq!(version(&to, "in the end"), 1);
}

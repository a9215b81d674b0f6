//! The server's own tools are killed while they work for us: no half snapshot, no half database.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use super::server::Server;
use recipes::Data;
use recipes::data::conform::{Collect, import, write_tree};
use recipes::data::{Body, Item, Sink, Stamp, Stop};

/// Kills a tool that works for this server; whether one was there.
fn kill(tool: &str, host: &Path) -> bool {
    let wanted = format!("PGHOST={}", host.display());
    let numbers = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    for number in numbers {
        let read = |name: &str| std::fs::read(format!("/proc/{number}/{name}")).unwrap_or_default();
        let is =
            read("comm").trim_ascii() == tool.as_bytes() && read("environ").split(|byte| *byte == 0).any(|part| part == wanted.as_bytes());
        if is && let Some(pid) = rustix::process::Pid::from_raw(number) {
            return rustix::process::kill_process(pid, rustix::process::Signal::KILL).is_ok();
        }
    }
    false
}

/// Kills `pg_dump` when the first of the definitions have come, if that is wanted.
struct Killing<'a> {
    host: Option<&'a Path>,
    items: usize,
}

impl Sink for Killing<'_> {
    fn unchanged(&mut self, _: &[u8], _: &Stamp) -> Result<bool, Stop> {
        Ok(false)
    }

    fn item(&mut self, item: Item) -> Result<(), Stop> {
        let Body::Stream(mut stream) = item.body else { return Ok(()) };
        self.items += 1;
        if let Some(host) = self.host.filter(|_| item.path.ends_with(b"schema.dump")) {
            stream.read_exact(&mut [0; 4096]).map_err(|_| Stop)?;
            assert!(kill("pg_dump", host), "more is defined than a pipe takes, so it is still there");
        }
        std::io::copy(&mut stream, &mut std::io::sink()).map(drop).map_err(|_| Stop)
    }

    fn trouble(&mut self, path: &[u8], error: std::io::Error) {
        panic!("{path:?}: {error}");
    }
}

fn shop() -> Server {
    let server = Server::start();
    server.sql("postgres", "CREATE DATABASE shop");
    let tables = (0..400).map(|number| {
        format!("CREATE TABLE table{number} (id int PRIMARY KEY, \"a column with a long name\" text DEFAULT 'and a default');")
    });
    server.sql("shop", &tables.collect::<String>());
    server.sql("shop", "CREATE TABLE version AS SELECT 1 AS version");
    server
}

#[test]
fn an_export_whose_tool_is_killed_fails_and_the_next_is_whole() {
    let server = shop();
    let mut sink = Killing { host: Some(server.host()), items: 0 };
    assert!(server.recipe().export(&mut sink).is_err());
    let mut sink = Killing { host: None, items: 0 };
    server.recipe().export(&mut sink).unwrap();
    assert!(sink.items > 1);
}

#[test]
fn an_import_whose_tool_is_killed_leaves_the_last_good_one() {
    let (from, to) = (shop(), Server::start());
    import(&to.recipe(), &Collect::of(&from.recipe()).taken);
    // Another definition, so that all of it is made anew.
    from.sql("shop", "UPDATE version SET version = 2; ALTER TABLE version ADD COLUMN more int");
    let taken = Collect::of(&from.recipe()).taken;
    for when in ["define", "index"] {
        let killer = Arc::new(std::sync::Mutex::new(None));
        let (host, started) = (to.host().to_owned(), killer.clone());
        let recipe = to.recipe().watched(Arc::new(move |step: &str| {
            if step == when {
                let host = host.clone();
                *started.lock().unwrap() = Some(std::thread::spawn(move || while !kill("pg_restore", &host) {}));
            }
        }));
        let mut staging = recipe.stage().unwrap();
        staging.places().iter().for_each(|place| write_tree(&taken, place));
        let error = staging.prepare().unwrap_err().to_string();
        assert!(error.contains("pg_restore"), "{error}");
        drop(staging);
        killer.lock().unwrap().take().expect("it was started").join().unwrap();
        assert_eq!(to.sql("shop", "SELECT version FROM version"), "1\n", "{when}");
        assert_eq!(to.sql("postgres", "SELECT count(*) FROM pg_database WHERE datname LIKE '%resilient_new'"), "0\n");
    }
    import(&to.recipe(), &taken);
    assert_eq!(to.sql("shop", "SELECT version FROM version"), "2\n");
}

//! What is in a backup: odd names, links, what went, what is left out, and what changes while it is read.

use super::{LIMIT, Stack};
use recipes::data::conform::Ends;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use tests::chance::noise;
use tests::wait::until;

const ODD: [&[u8]; 5] = [b"new\nline", b"carriage\rreturn", b"not \xff utf-8", b" leading and trailing ", b"-rf"];

fn named(folder: &Path, name: &[u8]) -> std::path::PathBuf {
    folder.join(OsStr::from_bytes(name))
}

#[test]
fn odd_names_dangling_links_and_deletions_come_through_the_scripts_and_twice_is_once() {
    let mut stack = Stack::new(163, 1);
    let (data, own) = (stack.hosts[0].database("srv/data"), stack.hosts[1].database("srv/data"));
    for name in ODD {
        fs::write(named(&data, name), name).unwrap();
    }
    fs::create_dir(data.join("empty folder")).unwrap();
    symlink("nowhere/at all", data.join("dangling")).unwrap();
    for _ in 0..2 {
        stack.carry();
        for name in ODD {
            assert_eq!(fs::read(named(&own, name)).unwrap(), name);
        }
        assert!(own.join("empty folder").is_dir());
        assert_eq!(fs::read_link(own.join("dangling")).unwrap().to_str(), Some("nowhere/at all"));
    }
    assert_eq!((stack.kept().len(), stack.hosts[1].calls().len()), (1, 2), "the second time there was nothing to do");
    for name in &ODD[..3] {
        fs::remove_file(named(&data, name)).unwrap();
    }
    fs::remove_file(data.join("dangling")).unwrap();
    fs::remove_dir(data.join("empty folder")).unwrap();
    stack.carry();
    assert_eq!(fs::read_dir(&own).unwrap().count(), 2, "what went there went here");
    assert_eq!(fs::read_dir(stack.hosts[1].database("srv/backup/postgres")).unwrap().count(), 2);
    stack.cluster.stop();
}

#[test]
fn what_is_left_out_is_not_captured_and_survives_imports() {
    let mut stack = Stack::new(164, 1);
    let [here, there] = [0, 1].map(|at| stack.hosts[at].www(""));
    for folder in [&here, &there] {
        fs::create_dir_all(folder.join("cache")).unwrap();
        fs::write(folder.join("cache/page"), folder.to_str().unwrap()).unwrap();
        fs::write(folder.join("server.pid"), folder.to_str().unwrap()).unwrap();
    }
    let _socket = std::os::unix::net::UnixListener::bind(there.join("server.sock")).unwrap();
    fs::write(here.join("page"), "one").unwrap();
    fs::write(there.join("stray"), "nobody has this").unwrap();
    stack.hosts[0].write("key", "one");
    for round in ["one", "two"] {
        fs::write(here.join("page"), round).unwrap();
        stack.carry();
        assert_eq!(fs::read_to_string(there.join("page")).unwrap(), round);
        for own in ["cache/page", "server.pid"] {
            assert_eq!(fs::read_to_string(there.join(own)).unwrap(), there.to_str().unwrap(), "{own} is of this host");
        }
        assert!(there.join("server.sock").exists() && !there.join("stray").exists());
    }
    stack.cluster.stop();
}

#[test]
fn a_file_that_changes_while_it_is_exported_is_told_and_the_next_export_has_it_whole() {
    let mut stack = Stack::new(165, 1);
    let log = stack.hosts[0].www("log");
    fs::write(&log, noise(1, 32_000_000)).unwrap();
    stack.hosts[0].write("key", "one");
    stack.carry();
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let ends = Ends(&ended);
        scope.spawn(|| {
            let mut file = File::options().append(true).open(&log).unwrap();
            let mut line = 0_u64;
            while !ended.load(Ordering::Relaxed) {
                line += 1;
                // Not without end, should the exports take long.
                let more = if line < 1_000_000 { format!("line {line}\n") } else { String::new() };
                file.write_all(more.as_bytes()).unwrap();
                file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_nanos(line)).unwrap();
            }
        });
        let said = until(LIMIT, "an export to say so", || {
            let ran = stack.run(0, "exporter", &["run", "--wait"]);
            if ran.status == 0 && ran.text().contains("changed while it was read, may be a mixture") {
                Ok(ran)
            } else {
                Err(format!("{ran:?}"))
            }
        });
        drop(ends);
        assert!(said.text().contains("log"), "{}", said.text());
    });
    let imported = stack.run(1, "importer", &["sync"]).ended(0);
    assert!(imported.err.contains("changed while it was captured"), "{}", imported.err);
    stack.carry();
    assert!(fs::read(stack.hosts[1].www("log")).unwrap() == fs::read(&log).unwrap());
    stack.cluster.stop();
}

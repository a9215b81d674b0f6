//! SlapOS's resilient stack: one job at a time, odd names, deletions, destinations that vanished.

use crate::{LIMIT, Trio};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use tests::cluster::{files, snapshots};
use tests::wait::until;

#[test]
fn jobs_are_serialised_and_the_same_state_is_not_kept_twice() {
    let mut trio = Trio::new(61, "");
    trio.0.start("web1", "exporter");
    std::fs::write(trio.data().join("file"), "content").unwrap();
    let mut jobs: Vec<_> = (0..4)
        .map(|_| trio.0.command("web1", "exporter", &["run"]).stdout(std::process::Stdio::null()).spawn().unwrap())
        .collect();
    for job in &mut jobs {
        assert!(job.wait().unwrap().success(), "each job had its turn");
    }
    trio.export();
    // The daemon's first export may have been before the file was there.
    let held = snapshots(&trio.spool());
    assert!(held.len() <= 2, "{held:?}");
    trio.newest_is_in(&trio.archive());
    let beats = std::fs::read_dir(trio.spool().join("heartbeats")).unwrap().count();
    assert_eq!(beats, 1, "of what says that nothing changed only the last stays");
    trio.0.stop();
}

#[test]
fn odd_names_links_and_deletions_arrive_and_what_is_excluded_stays() {
    let trio = Trio::new(62, "exclude = [\"*.tmp\"]\n");
    let (data, own) = (trio.data(), trio.0.path("web2"));
    let odd: [&[u8]; 4] = [b"new\nline", b"carriage\rreturn", b"not \xff utf-8", b" leading and trailing "];
    for name in odd {
        std::fs::write(data.join(OsStr::from_bytes(name)), name).unwrap();
    }
    std::fs::create_dir(data.join("empty folder")).unwrap();
    symlink("nowhere/at all", data.join("dangling")).unwrap();
    std::fs::hard_link(data.join(OsStr::from_bytes(odd[0])), data.join("second name")).unwrap();
    std::fs::write(data.join("left out.tmp"), "x").unwrap();
    std::fs::create_dir_all(&own).unwrap();
    std::fs::write(own.join("of this host.tmp"), "stays").unwrap();
    for _ in 0..2 {
        trio.export();
        trio.import();
        for name in odd {
            assert_eq!(std::fs::read(own.join(OsStr::from_bytes(name))).unwrap(), name);
        }
        assert!(own.join("empty folder").is_dir());
        assert_eq!(std::fs::read_link(own.join("dangling")).unwrap().to_str(), Some("nowhere/at all"));
        let inode = |name: &OsStr| std::fs::metadata(own.join(name)).unwrap().ino();
        assert_eq!(inode(OsStr::new("second name")), inode(OsStr::from_bytes(odd[0])), "they are one file still");
        assert!(!own.join("left out.tmp").exists());
        assert_eq!(std::fs::read(own.join("of this host.tmp")).unwrap(), b"stays");
    }
    std::fs::remove_file(data.join(OsStr::from_bytes(odd[2]))).unwrap();
    std::fs::remove_dir(data.join("empty folder")).unwrap();
    trio.export();
    trio.import();
    assert!(!own.join(OsStr::from_bytes(odd[2])).exists() && !own.join("empty folder").exists(), "what went there goes here");
    assert_eq!(std::fs::read(own.join("of this host.tmp")).unwrap(), b"stays");
}

#[test]
fn an_archive_or_a_mirror_that_vanished_is_made_anew() {
    let mut trio = Trio::new(63, "");
    std::fs::write(trio.data().join("file"), vec![7; 500_000]).unwrap();
    trio.export();
    trio.import();
    let mirror = trio.0.of_node("web2", "files");
    std::fs::remove_dir_all(&mirror).unwrap();
    trio.import();
    trio.newest_is_in(&mirror);
    trio.0.kill("keeper", "pull-backup");
    std::fs::remove_dir_all(trio.archive()).unwrap();
    trio.0.start("keeper", "pull-backup");
    std::fs::write(trio.data().join("other"), "other").unwrap();
    trio.export();
    trio.newest_is_in(&trio.archive());
    assert_eq!(files(&trio.restore("latest").path().join("files")), files(&trio.data()));
    trio.0.stop();
}

#[test]
fn nothing_is_imported_on_a_node_that_works() {
    let mut trio = Trio::new(64, "");
    std::fs::write(trio.data().join("file"), "one").unwrap();
    trio.export();
    trio.import();
    // As a takeover leaves it.
    std::fs::write(trio.0.path("web2-state/role"), "epoch = 2\nactive = true\n").unwrap();
    std::fs::write(trio.0.path("web2/file"), "written here since").unwrap();
    std::fs::write(trio.data().join("file"), "two").unwrap();
    trio.export();
    let said = trio.0.run("web2", "importer", &["sync"]).ended(0);
    assert!(said.err.contains("active"), "{}", said.err);
    trio.0.start("web2", "importer");
    trio.newest_is_in(&trio.archive());
    until(LIMIT, "the daemon to have looked", || trio.0.daemon("web2", "importer").err().contains("active").then_some(()));
    assert_eq!(std::fs::read(trio.0.path("web2/file")).unwrap(), b"written here since");
    trio.0.stop();
}

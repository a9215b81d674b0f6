//! YunoHost's fallback: nights without change, nights that failed, apps that come and go, a pull-backup that cannot read.

use crate::{Trio, dataset, size};
use tests::chance::noise;
use tests::cluster::{files, snapshots};

#[test]
fn an_unchanged_night_transfers_almost_nothing_and_the_age_stays_known() {
    let mut trio = Trio::new(65, "");
    std::fs::write(trio.data().join("file"), noise(1, 2_000_000)).unwrap();
    trio.0.start("web1", "exporter");
    trio.export();
    let (before, count) = (size(&trio.archive()), snapshots(&trio.archive()).len());
    let beat = || {
        std::fs::read_dir(trio.archive().join("heartbeats"))
            .ok()?
            .next()?
            .ok()?
            .file_name()
            .into_string()
            .ok()
    };
    let first = beat();
    trio.export();
    tests::wait::until(crate::LIMIT, "word of the second night", || {
        let last = beat();
        (last.is_some() && last != first).then_some(())
    });
    assert_eq!(snapshots(&trio.archive()).len(), count, "no second snapshot of the same");
    let grown = size(&trio.archive()).saturating_sub(before);
    assert!(grown < 4096, "the night cost {grown} bytes");
    trio.0.stop();
}

#[test]
fn a_night_that_changed_and_failed_is_tried_again() {
    let trio = Trio::new(66, "");
    std::fs::write(trio.data().join("file"), "before").unwrap();
    trio.export();
    std::fs::write(trio.data().join("file"), "after!").unwrap();
    let (there, away) = (trio.data(), trio.0.path("unmounted"));
    std::fs::rename(&there, &away).unwrap();
    let failed = trio.0.run("web1", "exporter", &["run"]);
    assert!(failed.status == 1 && failed.err.contains("cannot find the source"), "{failed:?}");
    std::fs::rename(&away, &there).unwrap();
    trio.export();
    assert_eq!(std::fs::read(trio.restore("latest").path().join("files/file")).unwrap(), b"after!");
}

#[test]
fn an_app_that_was_removed_goes_from_the_next_snapshot_and_stays_in_history() {
    let mut trio = Trio::new(67, "");
    let (data, app) = (trio.data(), trio.0.path("app"));
    std::fs::create_dir(&app).unwrap();
    std::fs::write(app.join("of the app"), "x").unwrap();
    std::fs::write(data.join("file"), "y").unwrap();
    let both = format!("{}[[dataset.source]]\nname = \"app\"\nrecipe = \"files\"\npaths = [{app:?}]\n", dataset(&data, ""));
    trio.0.node("web1", "", &both);
    trio.export();
    let with = snapshots(&trio.archive()).pop().unwrap();
    trio.0.node("web1", "", &dataset(&data, ""));
    trio.export();
    assert!(!trio.restore("latest").path().join("app").exists());
    let id = with.rsplit_once('-').unwrap().1;
    assert_eq!(files(&trio.restore(id).path().join("app")), files(&app), "by date it is there");
    // Where it stands by, a source that the snapshot does not have any more is not emptied.
    trio.import();
}

#[test]
fn the_archive_cannot_be_read_without_the_identity() {
    let trio = Trio::new(68, "");
    let secret = b"the-secret-of-the-customers".repeat(40);
    std::fs::write(trio.data().join("secret-name"), &secret).unwrap();
    trio.export();
    let all: Vec<u8> = files(&trio.archive())
        .into_iter()
        .flat_map(|(name, bytes)| [name.into_bytes(), bytes].concat())
        .collect();
    let keeper: Vec<u8> = files(&trio.0.path("keeper-state")).into_values().flatten().collect();
    for wanted in [&secret[..27], b"secret-name", b"AGE-SECRET-KEY"] {
        for held in [&all, &keeper] {
            assert!(!held.windows(wanted.len()).any(|window| window.eq_ignore_ascii_case(wanted)), "it is there in the clear");
        }
    }
    let to = tempfile::tempdir().unwrap();
    let closed = trio
        .0
        .run("keeper", "pull-backup", &["restore", "files", "--at", "latest", "--to", to.path().to_str().unwrap()]);
    assert!(closed.status == 2 && closed.err.contains("--identity"), "{closed:?}");
    assert_eq!(files(to.path()).len(), 0);
}

//! Each hop is stopped in each way that we could think of; within two intervals the status of whoever depends on it is not ok, and says where and why.

use crate::stand::{At, Keeps, LIMIT, Stand, StandsBy, Works, has};
use std::collections::BTreeSet;
use std::fs;
use tests::wait::until;

/// What is said of the daemon of this host itself.
fn daemon_says(stand: &Stand, at: At) -> String {
    let host = stand.status(at);
    assert_ne!(host["daemon"]["word"], "ok", "{host:#}");
    host["daemon"]["why"].as_str().unwrap().to_owned()
}

#[test]
fn data_that_does_not_change_stays_current_and_all_is_ok() {
    let stand = Stand::new(1, "").up();
    let mut captured = BTreeSet::new();
    until(LIMIT, "three heartbeats in the archive", || {
        for at in [Works, Keeps, StandsBy] {
            let host = stand.status(at);
            assert_eq!(host["word"], "ok", "{host:#}");
        }
        let host = stand.status(Keeps);
        captured.insert(host["datasets"][0]["captured"].as_str().unwrap().to_owned());
        if captured.len() > 3 { Ok(()) } else { Err(format!("{captured:?}")) }
    });
    let snapshots = fs::read_dir(stand.path("archive/shop/files/snapshots")).unwrap().count();
    assert_eq!(snapshots, 1, "only heartbeats came");
    let host = stand.status(Keeps);
    let members: Vec<_> = host["peers"].as_array().unwrap().iter().map(|peer| (&peer["name"], &peer["role"])).collect();
    assert_eq!(format!("{members:?}"), r#"[(String("web1"), String("exporter")), (String("web2"), String("importer"))]"#);
    assert!(host["peers"][0]["bytes"].as_u64().unwrap() > 1000 && host["peers"][0]["last_seen"].is_string(), "{host:#}");
    for at in [Works, Keeps, StandsBy] {
        assert!(stand.told(at).is_empty(), "nobody was told anything");
    }
}

#[test]
fn an_exporter_that_is_killed() {
    let mut stand = Stand::new(2, "").up();
    stand.kill(Works);
    has(&stand.not_ok(Keeps, "archive"), &["web1", "cannot reach"]);
    has(&stand.not_ok(StandsBy, "mirror"), &["late", "should be no older"]);
    has(&daemon_says(&stand, Works), &["no `exporter serve` runs"]);
    stand.start(Works);
    stand.all_ok();
}

#[test]
fn a_source_that_is_gone() {
    let stand = Stand::new(3, "").up();
    fs::rename(stand.path("data"), stand.path("elsewhere")).unwrap();
    has(&stand.not_ok(Works, "spool"), &["failing", "attempt", stand.path("data").to_str().unwrap()]);
    has(&stand.not_ok(Keeps, "archive"), &["late", "exporter status", "web1"]);
    has(&stand.not_ok(StandsBy, "mirror"), &["late"]);
    fs::rename(stand.path("elsewhere"), stand.path("data")).unwrap();
    // The daemon tries again after a minute; a person does it now.
    stand.run(Works, &["run"]).ended(0);
    until(LIMIT, "no failure of the spool", || {
        let host = stand.status(Works);
        if host["datasets"][0]["failures"] == 0 { Ok(()) } else { Err(format!("{host:#}")) }
    });
}

#[test]
fn a_pull_backup_that_is_killed() {
    let mut stand = Stand::new(4, "").up();
    stand.kill(Keeps);
    has(&stand.not_ok(Works, "archive"), &["late", "pull-backup status"]);
    has(&stand.not_ok(StandsBy, "mirror"), &["cannot reach"]);
    has(&daemon_says(&stand, Keeps), &["no `pull-backup serve` runs"]);
    stand.start(Keeps);
    stand.all_ok();
}

#[test]
fn an_importer_that_is_killed() {
    let mut stand = Stand::new(5, "").up();
    stand.kill(StandsBy);
    has(&stand.not_ok(Keeps, "mirror"), &["late", "importer status", "web2"]);
    has(&daemon_says(&stand, StandsBy), &["no `importer serve` runs"]);
    has(&stand.not_ok(StandsBy, "mirror"), &["late"]);
    assert_eq!(stand.status(Works)["word"], "ok", "whoever does not depend on it is well");
    stand.start(StandsBy);
    stand.all_ok();
}

#[test]
fn daemons_that_hang() {
    let mut stand = Stand::new(6, "").up();
    for (victim, sees, hop) in [(Works, Keeps, "archive"), (Keeps, Works, "archive"), (StandsBy, Keeps, "mirror")] {
        stand.daemon(victim).freeze();
        stand.not_ok(sees, hop);
        until(LIMIT, "its own status to say that it hangs", || {
            let host = stand.status(victim);
            let why = host["daemon"]["why"].as_str().unwrap().to_owned();
            if why.contains("runs and hangs") { Ok(()) } else { Err(why) }
        });
        stand.daemon(victim).thaw();
        stand.all_ok();
    }
}

#[test]
fn an_archive_that_cannot_be_written() {
    let stand = Stand::new(7, "").up();
    let folder = stand.path("archive/shop/files/packs");
    if folder.exists() {
        fs::rename(&folder, stand.path("aside")).unwrap();
    }
    fs::write(&folder, b"not a folder").unwrap();
    let noise = tests::chance::Chance::new(7).noise(2_000_000);
    fs::write(stand.path("data/large"), noise).unwrap();
    has(&stand.not_ok(Keeps, "archive"), &["failing", "packs", "web1"]);
    has(&stand.not_ok(Works, "archive"), &["failing", "packs"]);
    fs::remove_file(&folder).unwrap();
    stand.all_ok();
}

#[test]
fn an_archive_that_cannot_be_read() {
    let stand = Stand::new(11, "").up();
    let folder = stand.path("archive/shop/files/heartbeats");
    until(LIMIT, "a heartbeat in the archive", || folder.exists().then_some(()));
    fs::rename(&folder, stand.path("aside")).unwrap();
    fs::write(&folder, b"not a folder").unwrap();
    has(&stand.not_ok(Keeps, "archive"), &["heartbeats"]);
    fs::remove_file(&folder).unwrap();
    fs::rename(stand.path("aside"), &folder).unwrap();
    stand.all_ok();
}

#[test]
fn a_peer_that_answers_and_refuses() {
    let stand = Stand::new(8, "").up();
    stand.run(Keeps, &["expel", "web2"]).ended(0);
    has(&stand.not_ok(StandsBy, "mirror"), &["failing", "refused", "does not know your key"]);
    let host = stand.status(Keeps);
    assert_eq!(host["peers"].as_array().unwrap().len(), 1, "who is expelled is not listed: {host:#}");
    let all = stand.run(Keeps, &["status", "--all"]).ended(0);
    has(all.text(), &["web2", "expelled"]);
}

#[test]
fn a_peer_that_shows_another_key() {
    let stand = Stand::new(9, "").up();
    let path = stand.path("web2/membership.toml");
    let text = fs::read_to_string(&path).unwrap();
    let pin = text.lines().find_map(|line| line.strip_prefix("pin = ")).unwrap().to_owned();
    fs::write(&path, text.replace(&pin, &format!("\"{}\"", "0a".repeat(32)))).unwrap();
    has(&stand.not_ok(StandsBy, "mirror"), &["another key"]);
    has(&stand.not_ok(Keeps, "mirror"), &["late"]);
    fs::write(&path, text).unwrap();
    stand.all_ok();
}

#[test]
fn exports_from_cron_without_a_daemon_keep_how_they_went() {
    let stand = Stand::new(10, "");
    let status = || stand.status(Works);
    assert_eq!(status()["datasets"][0]["word"], "never");
    stand.run(Works, &["run"]).ended(0);
    let host = status();
    assert_eq!(host["word"], "ok", "nobody was joined, so no daemon is needed: {host:#}");
    fs::rename(stand.path("data"), stand.path("elsewhere")).unwrap();
    for failures in 1..3 {
        stand.run(Works, &["run"]).ended(1);
        let line = &status()["datasets"][0];
        assert_eq!((&line["word"], &line["failures"]), (&"failing".into(), &failures.into()), "{line:#}");
        has(line["last_failure"]["text"].as_str().unwrap(), &[stand.path("data").to_str().unwrap()]);
    }
    fs::rename(stand.path("elsewhere"), stand.path("data")).unwrap();
    stand.run(Works, &["run"]).ended(0);
    assert_eq!(status()["word"], "ok");
}

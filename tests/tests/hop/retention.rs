//! Retention by the daemon: rules, pins, and others who want the repository meanwhile.

use crate::place::{Host, PullBackup, World, now_ms};
use pull_backup::serve::retention::Retained;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tests::chance::noise;
use tests::cluster::snapshots;
use tests::plain::PlainTree;
use tests::wait::until;

const LIMIT: Duration = Duration::from_secs(60);
const HOUR_MS: u64 = 3_600_000;

fn export(host: &Host, at: &PullBackup, seed: u64) -> String {
    let mut tree = PlainTree::new("s");
    tree.file("s/file", noise(seed, 10_000));
    host.trial.export(&tree);
    let newest = snapshots(&host.state.join("datasets/data/repository")).pop().unwrap();
    until(LIMIT, "the archive", || snapshots(&at.repository(&host.dataset)).contains(&newest).then_some(()));
    newest
}

#[test]
fn the_daemon_keeps_what_the_rules_say_and_frees_the_rest_once_an_hour() {
    let world = World::new();
    let time = Arc::new(AtomicU64::new(now_ms() / HOUR_MS * HOUR_MS));
    let clock = time.clone();
    let rules = "[retain]\nlast = 2\nhourly = 5\ndaily = 0\nweekly = 0\nmonthly = 0\n";
    let at = world.pull_backup_with("backup", rules, Arc::new(move || clock.load(Ordering::SeqCst)));
    let host = world.host("web1");
    world.join(&host, &at, host.runs.address.port()).unwrap();
    for hour in 0..12 {
        for part in 0..2 {
            export(&host, &at, 2 * hour + part);
            time.fetch_add(HOUR_MS / 2, Ordering::SeqCst);
        }
    }
    let archive = at.repository(&host.dataset);
    let state = world.folder.path().join("backup/state");
    let before = snapshots(&archive);
    assert!(before.len() > 6, "{before:?}");
    at.daemon.retain_one(&host.dataset);
    let after = snapshots(&archive);
    // The first of each of five hours, and the last two, of which one is the first of its hour.
    assert_eq!(after.len(), 6, "{after:?} of {before:?}");
    assert_eq!(after.last(), before.last());
    let said = Retained::open(&state, &host.dataset).unwrap();
    assert_eq!((said.kept, said.dropped, said.trouble), (6, before.len() - 6, None));
    // Nothing new: nothing is done, though it is due.
    time.fetch_add(2 * HOUR_MS, Ordering::SeqCst);
    at.daemon.retain_one(&host.dataset);
    assert_eq!(Retained::open(&state, &host.dataset).unwrap().at_ms, said.at_ms);
    // What comes later is pulled and kept as before.
    export(&host, &at, 100);
    at.daemon.retain_one(&host.dataset);
    assert!(snapshots(&archive).len() <= 7);
}

#[test]
fn the_newest_of_a_member_that_is_away_stays_until_it_is_expelled() {
    let world = World::new();
    let time = Arc::new(AtomicU64::new(now_ms()));
    let clock = time.clone();
    let rules = "[retain]\nlast = 1\nhourly = 0\ndaily = 0\nweekly = 0\nmonthly = 0\n";
    let at = world.pull_backup_with("backup", rules, Arc::new(move || clock.load(Ordering::SeqCst)));
    let (mut away, mut active) = (world.host("web1"), world.host("web2"));
    (active.trial.options.node, active.trial.options.epoch) = ("web2".into(), 2);
    active.trial.options.signer = Arc::new(archive::sign::Signer::from_seed(&[8; 32]));
    away.trial.options.epoch = 1;
    world.join(&away, &at, away.runs.address.port()).unwrap();
    let (first, last) = (export(&away, &at, 1), export(&away, &at, 2));
    world.join(&active, &at, active.runs.address.port()).unwrap();
    for seed in 3..6 {
        time.fetch_add(1000, Ordering::SeqCst);
        export(&active, &at, seed);
    }
    time.fetch_add(2 * HOUR_MS, Ordering::SeqCst);
    at.daemon.retain_one(&away.dataset);
    let kept = snapshots(&at.repository(&away.dataset));
    assert!(kept.len() == 2 && kept.contains(&last) && !kept.contains(&first), "{kept:?}");
    at.daemon.members().expel(None, "web1", now_ms()).unwrap();
    export(&active, &at, 9);
    time.fetch_add(2 * HOUR_MS, Ordering::SeqCst);
    at.daemon.retain_one(&away.dataset);
    assert!(!snapshots(&at.repository(&away.dataset)).contains(&last));
}

//! A stall is seen and said, and the feed does not grow without end.

use super::{KEEPER, LIMIT, Stack, name};
use archive::id::SnapshotId;
use archive::name::Position;
use archive::repository::Known;
use archive::retain::{Candidate, Rules, plan};
use console::pull_backup_file::PullBackupFile;
use std::fs;
use std::path::Path;
use std::time::Duration;
use tests::wait::until;

/// Two intervals of five seconds, what a look and its writing take, and what a slow host adds.
const SOON: Duration = Duration::from_secs(20);
const HOUR_MS: u64 = 3_600_000;

impl Stack {
    #[track_caller]
    fn all_ok(&self) {
        for (host, binary) in [("host0", "exporter"), ("backup", "pull-backup"), ("host1", "importer")] {
            until(LIMIT, &format!("{host} to be ok"), || {
                let status = self.cluster.run(host, binary, &["status"]);
                if status.status == 0 { Ok(()) } else { Err(status.text().to_owned()) }
            });
        }
    }

    /// It is not ok, and says all of this.
    #[track_caller]
    fn not_ok(&self, host: &str, binary: &str, words: &[&str]) {
        until(SOON, &format!("{host} not to be ok"), || {
            let status = self.cluster.run(host, binary, &["status"]);
            let text = status.text().to_owned();
            if status.status == 1 && words.iter().all(|word| text.contains(word)) { Ok(()) } else { Err(text) }
        });
    }
}

#[test]
fn a_stall_is_seen_within_two_intervals_by_all_whom_it_concerns_and_they_say_why() {
    let mut stack = Stack::with(170, 1, "every = \"5s\"");
    stack.hosts[0].write("key", "one");
    stack.cluster.start(&name(0), "exporter");
    stack.cluster.start(&name(1), "importer");
    stack.all_ok();
    // An importer that fails is no word against the backup.
    stack.hosts[0].write("unimportable", "");
    stack.not_ok("host1", "importer", &["failing", "relation \"key\" does not exist"]);
    stack.not_ok("backup", "pull-backup", &["host1"]);
    fs::remove_file(stack.hosts[0].database("srv/data/unimportable")).unwrap();
    stack.hosts[0].write("key", "two");
    stack.all_ok();
    assert_eq!(stack.hosts[1].data(), stack.hosts[0].data());
    // An exporter that fails, and what follows from it for others, though every transfer goes well.
    fs::write(stack.hosts[0].database("var/run/broken"), "pg_dump: error: connection to server failed\n").unwrap();
    stack.not_ok("host0", "exporter", &["failing", "pg_dump: error: connection to server failed"]);
    stack.not_ok("backup", "pull-backup", &["late", "host0"]);
    stack.not_ok("host1", "importer", &["late"]);
    fs::remove_file(stack.hosts[0].database("var/run/broken")).unwrap();
    stack.export();
    stack.all_ok();
    stack.cluster.stop();
}

#[test]
fn the_feed_is_trimmed_to_two_weeks_of_every_hour_and_what_is_left_can_be_restored() {
    // As shipped: a year of hours.
    let shipped = PullBackupFile::parse(KEEPER, Path::new("pull-backup.toml")).unwrap().retain;
    let rules = Rules {
        last: shipped.last,
        hourly: shipped.hourly,
        daily: shipped.daily,
        weekly: shipped.weekly,
        monthly: shipped.monthly,
        yearly: shipped.yearly,
        within_ms: shipped.within.map(|within| within.as_millis() as u64),
    };
    let (begin_ms, hours) = (1_764_547_200_000_u64, 365 * 24_u64);
    let year: Vec<Candidate> = (0..hours)
        .map(|hour| {
            let (at, mut id) = (Position { epoch: 1, sequence: hour + 1 }, [0; 16]);
            id[..8].copy_from_slice(&hour.to_le_bytes());
            let id = SnapshotId(id);
            let known = Known { at, id, name: archive::name::snapshot(at, id) };
            Candidate { known, received_ms: Some(begin_ms + hour * HOUR_MS), proven: true }
        })
        .collect();
    let decided = plan(&year, &rules, &[], begin_ms + hours * HOUR_MS, &jiff::tz::TimeZone::UTC);
    let kept: Vec<u64> = decided
        .iter()
        .filter(|decision| decision.is_kept())
        .map(|decision| decision.known.at.sequence)
        .collect();
    assert!((hours - 14 * 24..=hours).all(|hour| kept.contains(&hour)), "each hour of two weeks");
    assert!((14 * 24 + 1..14 * 24 + 30).contains(&(kept.len() as u64)), "and a few weeks and months more: {}", kept.len());
    // For real, in little.
    let mut stack = Stack::new(171, 1);
    for number in 1..=6 {
        stack.hosts[0].write("key", format!("state {number}"));
        stack.carry();
    }
    assert_eq!(stack.kept().len(), 6);
    let archive = stack.archive();
    let config = stack.cluster.path("backup.toml");
    let text = fs::read_to_string(&config).unwrap();
    let (before, after) = (text.find("within").unwrap(), text.find("[cluster.").unwrap());
    let little = "last = 2\nhourly = 0\ndaily = 0\nweekly = 0\nmonthly = 0\n";
    fs::write(&config, format!("{}{little}{}", &text[..before], &text[after..])).unwrap();
    // It wants the repository for itself; the daemon, which does this each hour, knows when it may.
    stack.cluster.kill("backup", "pull-backup");
    stack.cluster.run("backup", "pull-backup", &["retain", "--dataset", "instance"]).ended(0);
    stack.cluster.start("backup", "pull-backup");
    assert_eq!(stack.kept().len(), 2);
    stack
        .cluster
        .run("backup", "pull-backup", &["check", "--read", "--repository", archive.to_str().unwrap()])
        .ended(0);
    stack.hosts[0].write("key", "state 7");
    stack.carry();
    let listed = stack.cluster.run("backup", "pull-backup", &["snapshots", "instance", "--json"]).ended(0).json();
    assert_eq!(listed["snapshots"].as_array().map(Vec::len), Some(3), "{listed:#}");
    stack.cluster.stop();
}

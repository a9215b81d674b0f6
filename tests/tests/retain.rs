//! Retention keeps what its rules protect, whatever comes, and carries out what it decided without harm to what stays.

use archive::id::SnapshotId;
use archive::name::{self, Position};
use archive::record::{Certificate, Evidence, EvidenceKind, Receipt, Signed};
use archive::repository::{Known, Repository};
use archive::retain::{Candidate, Reason, RetainOptions, RetainReport, Rules, Unit, plan, retain};
use archive::sign::Signer;
use archive::store::{Crash, Faulty, MemoryStore, Store};
use archive::trust::Trust;
use jiff::tz::TimeZone;
use proptest::prelude::*;
use std::collections::HashSet;
use std::sync::Arc;
use tests::chance::budget;
use tests::history::{History, copy_of};
use tests::plain::PlainTree;
use tests::trial::START_MS;

const HOUR_MS: u64 = 60 * 60_000;

/// Central European time, its changes included.
fn berlin() -> TimeZone {
    TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
}

fn candidate(number: u64, received_ms: u64) -> Candidate {
    let at = Position { epoch: 0, sequence: number };
    let mut id = [0; 16];
    id[..8].copy_from_slice(&(number + 1).to_le_bytes());
    let id = SnapshotId(id);
    Candidate { known: Known { at, id, name: name::snapshot(at, id) }, received_ms: Some(received_ms), proven: false }
}

fn kept(candidates: &[Candidate], rules: &Rules, now_ms: u64, zone: &TimeZone) -> HashSet<SnapshotId> {
    let decisions = plan(candidates, rules, &[], now_ms, zone);
    decisions.iter().filter(|decision| decision.is_kept()).map(|decision| decision.known.id).collect()
}

fn time_ms(text: &str) -> u64 {
    text.parse::<jiff::Timestamp>().unwrap().as_millisecond() as u64
}

fn rules() -> impl Strategy<Value = Rules> {
    let count = || 0..5u32;
    (1..4u32, count(), count(), count(), count(), 0..2u32).prop_map(|(last, hourly, daily, weekly, monthly, yearly)| Rules {
        last,
        hourly,
        daily,
        weekly,
        monthly,
        yearly,
        within_ms: None,
    })
}

fn zone() -> impl Strategy<Value = TimeZone> {
    let zones = ["UTC0", "CET-1CEST,M3.5.0,M10.5.0/3", "EST5EDT,M3.2.0,M11.1.0", "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0"];
    prop::sample::select(zones.to_vec()).prop_map(|text| TimeZone::posix(text).unwrap())
}

/// Gaps between arrivals, from seconds to months.
fn gaps() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(prop_oneof![3 => 1_000..3 * HOUR_MS, 2 => HOUR_MS..40 * HOUR_MS, 1 => 0..1500 * HOUR_MS], 1..80)
}

fn arrivals(gaps: &[u64]) -> Vec<Candidate> {
    let mut now_ms = START_MS;
    let mut number = 0;
    let arrive = |gap: &u64| {
        now_ms += gap;
        number += 1;
        candidate(number, now_ms)
    };
    gaps.iter().map(arrive).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(budget(256) as u32))]

    /// Dropping early never loses what a rule wants later: retaining at each arrival keeps all that one look at the whole history would keep by bucket.
    #[test]
    fn retaining_often_keeps_what_retaining_once_keeps(gaps in gaps(), rules in rules(), zone in zone()) {
        let all = arrivals(&gaps);
        let mut there: Vec<Candidate> = Vec::new();
        for next in &all {
            there.push(next.clone());
            let keep = kept(&there, &rules, next.received_ms.unwrap(), &zone);
            there.retain(|known| keep.contains(&known.known.id));
        }
        let now_ms = all.last().unwrap().received_ms.unwrap();
        let once = kept(&all, &rules, now_ms, &zone);
        let often: HashSet<SnapshotId> = there.iter().map(|known| known.known.id).collect();
        prop_assert_eq!(once, often);
    }

    /// A flood within an hour takes nothing from what buckets keep, whatever positions its snapshots claim.
    #[test]
    fn a_flood_displaces_nothing_that_a_bucket_keeps(gaps in gaps(), rules in rules(), zone in zone(), flood in 1..300u64, claimed: u64) {
        let rules = Rules { last: 0, ..rules };
        let mut all = arrivals(&gaps);
        let now_ms = all.last().unwrap().received_ms.unwrap();
        let before = kept(&all, &rules, now_ms, &zone);
        let newest = all.last().unwrap().known.id;
        all.extend((0..flood).map(|n| candidate((claimed >> 1) + 1000 + n, now_ms + n)));
        // The flood's own milliseconds may reach into one new bucket of each kind.
        let new = rules.units().iter().any(|(unit, _)| unit.bucket(now_ms, &zone) != unit.bucket(now_ms + flood, &zone));
        let after = kept(&all, &rules, now_ms + flood, &zone);
        let lost: Vec<_> = before.difference(&after).filter(|id| **id != newest).collect();
        prop_assert!(new || lost.is_empty(), "{lost:?}");
    }

    /// What has no valid receipt, or one that lies after now, stays and takes no other's place.
    #[test]
    fn what_cannot_be_dated_stays_and_displaces_nothing(gaps in gaps(), rules in rules(), zone in zone(), ahead in 1..10_000 * HOUR_MS, count in 1..20u64) {
        let mut all = arrivals(&gaps);
        let now_ms = all.last().unwrap().received_ms.unwrap();
        let before = kept(&all, &rules, now_ms, &zone);
        let newest = all.last().unwrap().known.id;
        for n in 0..count {
            let mut strange = candidate(1000 + n, now_ms + ahead + n);
            strange.received_ms = strange.received_ms.filter(|_| n % 2 == 0);
            all.push(strange);
        }
        let after = kept(&all, &rules, now_ms, &zone);
        prop_assert!(before.iter().all(|id| after.contains(id) || *id == newest));
        prop_assert!(all.iter().rev().take(count as usize).all(|strange| after.contains(&strange.known.id)));
    }
}

#[test]
fn an_hour_that_comes_twice_is_two_hours_and_days_are_those_of_the_zone() {
    let first = time_ms("2026-10-25T00:30:00Z");
    assert_ne!(Unit::Hour.bucket(first, &berlin()), Unit::Hour.bucket(first + HOUR_MS, &berlin()));
    assert_eq!(Unit::Day.bucket(first, &berlin()), Unit::Day.bucket(first + 22 * HOUR_MS, &berlin()), "that day has 25 hours");
    let evening = time_ms("2026-11-21T23:30:00Z");
    assert_eq!(Unit::Day.bucket(evening, &berlin()), "daily 2026-11-22");
    assert_eq!(Unit::Day.bucket(evening, &TimeZone::UTC), "daily 2026-11-21");
    assert_eq!(Unit::Week.bucket(time_ms("2027-01-01T12:00:00Z"), &TimeZone::UTC), "weekly 2026-W53");
    let spring: Vec<Candidate> = (0..6).map(|n| candidate(n, time_ms("2026-03-28T23:30:00Z") + n * HOUR_MS)).collect();
    let rules = Rules { hourly: 4, ..Rules::default() };
    assert_eq!(kept(&spring, &rules, time_ms("2026-03-29T05:00:00Z"), &berlin()).len(), 4);
}

#[test]
fn the_newest_that_was_imported_stays_and_reasons_are_said() {
    let mut all: Vec<Candidate> = (0..10).map(|n| candidate(n, START_MS + n * HOUR_MS)).collect();
    all[1].proven = true;
    all[3].proven = true;
    all[4].received_ms = None;
    let rules = Rules { last: 2, hourly: 1, within_ms: Some(2 * HOUR_MS), ..Rules::default() };
    let decisions = plan(&all, &rules, &[all[0].known.id], START_MS + 9 * HOUR_MS, &TimeZone::UTC);
    let said: Vec<String> = decisions
        .iter()
        .map(|decision| decision.reasons.iter().map(Reason::to_string).collect::<Vec<_>>().join(", "))
        .collect();
    let newest = "newest, last 2, within, hourly 2026-11-21 21 +00:00";
    assert_eq!(said, ["pinned", "", "", "newest imported", "no receipt: kept", "", "", "within", "last 2, within", newest]);
}

fn options(last: u32, now_ms: u64) -> RetainOptions {
    let rules = Rules { last, ..Rules::default() };
    RetainOptions {
        rules,
        now_ms,
        zone: TimeZone::UTC,
        dry_run: false,
        receivers: vec![],
        pins: vec![],
        trust: Trust::default(),
    }
}

fn run(store: &MemoryStore, options: &RetainOptions) -> RetainReport {
    let repository = Repository::open(Arc::new(store.clone())).unwrap();
    retain(&repository, options).unwrap()
}

const LATER_MS: u64 = START_MS + 1000 * HOUR_MS;

#[test]
fn segments_in_a_dropped_file_that_others_need_move_first() {
    for sealed in [true, false] {
        let history = History::grown(sealed, 6);
        let report = run(&history.store, &options(2, LATER_MS));
        assert_eq!(report.dropped().count(), 5);
        assert!(report.refused.is_none() && report.moved_segments >= 4, "{report:?}");
        assert_eq!(history.assert_all_restore(&history.store, "after dropping"), [history.snapshots[5].0, history.snapshots[6].0]);
        assert_eq!(run(&history.store, &options(2, LATER_MS)).dropped().count(), 0);
    }
}

#[test]
fn a_dry_run_drops_nothing_and_exports_go_on_after_a_real_one() {
    let mut history = History::grown(true, 3);
    let mut dry = options(1, LATER_MS);
    dry.dry_run = true;
    assert_eq!(run(&history.store, &dry).dropped().count(), 3);
    assert_eq!(history.assert_all_restore(&history.store, "dry").len(), 4);
    assert_eq!(run(&history.store, &options(1, LATER_MS)).dropped().count(), 3);
    history.trial.repository.forget_locations();
    let mut tree = history.snapshots.last().unwrap().1.clone();
    tree.file("s/one more", "x");
    history.export(&tree);
    assert_eq!(history.assert_all_restore(&history.store, "after").len(), 2);
}

fn receipt(repository: &Repository, known: &Known, signer: &Signer, received_ms: u64) {
    let config = repository.config();
    let Position { epoch, sequence } = known.at;
    let (cluster, dataset) = (config.cluster.clone(), config.dataset.clone());
    let body = Receipt { cluster, dataset, snapshot: known.id, epoch, sequence, received_ms };
    repository
        .publish_record(&name::receipt(known.id, &signer.public()), &Signed::sign(body, signer))
        .unwrap();
}

/// Receipts of the one who retains are those that count; the exporter's own, which claim what it likes, do not.
#[test]
fn only_valid_receipts_date_a_snapshot() {
    let history = History::grown(true, 5);
    let repository = &history.trial.repository;
    let (own, strange) = (Signer::from_seed(&[1; 32]), Signer::from_seed(&[2; 32]));
    let known = repository.snapshots().unwrap();
    for (n, known) in known.iter().enumerate().take(5) {
        receipt(repository, known, &own, START_MS + n as u64 * 10 * HOUR_MS);
        receipt(repository, known, &strange, START_MS + 999 * HOUR_MS);
    }
    let mut options = options(0, LATER_MS);
    options.receivers = vec![own.public()];
    options.rules.daily = 1;
    let report = run(&history.store, &options);
    let reasons = |n: usize| report.decisions[n].reasons.clone();
    assert_eq!(reasons(5), [Reason::Newest, Reason::NoReceipt]);
    assert_eq!(reasons(4), [Reason::Newest, Reason::Bucket("daily 2026-11-23".into())]);
    assert_eq!(report.decisions[2].received_ms, Some(START_MS + 20 * HOUR_MS));
    assert_eq!(report.dropped().count(), 4);
    assert_eq!(history.assert_all_restore(&history.store, "after").len(), report.decisions.len() - report.dropped().count());
}

#[test]
fn evidence_and_pins_keep_and_go_with_what_is_dropped() {
    let history = History::grown(true, 5);
    let repository = &history.trial.repository;
    let known = repository.snapshots().unwrap();
    let signer = Signer::from_seed(&[3; 32]);
    for (n, good) in [(1, true), (2, true), (4, false)] {
        let config = repository.config();
        let evidence = Evidence {
            cluster: config.cluster.clone(),
            dataset: config.dataset.clone(),
            node: "web2".into(),
            snapshot: known[n].id,
            kind: EvidenceKind::Import,
            started_ms: 1,
            finished_ms: 2,
            good,
            text: String::new(),
        };
        let signed = Signed::sign(evidence, &signer);
        repository
            .publish_record(&name::evidence(known[n].id, EvidenceKind::Import, signed.id()), &signed)
            .unwrap();
        receipt(repository, &known[n], &signer, LATER_MS);
    }
    let mut options = options(1, LATER_MS);
    options.pins = vec![known[3].id];
    let report = run(&history.store, &options);
    let dropped: Vec<SnapshotId> = report.dropped().map(|decision| decision.known.id).collect();
    assert_eq!(dropped, [known[0].id, known[1].id, known[4].id]);
    for folder in [name::RECORDS, name::RECEIPTS] {
        let left: Vec<_> = history
            .store
            .list(folder)
            .unwrap()
            .iter()
            .filter_map(|listed| name::subject(&listed.name))
            .collect();
        assert_eq!(left, [known[2].id], "{folder}");
    }
    history.assert_all_restore(&history.store, "after");
}

// A forged drill of a newer snapshot would let the one that was truly imported go.
#[test]
fn evidence_of_strangers_takes_no_ones_place() {
    let (own, strange, cluster) = (Signer::from_seed(&[3; 32]), Signer::from_seed(&[4; 32]), Signer::from_seed(&[5; 32]));
    let certified = Trust { cluster_key: Some(cluster.public()), ..Trust::default() };
    let pinned = Trust { pinned: vec![own.public()], ..Trust::default() };
    for trust in [certified, pinned] {
        let history = History::grown(true, 4);
        let repository = &history.trial.repository;
        let known = repository.snapshots().unwrap();
        let config = repository.config();
        let body = Certificate { cluster: config.cluster.clone(), node: "web2".into(), key: own.public(), issued_ms: 1 };
        repository.publish_record("nodes/x", &Signed::sign(body, &cluster)).unwrap();
        for (n, kind, signer) in [(1, EvidenceKind::Import, &own), (3, EvidenceKind::Drill, &strange)] {
            let evidence = Evidence {
                cluster: config.cluster.clone(),
                dataset: config.dataset.clone(),
                node: "web2".into(),
                snapshot: known[n].id,
                kind,
                started_ms: 1,
                finished_ms: 2,
                good: true,
                text: String::new(),
            };
            let signed = Signed::sign(evidence, signer);
            repository.publish_record(&name::evidence(known[n].id, kind, signed.id()), &signed).unwrap();
        }
        let mut options = options(1, LATER_MS);
        options.trust = trust;
        let report = run(&history.store, &options);
        let dropped: Vec<SnapshotId> = report.dropped().map(|decision| decision.known.id).collect();
        assert_eq!(dropped, [known[0].id, known[2].id, known[3].id]);
    }
}

#[test]
fn without_any_rule_it_refuses() {
    let history = History::grown(true, 2);
    let report = run(&history.store, &options(0, LATER_MS));
    assert!(report.refused.is_some_and(|why| why.contains("no rule")));
    assert_eq!(history.assert_all_restore(&history.store, "refused").len(), 3);
}

/// Of the first hour the first snapshot is kept, and damaged: the whole one beside it must not go.
#[test]
fn a_bucket_does_not_lose_its_last_whole_snapshot() {
    let mut history = History::new(true);
    for n in 0..4u64 {
        let mut tree = PlainTree::new("s");
        tree.file("s/file", tests::history::noise(n, 500_000));
        history.trial.wait_ms(if n == 2 { HOUR_MS } else { 60_000 });
        history.export(&tree);
    }
    let known = history.trial.repository.snapshots().unwrap();
    let mut options = options(0, LATER_MS);
    options.rules.hourly = 2;
    options.dry_run = true;
    assert!(run(&history.store, &options).refused.is_none());
    options.dry_run = false;
    let first = history.trial.repository.snapshot(&known[0]).unwrap();
    let record = first.body.runs.iter().map(|used| name::run(used.run)).next_back().unwrap();
    history.store.remove(&record).unwrap();
    let report = run(&history.store, &options);
    let why = report.refused.expect("it refuses");
    assert!(why.contains("hourly 2026-11-21 12") && why.contains(&known[0].name), "{why}");
    assert_eq!(history.trial.repository.snapshots().unwrap(), known);
}

/// Stopped at any operation, retention loses nothing, and another run completes it.
#[test]
fn stopped_anywhere_it_loses_nothing() {
    stopped_anywhere(&History::grown(true, 4));
}

/// What a dropped snapshot alone needs of an older one does not move, so the older one must not go before it.
#[test]
fn stopped_anywhere_what_is_still_listed_restores_though_it_is_to_go() {
    let mut history = History::new(true);
    let mut tree = PlainTree::new("s");
    for n in 0..5 {
        let name = if n < 3 { "s/passing" } else { "s/staying" };
        if n == 0 || n == 3 {
            tree = PlainTree::new("s");
            tree.file(name, tests::history::noise(n, 50_000));
        }
        tree.file("s/changing", tests::history::noise(10 + n, 9_000));
        history.trial.wait_ms(HOUR_MS);
        history.export(&tree);
    }
    stopped_anywhere(&history);
}

fn stopped_anywhere(history: &History) {
    let signer = Signer::from_seed(&[3; 32]);
    for known in history.trial.repository.snapshots().unwrap() {
        receipt(&history.trial.repository, &known, &signer, START_MS);
    }
    let options = options(2, LATER_MS);
    let count = {
        let faulty = Faulty::new(copy_of(&history.store), u64::MAX, Crash::Before);
        retain(&Repository::open(Arc::new(faulty.clone())).unwrap(), &options).unwrap();
        faulty.operations()
    };
    for crash in [Crash::Before, Crash::After, Crash::Full] {
        for stop_at in 0..count {
            let faulty = Faulty::new(copy_of(&history.store), stop_at, crash);
            let stopped = Repository::open(Arc::new(faulty.clone())).and_then(|repository| retain(&repository, &options));
            let left = faulty.reopen();
            let what = format!("stopped at {stop_at} of {count}, {crash:?}, {:?}", stopped.map(|report| report.refused).err());
            let there = history.assert_all_restore(&left, &what);
            assert!(there.len() >= 2, "{what}");
            run(&left, &options);
            assert_eq!(history.assert_all_restore(&left, &what), [history.snapshots[3].0, history.snapshots[4].0], "{what}");
        }
    }
}

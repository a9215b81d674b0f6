//! When a dataset is due, whatever the clocks do.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use proptest::prelude::*;
use watch::{Clock, Due, Past, Schedule, Timer};

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

fn ms(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap().as_millisecond()
}

fn every(seconds: u64) -> Schedule {
    Schedule::every(Duration::from_secs(seconds)).unwrap()
}

fn at(expression: &str, zone: &str) -> Schedule {
    Schedule::at(expression, TimeZone::get(zone).unwrap()).unwrap()
}

/// A host: both clocks, a timer, and when it started something.
struct Host {
    now: Clock,
    timer: Timer,
    starts: Vec<Clock>,
}

impl Host {
    fn new(schedule: Schedule, last_ms: Option<i64>, begin: &str) -> Host {
        let now = Clock { wall_ms: ms(begin), steady_ms: 7_000 };
        let past = last_ms.map(|started_ms| Past { started_ms, failures: 0 });
        Host { now, timer: Timer::open(schedule, past, now), starts: Vec::new() }
    }

    fn step(&mut self, by_ms: u64) {
        self.now.wall_ms += by_ms as i64;
        self.now.steady_ms += by_ms;
    }

    /// Starts what is due, each run ending at once.
    fn turn(&mut self, good: bool) {
        if self.timer.due(self.now) == Due::Now {
            self.timer.started(self.now);
            self.starts.push(self.now);
            self.timer.finished(self.now, good);
        }
    }

    /// Lives through a stretch of time, asking each `step_ms`.
    fn live(&mut self, length_ms: i64, step_ms: u64) {
        for _ in 0..length_ms as u64 / step_ms {
            self.turn(true);
            self.step(step_ms);
        }
    }

    fn set(&mut self, by_ms: i64) {
        self.now.wall_ms += by_ms;
    }

    fn restart(&mut self) {
        let past = self.timer.past();
        self.now.steady_ms = 3;
        self.timer = Timer::open(self.timer.schedule().clone(), past, self.now);
    }

    fn walls(&self) -> Vec<String> {
        self.starts
            .iter()
            .map(|start| Timestamp::from_millisecond(start.wall_ms).unwrap().to_string())
            .collect()
    }
}

#[test]
fn what_never_ran_is_due_at_once() {
    for schedule in [every(86_400), at("0 3 * * *", "UTC")] {
        let mut host = Host::new(schedule, None, "2026-11-21T12:00:00Z");
        host.live(HOUR_MS, 60_000);
        assert_eq!(host.walls(), ["2026-11-21T12:00:00Z"]);
    }
}

#[test]
fn downtime_costs_one_run_not_forty() {
    let last = Some(ms("2026-11-19T20:00:00Z"));
    let mut hourly = Host::new(every(3_600), last, "2026-11-21T12:10:00Z");
    hourly.live(HOUR_MS - 60_000, 60_000);
    assert_eq!(hourly.walls(), ["2026-11-21T12:10:00Z"]);
    let mut cron = Host::new(at("0 * * * *", "UTC"), last, "2026-11-21T12:10:00Z");
    cron.live(HOUR_MS, 60_000);
    assert_eq!(cron.walls(), ["2026-11-21T12:10:00Z", "2026-11-21T13:00:00Z"]);
}

#[test]
fn a_restart_repeats_nothing() {
    for schedule in [every(3_600), at("0 * * * *", "UTC")] {
        let mut host = Host::new(schedule, None, "2026-11-21T12:00:00Z");
        for _ in 0..59 {
            host.live(60_000, 10_000);
            host.restart();
        }
        assert_eq!(host.starts.len(), 1, "{:?}", host.walls());
        host.live(120_000, 10_000);
        assert_eq!(host.walls()[1], "2026-11-21T13:00:00Z");
    }
}

#[test]
fn a_clock_set_back_an_hour_stalls_no_interval() {
    let mut host = Host::new(every(5), None, "2026-11-21T12:00:00Z");
    host.live(60_000, 1_000);
    host.set(-HOUR_MS);
    let before = host.starts.len();
    host.live(60_000, 1_000);
    assert_eq!(host.starts.len() - before, 12);
    assert!(host.starts.windows(2).all(|two| two[1].steady_ms - two[0].steady_ms == 5_000));
}

#[test]
fn a_clock_set_back_while_down_costs_one_interval_at_most() {
    let mut host = Host::new(every(3_600), Some(ms("2026-11-21T18:00:00Z")), "2026-11-21T12:00:00Z");
    host.live(2 * HOUR_MS, 60_000);
    assert_eq!(host.walls(), ["2026-11-21T13:00:00Z"]);
}

#[test]
fn a_clock_set_forward_a_day_is_one_run() {
    for (schedule, next) in [(every(3_600), 3_600_000), (at("30 * * * *", "UTC"), 1_800_000)] {
        let mut host = Host::new(schedule, Some(ms("2026-11-21T12:00:00Z")), "2026-11-21T12:00:00Z");
        host.set(DAY_MS);
        host.live(next, 10_000);
        assert_eq!(host.walls(), ["2026-11-22T12:00:00Z"]);
        host.turn(true);
        assert_eq!(host.starts.len(), 2, "and goes on by the new time");
    }
}

#[test]
fn a_clock_set_back_repeats_no_daily_run_and_loses_one_gap_of_a_frequent_one() {
    let mut daily = Host::new(at("0 3 * * *", "UTC"), None, "2026-11-21T03:00:00Z");
    daily.live(1_800_000, 60_000);
    daily.set(-HOUR_MS);
    daily.live(30 * HOUR_MS, 60_000);
    assert_eq!(daily.walls(), ["2026-11-21T03:00:00Z", "2026-11-22T03:00:00Z"]);
    let mut frequent = Host::new(at("*/5 * * * *", "UTC"), None, "2026-11-21T03:00:00Z");
    frequent.live(1_800_000, 1_000);
    frequent.set(-HOUR_MS);
    let before = frequent.starts.len();
    frequent.live(1_800_000, 1_000);
    let gaps = frequent.starts[before - 1..].windows(2).map(|two| two[1].steady_ms - two[0].steady_ms);
    assert!(gaps.clone().all(|gap| gap <= 600_000), "{:?}", frequent.walls());
}

#[test]
fn a_clock_set_back_while_down_repeats_no_daily_run() {
    let mut host = Host::new(at("0 3 * * *", "UTC"), Some(ms("2026-11-21T03:00:00Z")), "2026-11-21T02:30:00Z");
    host.live(26 * HOUR_MS, 60_000);
    assert_eq!(host.walls(), ["2026-11-22T03:00:00Z"]);
}

#[test]
fn a_year_that_was_never_true_is_forgotten() {
    let mut host = Host::new(at("0 3 * * *", "UTC"), Some(ms("2036-01-01T00:00:00Z")), "2026-11-21T12:00:00Z");
    host.live(16 * HOUR_MS, 60_000);
    assert_eq!(host.walls(), ["2026-11-22T03:00:00Z"]);
    let mut running = Host::new(at("0 3 * * *", "UTC"), None, "2036-01-01T03:00:00Z");
    running.live(60_000, 60_000);
    running.set(-3_000 * DAY_MS);
    running.live(3 * DAY_MS, 60_000);
    assert!(running.starts.len() >= 3, "{:?}", running.walls());
}

#[test]
fn daylight_saving_runs_a_nightly_job_once_a_night() {
    for (begin, days) in [("2026-03-27T12:00:00Z", 4), ("2026-10-23T12:00:00Z", 4)] {
        let mut host = Host::new(at("30 2 * * *", "Europe/Berlin"), Some(ms(begin)), begin);
        host.live(days * DAY_MS, 60_000);
        assert_eq!(host.starts.len(), days as usize, "{:?}", host.walls());
    }
}

#[test]
fn what_failed_is_tried_again_ever_less_often() {
    let mut host = Host::new(at("0 3 * * *", "UTC"), Some(ms("2026-11-20T03:00:00Z")), "2026-11-21T03:00:00Z");
    for _ in 0..5 * 60 {
        host.turn(false);
        host.step(60_000);
    }
    let minutes: Vec<i64> = host.starts.iter().map(|start| (start.wall_ms - host.starts[0].wall_ms) / 60_000).collect();
    assert_eq!(minutes, [0, 1, 3, 7, 15, 31, 63, 123, 183, 243]);
    let mut fast = Host::new(every(5), None, "2026-11-21T03:00:00Z");
    for _ in 0..60 {
        fast.turn(false);
        fast.step(1_000);
    }
    assert_eq!(fast.starts.len(), 12, "a short interval is not slowed");
}

#[test]
fn a_night_that_was_killed_or_failed_is_tried_again_by_the_next_process() {
    let mut host = Host::new(at("0 3 * * *", "UTC"), Some(ms("2026-11-20T03:00:00Z")), "2026-11-21T03:00:00Z");
    for _ in 0..4 {
        while host.timer.due(host.now) != Due::Now {
            host.step(1_000);
        }
        host.starts.push(host.now);
        host.timer.started(host.now);
        host.step(10_000);
        host.restart();
    }
    let walls = host.walls();
    assert_eq!(walls, ["2026-11-21T03:00:00Z", "2026-11-21T03:01:00Z", "2026-11-21T03:03:00Z", "2026-11-21T03:07:00Z"]);
    host.live(12 * HOUR_MS, 60_000);
    assert_eq!(host.starts.len(), 5, "and a good one ends it: {:?}", host.walls());
}

#[test]
fn a_run_longer_than_its_interval_is_followed_by_one() {
    let mut host = Host::new(every(5), None, "2026-11-21T03:00:00Z");
    host.timer.started(host.now);
    host.step(60_000);
    assert_eq!(host.timer.due(host.now), Due::Running);
    assert!(Due::Running.wait() <= Duration::from_secs(30));
    host.timer.finished(host.now, true);
    host.live(5_000, 1_000);
    assert_eq!(host.starts.len(), 1);
}

/// What may happen to a host.
#[derive(Debug, Clone)]
enum Event {
    Pass(u64),
    Set(i64),
    Suspend(i64),
    Restart,
    Start,
    Finish(bool),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        8 => (0..120_000_u64).prop_map(Event::Pass),
        2 => (0..40 * HOUR_MS as u64).prop_map(Event::Pass),
        1 => (-400 * DAY_MS..400 * DAY_MS).prop_map(Event::Set),
        1 => (-2 * HOUR_MS..2 * HOUR_MS).prop_map(Event::Set),
        1 => (0..3 * DAY_MS).prop_map(Event::Suspend),
        1 => Just(Event::Restart),
        8 => Just(Event::Start),
        6 => any::<bool>().prop_map(Event::Finish),
    ];
    prop::collection::vec(event, 1..120)
}

fn schedules() -> impl Strategy<Value = (Schedule, i64, i64)> {
    let crons = prop::sample::select(vec![
        ("*/5 * * * *", 300_000),
        ("0 * * * *", HOUR_MS),
        ("30 2 * * *", DAY_MS + HOUR_MS),
        ("0 4 * * 1-5", 3 * DAY_MS + HOUR_MS),
    ]);
    let cron = crons.prop_map(|(text, longest)| (at(text, "Europe/Berlin").with_jitter("seed", None), longest + 60_000, 0));
    let interval =
        (5..86_400_u64).prop_map(|seconds| (every(seconds).with_jitter("seed", None), seconds as i64 * 1_000, seconds as i64 * 900));
    prop_oneof![cron, interval]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Never two at once; never later than twice its gap by the steady clock, whatever the wall clock does; and no tighter than
    /// the interval less its jitter, unless the wall clock moved by itself or the last run failed.
    #[test]
    fn runs_never_overlap_and_always_come_again((schedule, longest, least) in schedules(), events in events()) {
        let mut host = Host::new(schedule, None, "2026-10-20T12:00:00Z");
        let (mut running, mut idle_since, mut failed) = (false, host.now.steady_ms, false);
        let mut gone = i64::MAX;
        for event in events {
            match event {
                Event::Pass(length) => {
                    host.step(length);
                    gone = gone.saturating_add(length as i64);
                }
                Event::Set(by) | Event::Suspend(by) => {
                    host.set(by);
                    gone = i64::MAX;
                }
                Event::Restart => {
                    host.restart();
                    idle_since = host.now.steady_ms;
                    failed |= std::mem::take(&mut running);
                }
                Event::Start => match host.timer.due(host.now) {
                    Due::Now => {
                        prop_assert!(!running);
                        prop_assert!(failed || gone >= least, "{gone} ms after the last, {least} at least");
                        gone = 0;
                        host.timer.started(host.now);
                        running = true;
                        idle_since = host.now.steady_ms;
                        failed = false;
                    }
                    Due::Running => prop_assert!(running),
                    Due::In(left) => {
                        prop_assert!(!running);
                        let waited = (host.now.steady_ms - idle_since) as i64 + left.as_millis() as i64;
                        prop_assert!(waited <= 2 * longest, "{waited} ms of {longest}, failed {failed}");
                    }
                },
                Event::Finish(good) if running => {
                    host.timer.finished(host.now, good);
                    running = false;
                    failed = !good;
                }
                Event::Finish(_) => (),
            }
            prop_assert_eq!(running, host.timer.due(host.now) == Due::Running);
        }
    }

    /// Started the moment it is due, with clocks that only pass: each due moment has one run, and each run its due moment.
    #[test]
    fn each_due_time_has_one_run(steps in prop::collection::vec(0..7_200_000_u64, 1..200)) {
        let begin = "2026-10-23T12:00:00Z";
        let mut host = Host::new(at("15 */2 * * *", "Europe/Berlin"), Some(ms(begin)), begin);
        let (mut due, plain) = (0, at("15 */2 * * *", "Europe/Berlin"));
        let mut next = plain.next(host.now.wall_ms, host.now).wall_ms;
        for step in steps {
            host.step(step);
            let mut passed = false;
            while next <= host.now.wall_ms {
                passed = true;
                next = plain.next(next, host.now).wall_ms;
            }
            due += usize::from(passed);
            host.turn(true);
            host.turn(true);
            prop_assert_eq!(host.starts.len(), due);
        }
    }
}

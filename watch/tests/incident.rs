//! One alert for each incident, over restarts and whatever flaps.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use watch::incident::Open;
use watch::{Clock, Error, Hop, Incidents, Message, Place, Policy, Status, Verdict, Word};

fn policy() -> Policy {
    Policy {
        confirm: Duration::from_secs(60),
        remind: None,
        channels: vec!["test".into()],
        host: "backup1".into(),
    }
}

fn status(dataset: &str, word: Word) -> Status {
    Status {
        place: Place { cluster: "shop".into(), dataset: dataset.into(), hop: Hop::Archive, peer: Some("web1".into()) },
        verdict: Verdict { word, why: "its newest data was captured 2 h ago; see that `exporter serve` runs".into() },
        captured: None,
        age_seconds: None,
        late_after_seconds: None,
        last_success: None,
        last_failure: None,
        failures: 0,
        queued_snapshots: 0,
        queued_bytes: 0,
    }
}

/// A daemon that keeps its state as a file would.
struct Daemon {
    incidents: Incidents,
    policy: Policy,
    file: Option<Vec<u8>>,
    now: Clock,
    told: Vec<Message>,
}

impl Daemon {
    fn new(policy: Policy) -> Daemon {
        let now = Clock { wall_ms: 1_795_262_400_000, steady_ms: 5_000 };
        Daemon { incidents: Incidents::create(policy.clone()), policy, file: None, now, told: Vec::new() }
    }

    fn pass(&mut self, seconds: u64) {
        self.now.wall_ms += seconds as i64 * 1_000;
        self.now.steady_ms += seconds * 1_000;
    }

    fn save(&mut self) {
        if let Some(state) = self.incidents.unsaved() {
            self.file = Some(state);
        }
    }

    fn deliver(&mut self) {
        loop {
            self.save();
            let due = self.incidents.take_due(self.now);
            if due.is_empty() {
                return;
            }
            for (channel, message) in due {
                self.told.push(message);
                self.incidents.delivered(&channel, Ok(()), self.now);
            }
        }
    }

    fn observe(&mut self, dataset: &str, word: Word) {
        self.incidents.observe(&status(dataset, word), self.now);
        self.deliver();
    }

    /// The same word each ten seconds.
    fn hold(&mut self, word: Word, seconds: u64) {
        for _ in 0..seconds / 10 {
            self.observe("shop", word);
            self.pass(10);
        }
    }

    fn restart(&mut self, down_seconds: u64) {
        self.now.wall_ms += down_seconds as i64 * 1_000;
        self.now.steady_ms = 1;
        self.incidents = match &self.file {
            Some(state) => Incidents::open(self.policy.clone(), state).unwrap(),
            None => Incidents::create(self.policy.clone()),
        };
    }

    fn events(&self) -> Vec<String> {
        self.told.iter().map(event).collect()
    }
}

fn event(message: &Message) -> String {
    let json: serde_json::Value = serde_json::from_str(&message.json).unwrap();
    json["event"].as_str().unwrap().to_owned()
}

#[test]
fn an_unreachable_host_is_exactly_one_alert() {
    let mut daemon = Daemon::new(policy());
    daemon.hold(Word::Ok, 600);
    daemon.hold(Word::Failing, 3_000);
    daemon.hold(Word::Late, 3_000);
    assert_eq!(daemon.events(), ["opened"]);
    assert_eq!(daemon.incidents.list().len(), 1);
    daemon.hold(Word::Ok, 600);
    assert_eq!(daemon.events(), ["opened", "closed"]);
    assert!(daemon.incidents.list().is_empty());
}

#[test]
fn what_passes_within_the_confirmation_time_is_not_told() {
    let mut daemon = Daemon::new(policy());
    for _ in 0..20 {
        daemon.hold(Word::Failing, 50);
        daemon.hold(Word::Ok, 50);
    }
    assert!(daemon.told.is_empty());
}

#[test]
fn a_restart_repeats_nothing_and_forgets_nothing() {
    let mut daemon = Daemon::new(policy());
    daemon.hold(Word::Failing, 120);
    for _ in 0..20 {
        daemon.restart(30);
        daemon.hold(Word::Failing, 120);
    }
    assert_eq!(daemon.events(), ["opened"]);
    daemon.restart(30);
    daemon.hold(Word::Ok, 120);
    assert_eq!(daemon.events(), ["opened", "closed"]);
}

#[test]
fn a_daemon_that_restarts_each_half_minute_still_tells() {
    let mut daemon = Daemon::new(policy());
    for _ in 0..6 {
        daemon.hold(Word::Failing, 20);
        daemon.restart(10);
    }
    assert_eq!(daemon.events(), ["opened"]);
}

#[test]
fn what_was_not_delivered_is_delivered_after_a_restart() {
    let mut daemon = Daemon::new(policy());
    for _ in 0..8 {
        daemon.incidents.observe(&status("shop", Word::Never), daemon.now);
        daemon.pass(10);
    }
    assert_eq!(daemon.incidents.take_due(daemon.now).len(), 1);
    daemon.incidents.delivered("test", Err("connection refused"), daemon.now);
    assert_eq!(daemon.incidents.deliveries()[0].last_error.as_deref(), Some("connection refused"));
    assert!(daemon.incidents.take_due(daemon.now).is_empty(), "not at once again");
    assert_eq!(daemon.incidents.next_due(daemon.now), Some(Duration::from_secs(10)));
    daemon.save();
    daemon.restart(1);
    daemon.deliver();
    assert_eq!(daemon.events(), ["opened"]);
}

#[test]
fn the_state_is_saved_with_the_message_before_it_is_delivered() {
    let mut daemon = Daemon::new(policy());
    daemon.hold(Word::Failing, 60);
    daemon.incidents.observe(&status("shop", Word::Failing), daemon.now);
    daemon.save();
    daemon.restart(1);
    assert_eq!(daemon.incidents.list().len(), 1, "known to be open");
    daemon.hold(Word::Failing, 600);
    assert_eq!(daemon.events(), ["opened"]);
    assert!(daemon.incidents.unsaved().is_none(), "nothing to write while nothing changes");
}

#[test]
fn an_incident_that_was_ok_for_a_moment_began_when_it_began() {
    let mut daemon = Daemon::new(policy());
    daemon.hold(Word::Failing, 120);
    daemon.hold(Word::Ok, 30);
    daemon.hold(Word::Late, 120);
    assert_eq!(daemon.incidents.list()[0].since, "2026-11-21T12:00:00.000Z");
    daemon.hold(Word::Ok, 120);
    assert_eq!(daemon.events(), ["opened", "closed"]);
    assert!(daemon.told[1].json.contains("\"lasted_seconds\":270"), "{}", daemon.told[1].json);
}

#[test]
fn flapping_is_bounded() {
    let mut daemon = Daemon::new(policy());
    for _ in 0..24 * 60 * 60 / 160 {
        daemon.hold(Word::Failing, 80);
        daemon.hold(Word::Ok, 80);
    }
    assert!((1..=10).contains(&daemon.told.len()), "{} messages in a day", daemon.told.len());
    let mut slower = Daemon::new(policy());
    for _ in 0..48 {
        slower.hold(Word::Failing, 80);
        slower.hold(Word::Ok, 1_800 - 80);
    }
    assert!(slower.told.len() <= 12, "{} messages in a day", slower.told.len());
}

#[test]
fn after_a_day_of_calm_it_is_as_new() {
    let mut daemon = Daemon::new(policy());
    for _ in 0..3 {
        daemon.hold(Word::Failing, 120);
        daemon.hold(Word::Ok, 600);
    }
    daemon.hold(Word::Ok, 25 * 3_600);
    daemon.hold(Word::Failing, 120);
    let before = daemon.told.len();
    daemon.hold(Word::Ok, 80);
    assert_eq!(daemon.told.len(), before + 1, "closes after its minute");
}

#[test]
fn reminders_only_where_asked_for() {
    let mut daemon = Daemon::new(Policy { remind: Some(Duration::from_secs(3_600)), ..policy() });
    daemon.hold(Word::Failing, 2 * 3_600 + 300);
    assert_eq!(daemon.events(), ["opened", "reminder", "reminder"]);
    daemon.hold(Word::Ok, 120);
    assert_eq!(daemon.events().last().unwrap(), "closed");
}

#[test]
fn a_dataset_that_is_taken_out_closes_its_incident() {
    let mut daemon = Daemon::new(policy());
    daemon.hold(Word::Failing, 120);
    daemon.incidents.keep(|place| place.dataset != "shop", daemon.now);
    daemon.deliver();
    assert_eq!(daemon.events(), ["opened", "closed"]);
    daemon.hold(Word::Ok, 120);
    assert_eq!(daemon.told.len(), 2);
}

#[test]
fn a_state_of_another_version_is_refused() {
    let refused = |text: &str| Incidents::open(policy(), text.as_bytes()).unwrap_err();
    assert!(matches!(refused("{\"version\":2,\"entries\":{}}"), Error::IncidentsVersion { found: 2, known: 1 }));
    for text in ["", "{", "[]", "{\"version\":1}", "\u{0}"] {
        let error = refused(text);
        assert!(matches!(error, Error::ReadIncidents { .. }) && error.hint().is_some(), "{text}");
    }
}

#[test]
fn a_message_says_what_where_since_when_and_what_to_do() {
    let mut daemon = Daemon::new(policy());
    daemon.hold(Word::Late, 120);
    daemon.hold(Word::Ok, 120);
    let all: Vec<String> = daemon
        .told
        .iter()
        .map(|message| format!("{}\n{}{}", message.subject, message.text, message.json))
        .collect();
    insta::assert_snapshot!(all.join("\n---\n"), @r#"
    [resilient] shop/shop archive (web1) is late
    shop/shop archive (web1): late (since 2026-11-21T12:00:00.000Z).

    Why: its newest data was captured 2 h ago; see that `exporter serve` runs.

    Told by backup1.
    {"event":"opened","cluster":"shop","dataset":"shop","hop":"archive","peer":"web1","word":"late","why":"its newest data was captured 2 h ago; see that `exporter serve` runs","since":"2026-11-21T12:00:00.000Z","until":null,"lasted_seconds":60,"host":"backup1"}
    ---
    [resilient] shop/shop archive (web1) is ok again
    shop/shop archive (web1): ok again; it was late (from 2026-11-21T12:00:00.000Z to 2026-11-21T12:02:00.000Z, 2 min).

    Why it was so: its newest data was captured 2 h ago; see that `exporter serve` runs.

    Told by backup1.
    {"event":"closed","cluster":"shop","dataset":"shop","hop":"archive","peer":"web1","word":"late","why":"its newest data was captured 2 h ago; see that `exporter serve` runs","since":"2026-11-21T12:00:00.000Z","until":"2026-11-21T12:02:00.000Z","lasted_seconds":120,"host":"backup1"}
    "#);
}

#[test]
fn what_is_open_is_listed_for_status() {
    let mut daemon = Daemon::new(policy());
    daemon.hold(Word::Late, 120);
    let Open { place, word, since, .. } = daemon.incidents.list().remove(0);
    assert_eq!((place.dataset.as_str(), word, since.as_str()), ("shop", Word::Late, "2026-11-21T12:00:00.000Z"));
}

#[derive(Debug, Clone)]
enum Step {
    Observe(&'static str, Word),
    Pass(u64),
    Set(i64),
    Restart(u64),
    TakeOut(&'static str),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let dataset = || prop::sample::select(vec!["shop", "wiki"]);
    let word = prop::sample::select(vec![Word::Ok, Word::Ok, Word::Late, Word::Failing, Word::Never]);
    let step = prop_oneof![
        10 => (dataset(), word).prop_map(|(dataset, word)| Step::Observe(dataset, word)),
        6 => (0..200_u64).prop_map(Step::Pass),
        1 => (0..100_000_u64).prop_map(Step::Pass),
        1 => (-100_000..100_000_i64).prop_map(Step::Set),
        1 => (0..4_000_u64).prop_map(Step::Restart),
        1 => dataset().prop_map(Step::TakeOut),
    ];
    prop::collection::vec(step, 1..300)
}

proptest! {
    /// For each place the messages are opened, closed, opened, and so on, with reminders only while it is open; and what is
    /// listed as open is what was told to be.
    #[test]
    fn each_opening_has_one_closing(steps in steps()) {
        let mut daemon = Daemon::new(Policy { remind: Some(Duration::from_secs(3_600)), ..policy() });
        for step in steps {
            match step {
                Step::Observe(dataset, word) => daemon.observe(dataset, word),
                Step::Pass(seconds) => daemon.pass(seconds),
                Step::Set(seconds) => daemon.now.wall_ms += seconds * 1_000,
                Step::Restart(seconds) => daemon.restart(seconds),
                Step::TakeOut(dataset) => {
                    daemon.incidents.keep(|place| place.dataset != dataset, daemon.now);
                    daemon.deliver();
                }
            }
        }
        let mut open: BTreeMap<String, bool> = BTreeMap::new();
        for message in &daemon.told {
            let json: serde_json::Value = serde_json::from_str(&message.json).unwrap();
            let open = open.entry(json["dataset"].as_str().unwrap().to_owned()).or_default();
            match json["event"].as_str().unwrap() {
                "opened" => prop_assert!(!std::mem::replace(open, true)),
                "closed" => prop_assert!(std::mem::replace(open, false)),
                _ => prop_assert!(*open),
            }
        }
        let listed: Vec<String> = daemon.incidents.list().into_iter().map(|open| open.place.dataset).collect();
        for (dataset, open) in open {
            prop_assert_eq!(listed.contains(&dataset), open);
        }
    }
}

//! What a daemon knows of its peers outlives it.

use link::follow::Contact;
use link::identity::Pin;
use link::message::Head;
use link::pull::Fact;
use link::repositories::Dataset;
use standing::Log;
use standing::kept::{Keeper, Kept, asked, pulling};
use std::path::Path;
use std::sync::{Arc, Mutex};
use watch::{Rule, Word};

const PIN: Pin = Pin([1; 32]);
const NOW: u64 = 1_795_262_400_000;

fn dataset() -> Dataset {
    Dataset { cluster: "shop".into(), name: "files".into() }
}

fn contact(answered_ms: Option<u64>, failures: u32, received: u64) -> Contact {
    let head = Head {
        reigns: None,
        cluster: "shop".into(),
        dataset: "files".into(),
        change: "0a".into(),
        snapshot: None,
        signers: vec![],
        rule: Some(Rule::Every { seconds: 5 }),
    };
    let trouble = (failures > 0).then(|| "cannot reach web1".to_owned());
    Contact { answered_ms, trouble, failures, received, heads: Arc::new(vec![head]) }
}

struct Said(Arc<Mutex<Vec<String>>>);

impl Said {
    fn new() -> (Said, Log) {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let to = lines.clone();
        (Said(lines), Log::to(true, Arc::new(|| NOW), Arc::new(move |line| to.lock().unwrap().push(line.to_owned()))))
    }

    fn count(&self, what: &str) -> usize {
        let word = format!("\"what\":\"{what}\"");
        self.0.lock().unwrap().iter().filter(|line| line.contains(&word)).count()
    }
}

fn note(keeper: &Keeper, contact: Contact, fact: Fact, captured: Option<u64>, now_ms: u64) {
    keeper.note(&[(PIN, contact)], &[(dataset(), PIN, fact)], &|_| "web1".into(), &|_| captured, now_ms);
}

fn on_disk(state: &Path) -> Kept {
    Kept::open(state, "importer").unwrap()
}

#[test]
fn what_is_known_outlives_the_daemon_and_bytes_go_on_counting() {
    let state = tempfile::tempdir().unwrap();
    let (_, log) = Said::new();
    let keeper = Keeper::open(state.path(), "importer", log.clone());
    let fact = Fact {
        done: Some("0a".into()),
        done_ms: Some(NOW),
        held: Some("snapshots/x".into()),
        bytes: 700,
        ..Fact::default()
    };
    note(&keeper, contact(Some(NOW), 0, 100), fact, Some(NOW - 3_000), NOW);
    let again = Keeper::open(state.path(), "importer", log);
    assert_eq!(again.rule(&dataset()), Some(Rule::Every { seconds: 5 }));
    // It just began, and knows nothing yet.
    note(&again, Contact::default(), Fact::default(), Some(NOW - 3_000), NOW + 10_000);
    note(&again, contact(Some(NOW + 20_000), 0, 50), Fact { bytes: 30, ..Fact::default() }, Some(NOW - 3_000), NOW + 20_000);
    let kept = on_disk(state.path());
    let (peer, pulled) = (kept.peer(PIN).unwrap(), kept.pulled(&dataset(), PIN).unwrap());
    assert_eq!((peer.went.bytes, pulled.went.bytes), (150, 730));
    assert_eq!((pulled.held.as_deref(), pulled.done_ms), (Some("snapshots/x"), Some(NOW)));
    assert_eq!(pulled.verified_ms(NOW - 3_000), Some(NOW), "when it was first seen, not when it was last");
    assert_eq!(asked(Some(peer), NOW + 21_000).0, Word::Ok);
    assert_eq!(asked(Some(peer), NOW + 90_000).0, Word::Late, "who was not asked for long is not ok");
}

#[test]
fn trouble_is_on_disk_at_once_and_said_once_and_what_was_merely_seen_is_not_written_each_time() {
    let state = tempfile::tempdir().unwrap();
    let (said, log) = Said::new();
    let keeper = Keeper::open(state.path(), "importer", log);
    note(&keeper, contact(Some(NOW), 0, 0), Fact::default(), None, NOW);
    note(&keeper, contact(Some(NOW + 1_000), 0, 9), Fact::default(), None, NOW + 1_000);
    assert_eq!(on_disk(state.path()).peer(PIN).unwrap().answered_ms, Some(NOW), "seen again, and not written");
    for failures in 1..4 {
        note(&keeper, contact(Some(NOW + 1_000), failures, 9), Fact::default(), None, NOW + 1_000 + u64::from(failures));
        let kept = on_disk(state.path());
        let evidence = pulling(None, kept.pulled(&dataset(), PIN), kept.peer(PIN));
        assert_eq!((evidence.failures, evidence.failure.unwrap().text.as_str()), (failures, "cannot reach web1"));
    }
    note(&keeper, contact(Some(NOW + 9_000), 0, 9), Fact::default(), None, NOW + 9_000);
    assert_eq!((said.count("unreachable"), said.count("reached")), (1, 1));
    assert_eq!(on_disk(state.path()).peer(PIN).unwrap().went.failures, 0);
    assert_eq!(asked(None, NOW).0, Word::Never);
}

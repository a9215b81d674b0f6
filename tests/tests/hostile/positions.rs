//! Snapshots and heartbeats from the end of all numbers: nobody but the node itself can use them up.

use archive::export::Outcome;
use archive::id::SnapshotId;
use archive::name::{self, Position};
use archive::record::{Heartbeat, Signed, Snapshot};
use archive::repository::{Repository, alone};
use archive::retain::{RetainOptions, Rules, retain};
use archive::sign::Signer;
use archive::store::{MemoryStore, Store};
use archive::sync::{SyncOptions, Wanted, sync};
use archive::trust::Trust;
use std::sync::Arc;
use tests::history::History;
use tests::plain::PlainTree;
use tests::trial::START_MS;

const END: u64 = u64::MAX;

fn history() -> (History, PlainTree) {
    let mut history = History::new(false);
    let mut tree = PlainTree::new("s");
    for n in 0..3 {
        tree.file("s/file", format!("{n}"));
        history.export(&tree);
    }
    (history, tree)
}

/// What the node itself published last, with the highest sequence there is, signed by somebody.
fn from_the_end(history: &History, signer: &Signer) -> String {
    let repository = &history.trial.repository;
    let known = repository.snapshots().unwrap().pop().unwrap();
    let body = Snapshot { sequence: END, ..repository.snapshot(&known).unwrap().body };
    let signed = Signed::sign(body, signer);
    let name = name::snapshot(Position { epoch: 0, sequence: END }, SnapshotId::of(&signed.hash.0));
    history.store.set(&name, alone(&signed));
    name
}

/// Local state is lost, so the repository is all there is to go by.
fn export_anew(history: &mut History, tree: &mut PlainTree) -> archive::Result<u64> {
    std::fs::remove_dir_all(history.trial.local()).unwrap();
    tree.file("s/file", "one more");
    match history.trial.try_export(tree)?.outcome {
        Outcome::Snapshot { at, .. } => Ok(at.sequence),
        Outcome::Unchanged { .. } => panic!("it changed"),
    }
}

#[test]
fn damage_and_strangers_do_not_take_the_last_sequence() {
    let (mut history, mut tree) = history();
    let garbage = name::snapshot(Position { epoch: 0, sequence: END }, SnapshotId([9; 16]));
    from_the_end(&history, &Signer::from_seed(&[9; 32]));
    history.store.set(&garbage, b"garbage".to_vec());
    assert_eq!(export_anew(&mut history, &mut tree).unwrap(), 4);
    // And damage of one of ours still counts: its number was used.
    let fourth = history.trial.repository.snapshots().unwrap().remove(3);
    history.store.set(&fourth.name, b"garbage".to_vec());
    assert_eq!(export_anew(&mut history, &mut tree).unwrap(), 5);
}

#[test]
fn when_the_node_itself_used_the_last_sequence_it_is_said_what_to_do() {
    let (mut history, mut tree) = history();
    let signer = history.trial.options.signer.clone();
    let name = from_the_end(&history, &signer);
    let error = export_anew(&mut history, &mut tree).unwrap_err().to_string();
    assert!(error.contains(&name) && error.contains("begin a new repository"), "{error}");
    // What is there restores: nothing else is blocked.
    assert_eq!(history.trial.repository.snapshots().unwrap().len(), 4);
}

#[test]
fn a_heartbeat_from_the_end_does_not_block_the_next() {
    let (history, tree) = history();
    let own = history.trial.options.signer.clone();
    history.store.set(&name::heartbeat(&own.public(), END), b"garbage".to_vec());
    assert!(matches!(history.trial.try_export(&tree).unwrap().outcome, Outcome::Unchanged { .. }));
    let there = history.trial.repository.list(name::HEARTBEATS).unwrap();
    assert_eq!(there.len(), 1, "{there:?}");
    assert_eq!(there[0].name, name::heartbeat(&own.public(), 1));
    let last = history.trial.repository.first_record::<Heartbeat>(&there[0].name).unwrap().body;
    let signed = Signed::sign(Heartbeat { counter: END, ..last }, &own);
    history.store.set(&name::heartbeat(&own.public(), END), alone(&signed));
    let error = history.trial.try_export(&tree).unwrap_err().to_string();
    assert!(error.contains("begin a new repository"), "{error}");
}

#[test]
fn sync_and_retain_go_on_beside_a_snapshot_from_the_end() {
    let (history, _) = history();
    let name = from_the_end(&history, &Signer::from_seed(&[9; 32]));
    let store = MemoryStore::default();
    Repository::create(&store, "shop", "data").unwrap();
    let into = Repository::open(Arc::new(store.clone())).unwrap();
    let trust = Trust { pinned: vec![history.trial.options.signer.public()], ..Trust::default() };
    let options = SyncOptions::new(trust, Arc::new(Signer::from_seed(&[1; 32])), Arc::new(|| START_MS));
    let report = sync(&*history.trial.repository, &into, &Wanted::History, &options).unwrap();
    assert!(report.refused.iter().any(|refusal| refusal.name == name), "{report:?}");
    assert_eq!(into.snapshots().unwrap().len(), 3);
    let rules = Rules { last: 1, ..Rules::default() };
    let zone = jiff::tz::TimeZone::UTC;
    let options = RetainOptions {
        rules,
        now_ms: START_MS + 3_600_000,
        zone,
        dry_run: false,
        receivers: vec![],
        pins: vec![],
        trust: Trust::default(),
    };
    let report = retain(&history.trial.repository, &options).unwrap();
    assert!(report.refused.is_none() && report.dropped().count() == 2, "{report:?}");
    assert!(history.store.list(name::SNAPSHOTS).unwrap().iter().any(|listed| listed.name == name));
}

#[test]
fn what_a_receiver_has_from_the_end_keeps_nothing_away() {
    let (mut history, mut tree) = history();
    let store = tests::history::copy_of(&history.store);
    tree.file("s/file", "newer");
    history.export(&tree);
    // Damage is before and behind what a stranger signed.
    for id in [0, 0xff] {
        store.set(&name::snapshot(Position { epoch: 0, sequence: END }, SnapshotId([id; 16])), b"garbage".to_vec());
    }
    let forged = from_the_end(&history, &Signer::from_seed(&[9; 32]));
    store.set(&forged, archive::store::read_all(&history.store, &forged, 1 << 20).unwrap());
    history.store.remove(&forged).unwrap();
    let into = Repository::open(Arc::new(store)).unwrap();
    let trust = Trust { pinned: vec![history.trial.options.signer.public()], ..Trust::default() };
    let options = SyncOptions::new(trust, Arc::new(Signer::from_seed(&[1; 32])), Arc::new(|| START_MS));
    let report = sync(&*history.trial.repository, &into, &Wanted::Above(Position::default()), &options).unwrap();
    assert_eq!(report.snapshots.len(), 1, "{report:?}");
}

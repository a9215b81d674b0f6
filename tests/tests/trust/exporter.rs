//! A compromised exporter, its keys in other hands: what is in the archive stays there, unread and unchanged, and retention drops none of it for its sake.

use super::*;
use archive::id::SnapshotId;
use archive::identity::Keyring;
use archive::name;
use archive::read::open::OpenSnapshot;
use archive::record::{Evidence, EvidenceKind, Receipt, Snapshot};
use archive::repository::{Known, alone};
use archive::retain::{RetainOptions, RetainReport, Rules, retain};
use std::collections::BTreeSet;
use tests::history::copy_of;

const HOUR_MS: u64 = 3_600_000;

/// Five days of four snapshots each in an archive; the exporter they came from.
fn history() -> (Trial, Keeper, PlainTree) {
    let (trial, keeper) = (Trial::new(), Keeper::new());
    let trust = pins(&[&trial.options.signer]);
    let mut tree = tree();
    for number in 0..20 {
        version(&mut tree, number);
        trial.export(&tree);
        let report = keeper.pull(&*trial.repository, &trust, START_MS + number * 6 * HOUR_MS);
        assert_eq!(report.snapshots.len(), 1);
    }
    (trial, keeper, tree)
}

fn retained(keeper: &Keeper, trial: &Trial, now_ms: u64) -> RetainReport {
    let options = RetainOptions {
        rules: Rules { last: 3, daily: 14, ..Rules::default() },
        now_ms,
        zone: jiff::tz::TimeZone::UTC,
        dry_run: true,
        receivers: vec![keeper.receipt.public()],
        pins: vec![],
        trust: pins(&[&trial.options.signer]),
    };
    retain(&keeper.repository, &options).unwrap()
}

fn kept(report: &RetainReport) -> BTreeSet<SnapshotId> {
    report
        .decisions
        .iter()
        .filter(|decision| decision.is_kept())
        .map(|decision| decision.known.id)
        .collect()
}

/// The exporter's spool as who has its keys would serve it.
struct Enemy {
    source: Keeper,
    signer: Arc<Signer>,
    honest: Snapshot,
}

impl Enemy {
    fn of(trial: &Trial) -> Enemy {
        let known = trial.repository.snapshots().unwrap().pop().unwrap();
        let honest = trial.repository.snapshot(&known).unwrap().body;
        Enemy {
            source: Keeper::of(copy_of(trial.repository.store()), false),
            signer: trial.options.signer.clone(),
            honest,
        }
    }

    /// Signs a snapshot, with a receipt and a word of praise by itself.
    fn snapshot(&self, sequence: u64, claimed_ms: u64) -> Known {
        let at = Position { epoch: 0, sequence };
        let body = Snapshot { sequence, started_ms: claimed_ms, captured_ms: claimed_ms, ..self.honest.clone() };
        let signed = Signed::sign(body, &self.signer);
        let id = SnapshotId::of(&signed.hash.0);
        let (cluster, dataset) = (CLUSTER.to_owned(), DATASET.to_owned());
        let receipt = Receipt { cluster, dataset, snapshot: id, epoch: 0, sequence, received_ms: claimed_ms };
        let receipt = Signed::sign(receipt, &self.signer);
        self.source.store.set(&name::receipt(id, &self.signer.public()), alone(&receipt));
        let (known, name) = (at, name::snapshot(at, id));
        self.source.store.set(&name, alone(&signed));
        Known { at: known, id, name }
    }

    /// Receipts, by its own key, that would move what is in the archive into another time.
    fn misdate(&self, keeper: &Keeper, received_ms: u64) {
        for known in keeper.repository.snapshots().unwrap() {
            let (cluster, dataset) = (CLUSTER.to_owned(), DATASET.to_owned());
            let Position { epoch, sequence } = known.at;
            let receipt = Receipt { cluster, dataset, snapshot: known.id, epoch, sequence, received_ms };
            let receipt = Signed::sign(receipt, &self.signer);
            self.source.store.set(&name::receipt(known.id, &self.signer.public()), alone(&receipt));
        }
    }
}

#[test]
fn forged_times_and_a_flood_make_retention_drop_nothing_that_it_would_keep() {
    let (trial, keeper, tree) = history();
    let now = START_MS + 5 * 24 * HOUR_MS;
    let before = kept(&retained(&keeper, &trial, now));
    let firsts: BTreeSet<SnapshotId> = before.iter().copied().collect();
    assert!(firsts.len() >= 5, "one of each day at least");
    let enemy = Enemy::of(&trial);
    // In the far past, now, and in the far future; a flood of them; and each claims to be imported.
    for (number, claimed_ms) in [0, 1, now, now + 1, u64::MAX >> 16].into_iter().cycle().take(150).enumerate() {
        enemy.snapshot(100 + number as u64, claimed_ms);
    }
    enemy.misdate(&keeper, 0);
    let report = keeper.pull(&*enemy.source.repository, &pins(&[&trial.options.signer]), now);
    assert_eq!(report.snapshots.len(), 150, "it may sign them");
    let after = retained(&keeper, &trial, now);
    let daily: BTreeSet<SnapshotId> = after
        .decisions
        .iter()
        .filter(|decision| decision.reasons.iter().any(|reason| reason.to_string().starts_with("daily")))
        .map(|decision| decision.known.id)
        .collect();
    let old: BTreeSet<SnapshotId> = retained_days(&keeper, &trial, now);
    assert!(old.is_subset(&daily), "every day keeps what was received first in it");
    // Carried out, what stays restores.
    let options = RetainOptions {
        rules: Rules { last: 3, daily: 14, ..Rules::default() },
        now_ms: now,
        zone: jiff::tz::TimeZone::UTC,
        dry_run: false,
        receivers: vec![keeper.receipt.public()],
        pins: vec![],
        trust: pins(&[&trial.options.signer]),
    };
    let done = retain(&keeper.repository, &options).unwrap();
    assert!(done.refused.is_none(), "{:?}", done.refused);
    let oldest = keeper.repository.snapshots().unwrap().into_iter().next().unwrap();
    let target = tempfile::tempdir().unwrap();
    let restored = restore_from(&keeper.repository, &oldest, &mut trial.keyring(), target.path()).unwrap();
    assert!(restored.problems.is_empty() && target.path().join("s/version").exists());
    let _ = tree;
}

/// What was received first on each day, by the archive's own receipts, before the flood came.
fn retained_days(keeper: &Keeper, trial: &Trial, now_ms: u64) -> BTreeSet<SnapshotId> {
    let flood = 100;
    let report = retained(keeper, trial, now_ms);
    let mut first: std::collections::BTreeMap<u64, (u64, SnapshotId)> = Default::default();
    for decision in report.decisions.iter().filter(|decision| decision.known.at.sequence < flood) {
        let received_ms = decision.received_ms.expect("the archive receipts what it takes");
        let entry = first.entry(received_ms / (24 * HOUR_MS)).or_insert((received_ms, decision.known.id));
        *entry = (*entry).min((received_ms, decision.known.id));
    }
    first.into_values().map(|(_, id)| id).collect()
}

#[test]
fn nothing_that_is_there_is_replaced_removed_or_hidden() {
    let (trial, keeper, _) = history();
    let trust = pins(&[&trial.options.signer]);
    let there = keeper.names();
    let bytes: Vec<Vec<u8>> = there.iter().map(|name| archive::store::read_all(&keeper.store, name, 1 << 20).unwrap()).collect();
    let enemy = Enemy::of(&trial);
    // Another snapshot for each position that is taken, an archive that seems empty, and a spool that holds garbage under the old names.
    for known in keeper.repository.snapshots().unwrap() {
        enemy.snapshot(known.at.sequence, 7);
    }
    let report = keeper.pull(&*enemy.source.repository, &trust, START_MS + 40 * 24 * HOUR_MS);
    assert!(report.snapshots.is_empty() && report.refused.iter().all(|refusal| refusal.why.contains("signed several")), "{report:?}");
    let empty = Keeper::new();
    assert!(keeper.pull(&*empty.repository, &trust, START_MS).snapshots.is_empty());
    let garbage = Keeper::of(copy_of(trial.repository.store()), false);
    there.iter().for_each(|name| garbage.store.set(name, b"garbage".to_vec()));
    let _ = keeper.pull(&*garbage.repository, &trust, START_MS);
    assert_eq!(keeper.names(), there);
    for (name, bytes) in there.iter().zip(bytes) {
        assert!(archive::store::read_all(&keeper.store, name, 1 << 20).unwrap() == bytes, "{name}");
    }
}

#[test]
fn what_an_exporter_keeps_opens_nothing() {
    let (trial, keeper, _) = history();
    let known = keeper.repository.snapshots().unwrap().pop().unwrap();
    let trust = pins(&[&trial.options.signer]);
    let sealed = OpenSnapshot::open(&keeper.repository, &known, &trust, &mut Keyring::default())
        .map(|_| ())
        .unwrap_err();
    assert!(matches!(sealed, archive::Error::Sealed { .. }), "{sealed}");
    // Nor is the private half of a sealing identity anywhere in its state.
    let mut looked = 0;
    for entry in walkdir::WalkDir::new(trial.local())
        .into_iter()
        .flatten()
        .filter(|entry| entry.file_type().is_file())
    {
        let bytes = std::fs::read(entry.path()).unwrap();
        assert!(!bytes.windows(15).any(|part| part == b"AGE-SECRET-KEY-"), "{}", entry.path().display());
        looked += 1;
    }
    assert!(looked > 0);
}

#[test]
fn its_word_that_something_was_imported_lets_nothing_go_that_was() {
    let (trial, keeper, _) = history();
    let (standby, enemy) = (Signer::from_seed(&[5; 32]), Enemy::of(&trial));
    let third = keeper.repository.snapshots().unwrap()[2].clone();
    let evidence = |signer: &Signer, node: &str, known: &Known| {
        let (cluster, dataset, node) = (CLUSTER.into(), DATASET.into(), node.into());
        let (kind, good) = (EvidenceKind::Import, true);
        let body = Evidence {
            cluster,
            dataset,
            node,
            snapshot: known.id,
            kind,
            started_ms: 1,
            finished_ms: 2,
            good,
            text: String::new(),
        };
        let signed = Signed::sign(body, signer);
        (name::evidence(known.id, kind, signed.id()), signed)
    };
    let (place, record) = evidence(&standby, "web2", &third);
    keeper.repository.publish_record(&place, &record).unwrap();
    let forged = enemy.snapshot(500, 1);
    let (place, record) = evidence(&Signer::from_seed(&[66; 32]), "web2", &forged);
    enemy.source.store.set(&place, alone(&record));
    let now = START_MS + 40 * 24 * HOUR_MS;
    let report = keeper.pull(&*enemy.source.repository, &pins(&[&trial.options.signer, &standby]), now);
    assert!(report.refused.iter().any(|refusal| refusal.name == place), "a stranger's word: {report:?}");
    let options = RetainOptions {
        rules: Rules { last: 1, ..Rules::default() },
        now_ms: now,
        zone: jiff::tz::TimeZone::UTC,
        dry_run: true,
        receivers: vec![keeper.receipt.public()],
        pins: vec![],
        trust: pins(&[&standby]),
    };
    assert!(kept(&retain(&keeper.repository, &options).unwrap()).contains(&third.id), "what was truly imported stays");
}

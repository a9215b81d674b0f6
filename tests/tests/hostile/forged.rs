//! Records that are forged, replayed, shown as something else, or signed by the wrong one.

use super::assert_harmless;
use archive::Error;
use archive::id::{RecordId, SnapshotId};
use archive::identity::{Keyring, Maker, generate, make_sealing_identity};
use archive::name::{self, Position};
use archive::read::open::OpenSnapshot;
use archive::record::{Certificate, LiveRange, Receipt, Run, Signed, Snapshot};
use archive::repository::{Known, Repository, alone};
use archive::sign::Signer;
use archive::store::{MemoryStore, Store, read_all};
use archive::trust::{Standing, Trust};
use std::sync::Arc;
use tests::canary::Canary;
use tests::forge::{Forge, extent, folder, honest};
use tests::plain::PlainTree;
use tests::trial::Trial;

fn small() -> (Forge, Known) {
    let mut forge = Forge::new();
    forge.run(&[b"good"]);
    let known = forge.tree(&[folder("s"), honest("s/a", b"good", &[extent(0, 0, 0, 4)])]);
    (forge, known)
}

fn assert_refused(forge: &Forge, known: &Known, what: &str) {
    let canary = Canary::new();
    let error = forge.restore(known, &canary.target()).expect_err(what);
    assert_harmless(&error.to_string());
    assert!(!canary.target().join("s").exists(), "{what}: something was written");
}

/// Changes the newest snapshot's body and signs it again.
fn altered(what: &str, alter: impl FnOnce(&mut Snapshot)) {
    let (mut forge, known) = small();
    let mut body = forge.repository().snapshot(&known).unwrap().body;
    alter(&mut body);
    let altered = forge.publish(body);
    assert_refused(&forge, &altered, what);
}

#[test]
fn snapshots_that_lie_about_their_runs_are_refused() {
    altered("another dataset", |body| body.dataset = "other".into());
    altered("another cluster", |body| body.cluster = "other".into());
    altered("a run with another hash", |body| body.runs[0].record = RecordId([1; 16]));
    altered("a run that is not there", |body| body.runs[0].run.0[3] ^= 1);
    altered("two runs swapped", |body| {
        let (a, b) = (body.runs[0].run, body.runs[1].run);
        (body.runs[0].run, body.runs[1].run) = (b, a);
    });
    altered("sealed, its runs are not", |body| body.sealed = true);
    altered("a key run that is not listed", |body| body.key_ordinal = 99);
    altered("a run twice", |body| body.runs[1] = archive::record::RunUse { ordinal: 7, ..body.runs[0].clone() });
    altered("no live range", |body| body.runs.iter_mut().for_each(|run| run.live.clear()));
    altered("empty live ranges", |body| body.runs[0].live = vec![LiveRange { first: 0, count: 0 }]);
    altered("an empty root", |body| body.root.clear());
    altered("a root that is a bomb", |body| body.root = [&[1, 0x80, 0x80, 0x40][..], &zeros_frame()].concat());
}

/// The zstd frame of 1 MiB of zeros.
fn zeros_frame() -> Vec<u8> {
    Forge::plain(&[0; 1 << 20])[4..].to_vec()
}

#[test]
fn live_ranges_that_claim_everything_are_harmless() {
    let (mut forge, known) = small();
    let mut body = forge.repository().snapshot(&known).unwrap().body;
    body.runs.iter_mut().for_each(|run| run.live = vec![LiveRange { first: 0, count: u32::MAX }]);
    let known = forge.publish(body);
    // Nothing needs what is not there: it restores, or is refused.
    let result = forge.restore(&known, &Canary::new().target());
    assert!(result.is_err() || result.unwrap().problems.is_empty());
}

#[test]
fn a_snapshot_under_another_name_is_refused() {
    let (forge, known) = small();
    let bytes = read_all(&forge.store, &known.name, 1 << 20).unwrap();
    let at = Position { epoch: 9, sequence: 99 };
    for (at, id, what) in [(at, known.id, "replayed as a newer one"), (known.at, SnapshotId([1; 16]), "under another id")] {
        let name = name::snapshot(at, id);
        forge.store.set(&name, bytes.clone());
        assert_refused(&forge, &Known { at, id, name }, what);
    }
}

#[test]
fn every_changed_byte_of_a_record_is_noticed() {
    let (forge, known) = small();
    let repository = forge.repository();
    let run = name::run(forge.runs[0].run);
    for name in [&known.name, &run] {
        let good = read_all(&forge.store, name, 1 << 20).unwrap();
        let item = archive::container::items(&good).unwrap()[0];
        for at in 0..item.len as usize {
            let mut bytes = good.clone();
            bytes[at] ^= 0x41;
            forge.store.set(name, bytes);
            let read = if name == &run { repository.first_record::<Run>(name).map(drop) } else { repository.snapshot(&known).map(drop) };
            assert!(read.is_err(), "{name} byte {at}");
        }
        forge.store.set(name, good);
    }
    assert_eq!(forge.restore(&known, &Canary::new().target()).unwrap().problems, vec![]);
}

#[test]
fn a_record_of_one_kind_is_not_one_of_another() {
    let (forge, known) = small();
    let snapshot = forge.repository().snapshot(&known).unwrap();
    let receipt = Receipt {
        cluster: "shop".into(),
        dataset: "data".into(),
        snapshot: known.id,
        epoch: 0,
        sequence: 0,
        received_ms: 1,
    };
    let receipt = Signed::sign(receipt, &forge.signer);
    assert!(Signed::<Run>::parse(&snapshot.item).is_err());
    assert!(Signed::<Snapshot>::parse(&receipt.item).is_err());
    for kind in 0..=255u8 {
        let mut item = receipt.item.clone();
        item[5] = kind;
        let whole = [
            Signed::<Snapshot>::parse(&item).is_ok(),
            Signed::<Run>::parse(&item).is_ok(),
            Signed::<archive::record::Evidence>::parse(&item).is_ok(),
        ];
        assert!(!whole.contains(&true), "kind {kind}");
    }
    // As a file in the wrong folder.
    forge.store.set(&known.name, alone(&receipt));
    assert_refused(&forge, &known, "a receipt as a snapshot");
}

#[test]
fn a_run_belongs_to_who_made_its_id_and_to_its_dataset() {
    let lies: [(&str, &dyn Fn(&mut Run), u8); 4] = [
        ("signed by another", &|_| (), 67),
        ("of another dataset", &|run| run.dataset = "other".into(), 66),
        ("of another cluster", &|run| run.cluster = "other".into(), 66),
        ("with a nonce that gives another id", &|run| run.nonce[0] ^= 1, 66),
    ];
    for (what, lie, seed) in lies {
        let (mut forge, known) = small();
        let repository = forge.repository();
        let mut snapshot = repository.snapshot(&known).unwrap().body;
        let name = name::run(forge.runs[0].run);
        let mut run = repository.first_record::<Run>(&name).unwrap().body;
        lie(&mut run);
        let signed = Signed::sign(run, &Signer::from_seed(&[seed; 32]));
        forge.store.set(&name, alone(&signed));
        snapshot.runs[0].record = signed.id();
        let known = forge.publish(snapshot);
        assert_refused(&forge, &known, what);
    }
}

#[test]
fn two_records_of_one_run_do_not_mix() {
    let (mut forge, known) = small();
    let repository = forge.repository();
    let name = name::run(forge.runs[0].run);
    let mut run = repository.first_record::<Run>(&name).unwrap().body;
    run.closed_ms += 1;
    let second = Signed::sign(run, &forge.signer);
    // The one in `runs/` is not the one that the snapshot names; embedded elsewhere, the right one is found.
    let first = read_all(&forge.store, &name, 1 << 20).unwrap();
    forge.store.set(&name, alone(&second));
    assert_refused(&forge, &known, "another record of the run");
    let item = archive::container::items(&first).unwrap()[0];
    let (pack, bytes) = Forge::pack(&[(item.key, first[..item.len as usize].to_vec())]);
    forge.store.set(&pack, bytes);
    assert_eq!(forge.restore(&known, &Canary::new().target()).unwrap().problems, vec![]);
    // Two snapshots at one position are both listed, each restores to its own.
    let mut body = forge.repository().snapshot(&known).unwrap().body;
    body.captured_ms += 1;
    let other = forge.publish(body);
    assert_eq!(other.at, known.at);
    assert_eq!(forge.repository().snapshots().unwrap().len(), 2);
    assert!(forge.restore(&known, &Canary::new().target()).is_ok());
}

#[test]
fn a_signer_counts_only_when_the_cluster_key_or_a_pin_says_so() {
    let (forge, known) = small();
    let cluster = Signer::from_seed(&[1; 32]);
    let certificate = |by: &Signer, cluster: &str, node: &str| {
        let body = Certificate { cluster: cluster.into(), node: node.into(), key: forge.signer.public(), issued_ms: 1 };
        alone(&Signed::sign(body, by))
    };
    let name = name::node(&forge.signer.public(), archive::id::RecordId([1; 16]));
    let rooted = Trust { cluster_key: Some(cluster.public()), ..Trust::default() };
    let open = |trust: &Trust| {
        let repository = forge.repository();
        OpenSnapshot::open(&repository, &known, trust, &mut Keyring::default()).map(|opened| opened.standing)
    };
    assert_eq!(open(&Trust::default()).unwrap(), Standing::Unverified);
    let bad = [
        ("none", None),
        ("its own", Some(certificate(&forge.signer, "shop", "web1"))),
        ("of another cluster", Some(certificate(&cluster, "other", "web1"))),
        ("for another node", Some(certificate(&cluster, "shop", "web2"))),
        ("no certificate at all", Some(b"nonsense".to_vec())),
        ("cut", Some(certificate(&cluster, "shop", "web1")[..100].to_vec())),
    ];
    for (what, bytes) in bad {
        forge.store.remove(&name).unwrap();
        if let Some(bytes) = bytes {
            forge.store.set(&name, bytes);
        }
        let error = open(&rooted).expect_err(what);
        assert!(matches!(error, Error::Refused { .. }), "{what}: {error}");
        assert_harmless(&error.to_string());
    }
    forge.store.set(&name, certificate(&cluster, "shop", "web1"));
    assert_eq!(open(&rooted).unwrap(), Standing::Certified);
    let pinned = |signer: &Signer| Trust { pinned: vec![signer.public()], ..Trust::default() };
    assert_eq!(open(&pinned(&forge.signer)).unwrap(), Standing::Pinned);
    assert!(matches!(open(&pinned(&cluster)), Err(Error::Refused { .. })));
}

#[test]
fn receipts_are_only_about_their_own_snapshot() {
    let (mut forge, known) = small();
    let other = forge.tree(&[folder("t")]);
    let receipt = Receipt {
        cluster: "shop".into(),
        dataset: "data".into(),
        snapshot: other.id,
        epoch: 0,
        sequence: 1,
        received_ms: 1,
    };
    let receipt = Signed::sign(receipt, &forge.signer);
    forge.store.set(&name::receipt(known.id, &forge.signer.public()), alone(&receipt));
    assert_eq!(forge.repository().receipts(&known).unwrap().len(), 0, "one for another snapshot under this one's name");
    let mut broken = receipt.item.clone();
    broken[40] ^= 1;
    forge.store.set(&name::receipt(other.id, &forge.signer.public()), broken);
    assert_eq!(forge.repository().receipts(&other).unwrap().len(), 0, "one whose signature is wrong");
}

fn sealed() -> (Trial, MemoryStore, PlainTree) {
    let store = MemoryStore::default();
    let trial = Trial::with(Arc::new(store.clone()), true);
    let mut tree = PlainTree::new("s");
    tree.file("s/a", "sealed");
    trial.export(&tree);
    (trial, store, tree)
}

fn open_sealed(trial: &Trial, trust: &Trust) -> archive::Result<Standing> {
    let known = trial.repository.snapshots()?.pop().expect("there is one");
    OpenSnapshot::open(&trial.repository, &known, trust, &mut trial.keyring()).map(|opened| opened.standing)
}

#[test]
fn a_sealing_identity_whose_private_half_was_swapped_is_refused() {
    let (trial, store, _) = sealed();
    let listed = trial.repository.list(name::KEYS).unwrap().pop().unwrap();
    let real = trial.repository.first_record::<archive::record::SealingIdentity>(&listed.name).unwrap().body;
    let maker = Maker { cluster: "shop".into(), dataset: "data".into(), node: "web1".into() };
    let other = make_sealing_identity(&maker, &real.recipients, 1).unwrap();
    let swapped = archive::record::SealingIdentity { wrapped: other.wrapped, ..real.clone() };
    let original = read_all(&store, &listed.name, 1 << 20).unwrap();
    store.set(&listed.name, alone(&Signed::sign(swapped.clone(), &trial.options.signer)));
    let error = open_sealed(&trial, &Trust::default()).expect_err("it is another's");
    assert!(matches!(error, Error::Refused { .. }), "{error}");
    // What does not hold an identity at all.
    let nobody = archive::record::SealingIdentity { wrapped: b"nonsense".to_vec(), ..real.clone() };
    store.set(&listed.name, alone(&Signed::sign(nobody, &trial.options.signer)));
    assert!(matches!(open_sealed(&trial, &Trust::default()), Err(Error::Sealed { .. })));
    // Beside the good one it locks nobody out: swapped, or by somebody whose word does not count.
    store.set(&listed.name, original);
    store.set(
        &name::key(real.id, 2),
        alone(&Signed::sign(archive::record::SealingIdentity { generation: 2, ..swapped }, &trial.options.signer)),
    );
    assert!(open_sealed(&trial, &Trust::default()).is_ok());
    let stranger = Signer::from_seed(&[99; 32]);
    store.set(&name::key(real.id, 3), alone(&Signed::sign(archive::record::SealingIdentity { generation: 3, ..real }, &stranger)));
    assert!(open_sealed(&trial, &Trust { pinned: vec![trial.options.signer.public()], ..Trust::default() }).is_ok());
    assert!(open_sealed(&trial, &Trust { pinned: vec![stranger.public()], ..Trust::default() }).is_err());
}

#[test]
fn who_is_no_recipient_opens_nothing_and_damage_to_sealed_bytes_is_noticed() {
    let (mut trial, store, tree) = sealed();
    let known = trial.repository.snapshots().unwrap().pop().unwrap();
    let stranger = trial.folder.path().join("stranger");
    std::fs::write(&stranger, generate().0).unwrap();
    let right = std::mem::replace(&mut trial.identity, stranger);
    assert!(matches!(open_sealed(&trial, &Trust::default()), Err(Error::Sealed { .. })));
    trial.identity = right;
    // The snapshot carries its run and segments: every byte of them is covered.
    let good = read_all(&store, &known.name, 1 << 20).unwrap();
    for at in (0..good.len()).step_by(7) {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        store.set(&known.name, bytes);
        trial.repository.forget_locations();
        let target = tempfile::tempdir().unwrap();
        let result = trial.restore(&known, target.path());
        let whole = result.is_ok_and(|report| report.problems.is_empty());
        if whole {
            tree.assert_same(&PlainTree::read(target.path()), &format!("byte {at}"));
        }
    }
    let searched = ["sealed", "s/a"];
    for text in searched {
        assert!(!good.windows(text.len()).any(|window| window == text.as_bytes()), "{text:?} stands in the clear");
    }
}

#[test]
fn a_repository_that_is_not_one_or_from_the_future_is_refused() {
    let texts = [
        ("", "nothing"),
        ("null", "null"),
        ("[]", "a list"),
        ("{\"format\": 2, \"new\": true}", "the future"),
        ("{\"format\": -1}", "no number"),
        ("{\"format\": 1e300}", "too large a number"),
        (
            "{\"format\": 1, \"id\": \"00112233445566778899aabbccddeeff\", \"cluster\": \"a\", \"dataset\": \"\\u001b[2J\"}",
            "a name that steers",
        ),
        ("{\"format\": 1, \"id\": \"00112233445566778899aabbccddeeff\", \"cluster\": \"a\", \"dataset\": \"../b\"}", "a name that climbs"),
        ("{\"format\": 1, \"id\": \"xyz\", \"cluster\": \"a\", \"dataset\": \"b\"}", "no id"),
        ("{\"format\": 1, \"id\": \"00112233445566778899aabbccddeeff\", \"cluster\": \"a\", \"dataset\": \"b\", \"more\": 1}", "more"),
    ];
    let deep = "[".repeat(60_000);
    for (text, what) in texts.into_iter().chain([(deep.as_str(), "deep")]) {
        let store = MemoryStore::default();
        store.set(name::CONFIG, text.as_bytes().to_vec());
        let error = Repository::open(Arc::new(store)).err().expect(what);
        assert_harmless(&error.to_string());
        assert_eq!(matches!(error, Error::Future { version: 2, .. }), what == "the future", "{what}: {error}");
    }
}

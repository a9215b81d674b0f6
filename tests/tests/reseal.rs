//! Reseal: the new recipient opens, the old one still does, and a crash or a second call changes nothing.

use archive::identity::{Keyring, generate};
use archive::name;
use archive::repository::Repository;
use archive::reseal::{ResealOptions, ResealReport, reseal};
use archive::sign::Signer;
use archive::store::{Crash, Faulty, MemoryStore, Store};
use archive::sync::{SyncOptions, Wanted, sync};
use archive::trust::Trust;
use std::path::Path;
use std::sync::Arc;
use tests::plain::PlainTree;
use tests::trial::{START_MS, Trial, restore_from};

/// An identity in a file, and its recipient.
fn person(folder: &Path, name: &str) -> (Keyring, String) {
    let (private, public) = generate();
    let path = folder.join(name);
    std::fs::write(&path, private).unwrap();
    (Keyring::from_file(&path, &mut |_| panic!("it has no passphrase")).unwrap(), public)
}

fn reseal_for(repository: &Repository, keyring: &mut Keyring, recipients: &[String]) -> archive::Result<ResealReport> {
    let signer = Signer::from_seed(&[7; 32]);
    reseal(repository, keyring, &ResealOptions { recipients, node: "web1", signer: &signer, now_ms: START_MS })
}

/// Two exports in two months: two sealing identities.
fn two_months(trial: &Trial) -> PlainTree {
    let mut tree = PlainTree::new("s");
    tree.file("s/a", vec![b'a'; 5000]);
    trial.export(&tree);
    trial.wait_ms(40 * 86_400_000);
    tree.file("s/b", vec![b'b'; 5000]);
    trial.export(&tree);
    assert_eq!(trial.repository.list(name::KEYS).unwrap().len(), 2);
    tree
}

fn opens(repository: &Repository, keyring: &mut Keyring, tree: &PlainTree) -> bool {
    let known = repository.snapshots().unwrap().pop().unwrap();
    let target = tempfile::tempdir().unwrap();
    match restore_from(repository, &known, keyring, target.path()) {
        Ok(report) => {
            assert!(report.problems.is_empty());
            tree.assert_same(&PlainTree::read(target.path()), "resealed");
            true
        }
        Err(archive::Error::Sealed { .. }) => false,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn the_new_identity_alone_restores_and_the_old_one_still_does_also_behind_a_sync() {
    let trial = Trial::new();
    let tree = two_months(&trial);
    let (mut new, recipient) = person(trial.folder.path(), "new");
    assert!(!opens(&trial.repository, &mut new, &tree));
    let archive = archive_of(&trial);
    let report = reseal_for(&trial.repository, &mut trial.keyring(), &[recipient]).unwrap();
    assert_eq!(report.resealed.iter().map(|(_, generation)| *generation).collect::<Vec<_>>(), [2, 2]);
    assert!(report.failed.is_empty() && report.unchanged.is_empty());
    assert!(!opens(&archive, &mut new, &tree), "the archive has not heard of it yet");
    let options = SyncOptions::new(Trust::default(), Arc::new(Signer::from_seed(&[9; 32])), Arc::new(|| START_MS));
    assert!(sync(&*trial.repository, &archive, &Wanted::Above(Default::default()), &options).unwrap().is_complete());
    for repository in [&trial.repository, &archive] {
        let (mut new, _) = (Keyring::from_file(&trial.folder.path().join("new"), &mut |_| panic!("none")).unwrap(), ());
        assert!(opens(repository, &mut new, &tree));
        assert!(opens(repository, &mut trial.keyring(), &tree));
        let (mut stranger, _) = person(trial.folder.path(), "stranger");
        assert!(!opens(repository, &mut stranger, &tree));
    }
}

fn archive_of(trial: &Trial) -> Arc<Repository> {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    Repository::create(&*store, "shop", "data").unwrap();
    let archive = Arc::new(Repository::open(store).unwrap());
    let options = SyncOptions::new(Trust::default(), Arc::new(Signer::from_seed(&[9; 32])), Arc::new(|| START_MS));
    assert!(sync(&*trial.repository, &archive, &Wanted::History, &options).unwrap().is_complete());
    archive
}

#[test]
fn the_same_recipients_again_change_nothing_in_whatever_order() {
    let trial = Trial::new();
    two_months(&trial);
    let (_, one) = person(trial.folder.path(), "one");
    let (_, two) = person(trial.folder.path(), "two");
    assert_eq!(reseal_for(&trial.repository, &mut trial.keyring(), &[one.clone(), two.clone()]).unwrap().resealed.len(), 2);
    let before = trial.repository.list(name::KEYS).unwrap();
    let again = reseal_for(&trial.repository, &mut trial.keyring(), &[two, one.clone()]).unwrap();
    assert!(again.resealed.is_empty() && again.unchanged.len() == 2);
    assert_eq!(trial.repository.list(name::KEYS).unwrap(), before);
    let third = reseal_for(&trial.repository, &mut trial.keyring(), &[one]).unwrap();
    assert!(third.resealed.iter().all(|(_, generation)| *generation == 3));
}

#[test]
fn what_the_keyring_does_not_open_is_named() {
    let trial = Trial::new();
    two_months(&trial);
    let (mut stranger, recipient) = person(trial.folder.path(), "stranger");
    let report = reseal_for(&trial.repository, &mut stranger, &[recipient]).unwrap();
    assert_eq!((report.resealed.len(), report.failed.len()), (0, 2));
    assert!(reseal_for(&trial.repository, &mut trial.keyring(), &[]).is_err(), "for nobody at all is refused");
    assert!(reseal_for(&trial.repository, &mut trial.keyring(), &["age1nonsense".into()]).is_err());
    assert_eq!(trial.repository.list(name::KEYS).unwrap().len(), 2);
}

#[test]
fn a_crash_at_any_operation_of_reseal_is_mended_by_the_next() {
    let trial = Trial::new();
    let tree = two_months(&trial);
    let (_, recipient) = person(trial.folder.path(), "new");
    let new = || Keyring::from_file(&trial.folder.path().join("new"), &mut |_| panic!("none")).unwrap();
    for crash in [Crash::Before, Crash::After, Crash::Full] {
        for stop_at in 0.. {
            let what = format!("{crash:?} at {stop_at}");
            let disk = copy(trial.repository.store());
            let faulty = Faulty::new(disk, stop_at, crash);
            let outcome = Repository::open(Arc::new(faulty.clone())).and_then(|repository| reseal_for(&repository, &mut trial.keyring(), std::slice::from_ref(&recipient)));
            assert!(outcome.is_ok() || faulty.stopped(), "{what}");
            let after = Repository::open(Arc::new(faulty.reopen())).unwrap();
            assert!(opens(&after, &mut trial.keyring(), &tree), "{what}");
            let again = reseal_for(&after, &mut trial.keyring(), std::slice::from_ref(&recipient)).unwrap();
            assert_eq!((again.resealed.len() + again.unchanged.len(), again.failed.len()), (2, 0), "{what}");
            assert_eq!(after.list(name::KEYS).unwrap().len(), 4, "{what}: one new generation each, never two");
            assert!(opens(&after, &mut new(), &tree), "{what}");
            if !faulty.stopped() {
                assert!(stop_at > 8);
                break;
            }
        }
    }
}

fn copy(from: &dyn Store) -> MemoryStore {
    let to = MemoryStore::default();
    for folder in name::FOLDERS {
        for listed in from.list(folder).unwrap() {
            to.set(&listed.name, archive::store::read_all(from, &listed.name, usize::MAX / 2).unwrap());
        }
    }
    to.set(name::CONFIG, archive::store::read_all(from, name::CONFIG, 1 << 16).unwrap());
    to
}

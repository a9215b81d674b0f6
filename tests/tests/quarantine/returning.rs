//! A node that lost its role comes back, between daemons: what it alone has comes to the pull-backup, whole, and to nobody else.

use crate::place::{Host, PullBackup, World, clock};
use crate::scene::{dataset, signer, tree};
use archive::id::SnapshotId;
use archive::name::Position;
use archive::repository::{Access, Known, Repository};
use archive::store::FolderStore;
use archive::sync::{SyncOptions, Wanted, sync};
use archive::trust::Trust;
use link::identity::Identity;
use link::membership::Reign;
use link::message::Heads;
use link::node::Receivers;
use link::remote::Remote;
use pull_backup::quarantine::Name;
use pull_backup::status::Looking;
use std::sync::Arc;
use std::time::Duration;
use tests::plain::PlainTree;
use tests::trial::{CLUSTER, DATASET, restore_from};
use tests::wait::until;
use watch::Word;

const LIMIT: Duration = Duration::from_secs(60);

pub fn host(world: &World, name: &str, seed: u8, at: &PullBackup, active: bool) -> Host {
    let mut host = world.host(name);
    (host.trial.options.signer, host.trial.options.node, host.trial.options.epoch) = (signer(seed), name.into(), 1);
    world.join_with(&host, at, at.invites(&host, Some(active)), host.runs.address.port()).unwrap();
    host
}

/// Lets `to` go on from what the archive has, with the local state of `from`: as after an import.
pub fn takes_over(from: &Host, to: &mut Host, at: &PullBackup, epoch: u64) {
    let spool = to.state.join("datasets").join(DATASET).join("repository");
    let store = Arc::new(FolderStore::open(&spool).unwrap());
    let archive = Repository::open_folder(&at.repository(&dataset()), Access::Shared).unwrap();
    let into = Repository::open(store.clone()).unwrap();
    let options = SyncOptions::new(Trust::default(), to.trial.options.signer.clone(), clock());
    let report = sync(&archive, &into, &Wanted::Above(Position::default()), &options).unwrap();
    assert!(report.is_complete(), "{report:?}");
    let own = to.trial.options.clone();
    to.trial = from.trial.fork(store).unwrap();
    (to.trial.options.signer, to.trial.options.node, to.trial.options.epoch) = (own.signer, own.node, epoch);
}

pub fn grant(at: &PullBackup, seal: u64, node: &str, seed: u8) {
    tests::reigning::grant(&at.daemon.publish().ledger, CLUSTER, seal, seal + 1, (node, signer(seed).public()));
}

pub fn export(host: &Host, tree: &PlainTree) -> SnapshotId {
    crate::scene::export(&host.trial, tree)
}

fn ids(repository: &std::path::Path) -> Vec<SnapshotId> {
    let repository = Repository::open_folder(repository, Access::Shared).unwrap();
    repository.snapshots().unwrap().into_iter().map(|known| known.id).collect()
}

pub fn publishes(at: &PullBackup, wanted: &[SnapshotId], what: &str) {
    until(LIMIT, what, || {
        let there = at.repository(&dataset()).join("repository.json").exists();
        let found = if there { ids(&at.repository(&dataset())) } else { vec![] };
        (found == wanted).then_some(()).ok_or(format!("{found:?}, not {wanted:?}; {:?}", at.troubles()))
    });
}

pub fn quarantines(at: &PullBackup, node: &str, wanted: &[SnapshotId]) -> (Name, Vec<Known>) {
    let quarantine = &at.daemon.publish().quarantine;
    until(LIMIT, "what is put aside", || {
        let all = quarantine.all();
        let found = all
            .iter()
            .find(|name| name.node.starts_with(node))
            .map(|name| (name.clone(), quarantine.snapshots(name)));
        let whole = |(_, known): &(Name, Vec<Known>)| known.iter().map(|known| known.id).collect::<Vec<_>>() == wanted;
        found.filter(whole).ok_or(format!("{all:?}; {:?}", at.troubles()))
    })
}

fn looks(at: &PullBackup) -> standing::host::Host {
    Looking::new(&at.file).look(crate::place::now_ms())
}

#[test]
fn an_old_active_that_returns_loses_nothing_and_nobody_gets_it() {
    let world = World::new();
    let (at, second) = (world.pull_backup("backup"), world.pull_backup("second"));
    let old = host(&world, "web1", 1, &at, true);
    let mut new = host(&world, "web2", 2, &at, false);
    let other = host(&world, "web3", 3, &at, false);
    world.follows(&second, &at, "second").unwrap();
    let base = export(&old, &tree(1));
    publishes(&at, &[base], "the first of the old active");
    takes_over(&old, &mut new, &at, 2);
    grant(&at, 1, "web2", 2);
    // It was cut off, and worked on for a while.
    Reign::given(1, false).keep(&old.state).unwrap();
    let tail = [export(&old, &tree(2)), export(&old, &tree(3))];
    let first = export(&new, &tree(4));
    publishes(&at, &[base, first], "the new active's first");
    let (name, known) = quarantines(&at, "web1", &tail);
    assert_eq!((name.epoch, name.dataset.as_str()), (1, DATASET));
    for (number, known) in known.iter().enumerate() {
        let repository = at.daemon.publish().quarantine.open(&name, Access::Shared).unwrap();
        let target = tempfile::tempdir().unwrap();
        let report = restore_from(&repository, known, &mut old.trial.keyring(), target.path()).unwrap();
        assert!(report.problems.is_empty(), "{:?}", report.problems);
        tree(2 + number as u64).assert_same(&PlainTree::read(target.path()), "the tail");
    }
    // Who follows has the history and the reigns, and none of it.
    publishes(&second, &[base, first], "the history at a follower");
    assert_eq!(second.daemon.publish().ledger.open(CLUSTER).unwrap().unwrap().epoch, 2);
    assert!(second.daemon.publish().quarantine.all().is_empty());
    nobody_gets(&world, &at, &[&other, &new], &tail);
    // The node is told, and keeps its tail until then.
    let told = until(LIMIT, "that the node was told", || {
        let said = Receivers::open(&old.state, DATASET).unwrap().receiver;
        said.into_values().find(|said| said.quarantined.len() == 2)
    });
    assert_eq!(told.sealed.len(), 1);
    let stands = looks(&at);
    assert!(stands.word >= Word::Failing && stands.datasets.iter().any(|line| line.status.verdict.why.contains("in quarantine")));
    assert!(standing::health::text(&stands).contains("node=\"web1-"), "{}", standing::health::text(&stands));
    assert_eq!(stands.quarantined[0].new, 2);
}

/// Whoever asks as a member is offered the history alone.
fn nobody_gets(world: &World, at: &PullBackup, hosts: &[&Host], tail: &[SnapshotId]) {
    for host in hosts {
        let client = Arc::new(world.client(&Identity::open_or_make(&host.state).unwrap(), at.runs.address, at.identity.pin));
        let heads: Heads = world.runtime.block_on(client.get("/v1/heads")).unwrap();
        assert_eq!(heads.datasets.iter().map(|head| head.dataset.as_str()).collect::<Vec<_>>(), [DATASET]);
        let names = |cluster: &str, dataset: &str| {
            let remote = Remote::new(client.clone(), world.runtime.handle().clone(), cluster, dataset);
            std::thread::scope(|scope| scope.spawn(|| archive::sync::Source::list(&remote)).join().unwrap())
        };
        let listed = names(CLUSTER, DATASET).unwrap();
        assert!(listed.snapshots.iter().all(|known| !tail.contains(&known.id)));
        for (cluster, dataset) in [("+quarantine", "shop"), ("+quarantine", DATASET), ("..", "+quarantine")] {
            assert!(names(cluster, dataset).is_err(), "{cluster}/{dataset}");
        }
    }
}

#[test]
fn branches_that_were_forced_are_both_kept_until_a_person_chooses() {
    let world = World::new();
    let at = world.pull_backup("backup");
    let mut one = host(&world, "web1", 1, &at, true);
    let mut two = host(&world, "web2", 2, &at, false);
    let base = export(&one, &tree(1));
    publishes(&at, &[base], "what was before");
    takes_over(&one, &mut two, &at, 2);
    one.trial.options.epoch = 2;
    let (of_one, of_two) = (export(&one, &tree(2)), export(&two, &tree(3)));
    quarantines(&at, "web1", &[of_one]);
    quarantines(&at, "web2", &[of_two]);
    let publish = at.daemon.publish();
    until(LIMIT, "a conflict", || publish.ledger.open(CLUSTER).unwrap().unwrap().conflict().map(|_| ()));
    let is_said = || looks(&at).datasets.iter().any(|line| line.status.verdict.why.contains("CONFLICT"));
    assert!(is_said(), "{}", looks(&at).json());
    assert_eq!(ids(&at.repository(&dataset())), [base]);
    let resolved = pull_backup::quarantine::resolve::resolve(publish, &at.file.store, CLUSTER, "web2").unwrap();
    assert!(matches!(resolved, pull_backup::quarantine::resolve::Resolved::Kept(_)), "{resolved:?}");
    publishes(&at, &[base, of_two], "the branch that was chosen");
    quarantines(&at, "web1", &[of_one]);
    let after = export(&two, &tree(4));
    publishes(&at, &[base, of_two, after], "its next");
    assert!(!is_said());
}

#[test]
fn a_mirror_that_is_trimmed_keeps_what_the_node_alone_has() {
    let world = World::new();
    let at = world.pull_backup_with("backup", "quarantine = \"1kB\"\n", clock());
    let old = host(&world, "web1", 1, &at, true);
    let base = export(&old, &tree(1));
    publishes(&at, &[base], "the first");
    grant(&at, 1, "web2", 2);
    let tail = export(&old, &tree(2));
    until(LIMIT, "a refusal", || at.troubles().iter().any(|trouble| trouble.contains("the quarantine is full")).then_some(()));
    let pins = [at.identity.pin];
    let own = signer(1).public();
    until(LIMIT, "what is the tail", || {
        let receivers = Receivers::open(&old.state, DATASET).unwrap();
        let tail_is = link::tail::tail(&old.trial.repository, own, &receivers, &pins).unwrap();
        (tail_is.iter().map(|known| known.id).collect::<Vec<_>>() == [tail])
            .then_some(())
            .ok_or(format!("{tail_is:?}"))
    });
    assert!(looks(&at).datasets.iter().any(|line| line.status.verdict.why.contains("are not kept")));
}

//! Whose snapshots are published, and how many: of a cluster's nodes only the active's, signed by itself; and no more bytes than a node's quota.

use crate::place::{Host, PullBackup, World, clock, now_ms};
use crate::pull::{LIMIT, arrives, tree};
use archive::sign::Signer;
use std::sync::Arc;
use tests::wait::until;

fn joins(world: &World, host: &Host, at: &PullBackup, active: Option<bool>) {
    world.join_with(host, at, at.invites(host, active), host.runs.address.port()).unwrap();
}

fn host(world: &World, name: &str, seed: u8) -> Host {
    let mut host = world.host(name);
    host.trial.options.signer = Arc::new(Signer::from_seed(&[seed; 32]));
    host.trial.options.node = name.into();
    host
}

fn waits_for(at: &PullBackup, words: &str) {
    until(LIMIT, words, || {
        let troubles = at.troubles();
        troubles.iter().any(|trouble| trouble.contains(words)).then_some(()).ok_or(format!("{troubles:?}"))
    });
}

#[test]
fn a_node_that_stands_by_or_has_no_role_beside_the_active_publishes_nothing() {
    let world = World::new();
    let at = world.pull_backup("backup");
    let (works, stands_by, no_role) = (host(&world, "web1", 1), host(&world, "web2", 2), host(&world, "web3", 3));
    for (host, active) in [(&works, Some(true)), (&stands_by, Some(false)), (&no_role, None)] {
        joins(&world, host, &at, active);
    }
    stands_by.trial.export(&tree(1, 1000));
    no_role.trial.export(&tree(2, 1000));
    let good = tree(3, 1000);
    works.trial.export(&good);
    arrives(&works, &at, &good, "the active's export");
    assert_eq!(at.snapshots(&works.dataset).len(), 1);
    let followed: Vec<_> = at.daemon.contacts().into_iter().map(|(pin, _)| pin).collect();
    assert_eq!(
        followed.len(),
        2,
        "the active, and the one that stands by, for what it alone has; without a role there is no reign to lose"
    );
    assert!(at.daemon.publish().quarantine.all().is_empty(), "epoch 0 is nobody's reign");
}

#[test]
fn the_key_of_a_node_that_stands_by_publishes_nothing_through_the_active_either() {
    let world = World::new();
    let at = world.pull_backup("backup");
    let (mut works, stands_by) = (host(&world, "web1", 1), host(&world, "web2", 2));
    joins(&world, &works, &at, Some(true));
    joins(&world, &stands_by, &at, Some(false));
    let first = tree(1, 100_000);
    works.trial.export(&first);
    arrives(&works, &at, &first, "the active's export");
    let own = works.trial.options.signer.clone();
    // What the stolen key signed comes to lie in the active's spool, and what it builds on there too.
    works.trial.options.signer = stands_by.trial.options.signer.clone();
    works.trial.options.node = "web2".into();
    let forged = tree(2, 200_000);
    works.trial.export(&forged);
    waits_for(&at, "not the one whose snapshots are published");
    assert_eq!(at.snapshots(&works.dataset).len(), 1, "it is not in the history");
    works.trial.options.signer = own;
    works.trial.options.node = "web1".into();
    // Its runs are a base like any other: they hold what the active itself goes on using.
    let mut last = tree(2, 200_000);
    last.file("s/more", vec![7; 1000]);
    works.trial.export(&last);
    arrives(&works, &at, &last, "the active's next export");
    assert_eq!(at.snapshots(&works.dataset).len(), 2);
    until(LIMIT, "no trouble any more", || at.troubles().is_empty().then_some(()));
}

#[test]
fn a_new_active_goes_on_from_what_the_one_before_signed() {
    let world = World::new();
    let at = world.pull_backup("backup");
    let mut works = host(&world, "web1", 1);
    joins(&world, &works, &at, Some(true));
    let first = tree(1, 500_000);
    works.trial.export(&first);
    arrives(&works, &at, &first, "the first active's export");
    // It was installed anew: another signing key, in its old spool.
    works.trial.options.signer = Arc::new(Signer::from_seed(&[2; 32]));
    joins(&world, &works, &at, Some(true));
    let mut second = tree(1, 500_000);
    second.file("s/more", vec![7; 1000]);
    works.trial.export(&second);
    arrives(&works, &at, &second, "what builds on it, signed by another");
    let trust = at.daemon.members().trust("shop");
    assert_eq!((trust.pinned.len(), trust.former.len()), (1, 1), "the key from before still counts for what it signed");
    assert_eq!(at.daemon.members().publishers("shop").len(), 2);
}

#[test]
fn a_node_above_its_quota_is_stopped_and_no_other() {
    let world = World::new();
    let at = world.pull_backup_with("backup", "[cluster.shop]\nquotas = { web1 = \"600kB\" }\n", clock());
    let (greedy, other) = (host(&world, "web1", 1), host(&world, "web2", 2));
    joins(&world, &greedy, &at, None);
    let small = tree(1, 300_000);
    greedy.trial.export(&small);
    arrives(&greedy, &at, &small, "what fits");
    greedy.trial.export(&tree(50, 3 << 20));
    waits_for(&at, "the quota of web1 of cluster shop is reached");
    waits_for(&at, "raise `quota` in pull-backup.toml");
    assert_eq!(at.snapshots(&greedy.dataset).len(), 1);
    let size = |folder: &std::path::Path| -> u64 {
        let entries = walkdir::WalkDir::new(folder).into_iter().flatten();
        entries
            .filter(|entry| entry.file_type().is_file())
            .map(|entry| entry.metadata().unwrap().len())
            .sum()
    };
    until(LIMIT, "a failure that is counted", || at.daemon.pulls().facts().iter().any(|(.., fact)| fact.failures > 3).then_some(()));
    assert!(size(&at.repository(&greedy.dataset)) < 700_000, "tried again and again, it does not grow");
    joins(&world, &other, &at, None);
    let others = tree(2, 2 << 20);
    let mut other = other;
    other.trial.options.above = 10;
    other.trial.export(&others);
    arrives(&other, &at, &others, "another node's");
}

#[test]
fn a_rate_holds_back_what_is_pulled() {
    let world = World::new();
    let at = world.pull_backup_with("backup", "rate = \"1MB\"\n", clock());
    let host = host(&world, "web1", 1);
    joins(&world, &host, &at, None);
    let began_ms = now_ms();
    let tree = tree(1, 3 << 20);
    host.trial.export(&tree);
    arrives(&host, &at, &tree, "all, slowly");
    let took_ms = now_ms() - began_ms;
    assert!(took_ms > 2000, "3 MB at 1 MB a second took {took_ms} ms");
}

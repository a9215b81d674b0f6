//! What a node publishes arrives, and goes on arriving when the way is bad.

use crate::place::{Host, PullBackup, World};
use archive::repository::Repository;
use archive::store::FolderStore;
use std::sync::Arc;
use std::time::Duration;
use tests::chance::noise;
use tests::plain::PlainTree;
use tests::proxy::{Act, Plan, Proxy, Way};
use tests::wait::until;

pub const LIMIT: Duration = Duration::from_secs(60);

/// Waits until the archive's head is the spool's, and restores it.
pub fn arrives(host: &Host, at: &PullBackup, tree: &PlainTree, what: &str) {
    host.trial.repository.forget_locations();
    let newest = host.trial.repository.snapshots().unwrap().pop().expect("something was exported");
    let archive = at.repository(&host.dataset);
    until(LIMIT, what, || {
        let names = std::fs::read_dir(archive.join("snapshots")).ok()?;
        names
            .flatten()
            .any(|entry| newest.name.ends_with(entry.file_name().to_str().unwrap()))
            .then_some(())
    });
    let repository = Repository::open(Arc::new(FolderStore::open(&archive).unwrap())).unwrap();
    let target = tempfile::tempdir().unwrap();
    let report = tests::trial::restore_from(&repository, &newest, &mut host.trial.keyring(), target.path()).unwrap();
    assert_eq!(report.problems, vec![]);
    tree.assert_same(&PlainTree::read(target.path()), what);
}

pub fn tree(seed: u64, len: usize) -> PlainTree {
    let mut tree = PlainTree::new("s");
    tree.file("s/large", noise(seed, len));
    tree.file("s/small", noise(seed + 1, 1000));
    tree
}

#[test]
fn what_a_node_exports_is_pulled_and_said_to_be_held() {
    let world = World::new();
    let (at, host) = (world.pull_backup("backup"), world.host("web1"));
    world.join(&host, &at, host.runs.address.port()).unwrap();
    for seed in [1, 10, 20] {
        let tree = tree(seed, 3 << 20);
        host.trial.export(&tree);
        arrives(&host, &at, &tree, "the export in the archive");
    }
    let newest = host.trial.repository.snapshots().unwrap().pop().unwrap();
    until(LIMIT, "the pull-backup's word that it holds the newest", || {
        let receivers = link::node::Receivers::open(&host.state, &host.dataset.name).unwrap();
        receivers.holds(&at.identity.pin, &newest.name).then_some(())
    });
}

#[test]
fn a_pull_backup_that_was_not_there_gets_everything_later() {
    let world = World::new();
    let host = world.host("web1");
    let first = tree(1, 100_000);
    host.trial.export(&first);
    let at = world.pull_backup("backup");
    world.join(&host, &at, host.runs.address.port()).unwrap();
    arrives(&host, &at, &first, "what was exported before the node joined");
}

/// SEEDS.md 3: each fault, then a clean round; the head never moves to something that is not whole, and what is tried is seen.
#[test]
fn a_hostile_network_costs_time_and_no_data() {
    let faults = [
        Act::Skip { at: 400, len: 1 },
        Act::Flip { at: 560 },
        Act::Flip { at: 575 },
        Act::Flip { at: 150_000 },
        Act::End { after: 100_000 },
        Act::Reset { after: 100_000 },
        Act::Stall { after: 100_000 },
        Act::Swallow,
        Act::Trickle(Duration::from_millis(20)),
    ];
    let world = World::new();
    let (at, host) = (world.pull_backup("backup"), world.host("web1"));
    let plan = Plan::new();
    let proxy = Proxy::start_at("127.0.0.1".parse().unwrap(), host.runs.address, plan.clone());
    world.join(&host, &at, proxy.address().port()).unwrap();
    let mut last = tree(1, 400_000);
    host.trial.export(&last);
    arrives(&host, &at, &last, "the first export");
    for (number, fault) in faults.into_iter().enumerate() {
        let before = std::fs::read_dir(at.repository(&host.dataset).join("snapshots")).unwrap().count();
        let struck = plan.counts().struck;
        plan.set(Way::Down, fault);
        proxy.reset_all();
        let what = format!("{fault:?}");
        let tree = tree(number as u64 * 10 + 100, 400_000);
        host.trial.export(&tree);
        plan.wait(LIMIT, &what, |counts| counts.struck > struck);
        until(LIMIT, &format!("{what}: a failure that can be seen"), || {
            let contact = at.daemon.contacts().into_iter().any(|(_, contact)| contact.trouble.is_some());
            let fact = at.daemon.pulls().facts().into_iter().any(|(.., fact)| fact.trouble.is_some());
            (contact || fact).then_some(())
        });
        assert_eq!(
            std::fs::read_dir(at.repository(&host.dataset).join("snapshots")).unwrap().count(),
            before,
            "{what}: nothing was published"
        );
        plan.clear();
        proxy.reset_all();
        arrives(&host, &at, &tree, &format!("{what}, then a clean round"));
        last = tree;
    }
    let more = tree(7, 10);
    host.trial.export(&more);
    arrives(&host, &at, &more, "what came after");
    drop(last);
}

//! A host that nobody can reach opens connections and is pulled over them: whatever becomes of those, and whoever else lends under its name.

use crate::place::{Host, PullBackup, World};
use crate::pull::{LIMIT, arrives, tree};
use archive::sign::Signer;
use link::identity::Identity;
use link::message::Notice;
use pull_backup::members::Members;
use std::sync::Arc;
use std::time::Duration;
use tests::proxy::{Act, Plan, Proxy, Way};
use tests::wait::until;

/// A host that lends through a proxy, and has joined.
fn lends_by_proxy(world: &World, at: &PullBackup) -> (Host, Arc<Plan>, Proxy) {
    let host = world.host_that_lends("web1", "web1");
    let plan = Plan::new();
    let proxy = Proxy::start_at("127.0.0.1".parse().unwrap(), at.runs.address, plan.clone());
    world.join_by(&host, at, at.invites(&host, None), 0, "shop", proxy.address()).unwrap();
    (host, plan, proxy)
}

#[test]
fn a_host_that_nobody_can_reach_is_pulled_over_what_it_lends() {
    let world = World::new();
    let (at, host) = (world.pull_backup("backup"), world.host_that_lends("web1", "web1"));
    world.join(&host, &at, 0).unwrap();
    let client = world.client(&Identity::open_or_make(&host.state).unwrap(), at.runs.address, at.identity.pin);
    for seed in [1, 10, 20] {
        let tree = tree(seed, 3 << 20);
        host.trial.export(&tree);
        let notice = Notice { cluster: "shop".into(), dataset: host.dataset.name.clone() };
        world.runtime.block_on(client.post::<()>("/v1/notice", &notice)).unwrap();
        arrives(&host, &at, &tree, "the export in the archive");
    }
    let newest = host.trial.repository.snapshots().unwrap().pop().unwrap();
    until(LIMIT, "the pull-backup's word that it holds the newest", || {
        let receivers = link::node::Receivers::open(&host.state, &host.dataset.name).unwrap();
        receivers.holds(&at.identity.pin, &newest.name).then_some(())
    });
}

#[test]
fn lent_connections_that_are_cut_stalled_or_slow_cost_time_and_no_data() {
    let world = World::new();
    let at = world.pull_backup("backup");
    let (host, plan, proxy) = lends_by_proxy(&world, &at);
    let first = tree(1, 400_000);
    host.trial.export(&first);
    arrives(&host, &at, &first, "the first export");
    let faults = [
        Act::Reset { after: 100_000 },
        Act::End { after: 100_000 },
        Act::Stall { after: 100_000 },
        Act::Flip { at: 150_000 },
        Act::Skip { at: 400, len: 1 },
        Act::Trickle(Duration::from_millis(20)),
        Act::Swallow,
    ];
    for (number, fault) in faults.into_iter().enumerate() {
        let (before, struck) = (at.snapshots(&host.dataset), plan.counts().struck);
        let what = format!("{fault:?}");
        plan.set(Way::Up, fault);
        proxy.reset_all();
        let tree = tree(number as u64 * 10 + 100, 400_000);
        host.trial.export(&tree);
        plan.wait(LIMIT, &what, |counts| counts.struck > struck);
        until(LIMIT, &format!("{what}: a failure that can be seen"), || (!at.troubles().is_empty()).then_some(()));
        assert_eq!(at.snapshots(&host.dataset), before, "{what}: nothing was published");
        plan.clear();
        proxy.reset_all();
        arrives(&host, &at, &tree, &format!("{what}, then a clean round"));
    }
}

#[test]
fn who_is_expelled_in_the_middle_of_a_pull_is_pulled_no_more() {
    let world = World::new();
    let at = world.pull_backup("backup");
    let (host, plan, _proxy) = lends_by_proxy(&world, &at);
    // It stands still with part of the answer given, so the pull is in its middle.
    plan.set(Way::Up, Act::Stall { after: 300_000 });
    host.trial.export(&tree(1, 3 << 20));
    plan.wait_passed(LIMIT, Way::Up, 300_000);
    let beside = Members::new(&world.folder.path().join("backup/state"));
    assert_eq!(beside.expel(None, "web1", 1).unwrap().len(), 1);
    until(LIMIT, "nobody to be followed", || at.daemon.contacts().is_empty().then_some(()));
    plan.clear();
    until(LIMIT, "no connection that stands", || {
        let counts = plan.counts();
        (counts.open == 0).then_some(()).ok_or(format!("{counts:?}"))
    });
    assert_eq!(at.snapshots(&host.dataset), Vec::<String>::new());
}

#[test]
fn two_hosts_that_lend_under_one_name_are_told_apart_by_their_keys() {
    let world = World::new();
    let at = world.pull_backup("backup");
    let (mut first, mut second) = (world.host_that_lends("web1", "first"), world.host_that_lends("web1", "second"));
    second.trial.options.signer = Arc::new(Signer::from_seed(&[8; 32]));
    world.join(&first, &at, 0).unwrap();
    let tree_of_first = tree(1, 10_000);
    first.trial.export(&tree_of_first);
    arrives(&first, &at, &tree_of_first, "the member's export");
    // The second has the membership of the first, and not its key.
    std::fs::copy(first.state.join("membership.toml"), second.state.join("membership.toml")).unwrap();
    second.trial.options.above = 50;
    second.trial.export(&tree(2, 10_000));
    let client = world.client(&Identity::open_or_make(&second.state).unwrap(), at.runs.address, at.identity.pin);
    let refused = world.runtime.block_on(client.post::<()>("/v1/lend", &())).unwrap_err().to_string();
    assert!(refused.contains("does not know your key"), "{refused}");
    let more = tree(3, 10_000);
    first.trial.export(&more);
    arrives(&first, &at, &more, "the member is pulled as before");
    assert_eq!(at.snapshots(&first.dataset).len(), 2, "and of the other nothing came");
    // Invited under the same name, the second takes its place; what the first still lends is nobody's.
    world.join(&second, &at, 0).unwrap();
    let (last, unseen) = (tree(4, 10_000), tree(5, 10_000));
    second.trial.export(&last);
    arrives(&second, &at, &last, "the new member's export");
    let held = at.snapshots(&first.dataset);
    first.trial.options.above = 100;
    first.trial.export(&unseen);
    let client = world.client(&Identity::open_or_make(&first.state).unwrap(), at.runs.address, at.identity.pin);
    assert!(world.runtime.block_on(client.post::<()>("/v1/lend", &())).is_err());
    let again = tree(6, 10_000);
    second.trial.export(&again);
    arrives(&second, &at, &again, "the new member's next");
    assert_eq!(at.snapshots(&first.dataset).len(), held.len() + 1);
}

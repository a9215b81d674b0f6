//! A pull-backup that follows another: all comes to it, receipts too, and whom it believes.

use crate::place::{Host, PullBackup, World, clock};
use crate::pull::{LIMIT, arrives, tree};
use archive::record::{Certificate, Signed};
use archive::repository::Repository;
use archive::sign::Signer;
use archive::store::FolderStore;
use link::Error;
use link::identity::Identity;
use link::message::{Heads, Notice};
use pull_backup::following;
use std::sync::Arc;
use tests::wait::until;

fn joined(world: &World, at: &PullBackup) -> Host {
    let host = world.host("web1");
    world.join(&host, at, host.runs.address.port()).unwrap();
    host
}

#[test]
fn what_one_receives_comes_to_those_who_follow_it_and_on_from_there() {
    let world = World::new();
    let keepers = ["first", "second", "third"].map(|name| world.pull_backup(name));
    let [first, second, third] = &keepers;
    let host = joined(&world, first);
    let before = tree(1, 300_000);
    host.trial.export(&before);
    arrives(&host, first, &before, "the first receiver");
    world.follows(second, first, "second").unwrap();
    world.follows(third, second, "third").unwrap();
    for at in &keepers {
        arrives(&host, at, &before, "what was there before");
    }
    let after = tree(2, 300_000);
    host.trial.export(&after);
    for at in &keepers {
        arrives(&host, at, &after, "what came after");
    }
    let newest = host.trial.repository.snapshots().unwrap().pop().unwrap();
    let repository = Repository::open(Arc::new(FolderStore::open(&third.repository(&host.dataset)).unwrap())).unwrap();
    let receipts = repository.receipts(&newest).unwrap();
    assert!(receipts.iter().any(|receipt| receipt.signer == first.daemon.pulls().receipt()), "the first receiver's word came along");
}

#[test]
fn who_follows_may_read_and_nothing_else_until_it_is_expelled() {
    let world = World::new();
    let (first, second) = (world.pull_backup("first"), world.pull_backup("second"));
    let host = joined(&world, &first);
    world.follows(&second, &first, "second").unwrap();
    let good = tree(1, 1000);
    host.trial.export(&good);
    arrives(&host, &second, &good, "a follower has it");
    let client = world.client(&second.identity, first.runs.address, first.identity.pin);
    let ask = |what: &str| world.runtime.block_on(client.get::<Heads>(what));
    assert_eq!(ask("/v1/heads").unwrap().datasets[0].signers, [host.trial.options.signer.public().to_string()]);
    let notice = Notice { cluster: "shop".into(), dataset: "data".into() };
    for path in ["/v1/notice", "/v1/lend"] {
        let refused = world.runtime.block_on(client.post::<()>(path, &notice)).unwrap_err().to_string();
        assert!(refused.contains("not for your role"), "{path}: {refused}");
    }
    // The one that is followed reads nothing of who follows it.
    let back = world.client(&first.identity, second.runs.address, second.identity.pin);
    let refused = world.runtime.block_on(back.get::<Heads>("/v1/heads")).unwrap_err();
    assert!(matches!(refused, Error::Refused { .. }), "{refused}");
    // A node is told nobody's keys.
    let node = world.client(&Identity::open_or_make(&host.state).unwrap(), first.runs.address, first.identity.pin);
    let heads: Heads = world.runtime.block_on(node.get("/v1/heads")).unwrap();
    assert!(heads.datasets.iter().all(|head| head.signers.is_empty()));
    assert_eq!(first.daemon.members().expel(None, "second", 1).unwrap().len(), 1);
    until(LIMIT, "a follower that knows that it is expelled", || {
        second.troubles().iter().any(|trouble| trouble.contains("does not know your key")).then_some(())
    });
}

#[test]
fn an_invitation_is_for_a_node_or_for_a_follower_and_never_for_both() {
    let world = World::new();
    let (first, second) = (world.pull_backup("first"), world.pull_backup("second"));
    let host = world.host("web1");
    let token = link::invitation::Token::new();
    let invited = pull_backup::members::Invited {
        cluster: pull_backup::members::FOLLOWERS.into(),
        name: "web1".into(),
        active: None,
        expires: u64::MAX,
    };
    first.daemon.members().invite(&token, &invited).unwrap();
    let refused = world.join_with(&host, &first, token, 1).unwrap_err().to_string();
    assert!(refused.contains("a node needs one without --follower"), "{refused}");
    let token = first.invites(&host, None);
    let invitation = link::invitation::Invitation { address: first.runs.address.to_string(), pin: first.identity.pin, token, expires: 0 };
    let receipt = second.daemon.pulls().receipt();
    let joining = following::Following::join(&second.file, &second.identity, receipt, &invitation);
    let refused = world.runtime.block_on(joining).unwrap_err().to_string();
    assert!(refused.contains("is for a"), "{refused}");
    assert_eq!(first.daemon.members().all().unwrap(), vec![]);
}

#[test]
fn with_a_cluster_key_only_certified_nodes_are_believed_whoever_is_told() {
    let world = World::new();
    let cluster = Signer::from_seed(&[11; 32]);
    let first = world.pull_backup("first");
    let strict = format!("[cluster.shop]\ncluster_key = \"{}\"\n", cluster.public());
    let second = world.pull_backup_with("second", &strict, clock());
    let host = joined(&world, &first);
    let good = tree(1, 100_000);
    host.trial.export(&good);
    arrives(&host, &first, &good, "who takes its members' word");
    world.follows(&second, &first, "second").unwrap();
    until(LIMIT, "a refusal", || {
        let troubles = second.troubles();
        troubles
            .iter()
            .any(|trouble| trouble.contains("not certified by the cluster key"))
            .then_some(())
            .ok_or(format!("{troubles:?}"))
    });
    assert_eq!(second.snapshots(&host.dataset), Vec::<String>::new());
    let certificate = Certificate {
        cluster: "shop".into(),
        node: host.trial.options.node.clone(),
        key: host.trial.options.signer.public(),
        issued_ms: 1,
    };
    let key = certificate.key;
    let signed = Signed::sign(certificate, &cluster);
    let name = archive::name::node(&key, signed.id());
    host.trial.repository.publish_record(&name, &signed).unwrap();
    arrives(&host, &second, &good, "the certificate came along");
}

#[test]
fn what_a_stolen_pull_backup_adds_by_itself_goes_no_further() {
    let world = World::new();
    let (first, second) = (world.pull_backup("first"), world.pull_backup("second"));
    let host = joined(&world, &first);
    let good = tree(1, 1000);
    host.trial.export(&good);
    arrives(&host, &first, &good, "the true one");
    world.follows(&second, &first, "second").unwrap();
    arrives(&host, &second, &good, "the true one, further");
    // Whoever has its disk writes a snapshot into its archive, signed by a key of his own.
    let store = Arc::new(FolderStore::open(&first.repository(&host.dataset)).unwrap());
    let mut forger = host.trial.fork(store).unwrap();
    forger.options.signer = Arc::new(Signer::from_seed(&[66; 32]));
    forger.options.above = 10;
    forger.export(&tree(66, 1000));
    until(LIMIT, "a refusal", || {
        let troubles = second.troubles();
        troubles
            .iter()
            .any(|trouble| trouble.contains("not the pinned one"))
            .then_some(())
            .ok_or(format!("{troubles:?}"))
    });
    assert_eq!(second.snapshots(&host.dataset).len(), 1);
}

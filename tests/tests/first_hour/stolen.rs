//! The pull-backup in other hands, as real processes: its disk put back, and its daemon serving what nobody certified; and a node that was installed anew.

use crate::hosts::{Hosts, LIMIT, id, snapshots};
use archive::record::{Signed, Snapshot};
use archive::repository::{Repository, alone};
use archive::sign::Signer;
use archive::store::FolderStore;
use std::fs;
use std::sync::Arc;
use tests::trial::copy_folder;

#[test]
fn an_archive_that_was_put_back_or_forged_gives_nothing_older_or_uncertified_unsaid() {
    let hosts = Hosts::new(5);
    hosts.init();
    let (_, mut keeper) = hosts.pull_backup();
    hosts.join("web1", "exporter", "--active");
    let mut exporter = hosts.serve("web1", "exporter");
    hosts.change("old\n");
    let old = hosts.arrived(&hosts.repository("web1"), &hosts.archive());
    copy_folder(&hosts.archive(), &hosts.path("yesterday"));
    hosts.change("new\n");
    let new = hosts.arrived(&hosts.repository("web1"), &hosts.archive());
    hosts.copy_node("web2", 3);
    hosts.join("web2", "importer", "--standby");
    let mut importer = hosts.serve("web2", "importer");
    hosts.arrived(&hosts.repository("web1"), &hosts.repository("web2"));
    let before = snapshots(&hosts.repository("web2"));
    // The exporter and the standby do not serve, so that nothing mends it; the thief puts yesterday in place of today.
    assert!(exporter.stop(LIMIT).success() && importer.stop(LIMIT).success() && keeper.stop(LIMIT).success());
    fs::remove_dir_all(hosts.archive()).unwrap();
    copy_folder(&hosts.path("yesterday"), &hosts.archive());
    let mut keeper = hosts.serve("backup", "pull-backup");
    let (to, identity) = (hosts.path("restored"), hosts.path("web1/identity.age"));
    let line = ["restore", "--at", "latest", "--to", to.to_str().unwrap(), "--identity", identity.to_str().unwrap(), "--from", "archive"];
    let restored = hosts.run("web2", "importer", &line).ended(0);
    assert!(restored.err.contains("older than what was known") && restored.err.contains(&id(&new)[..8]), "{}", restored.err);
    assert_eq!(fs::read_to_string(to.join("files/file")).unwrap(), "old\n");
    // It signs a snapshot itself.
    assert!(keeper.stop(LIMIT).success());
    let repository = Repository::open(Arc::new(FolderStore::open(&hosts.archive()).unwrap())).unwrap();
    let known = repository.snapshots().unwrap().pop().unwrap();
    let body = repository.snapshot(&known).unwrap().body;
    let at = archive::name::Position { epoch: body.epoch, sequence: body.sequence + 100 };
    let forged = Signed::sign(Snapshot { sequence: at.sequence, ..body }, &Signer::from_seed(&[66; 32]));
    let forged_id = archive::id::SnapshotId::of(&forged.hash.0);
    let name = archive::name::snapshot(at, forged_id);
    fs::write(hosts.archive().join(&name), alone(&forged)).unwrap();
    let _keeper = hosts.serve("backup", "pull-backup");
    let mut importer = hosts.serve("web2", "importer");
    importer.says(LIMIT, &format!("{name}: its signer"));
    assert_eq!(snapshots(&hosts.repository("web2")), before, "the mirror has what it had");
    let refused = hosts.run("web2", "importer", &["ls", "latest", "--from", "archive"]).ended(3);
    assert!(refused.err.contains("was not certified by the cluster key"), "{}", refused.err);
    let by_id = ["restore", "--at", id(&old), "--to", to.to_str().unwrap(), "--identity", identity.to_str().unwrap(), "--from", "archive"];
    hosts.run("web2", "importer", &by_id).ended(0);
    // A standby that serves gives back what the archive lost.
    tests::wait::until(LIMIT, "what the archive lost, from the standby", || {
        let there = snapshots(&hosts.archive());
        if there.contains(&new) { Ok(()) } else { Err(format!("{there:?}")) }
    });
}

#[test]
fn a_node_that_was_installed_anew_goes_on_above_what_the_archive_holds() {
    let hosts = Hosts::new(6);
    hosts.init();
    let (_, _keeper) = hosts.pull_backup();
    hosts.join("web1", "exporter", "--active");
    let mut exporter = hosts.serve("web1", "exporter");
    for number in 0..3 {
        hosts.change(&format!("version {number}\n"));
    }
    hosts.arrived(&hosts.repository("web1"), &hosts.archive());
    assert!(exporter.stop(LIMIT).success());
    let before = snapshots(&hosts.archive());
    fs::remove_dir_all(hosts.path("web1/state")).unwrap();
    // The same file, other keys: certified again, invited again.
    let key = hosts.run("web1", "exporter", &["init"]).ended(0);
    assert!(key.text().contains("exporter certify ed25519:"), "{}", key.text());
    hosts.run("web1", "exporter", &["certify"]).ended(0);
    hosts.join("web1", "exporter", "--active");
    let _exporter = hosts.serve("web1", "exporter");
    hosts.change("after the loss\n");
    // Its first snapshot has a number that the archive knows already; then it hears of it, and goes on above.
    tests::wait::until(LIMIT, "the archive's word on what it holds", || {
        hosts.run("web1", "exporter", &["run"]).ended(0);
        let there = snapshots(&hosts.archive());
        if there.len() > before.len() { Ok(()) } else { Err(format!("{there:?}")) }
    });
    assert!(before.iter().all(|name| snapshots(&hosts.archive()).contains(name)));
    let (to, identity) = (hosts.path("restored"), hosts.path("web1/identity.age"));
    let line = ["restore", "files", "--at", "latest", "--to", to.to_str().unwrap(), "--identity", identity.to_str().unwrap()];
    hosts.run("backup", "pull-backup", &line).ended(0);
    assert_eq!(fs::read_to_string(to.join("files/file")).unwrap(), "after the loss\n");
    // What it signed with its first key is read as ever.
    let listed = hosts.run("backup", "pull-backup", &["snapshots", "--json"]).ended(0).json();
    let all = listed["snapshots"].as_array().unwrap();
    assert!(all.iter().all(|snapshot| snapshot["standing"] == "pinned"), "{listed}");
}

//! Nodes that the cluster key certified, and one that it did not.

use crate::hosts::{Hosts, LIMIT, id, snapshots};
use std::fs;
use tests::wait::until;

#[test]
fn a_mirror_takes_what_certified_nodes_wrote_and_old_states_come_from_the_archive() {
    let hosts = Hosts::new(3);
    hosts.init();
    let (_, _keeper) = hosts.pull_backup();
    hosts.join("web1", "exporter", "--active");
    let _exporter = hosts.serve("web1", "exporter");
    hosts.change("old\n");
    let old = hosts.arrived(&hosts.repository("web1"), &hosts.archive());
    hosts.change("new\n");
    hosts.arrived(&hosts.repository("web1"), &hosts.archive());
    hosts.copy_node("web2", 3);
    let joined = hosts.join("web2", "importer", "--standby");
    assert!(
        joined.text().contains("exporter certify ed25519:") && joined.text().contains("exporter certificate 'LINE'"),
        "{}",
        joined.text()
    );
    let mut importer = hosts.serve("web2", "importer");
    let newest = hosts.arrived(&hosts.repository("web1"), &hosts.repository("web2"));
    let listed = hosts.run("web2", "importer", &["snapshots"]).ended(0);
    assert!(listed.text().contains("certified"), "{}", listed.text());
    // What the importer reported is known where the history is.
    until(LIMIT, "the report of web2", || {
        let listed = hosts.run("backup", "pull-backup", &["snapshots", "--json"]).ended(0).json();
        let newest_at = listed["snapshots"].as_array().unwrap().last().unwrap()["newest_at"].clone();
        if newest_at[0]["name"] == "web2" { Ok(()) } else { Err(listed.to_string()) }
    });
    assert!(importer.stop(LIMIT).success());
    // The mirror lets the old one go; the archive has it still.
    let mirror = hosts.repository("web2");
    let line = ["retain", "--repository", mirror.to_str().unwrap(), "--keep-last", "1"];
    tests::program::run("pull-backup", line).ended(0);
    assert_eq!(snapshots(&mirror), [newest]);
    let (to, identity) = (hosts.path("restored"), hosts.path("web1/identity.age"));
    let line = ["restore", "files", "--at", id(&old), "--to", to.to_str().unwrap(), "--identity", identity.to_str().unwrap()];
    let lacking = hosts.run("web2", "importer", &line).ended(1);
    assert!(lacking.err.contains("no snapshot"), "{}", lacking.err);
    let restored = hosts.run("web2", "importer", &[&line[..], &["--from", "archive"]].concat()).ended(0);
    assert!(restored.err.contains("signer certified"), "{}", restored.err);
    assert_eq!(fs::read_to_string(to.join("files/file")).unwrap(), "old\n");
    let listed = hosts.run("web2", "importer", &["snapshots", "--from", "archive", "--json"]).ended(0).json();
    assert_eq!(listed["snapshots"].as_array().unwrap().len(), 2, "{listed}");
    assert_eq!(fs::read_dir(hosts.path("web2/state/reading")).unwrap().count(), 0, "what was brought is gone");
}

#[test]
fn a_node_without_certificate_is_told_so_and_nobody_believes_it_until_it_has_one() {
    let hosts = Hosts::new(4);
    hosts.init();
    let (_, _keeper) = hosts.pull_backup();
    // The one that works was not certified: its state is another's.
    fs::remove_file(hosts.path("web1/state/node.certificate")).unwrap();
    fs::remove_file(hosts.path("web1/state/node.key")).unwrap();
    hosts.join("web1", "exporter", "--active");
    let _exporter = hosts.serve("web1", "exporter");
    let told = hosts.change("one\n");
    assert!(told.err.contains("is not certified by the cluster key") && told.err.contains("exporter certify ed25519:"), "{}", told.err);
    hosts.arrived(&hosts.repository("web1"), &hosts.archive());
    hosts.copy_node("web2", 3);
    hosts.join("web2", "importer", "--standby");
    let mut importer = hosts.serve("web2", "importer");
    importer.says(LIMIT, "was not certified by the cluster key");
    assert_eq!(snapshots(&hosts.repository("web2")), Vec::<String>::new());
    let refused = hosts.run("web2", "importer", &["ls", "latest", "--from", "archive"]).ended(3);
    assert!(refused.err.contains("was not certified"), "{}", refused.err);
    // A certificate that somebody else made is no help.
    let key = told.err.split_whitespace().find(|word| word.starts_with("ed25519:")).unwrap();
    let certified = hosts.run("web1", "exporter", &["certify", key, "--node", "web1"]).ended(0);
    let forged = {
        let key = archive::sign::PublicKey::parse(key).unwrap();
        let body = archive::record::Certificate { cluster: "shop".into(), node: "web1".into(), key, issued_ms: 1 };
        archive::record::Signed::sign(body, &archive::sign::Signer::from_seed(&[1; 32])).line()
    };
    let refused = hosts.run("web1", "exporter", &["certificate", &forged]).ended(3);
    assert!(refused.err.contains("and the cluster key is"), "{}", refused.err);
    hosts.run("web1", "exporter", &["certificate", certified.text().trim()]).ended(0);
    // It travels through the pull-backup, with what was exported before.
    hosts.arrived(&hosts.repository("web1"), &hosts.repository("web2"));
    assert!(!hosts.change("two\n").err.contains("warning"));
    hosts.arrived(&hosts.repository("web1"), &hosts.repository("web2"));
}

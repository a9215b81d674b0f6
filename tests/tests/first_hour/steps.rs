//! What a newcomer types, and what is said.

use crate::hosts::{Hosts, id, snapshots};
use std::fs;

#[test]
fn from_init_to_a_restore_by_date_each_command_says_the_next() {
    let hosts = Hosts::new(1);
    let init = hosts.init();
    for words in ["store this elsewhere", "nothing can be restored", "certified as web1", "next: exporter run", "age1", "ed25519:"] {
        assert!(init.text().contains(words), "{words}: {}", init.text());
    }
    for secret in ["identity.age", "cluster-key.age"] {
        assert!(fs::read(hosts.path("web1").join(secret)).unwrap().starts_with(b"age-encryption.org/"), "{secret}");
    }
    assert!(!init.text().contains("AGE-SECRET") && !init.err.contains("horse"), "no secret is told");
    let first = hosts.run("web1", "exporter", &["run"]).ended(0);
    assert!(first.text().contains("next, on the host that is to keep the history: pull-backup init"), "{}", first.text());
    assert!(!first.err.contains("warning"), "{}", first.err);
    let (set_up, _keeper) = hosts.pull_backup();
    assert!(set_up.text().contains("pull-backup invite"), "{}", set_up.text());
    let joined = hosts.join("web1", "exporter", "--active");
    assert!(joined.text().contains("next, here: exporter serve") && !joined.text().contains("certify"), "{}", joined.text());
    let _exporter = hosts.serve("web1", "exporter");
    hosts.change("two\n");
    let newest = hosts.arrived(&hosts.repository("web1"), &hosts.archive());
    let identity = hosts.path("web1/identity.age");
    let to = hosts.path("restored");
    let line = ["restore", "files", "--at", "latest", "--to", to.to_str().unwrap(), "--identity", identity.to_str().unwrap()];
    let restored = hosts.run("backup", "pull-backup", &line).ended(0);
    assert!(restored.err.contains("signer pinned") && restored.err.contains("received"), "{}", restored.err);
    assert_eq!(fs::read_to_string(to.join("files/file")).unwrap(), "two\n");
    let listed = hosts.run("backup", "pull-backup", &["snapshots", "shop/files"]).ended(0);
    assert!(listed.text().contains(&id(&newest)[..8]) && listed.text().contains("this host"), "{}", listed.text());
    assert_eq!(snapshots(&hosts.archive()).len(), 2);
}

#[test]
fn a_second_init_harms_nothing_and_an_interrupted_one_goes_on() {
    let hosts = Hosts::new(2);
    hosts.init();
    let all = ["node.toml", "identity.age", "cluster-key.age", "state/node.key", "state/node.certificate"];
    let before: Vec<_> = all.iter().map(|name| fs::read(hosts.path("web1").join(name)).unwrap()).collect();
    let again = hosts.run("web1", "exporter", &["init"]).ended(0);
    assert!(again.text().contains("is there: it stays") && again.text().contains("it is certified"), "{}", again.text());
    let after: Vec<_> = all.iter().map(|name| fs::read(hosts.path("web1").join(name)).unwrap()).collect();
    assert_eq!(before, after);
    // Killed before the node file was written.
    fs::remove_file(hosts.path("web1/node.toml")).unwrap();
    hosts.init();
    let text = fs::read(hosts.path("web1/node.toml")).unwrap();
    assert_eq!(fs::read(hosts.path("web1/identity.age")).unwrap(), before[1]);
    let line = |bytes: &[u8], key: &str| String::from_utf8_lossy(bytes).lines().find(|line| line.starts_with(key)).map(str::to_owned);
    for key in ["recipients", "cluster_key"] {
        assert_eq!(line(&text, key), line(&before[0], key), "the same keys");
    }
    // With the wrong passphrase nothing is made.
    fs::remove_file(hosts.path("web1/node.toml")).unwrap();
    fs::write(hosts.path("passphrase"), "wrong\n").unwrap();
    let refused = hosts.run("web1", "exporter", &["init", "--name", "web1"]);
    assert!(refused.status != 0 && refused.err.contains("the passphrase does not open it"), "{}", refused.err);
    assert!(!hosts.path("web1/node.toml").exists());
}

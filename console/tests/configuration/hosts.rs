//! What concerns the way between hosts: who dials, how much a node may fill, how fast it is pulled, whose certificates count.

use crate::{FILES, minimal, mistakes, node, pull_backup, pull_backup_mistakes};
use std::time::Duration;

const STORE: &str = "store = { path = \"/srv/archive\" }\n";

#[test]
fn a_host_behind_nat_says_so_and_listens_only_to_itself() {
    let out = node(&minimal(FILES).replace("name = \"web1\"\n", "name = \"web1\"\ndial = \"out\"\n"));
    assert!(out.node.dials_out && out.node.listens().is_loopback());
    let usual = node(&minimal(FILES));
    assert!(!usual.node.dials_out && usual.node.listens().is_unspecified());
    let wrong = mistakes(&minimal(FILES).replace("name = \"web1\"\n", "name = \"web1\"\ndial = \"in\"\n"));
    assert_eq!(wrong, "node.toml: line 4: node.dial: must be \"out\", not \"in\"");
}

#[test]
fn the_nearest_quota_counts() {
    let key = "0a".repeat(32);
    let file = pull_backup(&format!(
        "{STORE}quota = \"1TB\"\nrate = \"10MB\"\n[cluster.shop]\ncluster_key = \"ed25519:{key}\"\nquota = \"50GB\"\nquotas = {{ web1 = \"1GiB\" }}\n[cluster.bank]\n"
    ));
    assert_eq!(file.rate, Some(10_000_000));
    let quota = |cluster, node| file.quota_of(cluster, node);
    assert_eq!((quota("shop", "web1"), quota("shop", "web2")), (Some(1 << 30), Some(50_000_000_000)));
    assert_eq!((quota("bank", "web1"), quota("other", "web1")), (Some(1_000_000_000_000), Some(1_000_000_000_000)));
    assert_eq!(file.clusters["shop"].cluster_key, Some([10; 32]));
    assert_eq!(pull_backup(STORE).quota_of("shop", "web1"), None);
}

#[test]
fn a_rate_too_slow_for_a_segment_and_sizes_without_unit_are_mistakes() {
    insta::assert_snapshot!(
        pull_backup_mistakes(&format!("{STORE}quota = 5\nrate = \"10KiB\"\n[cluster.shop]\nquotas = {{ web1 = \"1G\", web2 = 7 }}\n")),
        @r#"
    pull-backup.toml has 4 mistakes:
      line 2: quota: expected text in quotes, found a whole number
      line 3: rate: must be "128KiB" (a second) at least, and is 10240 bytes
      line 5: cluster.shop.quotas.web1: `1G` is no size; write it as "512KiB", "64MiB", "1GiB" or "500MB"
      line 5: cluster.shop.quotas.web2: expected a size, as "1GiB", found a whole number
    "#
    );
}

#[test]
fn allowed_clients_stand_in_either_file() {
    let list = "allow = [\"10.0.0.0/8\", \"192.0.2.1-192.0.2.9\"]\n";
    let node_with = |line: &str| minimal(FILES).replace("name = \"web1\"\n", &format!("name = \"web1\"\n{line}"));
    let (file, archive) = (node(&node_with(list)), pull_backup(&format!("{list}store.path = \"/a\"\n")));
    for allow in [&file.node.allow, &archive.allow] {
        assert!(allow.contains("192.0.2.9".parse().unwrap()) && !allow.contains("192.0.2.10".parse().unwrap()));
    }
    let (file, archive) = (node(&minimal(FILES)), pull_backup("store.path = \"/a\"\n"));
    assert!(file.node.allow.is_everyone() && archive.allow.is_everyone(), "nobody is kept out unasked");
    insta::assert_snapshot!(mistakes(&node_with("allow = [\"10.0.0.1/8\", \"10.0.0.1\", \"web2\"]\nallwo = []\n")), @r#"
        node.toml has 3 mistakes:
          line 4: node.allow: number 1: `10.0.0.1/8` has bits behind its prefix; did you mean `10.0.0.0/8`, or `10.0.0.1` alone?
          line 4: node.allow: number 3: `web2` is a name; only addresses count here, and `localhost`
          line 5: node.allwo: unknown key; did you mean `allow`?
        "#);
    insta::assert_snapshot!(mistakes(&node_with("allow = \"10.0.0.0/8\"\n")), @r#"node.toml: line 4: node.allow: expected a list of texts, as ["..."], found text"#);
    insta::assert_snapshot!(pull_backup_mistakes("allow = []\nstore.path = \"/a\"\n"), @r#"pull-backup.toml: line 1: allow: allows nobody; leave the key out to allow every client"#);
    insta::assert_snapshot!(pull_backup_mistakes("store.path = \"/a\"\nallow = [\"192.0.2.9-192.0.2.1\"]\n"), @r#"pull-backup.toml: line 2: allow: number 1: `192.0.2.9-192.0.2.1` ends before it begins; did you mean `192.0.2.1-192.0.2.9`?"#);
    insta::assert_snapshot!(pull_backup_mistakes("store.path = \"/a\"\n[retain]\nallow = [\"192.0.2.1\"]\n"), @r#"pull-backup.toml: line 3: retain.allow: unknown key; known here: daily, hourly, last, monthly, weekly, within, yearly"#);
}

#[test]
fn the_role_comes_home_by_itself_where_that_is_asked_for() {
    let with = |takeover: &str| minimal(&format!("{FILES}[takeover]\n{takeover}"));
    let after = |takeover: &str| node(&with(takeover)).takeover.unwrap().failback;
    assert_eq!(after(""), None);
    assert_eq!(after("failback = \"switchover\"\n"), None);
    assert_eq!(after("failback = \"automatic\"\n"), Some(Duration::from_secs(60)));
    assert_eq!(after("failback = \"automatic\"\nfailback_after = \"10m\"\n"), Some(Duration::from_secs(600)));
    assert!(
        node(&minimal(FILES).replace("name = \"shop\"\n", "name = \"shop\"\nwhen = \"newest-wins\"\n"))
            .takeover
            .is_none()
    );
    insta::assert_snapshot!(
        mistakes(&with("failback_after = \"10m\"\nmax_loss = \"10m\"\ntwo_hosts = \"fence\"\n").replace("name = \"shop\"\n", "name = \"shop\"\nwhen = \"latest\"\n")),
        @r#"
    node.toml has 4 mistakes:
      line 8: dataset.when: `latest` is not known; "newest-wins" is how it is for every dataset, by epoch and sequence and never by clocks
      line 11: takeover.failback_after: is for failback = "automatic"
      line 12: takeover.max_loss: the arbiter decides how old the data of a node may be that takes over: `max_age` in [cluster.NAME] of pull-backup.toml
      line 13: takeover.two_hosts: the arbiter decides what a cluster of two may do: `two_hosts` in [cluster.NAME] of pull-backup.toml
    "#
    );
}

//! The two configuration files: what they mean, and what each mistake is told as.

mod addresses;
mod domains;
mod hosts;
mod sources;

use std::path::Path;
use std::time::Duration;

use console::node_file::{NodeFile, Schedule, Settings};
use console::pull_backup_file::{Profile, PullBackupFile, Retain};

const RECIPIENT: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";

/// The design's own example, its places filled.
fn example() -> String {
    let key = "0123456789abcdef".repeat(4);
    format!(
        r#"cluster = "shop"

[node]
name  = "web1"
state = "/var/lib/resilient"
identity = "/etc/resilient/identity.age"
source.shop.uploads.paths = ["/data/uploads"]

[[pull-backup]]
url = "https://backup.example.org:8025"

[seal]
recipients = ["{RECIPIENT}"]
cluster_key = "ed25519:{key}"

[[dataset]]
name  = "shop"
every = "60m"

  [[dataset.source]]
  recipe = "postgres"
  database = "shop"

  [[dataset.source]]
  name = "uploads"
  recipe = "files"
  paths = ["/srv/shop/uploads"]
  exclude = ["*.tmp"]

[takeover]
automatic = true
services = ["shop.service"]

  [[takeover.vip]]
  address = "192.0.2.10/32"
  interface = "eth0"
"#
    )
}

fn minimal(dataset: &str) -> String {
    format!("cluster = \"shop\"\n[node]\nname = \"web1\"\n[seal]\nrecipients = [\"{RECIPIENT}\"]\n[[dataset]]\nname = \"shop\"\n{dataset}")
}

const FILES: &str = "source = [{ recipe = \"files\", paths = [\"/srv/shop\"] }]\n";

fn node(text: &str) -> NodeFile {
    NodeFile::parse(text, Path::new("node.toml")).unwrap_or_else(|error| panic!("{error}"))
}

fn mistakes(text: &str) -> String {
    NodeFile::parse(text, Path::new("node.toml")).unwrap_err().to_string()
}

fn pull_backup(text: &str) -> PullBackupFile {
    PullBackupFile::parse(text, Path::new("pull-backup.toml")).unwrap_or_else(|error| panic!("{error}"))
}

fn pull_backup_mistakes(text: &str) -> String {
    PullBackupFile::parse(text, Path::new("pull-backup.toml")).unwrap_err().to_string()
}

#[test]
fn the_example_means_what_it_says() {
    let file = node(&example());
    assert_eq!((file.cluster.as_str(), file.node.name.as_str()), ("shop", "web1"));
    assert_eq!(file.node.identity.as_deref(), Some(Path::new("/etc/resilient/identity.age")));
    assert!(file.pull_backups[0].arbiter, "the only one is the arbiter");
    assert_eq!(file.seal.cluster_key.unwrap()[..3], [0x01, 0x23, 0x45]);
    let dataset = file.dataset("shop").unwrap();
    assert_eq!(dataset.schedule, Schedule::Every(Duration::from_secs(3_600)));
    assert_eq!((dataset.seal, dataset.level, dataset.cache), (true, 2, 1 << 30));
    assert_eq!(dataset.sources[0].name, "postgres", "the recipe's name, because it is the only one");
    let Settings::Postgres(postgres) = &dataset.sources[0].settings else { panic!("it is of that recipe") };
    assert_eq!((postgres.host.as_str(), &postgres.databases.names[..]), ("/var/run/postgresql", &["shop".to_owned()][..]));
    let Settings::Files(files) = &dataset.sources[1].settings else { panic!("uploads are files") };
    assert_eq!(files.paths, [Path::new("/data/uploads")], "where this host keeps it");
    assert_eq!(files.exclude, ["*.tmp"]);
    let takeover = file.takeover.unwrap();
    assert!(takeover.automatic && takeover.vips[0].prefix == 32);
}

#[test]
fn ten_lines_are_enough() {
    let text = minimal(FILES);
    assert!(text.lines().count() <= 10);
    let file = node(&text);
    assert_eq!(file.node.state, Path::new("/var/lib/resilient"));
    assert_eq!(file.datasets[0].schedule, Schedule::Every(Duration::from_secs(3_600)));
    assert!(file.takeover.is_none() && file.pull_backups.is_empty());
}

#[test]
fn keys_of_a_dataset() {
    let dataset = &node(&minimal(&format!("at = \"0  3 * * *\"\nseal = false\nlevel = -1\ncache = \"64MiB\"\n{FILES}"))).datasets[0];
    assert_eq!(dataset.schedule, Schedule::At("0 3 * * *".into()));
    assert_eq!((dataset.seal, dataset.level, dataset.cache), (false, -1, 64 << 20));
}

#[test]
fn without_recipients_only_in_the_clear() {
    let text = format!("cluster = \"shop\"\nnode.name = \"web1\"\n[[dataset]]\nname = \"shop\"\n{FILES}");
    insta::assert_snapshot!(mistakes(&text), @r#"node.toml: line 1: seal: needs `recipients = ["age1..."]`: without one nothing can be restored; or say `off = true` to store in the clear"#);
    assert!(!node(&text.replace("[[dataset]]", "[seal]\noff = true\n[[dataset]]")).datasets[0].seal);
    assert!(!node(&text.replace("source =", "seal = false\nsource =")).datasets[0].seal);
}

#[test]
fn many_mistakes_are_told_at_once() {
    let text = example()
        .replace("name  = \"web1\"", "nmae = \"web1\"")
        .replace("\"60m\"", "60")
        .replace("exclude =", "exlude =")
        .replace("automatic = true", "automatic = \"yes\"")
        .replace("https:", "http:");
    insta::assert_snapshot!(mistakes(&text), @r#"
    node.toml has 6 mistakes:
      line 3: node.name: is missing; write it as name = "web1"
      line 4: node.nmae: unknown key; did you mean `name`?
      line 10: pull-backup.url: must begin with https://
      line 18: dataset.every: expected text in quotes, found a whole number
      line 28: dataset.source.exlude: unknown key; did you mean `exclude`?
      line 31: takeover.automatic: expected true or false, found text
    "#);
}

#[test]
fn wrong_values() {
    insta::assert_snapshot!(mistakes(&minimal("every = \"60\"\nlevel = 40\ncache = \"1G\"\nsource = []\n")), @r#"
    node.toml has 4 mistakes:
      line 8: dataset.every: `60` is no duration; write it as "5s", "60m", "24h", "30d" or "2w"
      line 9: dataset.level: must be from -7 to 19, not 40
      line 10: dataset.cache: `1G` is no size; write it as "512KiB", "64MiB", "1GiB" or "500MB"
      line 11: dataset.source: must have one source at least
    "#);
    insta::assert_snapshot!(mistakes(&minimal(&format!("every = \"5s\"\nat = \"0 3 * *\"\nseal = 1\n{FILES}"))), @r#"
    node.toml has 3 mistakes:
      line 9: dataset.at: `0 3 * *` has 4 fields; a cron expression has five: minute hour day month weekday
      line 9: dataset.at: stands beside `every`; only one of them can hold
      line 10: dataset.seal: expected true or false, found a whole number
    "#);
    insta::assert_snapshot!(mistakes(&minimal("source = [{ recipe = \"files\", paths = [\"srv\", \"/a/../b\"] }]")), @r#"
    node.toml has 2 mistakes:
      line 8: dataset.source.paths: `srv` must be an absolute path, beginning with /
      line 8: dataset.source.paths: `/a/../b` must not contain `..`
    "#);
    insta::assert_snapshot!(mistakes(&minimal("source = [{ recipe = \"files\", paths = [\"/a\", \"/a\"], exclude = [1] }]")), @r#"
    node.toml has 2 mistakes:
      line 8: dataset.source.paths: `/a` stands in it twice
      line 8: dataset.source.exclude: expected a list of texts, found something else in the list
    "#);
    insta::assert_snapshot!(mistakes(&minimal("source = \"files\"\n")), @"node.toml: line 8: dataset.source: expected a list of tables, as [[dataset.source]], found text");
    insta::assert_snapshot!(mistakes(&minimal("at = \"a b c d ä\"\n")), @r#"
    node.toml has 2 mistakes:
      line 6: dataset.source: is missing; write it as [[dataset.source]]
      line 8: dataset.at: `a` is no minute: 0 to 59, `*`, lists (1,15), ranges (1-5) or steps (*/15)
    "#);
    insta::assert_snapshot!(mistakes(&minimal("level = 99999999999999999999\nsource = [{}]\n")), @r#"
    node.toml has 2 mistakes:
      line 8: dataset.level: expected a whole number, found a number that is too large
      line 9: dataset.source.recipe: is missing; write it as recipe = "files"
    "#);
}

#[test]
fn schedules_that_cannot_be_meant() {
    let told = |line: &str| mistakes(&minimal(&format!("{line}\n{FILES}")));
    let lines = [
        "every = \"1s\"",
        "every = \"2d\"",
        "at = \"61 * * * *\"",
        "at = \"0 25 * * *\"",
        "at = \"0 3 0 * *\"",
        "at = \"0 3 * FOO *\"",
        "at = \"0 3 * * 8\"",
        "at = \"*/0 * * * *\"",
        "at = \"0 0 30 2 *\"",
        "at = \"@daily\"",
        "jitter = \"0s\"",
        "jitter = \"none\"",
    ];
    insta::assert_snapshot!(lines.map(told).join("\n"), @r#"
    node.toml: line 8: dataset.every: must be from "5s" to "24h"; a longer rhythm is a cron expression, as at = "0 3 * * 1"
    node.toml: line 8: dataset.every: must be from "5s" to "24h"; a longer rhythm is a cron expression, as at = "0 3 * * 1"
    node.toml: line 8: dataset.at: `61` is no minute: 0 to 59, `*`, lists (1,15), ranges (1-5) or steps (*/15)
    node.toml: line 8: dataset.at: `25` is no hour: 0 to 23, `*`, lists (1,15), ranges (1-5) or steps (*/15)
    node.toml: line 8: dataset.at: `0` is no day of the month: 1 to 31, `*`, lists (1,15), ranges (1-5) or steps (*/15)
    node.toml: line 8: dataset.at: `FOO` is no month: 1 to 12, or JAN to DEC, `*`, lists (1,15), ranges (1-5) or steps (*/15)
    node.toml: line 8: dataset.at: `8` is no weekday: 0 to 7, or SUN to SAT, `*`, lists (1,15), ranges (1-5) or steps (*/15)
    node.toml: line 8: dataset.at: `*/0` is no minute: 0 to 59, `*`, lists (1,15), ranges (1-5) or steps (*/15)
    node.toml: line 8: dataset.at: `0 0 30 2 *` is never due: no month of these has such a day
    node.toml: line 8: dataset.at: `@daily` has 1 fields; a cron expression has five: minute hour day month weekday
    node.toml: line 8: dataset.jitter: must be longer than nothing, or "off"
    node.toml: line 8: dataset.jitter: `none` is no duration; write it as "5s", "60m", "24h", "30d" or "2w", or "off"
    "#);
}

#[test]
fn alerts_and_pings() {
    let text = format!(
        "jitter = \"2m\"\nping = \"https://hc.example.org/uuid\"\n{FILES}[alert]\ncommand = [\"/usr/local/bin/tell\", \"-x\"]\nmail = \"ops@example.org\"\n\
         url = \"http://127.0.0.1:9/hook?x=1\"\nremind = \"24h\"\nconfirm = \"5m\"\n"
    );
    let file = node(&minimal(&text));
    assert_eq!(file.datasets[0].jitter, Some(Duration::from_secs(120)));
    assert_eq!(file.datasets[0].ping.as_deref(), Some("https://hc.example.org/uuid"));
    let alert = file.alert;
    assert_eq!(alert.command, ["/usr/local/bin/tell", "-x"]);
    assert_eq!((alert.mail.as_deref(), alert.url.as_deref()), (Some("ops@example.org"), Some("http://127.0.0.1:9/hook?x=1")));
    assert_eq!((alert.remind, alert.confirm), (Some(Duration::from_secs(86_400)), Duration::from_secs(300)));
    let file = node(&minimal(&format!("jitter = \"off\"\n{FILES}")));
    assert_eq!((file.datasets[0].jitter, file.datasets[0].ping.as_ref()), (Some(Duration::ZERO), None));
    assert_eq!((file.alert.confirm, file.alert.remind), (Duration::from_secs(60), None));
    let archive = pull_backup("store.path = \"/a\"\n[alert]\nmail = \"root\"\n");
    assert_eq!(archive.alert.mail.as_deref(), Some("root"));
}

#[test]
fn alerts_that_would_reach_nobody() {
    let told = |lines: &str| mistakes(&minimal(&format!("{FILES}[alert]\n{lines}\n")));
    let alerts = [
        "",
        "confirm = \"60m\"",
        "command = []",
        "command = \"tell ops\"",
        "command = [\"tell\"]",
        "mail = \"ops@example.org, boss@example.org\"",
        "mail = \"ops@example.org\\nBcc: all@example.org\"",
        "url = \"hooks.example.org/secret\"",
        "url = \"http://hooks.example.org/secret\"",
        "url = \"https://user:secret@hooks.example.org/\"",
        "url = \"https:///secret\"",
        "mial = \"ops@example.org\"",
        "mail = \"root\"\nremind = \"5s\"\nconfirm = \"2d\"",
    ];
    let all = alerts.map(told).join("\n");
    assert!(!all.contains("secret@") && !all.contains("/secret"), "{all}");
    insta::assert_snapshot!(all, @r#"
    node.toml: line 9: alert: says nobody to tell; give it one of command, mail, url
    node.toml: line 9: alert: says nobody to tell; give it one of command, mail, url
    node.toml: line 10: alert.command: is empty; write it as ["/usr/local/bin/tell", "--urgent"]
    node.toml: line 10: alert.command: expected a list of texts, as ["..."], found text
    node.toml: line 10: alert.command: `tell` must be the whole path of a program, beginning with /; no shell looks for it
    node.toml: line 10: alert.mail: `ops@example.org, boss@example.org` is no mail address, as "ops@example.org"; one only, without a name
    node.toml: line 10: alert.mail: `ops@example.org\nBcc: all@example.org` is no mail address, as "ops@example.org"; one only, without a name
    node.toml: line 10: alert.url: must be one URL that begins with https://, as "https://hooks.example.org/resilient"
    node.toml: line 10: alert.url: must begin with https://; http:// is for this host itself only
    node.toml: line 10: alert.url: holds a name or a password before `@`; put the secret into its path instead
    node.toml: line 10: alert.url: names no host
    node.toml has 2 mistakes:
      line 9: alert: says nobody to tell; give it one of command, mail, url
      line 10: alert.mial: unknown key; did you mean `mail`?
    node.toml has 2 mistakes:
      line 11: alert.remind: is shorter than a minute, which is no reminder but a flood
      line 12: alert.confirm: is longer than a day; nobody would be told in time
    "#);
    insta::assert_snapshot!(mistakes(&minimal(&format!("ping = \"ftp://hc.example.org\"\n{FILES}"))), @r#"node.toml: line 8: dataset.ping: must be one URL that begins with https://, as "https://hooks.example.org/resilient""#);
    insta::assert_snapshot!(pull_backup_mistakes("store.path = \"/a\"\n[alert]\nmial = \"root\"\n[aletr]\n"), @r#"
    pull-backup.toml has 3 mistakes:
      line 2: alert: says nobody to tell; give it one of command, mail, url
      line 3: alert.mial: unknown key; did you mean `mail`?
      line 4: aletr: unknown key; did you mean `alert`?
    "#);
}

#[test]
fn a_secret_in_the_wrong_place_is_not_repeated() {
    let text = mistakes(&minimal(FILES).replace(RECIPIENT, "AGE-SECRET-KEY-1QQQ"));
    insta::assert_snapshot!(text, @"node.toml: line 5: seal.recipients: number 1: is a secret identity; only its public half, `age1...`, belongs here. Whoever read this file can open every snapshot sealed to it");
    assert!(!text.contains("1QQQ"));
    insta::assert_snapshot!(mistakes(&example().replace(RECIPIENT, "age1short").replace("ed25519:", "ed25519:zz")), @r#"
    node.toml has 2 mistakes:
      line 13: seal.recipients: number 1: is no recipient of age, as `age1...`
      line 14: seal.cluster_key: must be `ed25519:` and 64 hexadecimal digits
    "#);
}

#[test]
fn several_pull_backups_have_one_arbiter() {
    let second = "[[pull-backup]]\nurl = \"https://other.example.org:8025/\"\n";
    insta::assert_snapshot!(mistakes(&example().replace("[seal]", &format!("{second}[seal]"))), @"node.toml: line 9: pull-backup: of several, one must say `arbiter = true`");
    let file = node(&example().replace("[seal]", &format!("{second}arbiter = true\n[seal]")));
    assert_eq!(file.pull_backups.iter().map(|one| one.arbiter).collect::<Vec<_>>(), [false, true]);
    assert_eq!(file.pull_backups[1].url, "https://other.example.org:8025");
}

#[test]
fn what_is_no_toml_names_its_line() {
    insta::assert_snapshot!(mistakes("cluster = \"shop\n[node]\nname = \"web1\"\n"), @r#"node.toml: line 1: invalid basic string, expected `"`"#);
    insta::assert_snapshot!(mistakes(""), @r#"
    node.toml has 3 mistakes:
      line 1: cluster: is missing; write it as cluster = "shop"
      line 1: node: is missing; write it as [node]
      line 1: dataset: is missing; write it as [[dataset]]
    "#);
    insta::assert_snapshot!(mistakes(&minimal(&format!("name = \"again\"\n{FILES}"))), @"node.toml: line 8: duplicate key: `name`");
}

#[test]
fn a_pull_backup_by_itself() {
    let file = pull_backup("store = { path = \"/srv/archive\" }\n");
    assert_eq!(file.listen.to_string(), "0.0.0.0:8025");
    assert_eq!(file.retain, Retain { last: 3, hourly: 48, daily: 14, weekly: 8, monthly: 12, yearly: 0, within: None });
    assert_eq!(file.store, Path::new("/srv/archive"));
}

#[test]
fn rules_of_a_dataset_stand_on_the_common_ones() {
    let file = pull_backup(
        "listen = \"[::1]:9\"\nstate = \"/s\"\nstore.path = \"/a\"\n[retain]\nlast = 5\nyearly = 2\n[retain.shop]\nhourly = 0\nwithin = \"30d\"\n\
         [cluster.shop]\nautomatic = true\nprofile = \"fast\"\ndelay = \"60m\"\npriority = { web1 = 10, web2 = 5 }\ncluster_key = \"ed25519:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"\n",
    );
    assert_eq!((file.retain.last, file.retain.hourly, file.retain.yearly), (5, 48, 2));
    let shop = file.retain_for("shop");
    assert_eq!((shop.last, shop.hourly, shop.yearly, shop.within), (5, 0, 2, Some(Duration::from_secs(30 * 86_400))));
    assert_eq!(file.retain_for("other"), &file.retain);
    let cluster = &file.clusters["shop"];
    assert_eq!(cluster.cluster_key.unwrap()[..2], [0x01, 0x23]);
    assert_eq!((cluster.automatic, cluster.profile, cluster.priority["web1"]), (true, Profile::Fast, 10));
}

#[test]
fn who_may_take_over_stands_in_the_cluster() {
    let file = pull_backup(
        "store.path = \"/a\"\n[cluster.shop]\nexclude = [\"web3\"]\nstonith = [\"/sbin/off\", \"--now\"]\nmax_age = \"2h\"\nmax_lag = \"10m\"\nbeside = \"web2\"\ntwo_hosts = \"fence\"\n[cluster.bank]\n",
    );
    let (shop, bank) = (&file.clusters["shop"], &file.clusters["bank"]);
    assert_eq!((shop.exclude.as_slice(), shop.stonith.len(), shop.two_hosts_fence), (["web3".to_owned()].as_slice(), 2, true));
    assert_eq!((shop.max_age, shop.max_lag), (Some(Duration::from_secs(7200)), Some(Duration::from_secs(600))));
    assert_eq!((shop.beside.as_deref(), bank.beside.as_deref(), bank.two_hosts_fence), (Some("web2"), None, false));
    let text = "store.path = \"/a\"\n[cluster.shop]\nexclude = [\"a b\"]\nstonith = [\"off\"]\nmax_lag = 5\ntwo_hosts = \"fight\"\n[cluster.bank]\ntwo_hosts = \"fence\"\n";
    insta::assert_snapshot!(pull_backup_mistakes(text), @r#"
    pull-backup.toml has 5 mistakes:
      line 3: cluster.shop.exclude: `a b` is no name; up to 64 letters, digits, `-`, `_` and `.`, beginning with a letter or digit
      line 4: cluster.shop.stonith: `off` must be an absolute path, beginning with /
      line 5: cluster.shop.max_lag: expected text in quotes, found a whole number
      line 6: cluster.shop.two_hosts: must be "refuse" or "fence", not "fight"
      line 8: cluster.bank.two_hosts: is about the node on this host; name it: beside = "web2"
    "#);
}

#[test]
fn mistakes_of_a_pull_backup() {
    let text = "listen = \"8025\"\nstore = { path = \"/a\", bucket = \"b\" }\n[retain]\nhuorly = 3\nlast = -1\n[retain.shop]\nlsat = 3\n\
                [cluster.shop]\nprofile = \"quick\"\npriority = { web1 = \"high\" }\n[clutser.x]\n";
    insta::assert_snapshot!(pull_backup_mistakes(text), @r#"
    pull-backup.toml has 8 mistakes:
      line 1: listen: `8025` is no address and port, as "0.0.0.0:8025"
      line 2: store.bucket: unknown key; known here: path
      line 4: retain.huorly: unknown key; did you mean `hourly`?
      line 5: retain.last: must be from 0 to 1000000, not -1
      line 7: retain.shop.lsat: unknown key; did you mean `last`?
      line 9: cluster.shop.profile: must be "default" or "fast", not "quick"
      line 10: cluster.shop.priority.web1: expected a whole number, found text
      line 11: clutser: unknown key; did you mean `cluster`?
    "#);
    let nothing = "store.path = \"/a\"\n[retain]\nlast = 0\nhourly = 0\ndaily = 0\nweekly = 0\nmonthly = 0\n";
    insta::assert_snapshot!(pull_backup_mistakes(nothing), @"pull-backup.toml: line 2: retain: these rules keep nothing; let one of them be above 0");
    insta::assert_snapshot!(pull_backup_mistakes("state = \"/s\"\n"), @r#"pull-backup.toml: line 1: store: is missing; write it as store = { path = "/srv/archive" }"#);
}

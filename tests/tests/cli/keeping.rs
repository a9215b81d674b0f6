//! `retain` and `reseal`.

use crate::stand::{DAY_MS, Stand, hide_ids, now_ms};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use tests::program::{Ran, finish, program};

/// One snapshot a day for so many days, the last one of today, and three more within the last hour.
fn history(days: u64) -> Stand {
    let mut stand = Stand::empty(true);
    let mut tree = tests::plain::PlainTree::new("s");
    let now = now_ms();
    let times = (1..=days).rev().map(|day| now - day * DAY_MS).chain((1..=3).rev().map(|back| now - back * 600_000));
    for (number, time) in times.enumerate() {
        tree.file("s/a", format!("{number}"));
        stand.export(&tree, time);
    }
    stand
}

fn left(stand: &Stand) -> Vec<String> {
    let known = stand.trial.repository.snapshots().unwrap();
    known.iter().map(|known| known.id.to_string()).collect()
}

#[test]
fn retain_says_why_each_stays_and_a_dry_run_drops_none() {
    let stand = history(4);
    let dry = stand.run(&["retain", "--keep-last", "2", "--dry-run"]).ended(0);
    assert_eq!(left(&stand).len(), 7);
    insta::assert_snapshot!(stand.redact(&format!("{}--\n{}", dry.text(), dry.err)));
    let json = stand.run(&["retain", "--keep-last", "2", "--dry-run", "--json"]).ended(0);
    insta::assert_snapshot!("retain_json", stand.redact(&format!("{:#}", json.json())));
    assert_eq!(json.err, "");
    let done = stand.run(&["retain", "--keep-last", "2"]).ended(0);
    assert!(done.text().contains("2 kept, 5 dropped") && done.text().contains("swept: "), "{}", done.text());
    assert_eq!(left(&stand), [stand.ids[5].to_string(), stand.ids[6].to_string()]);
    // What is left restores.
    let target = stand.target("to");
    stand.run(&["restore", "--at", "latest", "--to", target.to_str().unwrap()]).ended(0);
    stand.trees[6].assert_same(&tests::plain::PlainTree::read(&target), "after retaining");
}

#[test]
fn rules_come_from_the_line_the_file_or_are_the_default_ones() {
    let stand = history(4);
    let file = stand.target("pull-backup.toml");
    let kept = |ran: Ran| {
        let json = ran.ended(0).json();
        (json["kept"].as_u64().unwrap(), json["rules_from"].as_str().unwrap().to_owned(), json["rules"]["last"].as_u64().unwrap())
    };
    let with = |arguments: &[&str], variable: Option<&std::path::Path>| {
        let mut line = vec!["retain", "--dry-run", "--json"];
        line.extend(arguments);
        let mut command = program("pull-backup");
        command.args(stand.arguments(&line)).envs(variable.map(|path| ("RESILIENT_CONFIG", path)));
        finish(&mut command)
    };
    fs::write(&file, "store = { path = \"/srv/archive\" }\n[retain]\nlast = 1\nhourly = 0\ndaily = 0\nweekly = 0\nmonthly = 0\n[retain.other]\nlast = 5\n").unwrap();
    let name = file.to_str().unwrap();
    assert_eq!(kept(with(&["--config", name], None)), (1, name.into(), 1));
    assert_eq!(kept(with(&[], Some(&file))), (1, name.into(), 1));
    assert_eq!(kept(with(&["--within", "30m"], Some(&file))), (3, "the command line".into(), 0));
    let default = with(&[], None).ended(0).json();
    assert!(default["rules_from"] == "nowhere, so the default ones" && default["rules"]["hourly"] == 48, "{default}");
    fs::write(&file, "store = { path = \"/srv/archive\" }\n[retain.data]\nlast = 4\nhourly = 0\ndaily = 0\nweekly = 0\nmonthly = 0\n")
        .unwrap();
    assert_eq!(kept(with(&["--config", name], None)), (4, name.into(), 4));
}

#[test]
fn rules_that_cannot_be_meant_are_told() {
    let stand = history(1);
    let file = stand.target("pull-backup.toml");
    fs::write(&file, "store = { path = \"/srv/archive\" }\n[retain]\nlats = 1\nhourly = \"many\"\n").unwrap();
    let name = file.to_str().unwrap();
    let mut all = String::new();
    let missing = stand.target("missing.toml");
    for arguments in [
        &["--config", name][..],
        &["--config", missing.to_str().unwrap()],
        &["--keep-last", "0"],
        &["--keep-last", "-1"],
        &["--within", "5 fortnights"],
        &["--config", name, "--keep-last", "1"],
        &["--receiver", "abc"],
    ] {
        let mut line = vec!["retain"];
        line.extend(arguments);
        let ran = stand.run(&line).ended(2);
        assert!(ran.out.is_empty());
        all.push_str(&format!("== {}\n{}\n", stand.redact(&arguments.join(" ")), stand.redact(&ran.err)));
    }
    assert_eq!(left(&stand).len(), 4);
    insta::assert_snapshot!(all);
}

#[test]
fn retain_drops_nothing_while_that_would_lose_a_whole_snapshot_for_a_damaged_one() {
    let mut stand = history(2);
    let mut tree = stand.trees[4].clone();
    tree.file("s/large", tests::history::noise(1, 400_000));
    stand.export(&tree, now_ms() - 60_000);
    // The newest loses its run, which stands alone because it is large; its receipt is in its own file.
    let runs: Vec<_> = fs::read_dir(stand.place.join("runs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(runs.len(), 1);
    fs::remove_file(&runs[0]).unwrap();
    let ran = stand.run(&["retain", "--keep-last", "1"]).ended(3);
    assert!(ran.err.contains("nothing was dropped from") && ran.err.contains("hint:"), "{}", ran.err);
    assert_eq!(left(&stand).len(), 6);
    assert!(stand.run(&["retain", "--keep-last", "1", "--json"]).ended(3).json()["refused"].is_string());
}

#[test]
fn receipts_count_only_from_receivers_that_are_named() {
    let stand = history(3);
    let ours = stand.trial.options.signer.public().to_string();
    assert!(
        stand
            .run(&["retain", "--keep-last", "1", "--dry-run", "--receiver", &ours])
            .ended(0)
            .text()
            .contains("1 kept, 5 would be dropped")
    );
    let others = stand.run(&["retain", "--keep-last", "1", "--receiver", &crate::stand::stranger()]).ended(0);
    assert!(others.text().contains("no receipt: kept") && others.text().contains("6 kept, 0 dropped"), "{}", others.text());
}

#[test]
fn retain_needs_the_repository_alone_and_a_dry_run_does_not() {
    let stand = history(2);
    let _reader = archive::store::FolderLock::take(&stand.place, false).unwrap().unwrap();
    for line in [&["retain", "--keep-last", "3"][..], &["retain", "--keep-last", "3", "--no-sweep"]] {
        assert!(stand.run(line).ended(1).err.contains("in use by another process"));
        assert_eq!(left(&stand).len(), 5);
    }
    stand.run(&["retain", "--keep-last", "3", "--dry-run"]).ended(0);
    drop(_reader);
    let done = stand.run(&["retain", "--keep-last", "3", "--no-sweep", "--json"]).ended(0).json();
    assert!(done["sweep"].is_null() && done["dropped"] == 2, "{done}");
    assert!(stand.run(&["retain", "--keep-last", "3", "--json"]).ended(0).json()["sweep"]["refused"].is_null());
}

#[test]
fn nothing_is_swept_while_a_snapshot_cannot_be_read() {
    let stand = history(2);
    let path = stand.place.join(stand.trial.known(stand.ids[1]).name);
    let mut bytes = fs::read(&path).unwrap();
    bytes[100] ^= 1;
    fs::write(&path, bytes).unwrap();
    let ran = stand.run(&["retain", "--keep-last", "9"]).ended(3);
    assert!(ran.err.contains("was not swept: snapshots/") && ran.text().contains("damaged: kept"), "{} {}", ran.text(), ran.err);
}

/// A file with the seed of the trial's node.
fn signing_key(stand: &Stand) -> String {
    let path = stand.target("signing-key");
    fs::write(&path, format!("{}\n", "07".repeat(32))).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn reseal_lets_a_new_recipient_open_what_is_here() {
    let stand = Stand::new(true);
    let key = signing_key(&stand);
    let (private, public) = archive::identity::generate();
    let new = stand.target("new-identity");
    fs::write(&new, private).unwrap();
    let opens = || finish(program("pull-backup").args(stand.arguments(&["ls", "latest", "--identity", new.to_str().unwrap()])));
    opens().ended(1);
    let line = ["reseal", "--recipient", &public, "--node", "web1", "--signing-key", &key];
    let ran = stand.run(&line).ended(0);
    insta::assert_snapshot!(stand.redact(&format!("{}--\n{}", ran.text(), ran.err)));
    let json = stand.run(&[&line[..], &["--json"]].concat()).ended(0).json();
    assert_eq!((json["resealed"].as_array().unwrap().len(), json["unchanged"].as_array().unwrap().len()), (0, 1));
    opens().ended(0);
    stand.run(&["ls", "latest"]).ended(0);
}

#[test]
fn reseal_says_what_is_missing() {
    let stand = Stand::new(true);
    let key = signing_key(&stand);
    let public = archive::identity::generate().1;
    let file = |name: &str, content: &str, mode: u32| {
        let path = stand.target(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let mine = stand.trial.identity.to_str().unwrap();
    let other = file("other-identity", &archive::identity::generate().0, 0o600);
    let (garbage, open) = (file("garbage", "AGE-SECRET-KEY-1", 0o600), file("open-key", &"07".repeat(32), 0o644));
    let mut all = String::new();
    for (name, status, recipient, key, identity) in [
        ("no identity", 2, public.as_str(), key.as_str(), ""),
        ("no recipient", 2, "age1nonsense", &key, mine),
        ("no key", 2, &public, "/nonexistent", mine),
        ("something else as a key", 2, &public, &garbage, mine),
        ("a key for all to read", 2, &public, &open, mine),
        ("another's identity", 1, &public, &key, &other),
    ] {
        let line = ["reseal", "--recipient", recipient, "--node", "web1", "--signing-key", key, "--identity", identity];
        let ran = finish(program("pull-backup").args(stand.arguments(&line))).ended(status);
        assert!(!ran.err.contains(&"07".repeat(16)) && !ran.err.contains("AGE-SECRET"), "no secret is said");
        all.push_str(&format!("== {name}\n{}\n{}", stand.redact(&hide_ids(&ran.err)), ran.text()));
    }
    insta::assert_snapshot!(all);
}

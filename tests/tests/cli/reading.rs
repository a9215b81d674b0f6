//! `snapshots`, `ls`, `find`, `diff` and `restore` on a repository that is as it should be.

use crate::stand::{DAY_MS, Stand};
use archive::record::{Evidence, EvidenceKind, Signed};
use std::io::Read;
use std::process::Stdio;
use tests::plain::PlainTree;
use tests::program::program;

#[test]
fn snapshots_are_listed_without_a_key() {
    let stand = Stand::new(true);
    let ran = stand.run(&["snapshots"]).ended(0);
    insta::assert_snapshot!(stand.redact(ran.text()));
    assert_eq!(ran.err, "");
    assert_eq!(stand.run_as("importer", &["snapshots"]).ended(0).text(), ran.text());
    insta::assert_snapshot!("snapshots_json", stand.redact(&format!("{:#}", stand.run(&["snapshots", "--json"]).ended(0).json())));
}

#[test]
fn evidence_is_shown_and_strangers_are_not_believed() {
    let stand = Stand::new(true);
    let evidence = |number: usize, kind, good, ago_ms| {
        let now = stand.trial.clock.load(std::sync::atomic::Ordering::SeqCst);
        let body = Evidence {
            cluster: "shop".into(),
            dataset: "data".into(),
            node: "web2".into(),
            snapshot: stand.ids[number],
            kind,
            started_ms: now - ago_ms,
            finished_ms: now - ago_ms,
            good,
            text: "said\u{1b}[2J".into(),
        };
        let signed = Signed::sign(body, &stand.trial.options.signer);
        let name = archive::name::evidence(stand.ids[number], kind, signed.id());
        stand.trial.repository.publish_record(&name, &signed).unwrap();
    };
    evidence(0, EvidenceKind::Import, true, 2 * DAY_MS);
    evidence(0, EvidenceKind::Drill, true, DAY_MS * 5 / 2);
    evidence(1, EvidenceKind::Drill, false, 0);
    let text = stand.run(&["snapshots"]).ended(0).text().to_owned();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[1].contains("imported 2 d ago") && lines[2].contains("drill failed 2 h ago"), "{text}");
    assert!(!text.contains('\u{1b}'));
    // Whoever is told whom to believe sees no evidence of others, and that the snapshots' signer is not believed.
    let text = stand.run(&["snapshots", "--signer", &crate::stand::stranger()]).ended(0).text().to_owned();
    assert!(text.contains("refused") && !text.contains("imported"), "{text}");
}

#[test]
fn ls_lists_and_names_cannot_steer_the_terminal() {
    let stand = Stand::new(true);
    let ran = stand.run(&["ls", "latest"]).ended(0);
    insta::assert_snapshot!(stand.redact(&format!("{}--\n{}", ran.text(), ran.err)));
    assert!(!ran.text().contains('\u{1b}'));
    let owner = |text: &str| {
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        text.replace(&format!(" {uid:>5} {gid:>5} "), " UID GID ")
    };
    insta::assert_snapshot!("ls_long", owner(stand.run(&["ls", "latest", "-l"]).ended(0).text()));
    assert_eq!(stand.run(&["ls", "latest", "s/sub/", "--depth", "0"]).ended(0).text(), "s/sub\n");
    assert_eq!(stand.run(&["ls", "latest", "--depth", "1"]).ended(0).text(), "s\n");
    assert_eq!(stand.run(&["ls", &stand.short(0), "/s/sub"]).ended(0).text(), "s/sub\ns/sub/b.txt\ns/sub/gone.txt\ns/sub/link\n");
    let json = stand.run(&["ls", "latest", "--json"]).ended(0);
    assert_eq!(json.err, "");
    insta::assert_snapshot!(
        "ls_json",
        owner(&stand.redact(&String::from_utf8_lossy(&json.out))).replace(&numbers(), "\"uid\":0,\"gid\":0")
    );
    assert_eq!(json.json()["entries"].as_array().unwrap().len(), 8);
}

fn numbers() -> String {
    format!("\"uid\":{},\"gid\":{}", rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
}

#[test]
fn find_finds_by_name_and_by_path() {
    let stand = Stand::new(true);
    assert_eq!(stand.run(&["find", "*.txt"]).ended(0).text(), "s/a.txt\ns/sub/b.txt\ns/sub/new.txt\n");
    assert_eq!(stand.run(&["find", "*.txt", "--at", "1 day ago"]).ended(0).text(), "s/a.txt\ns/sub/b.txt\ns/sub/gone.txt\n");
    assert_eq!(stand.run(&["find", "s/sub/?.txt"]).ended(0).text(), "s/sub/b.txt\n");
    assert_eq!(stand.run(&["find", "nothing"]).ended(0).text(), "");
    assert_eq!(stand.run(&["find", "nothing", "--json"]).ended(0).json()["entries"].as_array().unwrap().len(), 0);
}

#[test]
fn diff_says_what_changed() {
    let stand = Stand::new(true);
    let ran = stand.run(&["diff", "1 day ago", "latest"]).ended(0);
    insta::assert_snapshot!(stand.redact(&format!("{}--\n{}", ran.text(), ran.err)));
    insta::assert_snapshot!(
        "diff_json",
        stand.redact(&format!("{:#}", stand.run(&["diff", &stand.short(0), "latest", "--json"]).ended(0).json()["differences"]))
    );
    assert_eq!(stand.run(&["diff", "1 day ago", "latest", "--path", "s/a.txt"]).ended(0).text(), "");
    assert_eq!(stand.run(&["diff", "1 day ago", "latest", "--path", "s/sub/gone.txt"]).ended(0).text(), "- s/sub/gone.txt  (6 B)\n");
    assert!(
        stand
            .run(&["diff", "1 day ago", "latest", "--path", "s/nowhere"])
            .ended(1)
            .err
            .contains("has the path s/nowhere")
    );
}

#[test]
fn restore_brings_back_the_snapshot_of_the_date() {
    for (name, sealed) in [("pull-backup", true), ("importer", true), ("pull-backup", false)] {
        let stand = Stand::new(sealed);
        for (number, at) in [(0, "1 day ago"), (1, "1 hour ago"), (1, "latest"), (0, &stand.short(0))] {
            let target = stand.target(&format!("to-{name}-{number}-{}", at.len()));
            let ran = stand.run_as(name, &["restore", "data", "--at", at, "--to", target.to_str().unwrap()]).ended(0);
            assert!(ran.err.contains(&stand.short(number)) && ran.err.contains("signer unverified"), "{}", ran.err);
            stand.trees[number].assert_same(&PlainTree::read(&target), at);
        }
    }
}

#[test]
fn restore_says_what_it_did_and_keeps_what_is_there() {
    let stand = Stand::new(true);
    let target = stand.target("to");
    let to = target.to_str().unwrap();
    let first = stand.run(&["restore", "--at", "latest", "--to", to]).ended(0);
    insta::assert_snapshot!(stand.redact(&format!("{}--\n{}", first.text(), first.err)));
    let json = stand.run(&["restore", "--at", "latest", "--to", to, "--json"]).ended(0);
    assert_eq!(json.err, "");
    insta::assert_snapshot!("restore_json", stand.redact(&format!("{:#}", json.json())));
}

#[test]
fn restore_of_a_part_and_deleting() {
    let stand = Stand::new(true);
    let target = stand.target("to");
    let to = target.to_str().unwrap();
    stand
        .run(&["restore", "--at", "latest", "--to", to, "--path", "s/sub/b.txt", "--path", "/s/a.txt"])
        .ended(0);
    assert_eq!(std::fs::read_to_string(target.join("s/sub/b.txt")).unwrap(), "two, and more\n");
    assert!(target.join("s/a.txt").exists() && !target.join("s/sub/new.txt").exists());
    std::fs::write(target.join("s/mine"), "not in the snapshot").unwrap();
    stand.run(&["restore", "--at", "latest", "--to", to]).ended(0);
    assert!(target.join("s/mine").exists());
    assert!(
        stand
            .run(&["restore", "--at", "latest", "--to", to, "--delete"])
            .ended(0)
            .text()
            .contains("1 removed")
    );
    assert!(!target.join("s/mine").exists());
    stand.trees[1].assert_same(&PlainTree::read(&target), "after deleting");
}

#[test]
fn one_file_goes_to_standard_output() {
    let stand = Stand::new(true);
    let ran = stand.run(&["restore", "--at", "latest", "--path", "s/twin", "--stdout"]).ended(0);
    assert_eq!(ran.text(), "one\n".repeat(1000), "a hard link is its file");
    assert!(
        stand
            .run(&["restore", "--at", "latest", "--path", "s/sub", "--stdout"])
            .ended(2)
            .err
            .contains("s/sub is not a file")
    );
    assert!(
        stand
            .run(&["restore", "--at", "latest", "--path", "s/none", "--stdout"])
            .ended(1)
            .err
            .contains("has no path s/none")
    );
}

#[test]
fn a_reader_who_leaves_is_no_failure() {
    let mut stand = Stand::new(false);
    let mut tree = stand.trees[1].clone();
    (0..20_000).for_each(|number| tree.file(format!("s/many-{number}-{}", "x".repeat(50)), ""));
    tree.file("s/large", vec![b'x'; 30_000_000]);
    let at = stand.trial.clock.load(std::sync::atomic::Ordering::SeqCst) + 1000;
    stand.export(&tree, at);
    for arguments in [
        &["ls", "latest"][..],
        &["ls", "latest", "--json"],
        &["find", "*"],
        &["restore", "--at", "latest", "--path", "s/large", "--stdout"],
    ] {
        let mut child = program("pull-backup")
            .args(stand.arguments(arguments))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = child.stdout.take().unwrap();
        out.read_exact(&mut [0; 10]).unwrap();
        drop(out);
        let ended = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success() && !said.contains("panic") && !said.contains("error"), "{arguments:?}: {said}");
    }
}

#[test]
fn pins_and_the_cluster_key_decide_who_is_believed() {
    let stand = Stand::new(true);
    let key = stand.trial.options.signer.public();
    assert!(stand.run(&["ls", "latest", "--signer", &key.to_string()]).ended(0).err.contains("signer pinned"));
    let stranger = crate::stand::stranger();
    let refused = stand.run(&["ls", "latest", "--cluster-key", &stranger]).ended(3);
    insta::assert_snapshot!(stand.redact(&refused.err));
    let root = archive::sign::Signer::from_seed(&crate::stand::STRANGER);
    let body = archive::record::Certificate { cluster: "shop".into(), node: "web1".into(), key, issued_ms: 1 };
    let certificate = Signed::sign(body, &root);
    stand
        .trial
        .repository
        .publish_record(&archive::name::node(&key, certificate.id()), &certificate)
        .unwrap();
    assert!(stand.run(&["ls", "latest", "--cluster-key", &stranger]).ended(0).err.contains("signer certified"));
    assert!(stand.run(&["snapshots", "--cluster-key", &stranger]).ended(0).text().contains("certified"));
}

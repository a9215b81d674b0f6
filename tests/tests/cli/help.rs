//! What the programs say about themselves.

use tests::program::run;

#[test]
fn every_command_explains_itself() {
    for name in ["pull-backup", "importer"] {
        let top = run(name, ["--help"]).ended(0);
        insta::assert_snapshot!(format!("{name}_help"), top.text());
    }
    for command in
        ["snapshots", "ls", "find", "diff", "restore", "check", "retain", "reseal", "elect", "pause", "resume", "ack", "attest", "expel"]
    {
        insta::assert_snapshot!(format!("help_{command}"), run("pull-backup", [command, "--help"]).ended(0).text());
    }
    for (command, inside) in [
        ("quarantine", "list"),
        ("quarantine", "diff"),
        ("quarantine", "restore"),
        ("quarantine", "export"),
        ("quarantine", "drop"),
        ("epoch", "show"),
        ("epoch", "resolve"),
        ("takeover", "plan"),
    ] {
        let text = run("pull-backup", [command, inside, "--help"]).ended(0);
        insta::assert_snapshot!(format!("help_{command}_{inside}"), text.text());
    }
}

#[test]
fn commands_of_the_importer_explain_themselves() {
    for inside in ["check", "take", "release", "watch"] {
        insta::assert_snapshot!(format!("help_vip_{inside}"), run("importer", ["vip", inside, "--help"]).ended(0).text());
    }
}

/// What the importer alone restores: parts of a server's databases.
const PARTS: [&str; 5] = ["--into <NAME>", "--sql <FILE>", "--database <NAME>", "--table <TABLE>", "--source <NAME>"];

#[test]
fn the_importer_reads_with_the_same_options() {
    for command in ["snapshots", "ls", "find", "diff", "restore", "check"] {
        let (theirs, ours) = (run("pull-backup", [command, "--help"]).ended(0), run("importer", [command, "--help"]).ended(0));
        // Each has a configuration of its own, and only the importer a choice of archives.
        let options = |text: &str| {
            let flags = text.lines().map(str::trim).filter(|line| line.starts_with(['-', '[', '<']));
            let names = flags.map(|line| line.split("  ").next().unwrap_or_default().to_owned());
            names
                .filter(|name| !["--config", "--from", "[possible"].iter().any(|own| name.starts_with(own)))
                .collect::<Vec<_>>()
        };
        let (theirs, ours) = (options(theirs.text()), options(ours.text()));
        assert!(theirs.iter().any(|name| name.contains("--dataset")), "{theirs:?}");
        // What only the importer can do stands last, before help.
        let shared: Vec<_> = ours.iter().filter(|name| !PARTS.contains(&name.as_str())).cloned().collect();
        assert_eq!(theirs, shared, "{command}");
        assert_eq!(ours.len() - shared.len(), if command == "restore" { PARTS.len() } else { 0 });
    }
}

#[test]
fn wrong_usage_ends_with_2_and_says_what_is_known() {
    let cases: [&[&str]; 9] = [
        &[],
        &["restor"],
        &["snapshots"],
        &["snapshots", "--repositry", "x"],
        &["restore", "--repository", "x", "--at", "latest"],
        &["restore", "--repository", "x", "--to", "y"],
        &["restore", "--repository", "x", "--at", "latest", "--stdout"],
        &["restore", "--repository", "x", "--at", "latest", "--stdout", "--path", "a", "--to", "y"],
        &["ls", "--repository", "x", "latest", "--signer", "abc"],
    ];
    for case in cases {
        let ran = run("pull-backup", case).ended(2);
        assert!(ran.out.is_empty() && !ran.err.is_empty(), "{case:?}");
    }
    assert!(run("pull-backup", ["restor"]).err.contains("'restore'"));
    assert!(
        run("pull-backup", ["ls", "--repository", "x", "latest", "--signer", "abc"])
            .err
            .contains("64 hexadecimal digits")
    );
}

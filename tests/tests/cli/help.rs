//! What the programs say about themselves.

use tests::program::run;

#[test]
fn every_command_explains_itself() {
    for name in ["pull-backup", "importer"] {
        let top = run(name, ["--help"]).ended(0);
        insta::assert_snapshot!(format!("{name}_help"), top.text());
    }
    for command in ["snapshots", "ls", "find", "diff", "restore", "check", "retain", "reseal"] {
        insta::assert_snapshot!(format!("help_{command}"), run("pull-backup", [command, "--help"]).ended(0).text());
    }
}

#[test]
fn the_importer_reads_with_the_same_options() {
    for command in ["snapshots", "ls", "find", "diff", "restore", "check"] {
        let (theirs, ours) = (run("pull-backup", [command, "--help"]).ended(0), run("importer", [command, "--help"]).ended(0));
        let without: Vec<&str> = ours.text().lines().filter(|line| !line.contains("--config <FILE>")).collect();
        assert_eq!(theirs.text().replace("pull-backup", "importer").lines().collect::<Vec<_>>(), without, "{command}");
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

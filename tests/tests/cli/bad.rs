//! What commands say to what is wrong: for each case the exit status and the words.

use crate::stand::{Stand, hide_ids};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tests::program::{Ran, finish, program, run};

/// Status and what was said, redacted; nothing may stand on standard output.
fn told(stand: &Stand, ran: &Ran) -> String {
    assert!(ran.out.is_empty(), "{}", ran.text());
    assert!(!ran.err.contains("panicked"), "{}", ran.err);
    format!("{}\n{}\n", ran.status, stand.redact(&ran.err))
}

#[test]
fn places_that_are_no_repository() {
    let stand = Stand::new(true);
    let folder = stand.target("places");
    let place = |name: &str, content: Option<&str>| {
        let place = folder.join(name);
        fs::create_dir_all(&place).unwrap();
        if let Some(content) = content {
            fs::write(place.join("repository.json"), content).unwrap();
        }
        place
    };
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("file"), "x").unwrap();
    let future = format!(r#"{{"format": 7, "id": "{}", "cluster": "shop", "dataset": "data"}}"#, "0".repeat(32));
    let cases = [
        folder.join("missing"),
        folder.join("file"),
        place("empty", None),
        place("future", Some(&future)),
        place("garbage", Some("not json")),
        place("fields", Some(r#"{"format": 1}"#)),
    ];
    let mut all = String::new();
    for place in cases {
        for command in [&["snapshots"][..], &["ls", "latest"], &["restore", "--at", "latest", "--to", "/nonexistent/x"]] {
            let ran = run(
                "pull-backup",
                command
                    .iter()
                    .map(|text| text.as_ref())
                    .chain([Path::new("--repository"), &place].map(Path::as_os_str)),
            );
            if command[0] == "snapshots" {
                all.push_str(&format!("== {}\n{}", place.file_name().unwrap().to_str().unwrap(), told(&stand, &ran)));
            } else {
                assert!(all.contains(&told(&stand, &ran)), "all commands say the same: {command:?} {ran:?}");
            }
        }
    }
    insta::assert_snapshot!(all);
}

#[test]
fn snapshots_that_are_not_meant_clearly() {
    let mut stand = Stand::new(true);
    let mut all = String::new();
    for text in ["2001-01-01", "ffffffffff", "123", "tomorow", "2026-13-01", "3 fortnights ago"] {
        let ran = stand.run(&["ls", text]);
        all.push_str(&format!("== {text}\n{}", told(&stand, &ran)));
    }
    // Copies of a file under names that begin alike make the beginning ambiguous.
    let known = stand.trial.known(stand.ids[0]);
    let other = format!("{}{}", &known.name[..known.name.len() - 32 + 6], "f".repeat(26));
    fs::copy(stand.place.join(&known.name), stand.place.join(&other)).unwrap();
    stand.ids.push(archive::id::SnapshotId::parse(&other[other.len() - 32..]).unwrap());
    let ran = stand.run(&["ls", &stand.ids[0].to_string()[..6]]);
    assert_eq!(ran.status, 2);
    assert!(ran.err.contains("2 snapshots have an id that begins with") && ran.err.contains(&stand.ids[0].to_string()), "{}", ran.err);
    let empty = Stand::empty(true);
    all.push_str(&format!("== none yet\n{}", told(&empty, &empty.run(&["ls", "latest"]))));
    insta::assert_snapshot!(all);
    let none = empty.run(&["snapshots"]).ended(0);
    assert!(none.out.is_empty() && none.err.contains("no snapshots yet"), "{none:?}");
    assert_eq!(empty.run(&["snapshots", "--json"]).ended(0).json()["snapshots"].as_array().unwrap().len(), 0);
}

#[test]
fn identities_that_open_nothing() {
    let stand = Stand::new(true);
    let folder = stand.target("identities");
    fs::create_dir_all(&folder).unwrap();
    let file = |name: &str, content: &[u8]| {
        fs::write(folder.join(name), content).unwrap();
        folder.join(name).into_os_string()
    };
    let secret = archive::identity::generate().0;
    let protected = archive::identity::protect(&secret, "horse");
    let wrong = file("phrase", b"donkey\n");
    fs::set_permissions(&wrong, fs::Permissions::from_mode(0o600)).unwrap();
    let mut all = String::new();
    let mut case = |name: &str, arguments: &[&std::ffi::OsStr]| {
        let mut command = program("pull-backup");
        command.args(stand.arguments(&["ls", "latest"])).args(arguments);
        let ran = finish(rustix_setsid(&mut command));
        let said = ran
            .err
            .lines()
            .filter(|line| !line.starts_with("snapshot "))
            .map(|line| format!("{line}\n"))
            .collect::<String>();
        assert!(ran.out.is_empty() && !said.contains("AGE-SECRET"), "{said}");
        let said = stand.redact(&hide_ids(&said));
        all.push_str(&format!("== {name}\n{}\n{said}\n", ran.status));
    };
    case("none", &[]);
    case("empty", &["--identity".as_ref(), "".as_ref()]);
    case("another's", &["--identity".as_ref(), &file("other", secret.as_bytes())]);
    case("missing", &["--identity".as_ref(), folder.join("missing").as_os_str()]);
    case("garbage", &["--identity".as_ref(), &file("garbage", b"hello")]);
    case("binary", &["--identity".as_ref(), &file("binary", &[0xff; 100])]);
    case("a folder", &["--identity".as_ref(), folder.as_os_str()]);
    case("no terminal to ask at", &["--identity".as_ref(), &file("protected", &protected)]);
    case("wrong passphrase", &["--identity".as_ref(), &file("protected", &protected), "--passphrase-file".as_ref(), &wrong]);
    let open = file("open-to-all", b"horse\n");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).unwrap();
    case("passphrase for all to read", &["--identity".as_ref(), &file("protected", &protected), "--passphrase-file".as_ref(), &open]);
    insta::assert_snapshot!(all);
}

/// Without a terminal of its own: a test may be run from one.
fn rustix_setsid(command: &mut std::process::Command) -> &mut std::process::Command {
    use std::os::unix::process::CommandExt;
    // SAFETY: setsid is one call into the kernel, which is allowed between fork and exec.
    unsafe { command.pre_exec(|| rustix::process::setsid().map(|_| ()).map_err(Into::into)) }
}

#[test]
fn an_identity_with_its_passphrase_opens_also_by_the_environment() {
    let stand = Stand::new(true);
    let plain = fs::read_to_string(&stand.trial.identity).unwrap();
    let (protected, phrase) = (stand.target("identity.age"), stand.target("phrase"));
    fs::write(&protected, archive::identity::protect(&plain, "horse")).unwrap();
    fs::write(&phrase, "horse\n").unwrap();
    fs::set_permissions(&phrase, fs::Permissions::from_mode(0o600)).unwrap();
    let mut command = program("pull-backup");
    command
        .args(stand.arguments(&["find", "new.txt"]))
        .arg("--passphrase-file")
        .arg(&phrase)
        .env("RESILIENT_IDENTITY", &protected);
    assert_eq!(finish(&mut command).ended(0).text(), "s/sub/new.txt\n");
}

#[test]
fn targets_that_are_refused() {
    let stand = Stand::new(true);
    let (file, inside) = (stand.target("file"), stand.place.join("packs/x"));
    fs::write(&file, "x").unwrap();
    let above = stand.place.parent().unwrap().to_str().unwrap().to_owned();
    let mut all = String::new();
    let cases: [(&str, Vec<&str>); 6] = [
        ("a file", vec!["--to", file.to_str().unwrap()]),
        ("below a file", vec!["--to", "/dev/null/x"]),
        ("in the repository", vec!["--to", inside.to_str().unwrap()]),
        ("deleting above the repository", vec!["--to", &above, "--delete"]),
        ("no such path", vec!["--to", "/nonexistent-but-not-reached", "--path", "s/none"]),
        ("another dataset", vec!["other", "--to", "/nonexistent-but-not-reached"]),
    ];
    for (name, arguments) in cases {
        let mut line = vec!["restore", "--at", "latest"];
        line.extend(arguments);
        let ran = stand.run(&line);
        all.push_str(&format!("== {name}\n{}", told(&stand, &ran).replace(&above, "[above]")));
    }
    assert!(!Path::new("/nonexistent-but-not-reached").exists() && !inside.exists());
    insta::assert_snapshot!(all);
}

#[test]
fn a_folder_in_the_way_is_named_and_the_rest_restored() {
    let stand = Stand::new(true);
    let target = stand.target("to");
    fs::create_dir_all(target.join("s/a.txt/mine")).unwrap();
    let ran = stand.run(&["restore", "--at", "latest", "--to", target.to_str().unwrap()]).ended(4);
    assert!(ran.err.contains("not restored: s/a.txt: a folder is in its place"), "{}", ran.err);
    assert!(ran.text().contains("NOT restored"));
    assert_eq!(fs::read_to_string(target.join("s/sub/b.txt")).unwrap(), "two, and more\n");
    let json = stand
        .run(&["restore", "--at", "latest", "--to", target.to_str().unwrap(), "--json"])
        .ended(4)
        .json();
    assert_eq!(json["problems"][0]["path"], "s/a.txt");
}

#[test]
fn damage_is_named() {
    let stand = Stand::new(false);
    let known = [0, 1].map(|number| stand.trial.known(stand.ids[number]).name);
    let path = stand.place.join(&known[0]);
    let mut bytes = fs::read(&path).unwrap();
    bytes[200] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let ran = stand.run(&["snapshots"]).ended(4);
    assert!(ran.err.contains(&known[0]) && ran.err.contains("damaged: the signature is wrong"), "{}", ran.err);
    assert!(ran.text().contains(&stand.short(1)) && !ran.text().contains(&stand.short(0)));
    let json = stand.run(&["snapshots", "--json"]).ended(4).json();
    assert_eq!((json["snapshots"].as_array().unwrap().len(), json["unread"][0]["name"].as_str()), (1, Some(known[0].as_str())));
    // It may be the one that was meant: it is named, and the end is not "done".
    assert!(stand.run(&["ls", "latest"]).ended(0).err.contains("signer unverified"));
    assert!(stand.run(&["ls", "1 hour ago"]).ended(4).err.contains("passed over: snapshots/"));
    assert!(stand.run(&["ls", "1 day ago"]).ended(1).err.contains("1 could not be read"));
    let ran = stand.run(&["ls", &stand.short(0)]).ended(1);
    assert!(ran.err.contains("is damaged") && ran.err.contains("hint: `check --heal"), "{}", ran.err);
}

/// A process that permissions bind, also when the tests run as root.
fn bound(command: &mut std::process::Command) -> &mut std::process::Command {
    use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};
    use std::os::unix::process::CommandExt;
    let drop = || {
        if rustix::process::geteuid().is_root() {
            remove_capability_from_bounding_set(CapabilitySet::DAC_OVERRIDE)?;
            remove_capability_from_bounding_set(CapabilitySet::DAC_READ_SEARCH)?;
        }
        Ok(())
    };
    // SAFETY: calls into the kernel only, which are allowed between fork and exec.
    unsafe { command.pre_exec(drop) }
}

fn set_modes(folder: &Path, mode: u32) {
    for folder in walkdir::WalkDir::new(folder)
        .into_iter()
        .map(Result::unwrap)
        .filter(|entry| entry.file_type().is_dir())
    {
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
    }
}

#[test]
fn a_folder_that_is_read_only_is_read_and_one_that_is_closed_is_named() {
    let stand = Stand::new(true);
    let run = |arguments: &[&str]| -> Ran {
        let mut command = program("pull-backup");
        finish(bound(command.args(stand.arguments(arguments)).env("RESILIENT_IDENTITY", &stand.trial.identity)))
    };
    let closed = stand.target("closed");
    fs::create_dir(&closed).unwrap();
    set_modes(&stand.place, 0o555);
    set_modes(&closed, 0o555);
    let (listed, restored) = (run(&["snapshots"]), run(&["restore", "--at", "latest", "--to", stand.target("to").to_str().unwrap()]));
    let refused = run(&["restore", "--at", "latest", "--to", closed.join("to").to_str().unwrap()]);
    set_modes(&stand.place, 0o000);
    let unseen = run(&["snapshots"]);
    set_modes(&stand.place, 0o755);
    set_modes(&closed, 0o755);
    listed.ended(0);
    restored.ended(0);
    assert!(!stand.place.join("lock").exists(), "nothing was written");
    insta::assert_snapshot!(format!("{}{}", told(&stand, &refused), told(&stand, &unseen)));
}

#[test]
fn a_repository_that_is_being_swept_is_busy() {
    let stand = Stand::new(true);
    let _lock = archive::store::FolderLock::take(&stand.place, true).unwrap().unwrap();
    insta::assert_snapshot!(told(&stand, &stand.run(&["snapshots"]).ended(1)));
}

#[test]
fn a_full_disk_behind_standard_output_is_a_failure() {
    let stand = Stand::new(true);
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = program("pull-backup");
    let ran: Ran = command.args(stand.arguments(&["snapshots"])).stdout(full).output().unwrap().into();
    assert!(ran.status == 1 && ran.err.contains("writing output"), "{ran:?}");
}

/// Whoever puts a file there can make it look like the newest. It is never restored for that, and the one before is a word away.
#[test]
fn a_newest_that_cannot_be_believed_is_told_and_others_open_by_id_and_time() {
    let stand = Stand::new(false);
    let name = archive::name::snapshot(archive::name::Position { epoch: 0, sequence: u64::MAX }, archive::id::SnapshotId([0xee; 16]));
    fs::write(stand.place.join(&name), "garbage").unwrap();
    let ran = stand.run(&["ls", "latest"]).ended(1);
    assert!(ran.err.contains(&name) && ran.err.contains("opens another one"), "{}", ran.err);
    stand.run(&["ls", &stand.short(1)]).ended(0);
    stand.run(&["ls", "1 hour ago"]).ended(4);
}

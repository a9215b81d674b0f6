//! Alerts leave by a command and by mail, and never take longer than they may.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use watch::deliver::{ByCommand, ByMail, Deliver, TIME_DEFAULT};
use watch::{Error, Message};

fn message() -> Message {
    Message {
        subject: "[resilient] shop".into(),
        text: "It is late.\n".into(),
        json: "{\"event\":\"opened\",\"why\":\"a'b\\\"c\"}".into(),
    }
}

fn by_command(argv: &[&str], time: Duration) -> ByCommand {
    ByCommand::new(argv.iter().map(|word| (*word).to_owned()).collect(), time).unwrap()
}

fn shell(script: &str, time: Duration) -> Result<(), Error> {
    by_command(&["/bin/sh", "-c", script], time).deliver(&message())
}

#[test]
fn a_command_gets_the_json_and_its_arguments_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("got; touch evil $(id)");
    by_command(&["/usr/bin/tee", to.to_str().unwrap()], TIME_DEFAULT).deliver(&message()).unwrap();
    assert_eq!(fs::read_to_string(&to).unwrap(), message().json);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_command_that_fails_says_what_it_said() {
    let error = shell("echo 'no\nroute' >&2; exit 3", TIME_DEFAULT).unwrap_err();
    assert_eq!(error.to_string(), "/bin/sh: exit status: 3: no route");
    let missing = by_command(&["/nowhere/program"], TIME_DEFAULT).deliver(&message()).unwrap_err();
    assert!(matches!(missing, Error::Run { .. }) && missing.hint().is_some(), "{missing}");
    assert!(matches!(ByCommand::new(vec![], TIME_DEFAULT), Err(Error::CommandEmpty)));
}

#[test]
fn a_command_that_never_reads_blocks_nobody() {
    shell("exec true", TIME_DEFAULT).unwrap();
    let long = Message { json: "x".repeat(1 << 20), ..message() };
    by_command(&["/bin/true"], TIME_DEFAULT).deliver(&long).unwrap();
}

#[test]
fn a_command_that_hangs_is_killed_with_all_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let pid = folder.path().join("pid");
    let script = format!("sleep 600 & echo $! > {}; wait", pid.display());
    let error = shell(&script, Duration::from_secs(2)).unwrap_err();
    assert!(matches!(error, Error::CommandTime { .. }), "{error}");
    let child = Pid::from_raw(fs::read_to_string(&pid).unwrap().trim().parse().unwrap()).unwrap();
    let Ok(handle) = pidfd_open(child, PidfdFlags::empty()) else { return };
    let limit = Timespec { tv_sec: 20, tv_nsec: 0 };
    let ended = poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&limit)).unwrap();
    assert_eq!(ended, 1, "its child lives");
}

#[test]
fn a_command_that_talks_without_end_is_killed_in_its_time() {
    let error = shell("exec yes >&2", Duration::from_millis(500)).unwrap_err();
    assert!(matches!(error, Error::CommandTime { .. }), "{error}");
}

#[test]
fn a_child_left_behind_holds_nobody_up() {
    let folder = tempfile::tempdir().unwrap();
    let pid = folder.path().join("pid");
    shell(&format!("sleep 600 & echo $! > {}", pid.display()), TIME_DEFAULT).unwrap();
    let child = Pid::from_raw(fs::read_to_string(&pid).unwrap().trim().parse().unwrap()).unwrap();
    kill_process(child, Signal::KILL).expect("what it left behind goes on");
}

fn program(path: &Path, script: &str) {
    fs::write(path, script).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn mail_goes_through_sendmail() {
    let folder = tempfile::tempdir().unwrap();
    let sendmail = folder.path().join("sendmail");
    program(&sendmail, &format!("#!/bin/sh\necho \"$@\" > {0}/arguments\ncat > {0}/mail\n", folder.path().display()));
    let mail = ByMail::new("ops@example.org", sendmail.to_str().unwrap(), TIME_DEFAULT).unwrap();
    mail.deliver(&message()).unwrap();
    assert_eq!(fs::read_to_string(folder.path().join("arguments")).unwrap(), "-t -oi\n");
    let got = fs::read_to_string(folder.path().join("mail")).unwrap();
    assert!(got.starts_with("To: ops@example.org\nSubject: [resilient] shop\n"), "{got}");
    assert!(matches!(ByMail::new("a@b\nBcc: c@d", "sendmail", TIME_DEFAULT), Err(Error::MailAddress { .. })));
}

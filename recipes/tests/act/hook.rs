//! The `hook` act: what it is told, when it fails, that nothing of it is left.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use recipes::Error;
use recipes::act::conform::{Subject, call, suite};
use recipes::act::{Act, Call, Holds, Hook, hook};

use crate::{apart, is_alive, killed, pid_in, script, until};

pub struct Program;

impl Program {
    fn settings(place: &Path) -> hook::Settings {
        let path = place.join("program");
        if !path.exists() {
            let folder = place.display();
            let lines = format!(
                "cd '{folder}'\n[ ! -e obstructed ] || {{ echo 'it is in the way' >&2; exit 1; }}\ncase $RESILIENT_ACT in\n\
                 take) touch held;;\nrelease) rm -f held;;\ncheck) [ -e held ] || exit 3;;\n*) exit 9;;\nesac"
            );
            script(&path, &lines);
        }
        hook::Settings { name: "dns".into(), program: vec![path.into()], checks: true, records: place.join("records") }
    }
}

impl Subject for Program {
    fn act(&self, place: &Path) -> Box<dyn Act> {
        Box::new(Hook::new(Program::settings(place)).unwrap())
    }

    fn record(&self, place: &Path) -> PathBuf {
        place.join("records/dns.json")
    }

    fn holds(&self, place: &Path) -> bool {
        place.join("held").exists()
    }

    fn lose(&self, place: &Path) -> bool {
        let _ = fs::remove_file(place.join("held"));
        true
    }

    fn obstruct(&self, place: &Path, obstructed: bool) {
        let path = place.join("obstructed");
        if obstructed { fs::write(path, "").unwrap() } else { fs::remove_file(path).unwrap() }
    }
}

/// A hook with these lines, in a folder of its own.
fn hooked(folder: &Path, lines: &str) -> Hook {
    let path = folder.join("program");
    script(&path, &format!("cd '{}'\n{lines}", folder.display()));
    Hook::new(hook::Settings { name: "dns".into(), program: vec![path.into()], checks: false, records: folder.join("records") }).unwrap()
}

#[test]
fn a_program_conforms() {
    let folder = tempfile::tempdir().unwrap();
    suite(&Program, folder.path());
}

#[test]
fn a_hook_that_is_killed_at_any_moment_is_taken_up_by_the_next() {
    killed::victim(&Program);
    let folder = tempfile::tempdir().unwrap();
    killed::suite(&Program, "hook::a_hook_that_is_killed_at_any_moment_is_taken_up_by_the_next", &killed::place(&folder));
}

#[test]
fn it_is_told_act_cluster_epoch_and_node_twice() {
    let folder = tempfile::tempdir().unwrap();
    let hook = hooked(folder.path(), "cat > \"$RESILIENT_ACT.json\"\nenv | sort > \"$RESILIENT_ACT.env\"");
    hook.take(&call(7)).unwrap();
    hook.release(&call(8)).unwrap();
    let told: serde_json::Value = serde_json::from_slice(&fs::read(folder.path().join("release.json")).unwrap()).unwrap();
    for (key, value) in [("act", "release"), ("name", "dns"), ("cluster", "shop"), ("node", "web1")] {
        assert_eq!(told[key], value, "{told}");
    }
    assert!(told["epoch"] == 8 && told["taken_epoch"] == 7 && told["within_ms"].as_u64().unwrap() > 1000, "{told}");
    let environment = fs::read_to_string(folder.path().join("take.env")).unwrap();
    for line in ["RESILIENT_ACT=take", "RESILIENT_CLUSTER=shop", "RESILIENT_EPOCH=7", "RESILIENT_NODE=web1"] {
        assert!(environment.lines().any(|found| found == line), "{line} in {environment}");
    }
    assert!(!environment.contains("CARGO"), "nothing else is handed on: {environment}");
}

#[test]
fn one_that_fails_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let error = hooked(folder.path(), "echo 'badauth: token expired' >&2; exit 4").take(&call(1)).unwrap_err();
    assert!(matches!(error, Error::Ran { .. }));
    assert!(recipes::told(&error).contains("badauth: token expired"), "{}", recipes::told(&error));
}

#[test]
fn at_its_deadline_its_whole_process_group_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let lines = "trap '' TERM\n(trap '' TERM; while :; do sleep 1; done) & echo $! > child\nwhile :; do sleep 1; done";
    let hook = hooked(folder.path(), lines);
    let begin = crate::now();
    let error = hook.take(&Call { within: Duration::from_secs(2), ..call(1) }).unwrap_err();
    let took = crate::now() - begin;
    assert!(took >= Duration::from_millis(1900) && took < Duration::from_secs(20), "{took:?}");
    assert!(recipes::told(&error).contains("was ended"), "{}", recipes::told(&error));
    let child = pid_in(&folder.path().join("child")).unwrap();
    until("its child to end", || (!is_alive(child)).then_some(()));
}

#[test]
fn what_was_taken_is_released_by_the_program_that_took_it() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    Program.act(place).take(&call(1)).unwrap();
    let other = place.join("other");
    script(&other, &format!("touch '{}'", place.join("wrong").display()));
    let changed = Hook::new(hook::Settings { program: vec![other.into()], ..Program::settings(place) }).unwrap();
    changed.release(&call(1)).unwrap();
    assert!(!Program.holds(place) && !place.join("wrong").exists());
    changed.release(&call(1)).unwrap();
    assert!(!place.join("wrong").exists(), "what is released is not released again by another");
}

#[test]
fn one_that_outlived_its_parent_is_waited_for() {
    let lines = "echo $$ > pid\nuntil [ -e go ]; do sleep 0.01; done\necho \"$RESILIENT_ACT\" >> log";
    if let Some(place) = apart::part() {
        let hook = hooked(Path::new(&place), lines);
        apart::ready();
        let _ = hook.take(&call(1));
    }
    let folder = tempfile::tempdir().unwrap();
    let name = "hook::one_that_outlived_its_parent_is_waited_for";
    let mut child = apart::begin(name, &folder.path().display().to_string());
    until("the program", || pid_in(&folder.path().join("pid")));
    child.kill().unwrap();
    child.wait().unwrap();
    let program = folder.path().join("program");
    let settings = hook::Settings {
        name: "dns".into(),
        program: vec![program.into()],
        checks: false,
        records: folder.path().join("records"),
    };
    let hook = Hook::new(settings).unwrap();
    let busy = hook.release(&Call { within: Duration::from_millis(200), ..call(1) }).unwrap_err();
    assert!(matches!(busy, Error::ActInUse { .. }), "{busy:?}");
    let checked = hook.check(&call(1)).unwrap();
    assert!(checked.holds == Holds::Unknown && checked.findings[0].what.contains("did not end"), "{checked:?}");
    fs::write(folder.path().join("go"), "").unwrap();
    hook.release(&call(1)).unwrap();
    assert_eq!(fs::read_to_string(folder.path().join("log")).unwrap(), "take\nrelease\n", "one after the other");
}

#[test]
fn a_program_that_anybody_can_change_is_found() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let act = Program.act(folder.path());
    let program = folder.path().join("program");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o777)).unwrap();
    assert!(act.check(&call(1)).unwrap().findings[0].what.ends_with("can be changed by anybody"));
    fs::remove_file(program).unwrap();
    assert!(act.check(&call(1)).unwrap().findings[0].what.contains("cannot be found"));
}

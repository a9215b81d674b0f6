//! The `services` act by units, against a systemd of one's own: `systemd --user` in namespaces of its own, with its own control
//! groups. Needs root, `unshare`, and the packages systemd and dbus.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use recipes::Error;
use recipes::act::conform::{Subject, call, suite};
use recipes::act::systemd::{Address, Binding, Settings};
use recipes::act::{Act, Call, Holds, Units};
use recipes::data::Level;

use crate::{LIMIT, apart, is_alive, pid_in, script, until};

const RUNTIME: &str = "/run/user/0";
const UNITS: &str = "/run/config/systemd/user";
const GRANTED: &str = "/run/resilient/granted";
const GROUPS: &str = "/sys/fs/cgroup";
const PREFIX: &str = "resilient-acts-";

/// Runs the work in a host of its own, as far as systemd can see. What it begins ends with it.
fn apart_from_all(name: &str, work: impl FnOnce(&mut Stand)) {
    if let Some(group) = apart::part() {
        let mut stand = Stand::new(&group);
        work(&mut stand);
        return;
    }
    static MADE: AtomicU32 = AtomicU32::new(0);
    sweep();
    let group = format!("{PREFIX}{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
    let before = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let said = apart::command(&before, &format!("systemd::{name}"), &group).output().expect("`unshare` runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(said.status.success(), "{}\n{}", text(&said.stdout), text(&said.stderr));
}

struct Stand {
    group: PathBuf,
    systemd: Option<Child>,
}

impl Stand {
    fn new(group: &str) -> Stand {
        mount("tmpfs", "/run");
        mount("cgroup2", GROUPS);
        for folder in ["/run/systemd/system", RUNTIME, UNITS] {
            fs::create_dir_all(folder).unwrap();
        }
        let group = Path::new(GROUPS).join(group);
        fs::create_dir(&group).unwrap();
        Stand { group, systemd: None }
    }

    /// Boots it: whatever ran before is forgotten, and only units remain.
    fn boot(&mut self) {
        self.shut_down();
        let group = self.group.join("cgroup.procs");
        let mut command = Command::new("/lib/systemd/systemd");
        command.args(["--user", "--log-target=console"]).env_clear().env("PATH", "/usr/bin:/bin");
        command.env("HOME", "/run").env("XDG_RUNTIME_DIR", RUNTIME).env("XDG_CONFIG_HOME", "/run/config");
        // Its groups are made below the one it is begun in.
        let mut shell = Command::new("/bin/sh");
        shell
            .args(["-ec", "echo $$ > \"$0\"; exec \"$@\""])
            .arg(group)
            .arg(command.get_program())
            .args(command.get_args());
        shell
            .env_clear()
            .envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))))
            .process_group(0);
        self.systemd = Some(shell.stdin(Stdio::null()).spawn().expect("systemd runs"));
        until("systemd", || Path::new(RUNTIME).join("systemd/private").exists().then_some(()));
        self.ctl(&["is-system-running", "--wait"]);
    }

    fn shut_down(&mut self) {
        if let Some(mut systemd) = self.systemd.take() {
            kill_below(&self.group);
            systemd.wait().unwrap();
            let _ = fs::remove_file(Path::new(RUNTIME).join("systemd/private"));
        }
    }

    fn ctl(&self, arguments: &[&str]) -> String {
        let said = Command::new("systemctl")
            .arg("--user")
            .args(arguments)
            .env("XDG_RUNTIME_DIR", RUNTIME)
            .output()
            .unwrap();
        String::from_utf8_lossy(&said.stdout).trim().to_owned()
    }

    fn unit(&self, name: &str, lines: &str) {
        fs::write(Path::new(UNITS).join(name), format!("[Service]\n{lines}\n[Install]\nWantedBy=default.target\n")).unwrap();
        if self.systemd.is_some() {
            self.ctl(&["daemon-reload"]);
        }
    }

    fn pid(&self, unit: &str) -> i32 {
        self.ctl(&["show", "--value", "-p", "MainPID", unit]).parse().unwrap()
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        self.shut_down();
        remove(&self.group);
    }
}

fn mount(kind: &str, path: &str) {
    assert!(Command::new("mount").args(["-t", kind, kind, path]).status().unwrap().success(), "{kind} on {path}");
}

fn kill_below(group: &Path) {
    until("the group to end", || {
        let _ = fs::write(group.join("cgroup.kill"), "1");
        fs::read_to_string(group.join("cgroup.events")).unwrap().contains("populated 0").then_some(())
    });
}

/// Removes groups that killed tests left: names with the id of a process that is gone.
fn sweep() {
    for root in [GROUPS, "/sys/fs/cgroup/unified"] {
        for entry in fs::read_dir(root).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let id = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
            if id.is_some_and(|id| !Path::new("/proc").join(id).exists()) {
                remove(&entry.path());
            }
        }
    }
}

fn remove(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    let _ = fs::remove_dir(group);
}

/// An act on these units.
fn units(names: &[&str]) -> Units {
    let binding = Binding { folder: UNITS.into(), granted: GRANTED.into(), ..Binding::default() };
    let address = Address::Own(Path::new(RUNTIME).join("systemd/private"));
    let units = names.iter().map(|name| (*name).to_owned()).collect();
    Units::new(Settings { binding, address, ..Settings::new(units, "/run/records".into()) }).unwrap()
}

/// The same, bound.
fn bound(names: &[&str]) -> Units {
    let act = units(names);
    act.bind(LIMIT).unwrap();
    act
}

fn short(seconds: u64) -> Call {
    Call { within: Duration::from_secs(seconds), ..call(1) }
}

struct Shop;

const SHOP: &str = "shop.service";

impl Subject for Shop {
    fn act(&self, _: &Path) -> Box<dyn Act> {
        Box::new(units(&[SHOP]))
    }

    fn record(&self, _: &Path) -> PathBuf {
        "/run/records/units.json".into()
    }

    fn holds(&self, _: &Path) -> bool {
        pid_in(Path::new("/run/shop.pid")).is_some_and(is_alive)
    }

    fn lose(&self, _: &Path) -> bool {
        if let Some(pid) = pid_in(Path::new("/run/shop.pid")).filter(|pid| is_alive(*pid)) {
            let _ = rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL);
            let systemctl = |words: &[&str]| Command::new("systemctl").args(words).env("XDG_RUNTIME_DIR", RUNTIME).status().unwrap();
            until("systemd to see it", || (!systemctl(&["--user", "--quiet", "is-active", SHOP]).success()).then_some(()));
        }
        true
    }

    fn obstruct(&self, _: &Path, obstructed: bool) {
        if obstructed { fs::write("/run/obstructed", "").unwrap() } else { fs::remove_file("/run/obstructed").unwrap() }
    }
}

#[test]
fn units_conform() {
    apart_from_all("units_conform", |stand| {
        stand.boot();
        stand.unit(SHOP, "Type=notify\nNotifyAccess=all\nExecStartPre=/bin/sh -c 'exec test ! -e /run/obstructed'\nExecStart=/bin/sh -c 'echo $$$$ > /run/shop.pid; systemd-notify --ready; exec sleep 1000'");
        bound(&[SHOP]);
        suite(&Shop, Path::new("/run"));
    });
}

#[test]
fn a_unit_that_ignores_its_end_is_killed_with_all_that_it_forked() {
    apart_from_all("a_unit_that_ignores_its_end_is_killed_with_all_that_it_forked", |stand| {
        stand.boot();
        let forks = "setsid sh -c 'echo $$ > /run/forked; while :; do sleep 0.05; done' &";
        script(Path::new("/run/stubborn"), &format!("trap '' TERM\n{forks}\nwhile :; do sleep 0.05; done"));
        // Restarted when killed, if systemd had its way.
        stand.unit("stubborn.service", "Restart=always\nRestartSec=0\nExecStart=/run/stubborn");
        // Only its first process is ever told to end by systemd.
        stand.unit("leaves.service", "KillMode=process\nExecStart=/bin/sh -c 'sleep 1001 & sleep 1002 & exec sleep 1003'");
        let act = bound(&["stubborn.service", "leaves.service"]);
        act.take(&call(1)).unwrap();
        let (forked, main) = (until("its fork", || pid_in(Path::new("/run/forked"))), stand.pid("stubborn.service"));
        assert!(is_alive(forked) && is_alive(main));
        let found = act.release(&short(6)).unwrap();
        assert!(!is_alive(forked) && !is_alive(main), "nothing is left");
        assert!(found[0].what.contains("stubborn.service is deactivating") && found[0].what.contains("leaves.service has 2"), "{found:?}");
        assert_eq!(act.check(&call(1)).unwrap().holds, Holds::No);
        assert!(!Path::new(GRANTED).exists());
    });
}

#[test]
fn one_that_does_not_start_is_named_with_the_way_to_its_log() {
    apart_from_all("one_that_does_not_start_is_named_with_the_way_to_its_log", |stand| {
        stand.boot();
        stand.unit("good.service", "ExecStart=/bin/sleep 1000");
        stand.unit("bad.service", "Type=oneshot\nRemainAfterExit=yes\nExecStart=/bin/false");
        stand.unit("slow.service", "Type=notify\nExecStart=/bin/sleep 1000");
        let act = bound(&["good.service", "bad.service"]);
        let error = recipes::told(&act.take(&call(1)).unwrap_err());
        assert!(error.contains("bad.service is failed (exit-code); see `journalctl -u bad.service`"), "{error}");
        act.release(&call(1)).unwrap();
        assert_eq!(stand.ctl(&["is-active", "good.service"]), "inactive");
        let late = recipes::told(&bound(&["slow.service"]).take(&short(2)).unwrap_err());
        assert!(late.contains("slow.service is still activating") || late.contains("in time"), "{late}");
        // What the other configuration took is released with it.
        units(&["good.service"]).release(&call(1)).unwrap();
        assert_eq!(stand.ctl(&["is-active", "slow.service"]), "inactive");
    });
}

#[test]
fn no_bound_unit_starts_at_boot_before_a_grant() {
    apart_from_all("no_bound_unit_starts_at_boot_before_a_grant", |stand| {
        stand.unit(SHOP, "ExecStart=/bin/sleep 1000");
        stand.unit("free.service", "ExecStart=/bin/sleep 1000");
        stand.boot();
        stand.ctl(&["enable", SHOP, "free.service"]);
        let act = bound(&[SHOP]);
        act.take(&call(1)).unwrap();
        assert_eq!(stand.ctl(&["is-active", SHOP]), "active");
        // The power fails: what lies in /run is gone.
        fs::remove_file(GRANTED).unwrap();
        stand.boot();
        until("the rest to boot", || (stand.ctl(&["is-active", "free.service"]) == "active").then_some(()));
        assert_eq!(stand.ctl(&["is-active", SHOP, "resilient-active.target"]), "inactive\ninactive");
        stand.ctl(&["start", SHOP]);
        assert_eq!(stand.ctl(&["is-active", SHOP]), "inactive", "nor by hand");
        stand.ctl(&["start", "resilient-active.target", SHOP]);
        assert_eq!(stand.ctl(&["is-active", SHOP]), "inactive", "nor with the target by hand: the file is missing");
        act.take(&call(2)).unwrap();
        assert_eq!(stand.ctl(&["is-active", SHOP]), "active");
    });
}

#[test]
fn units_that_are_not_bound_or_not_there_are_faults() {
    apart_from_all("units_that_are_not_bound_or_not_there_are_faults", |stand| {
        stand.boot();
        stand.unit(SHOP, "ExecStart=/bin/sleep 1000");
        let faults = |act: &Units| -> Vec<String> {
            let found = act.check(&call(1)).unwrap().findings;
            found
                .into_iter()
                .filter(|finding| finding.level == Level::Fault)
                .map(|finding| finding.what)
                .collect()
        };
        let act = units(&[SHOP]);
        assert!(faults(&act).iter().any(|fault| fault.contains("shop.service is not bound")), "{:?}", faults(&act));
        act.bind(LIMIT).unwrap();
        assert_eq!(faults(&act), Vec::<String>::new());
        stand.unit(SHOP, "ExecStart=/bin/sleep 1000\n[Unit]\nRequires=resilient-active.target");
        assert!(faults(&act)[0].contains("has Requires=resilient-active.target"), "{:?}", faults(&act));
        let gone = bound(&["gone.service"]);
        assert!(faults(&gone)[0].contains("it is not-found") || faults(&gone)[0].contains("bad-setting"), "{:?}", faults(&gone));
        assert!(gone.take(&call(1)).is_err());
        gone.release(&call(1)).unwrap();
        // Nobody is there to be asked.
        stand.shut_down();
        assert!(faults(&act).iter().any(|fault| fault.starts_with("cannot check units")), "{:?}", faults(&act));
    });
}

#[test]
fn a_systemd_that_hangs_does_not_keep_services_alive() {
    apart_from_all("a_systemd_that_hangs_does_not_keep_services_alive", |stand| {
        stand.boot();
        stand.unit(SHOP, "ExecStart=/bin/sleep 1000");
        let act = bound(&[SHOP]);
        act.take(&call(1)).unwrap();
        let pid = stand.pid(SHOP);
        let systemd = rustix::process::Pid::from_child(stand.systemd.as_ref().unwrap());
        rustix::process::kill_process(systemd, rustix::process::Signal::STOP).unwrap();
        let error = act.release(&short(2)).unwrap_err();
        assert!(matches!(error, Error::Act { .. }) && recipes::told(&error).contains("in time"), "{error:?}");
        until("it to die all the same", || (!is_alive(pid)).then_some(()));
        rustix::process::kill_process(systemd, rustix::process::Signal::CONT).unwrap();
        act.release(&call(1)).unwrap();
    });
}

#[test]
fn it_is_reached_by_a_bus_as_well() {
    apart_from_all("it_is_reached_by_a_bus_as_well", |stand| {
        let path = Path::new(RUNTIME).join("bus");
        fs::write(Path::new(UNITS).join("dbus.socket"), "[Socket]\nListenStream=%t/bus\n").unwrap();
        stand.unit(
            "dbus.service",
            "Type=notify\nExecStart=dbus-daemon --session --address=systemd: --nofork --nopidfile --systemd-activation",
        );
        stand.boot();
        stand.ctl(&["start", "dbus.socket", "dbus.service"]);
        stand.unit(SHOP, "ExecStart=/bin/sleep 1000");
        let binding = Binding { folder: UNITS.into(), granted: GRANTED.into(), ..Binding::default() };
        let settings = Settings { binding, address: Address::Bus(path), ..Settings::new(vec![SHOP.into()], "/run/records".into()) };
        let act = Units::new(settings).unwrap();
        until("systemd to be on the bus", || act.bind(LIMIT).ok());
        act.take(&call(1)).unwrap();
        assert_eq!(act.check(&call(1)).unwrap().holds, Holds::Yes);
        act.release(&call(1)).unwrap();
        assert_eq!(stand.ctl(&["is-active", SHOP]), "inactive");
    });
}

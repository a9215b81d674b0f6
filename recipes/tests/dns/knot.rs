//! The means *update*, with Knot: another server's understanding of the same messages.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use recipes::act::Act;
use recipes::act::conform::call;
use recipes::act::dns::{Dns, FAILOVER, Means, PREPARE, RESTORE, Settings, Update};

use crate::bind::{PRIMARY, ZONE, apart, dig, key};
use crate::{HOME, OTHER, clock, secret, settings, until};

const SECRET: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

struct Knot {
    child: Child,
    at: SocketAddr,
}

impl Knot {
    fn start(folder: &Path) -> Knot {
        apart();
        let at = PRIMARY;
        let text = ZONE.replace("PRIMARY", &at.ip().to_string()).replace("SECONDARY", &at.ip().to_string());
        fs::write(folder.join("example.org.zone"), text).unwrap();
        secret(&folder.join("move.key"), &key("move", SECRET));
        let path = folder.display();
        let conf = format!(
            "server:\n  rundir: {path}\n  listen: {}@{}\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\nlog:\n - target: stderr\n   any: info\ndatabase:\n  storage: {path}/db\n\
             key:\n - id: move\n   algorithm: hmac-sha256\n   secret: {SECRET}\n\
             acl:\n - id: moves\n   key: move\n   action: update\n\
             zone:\n - domain: example.org\n   storage: {path}\n   file: example.org.zone\n   acl: moves\n   journal-content: none\n   journal-content: none\n",
            at.ip(),
            at.port()
        );
        let path = folder.join("knot.conf");
        fs::write(&path, conf).unwrap();
        let said = fs::File::create(folder.join("said")).unwrap();
        let child = Command::new("/usr/sbin/knotd")
            .arg("-c")
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(said)
            .spawn()
            .expect("knotd is installed");
        let mut knot = Knot { child, at };
        until("knot to serve", || {
            assert!(knot.child.try_wait().unwrap().is_none(), "{}", fs::read_to_string(folder.join("said")).unwrap());
            (!dig(at, "example.org", "SOA").is_empty()).then_some(())
        });
        knot
    }
}

impl Drop for Knot {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn of(knot: &Knot, folder: &Path, key_file: &str) -> Settings {
    let update = Update { server: knot.at, key_file: folder.join(key_file) };
    Settings { servers: vec![knot.at], ..settings(folder, Means::Update(update)) }
}

#[test]
fn every_action_and_its_inverse() {
    let folder = tempfile::tempdir().unwrap();
    let knot = Knot::start(folder.path());
    let dns = Dns::new(of(&knot, folder.path(), "move.key")).unwrap();
    for (action, said) in [
        (PREPARE, format!("300 {HOME}")),
        (FAILOVER, format!("300 {OTHER}")),
        (RESTORE, format!("14400 {HOME}")),
        (FAILOVER, format!("300 {OTHER}")),
    ] {
        let done = dns
            .run(action, "web1", &call(1))
            .unwrap_or_else(|error| panic!("{action}: {}", recipes::told(&error)));
        assert!(done.verified.unwrap().is_well(), "{action}");
        assert_eq!(dig(knot.at, "www.example.org", "A"), [said], "{action}");
    }
    dns.release(&call(1)).unwrap();
    assert_eq!(dig(knot.at, "example.org", "A"), [format!("14400 {HOME}")]);
    assert_eq!(dig(knot.at, "example.org", "MX"), ["3600 10 mail.example.org."]);
}

#[test]
fn what_it_refuses_is_understood() {
    let folder = tempfile::tempdir().unwrap();
    let knot = Knot::start(folder.path());
    secret(&folder.path().join("wrong"), &key("move", "MDEyMzQ1Njc4OWFiY2RlZg=="));
    secret(&folder.path().join("stranger"), &key("stranger", SECRET));
    let skewed = Settings { clock: clock(-7200), ..of(&knot, folder.path(), "move.key") };
    for (settings, part) in
        [(of(&knot, folder.path(), "wrong"), "BADSIG"), (of(&knot, folder.path(), "stranger"), "BADKEY"), (skewed, "BADTIME")]
    {
        let error = recipes::told(&Dns::new(settings).unwrap().take(&call(1)).unwrap_err());
        assert!(error.contains(part), "{part}: {error}");
        assert_eq!(dig(knot.at, "www.example.org", "A"), [format!("14400 {HOME}")]);
    }
}

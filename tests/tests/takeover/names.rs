//! Names point to the node that is active: a real primary, which is down when it is needed.

use crate::moving::{addresses, at, reach};
use crate::scene::{LIMIT, Scene};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tests::wait::until;

/// The primary is beside the node that takes over.
const SERVER: &str = "127.0.0.1";
const SECRET: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// Two domains: one is pointed by itself, the other by hand.
fn domains(folder: &Path) -> String {
    let one = |domain: &str, automatic: bool| {
        format!(
            "[[takeover.dns]]\ndomain = \"{domain}\"\nmeans = \"update\"\nserver = \"{SERVER}\"\nservers = [\"{SERVER}\"]\nkey_file = {:?}\nhome = \"web1\"\nautomatic = {automatic}\nevery = \"1s\"\n\
             [[takeover.dns.node]]\nname = \"web1\"\naddresses = [\"192.0.2.1\"]\n[[takeover.dns.node]]\nname = \"web2\"\naddresses = [\"198.51.100.7\"]\n",
            folder.join("move.key")
        )
    };
    one("example.org", true) + &one("example.net", false)
}

struct Named(Child);

impl Drop for Named {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn primary(scene: &Scene, folder: &Path) -> Named {
    let path = folder.display();
    let zone = |domain: &str| {
        format!("zone \"{domain}\" {{ type primary; file \"{path}/{domain}\"; update-policy {{ grant move zonesub A; }}; }};\n")
    };
    let conf = format!(
        "include \"{path}/move.key\";\ncontrols {{ }};\noptions {{ directory \"{path}\"; pid-file \"{path}/pid\"; session-keyfile \"{path}/session\"; lock-file none; listen-on {{ {SERVER}; }}; listen-on-v6 {{ none; }}; recursion no; dnssec-validation no; notify no; }};\n{}{}",
        zone("example.org"),
        zone("example.net")
    );
    std::fs::write(folder.join("named.conf"), conf).unwrap();
    let child = scene.cluster.within("web2", || {
        let mut command = Command::new("/usr/sbin/named");
        command
            .args(["-f", "-n", "1", "-c"])
            .arg(folder.join("named.conf"))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.spawn().expect("named is installed")
    });
    Named(child)
}

/// Where a name points to, and for how long.
fn points(scene: &Scene, name: &str) -> String {
    let said = scene.cluster.within("web2", || {
        let server = format!("@{SERVER}");
        Command::new("dig")
            .args([&server, name, "A", "+norec", "+tcp", "+noall", "+answer", "+time=2", "+tries=1"])
            .output()
            .unwrap()
    });
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    let line = text.lines().find(|line| !line.starts_with(';')).unwrap_or_default();
    let words: Vec<&str> = line.split_whitespace().collect();
    if words.len() == 5 { format!("{} {}", words[1], words[4]) } else { "nothing".into() }
}

fn pointed(scene: &Scene, name: &str, expected: &str) {
    until(LIMIT, &format!("{name} to point to {expected}"), || {
        let now = points(scene, name);
        if now == expected { Ok(()) } else { Err(now) }
    });
}

/// A key, and both domains as they are at first.
fn prepared(folder: &Path) -> PathBuf {
    let key = folder.join("move.key");
    std::fs::write(&key, format!("key \"move\" {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};\n")).unwrap();
    std::fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    for domain in ["example.org", "example.net"] {
        let text = "$TTL 60\n@ SOA ns h 1 3600 900 1209600 300\n NS ns\nns A 203.0.113.53\n@ 14400 A 192.0.2.1\nwww 14400 A 192.0.2.1\n";
        std::fs::write(folder.join(domain), text).unwrap();
    }
    key
}

/// Scenario 27, and the way home: the takeover is not undone by a primary that is down, and the names follow when it is back.
#[test]
fn a_primary_that_is_down_degrades_a_takeover_and_is_asked_again() {
    let folder = tempfile::tempdir().unwrap();
    prepared(folder.path());
    let mut scene = Scene::new(2, "automatic = true\n", &(domains(folder.path()) + &addresses()));
    scene.kill_host("web1");
    scene.wait_for_active(&["web2"]);
    // Whoever comes by the address is served all the same, and status says what is wrong.
    reach(&scene);
    at(&scene, "web2");
    until(LIMIT, "status to say that the names are not there", || {
        let said = scene.cluster.run("web2", "importer", &["status", "--json"]).ended(1).json();
        let (address, domain) = (&said["addresses"][0], &said["domains"][0]);
        if address["state"] == "here" && domain["word"] == "failing" { Ok(()) } else { Err(format!("{address:#} {domain:#}")) }
    });
    let failed = scene.cluster.run("web2", "importer", &["dns", "failover", "--domain", "example.org"]);
    assert_eq!(failed.status, 1, "nobody answers: {}{}", failed.text(), failed.err);
    assert!(failed.text().contains("error: cannot do FAILOVER for example.org"), "{}", failed.text());
    let _named = primary(&scene, folder.path());
    pointed(&scene, "www.example.org", "300 198.51.100.7");
    pointed(&scene, "example.org", "300 198.51.100.7");
    assert_eq!(scene.standing("web2"), "active");
    assert_eq!(points(&scene, "www.example.net"), "14400 192.0.2.1", "one switch alone never acts");
    by_hand(&scene);
    scene.cluster.stop();
}

fn by_hand(scene: &Scene) {
    let run = |words: &[&str]| scene.cluster.run("web2", "importer", words);
    let verified = run(&["dns", "verify", "--domain", "example.org", "--json"]).ended(0).json();
    assert_eq!((verified[0]["last"]["action"].as_str(), verified[0]["servers"][0]["says"].as_str()), (Some("FAILOVER"), Some("same")));
    let dry = run(&["dns", "failover", "--domain", "example.net", "--dry-run"]).ended(0);
    assert!(dry.text().contains("-www.example.net. 14400 IN A 192.0.2.1\n+example.net. 300"), "{}", dry.text());
    assert_eq!(points(scene, "www.example.net"), "14400 192.0.2.1", "a dry run changes nothing");
    let prepared = run(&["dns", "prepare", "--domain", "example.net"]).ended(0);
    assert!(prepared.text().contains("ready in"), "{}", prepared.text());
    assert_eq!(points(scene, "www.example.net"), "300 192.0.2.1");
    for said in ["PREPARE to web1: undone", "there is nothing to bring back"] {
        let undone = run(&["dns", "undo", "--domain", "example.net"]).ended(0);
        assert!(undone.text().contains(said), "{}", undone.text());
    }
    assert_eq!(points(scene, "www.example.net"), "14400 192.0.2.1");
    let all = run(&["dns", "restore", "--json"]).ended(0).json();
    assert_eq!((all[0]["changed"].as_bool(), all[1]["changed"].as_bool()), (Some(true), Some(false)), "{all}");
    assert_eq!(points(scene, "www.example.org"), "14400 192.0.2.1");
    let linted = run(&["dns", "lint", "--domain", "example.org"]).ended(4);
    assert!(linted.text().contains("warning: www.example.org. A is remembered for 14400 s"), "{}", linted.text());
    let unknown = run(&["dns", "lint", "--domain", "example.com"]).ended(2);
    assert!(unknown.err.contains("it has: example.org, example.net"), "{}", unknown.err);
}

/// What only a person can mend is tried again as well: nobody has to think of the names then.
#[test]
fn a_key_that_may_not_be_used_is_used_when_it_is_mended() {
    let folder = tempfile::tempdir().unwrap();
    let key = prepared(folder.path());
    let third = "[[takeover.dns.node]]\nname = \"web3\"\naddresses = [\"203.0.113.7\"]\n";
    let both = domains(folder.path());
    let (first, second) = both.split_at(both.rfind("[[takeover.dns]]").unwrap());
    let second = second
        .replace("servers = [\"127.0.0.1\"]", "servers = [\"127.0.0.9\"]")
        .replace("home = \"web1\"", "home = \"web2\"");
    let mut scene = Scene::new(2, "automatic = true\n", &format!("{first}{second}{third}"));
    let _named = primary(&scene, folder.path());
    pointed(&scene, "www.example.org", "14400 192.0.2.1");
    std::fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
    scene.kill_host("web1");
    scene.wait_for_active(&["web2"]);
    scene.cluster.daemon("web2", "importer").says(LIMIT, "others may read it");
    assert_eq!(points(&scene, "www.example.org"), "14400 192.0.2.1");
    std::fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    pointed(&scene, "www.example.org", "300 198.51.100.7");
    let run = |words: &[&str]| scene.cluster.run("web2", "importer", &[&["dns"], words].concat());
    run(&["restore", "--domain", "example.org"]).ended(0);
    let unclear = run(&["failover"]).ended(2);
    assert!(unclear.err.contains("web2 is home of example.net"), "{}", unclear.err);
    assert_eq!(points(&scene, "www.example.org"), "14400 192.0.2.1", "nothing is done of what was not said clearly");
    let done = run(&["failover", "--domain", "example.net", "--to", "web3"]).ended(4);
    assert!(done.text().contains("0 of 1 authoritative servers have it"), "done, and not seen: {}", done.text());
    assert_eq!(points(&scene, "www.example.net"), "300 203.0.113.7");
    scene.cluster.stop();
}

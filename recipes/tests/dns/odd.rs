//! Zones, files and hosts that are not as one wishes.

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use recipes::act::conform::call;
use recipes::act::dns::{Dns, FAILOVER, Means, PREPARE, Points, RESTORE, Service, Settings, Update, Url};
use recipes::act::{Act, Call};
use recipes::data::Level;

use crate::bind::{Bind, ZONE, dig, nsupdate, rndc};
use crate::files::zone_file;
use crate::{HOME, OTHER, script, secret, settings, times};

const DYNAMIC: &str = "update-policy { grant move zonesub A AAAA CNAME; };";

fn of(bind: &Bind) -> Settings {
    Settings { servers: vec![bind.primary], ..settings(&bind.folder, Means::ZoneFile(zone_file(&bind.folder))) }
}

fn update(bind: &Bind) -> Settings {
    let means = Means::Update(Update { server: bind.primary, key_file: bind.folder.join("move.key") });
    Settings { servers: vec![bind.primary], ..settings(&bind.folder, means) }
}

#[track_caller]
fn run(words: &str) {
    let said = Command::new("/bin/sh").args(["-ec", words]).output().unwrap();
    assert!(said.status.success(), "{words}: {}", String::from_utf8_lossy(&said.stderr));
}

/// File systems that only this thread and what it begins sees.
fn with_mounts_of_its_own() {
    // SAFETY: only what is mounted where changes for this thread, which has nothing open.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }.expect("root may have mounts of its own");
    run("mount --make-rprivate /");
}

fn left_over(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.contains("resilient")).collect()
}

#[test]
fn a_zone_of_many_records_is_pointed_like_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let hosts: String = (0..60_000).map(|host| format!("host{host}\tA\t10.{}.{}.1\n", host >> 8, host & 255)).collect();
    let bind = Bind::serving(folder.path(), "", &format!("{ZONE}{hosts}$GENERATE 1-2000 made$ A 10.0.0.1\n"));
    let dns = Dns::new(of(&bind)).unwrap();
    let begin = times().0;
    let (_, lines) = dns.plan(FAILOVER, "web1", &call(1)).unwrap();
    assert_eq!(lines.len(), 6, "{lines:?}");
    assert!(times().0 - begin < Duration::from_secs(15), "{:?}", times().0 - begin);
    dns.take(&call(1)).unwrap();
    assert_eq!(dig(bind.primary, "www.example.org", "A"), [format!("300 {OTHER}")]);
    assert_eq!(dig(bind.primary, "made1999.example.org", "A"), ["3600 10.0.0.1"]);
}

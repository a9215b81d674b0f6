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
fn what_somebody_saves_while_the_server_refuses_the_file_is_not_lost() {
    let folder = tempfile::tempdir().unwrap();
    let bind = Bind::start(folder.path(), "");
    let program = folder.path().join("weak");
    let (zone, copy) = (bind.file().display().to_string(), folder.path().join("copy").display().to_string());
    // An editor exchanges the file, too.
    let save = format!("cp '{zone}' '{copy}'; echo 'late A 192.0.2.99' >> '{copy}'; mv '{copy}' '{zone}'");
    script(&program, &format!("case \"$*\" in *reload*) {save}; echo 'out of memory' >&2; exit 1;; esac\nexec \"$@\""));
    let mut file = zone_file(folder.path());
    file.rndc = [vec![program.into()], rndc(folder.path())].concat();
    let error = Dns::new(Settings { means: Means::ZoneFile(file), ..of(&bind) })
        .unwrap()
        .take(&call(1))
        .unwrap_err();
    let told = recipes::told(&error);
    assert!(told.contains("out of memory") && told.contains("stays as it was saved"), "{told}");
    assert!(bind.text().contains("late A 192.0.2.99"), "{}", bind.text());
    assert_eq!(left_over(folder.path()), [""; 0]);
    Dns::new(of(&bind)).unwrap().take(&call(1)).unwrap();
    assert_eq!(dig(bind.primary, "late.example.org", "A"), ["3600 192.0.2.99"]);
    assert_eq!(dig(bind.primary, "www.example.org", "A"), [format!("300 {OTHER}")]);
}

#[test]
fn a_disk_that_is_full_or_read_only_leaves_the_file_as_it_was_and_no_part_of_another() {
    let (folder, records) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    with_mounts_of_its_own();
    let place = folder.path().display();
    run(&format!("mount -t tmpfs -o size=256k none '{place}'"));
    let bind = Bind::start(folder.path(), "");
    let dns = Dns::new(Settings { records: records.path().into(), ..of(&bind) }).unwrap();
    let before = bind.text();
    // It is made larger than what is left.
    let large = format!("{before}{}", "; a comment of sixty-four bytes, so that the file takes its place\n".repeat(1000));
    fs::write(bind.file(), &large).unwrap();
    run(&format!("dd if=/dev/zero of='{place}/full' bs=1k 2>/dev/null || true; truncate -s -8k '{place}/full'"));
    let refused = |why: &str| {
        let error = dns.take(&call(1)).unwrap_err();
        assert!(recipes::told(&error).contains(why), "{}", recipes::told(&error));
        assert_eq!(error.kind(), recipes::Kind::Retry);
        assert_eq!((bind.text(), left_over(folder.path())), (large.clone(), Vec::new()));
    };
    refused("No space left on device");
    fs::remove_file(folder.path().join("full")).unwrap();
    run(&format!("mount --bind '{place}' '{place}'; mount -o remount,bind,ro '{place}'"));
    refused("Read-only file system");
    run(&format!("umount '{place}'"));
    dns.take(&call(1)).unwrap();
    assert_eq!(dig(bind.primary, "www.example.org", "A"), [format!("300 {OTHER}")]);
}

#[test]
fn a_server_that_hangs_takes_no_more_time_than_there_is_and_the_file_is_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let bind = Bind::start(folder.path(), "");
    let program = folder.path().join("hangs");
    script(&program, "case \"$*\" in *reload*) exec sleep 600;; esac\nexec \"$@\"");
    let mut file = zone_file(folder.path());
    file.rndc = [vec![program.into()], rndc(folder.path())].concat();
    let (before, begin) = (bind.text(), times().0);
    let dns = Dns::new(Settings { means: Means::ZoneFile(file), ..of(&bind) }).unwrap();
    let error = dns.take(&Call { within: Duration::from_secs(4), ..call(1) }).unwrap_err();
    assert!(recipes::told(&error).contains("is as it was"), "{}", recipes::told(&error));
    assert!(times().0 - begin < Duration::from_secs(8));
    assert_eq!((bind.text(), left_over(folder.path())), (before, Vec::new()));
}

#[test]
fn a_name_that_is_an_alias_is_refused_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let bind = Bind::serving(folder.path(), DYNAMIC, &ZONE.replace("www\t14400\tIN\tA\t192.0.2.1", "www CNAME elsewhere"));
    let dns = Dns::new(update(&bind)).unwrap();
    let error = dns.take(&call(1)).unwrap_err();
    assert!(recipes::told(&error).contains("www.example.org. is an alias of elsewhere.example.org."), "{}", recipes::told(&error));
    assert_eq!(dig(bind.primary, "example.org", "A"), [format!("14400 {HOME}")], "nor is the other name moved");
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

#[test]
fn signatures_and_records_that_stand_elsewhere_are_found_by_lint() {
    let signature = "www RRSIG A 13 3 14400 20301231000000 20201231000000 12345 example.org. MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Nzg5YWJjZGVmMDEyMzQ1Njc4OWFiY2RlZg==\n";
    let include = "$INCLUDE included\n";
    let www = "www\t14400\tIN\tA\t192.0.2.1\n";
    for (zone, included, why) in [
        (ZONE.to_owned() + include, signature, "the file has signatures"),
        (ZONE.replace(www, include), www, "stand elsewhere than in this file"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("included");
        fs::write(&path, included).unwrap();
        let bind = Bind::serving(folder.path(), "", &zone.replace("$INCLUDE included", &format!("$INCLUDE {}", path.display())));
        let dns = Dns::new(of(&bind)).unwrap();
        let found = dns.lint(&call(1)).unwrap();
        assert!(found.iter().any(|finding| finding.level == Level::Fault && finding.what.contains(why)), "{found:?}");
        let before = bind.text();
        assert!(recipes::told(&dns.take(&call(1)).unwrap_err()).contains(why));
        assert_eq!(bind.text(), before);
    }
}

#[test]
fn what_was_shortened_a_moment_ago_is_not_ready_before_its_time() {
    let folder = tempfile::tempdir().unwrap();
    let bind = Bind::start(folder.path(), DYNAMIC);
    let time = Arc::new(AtomicU64::new(times().1));
    let seen = time.clone();
    let dns = Dns::new(Settings { clock: Arc::new(move || seen.load(Ordering::SeqCst)), ..update(&bind) }).unwrap();
    let first = dns.run(FAILOVER, "web1", &call(1)).unwrap().last;
    assert_eq!(first.ready_s - first.since_s, 14_400);
    time.fetch_add(60, Ordering::SeqCst);
    let second = dns.run(PREPARE, "web1", &call(1)).unwrap();
    assert!(!second.changed, "its time is short already");
    assert_eq!(second.last.ready_s, first.ready_s, "and some remember the longer one still");
    // A clock that goes back makes nobody wait longer than at first.
    time.fetch_sub(120, Ordering::SeqCst);
    let third = dns.run(RESTORE, "web1", &call(1)).unwrap().last;
    assert_eq!(third.ready_s - third.since_s, 14_340);
}

#[test]
fn a_name_that_is_there_by_a_wildcard_gets_records_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let zone = ZONE.replace("www\t14400", "*\t14400") + "*.deep 14400 A 192.0.2.1\n";
    let bind = Bind::serving(folder.path(), DYNAMIC, &zone);
    let names = ["@", "www", "a.b.deep"].map(str::to_owned).to_vec();
    let dns = Dns::new(Settings { names, ..update(&bind) }).unwrap();
    for (action, expected) in [(PREPARE, format!("300 {HOME}")), (FAILOVER, format!("300 {OTHER}")), (RESTORE, format!("14400 {HOME}"))] {
        dns.run(action, "web1", &call(1))
            .unwrap_or_else(|error| panic!("{action}: {}", recipes::told(&error)));
        for name in ["example.org", "www.example.org", "a.b.deep.example.org"] {
            assert_eq!(dig(bind.primary, name, "A").first(), Some(&expected), "{action} {name}");
        }
        assert_eq!(dig(bind.primary, "other.example.org", "A"), [format!("14400 {HOME}")]);
    }
    // What has records of its own that somebody changed is not taken for a wildcard's.
    nsupdate(bind.primary, &bind.folder, "update delete www.example.org A");
    dns.take(&call(2)).unwrap();
    assert_eq!(dig(bind.primary, "www.example.org", "A"), [format!("300 {OTHER}")]);
}

#[test]
fn a_name_server_without_an_address_is_named_and_the_others_are_asked() {
    let folder = tempfile::tempdir().unwrap();
    let bind = Bind::serving(folder.path(), DYNAMIC, &ZONE.replace("NS\tns2", "NS\tns9.nowhere.invalid."));
    let dns = Dns::new(Settings { servers: Vec::new(), port: bind.primary.port(), ..update(&bind) }).unwrap();
    let done = dns.run(FAILOVER, "web1", &call(1)).unwrap();
    let said = done.verified.unwrap().to_string();
    assert_eq!(said, "1 of 2 authoritative servers have it; ns9.nowhere.invalid is silent: no address of its name was found");
    assert!(
        dns.points(&call(1))
            .unwrap()
            .iter()
            .any(|(server, points)| server.name == "ns1.example.org" && *points == Points::To("web1".into()))
    );
}

#[test]
fn whoever_resolves_names_for_this_host_and_is_silent_holds_up_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let bind = Bind::serving(folder.path(), DYNAMIC, &ZONE.replace("NS\tns2", "NS\tns.example.net."));
    with_mounts_of_its_own();
    let silent = UdpSocket::bind("127.77.0.9:53").unwrap();
    fs::write(folder.path().join("resolv.conf"), "nameserver 127.77.0.9\noptions timeout:20\n").unwrap();
    run(&format!("mount --bind '{}' \"$(readlink -f /etc/resolv.conf)\"", folder.path().join("resolv.conf").display()));
    let begin = times().0;
    let dns = Dns::new(Settings { servers: Vec::new(), port: bind.primary.port(), ..update(&bind) }).unwrap();
    let said = dns.verify(&call(1)).unwrap().to_string();
    assert!(said.starts_with("1 of 2") && said.contains("ns.example.net is silent"), "{said}");
    assert!(times().0 - begin < Duration::from_secs(10), "{:?}", times().0 - begin);
    let password_file = folder.path().join("password");
    secret(&password_file, "open sesame\n");
    let url = Url::parse("https://dyn.example.net/nic/update").unwrap();
    let means = Means::Dyndns2(Service { url, user: "shop".into(), password_file });
    let records = folder.path().join("others");
    let begin = times().0;
    let error = Dns::new(Settings { records, ..settings(folder.path(), means) })
        .unwrap()
        .take(&Call { within: Duration::from_secs(2), ..call(1) })
        .unwrap_err();
    assert!(recipes::told(&error).contains("did not answer"), "{}", recipes::told(&error));
    assert!(times().0 - begin < Duration::from_secs(10), "{:?}", times().0 - begin);
    drop(silent);
}

#[test]
fn names_that_nobody_can_ask_for_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let means = Means::ZoneFile(zone_file(folder.path()));
    let error = Dns::new(Settings { names: vec!["bücher".into()], ..settings(folder.path(), means) }).err().unwrap();
    assert!(recipes::told(&error).contains("xn--"), "{}", recipes::told(&error));
}

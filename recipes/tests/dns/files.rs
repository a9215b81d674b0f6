//! The means *zone file*, with BIND as primary and secondary.

use std::fs;
use std::path::{Path, PathBuf};

use recipes::act::conform::{Subject, call, suite};
use recipes::act::dns::{Dns, FAILOVER, Means, PREPARE, RESTORE, Settings, ZoneFile};
use recipes::act::{Act, Call, Holds};
use recipes::data::Level;

use crate::bind::{Bind, PRIMARY, ZONE, dig, rndc, rndc_says};
use crate::{HOME, OTHER, clonepanel, killed, script, settings, until};

pub fn zone_file(folder: &Path) -> ZoneFile {
    ZoneFile { path: folder.join("zone"), check: "named-checkzone".into(), rndc: rndc(folder) }
}

fn of(bind: &Bind) -> Settings {
    Settings { servers: vec![bind.primary], ..settings(&bind.folder, Means::ZoneFile(zone_file(&bind.folder))) }
}

fn told(error: &recipes::Error) -> String {
    format!("{} ({})", recipes::told(error), error.hint().unwrap_or_default())
}

/// The zone's text without what may change: the serial and what is declared.
fn others(text: &str) -> Vec<String> {
    let ours =
        |line: &&str| line.starts_with("@\t14400") || line.starts_with("@\t900") || line.starts_with("www") || line.contains("serial");
    text.split_inclusive('\n').filter(|line| !ours(line)).map(str::to_owned).collect()
}

/// As a record of a gone process has it.
struct Zone;

impl Subject for Zone {
    fn act(&self, place: &Path) -> Box<dyn Act> {
        let program = place.join("reload");
        if !program.exists() {
            let lines =
                format!("[ ! -e '{}' ] || {{ echo 'connection refused' >&2; exit 1; }}\nexec \"$@\"", place.join("obstructed").display());
            script(&program, &lines);
        }
        let mut file = zone_file(place);
        file.rndc.insert(0, program.into());
        let servers = vec![PRIMARY];
        Box::new(Dns::new(Settings { servers, ..settings(place, Means::ZoneFile(file)) }).unwrap())
    }

    fn record(&self, place: &Path) -> PathBuf {
        place.join("records/dns-example.org.json")
    }

    fn holds(&self, _: &Path) -> bool {
        let said = ["example.org", "www.example.org"].map(|name| dig(PRIMARY, name, "A"));
        said.iter().all(|said| said.len() == 1 && said[0].ends_with(OTHER))
    }

    fn lose(&self, place: &Path) -> bool {
        let text = fs::read_to_string(place.join("zone")).unwrap().replace(OTHER, HOME);
        let serial = text
            .lines()
            .find(|line| line.contains("serial"))
            .unwrap()
            .split_whitespace()
            .next()
            .unwrap()
            .to_owned();
        let next = (serial.parse::<u32>().unwrap() + 1).to_string();
        fs::write(place.join("zone"), text.replace(&serial, &next)).unwrap();
        rndc_says(place, &["reload", "example.org"]);
        until("the server to read it", || (!self.holds(place)).then_some(()));
        true
    }

    fn obstruct(&self, place: &Path, obstructed: bool) {
        let path = place.join("obstructed");
        if obstructed { fs::write(path, "").unwrap() } else { fs::remove_file(path).unwrap() }
    }
}

#[test]
fn a_zone_file_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let _bind = Bind::start(folder.path(), "");
    suite(&Zone, folder.path());
}

#[test]
fn one_that_is_killed_at_any_moment_is_taken_up_by_the_next() {
    killed::victim(&Zone);
    let folder = tempfile::tempdir().unwrap();
    let bind = Bind::start(folder.path(), "");
    killed::suite(&Zone, "files::one_that_is_killed_at_any_moment_is_taken_up_by_the_next", &killed::place(&folder));
    assert_eq!(others(&bind.text()), others(&original(&bind)), "and nothing else changed");
}

fn original(bind: &Bind) -> String {
    ZONE.replace("PRIMARY", &bind.primary.ip().to_string())
        .replace("SECONDARY", &bind.secondary.ip().to_string())
}

#[test]
fn clonepanels_three_actions_change_what_they_say_and_nothing_else_on_both_servers() {
    let folder = tempfile::tempdir().unwrap();
    let bind = Bind::start(folder.path(), "").with_secondary();
    let actions = folder.path().join("actions");
    clonepanel(&actions);
    let dns = Dns::new(Settings {
        actions: Some(actions),
        port: bind.primary.port(),
        servers: vec![bind.primary, bind.secondary],
        ..of(&bind)
    })
    .unwrap();
    let before = bind.text();
    for (action, ttl, to, serial) in [
        (PREPARE, 900, HOME, 2),
        (FAILOVER, 900, OTHER, 3),
        (FAILOVER, 900, OTHER, 3),
        (RESTORE, 14_400, HOME, 4),
        (RESTORE, 14_400, HOME, 4),
    ] {
        let (planned, lines) = dns.plan(action, "web1", &call(7)).unwrap();
        let text = bind.text();
        let done = dns.run(action, "web1", &call(7)).unwrap_or_else(|error| panic!("{action}: {}", told(&error)));
        assert_eq!(planned, done.plan);
        assert_eq!(done.changed, !lines.is_empty(), "{action}: {lines:?}");
        let verified = done.verified.unwrap();
        assert_eq!(verified.to_string(), "2 of 2 authoritative servers have it");
        for name in ["example.org", "www.example.org"] {
            for at in [bind.primary, bind.secondary] {
                assert_eq!(dig(at, name, "A"), [format!("{ttl} {to}")], "{action} {name}");
            }
        }
        assert_eq!(others(&bind.text()), others(&before), "{action}: what is not declared stays, byte for byte");
        assert!(bind.text().contains(&format!("202611220{serial} ; serial")), "{action}: {}", bind.text());
        if done.changed {
            let new = bind.text();
            assert!(
                lines
                    .iter()
                    .filter(|line| line.starts_with('+'))
                    .all(|line| new.lines().any(|new| *new == line[1..])),
                "{lines:?}"
            );
            assert!(
                lines
                    .iter()
                    .filter(|line| line.starts_with('-'))
                    .all(|line| text.lines().any(|old| *old == line[1..])),
                "{lines:?}"
            );
        }
        if action == PREPARE {
            assert_eq!(done.last.ready_s - done.last.since_s, 14_400, "nobody remembers the old one when its own TTL is over");
        }
        assert_eq!((done.last.epoch, done.last.action.as_str()), (7, action));
    }
    assert_eq!(bind.text(), before.replace("2026112201", "2026112204"), "RESTORE is the exact inverse, but for the serial");
}

#[test]
fn a_release_brings_back_exactly_what_was_there_unless_somebody_pointed_it_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let text = ZONE.replace("www\t14400\tIN\tA\t192.0.2.1\n", "www 77 A 203.0.113.1\n      78 TXT \"with it\"\nwww A 203.0.113.2\n");
    let bind = Bind::serving(folder.path(), "", &text.replace("www A 203", "www 77 A 203"));
    let dns = Dns::new(of(&bind)).unwrap();
    let ask = |name| {
        let mut said = dig(bind.primary, name, "A");
        said.sort();
        said
    };
    dns.take(&call(3)).unwrap();
    assert_eq!((ask("www.example.org"), ask("example.org")), (vec![format!("300 {OTHER}")], vec![format!("300 {OTHER}")]));
    dns.take(&call(4)).unwrap();
    assert!(dns.release(&call(4)).unwrap().iter().all(|finding| finding.level == Level::Note));
    assert_eq!(ask("www.example.org"), ["77 203.0.113.1", "77 203.0.113.2"]);
    assert_eq!(ask("example.org"), [format!("14400 {HOME}")]);
    assert_eq!(dig(bind.primary, "www.example.org", "TXT"), ["78 \"with it\""]);
    dns.take(&call(5)).unwrap();
    fs::write(bind.file(), bind.text().replace(OTHER, "203.0.113.9")).unwrap();
    let found = dns.release(&call(5)).unwrap();
    assert!(found[0].what.contains("was pointed elsewhere since"), "{found:?}");
    assert!(bind.text().contains("203.0.113.9"), "what somebody else wrote stays");
}

#[test]
fn a_secondary_that_is_dead_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut bind = Bind::start(folder.path(), "").with_secondary();
    let settings = Settings { servers: vec![bind.primary, bind.secondary], ..of(&bind) };
    bind.end_secondary();
    let dns = Dns::new(settings).unwrap();
    let done = dns.run(FAILOVER, "web1", &call(1)).unwrap();
    let verified = done.verified.unwrap();
    assert_eq!((verified.well(), verified.servers.len()), (1, 2));
    let what = &done.findings.iter().find(|finding| finding.level == Level::Warning).unwrap().what;
    assert!(what.contains("1 of 2 authoritative servers have it") && what.contains(&format!("{} is silent", bind.secondary)), "{what}");
    assert!(!dns.verify(&call(1)).unwrap().is_well());
    let bind = bind.with_secondary();
    until("the secondary to catch up", || dns.verify(&call(1)).unwrap().is_well().then_some(()));
    // One that says something else under the same serial is found, since records are compared.
    let text = bind.text().replace(OTHER, "203.0.113.9");
    fs::write(bind.file(), text).unwrap();
    rndc_says(&bind.folder, &["reload", "example.org"]);
    let differs = until("the primary to differ", || Some(dns.verify(&call(1)).unwrap()).filter(|verified| !verified.is_well()));
    assert!(differs.to_string().starts_with("1 of 2") && differs.to_string().contains("203.0.113.9"), "{differs}");
}

#[test]
fn what_somebody_saves_meanwhile_is_not_lost() {
    let folder = tempfile::tempdir().unwrap();
    let bind = Bind::start(folder.path(), "");
    let check = folder.path().join("check");
    // The third time BIND reads a text is after the zone was read, and before it is written.
    let lines = "n=$(cat n 2>/dev/null || echo 0); echo $((n + 1)) > n\n[ $n -ne 2 ] || echo 'late A 192.0.2.99' >> zone\nexec named-checkzone \"$@\"";
    script(&check, lines);
    let file = ZoneFile { check, ..zone_file(folder.path()) };
    let dns = Dns::new(Settings { means: Means::ZoneFile(file), ..of(&bind) }).unwrap();
    dns.take(&call(1)).unwrap();
    assert!(fs::read_to_string(folder.path().join("n")).unwrap().trim().parse::<u32>().unwrap() > 3, "it began anew");
    assert_eq!(dig(bind.primary, "late.example.org", "A"), ["3600 192.0.2.99"]);
    assert_eq!(dig(bind.primary, "www.example.org", "A"), [format!("300 {OTHER}")]);
    assert!(
        !fs::read_dir(folder.path())
            .unwrap()
            .any(|entry| entry.unwrap().file_name().to_string_lossy().contains("resilient"))
    );
}

#[test]
fn zones_whose_file_must_not_be_edited_are_refused_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let bind = Bind::start(folder.path(), "allow-update { key move; };");
    let dns = Dns::new(of(&bind)).unwrap();
    let before = bind.text();
    let refused = |why: &str| {
        let error = dns.take(&call(1)).unwrap_err();
        assert!(told(&error).contains(why) && told(&error).contains("means = \"update\""), "{}", told(&error));
        assert_eq!(error.kind(), recipes::Kind::Refuse);
        assert!(dns.plan(FAILOVER, "web1", &call(1)).is_err(), "the dry run says so, too");
        assert_eq!(bind.text(), before);
    };
    refused("takes dynamic updates, so");
    rndc_says(folder.path(), &["freeze", "example.org"]);
    refused("is frozen");
    let checked = dns.check(&call(1)).unwrap();
    assert!(checked.holds == Holds::Unknown && checked.findings.iter().any(|finding| finding.what.contains("is frozen")), "{checked:?}");
}

#[test]
fn a_signed_zone_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let signature = "www RRSIG A 13 3 14400 20301231000000 20201231000000 12345 example.org. MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Nzg5YWJjZGVmMDEyMzQ1Njc4OWFiY2RlZg==\n";
    let bind = Bind::serving(folder.path(), "", &(ZONE.to_owned() + signature));
    let error = Dns::new(of(&bind)).unwrap().take(&call(1)).unwrap_err();
    assert!(told(&error).contains("the file has signatures") && told(&error).contains("dnssec-policy"), "{}", told(&error));
}

#[test]
fn serials_go_on_beyond_the_last_and_the_secondary_follows() {
    let folder = tempfile::tempdir().unwrap();
    let bind = Bind::serving(folder.path(), "", &ZONE.replace("2026112201", "4294967295")).with_secondary();
    let dns = Dns::new(Settings { servers: vec![bind.primary, bind.secondary], ..of(&bind) }).unwrap();
    let done = dns.run(FAILOVER, "web1", &call(1)).unwrap();
    assert_eq!(done.verified.unwrap().to_string(), "2 of 2 authoritative servers have it");
    assert!(bind.text().contains("\t1 ; serial"), "{}", bind.text());
    // Somebody brings an old copy back: the next serial is above those that were served all the same.
    let again = bind.text().replace("\t1 ; serial", "\t4294967290 ; serial").replace(OTHER, HOME);
    fs::write(bind.file(), again).unwrap();
    dns.run(FAILOVER, "web1", &call(2)).unwrap();
    assert!(bind.text().contains("\t2 ; serial"), "{}", bind.text());
}

#[test]
fn a_server_that_does_not_take_the_file_leaves_it_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let bind = Bind::start(folder.path(), "");
    let program = folder.path().join("weak");
    script(&program, "case \"$*\" in *reload*) echo 'out of memory' >&2; exit 1;; esac\nexec \"$@\"");
    let mut file = zone_file(folder.path());
    file.rndc.insert(0, program.into());
    let before = bind.text();
    let error = Dns::new(Settings { means: Means::ZoneFile(file), ..of(&bind) })
        .unwrap()
        .take(&call(1))
        .unwrap_err();
    assert!(told(&error).contains("out of memory") && told(&error).contains("is as it was"), "{}", told(&error));
    assert_eq!(bind.text(), before);
    // The next one is above the serial that the server may have seen.
    Dns::new(of(&bind)).unwrap().take(&call(1)).unwrap();
    assert!(bind.text().contains("2026112203"), "{}", bind.text());
}

#[test]
fn what_a_killed_process_wrote_and_the_server_has_not_read_is_read_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let bind = Bind::start(folder.path(), "");
    let dns = Dns::new(of(&bind)).unwrap();
    dns.take(&call(1)).unwrap();
    let moved = bind.text();
    assert!(Zone.lose(folder.path()));
    fs::write(bind.file(), moved.replace("2026112202", "2026112204")).unwrap();
    let record = Zone.record(folder.path());
    let text = fs::read_to_string(&record).unwrap().replace("\"taken\"", "\"taking\"");
    fs::write(&record, text).unwrap();
    assert!(!Zone.holds(folder.path()), "the file says so, and the server does not");
    dns.take(&call(1)).unwrap();
    assert!(Zone.holds(folder.path()));
}

#[test]
fn prepare_never_moves_and_home_needs_no_failover() {
    let folder = tempfile::tempdir().unwrap();
    let bind = Bind::start(folder.path(), "");
    let actions = folder.path().join("actions");
    clonepanel(&actions);
    let listed = Dns::new(of(&bind)).unwrap();
    let dns = Dns::new(Settings { actions: Some(actions.clone()), ..of(&bind) }).unwrap();
    dns.run(FAILOVER, "web1", &call(1)).unwrap();
    let error = dns.run(PREPARE, "web1", &call(1)).unwrap_err();
    assert!(told(&error).contains("it would change what example.org. A points to"), "{}", told(&error));
    listed.run(PREPARE, "web1", &call(1)).unwrap();
    assert_eq!(dig(bind.primary, "www.example.org", "A"), [format!("300 {OTHER}")], "by names, it keeps what there is");
    assert!(told(&dns.run(FAILOVER, "web0", &call(1)).unwrap_err()).contains("web0 is home"));
    let home = Call { node: "web0".into(), ..call(2) };
    dns.take(&home).unwrap();
    assert_eq!(dig(bind.primary, "www.example.org", "A"), [format!("14400 {HOME}")], "home takes by RESTORE");
    fs::write(actions.join("AWAY.ov"), "www.DOMAIN. 60 IN CNAME away.example.net.\n").unwrap();
    let refused = dns.run("AWAY", "web1", &call(2)).unwrap_err();
    assert!(told(&refused).contains("BIND does not take the zone"), "an alias beside an address: {}", told(&refused));
    fs::write(actions.join("AWAY.ov"), "away.DOMAIN. 60 IN CNAME away.example.net.\n").unwrap();
    dns.run("AWAY", "web1", &call(2)).unwrap();
    assert_eq!(dig(bind.primary, "away.example.org", "CNAME"), ["60 away.example.net."], "other actions by files");
    fs::write(actions.join("RESTORE.ov"), "www.DOMAIN. IN LOC 1\n").unwrap();
    let broken = told(&dns.run(RESTORE, "web1", &call(2)).unwrap_err());
    assert!(broken.contains("RESTORE.ov: line 1, column 16: records of type LOC"), "{broken}");
}

#[test]
fn lints_are_said_of_the_zone_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let bind = Bind::serving(
        folder.path(),
        "",
        &ZONE.replace("10 mail", "10 @").replace("www\t14400\tIN\tA\t192.0.2.1\n", "www AAAA 2001:db8::1\n"),
    );
    let found = Dns::new(Settings { names: vec!["@".into()], ..of(&bind) }).unwrap().lint(&call(1)).unwrap();
    let said: Vec<&str> = found.iter().map(|finding| finding.what.as_str()).collect();
    for part in [
        "mail for example.org. goes to example.org., which moves",
        "example.org. moves and www.example.org. does not",
        "is remembered for 14400 s",
    ] {
        assert!(said.iter().any(|what| what.contains(part)), "{part}: {said:?}");
    }
    assert_eq!(found.len(), 3, "{said:?}");
}

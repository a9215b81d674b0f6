//! The means *update*, with BIND: prerequisites, keys, clocks.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};

use recipes::act::Act;
use recipes::act::conform::{Subject, call, suite};
use recipes::act::dns::{Dns, FAILOVER, Means, PREPARE, RESTORE, Settings, Update};

use crate::bind::{Bind, dig, key, nsupdate};
use crate::{HOME, OTHER, clock, clonepanel, secret, settings};

const DYNAMIC: &str = "update-policy { grant move zonesub A AAAA CNAME; };";

fn update(place: &Path, server: SocketAddr) -> Settings {
    settings(place, Means::Update(Update { server, key_file: place.join("move.key") }))
}

fn told(error: &recipes::Error) -> String {
    format!("{} ({})", recipes::told(error), error.hint().unwrap_or_default())
}

fn of(bind: &Bind) -> Settings {
    Settings { servers: vec![bind.primary], ..update(&bind.folder, bind.primary) }
}

struct Dynamic(SocketAddr);

impl Subject for Dynamic {
    fn act(&self, place: &Path) -> Box<dyn Act> {
        Box::new(Dns::new(Settings { servers: vec![self.0], ..update(place, self.0) }).unwrap())
    }

    fn record(&self, place: &Path) -> PathBuf {
        place.join("records/dns-example.org.json")
    }

    fn holds(&self, _: &Path) -> bool {
        ["example.org", "www.example.org"]
            .iter()
            .all(|name| dig(self.0, name, "A") == [format!("300 {OTHER}")])
    }

    fn lose(&self, place: &Path) -> bool {
        let lines = ["example.org", "www.example.org"].map(|name| format!("update delete {name} A\nupdate add {name} 14400 A {HOME}"));
        nsupdate(self.0, place, &lines.join("\n"));
        true
    }

    /// Whoever may read the key of others: it is not used.
    fn obstruct(&self, place: &Path, obstructed: bool) {
        use std::os::unix::fs::PermissionsExt;
        let mode = if obstructed { 0o644 } else { 0o600 };
        fs::set_permissions(place.join("move.key"), fs::Permissions::from_mode(mode)).unwrap();
    }
}

#[test]
fn an_update_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let bind = Bind::start(folder.path(), DYNAMIC);
    suite(&Dynamic(bind.primary), folder.path());
}

#[test]
fn the_three_actions_are_one_update_each_and_seen_on_both_servers() {
    let folder = tempfile::tempdir().unwrap();
    let bind = Bind::start(folder.path(), DYNAMIC).with_secondary();
    let actions = folder.path().join("actions");
    clonepanel(&actions);
    // The servers are those that the zone names.
    let dns = Dns::new(Settings { actions: Some(actions), servers: Vec::new(), ..of(&bind) }).unwrap();
    let serial = || dig(bind.primary, "example.org", "SOA")[0].split(' ').nth(3).unwrap().parse::<u32>().unwrap();
    let first = serial();
    for (action, ttl, to, by) in [(PREPARE, 900, HOME, 1), (FAILOVER, 900, OTHER, 2), (FAILOVER, 900, OTHER, 2), (RESTORE, 14_400, HOME, 3)]
    {
        let (_, lines) = dns.plan(action, "web1", &call(1)).unwrap();
        let done = dns.run(action, "web1", &call(1)).unwrap_or_else(|error| panic!("{action}: {}", told(&error)));
        assert_eq!(done.verified.unwrap().to_string(), "2 of 2 authoritative servers have it", "{action}");
        for (name, at) in [("example.org", bind.primary), ("www.example.org", bind.secondary)] {
            assert_eq!(dig(at, name, "A"), [format!("{ttl} {to}")], "{action} {name}");
        }
        assert_eq!(serial() - first, by, "one update each, and none where nothing changes");
        assert_eq!(lines.len(), if done.changed { 4 } else { 0 }, "{lines:?}");
    }
    assert_eq!(dig(bind.primary, "example.org", "MX"), ["3600 10 mail.example.org."]);
}

#[test]
fn a_second_family_of_addresses_comes_and_goes_with_the_node_that_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let bind = Bind::start(folder.path(), DYNAMIC);
    let mut settings = of(&bind);
    settings
        .addresses
        .insert("web1".into(), vec![OTHER.parse().unwrap(), "2001:db8::7".parse().unwrap()]);
    let dns = Dns::new(settings).unwrap();
    dns.take(&call(1)).unwrap();
    assert_eq!(dig(bind.primary, "www.example.org", "AAAA"), ["300 2001:db8::7"]);
    dns.release(&call(1)).unwrap();
    assert_eq!(dig(bind.primary, "www.example.org", "AAAA"), [""; 0]);
    assert_eq!(dig(bind.primary, "www.example.org", "A"), [format!("14400 {HOME}")]);
}

/// Hands messages on to the server; before an update, somebody else is faster.
fn between(server: SocketAddr, folder: PathBuf) -> SocketAddr {
    let listener = TcpListener::bind((server.ip(), 0)).unwrap();
    let at = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let take = |from: &mut TcpStream| {
                let mut length = [0; 2];
                from.read_exact(&mut length).ok()?;
                let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
                from.read_exact(&mut message).ok()?;
                Some([length.to_vec(), message].concat())
            };
            let Some(message) = take(&mut client) else { continue };
            if message[4] >> 3 == 5 {
                nsupdate(server, &folder, "update delete www.example.org A\nupdate add www.example.org 60 A 203.0.113.9");
            }
            let mut other = TcpStream::connect(server).unwrap();
            other.write_all(&message).unwrap();
            client.write_all(&take(&mut other).unwrap()).unwrap();
        }
    });
    at
}

#[test]
fn what_somebody_else_changed_first_is_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let bind = Bind::start(folder.path(), DYNAMIC);
    let at = between(bind.primary, bind.folder.clone());
    let dns = Dns::new(Settings { servers: vec![bind.primary], ..update(&bind.folder, at) }).unwrap();
    let error = dns.take(&call(1)).unwrap_err();
    assert!(told(&error).contains("NXRRSET") && told(&error).contains("nothing was changed here"), "{}", told(&error));
    assert_eq!(error.kind(), recipes::Kind::Retry);
    assert_eq!(dig(bind.primary, "www.example.org", "A"), ["60 203.0.113.9"]);
    assert_eq!(dig(bind.primary, "example.org", "A"), [format!("14400 {HOME}")], "nor anything of the same update");
    Dns::new(of(&bind)).unwrap().take(&call(1)).unwrap();
    assert_eq!(dig(bind.primary, "www.example.org", "A"), [format!("300 {OTHER}")], "tried again, it sees what there is");
    Dns::new(of(&bind)).unwrap().release(&call(1)).unwrap();
    assert_eq!(dig(bind.primary, "www.example.org", "A"), ["60 203.0.113.9"], "and knows what was there");
}

#[test]
fn wrong_keys_and_clocks_are_told_apart_and_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let bind = Bind::start(folder.path(), DYNAMIC);
    let refused = |settings: Settings, parts: &[&str]| {
        let error = told(&Dns::new(settings).unwrap().take(&call(1)).unwrap_err());
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        assert_eq!(dig(bind.primary, "www.example.org", "A"), [format!("14400 {HOME}")]);
    };
    let with = |name: &str, text: &str| {
        let key_file = folder.path().join(name);
        secret(&key_file, text);
        Settings { means: Means::Update(Update { server: bind.primary, key_file }), ..of(&bind) }
    };
    refused(with("stranger", &key("stranger", "MDEyMzQ1Njc4OWFiY2RlZg==")), &["does not know the key stranger", "BADKEY"]);
    refused(with("wrong", &key("move", "MDEyMzQ1Njc4OWFiY2RlZg==")), &["the key move is another one", "BADSIG"]);
    refused(with("other", &fs::read_to_string(folder.path().join("rndc.key")).unwrap()), &["REFUSED", "update-policy"]);
    refused(with("none", "key x { };"), &["there is no algorithm in it", "tsig-keygen"]);
    refused(Settings { clock: clock(3600), ..of(&bind) }, &["the clock of this host is 3", "s ahead of that of", "BADTIME"]);
    refused(Settings { clock: clock(-3600), ..of(&bind) }, &["s behind that of", "BADTIME"]);
}

#[test]
fn a_server_that_is_not_there_or_has_no_authority_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut bind = Bind::start(folder.path(), DYNAMIC);
    let elsewhere = Settings { domain: "example.net".into(), zone: "example.net".into(), ..of(&bind) };
    let error = Dns::new(elsewhere).unwrap().take(&call(1)).unwrap_err();
    assert!(told(&error).contains("REFUSED") || told(&error).contains("has no authority"), "{}", told(&error));
    let dns = Dns::new(of(&bind)).unwrap();
    bind.end_secondary();
    let error = dns.take(&call(1)).unwrap_err();
    assert!(told(&error).contains(&bind.primary.to_string()) && told(&error).contains("refused"), "{}", told(&error));
    assert_eq!(error.kind(), recipes::Kind::Retry);
}

//! The means *dyndns2* and *hook*: a service and a program of the test's own.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex};

use recipes::act::conform::call;
use recipes::act::dns::{Dns, FAILOVER, Means, PREPARE, RESTORE, Service, Settings, Url};
use recipes::act::{Act, Holds};
use recipes::{Error, Kind};

use crate::bind::{Bind, dig};
use crate::{HOME, OTHER, script, secret, settings};

/// Answers each request with the next of these, and keeps what it was asked.
fn service(answers: &[(u16, &str)]) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (kept, answers) = (asked.clone(), answers.iter().map(|(status, text)| (*status, (*text).to_owned())).collect::<Vec<_>>());
    std::thread::spawn(move || {
        for (status, text) in answers {
            let (mut client, _) = listener.accept().unwrap();
            let lines = BufReader::new(client.try_clone().unwrap()).lines().map_while(Result::ok);
            kept.lock().unwrap().push(lines.take_while(|line| !line.is_empty()).collect::<Vec<_>>().join("\n"));
            let head = format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", text.len());
            client.write_all((head + &text).as_bytes()).unwrap();
        }
    });
    (at, asked)
}

fn dyndns(folder: &Path, at: SocketAddr) -> Dns {
    let password_file = folder.join("password");
    secret(&password_file, "open sesame\n");
    let url = Url::parse(&format!("http://{at}/nic/update")).unwrap();
    let means = Means::Dyndns2(Service { url, user: "shop".into(), password_file });
    Dns::new(settings(folder, means)).unwrap()
}

#[test]
fn good_and_nochg_succeed_and_the_password_is_shown_to_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let (at, asked) = service(&[(200, "good 198.51.100.7\nnochg 198.51.100.7\n"), (200, "nochg 192.0.2.1\r\ngood 192.0.2.1")]);
    let dns = dyndns(folder.path(), at);
    dns.run(FAILOVER, "web1", &call(1)).unwrap();
    dns.run(RESTORE, "web1", &call(1)).unwrap();
    let asked = asked.lock().unwrap();
    assert!(asked[0].starts_with(&format!("GET /nic/update?hostname=example.org,www.example.org&myip={OTHER} HTTP/1.1")), "{asked:?}");
    assert!(asked[1].contains(&format!("myip={HOME}")), "{asked:?}");
    let lower = asked[0].to_ascii_lowercase();
    assert!(lower.contains("authorization: basic c2hvcdpvcgvuihnlc2ftzq==") && lower.contains("user-agent: resilient/"), "{lower}");
    let record = fs::read_to_string(folder.path().join("records/dns-example.org.json")).unwrap();
    assert!(!record.contains("sesame"), "{record}");
}

#[test]
fn some_answers_stop_it_and_others_are_tried_again() {
    for (status, text, kind, part) in [
        (200, "badauth", Kind::Refuse, "the name or the password is wrong there"),
        (401, "no", Kind::Refuse, "the name or the password is wrong there"),
        (200, "good 198.51.100.7\nabuse", Kind::Refuse, "blocked"),
        (200, "nohost", Kind::Refuse, "no such name"),
        (200, "!donator", Kind::Refuse, "!donator"),
        (404, "gone", Kind::Refuse, "status 404"),
        (200, "911", Kind::Retry, "it cannot do it now"),
        (200, "dnserr", Kind::Retry, "it cannot do it now"),
        (503, "later", Kind::Retry, "status 503"),
        (200, "<html>", Kind::Retry, "cannot be understood"),
        (200, "", Kind::Retry, "cannot be understood"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (at, _) = service(&[(status, text)]);
        let error = dyndns(folder.path(), at).run(FAILOVER, "web1", &call(1)).unwrap_err();
        let told = format!("{} ({})", recipes::told(&error), error.hint().unwrap_or_default());
        assert!(error.kind() == kind && told.contains(part) && !told.contains("sesame"), "{text}: {told}");
    }
}

#[test]
fn what_it_cannot_do_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let (at, _) = service(&[(200, "good 198.51.100.7"), (200, "good")]);
    let dns = dyndns(folder.path(), at);
    let told = |error: Error| recipes::told(&error);
    assert!(told(dns.run(PREPARE, "web1", &call(1)).unwrap_err()).contains("dyndns2 cannot change how long"));
    dns.take(&call(1)).unwrap();
    assert_eq!(dns.check(&call(1)).unwrap().holds, Holds::Unknown);
    assert!(told(dns.release(&call(1)).unwrap_err()).contains("what was there before could not be seen"));
    fs::set_permissions(folder.path().join("password"), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    assert!(told(dns.run(RESTORE, "web1", &call(1)).unwrap_err()).contains("chmod 600"));
}

#[test]
fn a_hook_is_told_what_should_be_and_for_which_epoch_and_is_looked_after() {
    let folder = tempfile::tempdir().unwrap();
    let bind = Bind::start(folder.path(), "allow-update { key move; };");
    let program = folder.path().join("hook");
    // It does what it was told by a tool of its own.
    let lines = format!(
        "cat > '{0}/told'\npython3 - '{0}/told' > '{0}/lines' <<'E'\nimport json, sys\ntold = json.load(open(sys.argv[1]))['dns']\nprint('server {1} {2}')\n\
         for set in told['records']:\n    print('update delete', set['name'], set['type'])\n    for value in set['values']:\n        print('update add', set['name'], set['ttl'], set['type'], value)\nprint('send')\nE\n\
         nsupdate -k '{0}/move.key' '{0}/lines'",
        folder.path().display(),
        bind.primary.ip(),
        bind.primary.port()
    );
    script(&program, &lines);
    let hooked = settings(folder.path(), Means::Hook(vec![program.into()]));
    let dns = Dns::new(Settings { servers: vec![bind.primary], ..hooked }).unwrap();
    dns.take(&call(9)).unwrap();
    assert_eq!(dig(bind.primary, "www.example.org", "A"), [format!("300 {OTHER}")]);
    let told: serde_json::Value = serde_json::from_slice(&fs::read(folder.path().join("told")).unwrap()).unwrap();
    assert_eq!((told["epoch"].as_u64(), told["act"].as_str(), told["dns"]["action"].as_str()), (Some(9), Some("dns"), Some("FAILOVER")));
    assert_eq!(told["dns"]["now"][0]["values"][0], HOME);
    dns.release(&call(9)).unwrap();
    assert_eq!(dig(bind.primary, "www.example.org", "A"), [format!("14400 {HOME}")]);
}

//! What is told of incidents, and what the health address shows.

use crate::stand::{At, Keeps, LIMIT, Stand, StandsBy, Works, has};
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use tests::wait::until;

/// The events that were told about a hop, in their order.
fn events(told: &[Value], hop: &str) -> Vec<String> {
    told.iter()
        .filter(|one| one["hop"] == hop)
        .map(|one| one["event"].as_str().unwrap().to_owned())
        .collect()
}

#[track_caller]
fn told(stand: &Stand, at: At, hop: &str, expected: &[&str]) {
    until(LIMIT, &format!("{expected:?} about {hop}"), || {
        let found = events(&stand.told(at), hop);
        if found == expected { Ok(()) } else { Err(format!("{found:?}")) }
    });
}

#[test]
fn an_incident_opens_once_and_closes_once_whoever_is_killed_meanwhile() {
    let mut stand = Stand::new(21, "").up();
    stand.kill(Works);
    told(&stand, Keeps, "archive", &["opened"]);
    let opened = &stand.told(Keeps)[0];
    assert_eq!((&opened["dataset"], &opened["peer"], &opened["word"]), (&"files".into(), &"web1".into(), &"failing".into()), "{opened:#}");
    has(opened["why"].as_str().unwrap(), &["web1", "exporter serve"]);
    stand.kill(Keeps);
    stand.start(Keeps);
    until(LIMIT, "the incident, known by the next process", || {
        let host = stand.status(Keeps);
        let known = host["incidents"].as_array().unwrap().iter().any(|open| open["hop"] == "archive");
        let fresh = host["datasets"][0]["failures"].as_u64().unwrap() > 0;
        if known && fresh { Ok(()) } else { Err(format!("{host:#}")) }
    });
    stand.start(Works);
    told(&stand, Keeps, "archive", &["opened", "closed"]);
    until(LIMIT, "what opened at the spool to close", || {
        let found = events(&stand.told(Works), "spool");
        if found.len().is_multiple_of(2) { Ok(()) } else { Err(format!("{found:?}")) }
    });
    assert!(stand.status(Keeps)["incidents"].as_array().unwrap().iter().all(|open| open["hop"] != "archive"));
}

/// Listens for requests of a hook or a ping, answers each and gives it: its first line and its body.
fn listener() -> (String, Receiver<(String, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (to, from) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let (mut bytes, mut part) = (Vec::new(), [0; 4096]);
            let whole = loop {
                let len = stream.read(&mut part).unwrap_or(0);
                bytes.extend_from_slice(&part[..len]);
                let text = String::from_utf8_lossy(&bytes).into_owned();
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                let length = head
                    .lines()
                    .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
                if body.len() >= length.unwrap_or(0) || len == 0 {
                    break (head.lines().next().unwrap().to_owned(), body.to_owned());
                }
            };
            stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").unwrap();
            if to.send(whole).is_err() {
                return;
            }
        }
    });
    (address, from)
}

#[test]
fn a_hook_is_told_by_post_and_a_command_that_never_ends_delays_nothing() {
    let (address, requests) = listener();
    let mut stand = Stand::new(22, &format!("url = \"http://{address}/secret-path?key=1\"")).up();
    // The command waits for what never comes.
    fs::write(stand.path("tell"), "#!/bin/sh\nexec sleep 1000\n").unwrap();
    stand.kill(StandsBy);
    let next = |event: &str| loop {
        let (first, body) = requests.recv_timeout(LIMIT).unwrap_or_else(|_| panic!("no {event}"));
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(first, "POST /secret-path?key=1 HTTP/1.1");
        if body["event"] == event && body["hop"] == "mirror" && body["peer"] == "web2" {
            return body;
        }
    };
    assert_eq!(next("opened")["word"], "late");
    stand.start(StandsBy);
    next("closed");
    let said = stand.daemon(Keeps).err();
    assert!(!said.contains("secret-path"), "a hook's path may be a secret: {said}");
}

#[test]
fn a_hook_that_nobody_answers_is_itself_something_to_see() {
    let mut stand = Stand::new(23, "url = \"http://127.0.0.1:9/nobody\"").up();
    stand.kill(StandsBy);
    until(LIMIT, "the status to say it", || {
        let host = stand.status(Keeps);
        let url = host["deliveries"]
            .as_array()
            .unwrap()
            .iter()
            .find(|delivery| delivery["channel"] == "url")
            .cloned()
            .unwrap();
        if url["last_error"].is_string() { Ok(()) } else { Err(url.to_string()) }
    });
    stand.start(StandsBy);
    until(LIMIT, "nothing else to be wrong", || {
        let host = stand.status(Keeps);
        let word = |list: &str| host[list].as_array().unwrap().iter().all(|one| one["word"] == "ok");
        if word("datasets") && word("peers") { Ok(()) } else { Err(format!("{host:#}")) }
    });
    let host = stand.status(Keeps);
    has(host["why"].as_str().unwrap(), &["alerts by url do not arrive"]);
}

#[test]
fn a_dataset_is_pinged_when_newer_data_is_verified_everywhere_and_when_it_fails() {
    let (address, requests) = listener();
    let mut stand = Stand::with(24, "", &format!("ping = \"http://{address}/id\"")).up();
    let first = || requests.recv_timeout(LIMIT).expect("a ping").0;
    // Until the pull-backup holds it, nothing is well; a process pings each turn at most once a minute.
    let mut line = first();
    while line == "GET /id/fail HTTP/1.1" {
        line = first();
    }
    assert_eq!(line, "GET /id HTTP/1.1");
    stand.kill(Keeps);
    loop {
        if first() == "GET /id/fail HTTP/1.1" {
            break;
        }
    }
}

/// The value of a series, and that the whole text is one that Prometheus takes.
fn series(text: &str, name: &str) -> Vec<f64> {
    let mut typed = std::collections::HashSet::new();
    let mut found = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(["gauge", "counter"].contains(&kind) && typed.insert(name.to_owned()), "{line}");
            continue;
        }
        if line.starts_with("# HELP ") {
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        let value: f64 = value.replace("+Inf", "inf").parse().unwrap_or_else(|_| panic!("{line}"));
        let of = series.split('{').next().unwrap();
        assert!(typed.contains(of), "{line} has no type");
        assert!(series.ends_with('}') || !series.contains('{'), "{line}");
        if of == name {
            found.push(value);
        }
    }
    found
}

#[test]
fn the_health_address_tells_the_same() {
    let mut stand = Stand::new(25, "").up();
    for at in [Works, Keeps, StandsBy] {
        assert_eq!(stand.page(at, "/live"), (200, "alive\n".into()));
        until(LIMIT, "ready", || {
            let (status, text) = stand.page(at, "/ready");
            if status == 200 { Ok(()) } else { Err(text) }
        });
        let (status, text) = stand.page(at, "/status");
        let (page, command): (Value, Value) = (serde_json::from_str(&text).unwrap(), stand.status(at));
        assert_eq!((status, &page["binary"]), (200, &command["binary"]));
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&page), keys(&command));
        assert_eq!(keys(&page["datasets"][0]), keys(&command["datasets"][0]));
        let (status, text) = stand.page(at, "/metrics");
        assert_eq!(status, 200);
        assert!(series(&text, "resilient_ok").iter().all(|ok| *ok == 1.0), "{text}");
        assert!(series(&text, "resilient_data_age_seconds").iter().all(|age| *age < 10.0), "{text}");
        assert_eq!(series(&text, "resilient_ready"), [1.0]);
    }
    stand.kill(Works);
    until(LIMIT, "not ready", || {
        let (status, text) = stand.page(Keeps, "/ready");
        if status == 503 && text.contains("web1") { Ok(()) } else { Err(text) }
    });
    let (_, text) = stand.page(Keeps, "/metrics");
    assert!(series(&text, "resilient_ok").contains(&0.0) && series(&text, "resilient_peer_ok").contains(&0.0), "{text}");
}

#[test]
fn a_log_beside_a_terminal_is_json_and_each_trouble_is_said_once() {
    let mut stand = Stand::new(26, "").up();
    stand.kill(Works);
    told(&stand, Keeps, "archive", &["opened"]);
    stand.start(Works);
    told(&stand, Keeps, "archive", &["opened", "closed"]);
    let said = stand.daemon(Keeps).err();
    let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect();
    let count = |what: &str| lines.iter().filter(|line| line["what"] == what).count();
    for what in ["serves", "incident-opened", "incident-closed", "reached"] {
        assert!(count(what) >= 1, "{what}: {said}");
    }
    assert!(count("unreachable") <= 2, "{said}");
    for line in &lines {
        assert!(line["time"].is_string() && line["level"].is_string() && line["text"].is_string(), "{line}");
    }
    let identity = fs::read_to_string(stand.path("identity")).unwrap();
    for at in [Works, Keeps, StandsBy] {
        assert!(!stand.daemon(at).err().contains(identity.trim()), "no secret is said");
    }
}

//! Who may do what: strangers, invitations, members of other clusters, those who were expelled, and those who only make noise.

use crate::place::{World, deadlines};
use hyper::Method;
use link::Error;
use link::client::Client;
use link::identity::{Identity, Pin};
use link::invitation::Token;
use link::message::{Heads, Notice};
use link::server::Limits;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use tests::crowd::{Crowd, raise_files};
use tests::plain::PlainTree;
use tests::wait::until;

const LIMIT: Duration = Duration::from_secs(30);

fn tree() -> PlainTree {
    let mut tree = PlainTree::new("s");
    tree.file("s/file", b"content".to_vec());
    tree
}

#[test]
fn a_stranger_sees_that_it_lives_and_nothing_else() {
    let world = World::new();
    let at = world.pull_backup("backup");
    let client = world.client(&Identity::passing().unwrap(), at.runs.address, at.identity.pin);
    let alive = world
        .runtime
        .block_on(async { client.ask(Method::GET, "/live", Default::default(), None).await?.whole(100).await });
    assert_eq!(alive.unwrap(), b"alive\n");
    for path in ["/v1/heads", "/v1/shop/data/list", "/v1/shop/data/../../etc"] {
        let refused = world.runtime.block_on(client.get::<Heads>(path)).unwrap_err();
        assert!(matches!(refused, Error::Refused { .. } | Error::Missing { .. }), "{path}: {refused}");
    }
    let notice = Notice { cluster: "shop".into(), dataset: "data".into() };
    let refused = world.runtime.block_on(client.post::<()>("/v1/notice", &notice)).unwrap_err().to_string();
    assert!(refused.contains("does not know your key"), "{refused}");
}

#[test]
fn another_key_than_the_pinned_one_is_not_talked_to() {
    let world = World::new();
    let at = world.pull_backup("backup");
    let client = world.client(&Identity::passing().unwrap(), at.runs.address, Pin([3; 32]));
    let error = world.runtime.block_on(client.get::<Heads>("/v1/heads")).unwrap_err();
    assert!(matches!(error, Error::Stranger { .. }), "{error}");
    assert!(error.hint().is_some());
}

#[test]
fn a_token_works_once_and_a_forged_one_never() {
    let world = World::new();
    let (at, host, other) = (world.pull_backup("backup"), world.host("web1"), world.host("web2"));
    let refused = world.join_with(&host, &at, Token::new(), 1).unwrap_err().to_string();
    assert!(refused.contains("never given"), "{refused}");
    let token = Token::new();
    let invited = pull_backup::members::Invited { cluster: "shop".into(), name: "web1".into(), active: None, expires: u64::MAX };
    at.daemon.members().invite(&token, &invited).unwrap();
    let refused = world.join_with(&other, &at, token, 1).unwrap_err().to_string();
    assert!(refused.contains("another name"), "{refused}");
    world.join_with(&host, &at, token, 1).unwrap();
    let refused = world.join_with(&host, &at, token, 1).unwrap_err().to_string();
    assert!(refused.contains("used already"), "{refused}");
}

#[test]
fn a_member_of_another_cluster_sees_nothing_of_this_one() {
    let world = World::new();
    let (at, host) = (world.pull_backup("backup"), world.host("web1"));
    world.join(&host, &at, host.runs.address.port()).unwrap();
    host.trial.export(&tree());
    until(LIMIT, "the export in the archive", || at.repository(&host.dataset).join("snapshots").exists().then_some(()));
    let (token, stranger) = (Token::new(), world.host("other"));
    let invited = pull_backup::members::Invited { cluster: "bank".into(), name: "other".into(), active: None, expires: u64::MAX };
    at.daemon.members().invite(&token, &invited).unwrap();
    world.join_as(&stranger, &at, token, stranger.runs.address.port(), "bank").unwrap();
    let ask = |host: &crate::place::Host| world.client(&Identity::open_or_make(&host.state).unwrap(), at.runs.address, at.identity.pin);
    let seen: Heads = world.runtime.block_on(ask(&stranger).get("/v1/heads")).unwrap();
    assert_eq!(seen.datasets, vec![]);
    let refused = world.runtime.block_on(ask(&stranger).get::<Heads>("/v1/shop/data/list")).unwrap_err().to_string();
    assert!(refused.contains("another cluster"), "{refused}");
    let seen: Heads = world.runtime.block_on(ask(&host).get("/v1/heads")).unwrap();
    assert_eq!(seen.datasets.len(), 1);
}

#[test]
fn who_was_invited_to_another_cluster_than_its_own_does_not_join() {
    let world = World::new();
    let (at, host, token) = (world.pull_backup("backup"), world.host("web1"), Token::new());
    let invited = pull_backup::members::Invited { cluster: "bank".into(), name: "web1".into(), active: Some(true), expires: u64::MAX };
    at.daemon.members().invite(&token, &invited).unwrap();
    let refused = world.join_with(&host, &at, token, 1).unwrap_err().to_string();
    assert!(refused.contains("another cluster"), "{refused}");
    assert_eq!(at.daemon.members().all().unwrap(), vec![], "the invitation is still good");
    assert!(!host.state.join("membership.toml").exists() && !host.state.join("role").exists());
}

#[test]
fn who_is_expelled_is_outside_at_once() {
    let world = World::new();
    let (at, host) = (world.pull_backup("backup"), world.host("web1"));
    world.join(&host, &at, host.runs.address.port()).unwrap();
    let client = world.client(&Identity::open_or_make(&host.state).unwrap(), at.runs.address, at.identity.pin);
    world.runtime.block_on(client.get::<Heads>("/v1/heads")).expect("a member is served");
    // As the command does, in a process of its own.
    let beside = pull_backup::members::Members::new(&world.folder.path().join("backup/state"));
    assert_eq!(beside.expel(None, "web1", 1).unwrap().len(), 1);
    let refused = world.runtime.block_on(client.get::<Heads>("/v1/heads")).unwrap_err().to_string();
    assert!(refused.contains("does not know your key"), "on the connection that it had: {refused}");
    until(LIMIT, "nobody to be followed", || at.daemon.contacts().is_empty().then_some(()));
}

#[test]
fn plain_http_noise_and_long_questions_are_turned_away() {
    let world = World::new();
    let (at, host) = (world.pull_backup("backup"), world.host("web1"));
    let mut plain = TcpStream::connect(at.runs.address).unwrap();
    plain.set_read_timeout(Some(LIMIT)).unwrap();
    plain.write_all(b"GET /live HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    // An alert of TLS, or nothing.
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.windows(4).any(|part| part == b"HTTP"), "plain HTTP is not spoken");
    world.join(&host, &at, 1).unwrap();
    let client = world.client(&Identity::open_or_make(&host.state).unwrap(), at.runs.address, at.identity.pin);
    let ask = |path: &str, body: Vec<u8>| world.runtime.block_on(client.ask(Method::POST, path, body.into(), None)).map(drop);
    assert!(ask("/v1/notice", vec![b' '; 8 << 20]).is_err(), "eight megabytes are no question");
    assert!(ask("/v1/notice", b"{ \"cluster\": ".to_vec()).is_err());
    assert!(ask("/v1/shop/data/records", br#"{"names": ["packs/x", "../../etc/passwd"]}"#.to_vec()).is_err());
    assert!(ask(&format!("/{}", "x".repeat(100_000)), vec![]).is_err(), "an endless path");
    world.runtime.block_on(client.get::<Heads>("/v1/heads")).expect("others are served meanwhile");
}

#[test]
fn ten_thousand_who_say_nothing_keep_nobody_out() {
    raise_files(15_000);
    let world = World::new();
    let (at, host) = (world.pull_backup("backup"), world.host("web1"));
    world.join(&host, &at, 1).unwrap();
    let crowd = Crowd::gather(at.runs.address, 10_000, LIMIT);
    let client = Client::dial(&at.runs.address.to_string(), &Identity::open_or_make(&host.state).unwrap(), at.identity.pin).unwrap();
    let client = client.with(deadlines(), None);
    for _ in 0..3 {
        world.runtime.block_on(client.get::<Heads>("/v1/heads")).expect("a member is served");
    }
    crowd.until(LIMIT, "a bounded number of open connections", |census| census.idle <= Limits::default().waiting);
}

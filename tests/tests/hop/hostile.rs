//! Peers that are known and mean ill, and callers that speak something else: each is bounded in time and in what it holds, and sees and touches nothing that is not its own.

use crate::place::{Host, PullBackup, World, now_ms};
use crate::pull::{LIMIT, arrives, tree};
use archive::repository::{Access, Repository};
use axum::Router;
use axum::body::Body;
use axum::routing::get;
use bytes::Bytes;
use hyper::Method;
use hyper::body::Frame;
use link::bounds::Bounds;
use link::client::{Client, Stream, dial};
use link::identity::{Identity, Pin};
use link::message::{Head, Heads, Joined, WantSegments};
use link::paced::Pace;
use link::role::{Caller, Role};
use link::routes::{Refusal, Shelf, Word};
use link::server::{Limits, Server, Upgraded};
use pull_backup::members::Members;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::pin::Pin as Pinned;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tests::wait::until;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A world whose hosts lose their patience soon.
fn impatient() -> World {
    let mut world = World::new();
    let soon = Duration::from_secs(1);
    world.limits = Limits {
        question: soon,
        pace: Pace { within: soon, least: 60 << 10 },
        bounds: Bounds { question: soon, at_once: 4, turn: soon / 2 },
        ..Limits::default()
    };
    world
}

/// A member whose large export is in the archive.
fn member(world: &World, at: &PullBackup) -> Host {
    let host = world.host("web1");
    world.join(&host, at, host.runs.address.port()).unwrap();
    let large = tree(1, 24 << 20);
    host.trial.export(&large);
    arrives(&host, at, &large, "the export in the archive");
    host
}

fn as_member(world: &World, host: &Host, at: &PullBackup) -> Client {
    world.client(&Identity::open_or_make(&host.state).unwrap(), at.runs.address, at.identity.pin)
}

/// A connection as a member, to say anything over.
fn raw(world: &World, host: &Host, at: &PullBackup) -> impl Stream + use<> {
    let tls = link::tls::client(&Identity::open_or_make(&host.state).unwrap(), at.identity.pin).unwrap();
    world.runtime.block_on(dial("the pull-backup", &at.runs.address.to_string(), &tls)).unwrap()
}

/// Asks for all segments of the largest run.
fn large_question(host: &Host) -> Vec<u8> {
    let snapshot = host.trial.repository.snapshots().unwrap().pop().unwrap();
    let used = host.trial.repository.snapshot(&snapshot).unwrap().body.runs;
    let largest = used.iter().max_by_key(|used| used.sequences().count()).unwrap();
    let sequences: Vec<u32> = largest.sequences().collect();
    serde_json::to_vec(&WantSegments::new(largest.run, &sequences)).unwrap()
}

fn is_busy(at: &PullBackup, host: &Host) -> bool {
    matches!(Repository::open_folder(&at.repository(&host.dataset), Access::Exclusive), Err(archive::Error::Busy { .. }))
}

#[test]
fn a_question_that_comes_at_a_trickle_is_given_up() {
    let world = impatient();
    let at = world.pull_backup("backup");
    let host = world.host("web1");
    world.join(&host, &at, 1).unwrap();
    let head = "POST /v1/notice HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{";
    for begun in [head, "GET /v1/heads HTTP/1.1\r\nhost: x\r\nx-more: a"] {
        let mut stream = raw(&world, &host, &at);
        world.runtime.block_on(async {
            stream.write_all(begun.as_bytes()).await.unwrap();
            let (mut reader, mut writer) = tokio::io::split(stream);
            let trickle = async {
                while writer.write_all(b" ").await.is_ok() && writer.flush().await.is_ok() {
                    let _ = tokio::time::timeout(Duration::from_millis(50), std::future::pending::<()>()).await;
                }
                std::future::pending::<()>().await;
            };
            let mut told = Vec::new();
            let end = async { drop(reader.read_to_end(&mut told).await) };
            let ended = async {
                tokio::select! {
                    () = trickle => {}
                    () = end => {}
                }
            };
            tokio::time::timeout(LIMIT, ended).await.unwrap_or_else(|_| panic!("it waits for ever: {begun}"));
            assert!(!String::from_utf8_lossy(&told).contains("200 OK"), "{begun}");
        });
    }
}

#[test]
fn an_answer_that_nobody_takes_is_given_up_and_holds_no_lock() {
    let world = impatient();
    let at = world.pull_backup("backup");
    let host = member(&world, &at);
    let mut answer = world
        .runtime
        .block_on(as_member(&world, &host, &at).ask(Method::POST, "/v1/shop/data/segments", large_question(&host).into(), None))
        .unwrap();
    assert!(is_busy(&at, &host), "the answer is under way");
    until(LIMIT, "the repository's lock, given back", || (!is_busy(&at, &host)).then_some(()));
    // What comes of it is not the whole.
    let mut bytes = 0;
    while let Ok(Some(chunk)) = world.runtime.block_on(answer.chunk()) {
        bytes += chunk.len();
    }
    assert!(bytes < 20 << 20, "{bytes} bytes");
}

#[test]
fn one_who_asks_for_everything_at_once_waits_its_turn_and_keeps_nobody_waiting() {
    let mut world = impatient();
    // The answers are to be held all the time.
    world.limits.pace = Pace::default();
    let at = world.pull_backup("backup");
    let (host, other) = (member(&world, &at), world.host("web2"));
    world.join(&other, &at, 1).unwrap();
    let question = large_question(&host);
    let ask = || {
        let client = as_member(&world, &host, &at);
        world
            .runtime
            .block_on(client.ask(Method::POST, "/v1/shop/data/segments", question.clone().into(), None))
    };
    let held: Vec<_> = (0..4).map(|_| ask().expect("its turn")).collect();
    let refused = ask().map(drop).unwrap_err().to_string();
    assert!(refused.contains("too much is asked at once"), "{refused}");
    let seen: Heads = world.runtime.block_on(as_member(&world, &other, &at).get("/v1/heads")).expect("another is served");
    assert_eq!(seen.datasets.len(), 1);
    drop(held);
    until(LIMIT, "its turn again", || ask().map(drop));
}

#[test]
fn who_is_expelled_in_the_middle_of_an_answer_gets_no_more() {
    let world = World::new();
    let at = world.pull_backup("backup");
    let host = member(&world, &at);
    let client = as_member(&world, &host, &at);
    let mut answer = world
        .runtime
        .block_on(client.ask(Method::POST, "/v1/shop/data/segments", large_question(&host).into(), None))
        .unwrap();
    assert!(world.runtime.block_on(answer.chunk()).unwrap().is_some());
    let beside = Members::new(&world.folder.path().join("backup/state"));
    assert_eq!(beside.expel(None, "web1", 1).unwrap().len(), 1);
    let mut bytes = 0;
    while let Ok(Some(chunk)) = world.runtime.block_on(answer.chunk()) {
        bytes += chunk.len();
    }
    assert!(bytes < 20 << 20, "what was on its way and no more: {bytes} bytes");
}

#[test]
fn a_member_of_another_cluster_reaches_nothing_by_odd_names() {
    let world = World::new();
    let at = world.pull_backup("backup");
    let shop = world.host("web1");
    world.join(&shop, &at, shop.runs.address.port()).unwrap();
    let small = tree(1, 1000);
    shop.trial.export(&small);
    arrives(&shop, &at, &small, "what is not its own");
    let (bank, token) = (world.host("other"), link::invitation::Token::new());
    let invited = pull_backup::members::Invited { cluster: "bank".into(), name: "other".into(), active: None, expires: u64::MAX };
    at.daemon.members().invite(&token, &invited).unwrap();
    world.join_as(&bank, &at, token, 1, "bank").unwrap();
    std::fs::create_dir_all(at.store.join("bank/own")).unwrap();
    let client = as_member(&world, &bank, &at);
    for path in [
        "/v1/shop/data/list",
        "/v1/bank/../shop/data/list",
        "/v1/bank/%2e%2e/list",
        "/v1/bank/..%2Fshop%2Fdata/list",
        "/v1/bank%2F..%2Fshop/data/list",
        "/v1/bank/%2E%2E%2Fshop%2Fdata/list",
        "/v1/bank/own%2F..%2F..%2Fshop%2Fdata/list",
        "/v1/%62ank/..%5Cshop%5Cdata/list",
        "/v1/bank/data%00/list",
        "/v1//shop/data/list",
        "/v1/bank//list",
        "/v1/./shop/data/list",
        "/v1/SHOP/data/list",
    ] {
        let refused = world.runtime.block_on(client.get::<link::message::Names>(path)).map(drop).unwrap_err();
        assert!(matches!(refused, link::Error::Refused { .. } | link::Error::Missing { .. }), "{path}: {refused}");
    }
    // Nor is anything created by asking.
    assert!(!at.store.join("bank/..").join("bank/repository.json").exists() && !at.store.join("SHOP").exists());
}

/// A member whose server says what it likes.
struct Liar {
    heads: Vec<Head>,
    repository: Arc<Repository>,
}

impl Shelf for Liar {
    fn role(&self, _: &Pin) -> Role {
        Role::PullBackup { cluster: "shop".into() }
    }

    fn heads(&self, _: &Caller) -> Result<Vec<Head>, Refusal> {
        Ok(self.heads.clone())
    }

    fn open(&self, _: &Caller, _: &str, _: &str) -> Result<Arc<Repository>, Refusal> {
        Ok(self.repository.clone())
    }

    fn hear(&self, _: &Caller, _: Word) -> Result<Option<Joined>, Refusal> {
        Ok(None)
    }

    fn lend(&self, _: &Caller, _: Upgraded) -> Result<(), Refusal> {
        Ok(())
    }
}

fn serves(world: &World, host: &Host, router: Router) -> crate::place::Runs {
    let server = Server {
        tls: link::tls::server(&Identity::open_or_make(&host.state).unwrap()).unwrap(),
        shelf: Arc::new(Liar { heads: vec![], repository: host.trial.repository.clone() }),
        router,
        limits: Limits::default(),
        allow: Arc::new(|_| true),
    };
    world.start(|listener, stop| server.serve(listener, stop))
}

#[test]
fn names_that_a_node_offers_lead_to_no_other_place() {
    let world = World::new();
    let at = world.pull_backup("backup");
    let host = world.host("web1");
    let good = tree(1, 1000);
    host.trial.export(&good);
    let odd = ["..", ".", "", "../bank/data", "a/b", ".hidden", "-x", "a\0b", "data/../../bank", "/etc", &"x".repeat(300)];
    let head = |cluster: &str, dataset: &str| Head {
        reigns: None,
        cluster: cluster.into(),
        dataset: dataset.into(),
        change: "1".into(),
        snapshot: None,
        signers: vec![],
        rule: None,
    };
    let mut heads: Vec<Head> = odd.iter().map(|dataset| head("shop", dataset)).collect();
    heads.extend([head("bank", "data"), head("../shop", "data"), head("", "data"), head("shop", "data")]);
    let shelf = Arc::new(Liar { heads, repository: host.trial.repository.clone() });
    let runs = serves(&world, &host, link::routes::routes(shelf, Bounds::default()));
    world.join(&host, &at, runs.address.port()).unwrap();
    arrives(&host, &at, &good, "what has a name");
    let names = |path: &std::path::Path| -> Vec<String> {
        std::fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    };
    assert_eq!(names(&at.store), ["shop"]);
    assert_eq!(names(&at.store.join("shop")), ["data"]);
    let mut beside = names(&world.folder.path().join("backup"));
    beside.sort();
    assert_eq!(beside, ["archive", "state"]);
}

/// Blanks without end, as fast as they are taken.
struct Endless;

impl hyper::body::Body for Endless {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(self: Pinned<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b' '; 64 << 10])))))
    }
}

#[test]
fn an_answer_without_end_is_cut_off_and_said_to_be_one() {
    let world = World::new();
    let at = world.pull_backup("backup");
    let host = world.host("web1");
    let router = Router::new().route("/v1/heads", get(|| async { Body::new(Endless) }));
    let runs = serves(&world, &host, router);
    world.join(&host, &at, runs.address.port()).unwrap();
    until(LIMIT, "a failure that is said", || {
        let troubles = at.troubles();
        troubles
            .iter()
            .any(|trouble| trouble.contains("longer than"))
            .then_some(())
            .ok_or(format!("{troubles:?}"))
    });
}

/// A ClientHello of TLS 1.2: no extension that speaks of 1.3.
fn hello() -> Vec<u8> {
    let suites = [0xc0u8, 0x2f, 0xc0, 0x30, 0x00, 0x9c];
    let groups = [0x00u8, 0x0a, 0x00, 0x04, 0x00, 0x02, 0x00, 0x17];
    let signatures = [0x00u8, 0x0d, 0x00, 0x04, 0x00, 0x02, 0x04, 0x01];
    let mut body = vec![0x03, 0x03];
    body.extend([7; 32]);
    body.push(0);
    body.extend((suites.len() as u16).to_be_bytes());
    body.extend(suites);
    body.extend([1, 0]);
    body.extend(((groups.len() + signatures.len()) as u16).to_be_bytes());
    body.extend(groups);
    body.extend(signatures);
    let mut message = vec![1, 0];
    message.extend((body.len() as u16).to_be_bytes());
    message.extend(body);
    let mut record = vec![0x16, 0x03, 0x01];
    record.extend((message.len() as u16).to_be_bytes());
    record.extend(message);
    record
}

#[test]
fn who_speaks_only_tls_1_2_is_told_so_and_gets_nothing() {
    let world = World::new();
    let at = world.pull_backup("backup");
    let mut stream = TcpStream::connect(at.runs.address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(&hello()).unwrap();
    let mut answer = Vec::new();
    // A reset may follow the alert.
    let _ = stream.read_to_end(&mut answer);
    const ALERT: u8 = 0x15;
    const PROTOCOL_VERSION: u8 = 70;
    assert_eq!((answer.first(), answer.get(6)), (Some(&ALERT), Some(&PROTOCOL_VERSION)), "{answer:02x?}");
}

#[test]
fn noise_and_silence_on_a_connection_end_by_themselves() {
    let mut world = impatient();
    world.limits.handshake = Duration::from_secs(1);
    let at = world.pull_backup("backup");
    let began_ms = now_ms();
    for say in [&b""[..], b"\x16\x03\x01", &[0xff; 4096], &hello()[..20]] {
        let mut stream = TcpStream::connect(at.runs.address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.write_all(say).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.len() < 64, "nothing but an alert: {answer:02x?}");
    }
    assert!(now_ms() - began_ms < LIMIT.as_millis() as u64);
}

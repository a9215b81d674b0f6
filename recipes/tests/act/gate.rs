//! The gate, between network namespaces: who gets through, and that it closes without us.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use recipes::Error;
use recipes::act::conform::{Subject, call, suite};
use recipes::act::{Act, Call, Gate, Holds, gate};
use recipes::data::Level;

use crate::hosts::{CONTAINER, HOST, HOST_6, Hosts};
use crate::{LIMIT, apart, hosts, killed, moment, now, script, until};

const PORT: u16 = 8080;
/// Published by the host, served by the container on another.
const PUBLISHED: u16 = 8081;
/// So long that a packet on this machine would be there.
const SHORT: Duration = Duration::from_millis(250);

/// `nft`, said something to on the host.
fn nft(batch: &str) {
    let mut child = Command::new("nft").args(["-f", "-"]).env("PATH", path()).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(batch.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{batch}");
}

/// Where it lies even for whoever has a short PATH.
fn path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap())
}

fn listed(what: &str) -> String {
    let said = Command::new("nft")
        .args(["list", "set", "inet", gate::TABLE, what])
        .env("PATH", path())
        .output()
        .unwrap();
    String::from_utf8_lossy(&said.stdout).into_owned()
}

fn settings(place: &Path) -> gate::Settings {
    gate::Settings::new(vec![PORT, PUBLISHED], place.join("records"))
}

fn shut(place: &Path) -> Gate {
    let gate = Gate::new(settings(place)).unwrap();
    gate.release(&call(1)).unwrap();
    gate
}

fn living(seconds: f32) -> Call {
    Call { lifetime: Some(Duration::from_secs_f32(seconds)), ..call(1) }
}

/// The gate as it stands in the kernel; its program may be put aside.
struct Kernel;

impl Subject for Kernel {
    fn act(&self, place: &Path) -> Box<dyn Act> {
        let program = place.join("nft");
        if !program.exists() {
            let lines = format!("[ ! -e '{}/obstructed' ] || {{ echo 'out of memory' >&2; exit 1; }}\nexec nft \"$@\"", place.display());
            script(&program, &lines);
        }
        Box::new(Gate::new(gate::Settings { program, ..settings(place) }).unwrap())
    }

    fn record(&self, place: &Path) -> PathBuf {
        place.join("records/gate.json")
    }

    fn holds(&self, _: &Path) -> bool {
        listed("open").contains(&format!("{PUBLISHED} timeout"))
    }

    fn lose(&self, _: &Path) -> bool {
        nft(&format!("flush set inet {} open", gate::TABLE));
        true
    }

    fn obstruct(&self, place: &Path, obstructed: bool) {
        let path = place.join("obstructed");
        if obstructed { fs::write(path, "").unwrap() } else { fs::remove_file(path).unwrap() }
    }
}

#[test]
fn the_gate_conforms() {
    let (hosts, folder) = (Hosts::new(), tempfile::tempdir().unwrap());
    hosts.within("host", || suite(&Kernel, folder.path()));
}

#[test]
fn a_gate_killed_at_any_moment_is_taken_up_by_the_next() {
    // In a namespace from the beginning: what it begins is there, too.
    killed::victim(&Kernel);
    let (hosts, folder) = (Hosts::new(), tempfile::tempdir().unwrap());
    let name = "gate::a_gate_killed_at_any_moment_is_taken_up_by_the_next";
    hosts.within("host", || killed::suite(&Kernel, name, &killed::place(&folder)));
}

/// A listener there, and whoever connects waits for nobody: the kernel accepts.
fn listen(hosts: &Hosts, name: &str, port: u16) -> TcpListener {
    hosts.within(name, || TcpListener::bind(("::", port)).unwrap())
}

fn connect(hosts: &Hosts, name: &str, address: &str, port: u16, limit: Duration) -> std::io::Result<TcpStream> {
    let address: IpAddr = address.parse().unwrap();
    hosts.within(name, || TcpStream::connect_timeout(&SocketAddr::new(address, port), limit))
}

/// Asked with what is expected, since what should come may take long on a busy machine.
#[track_caller]
fn reaches(hosts: &Hosts, port: u16, expected: bool, when: &str) {
    for address in [HOST, HOST_6] {
        if port == PUBLISHED && address == HOST_6 {
            continue;
        }
        let came = connect(hosts, "client", address, port, if expected { LIMIT } else { SHORT });
        assert_eq!(came.is_ok(), expected, "{when}: {address} {port}: {came:?}");
    }
}

#[test]
fn others_get_through_while_it_is_open_and_only_then() {
    let (hosts, folder) = (Hosts::new(), tempfile::tempdir().unwrap());
    let _listener = listen(&hosts, "host", PORT);
    let beside = listen(&hosts, "host", 9000);
    reaches(&hosts, PORT, true, "before there is a gate");
    let gate = hosts.within("host", || shut(folder.path()));
    reaches(&hosts, PORT, false, "closed");
    reaches(&hosts, 9000, true, "another port is nobody's business");
    connect(&hosts, "host", "127.0.0.1", PORT, LIMIT).expect("the host itself gets through");
    connect(&hosts, "host", HOST, PORT, LIMIT).expect("by its own address as well");
    assert_eq!(hosts.within("host", || gate.check(&call(1)).unwrap().holds), Holds::No);
    hosts.within("host", || gate.take(&call(1)).unwrap());
    reaches(&hosts, PORT, true, "open");
    assert_eq!(hosts.within("host", || gate.check(&call(1)).unwrap().holds), Holds::Yes);
    hosts.within("host", || gate.release(&call(1)).unwrap());
    reaches(&hosts, PORT, false, "closed at once");
    drop(beside);
}

#[test]
fn it_closes_by_itself_with_nobody_alive_and_not_late() {
    let (hosts, folder) = (Hosts::new(), tempfile::tempdir().unwrap());
    let _listener = listen(&hosts, "host", PORT);
    hosts.within("host", || shut(folder.path()));
    let begin = now();
    hosts.within("host", || Gate::new(settings(folder.path())).unwrap().take(&living(4.0)).unwrap());
    // What took long on a busy machine came off the lifetime, not on it.
    if now() - begin < Duration::from_secs(2) {
        reaches(&hosts, PORT, true, "open");
    }
    until("it to close", || hosts.within("host", || listed("open").lines().all(|line| !line.contains("timeout ")).then_some(())));
    let took = now() - begin;
    assert!(took < Duration::from_millis(4100), "{took:?}");
    reaches(&hosts, PORT, false, "closed by the kernel");
}

#[test]
fn it_closes_when_whoever_renews_it_is_stopped() {
    if let Some(part) = apart::part() {
        let (namespace, place) = part.split_once(' ').unwrap();
        hosts::enter(namespace, || {
            let gate = Gate::new(settings(Path::new(place))).unwrap();
            gate.take(&living(3.0)).unwrap();
            apart::ready();
            loop {
                moment(Duration::from_millis(200));
                gate.extend(&living(3.0)).unwrap();
            }
        });
    }
    let (hosts, folder) = (Hosts::new(), tempfile::tempdir().unwrap());
    let listener = listen(&hosts, "host", PORT);
    // A queue that is full refuses others as a gate does.
    std::thread::spawn(move || listener.incoming().for_each(drop));
    hosts.within("host", || shut(folder.path()));
    let part = format!("{} {}", hosts.namespace("host"), folder.path().display());
    let mut child = apart::begin("gate::it_closes_when_whoever_renews_it_is_stopped", &part);
    let pid = rustix::process::Pid::from_child(&child);
    let begin = now();
    while now() - begin < Duration::from_secs(5) {
        reaches(&hosts, PORT, true, "renewed again and again, far beyond one lifetime");
    }
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    let stopped = now();
    until("the kernel to close it", || connect(&hosts, "client", HOST, PORT, SHORT).err());
    assert!(now() - stopped < Duration::from_secs(4), "{:?}", now() - stopped);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn established_connections_end_with_it_and_nothing_is_answered_any_more() {
    let (hosts, folder) = (Hosts::new(), tempfile::tempdir().unwrap());
    let listener = listen(&hosts, "host", PORT);
    let gate = hosts.within("host", || shut(folder.path()));
    hosts.within("host", || gate.take(&call(1)).unwrap());
    let mut client = connect(&hosts, "client", HOST, PORT, LIMIT).unwrap();
    let mut server = listener.accept().unwrap().0;
    let mut byte = [0];
    client.write_all(b"a").unwrap();
    server.set_read_timeout(Some(LIMIT)).unwrap();
    server.read_exact(&mut byte).unwrap();
    hosts.within("host", || gate.release(&call(1)).unwrap());
    server.write_all(b"answer").expect("nothing tells the server");
    client.set_read_timeout(Some(SHORT)).unwrap();
    assert!(client.read(&mut byte).is_err(), "what came in before is not acknowledged after");
    client.write_all(b"b").expect("nothing tells the client");
    server.set_read_timeout(Some(SHORT)).unwrap();
    assert!(server.read(&mut byte).is_err(), "and nothing more comes in");
    hosts.within("host", || gate.take(&call(1)).unwrap());
    client.set_read_timeout(Some(LIMIT)).unwrap();
    client.read_exact(&mut byte).expect("opened again, what waited comes");
    client.shutdown(Shutdown::Both).unwrap();
}

#[test]
fn published_ports_of_containers_do_not_bypass_it_and_what_they_ask_others_passes() {
    let (hosts, folder) = (Hosts::new(), tempfile::tempdir().unwrap());
    let listener = listen(&hosts, "container", 80);
    hosts.within("host", || {
        nft(&format!(
            "table ip published {{ chain before {{ type nat hook prerouting priority dstnat; fib daddr type local tcp dport {PUBLISHED} dnat to {CONTAINER}:80; }}; }}"
        ));
    });
    reaches(&hosts, PUBLISHED, true, "before there is a gate");
    let gate = hosts.within("host", || shut(folder.path()));
    reaches(&hosts, PUBLISHED, false, "closed");
    hosts.within("host", || gate.take(&call(1)).unwrap());
    reaches(&hosts, PUBLISHED, true, "open");
    let mut client = connect(&hosts, "client", HOST, PUBLISHED, LIMIT).unwrap();
    // The first two were the connections above.
    (0..2).for_each(|_| drop(listener.accept().unwrap()));
    let mut server = listener.accept().unwrap().0;
    hosts.within("host", || gate.release(&call(1)).unwrap());
    server.write_all(b"answer").unwrap();
    client.set_read_timeout(Some(SHORT)).unwrap();
    assert!(client.read(&mut [0]).is_err(), "the container's answer does not leave");
    client.write_all(b"x").unwrap();
    server.set_read_timeout(Some(SHORT)).unwrap();
    assert!(server.read(&mut [0]).is_err(), "and nothing arrives there");
    // The other way: what a container asks of others at the same port is not ours.
    let elsewhere = listen(&hosts, "client", PUBLISHED);
    let mut asking = connect(&hosts, "container", "10.9.1.2", PUBLISHED, LIMIT).expect("it gets out through a closed gate");
    elsewhere.accept().unwrap().0.write_all(b"x").unwrap();
    asking.set_read_timeout(Some(LIMIT)).unwrap();
    asking.read_exact(&mut [0]).expect("and the answer comes back");
}

#[test]
fn a_batch_that_comes_late_opens_nothing() {
    let (hosts, folder) = (Hosts::new(), tempfile::tempdir().unwrap());
    let program = folder.path().join("slow");
    // As when the process that was about to open it is stopped between two steps.
    let lines = format!(
        "cat > '{0}'.batch\ngrep -q '^delete element' '{0}'.batch && ! grep -q '^add element' '{0}'.batch && {{ echo late >> '{0}'.log; sleep 3; }}\nexec nft -f '{0}'.batch",
        program.display()
    );
    script(&program, &lines);
    let slow = Gate::new(gate::Settings { program: program.clone(), ..settings(folder.path()) }).unwrap();
    hosts.within("host", || {
        shut(folder.path());
        let error = slow.take(&call(1)).unwrap_err();
        assert!(matches!(error, Error::Late { .. }), "{error:?}");
        assert_eq!(fs::read_to_string(program.with_extension("log")).unwrap().lines().count(), 4, "each attempt was refused by the kernel");
        assert!(!Kernel.holds(folder.path()), "{}", listed("open"));
    });
}

#[test]
fn what_others_broke_is_seen_and_mended() {
    let (hosts, folder) = (Hosts::new(), tempfile::tempdir().unwrap());
    let _listener = listen(&hosts, "host", PORT);
    let gate = hosts.within("host", || shut(folder.path()));
    for breaks in
        ["flush ruleset", "flush chain inet resilient arriving", "delete chain inet resilient leaving", "flush set inet resilient ports"]
    {
        hosts.within("host", || {
            gate.take(&call(1)).unwrap();
            nft(breaks);
            let checked = gate.check(&call(1)).unwrap();
            assert!(checked.holds == Holds::Partly && checked.findings[0].what.contains("not behind the gate"), "{breaks}: {checked:?}");
            gate.extend(&call(1)).unwrap();
            assert_eq!(gate.check(&call(1)).unwrap().holds, Holds::Yes, "{breaks}");
            gate.release(&call(1)).unwrap();
        });
        reaches(&hosts, PORT, false, breaks);
    }
}

#[test]
fn ports_that_are_configured_no_more_stay_closed_with_the_others() {
    let (hosts, folder) = (Hosts::new(), tempfile::tempdir().unwrap());
    let _listener = listen(&hosts, "host", PORT);
    hosts.within("host", || {
        Gate::new(settings(folder.path())).unwrap().take(&call(1)).unwrap();
        let changed = Gate::new(gate::Settings { ports: vec![443], table: "other".into(), ..settings(folder.path()) }).unwrap();
        assert!(matches!(changed.extend(&call(1)).unwrap_err(), Error::NotHeld { .. }));
        changed.release(&call(1)).unwrap();
    });
    reaches(&hosts, PORT, false, "released by another configuration");
}

#[test]
fn it_says_what_is_missing() {
    let (hosts, folder) = (Hosts::new(), tempfile::tempdir().unwrap());
    let weak = folder.path().join("weak");
    script(&weak, "exec setpriv --reuid 65534 --regid 65534 --clear-groups nft \"$@\"");
    let check = |program: PathBuf| {
        let gate = Gate::new(gate::Settings { program, ..settings(folder.path()) }).unwrap();
        let found = hosts.within("host", || gate.check(&call(1)).unwrap());
        assert!(found.holds == Holds::Unknown && found.findings[0].level == Level::Fault, "{found:?}");
        format!("{} ({})", found.findings[0].what, found.findings[0].hint.as_deref().unwrap_or_default())
    };
    let rights = check(weak);
    assert!(rights.contains("may not be changed") && rights.contains("CAP_NET_ADMIN"), "{rights}");
    let missing = check("/nowhere/nft".into());
    assert!(missing.contains("package nftables"), "{missing}");
    let without = Call { lifetime: None, ..call(1) };
    let refused = hosts.within("host", || Gate::new(settings(folder.path())).unwrap().take(&without).unwrap_err());
    assert!(matches!(refused, Error::Settings { .. }), "{refused:?}");
}

//! Namespaces as hosts: who reaches whom, and what is left behind.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tests::apart;
use tests::hosts::Hosts;
use tests::proxy::{Act, Plan, Proxy, Way};
use tests::wait::{self, Deadline};

use crate::peer::LIMIT;

/// So long that a packet on this machine would be there.
const MOMENT: Duration = Duration::from_millis(100);

/// One socket for datagrams on each host: they go one way and ask for no answer.
fn sockets(hosts: &Hosts) -> Vec<UdpSocket> {
    let bind = |host: &tests::hosts::Host| host.within(|| UdpSocket::bind((host.address(), 9)).unwrap());
    hosts.all().iter().map(bind).collect()
}

/// Asked with what is expected, since what should come may take long on a busy machine.
fn hears(sockets: &[UdpSocket], hosts: &Hosts, (from, to): (usize, usize), expected: bool) -> bool {
    let (sender, receiver) = (&sockets[from - 1], &sockets[to - 1]);
    sender.send_to(b"x", (hosts.host(to).address(), 9)).unwrap();
    receiver.set_read_timeout(Some(if expected { LIMIT } else { MOMENT })).unwrap();
    let heard = receiver.recv_from(&mut [0]);
    heard.is_ok_and(|(_, sender)| sender.ip() == hosts.host(from).address())
}

/// A listener that says each connection's bytes again.
fn echo(hosts: &Hosts, number: usize) -> SocketAddr {
    let host = hosts.host(number);
    host.within(|| {
        let listener = TcpListener::bind((host.address(), 0)).unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for mut socket in listener.incoming().map(Result::unwrap) {
                std::thread::spawn(move || {
                    let mut buffer = [0; 1024];
                    while let Ok(len @ 1..) = socket.read(&mut buffer) {
                        let _ = socket.write_all(&buffer[..len]);
                    }
                });
            }
        });
        address
    })
}

fn names() -> Vec<String> {
    let list = std::fs::read_dir("/run/netns").map(|list| list.map(|entry| entry.unwrap().file_name().into_string().unwrap()));
    list.map(Iterator::collect).unwrap_or_default()
}

fn is_alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn cuts_are_silent_one_way_at_a_time_and_heal() {
    let hosts = Hosts::new(3);
    let sockets = sockets(&hosts);
    let ways = [(1, 2), (2, 1), (1, 3), (3, 1), (2, 3), (3, 2)];
    let check = |expected: [bool; 6]| {
        for (way, expected) in ways.into_iter().zip(expected) {
            assert_eq!(hears(&sockets, &hosts, way, expected), expected, "{way:?}");
        }
    };
    check([true; 6]);
    hosts.cut(1, 2);
    check([false, true, true, true, true, true]);
    hosts.partition(2, 3);
    check([false, true, true, true, false, false]);
    hosts.heal(1, 2);
    hosts.heal(2, 3);
    check([true; 6]);
    hosts.isolate(3);
    check([true, true, false, false, false, false]);
    hosts.rejoin(3);
    check([true; 6]);
}

#[test]
fn a_connection_hangs_in_a_partition_and_goes_on_after_it() {
    let hosts = Hosts::new(2);
    let server = echo(&hosts, 2);
    let mut socket = hosts.host(1).within(|| TcpStream::connect_timeout(&server, LIMIT).unwrap());
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    socket.write_all(b"a").unwrap();
    socket.read_exact(&mut [0]).unwrap();
    hosts.partition(1, 2);
    socket.write_all(b"b").expect("nothing tells the sender");
    socket.set_read_timeout(Some(MOMENT)).unwrap();
    assert!(socket.read(&mut [0]).is_err(), "and nothing comes");
    let fresh = hosts.host(1).within(|| TcpStream::connect_timeout(&server, MOMENT).unwrap_err());
    assert_eq!(fresh.kind(), std::io::ErrorKind::TimedOut, "a new one is not refused, it hangs");
    hosts.heal(1, 2);
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    let mut came = [0];
    socket.read_exact(&mut came).unwrap();
    assert_eq!(&came, b"b", "what was sent meanwhile is sent again");
}

#[test]
fn two_sets_of_hosts_do_not_meet() {
    let (ours, theirs) = (Hosts::new(2), Hosts::new(2));
    assert_ne!(ours.host(1).address(), theirs.host(1).address());
    let server = echo(&theirs, 1);
    theirs.host(2).within(|| TcpStream::connect_timeout(&server, LIMIT).unwrap());
    assert!(ours.host(1).within(|| TcpStream::connect_timeout(&server, MOMENT)).is_err());
    assert!(TcpStream::connect_timeout(&server, MOMENT).is_err(), "nor does the machine itself meet them");
}

#[test]
fn a_process_runs_on_its_host_and_dies_there() {
    let hosts = Hosts::new(2);
    let listen = "import os,socket; s=socket.create_server(('0.0.0.0', 7)); print('pid', os.getpid(), flush=True)\nwhile True: s.accept()[0].sendall(b'hi')";
    let mut command = Command::new("python3");
    command.args(["-c", listen]);
    let mut server = hosts.spawn(2, "server", command);
    server.says(LIMIT, &format!("pid {}\n", server.pid()));
    let ask = |from: usize| hosts.host(from).within(|| TcpStream::connect_timeout(&(hosts.host(2).address(), 7).into(), LIMIT));
    let mut words = [0; 2];
    ask(1).unwrap().read_exact(&mut words).unwrap();
    assert_eq!(&words, b"hi");
    server.kill();
    assert_eq!(ask(1).unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused, "the host lives, its server does not");
}

#[test]
fn a_proxy_within_a_host_delays_what_goes_to_another() {
    let hosts = Hosts::new(2);
    let server = echo(&hosts, 2);
    let plan = Plan::new();
    let proxy = hosts.host(1).within(|| Proxy::start_at("127.0.0.1".parse().unwrap(), server, plan.clone()));
    assert!(TcpStream::connect(proxy.address()).is_err(), "it is on the host's own loopback");
    let mut socket = hosts.host(1).within(|| TcpStream::connect(proxy.address()).unwrap());
    plan.set(Way::Down, Act::Delay(Duration::from_millis(120)));
    let early = Deadline::after(Duration::from_millis(110));
    socket.write_all(b"a").unwrap();
    socket.read_exact(&mut [0]).unwrap();
    assert!(early.left().is_none(), "it came too soon");
    socket.shutdown(Shutdown::Both).unwrap();
}

#[test]
fn nothing_stays_of_a_test_that_panics() {
    let mut left = (Vec::new(), 0);
    let panic = catch_unwind(AssertUnwindSafe(|| {
        let hosts = Hosts::new(2);
        let names = hosts.all().iter().map(|host| host.namespace().to_string()).collect();
        let mut command = Command::new("sh");
        // Begun by what the test began, and known to nobody.
        command.args(["-c", "sleep 1000 & echo pid $!; wait"]);
        let mut running = hosts.spawn(1, "shell", command);
        running.says(LIMIT, "pid ");
        left = (names, running.out().trim().strip_prefix("pid ").unwrap().parse().unwrap());
        assert!(left.0.iter().all(|name| self::names().contains(name)) && is_alive(left.1));
        panic!("on purpose");
    }));
    assert_eq!(panic.unwrap_err().downcast_ref(), Some(&"on purpose"));
    assert!(left.0.len() == 2 && !left.0.iter().any(|name| names().contains(name)));
    wait::until(LIMIT, "the grandchild to end", || (!is_alive(left.1)).then_some(()));
}

#[test]
fn what_a_killed_test_left_is_removed_by_the_next() {
    if apart::part().is_some() {
        let hosts = Hosts::new(1);
        let mut command = Command::new("sleep");
        command.arg("1000");
        let running = hosts.spawn(1, "sleep", command);
        println!("answer: {} {}", hosts.host(1).namespace(), running.pid());
        // Killed by its own hand, so that nothing is dropped.
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
    }
    let child = apart::begin("hosts::what_a_killed_test_left_is_removed_by_the_next", "leave");
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let answer = said
        .split_once("answer: ")
        .unwrap_or_else(|| panic!("{said}{}", String::from_utf8_lossy(&output.stderr)))
        .1;
    let (name, pid) = answer.lines().next().unwrap().split_once(' ').unwrap();
    let pid: u32 = pid.parse().unwrap();
    let hosts = Hosts::new(1);
    assert!(!names().contains(&name.to_string()), "{name} is gone");
    wait::until(LIMIT, "what ran there to end", || (!is_alive(pid)).then_some(()));
    assert!(names().contains(&hosts.host(1).namespace().to_string()), "and what lives stays");
}

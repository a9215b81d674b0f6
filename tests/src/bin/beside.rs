//! How long an address of keepalived's is not served when the host that has it dies: `beside keepalived TIMES`.
//!
//! Two hosts and a client on one switch, as in the tests of takeover; the same service runs on both all the time, so that nothing but the address has to move. Everything
//! on the host that has it is killed at once, and the client, who asks all the while, says how long nobody answered. keepalived is used as Debian ships it, with an
//! advertisement each second.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tests::hosts::Hosts;
use tests::program::program;
use tests::wait::until;

const ADDRESS: &str = "192.0.2.80";
const PORT: u16 = 8080;
const LIMIT: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_millis(150);
const BETWEEN: Duration = Duration::from_millis(10);
const KEEPALIVED: &str = "/usr/sbin/keepalived";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let times = match arguments.as_slice() {
        [what, times] if what == "keepalived" => times.parse::<usize>().ok(),
        _ => None,
    };
    let Some(times) = times.filter(|times| *times > 0) else {
        eprintln!("usage: beside keepalived TIMES");
        return ExitCode::from(64);
    };
    if !Path::new(KEEPALIVED).exists() {
        println!("keepalived is not here, and passed over (Debian: keepalived)");
        return ExitCode::SUCCESS;
    }
    let mut pauses: Vec<Duration> = (0..times).map(|_| die()).collect();
    pauses.sort();
    println!(
        "{times} hosts died; unserved by keepalived's address for {:?} in the middle, {:?} at most",
        pauses[times / 2],
        pauses[times - 1]
    );
    ExitCode::SUCCESS
}

/// One host dies; how long nobody answered.
fn die() -> Duration {
    let hosts = Hosts::new(3);
    let mut running = Vec::new();
    for (number, priority) in [(1, 100), (2, 90)] {
        let folder = hosts.folder().join(format!("web{number}"));
        std::fs::create_dir(&folder).expect("a folder");
        let mut till = program("till");
        till.arg("serve").arg(folder.join("shop.db")).arg(format!("0.0.0.0:{PORT}"));
        running.push(hosts.spawn(number, &format!("till{number}"), till));
        let config = format!(
            "global_defs {{\n router_id web{number}\n}}\nvrrp_instance shop {{\n state BACKUP\n interface eth0\n virtual_router_id 51\n priority {priority}\n advert_int 1\n \
             virtual_ipaddress {{\n  {ADDRESS}/32 dev eth0\n }}\n}}\n"
        );
        std::fs::write(folder.join("keepalived.conf"), config).expect("its configuration");
        let mut keepalived = Command::new(KEEPALIVED);
        keepalived
            .args(["--dont-fork", "--log-console", "--vrrp"])
            .arg("-f")
            .arg(folder.join("keepalived.conf"));
        keepalived.arg("-p").arg(folder.join("pid")).arg("-r").arg(folder.join("vrrp.pid"));
        running.push(hosts.spawn(number, &format!("keepalived{number}"), keepalived));
    }
    hosts
        .host(3)
        .within(|| Command::new("ip").args(["route", "add", ADDRESS, "dev", "eth0"]).status())
        .expect("`ip` runs");
    let (stop, answers) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Vec<(String, Instant)>>>::default());
    let client = {
        let (stop, answers) = (stop.clone(), answers.clone());
        hosts.host(3).within(|| std::thread::spawn(move || ask(&stop, &answers)))
    };
    let reached = |by: &str| {
        until(LIMIT, &format!("{by} to answer"), || {
            let answers = answers.lock().expect("no thread panicked");
            answers.iter().rev().take(20).filter(|(node, _)| node == by).nth(19).map(|_| ())
        });
    };
    reached("web1");
    hosts.host(1).kill_all();
    reached("web2");
    stop.store(true, Ordering::SeqCst);
    client.join().expect("the client ends");
    let answers = answers.lock().expect("no thread panicked");
    let change = answers.windows(2).find(|pair| pair[0].0 != pair[1].0).expect("the one and the other answered");
    change[1].1.duration_since(change[0].1)
}

#[expect(clippy::disallowed_methods, reason = "how long nobody served is measured on the real clock")]
fn ask(stop: &AtomicBool, answers: &Mutex<Vec<(String, Instant)>>) {
    let at: SocketAddr = (ADDRESS.parse::<std::net::IpAddr>().expect("an address"), PORT).into();
    while !stop.load(Ordering::SeqCst) {
        std::thread::park_timeout(BETWEEN);
        if let Some(by) = answer(at) {
            answers.lock().expect("no thread panicked").push((by, Instant::now()));
        }
    }
}

fn answer(at: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&at, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    write!(stream, "GET / HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    // `open NODE EPOCH`, of which there is none here.
    text.split_once("\r\n\r\n")?.1.split_whitespace().nth(1).map(str::to_owned)
}

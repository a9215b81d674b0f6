//! A service for takeovers: takes orders over HTTP into an SQLite database, and answers only what is committed.
//!
//! `till start|stop|status DATABASE HOST:PORT` are the three programs of a service; `till serve DATABASE HOST:PORT` is the service. `GET /` answers while it works, with its node and epoch; `POST /order/N` takes an
//! order. Its process id stands beside the database.

use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;
use tests::wait::until;

const LIMIT: Duration = Duration::from_secs(30);
const STOPPED: u8 = 3;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [what, database, at] = arguments.as_slice() else {
        eprintln!("usage: till start|stop|status|serve DATABASE HOST:PORT");
        return ExitCode::from(64);
    };
    let (database, at) = (Path::new(database), at.parse().expect("a place is HOST:PORT"));
    match what.as_str() {
        "serve" => serve(database, at),
        "start" => start(database, at),
        "stop" => stop(database),
        "status" if running(database).is_some() => {}
        "status" => return ExitCode::from(STOPPED),
        other => panic!("till does not know {other}"),
    }
    ExitCode::SUCCESS
}

fn pid_file(database: &Path) -> PathBuf {
    database.with_extension("pid")
}

fn running(database: &Path) -> Option<Pid> {
    let pid = Pid::from_raw(std::fs::read_to_string(pid_file(database)).ok()?.trim().parse().ok()?)?;
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    // Whoever ended and was not waited for is a zombie.
    let alive = !stat.rsplit(')').next()?.trim_start().starts_with('Z') && test_kill_process(pid).is_ok();
    (alive && stat.contains("(till)")).then_some(pid)
}

#[expect(clippy::zombie_processes, reason = "the service outlives whoever starts it")]
fn start(database: &Path, at: SocketAddr) {
    if running(database).is_some() {
        return;
    }
    let own = std::env::current_exe().expect("a program has a path");
    let mut command = Command::new(own);
    command.arg("serve").arg(database).arg(at.to_string()).stdin(Stdio::null()).process_group(0);
    let child = command.spawn().expect("the service starts");
    std::fs::write(pid_file(database), child.id().to_string()).expect("its id is written");
    until(LIMIT, "the till to open", || TcpStream::connect(at).map_err(|error| error.to_string()));
}

fn stop(database: &Path) {
    if let Some(pid) = running(database) {
        // It may have ended meanwhile.
        let _ = kill_process(pid, Signal::TERM);
        until(LIMIT, "the till to close", || running(database).is_none().then_some(()));
    }
}

fn serve(database: &Path, at: SocketAddr) {
    let listener = TcpListener::bind(at).expect("the port is free");
    for stream in listener.incoming().flatten() {
        let database = database.to_path_buf();
        std::thread::spawn(move || {
            // Whoever asked may have gone.
            let _ = answer(&stream, &database);
        });
    }
}

fn answer(stream: &TcpStream, database: &Path) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut reader = BufReader::new(stream);
    let (mut first, mut line) = (String::new(), String::new());
    reader.read_line(&mut first)?;
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let path = first.split(' ').nth(1).unwrap_or_default();
    let (status, body) = match path.strip_prefix("/order/").and_then(|number| number.parse::<i64>().ok()) {
        None => ("200 OK", format!("open {}\n", reign(database))),
        Some(number) => match take(database, number) {
            Ok(()) => ("200 OK", format!("taken {number}\n")),
            Err(error) => ("503 Service Unavailable", format!("{error}\n")),
        },
    };
    write!({ stream }, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

/// The node whose folder the database is in, and the epoch that is granted to it.
fn reign(database: &Path) -> String {
    let folder = database.parent().unwrap_or(Path::new("/"));
    let node = folder.file_name().unwrap_or_default().to_string_lossy();
    let epoch = std::fs::read_to_string(folder.join("run/granted")).unwrap_or_default();
    format!("{node} {}", epoch.trim())
}

fn take(database: &Path, number: i64) -> rusqlite::Result<()> {
    let database = Connection::open(database)?;
    database.busy_timeout(Duration::from_secs(5))?;
    database.execute("insert or ignore into orders (id, text) values (?1, 'an order')", [number])?;
    Ok(())
}

//! A client of systemd over D-Bus: a socket, a greeting, one call after the other.
//!
//! Written here because so little is needed: a library for it took five minutes of a processor to build. It prefers the socket on
//! which systemd itself listens (as root), since then no bus between has to be alive when a host steps down, and takes the
//! system's bus otherwise. Answers are waited for within the budget of the call that they belong to.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::budget::Budget;
use super::marshal::{self, Argument, ERROR, HEADER_BYTES, Message, REPLY, Target, Value, broken};

const SYSTEMD: &str = "org.freedesktop.systemd1";
const ROOT: &str = "/org/freedesktop/systemd1";
const LINE_BYTES_MAX: usize = 512;

/// Where systemd is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// Its own socket.
    Own(PathBuf),
    /// A bus's.
    Bus(PathBuf),
}

impl Address {
    /// The system's.
    pub fn system() -> Address {
        let own = Path::new("/run/systemd/private");
        if rustix::process::geteuid().is_root() && own.exists() {
            return Address::Own(own.into());
        }
        Address::Bus("/run/dbus/system_bus_socket".into())
    }
}

/// Why a call failed.
#[derive(Debug)]
pub(super) enum Fault {
    /// Its name, and what it says.
    Said(String, String),
    Io(io::Error),
}

pub(super) struct Bus<'a> {
    stream: UnixStream,
    budget: &'a Budget,
    serial: u32,
    destination: Option<&'static str>,
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        Fault::Io(error)
    }
}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> io::Error {
        match fault {
            Fault::Said(name, words) if words.is_empty() => io::Error::other(name),
            Fault::Said(_, words) => io::Error::other(words),
            Fault::Io(error) => error,
        }
    }
}

impl Fault {
    /// The unit is not loaded, so nothing of it runs.
    pub fn is_no_unit(&self) -> bool {
        matches!(self, Fault::Said(name, _) if name == "org.freedesktop.systemd1.NoSuchUnit")
    }
}

impl<'a> Bus<'a> {
    pub fn open(address: &Address, budget: &'a Budget) -> Result<Bus<'a>, Fault> {
        let (path, destination) = match address {
            Address::Own(path) => (path, None),
            Address::Bus(path) => (path, Some(SYSTEMD)),
        };
        let mut bus = Bus { stream: UnixStream::connect(path)?, budget, serial: 0, destination };
        let user: String = rustix::process::geteuid().as_raw().to_string().bytes().map(|byte| format!("{byte:02x}")).collect();
        // All in one: systemd forgets a call that comes in one piece with BEGIN, so that must be there before the answer is.
        bus.send(format!("\0AUTH EXTERNAL {user}\r\nBEGIN\r\n").as_bytes())?;
        let line = bus.line()?;
        if !line.starts_with("OK") {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("systemd does not let us in: {}", line.trim())).into());
        }
        if bus.destination.is_some() {
            let bus_itself = "org.freedesktop.DBus";
            let hello = Target { path: "/org/freedesktop/DBus", interface: bus_itself, member: "Hello", destination: Some(bus_itself) };
            bus.call(hello, &[])?;
        }
        Ok(bus)
    }

    /// A call of systemd's manager.
    pub fn ask(&mut self, member: &str, arguments: &[Argument]) -> Result<Value, Fault> {
        let interface = "org.freedesktop.systemd1.Manager";
        self.call(Target { path: ROOT, interface, member, destination: self.destination }, arguments)
    }

    /// A property of an object.
    pub fn property(&mut self, path: &str, interface: &str, name: &str) -> Result<Value, Fault> {
        let target = Target { path, interface: "org.freedesktop.DBus.Properties", member: "Get", destination: self.destination };
        self.call(target, &[Argument::Text(interface), Argument::Text(name)])
    }

    fn call(&mut self, target: Target, arguments: &[Argument]) -> Result<Value, Fault> {
        self.serial += 1;
        let bytes = marshal::call(self.serial, target, arguments);
        self.send(&bytes)?;
        loop {
            let message = self.receive()?;
            // Signals come between.
            if message.replies_to != Some(self.serial) {
                continue;
            }
            let value = message.value()?;
            match (message.kind, value) {
                (REPLY, value) => return Ok(value),
                (ERROR, Value::Text(words)) => return Err(Fault::Said(message.error.unwrap_or_default(), words)),
                (ERROR, _) => return Err(Fault::Said(message.error.unwrap_or_default(), String::new())),
                _ => return Err(broken("an answer of an unknown kind").into()),
            }
        }
    }

    fn limit(&self) -> io::Result<Option<Duration>> {
        let left = self.budget.left();
        if left.is_zero() { Err(io::Error::new(io::ErrorKind::TimedOut, "systemd does not answer in time")) } else { Ok(Some(left)) }
    }

    fn send(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.stream.set_write_timeout(self.limit()?)?;
            let n = timely(|| self.stream.write(bytes))?;
            bytes = &bytes[n..];
        }
        Ok(())
    }

    fn fill(&mut self, mut bytes: &mut [u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.stream.set_read_timeout(self.limit()?)?;
            match timely(|| self.stream.read(bytes))? {
                0 => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "systemd hung up")),
                n => bytes = &mut bytes[n..],
            }
        }
        Ok(())
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            self.fill(&mut byte)?;
            line.push(byte[0]);
            if line.len() > LINE_BYTES_MAX {
                return Err(broken("a line without an end"));
            }
        }
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    fn receive(&mut self) -> io::Result<Message> {
        let mut header = [0; HEADER_BYTES];
        self.fill(&mut header)?;
        let mut rest = vec![0; marshal::rest_bytes(&header)?];
        self.fill(&mut rest)?;
        marshal::message(&header, &rest)
    }
}

fn timely(mut work: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    match work() {
        // Whoever handles a signal in this thread only interrupts.
        Err(error) if error.kind() == io::ErrorKind::Interrupted => timely(work),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(io::Error::new(io::ErrorKind::TimedOut, "systemd does not answer in time"))
        }
        done => done,
    }
}

//! A session with a server: log in, ask, read rows, hand over a file.
//!
//! One statement at a time, by protocol: what comes from an archive cannot smuggle in a second one. The server gets a file only while `load` runs, and only the
//! bytes that were given to it; asked for one at any other time, this side refuses. There is no TLS here: a server on another host is reached through a tunnel.

use std::io::{self, Read};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};

use super::wire::{Fields, Transport, Wire, broken};

/// What a server said, or why it said nothing.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("the connection failed")]
    Io(#[from] io::Error),
    #[error("{message} (error {code})")]
    Refused { code: u16, message: String },
}

impl Fault {
    pub(super) fn code(&self) -> u16 {
        match self {
            Fault::Refused { code, .. } => *code,
            Fault::Io(_) => 0,
        }
    }
}

pub(super) type Answer<T> = Result<T, Fault>;

impl Drop for Client {
    /// Of one that says goodbye no server logs that it was lost. That it cannot be said matters to nobody.
    fn drop(&mut self) {
        self.wire.begin();
        let _ = self.wire.send(&[1]);
    }
}

/// A row of an answer that is kept.
pub(super) type Row = Vec<Option<Vec<u8>>>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    Socket(PathBuf),
    Network { host: String, port: u16 },
}

/// Long protocol, long flags, local files, 4.1 protocol, transactions, secure passwords, named plugins. Not: several statements at once.
const CAPABILITIES: u32 = 0x1 | 0x4 | 0x80 | 0x200 | 0x2000 | 0x8000 | 0x8_0000;
const UTF8MB4: u8 = 45;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// A server that says nothing for so long is as good as dead. An index of a very large table takes hours, after its last row was sent.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(6 * 3600);
const FILE_PART_BYTES: usize = 256 << 10;

pub(super) struct Client {
    wire: Wire,
    /// The server's number for this session.
    pub id: u64,
    pub version: String,
}

/// Ends a session from another thread.
pub(super) struct HangUp(Transport);

impl HangUp {
    pub fn now(&self) {
        self.0.hang_up();
    }
}

impl Client {
    pub fn open(address: &Address, user: &str, password: Option<&str>) -> Answer<Client> {
        let transport = match address {
            Address::Socket(path) => Transport::Socket(UnixStream::connect(path)?),
            Address::Network { host, port } => Transport::Network(connect(host, *port)?),
        };
        let local = matches!(transport, Transport::Socket(_));
        transport.bound(CONNECT_TIMEOUT)?;
        let mut client = Client { wire: Wire::new(transport), id: 0, version: String::new() };
        let (scramble, plugin) = client.greeting()?;
        let mut hello = Vec::new();
        hello.extend(CAPABILITIES.to_le_bytes());
        hello.extend((1u32 << 30).to_le_bytes());
        hello.push(UTF8MB4);
        hello.extend([0; 23]);
        hello.extend(user.as_bytes());
        hello.push(0);
        let proof = proof(&plugin, password, &scramble).unwrap_or_default();
        hello.push(proof.len() as u8);
        hello.extend(proof);
        hello.extend(plugin.as_bytes());
        hello.push(0);
        client.wire.send(&hello)?;
        client.log_in(plugin, password, local)?;
        client.wire.transport().bound(ANSWER_TIMEOUT)?;
        Ok(client)
    }

    pub fn hang_up(&self) -> io::Result<HangUp> {
        self.wire.transport().another().map(HangUp)
    }

    fn greeting(&mut self) -> Answer<(Vec<u8>, String)> {
        let packet = self.wire.receive()?;
        refused(packet)?;
        let mut fields = Fields(packet);
        if fields.number(1)? != 10 {
            return Err(broken("another protocol").into());
        }
        let version = String::from_utf8_lossy(fields.until_nul()?).into_owned();
        let id = fields.number(4)?;
        let mut scramble = fields.bytes(8)?.to_vec();
        fields.bytes(1 + 2 + 1 + 2 + 2)?;
        let len = fields.number(1)? as usize;
        fields.bytes(10)?;
        scramble.extend(fields.bytes(len.saturating_sub(8).max(13))?);
        scramble.truncate(20);
        let plugin = String::from_utf8_lossy(fields.until_nul()?).into_owned();
        // MariaDB puts this before its version, for old replicas.
        self.version = version.strip_prefix("5.5.5-").unwrap_or(&version).to_owned();
        self.id = id;
        Ok((scramble, plugin))
    }

    fn log_in(&mut self, mut plugin: String, password: Option<&str>, local: bool) -> Answer<()> {
        // Each turn answers one question; a server has two at most.
        for _ in 0..8 {
            let packet = self.wire.receive()?;
            refused(packet)?;
            let answer = match packet.first() {
                Some(0) => return Ok(()),
                Some(0xfe) => {
                    let mut fields = Fields(&packet[1..]);
                    plugin = String::from_utf8_lossy(fields.until_nul()?).into_owned();
                    let scramble = fields.0.strip_suffix(&[0]).unwrap_or(fields.0);
                    proof(&plugin, password, scramble).ok_or_else(|| unknown(&plugin))?
                }
                Some(1) if plugin == "caching_sha2_password" => match packet.get(1) {
                    Some(3) => continue,
                    Some(4) if local => [password.unwrap_or_default().as_bytes(), &[0]].concat(),
                    _ => return Err(io::Error::other("this account's password needs the server's socket, or TLS").into()),
                },
                _ => return Err(unknown(&plugin).into()),
            };
            self.wire.send(&answer)?;
        }
        Err(broken("the login never ends").into())
    }

    fn ask(&mut self, sql: &[u8]) -> Answer<()> {
        self.wire.begin();
        self.wire.send(&[&[3], sql].concat())?;
        Ok(())
    }

    /// A statement whose rows, if any, do not matter.
    pub fn run(&mut self, sql: impl AsRef<[u8]>) -> Answer<()> {
        self.each(sql, |_| Ok(()))
    }

    /// Hands each row to `take`, as it lies in the packet.
    pub fn each(&mut self, sql: impl AsRef<[u8]>, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> Answer<()> {
        self.ask(sql.as_ref())?;
        let packet = self.wire.receive()?;
        refused(packet)?;
        let columns = match packet.first() {
            Some(0) => return Ok(()),
            Some(0xfb) => {
                self.wire.send(&[])?;
                let _ = self.wire.receive()?;
                return Err(broken("it asks for a file").into());
            }
            _ => Fields(packet).length()?.ok_or_else(|| broken("no columns"))?,
        };
        for _ in 0..=columns {
            self.wire.receive()?;
        }
        loop {
            let packet = self.wire.receive()?;
            refused(packet)?;
            if packet.first() == Some(&0xfe) && packet.len() < 9 {
                return Ok(());
            }
            take(packet)?;
        }
    }

    pub fn rows(&mut self, sql: &str) -> Answer<Vec<Row>> {
        let mut rows = Vec::new();
        self.each(sql, |packet| {
            let (mut fields, mut row) = (Fields(packet), Vec::new());
            while !fields.0.is_empty() {
                row.push(fields.value()?.map(<[u8]>::to_vec));
            }
            rows.push(row);
            Ok(())
        })?;
        Ok(rows)
    }

    /// Rows as text; NULL is empty.
    pub fn texts(&mut self, sql: &str) -> Answer<Vec<Vec<String>>> {
        let text = |value: Option<Vec<u8>>| value.map_or_else(String::new, |bytes| String::from_utf8_lossy(&bytes).into_owned());
        Ok(self.rows(sql)?.into_iter().map(|row| row.into_iter().map(text).collect()).collect())
    }

    /// The first column of the first row.
    pub fn one(&mut self, sql: &str) -> Answer<Option<String>> {
        Ok(self.texts(sql)?.into_iter().next().and_then(|row| row.into_iter().next()))
    }

    /// LOAD DATA LOCAL: what the server takes for a file is `content`.
    pub fn load(&mut self, sql: &str, content: &mut dyn Read) -> Answer<()> {
        self.ask(sql.as_bytes())?;
        let packet = self.wire.receive()?;
        refused(packet)?;
        if packet.first() != Some(&0xfb) {
            return Err(broken("it wants no file").into());
        }
        let mut part = vec![0; FILE_PART_BYTES];
        let read = loop {
            match content.read(&mut part) {
                Ok(0) => break Ok(()),
                Ok(n) => self.wire.send(&part[..n])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Not told to the server, which would take a part for the whole: the session ends here.
                Err(error) => break Err(error),
            }
        };
        if let Err(error) = read {
            self.wire.transport().hang_up();
            return Err(error.into());
        }
        self.wire.send(&[])?;
        refused(self.wire.receive()?)
    }
}

fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    use std::net::ToSocketAddrs;
    let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"));
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn refused(packet: &[u8]) -> Answer<()> {
    if packet.first() != Some(&0xff) {
        return Ok(());
    }
    let mut fields = Fields(&packet[1..]);
    let code = fields.number(2)? as u16;
    let text = if fields.0.first() == Some(&b'#') { fields.0.get(6..).unwrap_or_default() } else { fields.0 };
    Err(Fault::Refused { code, message: String::from_utf8_lossy(text).into_owned() })
}

fn unknown(plugin: &str) -> io::Error {
    io::Error::other(format!("this account logs in by {plugin:?}, which is not known here"))
}

/// What shows that the password is known, as each plugin wants it.
fn proof(plugin: &str, password: Option<&str>, scramble: &[u8]) -> Option<Vec<u8>> {
    let password = password.unwrap_or_default().as_bytes();
    let mixed = |algorithm, once: &[u8], salted: &[u8]| -> Vec<u8> {
        digest(algorithm, salted).as_ref().iter().zip(once).map(|(a, b)| a ^ b).collect()
    };
    match plugin {
        "unix_socket" | "auth_socket" => Some(Vec::new()),
        "mysql_native_password" | "caching_sha2_password" if password.is_empty() => Some(Vec::new()),
        "mysql_native_password" => {
            let once = digest(&SHA1_FOR_LEGACY_USE_ONLY, password);
            let twice = digest(&SHA1_FOR_LEGACY_USE_ONLY, once.as_ref());
            Some(mixed(&SHA1_FOR_LEGACY_USE_ONLY, once.as_ref(), &[scramble, twice.as_ref()].concat()))
        }
        "caching_sha2_password" => {
            let once = digest(&SHA256, password);
            let twice = digest(&SHA256, once.as_ref());
            Some(mixed(&SHA256, once.as_ref(), &[twice.as_ref(), scramble].concat()))
        }
        _ => None,
    }
}

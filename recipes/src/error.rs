//! What can go wrong in a recipe: one variant for each operation that failed, with the path and the source.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::data::{Finding, Level};

/// An error of a recipe. The chain of sources is printed by the caller, so messages do not repeat it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot use the settings: {reason}")]
    Settings { reason: String },
    #[error("cannot understand the exclude {pattern:?}")]
    Exclude { pattern: String, source: ignore::Error },
    #[error("cannot find the source {}", path.display())]
    Missing { path: PathBuf, source: io::Error },
    #[error("cannot {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("cannot {action} {}", path.display())]
    Sqlite { action: &'static str, path: PathBuf, source: rusqlite::Error },
    #[error("cannot {action} {server}")]
    Mysql { action: &'static str, server: String, source: crate::mysql::Fault },
    #[error("cannot {action} {}: others kept it locked for {} s", path.display(), waited.as_secs_f32())]
    InUse { action: &'static str, path: PathBuf, waited: std::time::Duration },
    #[error("cannot {action} {}: it is no SQLite database, or an encrypted one", path.display())]
    NotSqlite { action: &'static str, path: PathBuf },
    #[error("cannot export {}: an earlier export is still at work", path.display())]
    StillExporting { path: PathBuf },
    #[error("cannot import into {}: another import is at work there", path.display())]
    Busy { path: PathBuf },
    #[error("cannot import into {}: what arrived has {} where an excluded entry lives", target.display(), path.display())]
    InTheWay { target: PathBuf, path: PathBuf },
    #[error("cannot import into {}: what arrived {reason}", target.display())]
    Arrived { target: PathBuf, reason: String },
    #[error("cannot take back {}: {reason}", path.display())]
    TakeBack { path: PathBuf, reason: String },
    #[error("cannot start {}", program.display())]
    Start { program: PathBuf, source: io::Error },
    #[error("{} failed", program.display())]
    Ran { program: PathBuf, source: io::Error },
    #[error("cannot {action} the database {database:?}")]
    Postgres { action: &'static str, database: String, source: Box<postgres::Error> },
    #[error("cannot read from the database {database:?}")]
    Read { database: String, source: io::Error },
    #[error("cannot load the table {table}")]
    Load { table: String, source: io::Error },
    #[error("cannot understand what the server answers about the database {database:?}: {why}")]
    Answer { database: String, why: String },
    #[error("there is no database {database:?} on the server")]
    NoDatabase { database: String },
    #[error("cannot find {what} in what was captured, which has: {known}")]
    NoPart { what: String, known: String },
    #[error("the name {name:?} is taken on this server")]
    Taken { name: String },
    #[error("{question:?} was answered by {answer}")]
    Question { question: String, answer: String },
    #[error("the server does not run: to guard it before it does, name {names} as `{key}` in the node file")]
    NotRunning { key: &'static str, names: &'static str },
    #[error("cannot guard the server by {}: {reason}", path.display())]
    Unguarded { path: PathBuf, reason: String },
    #[error("cannot import here, and nothing was touched: {}", problems.join("; "))]
    Preflight { problems: Vec<String> },
    #[error("what was loaded into the database {database:?} is not what was exported: {}", problems.join("; "))]
    Differs { database: String, problems: Vec<String> },
    #[error("cannot write what was asked for")]
    Write { source: io::Error },
    #[error("cannot {action} {name}")]
    Act { action: &'static str, name: String, source: io::Error },
    #[error("cannot {action} {name} within {} s: another call of it is still at work", waited.as_secs_f32())]
    ActInUse { action: &'static str, name: String, waited: std::time::Duration },
    #[error("cannot understand the record of {name} in {}", path.display())]
    ActRecord { name: String, path: PathBuf, source: io::Error },
    #[error("cannot change {name} for epoch {epoch}: it was changed for epoch {known} already")]
    Outdated { name: String, epoch: u64, known: u64 },
    #[error("cannot extend {name}: epoch {epoch} has not taken it")]
    NotHeld { name: String, epoch: u64 },
    #[error("cannot {action} {name} within {} s", within.as_secs_f32())]
    Late { action: &'static str, name: String, within: std::time::Duration },
    #[error("cannot do {action} for {domain}")]
    Dns { action: String, domain: String, source: crate::act::dns::Fault },
    #[error("cannot find nft")]
    NoNft { source: io::Error },
    #[error("cannot stop {name}: {left}")]
    StillRuns { name: String, left: String },
    #[error("cannot {action} {name}: {interface} {why}")]
    Interface { action: &'static str, name: String, interface: String, why: &'static str },
    #[error("cannot {action} {name}: {address} is on this host already, and not by us")]
    AddressThere { action: &'static str, name: String, address: IpAddr },
    #[error("cannot {action} {name}: {holder} has {address}")]
    AddressTaken { action: &'static str, name: String, address: IpAddr, holder: String },
    #[error("cannot take {name}: there is another {what} already")]
    WayThere { name: String, what: String },
    #[error("cannot {action} {name}: that needs rights on the network")]
    NoNetworkRights { action: &'static str, name: String, source: io::Error },
    #[error("the receiver stopped the export")]
    Stopped,
    #[error("the reading thread ended without a word")]
    Thread,
}

/// What a caller may do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The same may succeed later.
    Retry,
    /// Somebody must change something first.
    Refuse,
}

impl Error {
    pub fn kind(&self) -> Kind {
        match self {
            Error::Io { .. } | Error::Missing { .. } | Error::Busy { .. } | Error::Stopped | Error::Thread | Error::Write { .. } => {
                Kind::Retry
            }
            Error::Mysql { .. } | Error::Sqlite { .. } | Error::InUse { .. } | Error::StillExporting { .. } => Kind::Retry,
            Error::Start { .. } | Error::Ran { .. } => Kind::Retry,
            Error::Postgres { .. } | Error::Read { .. } | Error::Load { .. } | Error::Answer { .. } | Error::Differs { .. } => Kind::Retry,
            Error::NoDatabase { .. } | Error::Preflight { .. } => Kind::Refuse,
            Error::Settings { .. } | Error::Exclude { .. } | Error::InTheWay { .. } | Error::TakeBack { .. } => Kind::Refuse,
            Error::NotSqlite { .. } | Error::Arrived { .. } | Error::NoPart { .. } | Error::Taken { .. } => Kind::Refuse,
            Error::Question { .. } | Error::Unguarded { .. } | Error::NotRunning { .. } => Kind::Refuse,
            Error::Act { .. } | Error::ActInUse { .. } | Error::Late { .. } | Error::StillRuns { .. } => Kind::Retry,
            Error::Interface { .. } | Error::AddressTaken { .. } => Kind::Retry,
            Error::AddressThere { .. } | Error::WayThere { .. } | Error::NoNetworkRights { .. } => Kind::Refuse,
            Error::Dns { source, .. } if source.may_pass() => Kind::Retry,
            Error::Dns { .. } => Kind::Refuse,
            Error::ActRecord { .. } | Error::Outdated { .. } | Error::NotHeld { .. } | Error::NoNft { .. } => Kind::Refuse,
        }
    }

    /// What an operator can do, where that is known.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Error::Missing { .. } => Some("mount or create it, or take it out of the node file; nothing counts as deleted"),
            Error::Busy { .. } => Some("wait until the other import ends"),
            Error::StillExporting { .. } => Some("wait until it ends, or end the program that it started"),
            Error::InUse { .. } => Some("end the long transaction, or keep the database in WAL mode: then exports wait for nobody"),
            Error::NotSqlite { .. } => Some("if that file is broken, move it away with its -wal and -journal, and import again"),
            Error::InTheWay { .. } => Some("move the excluded entry away, or exclude the other at the source too"),
            Error::Start { .. } => Some("put it there, executable, or name it with `export =` or `import =` in the node file"),
            Error::NoPart { .. } => Some("name one of those with --database and --table"),
            Error::Taken { .. } => Some("choose another name, or drop what has it"),
            Error::Question { .. } => Some("a question is answered well when the first column of each row is true, and there is a row"),
            Error::NoDatabase { .. } => Some("create it, or take it out of the node file; nothing counts as deleted"),
            Error::ActInUse { .. } => Some("it ends at its own deadline; try again then"),
            Error::ActRecord { .. } => Some("release it, or move the file away once you know that nothing of the act holds on this host"),
            Error::Outdated { .. } => Some("this host has a newer role; see `importer status`"),
            Error::NoNft { .. } => Some("install the package nftables"),
            Error::Dns { source, .. } => source.hint(),
            Error::NotHeld { .. } => Some("take it first"),
            Error::Interface { .. } => Some("see `ip link` and `ip addr`: what carries the address must be up before it is taken"),
            Error::AddressThere { .. } => Some("take it out of the host's own network configuration, and remove it with `ip addr del`"),
            Error::AddressTaken { .. } => Some("find that host by the link address, and take the address from it or turn it off"),
            Error::WayThere { .. } => Some("give that route a `metric`, or the address a `table` of its own"),
            Error::NoNetworkRights { .. } => Some("run it as root, or with the capabilities CAP_NET_ADMIN and CAP_NET_RAW"),
            Error::StillRuns { .. } => Some("end it by hand before anything of it is started on another host"),
            Error::Differs { .. } => Some("the last good one is as it was; look at the server's log and its disk, and import again"),
            _ => None,
        }
    }

    /// As what a check found.
    pub(crate) fn finding(&self) -> Finding {
        let finding = Finding::new(Level::Fault, told(self));
        match self.hint() {
            Some(hint) => finding.hint(hint),
            None => finding,
        }
    }

    pub(crate) fn io(action: &'static str, path: &Path, source: impl Into<io::Error>) -> Error {
        Error::Io { action, path: path.to_path_buf(), source: source.into() }
    }
}

/// An error with all that it comes from, in one line.
pub fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}

//! Which of the things in a file of definitions are made, by its table of contents.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::MemfdFlags;

use super::{Inner, cron};
use crate::Error;

/// For whom a database is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    /// It will be the data: owners and grants are as they were.
    Import,
    /// Somebody looks at all of it; the roles may not be here.
    Look,
    /// Somebody looks at some tables: the others are not there to be referred to, and nothing is to happen by itself.
    Tables,
    /// It is there already, and what is derived from rows is derived anew.
    Refresh,
    /// It is there already, and gets what pg_cron needs.
    Jobs,
}

/// What of the things that come after rows would refer to tables that are not there, or act by itself.
const NEEDS_ALL: [&str; 9] = [
    "FK CONSTRAINT ",
    "TRIGGER ",
    "EVENT TRIGGER ",
    "RULE ",
    "POLICY ",
    "ROW SECURITY ",
    "MATERIALIZED VIEW DATA ",
    "PUBLICATION ",
    "PUBLICATION TABLE ",
];

/// Whether an entry is made: its kind, schema, name and owner, as the table of contents has them.
pub(super) type Kept = fn(&[u8]) -> bool;

/// What is asked of each entry of a section; `None` where all are made.
pub(super) fn kept(section: &str, whom: For) -> Option<Kept> {
    let without_others: Kept = |words| !NEEDS_ALL.iter().any(|kind| words.starts_with(kind.as_bytes()));
    match (section, whom) {
        ("--section=post-data", For::Refresh) => Some(|words| words.starts_with(b"MATERIALIZED VIEW DATA ")),
        ("--section=post-data", For::Tables) => Some(without_others),
        ("--section=pre-data", For::Jobs) => Some(cron::is_its),
        ("--section=pre-data", _) => Some(|words| !cron::is_its(words)),
        _ => None,
    }
}

/// A list of those entries as `pg_restore` takes it; in memory, where a tool of another user finds it too.
pub(super) fn list(inner: &Inner, file: &Path, section: &str, kept: Kept) -> Result<OwnedFd, Error> {
    let mut command = inner.tool("pg_restore", "")?;
    command.args(["--list", section]);
    inner.give(&mut command, file)?;
    let output = command.output().map_err(|source| Error::Start { program: "pg_restore".into(), source })?;
    if !output.status.success() {
        let source = std::io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned());
        return Err(Error::Ran { program: "pg_restore".into(), source });
    }
    // `215; 1259 16386 TABLE public orders owner`
    let words = |line: &[u8]| kept(line.splitn(4, |byte| *byte == b' ').nth(3).unwrap_or_default());
    let lines: Vec<&[u8]> = output
        .stdout
        .split_inclusive(|byte| *byte == b'\n')
        .filter(|line| !line.starts_with(b";") && words(line))
        .collect();
    let memory = || -> std::io::Result<OwnedFd> {
        // Inherited on purpose: there are only names in it.
        let mut file = File::from(rustix::fs::memfd_create("resilient-list", MemfdFlags::empty())?);
        file.write_all(&lines.concat())?;
        Ok(file.into())
    };
    memory().map_err(|error| Error::io("keep the list of", file, error))
}

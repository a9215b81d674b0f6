//! Definitions, by the server's own `pg_dump`, in its custom format, uncompressed.
//!
//! The format's head holds the time of the dump. It is set to a fixed one, so that definitions that did not change are the same bytes.

use std::io::{self, Read};
use std::path::Path;

use super::Inner;
use super::connect::ident;
use crate::Error;
use crate::command::process::{Output, Process};

/// What of a database is dumped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// Everything but rows, sequences' values and large objects' contents.
    Definitions,
    LargeObjects,
}

/// Starts `pg_dump` at a snapshot.
pub(super) fn dump(inner: &Inner, database: &str, snapshot: &str, what: What) -> Result<Dump, Error> {
    let mut command = inner.tool("pg_dump", database)?;
    command.args([
        "-w",
        "-Fc",
        "-Z0",
        "--encoding=UTF8",
        "--quote-all-identifiers",
        "--no-tablespaces",
        "--no-subscriptions",
        "--lock-wait-timeout=60s",
    ]);
    command.arg(format!("--snapshot={snapshot}"));
    match what {
        What::Definitions => command.args(["--section=pre-data", "--section=post-data"]),
        What::LargeObjects => command.args(["--section=data", "--exclude-table-data=*.*", "--blobs"]),
    };
    let settings = &inner.settings;
    command.args(settings.schemas.iter().map(|schema| format!("--schema={}", ident(schema))));
    command.args(settings.exclude_schemas.iter().map(|schema| format!("--exclude-schema={}", ident(schema))));
    let process = Process::start(command, super::TOOL_TIMEOUT, Output::Wanted);
    let process = process.map_err(|source| Error::Start { program: "pg_dump".into(), source })?;
    Ok(Dump { process, head: None })
}

/// What `pg_dump` writes; whole only when it ended well.
pub(super) struct Dump {
    process: Process,
    /// What stands at the beginning, once it was read.
    head: Option<io::Cursor<Vec<u8>>>,
}

/// So much is enough for the head of any version.
const HEAD: usize = 64;

impl Dump {
    fn read_process(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.process
            .read(buf)
            .map_err(|error| io::Error::new(error.kind(), format!("pg_dump failed: {error}")))
    }

    fn begin(&mut self) -> io::Result<&mut io::Cursor<Vec<u8>>> {
        let (mut head, mut filled) = (vec![0; HEAD], 0);
        while filled < HEAD {
            match self.read_process(&mut head[filled..])? {
                0 => break,
                n => filled += n,
            }
        }
        head.truncate(filled);
        settle(&mut head)?;
        Ok(self.head.insert(io::Cursor::new(head)))
    }
}

impl Read for Dump {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let head = match &mut self.head {
            Some(head) => head,
            None => self.begin()?,
        };
        match head.read(buf)? {
            0 if !buf.is_empty() => self.read_process(buf),
            n => Ok(n),
        }
    }
}

/// Sets the time in the head to the first second of the year 2000.
fn settle(head: &mut [u8]) -> io::Result<()> {
    let strange = || io::Error::new(io::ErrorKind::InvalidData, "pg_dump wrote something that is none of its archives");
    let known = head.get(..11).ok_or_else(strange)?;
    if &known[..5] != b"PGDMP" || known[5] != 1 {
        return Err(strange());
    }
    let int = 1 + usize::from(known[8]);
    // Before 1.15 the compression was a number, since then it is a byte.
    let at = 11 + if known[6] < 15 { int } else { 1 };
    // Seconds, minutes, hours, day, month, year since 1900, summer time.
    for (field, value) in [0, 0, 0, 1, 0, 100, 0].into_iter().enumerate() {
        let begin = at + field * int;
        let bytes = head.get_mut(begin..begin + int).ok_or_else(strange)?;
        bytes.fill(0);
        // The sign, then the lowest byte.
        bytes[1] = value;
    }
    Ok(())
}

/// The major version of a tool, and what it says of itself.
pub(super) fn tool_version(inner: &Inner, tool: &'static str) -> Result<(u32, String), Error> {
    let failed = |source| Error::Start { program: tool.into(), source };
    let output = inner.tool(tool, "")?.arg("--version").output().map_err(failed)?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let major = text
        .split_whitespace()
        .find_map(|word| word.split('.').next()?.trim_end_matches(|c: char| !c.is_ascii_digit()).parse::<u32>().ok());
    match major {
        Some(major) if output.status.success() => Ok((major, text)),
        _ => Err(Error::io("understand the version of", Path::new(tool), io::Error::other(format!("it says {text:?}")))),
    }
}

#[cfg(test)]
mod tests {
    use super::settle;

    #[test]
    fn two_dumps_at_different_times_are_the_same_bytes() {
        let head = |time: u8, version: u8| {
            let mut head = b"PGDMP\x01\x0e\x00\x04\x08\x01".to_vec();
            head[6] = version;
            head.extend(if version < 15 { &[0, 0, 0, 0, 0][..] } else { &[0][..] });
            (0..7).for_each(|_| head.extend([0, time, 0, 0, 0]));
            head.extend(b"shop and more that is long enough");
            head.truncate(64);
            head
        };
        for version in [14, 15, 16] {
            let (mut one, mut two) = (head(7, version), head(9, version));
            assert_ne!(one, two);
            settle(&mut one).unwrap();
            settle(&mut two).unwrap();
            assert_eq!(one, two);
        }
        assert!(settle(&mut b"-- PostgreSQL database dump, plain".to_vec()).is_err());
        assert!(settle(&mut b"PGDMP\x01".to_vec()).is_err());
    }
}

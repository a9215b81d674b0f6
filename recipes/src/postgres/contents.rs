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

pub(super) const POST_DATA: &str = "--section=post-data";

/// Whether an entry is made: its kind, schema, name and owner, as the table of contents has them.
type Kept = fn(&[u8]) -> bool;

/// What is asked of each entry of a section; `None` where all are made.
fn kept(section: &str, whom: For) -> Option<Kept> {
    let without_others: Kept = |words| !NEEDS_ALL.iter().any(|kind| words.starts_with(kind.as_bytes()));
    match (section, whom) {
        (POST_DATA, For::Refresh) => Some(|words| words.starts_with(b"MATERIALIZED VIEW DATA ")),
        (POST_DATA, For::Tables) => Some(without_others),
        ("--section=pre-data", For::Jobs) => Some(cron::is_its),
        ("--section=pre-data", _) => Some(|words| !cron::is_its(words)),
        _ => None,
    }
}

/// The entries of a section that are made, as its table of contents has them; `None` where that is not asked for, and all are.
pub(super) fn entries(inner: &Inner, file: &Path, section: &str, whom: For) -> Result<Option<Vec<Entry>>, Error> {
    let kept = match kept(section, whom) {
        Some(kept) => kept,
        None if section == POST_DATA => |_: &[u8]| true,
        None => return Ok(None),
    };
    let mut command = inner.tool("pg_restore", "")?;
    command.args(["--list", section]);
    inner.give(&mut command, file)?;
    let output = command.output().map_err(|source| Error::Start { program: "pg_restore".into(), source })?;
    if !output.status.success() {
        let source = std::io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned());
        return Err(Error::Ran { program: "pg_restore".into(), source });
    }
    let lines = output.stdout.split_inclusive(|byte| *byte == b'\n').filter(|line| !line.starts_with(b";"));
    Ok(Some(lines.map(|line| Entry(line.to_vec())).filter(|entry| kept(entry.words())).collect()))
}

/// A line of a table of contents: `215; 1259 16386 TABLE public orders owner`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry(Vec<u8>);

impl Entry {
    /// Its kind, schema, name and owner.
    fn words(&self) -> &[u8] {
        self.0.splitn(4, |byte| *byte == b' ').nth(3).unwrap_or_default()
    }

    /// Whether it makes the index of a part one with that of the whole. Such an entry is nothing of the catalogue's own, and so tells itself from an index of
    /// a schema named ATTACH.
    fn attaches(&self) -> bool {
        let number = self.0.iter().position(|byte| *byte == b' ').unwrap_or(self.0.len());
        self.0[number..].starts_with(b" 0 0 INDEX ATTACH ")
    }

    fn is_index(&self) -> bool {
        !self.attaches() && [b"INDEX ".as_slice(), b"CONSTRAINT "].iter().any(|kind| self.words().starts_with(kind))
    }
}

/// Entries that are made in one run of the tool.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Turn {
    pub entries: Vec<Entry>,
    /// Nothing may be made beside them.
    pub alone: bool,
}

/// What comes after rows, in the order in which it is made. Beside others, whoever makes an index of a part one with that of the whole, and whoever looks at the
/// table, each come to wait for a lock that the other has (one in ten loads of eight partitions with foreign keys ended so). So these are made one by one, when
/// the indexes are there, and before anything else begins.
pub(super) fn turns(entries: Vec<Entry>) -> Vec<Turn> {
    if !entries.iter().any(Entry::attaches) {
        return vec![Turn { entries, alone: false }];
    }
    let (attached, others): (Vec<Entry>, Vec<Entry>) = entries.into_iter().partition(Entry::attaches);
    let (indexes, rest) = others.into_iter().partition(Entry::is_index);
    let turns = [(indexes, false), (attached, true), (rest, false)].map(|(entries, alone)| Turn { entries, alone });
    turns.into_iter().filter(|turn| !turn.entries.is_empty()).collect()
}

/// A list of entries as `pg_restore` takes it; in memory, where a tool of another user finds it too.
pub(super) fn list(entries: &[Entry], file: &Path) -> Result<OwnedFd, Error> {
    let memory = || -> std::io::Result<OwnedFd> {
        // Inherited on purpose: there are only names in it.
        let mut file = File::from(rustix::fs::memfd_create("resilient-list", MemfdFlags::empty())?);
        entries.iter().try_for_each(|entry| file.write_all(&entry.0))?;
        Ok(file.into())
    };
    memory().map_err(|error| Error::io("keep the list of", file, error))
}

#[cfg(test)]
mod tests {
    use super::{Entry, turns};

    fn entries(lines: &[&str]) -> Vec<Entry> {
        lines.iter().map(|line| Entry(format!("{line}\n").into_bytes())).collect()
    }

    #[test]
    fn indexes_of_parts_are_made_one_with_those_of_the_whole_between_all_others() {
        let indexes = ["32; 2606 16390 CONSTRAINT sales one_pkey owner", "33; 1259 16439 INDEX ATTACH one_idx owner"];
        let attached = ["34; 0 0 INDEX ATTACH sales one_idx owner", "35; 0 0 INDEX ATTACH ATTACH one_idx owner"];
        let rest = ["36; 2606 16398 FK CONSTRAINT sales one fkey owner", "37; 0 0 COMMENT sales INDEX one_idx owner"];
        let mixed = entries(&[attached[0], rest[0], indexes[0], attached[1], indexes[1], rest[1]]);
        let made: Vec<_> = turns(mixed).into_iter().map(|turn| (turn.entries, turn.alone)).collect();
        assert_eq!(made, [(entries(&indexes), false), (entries(&attached), true), (entries(&rest), false)]);
        // Without them all goes side by side, and what there is nothing of has no turn.
        let plain = [indexes, rest].concat();
        let made: Vec<_> = turns(entries(&plain)).into_iter().map(|turn| (turn.entries, turn.alone)).collect();
        assert_eq!(made, [(entries(&plain), false)]);
        let made: Vec<_> = turns(entries(&attached)).into_iter().map(|turn| (turn.entries, turn.alone)).collect();
        assert_eq!(made, [(entries(&attached), true)]);
    }
}

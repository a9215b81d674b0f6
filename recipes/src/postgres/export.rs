//! An export: one database after the other, each at one snapshot that all its readers share.

use std::fs;
use std::io::{self, Read};
use std::sync::Arc;

use super::connect::{failed, ident, literal, qualified};
use super::lanes::{Lanes, Reader};
use super::manifest::{self, Database, Manifest, Table};
use super::schema::{self, What};
use super::wire::Wire;
use super::{Inner, catalog, preflight};
use crate::Error;
use crate::data::{Attributes, Body, Item, Sink, Stop};
use crate::lock::Lock;
use crate::rows::{Counter, Rows};

/// What was last exported, so that it can be repeated when nothing changed.
const LAST: &str = "last.json";
/// One state of everything, and nothing that could be written.
pub(super) const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

pub(super) fn export(inner: &Arc<Inner>, sink: &mut dyn Sink) -> Result<(), Error> {
    let mut client = inner.connect(catalog::ANY)?;
    let (server, tool) = preflight::versions(inner, &mut client)?;
    let names = catalog::databases(inner, &mut client)?;
    let scratch = &inner.settings.scratch;
    inner.make_scratch()?;
    let _lock = Lock::take(&scratch.join("export.lock")).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => Error::StillExporting { path: scratch.clone() },
        _ => Error::io("lock the scratch folder", scratch, error),
    })?;
    let mut tree = Tree { sink };
    tree.folder("")?;
    tree.folder("databases")?;
    let mut databases = Vec::with_capacity(names.len());
    for name in &names {
        databases.push(database(inner, &mut tree, name, server)?);
    }
    let (roles, memberships) = (catalog::roles(&mut client)?, catalog::memberships(&mut client)?);
    let made = Manifest { format: manifest::FORMAT, engine: "postgresql".into(), server, tool, databases, roles, memberships };
    let text = made.or_last(last(inner)).text();
    tree.stream(std::str::from_utf8(manifest::NAME).expect("it is a word"), Box::new(io::Cursor::new(text.clone())))?;
    keep(scratch, &text)
}

/// The manifest of the last export here.
pub(super) fn last(inner: &Inner) -> Option<Manifest> {
    fs::read(inner.settings.scratch.join(LAST)).ok().and_then(|text| serde_json::from_slice(&text).ok())
}

/// That it cannot be kept costs a snapshot in which nothing but positions changed.
fn keep(scratch: &std::path::Path, text: &[u8]) -> Result<(), Error> {
    let (new, path) = (scratch.join("last.new"), scratch.join(LAST));
    fs::write(&new, text)
        .and_then(|()| fs::rename(&new, &path))
        .map_err(|error| Error::io("keep the manifest in", &path, error))
}

struct Tree<'a> {
    sink: &'a mut dyn Sink,
}

impl Tree<'_> {
    fn item(&mut self, path: &str, mode: u32, body: Body) -> Result<(), Error> {
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        // Made by this run, so its time says nothing, and would make each export another.
        let attributes = Attributes { mode, uid, gid, ..Attributes::default() };
        self.sink
            .item(Item { path: path.into(), attributes, stamp: None, body })
            .map_err(|Stop| Error::Stopped)
    }

    fn folder(&mut self, path: &str) -> Result<(), Error> {
        self.item(path, 0o700, Body::Folder)
    }

    fn stream(&mut self, path: &str, stream: Box<dyn Read + Send>) -> Result<(), Error> {
        self.item(path, 0o600, Body::Stream(stream))
    }
}

fn database(inner: &Arc<Inner>, tree: &mut Tree<'_>, name: &str, server: u32) -> Result<Database, Error> {
    let mut leader = inner.connect(name)?;
    leader.batch_execute(BEGIN).map_err(failed("begin a transaction in", name))?;
    let row = leader.query_one("SELECT pg_export_snapshot()", &[]).map_err(failed("share a snapshot of", name))?;
    let snapshot: String = row.get(0);
    let mut database = catalog::database(inner, &mut leader, name, server)?;
    let mut jobs = Vec::new();
    for (at, table) in database.tables.iter().enumerate() {
        let query =
            |range: usize| copy(table, table.ranges[range], table.ranges.get(range + 1).copied(), range == 0 && table.ranges.len() == 1);
        jobs.extend((0..table.ranges.len()).map(|range| (at, range, query(range))));
    }
    let jobs = Arc::new(jobs);
    let readers = (0..inner.settings.jobs.min(jobs.len()).max(1))
        .map(|_| reader(inner, name, &snapshot, &jobs))
        .collect::<Result<Vec<_>, Error>>()?;
    let lanes = Arc::new(Lanes::start(jobs.len(), readers));
    let place = format!("databases/{}", database.folder);
    tree.folder(&place)?;
    if database.large_objects > 0 {
        tree.stream(&format!("{place}/large-objects.dump"), Box::new(schema::dump(inner, name, &snapshot, What::LargeObjects)?))?;
    }
    tree.stream(&format!("{place}/schema.dump"), Box::new(schema::dump(inner, name, &snapshot, What::Definitions)?))?;
    tree.folder(&format!("{place}/tables"))?;
    let mut above = None;
    for (number, (at, range, _)) in jobs.iter().enumerate() {
        let table = &mut database.tables[*at];
        let folder = format!("{place}/tables/{}", table.folder);
        if *range == 0 {
            let schema = folder.rsplit_once('/').map(|(schema, _)| schema.to_owned());
            if above != schema {
                tree.folder(schema.as_deref().expect("a table's folder lies in its schema's"))?;
                above = schema;
            }
            tree.folder(&folder)?;
        }
        tree.stream(
            &format!("{folder}/{:08x}", table.ranges[*range]),
            Box::new(Text { lanes: lanes.clone(), number, part: io::Cursor::default() }),
        )?;
        // A receiver that did not take all of it would leave rows uncounted.
        let (rows, bytes) = lanes.taken(number).ok_or(Error::Stopped)?;
        table.rows.add(rows);
        table.bytes += bytes;
    }
    leader.batch_execute("COMMIT").map_err(failed("end the transaction in", name))?;
    Ok(database)
}

/// The statement that gives a range's rows.
fn copy(table: &Table, from: u64, to: Option<u64>, whole: bool) -> String {
    let columns = table.columns.iter().map(|column| ident(column)).collect::<Vec<_>>().join(", ");
    let name = qualified(&table.schema, &table.name);
    if let Some(filter) = &table.filter {
        return format!("COPY (SELECT {columns} FROM ONLY {name} {filter}) TO STDOUT");
    }
    if whole {
        let columns = if columns.is_empty() { columns } else { format!(" ({columns})") };
        return format!("COPY {name}{columns} TO STDOUT");
    }
    let bound = |block: u64| literal(&format!("({block},0)"));
    let to = to.map_or_else(String::new, |to| format!(" AND ctid < {}::tid", bound(to)));
    format!("COPY (SELECT {columns} FROM ONLY {name} WHERE ctid >= {}::tid{to}) TO STDOUT", bound(from))
}

/// A connection that sees the same snapshot and reads ranges.
fn reader(inner: &Arc<Inner>, database: &str, snapshot: &str, jobs: &Arc<Vec<(usize, usize, String)>>) -> Result<Reader, Error> {
    let begin = format!("{BEGIN}; SET TRANSACTION SNAPSHOT {}", literal(snapshot));
    let (mut wire, jobs, database) = (inner.wire(database, &begin)?, jobs.clone(), database.to_owned());
    Ok(Box::new(move |number, lane| {
        wire.copy(&jobs[number].2, &mut |text| lane.put(text))
            .map_err(|source| Error::Read { database: database.clone(), source })
    }))
}

/// A range's text as the receiver reads it.
struct Text {
    lanes: Arc<Lanes>,
    number: usize,
    part: io::Cursor<Vec<u8>>,
}

impl Read for Text {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            let n = self.part.read(buf)?;
            if n > 0 || buf.is_empty() {
                return Ok(n);
            }
            let spent = std::mem::take(&mut self.part).into_inner();
            match self.lanes.take(self.number, spent).map_err(io::Error::other)? {
                Some(part) => self.part = io::Cursor::new(part),
                None => return Ok(0),
            }
        }
    }
}

/// How many rows a table has, and their hash: what a load is verified with.
pub(super) fn count(wire: &mut Wire, database: &str, table: &Table) -> Result<Rows, Error> {
    let mut counter = Counter::default();
    let take = &mut |text: &[u8]| {
        counter.take(text);
        true
    };
    wire.copy(&copy(table, 0, None, table.filter.is_none()), take)
        .map_err(|source| Error::Read { database: database.to_owned(), source })?;
    counter.rows().ok_or(Error::Thread)
}

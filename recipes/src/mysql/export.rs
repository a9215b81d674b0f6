//! Pushing a snapshot's items: each database's schema, then its tables piece by piece, then the manifest and the accounts.
//!
//! Sessions read ahead in the order in which the receiver takes. Rows are counted and hashed as they are handed to its stream, so the manifest speaks of what was
//! really sent. It comes after all tables; a stream that failed, or that the receiver let go, ends the export before it.

use std::path::Path;
use std::sync::Arc;

use super::ahead::{Ahead, BLOCK_BYTES, Stream};
use super::catalog::{Database, Table};
use super::client::{Answer, Client};
use super::manifest::{self, Consistency, Cuts, Manifest, Piece};
use super::schema::{self, Kind};
use super::snapshot::{self, Snapshot};
use super::{Inner, names, text};
use crate::data::{Attributes, Body, Item, Sink, Stop};
use crate::rows::{Counter, Rows};
use crate::{Error, escape};

/// Tables larger than two of these are read in pieces, by ranges of their key.
const PIECE_BYTES: u64 = 8 << 20;
const PIECES_MAX: u64 = 1 << 16;

/// What one stream holds.
struct Reading {
    sql: String,
    number: u32,
}

/// What is read of one table.
struct Plan {
    consistency: Consistency,
    /// Of all readings, the first one and how many.
    readings: std::ops::Range<usize>,
    cuts: Option<Cuts>,
}

pub(super) fn export(inner: &Inner, sink: &mut dyn Sink) -> Result<(), Error> {
    let mut snapshot = snapshot::take(inner)?;
    let last = std::fs::read(inner.last()).ok();
    let last_manifest = last.as_deref().and_then(|bytes| Manifest::read(bytes).ok());
    let mut readings = Vec::new();
    let plans = plan(&mut snapshot, last_manifest.as_ref(), &mut readings).map_err(inner.failed("plan the reading of"))?;
    let sessions = std::mem::take(&mut snapshot.sessions);
    let lines = sessions.iter().map(Client::hang_up).collect::<Result<Vec<_>, _>>();
    let lines = lines.map_err(|error| inner.failed("prepare a session on")(error.into()))?;
    let ahead = Ahead::new(readings.len());
    let manifest = std::thread::scope(|scope| {
        for mut client in sessions {
            let (ahead, readings) = (&ahead, &readings);
            scope.spawn(move || work(&mut client, ahead, readings));
        }
        let mut push = Push { sink, ahead: &ahead, readings: &readings };
        let pushed = push.databases(&snapshot, &plans);
        // Whether it went well or not, nobody is to read on.
        ahead.cancel();
        lines.iter().for_each(|line| line.now());
        pushed
    })?;
    finish(inner, sink, &snapshot, manifest, last.zip(last_manifest))
}

/// The manifest and the accounts. When only the position differs from last time, the old manifest is sent again: the same data gives the same tree.
fn finish(
    inner: &Inner,
    sink: &mut dyn Sink,
    snapshot: &Snapshot,
    manifest: Manifest,
    last: Option<(Vec<u8>, Manifest)>,
) -> Result<(), Error> {
    let bytes = match last {
        Some((bytes, last)) if last.same_data(&manifest) => bytes,
        _ => manifest.write(),
    };
    let keep = || {
        crate::lock::make_folder(&inner.settings.scratch)?;
        crate::replace::replace(&inner.last(), &bytes)
    };
    keep().map_err(|error| Error::io("keep the manifest in", &inner.settings.scratch, error))?;
    let stopped = |Stop| Error::Stopped;
    sink.item(file(manifest::NAME.into(), bytes)).map_err(stopped)?;
    sink.item(file(manifest::USERS.into(), snapshot.users.clone())).map_err(stopped)
}

fn attributes(mode: u32) -> Attributes {
    // Written by this run, so its time says nothing, and would make each export another.
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    Attributes { mode, uid, gid, ..Attributes::default() }
}

fn folder(path: &str) -> Item {
    Item { path: path.into(), attributes: attributes(0o700), stamp: None, body: Body::Folder }
}

fn file(path: String, bytes: Vec<u8>) -> Item {
    let body = Body::Stream(Box::new(std::io::Cursor::new(bytes)));
    Item { path: path.into_bytes(), attributes: attributes(0o600), stamp: None, body }
}

/// A session at work until nothing is left. One that failed goes on, so that each job gets an end.
fn work(client: &mut Client, ahead: &Ahead, readings: &[Reading]) {
    while let Some(job) = ahead.claim() {
        let how = read(client, ahead, job, &readings[job].sql);
        ahead.end(job, how.map_err(|error| crate::told(&error)));
    }
}

fn read(client: &mut Client, ahead: &Ahead, job: usize, sql: &str) -> Answer<()> {
    // Without it, this transaction would keep every table that it has read from being altered.
    client.run("SAVEPOINT piece")?;
    let mut block = Vec::with_capacity(BLOCK_BYTES);
    client.each(sql, |packet| {
        text::push_row(packet, &mut block)?;
        if block.len() < BLOCK_BYTES - (BLOCK_BYTES >> 4) {
            return Ok(());
        }
        ahead.push(job, std::mem::replace(&mut block, Vec::with_capacity(BLOCK_BYTES)))
    })?;
    if !block.is_empty() {
        ahead.push(job, block)?;
    }
    client.run("ROLLBACK TO SAVEPOINT piece")
}

fn plan(snapshot: &mut Snapshot, last: Option<&Manifest>, readings: &mut Vec<Reading>) -> Answer<Vec<Vec<Plan>>> {
    let mut sessions = std::mem::take(&mut snapshot.sessions);
    let mut plans = Vec::new();
    for database in &snapshot.databases {
        let last = last.and_then(|last| last.database(&database.name));
        let mut tables = Vec::new();
        for table in &database.tables {
            let last = last.and_then(|last| last.tables.iter().find(|found| found.name == table.name)?.cuts.clone());
            tables.push(plan_table(snapshot, &mut sessions[0], (database, table), last, readings)?);
        }
        plans.push(tables);
    }
    snapshot.sessions = sessions;
    Ok(plans)
}

fn plan_table(
    snapshot: &Snapshot,
    client: &mut Client,
    (database, table): (&Database, &Table),
    last: Option<Cuts>,
    readings: &mut Vec<Reading>,
) -> Answer<Plan> {
    let begin = readings.len();
    let key = (database.name.clone(), table.name.clone());
    if table.kind == Kind::Sequence || snapshot.locked.contains_key(&key) {
        return Ok(Plan { consistency: Consistency::Snapshot, readings: begin..begin, cuts: None });
    }
    if Snapshot::elsewhere(table) {
        return Ok(Plan { consistency: Consistency::None, readings: begin..begin, cuts: None });
    }
    let name = names::of(&database.name, &table.name);
    if !snapshot.transactional(table) {
        readings.push(Reading { sql: text::select(&table.columns, &name, ""), number: 0 });
        return Ok(Plan { consistency: Consistency::Own, readings: begin..begin + 1, cuts: None });
    }
    // By the primary key, as the rows lie: the server might prefer another index, and another one tomorrow.
    let by: Vec<String> = table.primary.iter().map(|key| names::quoted(&key.column)).collect();
    let sorted = !by.is_empty() && !table.primary.iter().any(|key| key.part);
    let order = if sorted { format!(" ORDER BY {}", by.join(", ")) } else { String::new() };
    let cuts = cuts(client, table, &name, last)?;
    match &cuts {
        None => readings.push(Reading { sql: text::select(&table.columns, &name, &order), number: 0 }),
        Some((cuts, count)) => {
            for number in 0..*count {
                let from = i128::from(cuts.start) + i128::from(number) * i128::from(cuts.step);
                let (column, to) = (&by[0], from + i128::from(cuts.step));
                let range = format!(" WHERE {column} >= {from} AND {column} < {to}{order}");
                readings.push(Reading { sql: text::select(&table.columns, &name, &range), number });
            }
        }
    }
    Ok(Plan {
        consistency: Consistency::Snapshot,
        readings: begin..readings.len(),
        cuts: cuts.map(|(cuts, _)| cuts),
    })
}

/// Where a large table is cut, and into how many pieces. Cuts lie at multiples of a power of two, and where they lay last time as long as that fits: what was
/// added or changed in one piece moves no other.
fn cuts(client: &mut Client, table: &Table, name: &str, last: Option<Cuts>) -> Answer<Option<(Cuts, u32)>> {
    let Some(key) = table.primary.first().filter(|key| key.integer && table.bytes > 2 * PIECE_BYTES) else { return Ok(None) };
    let column = names::quoted(&key.column);
    client.run("SAVEPOINT piece")?;
    let row = client.texts(&format!("SELECT MIN({column}), MAX({column}) FROM {name}"))?;
    client.run("ROLLBACK TO SAVEPOINT piece")?;
    let ends: Vec<i64> = row.iter().flatten().filter_map(|end| end.parse().ok()).collect();
    // None in an empty table, nor beyond what is signed.
    let [least, most] = ends[..] else { return Ok(None) };
    let wanted = (table.bytes / PIECE_BYTES).clamp(1, PIECES_MAX);
    let pieces = |cuts: &Cuts| ((i128::from(most) - i128::from(cuts.start)) / i128::from(cuts.step) + 1) as u64;
    let fits = |cuts: &Cuts| {
        let within = cuts.step > 0 && cuts.start <= least;
        within && (wanted / 4..=PIECES_MAX.min(wanted.saturating_mul(4))).contains(&pieces(cuts))
    };
    if let Some(last) = last.filter(fits) {
        let count = pieces(&last) as u32;
        return Ok(Some((last, count)));
    }
    let span = (i128::from(most) - i128::from(least) + 1) as u128;
    let step = span.div_ceil(u128::from(wanted)).next_power_of_two();
    let Ok(step) = i64::try_from(step) else { return Ok(None) };
    let cuts = Cuts { start: least.div_euclid(step).saturating_mul(step).min(least), step };
    let count = pieces(&cuts) as u32;
    Ok(Some((cuts, count)))
}

struct Push<'a> {
    sink: &'a mut dyn Sink,
    ahead: &'a Arc<Ahead>,
    readings: &'a [Reading],
}

impl Push<'_> {
    fn item(&mut self, item: Item) -> Result<(), Error> {
        self.sink.item(item).map_err(|Stop| Error::Stopped)
    }

    fn databases(&mut self, snapshot: &Snapshot, plans: &[Vec<Plan>]) -> Result<Manifest, Error> {
        self.item(folder(""))?;
        self.item(folder("databases"))?;
        let mut databases = Vec::new();
        for (database, plans) in snapshot.databases.iter().zip(plans) {
            databases.push(self.database(snapshot, database, plans)?);
        }
        let (server, position) = (snapshot.server.clone(), snapshot.position.clone());
        let tool = env!("CARGO_PKG_VERSION").into();
        Ok(Manifest { format: manifest::FORMAT, tool, server, position, databases, accounts: snapshot.accounts.clone() })
    }

    fn database(&mut self, snapshot: &Snapshot, database: &Database, plans: &[Plan]) -> Result<manifest::Database, Error> {
        let path = format!("databases/{}", escape::name(&database.name));
        self.item(folder(&path))?;
        let written = schema::write(&database.objects);
        let hash = xxhash_rust::xxh3::xxh3_128(&written);
        self.item(file(format!("{path}/schema.sql"), written))?;
        self.item(folder(&format!("{path}/tables")))?;
        let mut tables = Vec::new();
        for (table, plan) in database.tables.iter().zip(plans) {
            let path = format!("{path}/tables/{}", escape::name(&table.name));
            self.item(folder(&path))?;
            let key = (database.name.clone(), table.name.clone());
            let (rows, pieces) = match snapshot.locked.get(&key) {
                Some(rows) => self.locked(&path, rows)?,
                None => self.pieces(&path, plan)?,
            };
            tables.push(manifest::Table {
                name: table.name.clone(),
                engine: table.engine.clone(),
                consistency: plan.consistency,
                columns: table.columns.clone(),
                rows,
                cuts: plan.cuts.clone(),
                pieces,
                next: snapshot.next.get(&key).copied(),
            });
        }
        let Database { name, charset, collation, objects, events, .. } = database;
        let schema = Rows { count: objects.len() as u64, hash };
        let (name, charset, collation, events) = (name.clone(), charset.clone(), collation.clone(), events.clone());
        Ok(manifest::Database { name, charset, collation, schema, tables, events })
    }

    fn locked(&mut self, path: &str, rows: &[u8]) -> Result<(Rows, Vec<Piece>), Error> {
        if rows.is_empty() {
            return Ok((Rows::default(), Vec::new()));
        }
        let mut counter = Counter::default();
        counter.take(rows);
        self.item(file(format!("{path}/{}", Piece::file(0)), rows.to_vec()))?;
        let pieces = vec![Piece { number: 0, bytes: counter.bytes() }];
        Ok((counter.rows().unwrap_or_default(), pieces))
    }

    fn pieces(&mut self, path: &str, plan: &Plan) -> Result<(Rows, Vec<Piece>), Error> {
        let (mut rows, mut pieces) = (Rows::default(), Vec::new());
        let failed = |why: String| Error::io("read rows for", Path::new(path), std::io::Error::other(why));
        for job in plan.readings.clone() {
            if !self.ahead.any(job).map_err(failed)? {
                self.ahead.skip(job);
                continue;
            }
            let number = self.readings[job].number;
            let body = Body::Stream(Box::new(Stream::new(self.ahead, job)));
            let path = format!("{path}/{}", Piece::file(number));
            self.item(Item { path: path.into_bytes(), attributes: attributes(0o600), stamp: None, body })?;
            // Waits for a receiver that reads later.
            let brought = self.ahead.brought(job).map_err(failed)?.ok_or(Error::Stopped)?;
            rows.add(brought.rows);
            pieces.push(Piece { number, bytes: brought.bytes });
        }
        Ok((rows, pieces))
    }
}

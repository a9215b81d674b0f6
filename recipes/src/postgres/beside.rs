//! What was captured, loaded beside what is there: for a rehearsal, after which it is removed, or because somebody wants a part of it back.
//!
//! It is loaded under a name of our own, and gets the name it is to have when it is whole and was compared. That name stands in a file before the database is
//! made, so that whoever comes next removes what a killed one left. No import waits for any of it. Owners and grants are left out: the roles may not be here.

use std::io::{self, Write};
use std::path::PathBuf;

use postgres::{Client, SimpleQueryMessage};

use super::connect::{failed, qualified};
use super::contents::For;
use super::manifest::{Database, Table};
use super::tree::Arrived;
use super::{Inner, TOOL_TIMEOUT, catalog, import, load, preflight, swap, verify};
use crate::Error;
use crate::command::process::{Output, Process};
use crate::data::{Finding, Level, Part, To};
use crate::lock::Lock;
use crate::question;

const LOADING: &str = "beside.json";

struct Beside<'a> {
    inner: &'a Inner,
    client: Client,
    _lock: Lock,
}

impl Beside<'_> {
    fn begin(inner: &Inner) -> Result<Beside<'_>, Error> {
        let scratch = &inner.settings.scratch;
        inner.make_scratch()?;
        let lock = Lock::take(&scratch.join("beside.lock")).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => Error::Busy { path: scratch.clone() },
            _ => Error::io("lock the scratch folder", scratch, error),
        })?;
        let mut beside = Beside { inner, client: inner.connect(catalog::ANY)?, _lock: lock };
        beside.clear()?;
        Ok(beside)
    }

    fn record(&self) -> PathBuf {
        self.inner.settings.scratch.join(LOADING)
    }

    /// Removes what is being loaded, or what a killed run left.
    fn clear(&mut self) -> Result<(), Error> {
        if let Some(name) = import::read::<String>(&self.record())? {
            swap::drop_database(&mut self.client, &name)?;
            import::remove(&self.record())?;
        }
        Ok(())
    }

    /// Loads a database and compares it; what it is called.
    fn load(&mut self, arrived: &Arrived, database: &Database, whom: For) -> Result<String, Error> {
        let name = swap::try_name(&database.name);
        if swap::exists(&mut self.client, &name)? {
            return Err(Error::Taken { name });
        }
        import::keep(&self.record(), &name)?;
        load::load(self.inner, &mut self.client, arrived, database, &name, whom)?;
        self.inner.step("verify");
        verify::verify(self.inner, &name, database, self.inner.settings.verify, 0)?;
        Ok(name)
    }
}

impl Drop for Beside<'_> {
    /// That it fails is no worse than a kill.
    fn drop(&mut self) {
        let _ = self.clear();
    }
}

pub(super) fn rehearse(inner: &Inner, arrived: &Arrived, questions: &[String]) -> Result<Vec<Finding>, Error> {
    let databases = &arrived.manifest.databases;
    if let ([], _) | ([_, _, ..], [_, ..]) = (databases.as_slice(), questions) {
        let known: Vec<&str> = databases.iter().map(|database| database.name.as_str()).collect();
        return Err(Error::NoPart { what: "the one database that questions are asked of".into(), known: known.join(", ") });
    }
    let (mut beside, mut findings) = (Beside::begin(inner)?, Vec::new());
    preflight::importable(inner, &mut beside.client, arrived, &mut findings)?;
    for database in databases {
        let name = beside.load(arrived, database, For::Look)?;
        questions.iter().try_for_each(|question| ask(inner, &name, question))?;
        beside.clear()?;
        let rows: u64 = database.tables.iter().map(|table| table.rows.count).sum();
        let what = format!("the database {} is whole: {} tables with {rows} rows", database.name, database.tables.len());
        findings.push(Finding::new(Level::Note, what));
    }
    Ok(findings)
}

/// Whoever asks the live database gave up long before.
const LIVE: &str = "SET statement_timeout = '60s'";

/// Asks something of a database that others use, changing nothing.
pub(super) fn ask_live(inner: &Inner, database: Option<&str>, question: &str) -> Result<(), Error> {
    let mut client = inner.connect(catalog::ANY)?;
    let known = catalog::databases(inner, &mut client)?;
    let name = question::one(database, &known)?;
    let mut client = inner.connect(name)?;
    client.batch_execute(LIVE).map_err(failed("prepare a session in", name))?;
    answered(client, name, question)
}

/// Asks something of a database that was loaded, changing nothing.
fn ask(inner: &Inner, name: &str, question: &str) -> Result<(), Error> {
    answered(inner.connect(name)?, name, question)
}

fn answered(mut client: Client, name: &str, question: &str) -> Result<(), Error> {
    // As an application would find its tables.
    client
        .batch_execute("RESET search_path; SET default_transaction_read_only = on")
        .map_err(failed("prepare a session in", name))?;
    let answers = client.simple_query(question).map_err(failed("ask a question of", name))?;
    let rows = answers.iter().filter_map(|answer| match answer {
        SimpleQueryMessage::Row(row) => Some(row.try_get(0).ok().flatten()),
        _ => None,
    });
    question::judge(question, rows)
}

pub(super) fn bring(inner: &Inner, arrived: &Arrived, part: &Part, to: To<'_>) -> Result<Vec<Finding>, Error> {
    let database = &arrived.manifest.databases[0];
    let (mut beside, mut findings) = (Beside::begin(inner)?, Vec::new());
    if let To::Database(name) = &to
        && (swap::is_aside(name) || *name == catalog::ANY || swap::exists(&mut beside.client, name)?)
    {
        return Err(Error::Taken { name: (*name).to_owned() });
    }
    preflight::importable(inner, &mut beside.client, arrived, &mut findings)?;
    let whom = if part.tables.is_empty() { For::Look } else { For::Tables };
    let name = beside.load(arrived, database, whom)?;
    if whom == For::Tables {
        leave(inner, &name, database)?;
        let what = "foreign keys, triggers, rules and policies of these tables are not made: they would need the others";
        findings.push(Finding::new(Level::Note, what));
    }
    match to {
        To::Database(to) => {
            swap::rename(&mut beside.client, &[(name, to.to_owned())])?;
            import::remove(&beside.record())?;
        }
        To::Sql(out) => dump(inner, &name, out)?,
    }
    Ok(findings)
}

/// Removes all tables but those that were wanted, and what is made of tables. What a wanted one needs stays, empty.
fn leave(inner: &Inner, name: &str, wanted: &Database) -> Result<(), Error> {
    let mut client = inner.connect(name)?;
    let failed = failed("leave out tables of", name);
    let of = |client: &mut Client, kinds: &str| -> Result<Vec<(String, String)>, Error> {
        let query = format!(
            "SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relkind = ANY ('{{{kinds}}}') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' \
             AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')"
        );
        let rows = client.query(&query, &[]).map_err(&failed)?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    };
    for (schema, view) in of(&mut client, "v,m")? {
        let qualified = qualified(&schema, &view);
        // One may have gone with another.
        let drop = format!("DROP VIEW IF EXISTS {qualified} CASCADE");
        let drop_stored = format!("DROP MATERIALIZED VIEW IF EXISTS {qualified} CASCADE");
        if client.batch_execute(&drop).is_err() {
            client.batch_execute(&drop_stored).map_err(&failed)?;
        }
    }
    // Without the table that they are parts of, its parts would go as well.
    let is_wanted = |schema: &str, table: &str| {
        let whole = format!("{schema}.{table}");
        let is = |wanted: &Table| wanted.schema == schema && wanted.name == table || wanted.within.contains(&whole);
        wanted.tables.iter().any(is)
    };
    let mut left: Vec<_> = of(&mut client, "r,p,f")?.into_iter().filter(|(schema, table)| !is_wanted(schema, table)).collect();
    loop {
        let before = left.len();
        left.retain(|(schema, table)| {
            let name = qualified(schema, table);
            ["TABLE", "FOREIGN TABLE"]
                .iter()
                .all(|kind| client.batch_execute(&format!("DROP {kind} {name}")).is_err())
        });
        if left.is_empty() || left.len() == before {
            return Ok(());
        }
    }
}

/// A database as SQL, by the server's own tool.
fn dump(inner: &Inner, name: &str, out: &mut (dyn Write + Send)) -> Result<(), Error> {
    let mut command = inner.tool("pg_dump", name)?;
    command.args(["-w", "--no-owner", "--no-privileges", "--encoding=UTF8", "--no-tablespaces", "--no-subscriptions", "--no-publications"]);
    let process = Process::start(command, TOOL_TIMEOUT, Output::Wanted);
    process.map_err(|source| Error::Start { program: "pg_dump".into(), source })?.pour("pg_dump", out)
}

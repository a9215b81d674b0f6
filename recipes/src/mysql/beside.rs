//! What was captured, loaded beside what is there: for a rehearsal, after which it is removed, or because somebody wants a part of it back.
//!
//! It is the first half of an import, under the same lock and the same record: what a killed one left, the next import or rehearsal removes. Views, routines,
//! triggers and events are not made: their bodies name the database that they were made in.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use super::client::{Address, Client};
use super::import::Import;
use super::manifest::{self, Manifest};
use super::names::{beside, fit, of, quoted, text};
use super::{Inner, server};
use crate::command::process::{Output, Process};
use crate::data::{Finding, Level, Part, To};
use crate::{Error, escape, question, secret};

/// How long the server's own tool may take.
const TOOL_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

impl Manifest {
    /// What of it belongs to a part: one database, all its tables or some.
    fn reduced(mut self, part: &Part) -> Result<Manifest, Error> {
        let all: Vec<String> = self.databases.iter().map(|database| database.name.clone()).collect();
        self.databases.retain(|database| part.database.as_ref().is_none_or(|name| *name == database.name));
        let [database] = self.databases.as_mut_slice() else {
            return Err(Error::NoPart { what: "the one database that is meant".into(), known: all.join(", ") });
        };
        let name = database.name.clone();
        let is = |table: &str, wanted: &String| {
            *wanted == table || wanted.strip_prefix(&name).and_then(|rest| rest.strip_prefix('.')) == Some(table)
        };
        let tables = &mut database.tables;
        if let Some(absent) = part.tables.iter().find(|wanted| !tables.iter().any(|table| is(&table.name, wanted))) {
            let known: Vec<&str> = tables.iter().map(|table| table.name.as_str()).collect();
            return Err(Error::NoPart { what: format!("a table {absent:?}"), known: known.join(", ") });
        }
        if !part.tables.is_empty() {
            tables.retain(|table| part.tables.iter().any(|wanted| is(&table.name, wanted)));
        }
        Ok(self)
    }
}

impl Inner {
    fn manifest_in(&self, folder: &Path) -> Result<Manifest, Error> {
        let path = folder.join(manifest::NAME);
        let bytes = fs::read(&path).map_err(|error| Error::io("read", &path, error))?;
        Manifest::read(&bytes).map_err(|why| self.arrived(format!("has a manifest that cannot be used: {why}")))
    }
}

/// The paths that a part needs besides the manifest.
pub(super) fn needs(inner: &Inner, folder: &Path, part: &Part) -> Result<Vec<Vec<u8>>, Error> {
    let manifest = inner.manifest_in(folder)?.reduced(part)?;
    let database = &manifest.databases[0];
    let within = format!("databases/{}", escape::name(&database.name));
    let tables = database
        .tables
        .iter()
        .map(|table| format!("{within}/tables/{}", escape::name(&table.name)).into_bytes());
    Ok(tables.chain([format!("{within}/schema.sql").into_bytes()]).collect())
}

/// Takes what was written over, and loads it. Dropped, what was loaded is removed again.
fn load(inner: &Arc<Inner>, folder: &Path, manifest: &Manifest, partial: bool) -> Result<(Import, Client), Error> {
    let mut import = super::import::begin(inner)?;
    import.partial = partial;
    let tree = inner.tree();
    let above = tree.parent().unwrap_or(&tree);
    crate::lock::make_folder(above).map_err(|error| Error::io("make", above, error))?;
    fs::rename(folder, &tree).map_err(|error| Error::io("take over", folder, error))?;
    let mut client = import.open()?;
    let server = server::look(&mut client).map_err(inner.failed("look at"))?;
    super::import::make(&mut import, &mut client, &server, manifest)?;
    Ok((import, client))
}

pub(super) fn rehearse(inner: &Arc<Inner>, folder: &Path, questions: &[String]) -> Result<Vec<Finding>, Error> {
    let manifest = inner.manifest_in(folder)?;
    if let ([], _) | ([_, _, ..], [_, ..]) = (manifest.databases.as_slice(), questions) {
        let known: Vec<&str> = manifest.databases.iter().map(|database| database.name.as_str()).collect();
        return Err(Error::NoPart { what: "the one database that questions are asked of".into(), known: known.join(", ") });
    }
    let (mut import, mut client) = load(inner, folder, &manifest, false)?;
    let mut findings = import.findings();
    for database in &manifest.databases {
        questions
            .iter()
            .try_for_each(|question| ask(inner, &mut client, &beside(&database.name, "new"), question))?;
        let rows: u64 = database.tables.iter().map(|table| table.rows.count).sum();
        let what = format!("the database {} is whole: {} tables with {rows} rows", database.name, database.tables.len());
        findings.push(Finding::new(Level::Note, what));
    }
    Ok(findings)
}

/// Asks something of a database that others use, changing nothing. Whoever asks gave up long before the server does.
pub(super) fn ask_live(inner: &Inner, database: Option<&str>, question: &str) -> Result<(), Error> {
    let mut client = inner.open()?;
    let known = inner.wanted(&mut client)?;
    let name = question::one(database, &known)?;
    // A server that knows no such limit has others.
    let _ = client.run("SET max_statement_time = 60");
    ask(inner, &mut client, name, question)
}

/// Asks something of a database that was loaded, changing nothing.
fn ask(inner: &Inner, client: &mut Client, name: &str, question: &str) -> Result<(), Error> {
    let failed = inner.failed("ask a question of");
    client.run(format!("USE {}", quoted(name))).map_err(&failed)?;
    client.run("START TRANSACTION READ ONLY").map_err(&failed)?;
    let rows = client.texts(question).map_err(&failed)?;
    client.run("ROLLBACK").map_err(&failed)?;
    question::judge(question, rows.iter().map(|row| row.first().map(String::as_str)))
}

pub(super) fn bring(inner: &Arc<Inner>, folder: &Path, part: &Part, to: To<'_>) -> Result<Vec<Finding>, Error> {
    let manifest = inner.manifest_in(folder)?.reduced(part)?;
    let database = &manifest.databases[0];
    if let To::Database(name) = &to {
        let mut client = inner.open()?;
        let taken = super::import::exists(&mut client, name).map_err(inner.failed("look at"))?;
        if taken || !fit(name) {
            return Err(Error::Taken { name: (*name).to_owned() });
        }
    }
    let (mut import, mut client) = load(inner, folder, &manifest, !part.tables.is_empty())?;
    let name = beside(&database.name, "new");
    leave_references(inner, &mut client, &name)?;
    let mut findings = import.findings();
    let what = "views, routines, triggers and events are not made: they name the database that they were made in; schema.sql has them";
    findings.push(Finding::new(Level::Note, what));
    match to {
        To::Database(to) => {
            let failed = inner.failed("give the tables their place on");
            let (charset, collation) = (quoted(&database.charset), quoted(&database.collation));
            client
                .run(format!("CREATE DATABASE {} CHARACTER SET {charset} COLLATE {collation}", quoted(to)))
                .map_err(&failed)?;
            let renames: Vec<String> = database
                .tables
                .iter()
                .map(|table| format!("{} TO {}", of(&name, &table.name), of(to, &table.name)))
                .collect();
            if !renames.is_empty() {
                let renamed = client.run(format!("RENAME TABLE {}", renames.join(", ")));
                if renamed.is_err() {
                    // It is empty. That it cannot be dropped is no worse than a kill.
                    let _ = client.run(format!("DROP DATABASE {}", quoted(to)));
                }
                renamed.map_err(&failed)?;
            }
        }
        To::Sql(out) => dump(inner, &name, out)?,
    }
    Ok(findings)
}

/// Takes away what refers to tables that did not come.
fn leave_references(inner: &Inner, client: &mut Client, name: &str) -> Result<(), Error> {
    let failed = inner.failed("look at the foreign keys on");
    let sql = format!(
        "SELECT r.TABLE_NAME, r.CONSTRAINT_NAME FROM information_schema.REFERENTIAL_CONSTRAINTS r WHERE r.CONSTRAINT_SCHEMA = {0} AND NOT EXISTS \
         (SELECT 1 FROM information_schema.TABLES t WHERE t.TABLE_SCHEMA = {0} AND t.TABLE_NAME = r.REFERENCED_TABLE_NAME)",
        text(name)
    );
    for row in client.texts(&sql).map_err(&failed)? {
        client
            .run(format!("ALTER TABLE {} DROP FOREIGN KEY {}", of(name, &row[0]), quoted(&row[1])))
            .map_err(&failed)?;
    }
    Ok(())
}

/// A value in a file of options.
fn option(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A database as SQL, by the server's own tool.
fn dump(inner: &Inner, name: &str, out: &mut (dyn Write + Send)) -> Result<(), Error> {
    let settings = &inner.settings;
    let mut options = format!("[client]\nuser={}\n", option(&settings.user));
    match &settings.address {
        Address::Socket(path) => options += &format!("socket={}\n", option(&path.display().to_string())),
        Address::Network { host, port } => options += &format!("host={}\nport={port}\nprotocol=tcp\n", option(host)),
    }
    if let Some(path) = &settings.password_file {
        let password = secret::read(path).map_err(|error| Error::io("read the password in", path, error))?;
        options += &format!("password={}\n", option(&password));
    }
    let start = |program: &str| {
        let file = secret::file(&options)?;
        let mut command = std::process::Command::new(program);
        command.arg(format!("--defaults-file={}", secret::STDIN)).stdin(file);
        command.args([
            "--single-transaction",
            "--skip-lock-tables",
            "--hex-blob",
            "--skip-triggers",
            "--default-character-set=utf8mb4",
            "--",
        ]);
        command.arg(name);
        Process::start(command, TOOL_TIMEOUT, Output::Wanted)
    };
    let started = start("mariadb-dump").or_else(|_| start("mysqldump"));
    started
        .map_err(|source| Error::Start { program: "mariadb-dump".into(), source })?
        .pour("mariadb-dump", out)
}

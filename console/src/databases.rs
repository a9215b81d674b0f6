//! Keys of the recipes for database servers.

use crate::located::Section;
use crate::node_file::{Databases, Mysql, Postgres, Settings, Verify};

const SOCKETS: &str = "/var/run/postgresql";
const JOBS_MAX: i64 = 64;

/// What all of them have.
fn databases(section: &mut Section<'_>) -> Databases {
    let mut names = section.strings("databases").unwrap_or_default();
    if let Some(one) = section.string("database") {
        if !names.is_empty() {
            section.wrong("database", "is said twice: `databases` lists them all");
        }
        names.push(one);
    }
    let exclude = section.strings("exclude_databases").unwrap_or_default();
    if !names.is_empty() && !exclude.is_empty() {
        section.wrong("exclude_databases", "has nothing to leave out where databases are named");
    }
    let tables = section.strings("exclude_tables").unwrap_or_default();
    if let Some(wrong) = tables.iter().find(|table| !table.contains('.')) {
        section.wrong("exclude_tables", format!("`{wrong}` must say where it is, as \"public.sessions\""));
    }
    let drill = section.strings("drill").unwrap_or_default();
    if !drill.is_empty() && names.len() != 1 {
        section.wrong("drill", "is asked of one database: name it with `database`");
    }
    Databases {
        port: section.integer("port", 1, 65_535).map(|port| port as u16),
        user: section.string("user"),
        password_file: section.path("password_file"),
        names,
        exclude,
        exclude_tables: tables,
        jobs: section.integer("jobs", 1, JOBS_MAX).map(|jobs| jobs as usize),
        verify: section.parsed("verify", verify).unwrap_or_default(),
        drill,
    }
}

fn verify(text: &str) -> Result<Verify, String> {
    match text {
        "full" => Ok(Verify::Full),
        "sampled" => Ok(Verify::Sampled),
        "counts" => Ok(Verify::Counts),
        other => Err(format!("`{other}` is none of full, sampled, counts")),
    }
}

/// A password has a file of its own: this one is read by many.
fn refuse_password(section: &mut Section<'_>) {
    if section.has("password") {
        section.refuse("password", "does not belong into this file: put it into a file of its own and name that as password_file");
    }
}

pub(crate) fn mysql(mut section: Section<'_>) -> Settings {
    refuse_password(&mut section);
    let host = section.string("host");
    let socket = section.path("socket");
    if host.is_some() && socket.is_some() {
        section.wrong("socket", "is one way to the server and `host` is another; let one of them go");
    }
    let databases = databases(&mut section);
    if databases.port.is_some() && host.is_none() {
        section.wrong("port", "is of a host, and none is named; without one the server is reached by its socket");
    }
    if databases.verify == Verify::Sampled {
        section.wrong("verify", "`sampled` is for postgres; here it is full or counts");
    }
    let option_file = section.path("option_file");
    if option_file.as_ref().is_some_and(|path| path.extension().is_none_or(|end| end != "cnf")) {
        section.wrong("option_file", "must end in .cnf: the server reads no other");
    }
    section.finish(&[]);
    Settings::Mysql(Mysql { host, socket, databases, option_file })
}

pub(crate) fn postgres(mut section: Section<'_>) -> Settings {
    refuse_password(&mut section);
    let host = section.string("host").unwrap_or_else(|| SOCKETS.into());
    if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c.is_control()) {
        section.wrong("host", format!("must be the folder of the server's socket, as \"{SOCKETS}\", or a host"));
    }
    let databases = databases(&mut section);
    let list = |section: &mut Section<'_>, key| section.strings(key).unwrap_or_default();
    let schemas = list(&mut section, "schemas");
    let exclude_schemas = list(&mut section, "exclude_schemas");
    let superusers = list(&mut section, "superusers");
    let reader = section.string("reader");
    let hba_file = section.path("hba_file");
    section.finish(&[]);
    Settings::Postgres(Postgres { host, databases, schemas, exclude_schemas, superusers, reader, hba_file })
}

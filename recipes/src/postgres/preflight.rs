//! What must be so before anything begins: said all at once, with what to do about it.

use std::path::Path;

use postgres::Client;
use serde::Deserialize;

use super::tree::Arrived;
use super::{Inner, ask, catalog, schema};
use crate::Error;
use crate::data::{Finding, Level};

/// The server's version and that of `pg_dump`, which must not be older.
pub(super) fn versions(inner: &Inner, client: &mut Client) -> Result<(u32, String), Error> {
    let server = catalog::version(client, catalog::ANY)?;
    let (major, text) = schema::tool_version(inner, "pg_dump")?;
    let mut problems = Vec::new();
    if server < catalog::OLDEST {
        problems.push(format!("the server is version {}, and {} is the oldest that is handled", server / 10_000, catalog::OLDEST / 10_000));
    }
    if major < server / 10_000 {
        problems.push(format!(
            "{text} is older than the server, version {}: install postgresql-client-{}",
            server / 10_000,
            server / 10_000
        ));
    }
    if problems.is_empty() { Ok((server, text)) } else { Err(Error::Preflight { problems }) }
}

/// What an export needs.
pub(super) fn exportable(inner: &Inner, found: &mut Vec<Finding>) -> Result<(), Error> {
    let mut client = inner.connect(catalog::ANY)?;
    versions(inner, &mut client)?;
    #[derive(Deserialize)]
    struct Rights {
        superuser: bool,
        all_data: bool,
        bypass: bool,
    }
    let rights: Rights = ask::row(
        &mut client,
        catalog::ANY,
        "SELECT rolsuper AS superuser, rolbypassrls AS bypass, EXISTS (SELECT 1 FROM pg_roles a WHERE a.rolname = 'pg_read_all_data' AND \
         pg_has_role(r.oid, a.oid, 'USAGE')) AS all_data FROM pg_roles r WHERE rolname = current_user",
    )?;
    let user = &inner.settings.user;
    if !rights.superuser && !rights.all_data {
        let what = format!("the role {user} may not read every table");
        found
            .push(Finding::new(Level::Warning, what).hint(format!("GRANT pg_read_all_data TO {user}; or let it own all that is exported")));
    }
    if !rights.superuser && !rights.bypass {
        let what = format!("the role {user} cannot read tables with row security");
        found.push(Finding::new(Level::Warning, what).hint(format!("ALTER ROLE {user} BYPASSRLS")));
    }
    if !rights.superuser {
        found.push(Finding::new(Level::Note, format!("the role {user} is no superuser: passwords of roles are not exported")));
    }
    for name in catalog::databases(inner, &mut client)? {
        inner.connect(&name)?;
    }
    Ok(())
}

/// What an import needs.
pub(super) fn importable(inner: &Inner, client: &mut Client, arrived: &Arrived, found: &mut Vec<Finding>) -> Result<(), Error> {
    let mut problems = Vec::new();
    let manifest = &arrived.manifest;
    let server = catalog::version(client, catalog::ANY)?;
    if server / 10_000 < manifest.server / 10_000 {
        let (there, here) = (manifest.server / 10_000, server / 10_000);
        problems.push(format!("it comes from PostgreSQL {there}, and this server is {here}, older: upgrade this server"));
    }
    let (major, text) = schema::tool_version(inner, "pg_restore")?;
    if major < server / 10_000 || major < tool_major(&manifest.tool) {
        problems.push(format!(
            "{text} is older than {} or the server: install postgresql-client-{}",
            manifest.tool,
            major.max(tool_major(&manifest.tool))
        ));
    }
    #[derive(Deserialize)]
    struct Superuser {
        superuser: bool,
    }
    let Superuser { superuser } =
        ask::row(client, catalog::ANY, "SELECT rolsuper AS superuser FROM pg_roles WHERE rolname = current_user")?;
    if !superuser {
        problems.push(format!(
            "the role {0} is no superuser, and an import makes roles and databases: ALTER ROLE {0} SUPERUSER",
            inner.settings.user
        ));
    }
    extensions(client, arrived, &mut problems, found)?;
    if let Some(problem) = room(client, arrived.bytes(), found)? {
        problems.push(problem);
    }
    if problems.is_empty() { Ok(()) } else { Err(Error::Preflight { problems }) }
}

fn tool_major(text: &str) -> u32 {
    text.split_whitespace().find_map(|word| word.split('.').next()?.parse().ok()).unwrap_or(0)
}

fn extensions(client: &mut Client, arrived: &Arrived, problems: &mut Vec<String>, found: &mut Vec<Finding>) -> Result<(), Error> {
    let available = ask::names(client, catalog::ANY, "SELECT name FROM pg_available_extensions")?;
    for database in &arrived.manifest.databases {
        for extension in &database.extensions {
            let name = &extension.name;
            if name == "timescaledb" {
                problems.push(format!(
                    "the database {:?} uses timescaledb, whose tables this recipe cannot load: export it with a program of your own",
                    database.name
                ));
            } else if !available.contains(name) {
                problems.push(format!(
                    "the database {:?} needs the extension {name}, which this server does not have: install its package",
                    database.name
                ));
            }
            if name == "pg_cron" {
                let what = format!("the database {:?} has pg_cron: it and its jobs are made here when the guard is lifted", database.name);
                found.push(Finding::new(Level::Note, what));
            }
        }
    }
    Ok(())
}

/// Rows as text take about as much room as in tables; what indexes take is not known before.
fn room(client: &mut Client, bytes: u64, found: &mut Vec<Finding>) -> Result<Option<String>, Error> {
    #[derive(Deserialize)]
    struct Place {
        name: String,
    }
    let Place { name } = ask::row(client, catalog::ANY, "SELECT current_setting('data_directory') AS name")?;
    let Ok(stat) = rustix::fs::statvfs(Path::new(&name)) else {
        found.push(Finding::new(Level::Note, format!("how much room is left in {name} cannot be seen")));
        return Ok(None);
    };
    let (free, needed) = (stat.f_bavail * stat.f_frsize, bytes + bytes / 4);
    Ok((free < needed).then(|| format!("{} MB are free in {name}, and at least {} MB are needed: make room", free >> 20, needed >> 20)))
}

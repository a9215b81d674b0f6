//! What this server lacks for an import, said before anything is touched, with what to do.

use std::collections::BTreeSet;

use super::super::client::{Answer, Client};
use super::super::manifest::{Consistency, Manifest, Server};
use super::super::names::beside;
use super::{Import, switch};
use crate::Error;
use crate::data::{Finding, Level};

pub(super) fn run(import: &mut Import, client: &mut Client, server: &Server, manifest: &Manifest) -> Result<(), Error> {
    let failed = import.inner.failed("look at");
    let mut lacks = strangers(import, manifest);
    lacks.extend(versions(server, manifest));
    lacks.extend(means(client, manifest).map_err(&failed)?);
    for database in &manifest.databases {
        let name = beside(&database.name, "new");
        if !import.record.own.contains(&name) && switch::exists(client, &name).map_err(&failed)? {
            lacks.push(format!("the import needs the name {name:?} for itself, and a database here has it: rename that"));
        }
        for table in database.tables.iter().filter(|table| table.consistency == Consistency::Own) {
            let what = format!(
                "{}.{} is of another moment than the rest: its engine {} has no snapshots",
                database.name, table.name, table.engine
            );
            import
                .findings
                .push(Finding::new(Level::Warning, what).hint("ALTER TABLE … ENGINE = InnoDB, at the source"));
        }
    }
    lacks.extend(room(client, manifest).map_err(&failed)?);
    if !lacks.is_empty() {
        return Err(import.inner.arrived(format!("cannot be loaded here: {}", lacks.join("; "))));
    }
    Ok(())
}

/// On a host that stands by no event runs.
pub(super) fn events_off(import: &mut Import, client: &mut Client, server: &Server) -> Result<(), Error> {
    if server.event_scheduler {
        client
            .run("SET GLOBAL event_scheduler = OFF")
            .map_err(import.inner.failed("switch the events off on"))?;
        import
            .findings
            .push(Finding::new(Level::Note, "the server's events were switched off, as on any host that stands by"));
    }
    Ok(())
}

/// Databases that nobody asked for.
fn strangers(import: &Import, manifest: &Manifest) -> Vec<String> {
    let settings = &import.inner.settings;
    let asked = |name: &String| (settings.databases.is_empty() || settings.databases.contains(name)) && !settings.exclude.contains(name);
    let strange = manifest.databases.iter().filter(|database| !asked(&database.name));
    strange
        .map(|database| format!("it holds {:?}, which the node file here does not name", database.name))
        .collect()
}

fn versions(server: &Server, manifest: &Manifest) -> Option<String> {
    let name = |server: &Server| format!("{} {}", if server.mariadb { "MariaDB" } else { "MySQL" }, server.version);
    let (here, there) = (name(server), name(&manifest.server));
    if server.mariadb != manifest.server.mariadb || server.number() < manifest.server.number() {
        return Some(format!("it comes from {there}, and this is {here}: install the same version, or a newer one of the same kind"));
    }
    let upper = |name: &String| name.chars().any(char::is_uppercase);
    let names = |database: &super::manifest::Database| upper(&database.name) || database.tables.iter().any(|table| upper(&table.name));
    if server.lower_case_table_names != 0 && manifest.server.lower_case_table_names == 0 && manifest.databases.iter().any(names) {
        return Some("its names have capitals, which this server does not keep: lower_case_table_names must be 0".into());
    }
    None
}

fn means(client: &mut Client, manifest: &Manifest) -> Answer<Vec<String>> {
    let mut lacks = Vec::new();
    let engines: BTreeSet<String> = client
        .texts("SELECT LOWER(ENGINE) FROM information_schema.ENGINES WHERE SUPPORT IN ('YES', 'DEFAULT')")?
        .into_iter()
        .flatten()
        .collect();
    let used: BTreeSet<String> = manifest
        .databases
        .iter()
        .flat_map(|database| &database.tables)
        .map(|table| table.engine.to_lowercase())
        .collect();
    for engine in used.difference(&engines).filter(|engine| !engine.is_empty()) {
        lacks.push(format!("this server has no engine {engine:?}: install its plugin"));
    }
    let collations: BTreeSet<String> = client
        .texts("SELECT COLLATION_NAME FROM information_schema.COLLATIONS")?
        .into_iter()
        .flatten()
        .collect();
    for database in &manifest.databases {
        if !collations.contains(&database.collation) || !database.collation.starts_with(&database.charset) {
            lacks.push(format!("this server does not know the collation {:?}", database.collation));
        }
    }
    if client.one("SELECT @@GLOBAL.local_infile")?.as_deref() != Some("1") {
        lacks.push("rows are loaded from the client, and this server forbids it: SET GLOBAL local_infile = 1".into());
    }
    Ok(lacks)
}

/// Rows and their indexes take about twice their text. Only where the server's folder is seen from here.
fn room(client: &mut Client, manifest: &Manifest) -> Answer<Option<String>> {
    let pieces = manifest.databases.iter().flat_map(|database| &database.tables).flat_map(|table| &table.pieces);
    let needed = pieces.fold(0, |sum: u64, piece| sum.saturating_add(piece.bytes)).saturating_mul(2);
    let Some(folder) = client.one("SELECT @@datadir")? else { return Ok(None) };
    let Ok(found) = rustix::fs::statvfs(std::path::Path::new(&folder)) else { return Ok(None) };
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    Ok((free < needed).then(|| format!("{folder} has {} MB free, and about {} MB are needed", free >> 20, needed >> 20)))
}

//! A server that stands by: read-only for all who have no right to write anyway, and no event runs.
//!
//! Both are settings of the running server. One that is started again has what its configuration says: so, where a file of options is named, it is written as
//! well, and holds from the server's first moment.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::Inner;
use super::client::Fault;
use super::names::{of, quoted, text};
use super::record::Record;
use crate::Error;
use crate::data::{Finding, Level};
use crate::replace::replace_as;

const OPTIONS: &str =
    "# This node stands by: `importer guard` wrote this, and activation removes it.\n[mysqld]\nread_only=1\nevent_scheduler=OFF\n";

/// In force when it returns, for whenever the server starts.
fn write_options(path: &Path) -> Result<(), Error> {
    if fs::read_to_string(path).is_ok_and(|text| text == OPTIONS) {
        return Ok(());
    }
    // The server is another user, and does not read what anybody may write.
    let readable = |file: &File| file.set_permissions(PermissionsExt::from_mode(0o644));
    replace_as(path, OPTIONS.as_bytes(), readable).map_err(|error| Error::io("write", path, error))
}

fn remove_options(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path, error)),
        _ => Ok(()),
    }
}

/// Whether nobody listens there.
fn is_down(error: &Error) -> bool {
    let Error::Mysql { source, .. } = error else { return false };
    matches!(source, Fault::Io(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused))
}

pub(super) fn guard(inner: &Inner) -> Result<Vec<Finding>, Error> {
    let options = inner.settings.option_file.as_deref();
    options.map_or(Ok(()), write_options)?;
    let mut client = match (inner.open(), options) {
        (Err(error), Some(path)) if is_down(&error) => {
            let what = format!("the server does not run; {} guards it from its start", path.display());
            return Ok(vec![Finding::new(Level::Note, what)]);
        }
        (Err(error), None) if is_down(&error) => {
            return Err(Error::NotRunning { key: "option_file", names: "a .cnf file that the server reads" });
        }
        (opened, _) => opened?,
    };
    let failed = inner.failed("guard");
    // First of all, since events write in their owners' names.
    client.run("SET GLOBAL event_scheduler = OFF").map_err(&failed)?;
    client.run("SET GLOBAL read_only = 1").map_err(&failed)?;
    Ok(Vec::new())
}

pub(super) fn lift(inner: &Inner) -> Result<Vec<Finding>, Error> {
    let mut client = inner.open()?;
    let failed = inner.failed("lift the guard of");
    let Record { events, event_scheduler, .. } = inner.record()?;
    client.run("SET GLOBAL read_only = 0").map_err(&failed)?;
    let mut found = Vec::new();
    for (database, events) in &events {
        for event in events.iter().filter(|event| event.enabled) {
            if let Err(error) = switch_event(&mut client, database, &event.name, true) {
                let what = format!("event {} of {database} was not enabled: {error}", event.name);
                found.push(Finding::new(Level::Warning, what).hint("enable it by ALTER EVENT"));
            }
        }
    }
    if event_scheduler {
        client.run("SET GLOBAL event_scheduler = ON").map_err(&failed)?;
    }
    inner.settings.option_file.as_deref().map_or(Ok(()), remove_options)?;
    Ok(found)
}

/// An event changes its owner with whoever alters it, so that one is named.
pub(super) fn switch_event(client: &mut super::client::Client, database: &str, name: &str, on: bool) -> super::client::Answer<()> {
    let sql = format!(
        "SELECT EVENT_SCHEMA, EVENT_NAME, DEFINER, TIME_ZONE FROM information_schema.EVENTS WHERE EVENT_SCHEMA = {}",
        text(database)
    );
    let rows = client.texts(&sql)?;
    let Some(row) = rows.iter().find(|row| row[0] == database && row[1] == name) else { return Ok(()) };
    let (user, host) = row[2].rsplit_once('@').unwrap_or((&row[2], "%"));
    // A role has no host.
    let owner = if host.is_empty() { quoted(user) } else { super::manifest::Server::account(user, host) };
    let how = if on { "ENABLE" } else { "DISABLE ON SLAVE" };
    client.run(format!("ALTER DEFINER = {owner} EVENT {} {how}", of(database, name)))
}

//! A server that stands by: read-only for all who have no right to write anyway, and no event runs.
//!
//! Both are settings of the running server. One that is started again has what its configuration says, so whoever starts it guards it again.

use super::Inner;
use super::names::{of, quoted, text};
use super::record::Record;
use crate::Error;
use crate::data::{Finding, Level};

pub(super) fn guard(inner: &Inner) -> Result<Vec<Finding>, Error> {
    let mut client = inner.open()?;
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

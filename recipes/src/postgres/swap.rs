//! New databases take the names of those that are in place: all of them in one transaction, while whoever is connected is sent away.
//!
//! PostgreSQL renames a database only when nobody is in it, and whoever connects while it is being renamed is told that there is none of that name. So new
//! connections are held back before they have looked for their database, by a lock on the table of roles, which each must read first; then those that are there are
//! sent away, and the names change. Each client has to connect anew once; nobody who does is refused. Sessions elsewhere wait these milliseconds at most
//! when they look up a role.

use std::time::Duration;

use postgres::Client;
use serde::{Deserialize, Serialize};

use super::catalog;
use super::connect::{failed, ident};
use crate::Error;

const NEW: &str = "__resilient_new";
const OLD: &str = "__resilient_old";
const TRY: &str = "__resilient_try";
/// A server's names are no longer.
const NAME_MAX: usize = 63;

fn aside(name: &str, suffix: &str) -> String {
    if name.len() + suffix.len() <= NAME_MAX {
        return format!("{name}{suffix}");
    }
    let digest = format!("{:016x}", xxhash_rust::xxh3::xxh3_64(name.as_bytes()));
    format!("{}_{digest}{suffix}", &name[..name.floor_char_boundary(NAME_MAX - suffix.len() - digest.len() - 1)])
}

/// Whether a database is one of ours beside another.
pub(super) fn is_aside(name: &str) -> bool {
    [NEW, OLD, TRY].iter().any(|suffix| name.ends_with(suffix))
}

/// A name and all names beside it.
pub(super) fn all_names(name: &str) -> [String; 4] {
    [name.to_owned(), aside(name, NEW), aside(name, OLD), aside(name, TRY)]
}

/// Where something is loaded that no import waits for.
pub(super) fn try_name(name: &str) -> String {
    aside(name, TRY)
}

/// A database that an import replaces, makes or takes away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    pub name: String,
    /// There was one of this name.
    pub existed: bool,
    /// There is one of this name afterwards.
    pub arrives: bool,
}

impl Place {
    /// Where it is loaded.
    pub fn new_name(&self) -> String {
        aside(&self.name, NEW)
    }

    /// Where what was before stays.
    pub fn old_name(&self) -> String {
        aside(&self.name, OLD)
    }
}

/// What a name stands for now, as the server counts databases: names change, this does not.
pub(super) fn number(client: &mut Client, name: &str) -> Result<Option<u32>, Error> {
    let found = client.query_opt("SELECT oid FROM pg_database WHERE datname = $1", &[&name]);
    Ok(found.map_err(failed("look for", name))?.map(|row| row.get(0)))
}

pub(super) fn exists(client: &mut Client, name: &str) -> Result<bool, Error> {
    Ok(number(client, name)?.is_some())
}

/// Removes a database, whoever is in it.
pub(super) fn drop_database(client: &mut Client, name: &str) -> Result<(), Error> {
    if !exists(client, name)? {
        return Ok(());
    }
    let force = if catalog::version(client, name)? >= 130_000 { " WITH (FORCE)" } else { "" };
    send_away(client, &[name.to_owned()])?;
    client
        .batch_execute(&format!("DROP DATABASE IF EXISTS {}{force}", ident(name)))
        .map_err(failed("drop", name))
}

const SEND_AWAY: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = ANY ($1) AND pid <> pg_backend_pid()";

fn send_away(client: &mut Client, names: &[String]) -> Result<(), Error> {
    client
        .query(SEND_AWAY, &[&names])
        .map(drop)
        .map_err(failed("send clients away from", &names.join(", ")))
}

/// The renames that bring new ones in, in an order in which no name is taken twice.
pub(super) fn forward(places: &[Place]) -> Vec<(String, String)> {
    let leave = places.iter().filter(|place| place.existed).map(|place| (place.name.clone(), place.old_name()));
    let arrive = places.iter().filter(|place| place.arrives).map(|place| (place.new_name(), place.name.clone()));
    leave.chain(arrive).collect()
}

/// The renames that bring what was before back; what was in place is aside then.
pub(super) fn backward(places: &[Place]) -> Vec<(String, String)> {
    let leave = places.iter().filter(|place| place.arrives).map(|place| (place.name.clone(), place.new_name()));
    let back = places.iter().filter(|place| place.existed).map(|place| (place.old_name(), place.name.clone()));
    let stay = places.iter().filter(|place| place.arrives).map(|place| (place.new_name(), place.old_name()));
    leave.chain(back).chain(stay).collect()
}

/// How often it is tried.
const ATTEMPTS: u32 = 4;
/// How long who reads the table of roles may keep the lock from us. Meanwhile new connections wait behind us.
const LOCK: &str = "SET LOCAL lock_timeout = '1s'; LOCK TABLE pg_catalog.pg_authid IN ACCESS EXCLUSIVE MODE";
const AGAIN: Duration = Duration::from_millis(2);
/// How often it is looked whether all are gone, before the server itself is asked to wait for them.
const LOOKS: u32 = 1000;

/// Does all renames, or none.
///
/// Somebody's long transaction elsewhere may hold the table of roles. Then those in our databases are sent away before, in case it is one of them; and in the end it is
/// done without that lock: a connection that comes in that very moment is refused, which is better than an old state for as long as that transaction lasts.
pub(super) fn rename(client: &mut Client, renames: &[(String, String)]) -> Result<(), Error> {
    use postgres::error::SqlState;
    let names: Vec<String> = renames.iter().map(|(from, _)| from.clone()).collect();
    let text: Vec<String> = renames
        .iter()
        .map(|(from, to)| format!("ALTER DATABASE {} RENAME TO {};", ident(from), ident(to)))
        .collect();
    let mut attempt = 1;
    loop {
        let outcome = exchange(client, &names, &text.concat(), attempt < ATTEMPTS);
        let Err(error) = &outcome else { return Ok(()) };
        let busy = [SqlState::OBJECT_IN_USE, SqlState::LOCK_NOT_AVAILABLE, SqlState::T_R_DEADLOCK_DETECTED];
        if attempt == ATTEMPTS || !error.code().is_some_and(|code| busy.contains(code)) {
            return outcome.map_err(failed("rename", &names.join(", ")));
        }
        send_away(client, &names)?;
        attempt += 1;
    }
}

fn exchange(client: &mut Client, names: &[String], statements: &str, held: bool) -> Result<(), postgres::Error> {
    // Given up, it is rolled back.
    let mut transaction = client.transaction()?;
    if held {
        transaction.batch_execute(LOCK)?;
    }
    let pause = std::sync::mpsc::channel::<()>();
    // Seen gone twice: one that was let in just before shows a moment later.
    let mut gone = 0;
    for _ in 0..LOOKS {
        transaction.batch_execute("SELECT pg_stat_clear_snapshot()")?;
        gone = if transaction.query(SEND_AWAY, &[&names])?.is_empty() { gone + 1 } else { 0 };
        if gone == 2 {
            break;
        }
        let _ = pause.1.recv_timeout(AGAIN);
    }
    transaction.batch_execute(statements)?;
    transaction.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_beside_are_short_enough_and_stay_apart() {
        let long = |end: char| format!("{}{end}", "ä".repeat(31));
        for name in ["shop".to_owned(), long('a'), long('b')] {
            assert!(aside(&name, NEW).len() <= NAME_MAX && is_aside(&aside(&name, NEW)) && is_aside(&aside(&name, OLD)));
            assert_ne!(aside(&name, NEW), aside(&name, OLD));
        }
        assert_ne!(aside(&long('a'), NEW), aside(&long('b'), NEW));
    }

    #[test]
    fn no_rename_takes_a_name_that_is_there() {
        let place = |name: &str, existed, arrives| Place { name: name.into(), existed, arrives };
        let places = [place("both", true, true), place("gone", true, false), place("fresh", false, true)];
        let mut there: Vec<String> = vec!["both".into(), "gone".into(), places[0].new_name(), places[2].new_name()];
        let before = there.clone();
        for renames in [forward(&places), backward(&places)] {
            for (from, to) in renames {
                assert!(there.contains(&from) && !there.contains(&to), "{from} to {to} in {there:?}");
                there.retain(|name| *name != from);
                there.push(to);
            }
        }
        assert!(
            there.contains(&"both".into()) && there.contains(&"gone".into()) && !there.contains(&"fresh".into()),
            "{there:?} after {before:?}"
        );
    }
}

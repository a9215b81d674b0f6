//! Views, routines, triggers and events, made in the live database itself: bodies that name it need no rewriting.
//!
//! Only what differs is touched, so that views keep working under readers and the same again changes nothing. Each statement is run by an account that may do
//! everything in this database and nothing in others; that it makes just such a thing, and no table, is seen from its first words, so none of it runs here in
//! somebody else's name. Events are switched off as they come.

use std::fs;

use super::super::client::{Answer, Client};
use super::super::manifest::Server;
use super::super::names::{of, pattern, quoted, text};
use super::super::record::Side;
use super::super::schema::{Kind, Object};
use super::super::server;
use super::super::{catalog, guard, schema};
use super::Import;
use crate::data::{Finding, Level};
use crate::told;
use crate::{Error, escape};

/// Makes the code of a live database what a file says. What cannot be made is told and no failure: such a view was broken before.
pub(super) fn restore(import: &mut Import, client: &mut Client, side: &Side, from: &str) -> Result<(), Error> {
    let inner = import.inner.clone();
    let failed = inner.failed("make views, routines, triggers and events on");
    let path = match from {
        "import" => inner.tree().join("databases").join(escape::name(&side.live)).join("schema.sql"),
        from => inner.code(from, &side.live),
    };
    let bytes = fs::read(&path).map_err(|error| Error::io("read", &path, error))?;
    let mut wanted = schema::read(&bytes).map_err(|why| inner.arrived(why))?;
    wanted.retain(|object| !object.kind.holds_rows());
    let Some(found) = catalog::read(client, &side.live).map_err(&failed)? else { return Err(inner.missing(&side.live)) };
    let found: Vec<Object> = found.objects.into_iter().filter(|object| !object.kind.holds_rows()).collect();
    for object in found
        .iter()
        .filter(|found| !wanted.iter().any(|wanted| (wanted.kind, &wanted.name) == (found.kind, &found.name)))
    {
        // The body went with its package.
        let sql = format!("DROP {} IF EXISTS {}", object.kind.word(), of(&side.live, &object.name));
        client.run(sql).map_err(&failed)?;
    }
    wanted.retain(|wanted| !found.contains(wanted));
    if wanted.is_empty() {
        return Ok(());
    }
    let server = server::look(client).map_err(&failed)?;
    let account = import.account(client, &server)?;
    for side in import.record.switch.iter().flat_map(|switch| &switch.sides) {
        client.run(format!("GRANT ALL ON {}.* TO {}", pattern(&side.live), account.sql)).map_err(&failed)?;
    }
    client.run(format!("GRANT {} ON *.* TO {}", server.set_user(), account.sql)).map_err(&failed)?;
    let mut session = inner.open_as(&account.name, Some(&account.password))?;
    session.run(format!("USE {}", quoted(&side.live))).map_err(&failed)?;
    for (object, why) in make(&mut session, &server, wanted) {
        let what = format!("{} {:?} of {:?} could not be made: {why}", object.kind.word(), object.name, side.live);
        import
            .findings
            .push(Finding::new(Level::Warning, what).hint("it may need something that is not on this host, or be broken at the source"));
    }
    drop(session);
    let events = catalog::read(client, &side.live).map_err(&failed)?.map(|found| found.events).unwrap_or_default();
    for event in events.iter().filter(|event| event.enabled) {
        guard::switch_event(client, &side.live, &event.name, false).map_err(&failed)?;
    }
    Ok(())
}

/// Makes them; what could not be made, and why. A view may need one that comes later: they are tried as long as one more succeeds.
fn make(session: &mut Client, server: &Server, mut left: Vec<Object>) -> Vec<(Object, String)> {
    loop {
        let before = left.len();
        let mut failed = Vec::new();
        for object in left {
            if let Err(error) = make_one(session, server, &object) {
                failed.push((object, told(&error)));
            }
        }
        if failed.is_empty() || failed.len() == before {
            return failed;
        }
        left = failed.into_iter().map(|(object, _)| object).collect();
    }
}

fn make_one(session: &mut Client, server: &Server, object: &Object) -> Answer<()> {
    let refuse = |why: &str| Err(std::io::Error::other(why.to_owned()).into());
    let rest = object.statement.get(7..).unwrap_or_default().trim_ascii_start();
    let rest = match rest.get(..11) {
        Some(word) if word.eq_ignore_ascii_case(b"OR REPLACE ") => rest[11..].trim_ascii_start(),
        _ => rest,
    };
    let word: Vec<u8> = rest.iter().take_while(|byte| byte.is_ascii_alphabetic()).map(u8::to_ascii_uppercase).collect();
    let known = ["DEFINER", "ALGORITHM", "SQL", "AGGREGATE", "PROCEDURE", "FUNCTION", "PACKAGE", "VIEW", "TRIGGER", "EVENT"];
    if !known.iter().any(|known| known.as_bytes() == word) {
        return refuse("its statement makes something else");
    }
    let schema::Under { sql_mode, client, collation, time_zone } = &object.under;
    session.run(format!("SET sql_mode = {}", text(sql_mode)))?;
    for (name, value) in [("collation_connection", collation), ("time_zone", time_zone), ("character_set_client", client)] {
        if !value.is_empty() {
            session.run(format!("SET {name} = {}", text(value)))?;
        }
    }
    let replaces = server.mariadb || object.kind == Kind::View;
    let made = if replaces {
        session.run([b"CREATE OR REPLACE ", rest].concat())
    } else {
        let drop = format!("DROP {} IF EXISTS {}", object.kind.word(), quoted(&object.name));
        session
            .run("SET NAMES utf8mb4")
            .and_then(|()| session.run(drop))
            .and_then(|()| session.run([b"CREATE ", rest].concat()))
    };
    server::settle(session)?;
    made
}

//! Roles of a snapshot on this server, and the guard of a node that stands by: nobody logs in who could write.
//!
//! Only roles that a snapshot of this source has are guarded: the server may serve others as well. Those that are missing are made without the right to log in,
//! without superuser and replication. Who may log in once this node is active stands in a file in the scratch folder, written before anything is taken away.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use postgres::Client;
use serde::Deserialize;

use super::connect::{failed, ident, literal};
use super::manifest::{Manifest, Role};
use super::{Inner, ask, catalog, load};
use crate::Error;
use crate::data::{Finding, Level};

#[derive(Deserialize)]
struct Present {
    name: String,
    superuser: bool,
    login: bool,
}

fn present(client: &mut Client) -> Result<Vec<Present>, Error> {
    let query = "SELECT rolname AS name, rolsuper AS superuser, rolcanlogin AS login FROM pg_roles WHERE rolname !~ '^pg_'";
    ask::rows(client, catalog::ANY, query)
}

fn file(inner: &Inner) -> PathBuf {
    inner.settings.scratch.join("guarded.json")
}

/// Who may log in when the guard is lifted.
fn guarded(inner: &Inner) -> Result<BTreeSet<String>, Error> {
    let path = file(inner);
    match fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text).map_err(|error| Error::io("understand", &path, std::io::Error::other(error))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(error) => Err(Error::io("read", &path, error)),
    }
}

fn keep(inner: &Inner, names: &BTreeSet<String>) -> Result<(), Error> {
    let path = file(inner);
    let text = serde_json::to_vec(names).expect("names can be written");
    crate::replace::replace(&path, &text).map_err(|error| Error::io("write", &path, error))
}

/// Makes the roles of a snapshot that are missing here, with their passwords, settings and memberships.
pub(super) fn arrive(inner: &Inner, client: &mut Client, manifest: &Manifest, found: &mut Vec<Finding>) -> Result<(), Error> {
    let here = present(client)?;
    let is_here = |name: &str| here.iter().any(|role| role.name == name);
    let mut may_log_in = guarded(inner)?;
    may_log_in.extend(
        manifest
            .roles
            .iter()
            .filter(|role| role.login && !is_refused(inner, role))
            .map(|role| role.name.clone()),
    );
    keep(inner, &may_log_in)?;
    for role in manifest.roles.iter().filter(|role| !is_here(&role.name)) {
        if is_refused(inner, role) {
            let what = format!("the role {} is a superuser at the source and is not made one here", role.name);
            found.push(Finding::new(Level::Warning, what).hint("name it under `superusers` if it shall be"));
        }
        make(inner, client, role)?;
    }
    for membership in &manifest.memberships {
        let admin = if membership.admin { " WITH ADMIN OPTION" } else { "" };
        let statement = format!("GRANT {} TO {}{admin}", ident(&membership.role), ident(&membership.member));
        client.batch_execute(&statement).map_err(failed("grant roles beside", catalog::ANY))?;
    }
    reader(inner, client, &here)?;
    found.extend(guard(inner)?);
    Ok(())
}

fn is_refused(inner: &Inner, role: &Role) -> bool {
    role.superuser && !inner.settings.superusers.contains(&role.name)
}

fn make(inner: &Inner, client: &mut Client, role: &Role) -> Result<(), Error> {
    let word = |yes: bool, word: &'static str, no: &'static str| if yes { word } else { no };
    let trusted = role.superuser && inner.settings.superusers.contains(&role.name);
    let mut text = format!(
        "CREATE ROLE {} NOLOGIN NOREPLICATION {} {} {} {} {} CONNECTION LIMIT {}",
        ident(&role.name),
        word(trusted, "SUPERUSER", "NOSUPERUSER"),
        word(role.inherit, "INHERIT", "NOINHERIT"),
        word(role.create_role, "CREATEROLE", "NOCREATEROLE"),
        word(role.create_database, "CREATEDB", "NOCREATEDB"),
        word(role.bypass_row_security && !is_refused(inner, role), "BYPASSRLS", "NOBYPASSRLS"),
        role.connection_limit
    );
    if let Some(password) = &role.password {
        text += &format!(" PASSWORD {}", literal(password));
    }
    if let Some(until) = &role.valid_until {
        text += &format!(" VALID UNTIL {}", literal(until));
    }
    if let Some(comment) = &role.comment {
        text += &format!("; COMMENT ON ROLE {} IS {}", ident(&role.name), literal(comment));
    }
    client.batch_execute(&text).map_err(failed("make roles beside", catalog::ANY))?;
    load::configure(inner, &format!("ROLE {}", ident(&role.name)), &role.settings)
}

/// The role that may read while this node stands by.
fn reader(inner: &Inner, client: &mut Client, here: &[Present]) -> Result<(), Error> {
    let Some(reader) = &inner.settings.reader else { return Ok(()) };
    let name = ident(reader);
    if !here.iter().any(|role| role.name == *reader) {
        client
            .batch_execute(&format!("CREATE ROLE {name} LOGIN"))
            .map_err(failed("make the reader beside", catalog::ANY))?;
    }
    client
        .batch_execute(&format!("GRANT pg_read_all_data TO {name}; ALTER ROLE {name} SET default_transaction_read_only = on"))
        .map_err(failed("let the reader read beside", catalog::ANY))
}

/// Who a snapshot says may log in: of the last import here, or the last export.
fn known(inner: &Inner) -> Result<BTreeSet<String>, Error> {
    let mut names = guarded(inner)?;
    if let Some(last) = super::export::last(inner) {
        names.extend(last.roles.into_iter().filter(|role| role.login && !is_refused(inner, role)).map(|role| role.name));
    }
    Ok(names)
}

/// Takes the right to log in from those who could write, and sends them away.
pub(super) fn guard(inner: &Inner) -> Result<Vec<Finding>, Error> {
    let mut client = inner.connect(catalog::ANY)?;
    let (names, mut found, mut taken) = (known(inner)?, Vec::new(), Vec::new());
    let settings = &inner.settings;
    let ours = |name: &String| *name == settings.user || settings.reader.as_ref() == Some(name);
    for role in present(&mut client)?
        .into_iter()
        .filter(|role| role.login && names.contains(&role.name) && !ours(&role.name))
    {
        if role.superuser {
            let what = format!("the role {} is a superuser and may log in: what it writes here is lost at the next import", role.name);
            found.push(Finding::new(Level::Warning, what).hint("let no application use a superuser"));
            continue;
        }
        taken.push(role.name);
    }
    inner.make_scratch()?;
    keep(inner, &names)?;
    for name in &taken {
        client
            .batch_execute(&format!("ALTER ROLE {} NOLOGIN", ident(name)))
            .map_err(failed("guard the roles beside", catalog::ANY))?;
    }
    client
        .query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = ANY ($1)", &[&taken])
        .map_err(failed("send clients away beside", catalog::ANY))?;
    Ok(found)
}

/// Gives it back.
pub(super) fn lift(inner: &Inner) -> Result<Vec<Finding>, Error> {
    let mut client = inner.connect(catalog::ANY)?;
    let here = present(&mut client)?;
    let mut found = Vec::new();
    for name in guarded(inner)? {
        if here.iter().any(|role| role.name == name) {
            client
                .batch_execute(&format!("ALTER ROLE {} LOGIN", ident(&name)))
                .map_err(failed("lift the guard beside", catalog::ANY))?;
        } else {
            found.push(Finding::new(Level::Warning, format!("the role {name} is not here (any more): nothing to give it back")));
        }
    }
    Ok(found)
}

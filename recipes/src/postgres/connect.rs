//! Ways to the server: connections of our own, and the server's tools with the same rights.
//!
//! Started by root with the socket of a server on this host and no password, both act as the system user of the role's name where there is one: that is what
//! `peer` in pg_hba.conf asks for, and a cron line of root's should not need more.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use postgres::{Client, NoTls};
use rustix::process::Uid;

use super::{Inner, Settings};
use crate::{Error, secret};

/// What holds of every session: nothing that an administrator or the database sets may change the text of rows.
pub(super) const SESSION: &str = "SET search_path = ''; SET row_security = off; SET synchronize_seqscans = off; SET extra_float_digits = 3; SET DateStyle = ISO; \
     SET IntervalStyle = postgres; SET TimeZone = 'UTC'; SET statement_timeout = 0; SET lock_timeout = '60s'; SET idle_in_transaction_session_timeout = 0; \
     SET bytea_output = hex; SET xmloption = content; SET default_transaction_read_only = off; SET quote_all_identifiers = on";

pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// A name as SQL has it.
pub(super) fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as SQL has it, whatever standard_conforming_strings says.
pub(super) fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if text.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

/// A table's or another object's name in its schema.
pub(super) fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", ident(schema), ident(name))
}

/// What was being done with which database.
pub(super) fn failed(action: &'static str, database: &str) -> impl Fn(postgres::Error) -> Error {
    move |source| Error::Postgres { action, database: database.to_owned(), source: Box::new(source) }
}

impl Settings {
    pub(super) fn is_socket(&self) -> bool {
        self.host.starts_with('/')
    }

    /// The system user to act as, and its group.
    fn system_user(&self) -> Option<(u32, u32)> {
        if !self.is_socket() || self.password_file.is_some() || !rustix::process::geteuid().is_root() {
            return None;
        }
        let users = std::fs::read_to_string("/etc/passwd").ok()?;
        let line = users.lines().find(|line| line.split(':').next() == Some(&self.user))?;
        let mut fields = line.split(':').skip(2).map(str::parse);
        Some((fields.next()?.ok()?, fields.next()?.ok()?))
    }

    /// Does something as the system user to act as. What the server sees is who connects.
    pub(super) fn acting<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        match self.system_user() {
            Some((uid, _)) => as_user(uid, act),
            None => act(),
        }
    }

    fn password(&self) -> Result<Option<String>, Error> {
        let read = |path: &Path| secret::read(path).map_err(|error| Error::io("read the password", path, error));
        self.password_file.as_deref().map(read).transpose()
    }
}

impl Inner {
    pub(super) fn config(&self, database: &str) -> Result<tokio_postgres::Config, Error> {
        let Settings { host, port, user, .. } = &self.settings;
        let mut config = tokio_postgres::Config::new();
        config.port(*port).user(user).dbname(database).connect_timeout(CONNECT_TIMEOUT);
        config.application_name("resilient");
        if self.settings.is_socket() {
            config.host_path(host)
        } else {
            config.host(host)
        };
        if let Some(password) = self.settings.password()? {
            config.password(password);
        }
        Ok(config)
    }

    pub(super) fn connect(&self, database: &str) -> Result<Client, Error> {
        let mut config = postgres::Config::from(self.config(database)?);
        config.notice_callback(|_| ());
        let client = self.settings.acting(|| config.connect(NoTls));
        let mut client = client.map_err(failed("connect to", database))?;
        client.batch_execute(SESSION).map_err(failed("prepare a session in", database))?;
        Ok(client)
    }

    /// One of the server's tools, told where the server is and how to be let in.
    pub(super) fn tool(&self, name: &str, database: &str) -> Result<Command, Error> {
        let Settings { host, port, user, .. } = &self.settings;
        let mut command = Command::new(name);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into()));
        command.envs([
            ("PGHOST", host.as_str()),
            ("PGUSER", user),
            ("PGDATABASE", database),
            ("PGAPPNAME", "resilient"),
            ("LC_ALL", "C.UTF-8"),
        ]);
        command.env("PGPORT", port.to_string()).env("PGCLIENTENCODING", "UTF8");
        match self.settings.password()? {
            None => command.stdin(Stdio::null()),
            Some(password) => {
                let escaped = password.replace('\\', "\\\\").replace(':', "\\:");
                let file = secret::file(&format!("*:*:*:*:{escaped}\n"));
                command.stdin(file.map_err(|error| Error::io("keep the password in memory for", Path::new(name), error))?);
                command.env("PGPASSFILE", secret::STDIN)
            }
        };
        if let Some((uid, gid)) = self.settings.system_user() {
            use std::os::unix::process::CommandExt;
            command.uid(uid).gid(gid).current_dir("/");
        }
        Ok(command)
    }
}

impl Inner {
    /// Gives a tool a file to read as its last argument, if need be by way of its standard input: another system user may not get to where the file lies.
    pub(super) fn give(&self, command: &mut Command, path: &Path) -> Result<(), Error> {
        let Some((uid, gid)) = self.settings.system_user() else {
            command.arg(path);
            return Ok(());
        };
        let failed = |error: std::io::Error| Error::io("hand over", path, error);
        let file = std::fs::File::open(path).map_err(failed)?;
        std::os::unix::fs::fchown(&file, Some(uid), Some(gid)).map_err(failed)?;
        // Where another user acts, no password is asked for, so this is free.
        command.stdin(file).arg(secret::STDIN);
        Ok(())
    }
}

/// Does something as another user, on a thread of its own.
fn as_user<T>(uid: u32, act: impl FnOnce() -> T + Send) -> T
where
    T: Send,
{
    let own = rustix::process::geteuid();
    std::thread::scope(|scope| {
        let acting = scope.spawn(move || {
            // A thread that cannot become that user connects as it is, and the server says what it thinks of that.
            let _ = rustix::thread::set_thread_res_uid(None, Uid::from_raw(uid), own);
            act()
        });
        acting.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[cfg(test)]
mod tests {
    use super::{ident, literal};

    #[test]
    fn names_and_texts_cannot_end_themselves() {
        assert_eq!(ident("a\"b"), "\"a\"\"b\"");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\'b"), "E'a\\\\''b'");
    }
}

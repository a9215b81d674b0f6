//! The account that an import makes for itself, and drops: it may do anything in the databases that come, and nothing elsewhere.

use std::io;

use super::super::client::Client;
use super::super::manifest::Server;
use super::Import;
use crate::Error;

/// How the accounts that an import makes are called.
const ACCOUNT: &str = "resilient_import_";

pub(in crate::mysql) fn temporary(user: &str) -> bool {
    user.starts_with(ACCOUNT)
}

/// An account that an import made for itself.
pub(super) struct Account {
    pub name: String,
    /// `'name'@'host'`, in the server's words.
    pub sql: String,
    pub password: String,
}

impl Import {
    /// Makes an account, known to the record before it exists.
    pub(super) fn account(&mut self, client: &mut Client, server: &Server) -> Result<Account, Error> {
        let failed = self.inner.failed("make an account for the import on");
        let chance = || -> io::Result<String> {
            let mut bytes = [0; 16];
            aws_lc_rs::rand::fill(&mut bytes).map_err(|_| io::Error::other("there is no randomness"))?;
            Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
        };
        let (name, password) = (chance().map_err(|error| failed(error.into()))?, chance().map_err(|error| failed(error.into()))?);
        // Some servers want signs of all kinds.
        let (name, password) = (format!("{ACCOUNT}{}", &name[..8]), format!("{password}-Aa1"));
        let seen = client.one("SELECT USER()").map_err(&failed)?.unwrap_or_default();
        let home = seen.rsplit_once('@').map_or("localhost", |(_, home)| home);
        let sql = Server::account(&name, home);
        self.record.accounts.push(sql.clone());
        self.save()?;
        client.run(server.create_user(&sql, &password)).map_err(&failed)?;
        client.run(format!("GRANT {} ON *.* TO {sql}", server.write_anyway())).map_err(&failed)?;
        // Needed when everything has changed places: that it cannot be had is to be known before.
        client.run(format!("GRANT {} ON *.* TO {sql}", server.set_user())).map_err(&failed)?;
        client.run(format!("REVOKE {} ON *.* FROM {sql}", server.set_user())).map_err(&failed)?;
        Ok(Account { name, sql, password })
    }
}

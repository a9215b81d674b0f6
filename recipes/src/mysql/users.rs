//! Accounts and what they may do, each by the server's own statements: all of them in `users.sql`, for a person, and in the manifest those that an import may make
//! (`import/accounts`), which are those that can do something in the databases that are exported.

use super::client::{Answer, Client};
use super::manifest::Server;
use super::names::{pattern, quoted};
use serde::{Deserialize, Serialize};

/// Accounts that the server makes for itself.
const OWN: [&str; 5] = ["mariadb.sys", "mysql.sys", "mysql.session", "mysql.infoschema", "PUBLIC"];

/// An account, as the server itself describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Account {
    pub user: String,
    /// None of a role.
    pub host: Option<String>,
    /// The statement that makes it.
    pub create: String,
    pub grants: Vec<String>,
}

impl Account {
    /// As statements have it.
    pub fn sql(&self) -> String {
        match &self.host {
            Some(host) => format!("{}@{}", quoted(&self.user), quoted(host)),
            None => quoted(&self.user),
        }
    }
}

/// Whether a right is one in this database, or in something of it.
pub(super) fn is_within(on: &str, database: &str) -> bool {
    [pattern(database), quoted(database)].iter().any(|name| on.starts_with(&format!("{name}.")))
}

/// The statements, and the accounts that can do something in one of these databases.
pub(super) fn read(client: &mut Client, server: &Server, databases: &[String]) -> Answer<(Vec<u8>, Vec<Account>)> {
    let roles = if server.mariadb { "is_role" } else { "'N'" };
    let found = client.texts(&format!("SELECT User, Host, {roles} FROM mysql.user ORDER BY User, Host"))?;
    let mut out = b"-- Accounts of the source. An import makes those that can do something in the databases it brings, and gives no rights elsewhere.\n".to_vec();
    let mut accounts = Vec::new();
    for row in found.iter().filter(|row| row.len() == 3) {
        let (user, host, role) = (&row[0], &row[1], row[2] == "Y");
        if OWN.contains(&user.as_str()) || super::import::temporary(user) {
            continue;
        }
        let mut account = Account { user: user.clone(), host: (!role).then(|| host.clone()), create: String::new(), grants: vec![] };
        let sql = account.sql();
        account.create = match role {
            true => format!("CREATE ROLE {sql}"),
            false => client.one(&format!("SHOW CREATE USER {sql}"))?.unwrap_or_default(),
        };
        account.grants = client.texts(&format!("SHOW GRANTS FOR {sql}"))?.into_iter().flatten().collect();
        let on = |grant: &String| grant.split_once(" ON ").map_or("", |(_, on)| on).to_owned();
        let inside = |grant: &String| databases.iter().any(|name| is_within(&on(grant), name));
        account.grants.retain(|grant| !on(grant).starts_with('`') || inside(grant));
        for statement in [&account.create].into_iter().chain(&account.grants) {
            out.extend(statement.bytes());
            out.extend(b";\n");
        }
        // A role that another account has may be what lets it in here.
        if role
            || account
                .grants
                .iter()
                .any(|grant| inside(grant) || grant.starts_with("GRANT ") && !grant.contains(" ON "))
        {
            accounts.push(account);
        }
    }
    Ok((out, accounts))
}

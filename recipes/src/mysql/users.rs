//! `users.sql`: accounts and what they may do, each by the server's own statements.
//!
//! An import does not run it: an account that may do everything must not arrive unasked. A person takes from it what the new host lacks; the import says which
//! accounts those are.

use super::client::{Answer, Client};
use super::manifest::Server;
use super::names::{pattern, quoted};

/// Accounts that the server makes for itself.
const OWN: [&str; 5] = ["mariadb.sys", "mysql.sys", "mysql.session", "mysql.infoschema", "PUBLIC"];

/// The statements, and of how many accounts. Only accounts that can do something in one of these databases, or everywhere.
pub(super) fn read(client: &mut Client, server: &Server, databases: &[String]) -> Answer<(Vec<u8>, u64)> {
    let roles = if server.mariadb { "is_role" } else { "'N'" };
    let found = client.texts(&format!("SELECT User, Host, {roles} FROM mysql.user ORDER BY User, Host"))?;
    let mut out = b"-- Accounts of the source. An import does not run this: take from it what this host lacks.\n".to_vec();
    let mut count = 0;
    for row in found.iter().filter(|row| row.len() == 3) {
        let (user, host, role) = (&row[0], &row[1], row[2] == "Y");
        if OWN.contains(&user.as_str()) || super::import::temporary(user) {
            continue;
        }
        let account = if role { quoted(user) } else { format!("{}@{}", quoted(user), quoted(host)) };
        let create = if role { Some(format!("CREATE ROLE {account}")) } else { client.one(&format!("SHOW CREATE USER {account}"))? };
        let grants: Vec<String> = client.texts(&format!("SHOW GRANTS FOR {account}"))?.into_iter().flatten().collect();
        let within = |grant: &String| {
            let on = grant.split_once(" ON ").map_or("", |(_, on)| on);
            !on.starts_with('`')
                || databases
                    .iter()
                    .any(|name| on.starts_with(&pattern(name)) || on.starts_with(&format!("{}.", quoted(name))))
        };
        for statement in create.iter().chain(grants.iter().filter(|grant| within(grant))) {
            out.extend(statement.bytes());
            out.extend(b";\n");
        }
        count += 1;
    }
    Ok((out, count))
}

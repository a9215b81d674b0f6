//! What the server is, and where MariaDB and MySQL differ: here and nowhere else.

use super::client::{Answer, Client};
use super::manifest::{Position, Server};
use super::names::{quoted, text};

/// How long others may keep what is to be locked.
const LOCK_WAIT_S: u32 = 60;

/// Tells which server this is, and makes the session one whose answers mean the same everywhere.
pub(super) fn look(client: &mut Client) -> Answer<Server> {
    let sql = "SELECT @@GLOBAL.sql_mode, @@GLOBAL.character_set_server, @@GLOBAL.collation_server, @@lower_case_table_names, @@GLOBAL.event_scheduler";
    let row = client.texts(sql)?.into_iter().next().unwrap_or_default();
    let text = |at: usize| row.get(at).cloned().unwrap_or_default();
    Ok(Server {
        mariadb: client.version.contains("MariaDB"),
        version: client.version.split('-').next().unwrap_or_default().to_owned(),
        sql_mode: text(0),
        character_set: text(1),
        collation: text(2),
        lower_case_table_names: text(3).parse().unwrap_or(0),
        event_scheduler: ["ON", "1"].contains(&text(4).as_str()),
    })
}

/// Modes under which rows are loaded as they were: nothing is refused that the source had, and no 0 becomes a next number.
pub(super) const LOAD_MODE: &str = "NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES,NO_ENGINE_SUBSTITUTION";

/// Settings that every session begins with.
pub(super) fn settle(client: &mut Client) -> Answer<()> {
    client.run("SET NAMES utf8mb4")?;
    client.run("SET sql_mode = 'NO_ENGINE_SUBSTITUTION', time_zone = '+00:00'")?;
    // Somebody may take long to receive what was read, and a session may have nothing to do meanwhile.
    client.run("SET net_write_timeout = 86400, net_read_timeout = 86400, wait_timeout = 604800")?;
    client.run(format!("SET lock_wait_timeout = {LOCK_WAIT_S}"))
}

impl Server {
    /// Locks in two steps. After the first, tables are neither made nor changed, and those without transactions not written to.
    pub fn lock_tables(&self, client: &mut Client) -> Answer<()> {
        match self.mariadb {
            true => ["BACKUP STAGE START", "BACKUP STAGE FLUSH", "BACKUP STAGE BLOCK_DDL"]
                .iter()
                .try_for_each(|sql| client.run(sql)),
            false => client.run("FLUSH TABLES WITH READ LOCK"),
        }
    }

    /// After the second, nothing is committed.
    pub fn lock_commits(&self, client: &mut Client) -> Answer<()> {
        match self.mariadb {
            true => client.run("BACKUP STAGE BLOCK_COMMIT"),
            false => Ok(()),
        }
    }

    pub fn unlock(&self, client: &mut Client) -> Answer<()> {
        client.run(if self.mariadb { "BACKUP STAGE END" } else { "UNLOCK TABLES" })
    }

    /// Where the log of changes stands.
    pub fn position(&self, client: &mut Client) -> Answer<Position> {
        let (status, gtid) = match self.mariadb {
            true => ("SHOW MASTER STATUS", "SELECT @@gtid_current_pos"),
            false if self.number() >= [8, 4] => ("SHOW BINARY LOG STATUS", "SELECT @@gtid_executed"),
            false => ("SHOW MASTER STATUS", "SELECT @@gtid_executed"),
        };
        let mut row = client.texts(status)?.into_iter().next().unwrap_or_default().into_iter();
        let (file, offset) = (row.next().unwrap_or_default(), row.next().unwrap_or_default());
        Ok(Position { file, offset, gtid: client.one(gtid)?.unwrap_or_default() })
    }

    /// Major and minor version.
    pub fn number(&self) -> [u32; 2] {
        let mut numbers = self.version.split('.').map(|number| number.parse().unwrap_or(0));
        [numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)]
    }

    /// A statement that makes an account which logs in by this password.
    pub fn create_user(&self, account: &str, password: &str) -> String {
        match self.mariadb {
            // The hash, so that the password is in no log of the server's.
            true => format!("CREATE USER {account} IDENTIFIED VIA mysql_native_password USING {}", text(&native_hash(password))),
            // It keeps passwords out of its logs, and its newer versions have no such hash.
            false => format!("CREATE USER {account} IDENTIFIED BY {}", text(password)),
        }
    }

    /// Privileges that one needs to write while the server is read-only.
    pub fn write_anyway(&self) -> &'static str {
        match self.mariadb {
            true if self.number() >= [10, 11] => "READ ONLY ADMIN",
            true => "SUPER",
            false => "CONNECTION_ADMIN",
        }
    }

    /// To make code in others' names.
    pub fn set_user(&self) -> &'static str {
        match self.mariadb {
            true if self.number() >= [10, 5] => "SET USER",
            true => "SUPER",
            false if self.number() >= [8, 2] => "SET_ANY_DEFINER",
            false => "SET_USER_ID",
        }
    }

    /// Constraints are not checked again: the rows passed them where they come from, or were let in there.
    pub fn settle_load(&self, client: &mut Client) -> Answer<()> {
        client.run(format!("SET sql_mode = '{LOAD_MODE}', foreign_key_checks = 0, unique_checks = 0, innodb_lock_wait_timeout = 3600"))?;
        if self.mariadb { client.run("SET check_constraint_checks = 0") } else { Ok(()) }
    }

    /// Makes the account that this database's session is to use; `home` is the host part by which it is known.
    pub fn account(name: &str, home: &str) -> String {
        format!("{}@{}", quoted(name), quoted(home))
    }
}

fn native_hash(password: &str) -> String {
    use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
    let once = digest(&SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes());
    let twice = digest(&SHA1_FOR_LEGACY_USE_ONLY, once.as_ref());
    std::iter::once("*".to_owned())
        .chain(twice.as_ref().iter().map(|byte| format!("{byte:02X}")))
        .collect()
}

//! Accounts of the source, made here with their rights in the databases that come, and no others: an account that may do everything must not arrive unasked.
//!
//! One that was here before is left as it is. Those that an import made are in the record, and follow the source: changed with it, and dropped when it has them no more. A
//! right is given by a statement put together here from parts that were recognised; what is not recognised is told and not given. That they can log in does no harm: the server is
//! read-only for whoever has no rights everywhere.

use super::super::client::{Answer, Client};
use super::super::manifest::Manifest;
use super::super::names::pattern;
use super::super::users::{Account, is_within};
use super::Import;
use crate::Error;
use crate::data::{Finding, Level};
use crate::told;

pub(super) fn make(import: &mut Import, client: &mut Client, manifest: &Manifest) -> Result<(), Error> {
    let failed = import.inner.failed("make accounts on");
    let wanted: Vec<(String, String, &Account)> = manifest
        .accounts
        .iter()
        .map(|account| {
            let text = format!("{}\n{}", account.create, account.grants.join("\n"));
            (account.sql(), format!("{:032x}", xxhash_rust::xxh3::xxh3_128(text.as_bytes())), account)
        })
        .collect();
    let gone = |(sql, hash): (&String, &String)| !wanted.iter().any(|(wanted, now, _)| wanted == sql && now == hash);
    let gone: Vec<String> = import.record.made.iter().filter(|made| gone(*made)).map(|(sql, _)| sql.clone()).collect();
    for sql in gone {
        let word = if sql.contains("`@`") { "USER" } else { "ROLE" };
        client.run(format!("DROP {word} IF EXISTS {sql}")).map_err(&failed)?;
        import.record.made.remove(&sql);
        import.save()?;
    }
    let mut fresh = Vec::new();
    for (sql, hash, account) in wanted {
        if import.record.made.contains_key(&sql) || is_here(client, account).map_err(&failed)? {
            continue;
        }
        // Written down first, so that one that a killed import made is known as ours.
        import.record.made.insert(sql.clone(), hash);
        import.save()?;
        match create(account)
            .map_or_else(|| Err(std::io::Error::other("its statement makes something else").into()), |text| client.run(text))
        {
            Ok(()) => fresh.push((sql, account)),
            Err(error) => {
                import.record.made.remove(&sql);
                import.save()?;
                tell(import, format!("the account {sql} was not made: {}", told(&error)));
            }
        }
    }
    let roles: Vec<String> = fresh.iter().filter(|(_, account)| account.host.is_none()).map(|(sql, _)| sql.clone()).collect();
    for (sql, account) in &fresh {
        for grant in &account.grants {
            match given(grant, sql, manifest, &roles) {
                Given::Nothing => {}
                Given::Right(text) => {
                    if let Err(error) = client.run(&text) {
                        tell(import, format!("the account {sql} was not given a right: {}", told(&error)));
                    }
                }
                Given::Elsewhere => {
                    tell(import, format!("the account {sql} has rights elsewhere at the source, which it is not given here: {grant:.60}"))
                }
            }
        }
    }
    Ok(())
}

fn tell(import: &mut Import, what: String) {
    import
        .findings
        .push(Finding::new(Level::Warning, what).hint("users.sql in the snapshot has the statements; run those that you want"));
}

fn is_here(client: &mut Client, account: &Account) -> Answer<bool> {
    let rows = client.texts("SELECT User, Host FROM mysql.user")?;
    let host = account.host.as_deref().unwrap_or_default();
    Ok(rows.iter().any(|row| row[0] == account.user && row[1] == host))
}

/// The statement that makes it and gives it nothing: a CREATE cannot give rights.
fn create(account: &Account) -> Option<&str> {
    let word = if account.host.is_some() { "USER" } else { "ROLE" };
    let rest = account.create.strip_prefix(&format!("CREATE {word} {}", account.sql()))?;
    (rest.is_empty() || rest.starts_with(' ')).then_some(&account.create)
}

#[derive(Debug, PartialEq, Eq)]
enum Given {
    /// It says nothing but that the account is there.
    Nothing,
    Right(String),
    Elsewhere,
}

/// What of a grant is given here: rights within the databases that come, and roles that came.
fn given(grant: &str, sql: &str, manifest: &Manifest, roles: &[String]) -> Given {
    if let Some(role) = roles.iter().find(|role| grant == format!("SET DEFAULT ROLE {role} FOR {sql}")) {
        return Given::Right(format!("SET DEFAULT ROLE {role} FOR {sql}"));
    }
    let Some(rest) = grant.strip_prefix("GRANT ") else { return Given::Elsewhere };
    if rest.starts_with("USAGE ON *.* TO ") {
        return Given::Nothing;
    }
    let ends = |end: &str| end == format!(" TO {sql}") || end == format!(" TO {sql} WITH GRANT OPTION");
    if let Some((role, end)) = roles.iter().find_map(|role| Some((role, rest.strip_prefix(role.as_str())?))) {
        return if ends(end) { Given::Right(format!("GRANT {role} TO {sql}")) } else { Given::Elsewhere };
    }
    let Some((rights, on)) = rest.split_once(" ON ") else { return Given::Elsewhere };
    let plain = |c: char| c.is_ascii_alphanumeric() || " ,()_`$".contains(c);
    let within = manifest.databases.iter().find(|database| is_within(on, &database.name));
    let Some(object) = on.strip_suffix(" WITH GRANT OPTION").unwrap_or(on).strip_suffix(&format!(" TO {sql}")) else {
        return Given::Elsewhere;
    };
    let named = object.split('.').count() == 2 && !object.contains([' ', ';']);
    match within {
        // Written carelessly, a name is a pattern that others fit as well.
        Some(database) if object.ends_with(".*") && rights.chars().all(plain) => {
            Given::Right(format!("GRANT {rights} ON {}.* TO {sql}", pattern(&database.name)))
        }
        Some(_) if named && rights.chars().all(plain) => Given::Right(format!("GRANT {rights} ON {object} TO {sql}")),
        _ => Given::Elsewhere,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let text = r#"{"format":1,"tool":"","server":{"mariadb":true,"version":"","sql_mode":"","character_set":"","collation":"","lower_case_table_names":0,"event_scheduler":false},
            "position":{"file":"","offset":"","gtid":""},"databases":[{"name":"my_app","charset":"","collation":"","schema":{"count":0,"hash":"0"},"tables":[],"events":[]}]}"#;
        Manifest::read(text.as_bytes()).unwrap()
    }

    #[test]
    fn only_rights_within_what_comes_are_given() {
        let (manifest, sql, roles) = (manifest(), "`app`@`%`", vec!["`team`".to_owned()]);
        let of = |grant: &str| given(grant, sql, &manifest, &roles);
        let right = |text: &str| Given::Right(text.to_owned());
        assert_eq!(of("GRANT USAGE ON *.* TO `app`@`%` IDENTIFIED BY PASSWORD '*00'"), Given::Nothing);
        assert_eq!(of("GRANT SELECT, INSERT ON `my\\_app`.* TO `app`@`%`"), right("GRANT SELECT, INSERT ON `my\\_app`.* TO `app`@`%`"));
        assert_eq!(of("GRANT SELECT ON `my_app`.* TO `app`@`%`"), right("GRANT SELECT ON `my\\_app`.* TO `app`@`%`"));
        assert_eq!(
            of("GRANT SELECT (`a`) ON `my_app`.`t` TO `app`@`%` WITH GRANT OPTION"),
            right("GRANT SELECT (`a`) ON `my_app`.`t` TO `app`@`%`")
        );
        assert_eq!(of("GRANT `team` TO `app`@`%`"), right("GRANT `team` TO `app`@`%`"));
        let refused = [
            "GRANT ALL PRIVILEGES ON *.* TO `app`@`%`",
            "GRANT SELECT ON `other`.* TO `app`@`%`",
            "GRANT SELECT ON `my_app`.* TO `root`@`localhost` IDENTIFIED BY 'x'",
            "GRANT SELECT ON `my_app`.* TO `app`@`%`, `root`@`localhost` IDENTIFIED BY 'x'",
            "GRANT PROXY ON ''@'%' TO 'app'@'%'",
            "GRANT `admin` TO `app`@`%`",
            "DROP DATABASE x",
        ];
        for grant in refused {
            assert_eq!(of(grant), Given::Elsewhere, "{grant}");
        }
    }
}

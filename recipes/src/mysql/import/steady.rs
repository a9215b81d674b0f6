//! Tables that are what they would become stay where they are, and are not loaded.
//!
//! What the last import made of each table is in the record. One may be the same when its rows are, by count and hash, and the statement that makes it. Then it is looked at in place: the
//! server's own statement, and every row; so one that somebody wrote to or altered is loaded after all. Foreign keys do not cross: tables that refer to each other stay all or come all, because a table that
//! changes its place takes those that refer to it along.

use std::collections::{BTreeMap, BTreeSet};

use super::super::client::Client;
use super::super::manifest::{Consistency, Database, Manifest, Table};
use super::super::names::{of, text};
use super::super::record::Held;
use super::super::schema::Object;
use super::super::{Verify, catalog};
use super::{Import, load};
use crate::Error;

/// What is to be remembered of a database that was imported.
pub(super) fn held(database: &Database, schema: &[Object]) -> Vec<Held> {
    let each = |table: &Table| Some(Held { table: table.clone(), statement: statement(schema, &table.name)? });
    database.tables.iter().filter_map(each).collect()
}

fn statement(schema: &[Object], name: &str) -> Option<String> {
    let object = schema.iter().find(|object| object.kind.holds_rows() && object.name == name)?;
    let under = format!("{:?}", object.under);
    Some(format!("{:032x}", xxhash_rust::xxh3::xxh3_128(&[under.as_bytes(), &object.statement].concat())))
}

/// By database, the tables that stay.
pub(super) fn find(import: &Import, client: &mut Client, manifest: &Manifest) -> Result<BTreeMap<String, Vec<String>>, Error> {
    let mut all = BTreeMap::new();
    for database in &manifest.databases {
        let Some(held) = import.record.held.get(&database.name) else { continue };
        let schema = import.schema(database)?;
        let failed = import.inner.failed("look at");
        let Some(live) = catalog::read(client, &database.name).map_err(&failed)? else { continue };
        let same_here = |table: &Table| {
            schema
                .iter()
                .any(|object| object.name == table.name && object.kind.holds_rows() && live.objects.contains(object))
        };
        let mut steady = BTreeSet::new();
        for table in database.tables.iter().filter(|table| is_held(held, table, &schema) && same_here(table)) {
            // All of it, however much of what is loaded is read back: days may have passed since it was.
            if load::found(&import.inner, client, &of(&database.name, &table.name), table, Verify::Full)? == table.rows {
                steady.insert(table.name.clone());
            }
        }
        let mut links = references(&schema);
        let sql = format!(
            "SELECT TABLE_NAME, REFERENCED_TABLE_NAME FROM information_schema.REFERENTIAL_CONSTRAINTS WHERE CONSTRAINT_SCHEMA = {}",
            text(&database.name)
        );
        links.extend(client.texts(&sql).map_err(&failed)?.into_iter().map(|row| (row[0].clone(), row[1].clone())));
        keep_together(&mut steady, &links);
        all.insert(database.name.clone(), steady.into_iter().collect());
    }
    Ok(all)
}

fn is_held(held: &[Held], table: &Table, schema: &[Object]) -> bool {
    let same = |held: &Held| {
        let (was, now) = (&held.table, table);
        was.name == now.name && was.rows == now.rows && was.columns == now.columns && was.engine == now.engine
    };
    // A sequence has no rows that tell, and what was locked or not is another matter.
    table.next.is_none()
        && table.consistency == Consistency::Snapshot
        && held
            .iter()
            .any(|held| same(held) && Some(&held.statement) == statement(schema, &table.name).as_ref())
}

/// Takes out all that refer to one that does not stay, or are referred to by it.
fn keep_together(steady: &mut BTreeSet<String>, links: &[(String, String)]) {
    loop {
        let before = steady.len();
        for (one, other) in links.iter().filter(|(one, other)| one != other) {
            if steady.contains(one) != steady.contains(other) {
                steady.remove(one);
                steady.remove(other);
            }
        }
        if steady.len() == before {
            return;
        }
    }
}

/// Which tables refer to which, as their statements say.
fn references(schema: &[Object]) -> Vec<(String, String)> {
    let mut links = Vec::new();
    for object in schema.iter().filter(|object| object.kind.holds_rows()) {
        let statement = String::from_utf8_lossy(&object.statement);
        for after in statement.split(" REFERENCES `").skip(1) {
            let mut name = String::new();
            let mut rest = after;
            while let Some((part, more)) = rest.split_once('`') {
                name.push_str(part);
                match more.strip_prefix('`') {
                    Some(more) => (name, rest) = (name + "`", more),
                    None => break,
                }
            }
            links.push((object.name.clone(), name));
        }
    }
    links
}

#[cfg(test)]
mod tests {
    use super::super::super::schema::{Kind, Under};
    use super::*;

    #[test]
    fn tables_that_refer_to_each_other_stay_or_come_together() {
        let pair = |one: &str, other: &str| (one.to_owned(), other.to_owned());
        let mut steady: BTreeSet<String> = ["a", "b", "c", "d"].map(str::to_owned).into();
        keep_together(&mut steady, &[pair("a", "b"), pair("b", "x"), pair("c", "d"), pair("d", "d")]);
        assert_eq!(steady.into_iter().collect::<Vec<_>>(), ["c", "d"]);
    }

    #[test]
    fn references_are_found_whatever_a_table_is_called() {
        let statement =
            b"CREATE TABLE `t` (`a` int, FOREIGN KEY (`a`) REFERENCES `odd``name` (`id`), FOREIGN KEY (`b`) REFERENCES `p` (`id`))"
                .to_vec();
        let object = Object { kind: Kind::Table, name: "t".into(), under: Under::default(), statement };
        assert_eq!(references(&[object]), [("t".into(), "odd`name".into()), ("t".into(), "p".into())]);
    }
}

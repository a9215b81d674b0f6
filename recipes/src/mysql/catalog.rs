//! What is in a database: tables with their columns and keys, and the statements that make everything.

use super::client::{Answer, Client, Fault};
use super::names::{quoted, text};
use super::schema::{Kind, Object, Under};
use super::text::Column;

pub(super) struct Database {
    pub name: String,
    pub charset: String,
    pub collation: String,
    /// Sorted by their files' names.
    pub tables: Vec<Table>,
    /// Tables first, then code in an order in which it can be made; views may need several rounds.
    pub objects: Vec<Object>,
    pub events: Vec<Event>,
}

pub(super) struct Table {
    pub name: String,
    pub kind: Kind,
    pub engine: String,
    pub bytes: u64,
    pub columns: Vec<Column>,
    pub primary: Vec<Key>,
}

/// A column of the primary key.
pub(super) struct Key {
    pub column: String,
    pub integer: bool,
    /// Only a beginning of the column is in the key.
    pub part: bool,
}

/// An event that runs at its source.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Event {
    pub name: String,
    pub enabled: bool,
}

/// The names of all databases that may be exported.
pub(super) fn databases(client: &mut Client) -> Answer<Vec<String>> {
    let found = client.texts("SELECT SCHEMA_NAME FROM information_schema.SCHEMATA")?;
    let mut names: Vec<String> = found.into_iter().flatten().filter(|name| super::names::fit(name)).collect();
    names.sort_by_key(|name| crate::escape::name(name));
    Ok(names)
}

/// Rows of a table of the information schema that are about one database: it compares names as if `A` were `a`.
fn about(client: &mut Client, columns: &str, from: &str, schema: &str, database: &str, order: &str) -> Answer<Vec<Vec<String>>> {
    let sql = format!("SELECT {schema}, {columns} FROM information_schema.{from} WHERE {schema} = {} {order}", text(database));
    let rows = client.texts(&sql)?.into_iter().filter(|row| row[0] == database);
    Ok(rows.map(|mut row| row.split_off(1)).collect())
}

/// Reads all about a database. `None` when there is none of that name.
pub(super) fn read(client: &mut Client, name: &str) -> Answer<Option<Database>> {
    let found = about(client, "DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME", "SCHEMATA", "SCHEMA_NAME", name, "")?;
    let Some([charset, collation]) = found.into_iter().next().and_then(|row| <[String; 2]>::try_from(row).ok()) else {
        return Ok(None);
    };
    client.run(format!("USE {}", quoted(name)))?;
    let (tables, views) = tables(client, name)?;
    let mut objects = Vec::new();
    // What comes out of SHOW CREATE for code is in the character set of whoever made it.
    client.run("SET character_set_results = binary")?;
    let made = code(client, name, &tables, &views, &mut objects);
    client.run("SET NAMES utf8mb4")?;
    made?;
    let events = about(client, "EVENT_NAME, STATUS", "EVENTS", "EVENT_SCHEMA", name, "ORDER BY EVENT_NAME")?;
    let events = events.into_iter().map(|row| Event { name: row[0].clone(), enabled: row[1] == "ENABLED" }).collect();
    Ok(Some(Database { name: name.into(), charset, collation, tables, objects, events }))
}

fn tables(client: &mut Client, name: &str) -> Answer<(Vec<Table>, Vec<String>)> {
    let (mut tables, mut views) = (Vec::new(), Vec::new());
    let columns = "TABLE_NAME, TABLE_TYPE, ENGINE, DATA_LENGTH";
    for row in about(client, columns, "TABLES", "TABLE_SCHEMA", name, "")? {
        let kind = match row[1].as_str() {
            "VIEW" => {
                views.push(row[0].clone());
                continue;
            }
            "SEQUENCE" => Kind::Sequence,
            _ => Kind::Table,
        };
        let bytes = row[3].parse().unwrap_or(0);
        let (name, engine) = (row[0].clone(), row[2].clone());
        tables.push(Table { name, kind, engine, bytes, columns: Vec::new(), primary: Vec::new() });
    }
    tables.sort_by_key(|table| crate::escape::name(&table.name));
    views.sort();
    let at: std::collections::HashMap<String, usize> = tables.iter().enumerate().map(|(at, table)| (table.name.clone(), at)).collect();
    let columns = "TABLE_NAME, COLUMN_NAME, DATA_TYPE, GENERATION_EXPRESSION";
    for row in about(client, columns, "COLUMNS", "TABLE_SCHEMA", name, "ORDER BY TABLE_NAME, ORDINAL_POSITION")? {
        if let (Some(at), true) = (at.get(&row[0]), row[3].is_empty()) {
            tables[*at].columns.push(Column { name: row[1].clone(), kind: row[2].to_lowercase() });
        }
    }
    let order = "AND INDEX_NAME = 'PRIMARY' ORDER BY TABLE_NAME, SEQ_IN_INDEX";
    for row in about(client, "TABLE_NAME, COLUMN_NAME, SUB_PART", "STATISTICS", "TABLE_SCHEMA", name, order)? {
        let Some(at) = at.get(&row[0]) else { continue };
        let integers = ["tinyint", "smallint", "mediumint", "int", "bigint"];
        let integer = tables[*at]
            .columns
            .iter()
            .any(|column| column.name == row[1] && integers.contains(&column.kind.as_str()));
        tables[*at].primary.push(Key { column: row[1].clone(), integer, part: !row[2].is_empty() });
    }
    Ok((tables, views))
}

/// Where SHOW CREATE has what.
struct Columns {
    statement: usize,
    sql_mode: Option<usize>,
    time_zone: Option<usize>,
    client: Option<usize>,
}

fn columns(kind: Kind) -> Columns {
    match kind {
        Kind::Table | Kind::Sequence => Columns { statement: 1, sql_mode: None, time_zone: None, client: None },
        Kind::View => Columns { statement: 1, sql_mode: None, time_zone: None, client: Some(2) },
        Kind::Event => Columns { statement: 3, sql_mode: Some(1), time_zone: Some(2), client: Some(4) },
        _ => Columns { statement: 2, sql_mode: Some(1), time_zone: None, client: Some(3) },
    }
}

fn object(client: &mut Client, kind: Kind, name: &str) -> Answer<Object> {
    // Names in the order of bytes, and no keyword that a mode turns into another.
    let mut rows = client.rows(&format!("SHOW CREATE {} {}", kind.word(), quoted(name)))?;
    let mut row = rows.pop().unwrap_or_default();
    let Columns { statement, sql_mode, time_zone, client } = columns(kind);
    let text = |at: Option<usize>| {
        let value = at.and_then(|at| row.get(at)?.as_deref());
        value.map_or_else(String::new, |value| String::from_utf8_lossy(value).into_owned())
    };
    let under = Under {
        sql_mode: text(sql_mode),
        client: text(client),
        collation: text(client.map(|at| at + 1)),
        time_zone: text(time_zone),
    };
    let hidden = || Fault::Refused { code: 0, message: format!("the server does not show how {} {name:?} is made", kind.word()) };
    let statement = row.get_mut(statement).and_then(Option::take).ok_or_else(hidden)?;
    Ok(Object { kind, name: name.into(), under, statement })
}

fn code(client: &mut Client, database: &str, tables: &[Table], views: &[String], objects: &mut Vec<Object>) -> Answer<()> {
    for kind in [Kind::Sequence, Kind::Table] {
        for table in tables.iter().filter(|table| table.kind == kind) {
            let mut made = object(client, kind, &table.name)?;
            // Such names come in the character set of the results, which is none.
            made.under.client = "utf8mb4".into();
            objects.push(made);
        }
    }
    let routines = about(client, "ROUTINE_TYPE, ROUTINE_NAME", "ROUTINES", "ROUTINE_SCHEMA", database, "ORDER BY ROUTINE_NAME")?;
    for kind in [Kind::Function, Kind::Procedure, Kind::Package, Kind::PackageBody] {
        for row in routines.iter().filter(|row| row[0] == kind.word()) {
            objects.push(object(client, kind, &row[1])?);
        }
    }
    for view in views {
        objects.push(object(client, Kind::View, view)?);
    }
    // Triggers of the same moment run in the order in which they were made.
    let order = "ORDER BY EVENT_OBJECT_TABLE, ACTION_TIMING, EVENT_MANIPULATION, ACTION_ORDER";
    for row in about(client, "TRIGGER_NAME", "TRIGGERS", "TRIGGER_SCHEMA", database, order)? {
        objects.push(object(client, Kind::Trigger, &row[0])?);
    }
    for row in about(client, "EVENT_NAME", "EVENTS", "EVENT_SCHEMA", database, "ORDER BY EVENT_NAME")? {
        objects.push(object(client, Kind::Event, &row[0])?);
    }
    Ok(())
}

//! `schema.sql`: what a database is made of besides its rows, each thing by one statement of the server's own (SHOW CREATE).
//!
//! A person may give the file to a client as it is. An import does not: a line of JSON before each statement says what it is and how many bytes it has, all else
//! must be what this module writes there, and the statements are then run one by one, by an account that can make nothing elsewhere. So a file that lies can
//! at most say something wrong about its own database.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    Sequence,
    Table,
    Function,
    Procedure,
    Package,
    PackageBody,
    View,
    Trigger,
    Event,
}

impl Kind {
    pub fn word(self) -> &'static str {
        match self {
            Kind::Sequence => "SEQUENCE",
            Kind::Table => "TABLE",
            Kind::Function => "FUNCTION",
            Kind::Procedure => "PROCEDURE",
            Kind::Package => "PACKAGE",
            Kind::PackageBody => "PACKAGE BODY",
            Kind::View => "VIEW",
            Kind::Trigger => "TRIGGER",
            Kind::Event => "EVENT",
        }
    }

    /// Whether it holds rows; the others are code, which is made in the live database itself.
    pub fn holds_rows(self) -> bool {
        matches!(self, Kind::Sequence | Kind::Table)
    }
}

/// What a statement must run under to mean the same again. Empty where it does not matter.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Under {
    pub sql_mode: String,
    pub client: String,
    pub collation: String,
    pub time_zone: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Object {
    pub kind: Kind,
    pub name: String,
    pub under: Under,
    /// In the character set of `under.client`.
    pub statement: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    kind: Kind,
    name: String,
    bytes: usize,
    under: Under,
}

const BEGIN: &str =
    "-- The schema of one database. The lines that begin with `-- {` are read by the import.\nSET foreign_key_checks = 0;\n";
const MARK: &str = "-- ";
/// No SHOW CREATE ends with it.
const END: &str = "\n;;\nDELIMITER ;\n";

fn before(header: &Header) -> String {
    use super::names::text;
    let mut out = format!("{MARK}{}\n", serde_json::to_string(header).unwrap_or_default());
    let Under { sql_mode, client, collation, time_zone } = &header.under;
    // A name that ends the comment cannot be written there: JSON has newlines as `\n`.
    out.push_str(&format!("SET sql_mode = {};\n", text(sql_mode).replace('\n', " ")));
    for (name, value) in [("character_set_client", client), ("collation_connection", collation), ("time_zone", time_zone)] {
        if !value.is_empty() {
            out.push_str(&format!("SET {name} = {};\n", text(value).replace('\n', " ")));
        }
    }
    out.push_str("DELIMITER ;;\n");
    out
}

pub(super) fn write(objects: &[Object]) -> Vec<u8> {
    let mut out = BEGIN.as_bytes().to_vec();
    for Object { kind, name, under, statement } in objects {
        let header = Header { kind: *kind, name: name.clone(), bytes: statement.len(), under: under.clone() };
        out.extend(before(&header).bytes());
        out.extend(statement);
        out.extend(END.bytes());
    }
    out
}

/// Reads what `write` wrote, and nothing else.
pub(super) fn read(bytes: &[u8]) -> Result<Vec<Object>, String> {
    let mut rest = bytes.strip_prefix(BEGIN.as_bytes()).ok_or("it does not begin like one")?;
    let mut objects: Vec<Object> = Vec::new();
    while !rest.is_empty() {
        let at = || format!("what follows thing {}", objects.len());
        let line = rest
            .strip_prefix(MARK.as_bytes())
            .and_then(|rest| rest.split(|byte| *byte == b'\n').next())
            .ok_or_else(at)?;
        let header: Header = serde_json::from_slice(line).map_err(|error| format!("{}: {error}", at()))?;
        rest = rest.strip_prefix(before(&header).as_bytes()).ok_or_else(at)?;
        let (statement, after) = rest.split_at_checked(header.bytes).ok_or_else(at)?;
        rest = after.strip_prefix(END.as_bytes()).ok_or_else(at)?;
        // Whatever comes next is done by a name in an error, or by the account's rights; this says early that a file is not ours.
        if !statement.get(..7).is_some_and(|begin| begin.eq_ignore_ascii_case(b"CREATE ")) {
            return Err(format!("{} {:?} is not made by its statement", header.kind.word(), header.name));
        }
        objects.push(Object { kind: header.kind, name: header.name, under: header.under, statement: statement.to_vec() });
    }
    Ok(objects)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(name: &str, statement: &[u8]) -> Object {
        let under = Under { sql_mode: "ANSI".into(), time_zone: "SYSTEM".into(), ..Under::default() };
        Object { kind: Kind::Event, name: name.into(), under, statement: statement.to_vec() }
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        let objects = vec![object("a\n-- {b", b"CREATE x ;;\nDELIMITER ;\n-- {}"), object("'", b"create \xff")];
        let bytes = write(&objects);
        assert_eq!(read(&bytes).unwrap(), objects);
        assert_eq!(read(&write(&[])).unwrap(), []);
        assert!(read(&[&bytes[..], b"USE other;\n"].concat()).is_err());
        assert!(read(&bytes[..bytes.len() - 1]).is_err());
        assert!(read(&write(&[object("x", b"DROP DATABASE x")])).is_err());
        let within = String::from_utf8_lossy(&bytes).replacen("SET time_zone = 'SYSTEM'", "DROP DATABASE other", 1);
        assert!(read(within.as_bytes()).is_err());
    }
}

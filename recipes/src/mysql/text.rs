//! Rows as text: one line each, values apart by tabs, `\N` for NULL; backslash, tab, newline and NUL after a backslash. LOAD DATA reads just that.
//!
//! Values are the column's own bytes, in its own character set: nothing is converted on the way out or in, so nothing can be lost, blobs included. Only where
//! the server's own text would lose something, or LOAD DATA would take bytes for something else, does a column have expressions of its own.

use serde::{Deserialize, Serialize};

use super::names::quoted;
use super::wire::Fields;

/// A column whose values are exported: generated ones are not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Column {
    pub name: String,
    /// The server's DATA_TYPE.
    pub kind: String,
}

impl Column {
    fn select(&self) -> String {
        let name = quoted(&self.name);
        match self.kind.as_str() {
            // As text it has six digits. As a double it has all.
            "float" => format!("CAST({name} AS DOUBLE)"),
            "uuid" | "inet4" | "inet6" => format!("CAST({name} AS CHAR)"),
            _ => name,
        }
    }

    /// Bytes given to these types are taken for their inner form.
    fn converted(&self) -> bool {
        ["uuid", "inet4", "inet6", "json"].contains(&self.kind.as_str())
    }
}

/// What a table's rows are read by; `tail` is what follows the name.
pub(super) fn select(columns: &[Column], table: &str, tail: &str) -> String {
    let list: Vec<String> = columns.iter().map(Column::select).collect();
    let list = if list.is_empty() { "NULL".to_owned() } else { list.join(", ") };
    format!("SELECT {list} FROM {table}{tail}")
}

/// What they are loaded by.
pub(super) fn load(columns: &[Column], table: &str) -> String {
    let mut set = Vec::new();
    let list: Vec<String> = columns
        .iter()
        .enumerate()
        .map(|(at, column)| {
            if !column.converted() {
                return quoted(&column.name);
            }
            set.push(format!("{} = CONVERT(@v{at} USING utf8mb4)", quoted(&column.name)));
            format!("@v{at}")
        })
        .collect();
    let list = if list.is_empty() { "@v".to_owned() } else { list.join(", ") };
    let set = if set.is_empty() { String::new() } else { format!(" SET {}", set.join(", ")) };
    format!(
        "LOAD DATA LOCAL INFILE 'rows' INTO TABLE {table} CHARACTER SET binary \
         FIELDS TERMINATED BY '\\t' ESCAPED BY '\\\\' LINES TERMINATED BY '\\n' ({list}){set}"
    )
}

/// Adds a row, as it lies in a packet, to the text.
pub(super) fn push_row(packet: &[u8], out: &mut Vec<u8>) -> std::io::Result<()> {
    let mut fields = Fields(packet);
    let mut first = true;
    while !fields.0.is_empty() {
        if !first {
            out.push(b'\t');
        }
        first = false;
        match fields.value()? {
            None => out.extend_from_slice(b"\\N"),
            Some(value) => push_value(value, out),
        }
    }
    out.push(b'\n');
    Ok(())
}

/// A few bytes go one by one; for many, searching what is to be escaped is faster.
const SHORT_BYTES: usize = 32;

fn push_value(mut value: &[u8], out: &mut Vec<u8>) {
    while value.len() > SHORT_BYTES {
        let at = memchr::memchr3(b'\t', b'\n', b'\\', value).unwrap_or(value.len());
        let at = memchr::memchr(0, &value[..at]).unwrap_or(at);
        out.extend_from_slice(&value[..at]);
        let Some(special) = value.get(at) else { return };
        push_escaped(*special, out);
        value = &value[at + 1..];
    }
    value.iter().for_each(|byte| push_escaped(*byte, out));
}

fn push_escaped(byte: u8, out: &mut Vec<u8>) {
    match byte {
        b'\\' => out.extend_from_slice(b"\\\\"),
        b'\t' => out.extend_from_slice(b"\\t"),
        b'\n' => out.extend_from_slice(b"\\n"),
        0 => out.extend_from_slice(b"\\0"),
        byte => out.push(byte),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn values_short_and_long_are_escaped_alike() {
        for filler in ["", &"x".repeat(100)] {
            let value = format!("{filler}a\tb\nc\\d\0e{filler}");
            let mut packet = vec![0xfb, value.len() as u8];
            packet.extend(value.bytes());
            let mut out = Vec::new();
            super::push_row(&packet, &mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), format!("\\N\t{filler}a\\tb\\nc\\\\d\\0e{filler}\n"));
        }
    }
}

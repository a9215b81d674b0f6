//! Tables whose columns stand under their heads.
//!
//! Numbers stand to the right. A table is printed whole at the end, because widths are known only then; what may have millions
//! of lines (`ls`) is not a table. Cells from outside pass through `human::text` before.

use std::fmt;

/// Rows under heads.
#[derive(Debug, Clone)]
pub struct Table {
    heads: Vec<&'static str>,
    right: Vec<bool>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A head that begins with `>` has its column to the right.
    pub fn new(heads: &[&'static str]) -> Table {
        let right = heads.iter().map(|head| head.starts_with('>')).collect();
        Table { heads: heads.iter().map(|head| head.trim_start_matches('>')).collect(), right, rows: Vec::new() }
    }

    /// Adds a row; missing cells are empty, and cells too many are dropped.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.cells(Vec::from(cells));
    }

    /// The same, of a number of cells that is known only now.
    pub fn cells(&mut self, mut cells: Vec<String>) {
        cells.resize(self.heads.len(), String::new());
        self.rows.push(cells);
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |text: &str| text.chars().count();
        let mut widths: Vec<usize> = self.heads.iter().map(|head| width(head)).collect();
        for row in &self.rows {
            for (cell, most) in row.iter().zip(&mut widths) {
                *most = width(cell).max(*most);
            }
        }
        let heads: Vec<String> = self.heads.iter().map(|head| (*head).to_owned()).collect();
        for row in std::iter::once(&heads).chain(&self.rows) {
            let mut line = String::new();
            for ((cell, width), right) in row.iter().zip(&widths).zip(&self.right) {
                let cell = if *right { format!("{cell:>width$}") } else { format!("{cell:<width$}") };
                line.push_str(&cell);
                line.push_str("  ");
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&["SNAPSHOT", "TIME", ">SIZE", "NODE"]);
        table.row(["5f3a9c01".into(), "2026-11-01 13:00".into(), "3.6 MB".into(), "web1".into()]);
        table.row(["77aa".into(), "éé".into(), "1.24 GB".into()]);
        insta::assert_snapshot!(table.to_string(), @r#"
        SNAPSHOT  TIME                 SIZE  NODE
        5f3a9c01  2026-11-01 13:00   3.6 MB  web1
        77aa      éé                1.24 GB
        "#);
    }
}

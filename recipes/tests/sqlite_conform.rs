//! The `sqlite` recipe passes the suite of `Data`.

use std::path::Path;

use recipes::data::conform::{Subject, suite};
use recipes::{Data, Sqlite, sqlite};
use rusqlite::Connection;

struct Database {
    pragmas: &'static str,
}

impl Subject for Database {
    fn data(&self, place: &Path) -> Box<dyn Data> {
        Box::new(Sqlite::new(sqlite::Settings::new(place.with_extension("db"), place.with_extension("scratch"))).unwrap())
    }

    fn fill(&self, place: &Path, content: u32) {
        let connection = Connection::open(place.with_extension("db")).unwrap();
        connection
            .execute_batch(&format!("{} DROP TABLE IF EXISTS one; DROP TABLE IF EXISTS two;", self.pragmas))
            .unwrap();
        if content > 0 {
            let name = ["one", "two"][content as usize - 1];
            let rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) SELECT i, hex(i * 7919) FROM n";
            connection
                .execute_batch(&format!("CREATE TABLE {name} AS {rows}; PRAGMA user_version = {content};"))
                .unwrap();
        }
    }

    fn read(&self, place: &Path) -> Vec<u8> {
        let connection = Connection::open(place.with_extension("db")).unwrap();
        let mut all = String::new();
        for name in ["one", "two"] {
            let Ok(mut rows) = connection.prepare(&format!("SELECT * FROM {name}")) else { continue };
            let mut rows = rows.query([]).unwrap();
            while let Some(row) = rows.next().unwrap() {
                all += &format!("{name} {row:?}\n");
            }
        }
        all.into_bytes()
    }

    fn names(&self, _: &Path, _: &[&[u8]]) -> bool {
        false
    }
}

#[test]
fn a_database_conforms() {
    let scratch = tempfile::tempdir().unwrap();
    suite(&Database { pragmas: "PRAGMA journal_mode = wal;" }, scratch.path());
}

#[test]
fn a_database_of_large_pages_conforms() {
    let scratch = tempfile::tempdir().unwrap();
    suite(&Database { pragmas: "PRAGMA page_size = 65536; PRAGMA journal_mode = wal;" }, scratch.path());
}

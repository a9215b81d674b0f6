//! The `mysql` recipe passes the suite of `Data`, on real servers.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::server::Server;
use recipes::data::conform::{Subject, suite};
use recipes::{Data, Mysql, mysql};

/// Each place is a server of its own, as hosts have it, with the same database.
#[derive(Default)]
struct Servers(Mutex<HashMap<PathBuf, Arc<Server>>>);

impl Servers {
    fn at(&self, place: &Path) -> Arc<Server> {
        self.0
            .lock()
            .unwrap()
            .entry(place.to_owned())
            .or_insert_with(|| Arc::new(Server::start(&[])))
            .clone()
    }
}

impl Subject for Servers {
    fn data(&self, place: &Path) -> Box<dyn Data> {
        let server = self.at(place);
        let mut settings = mysql::Settings::new(server.folder().join("scratch"));
        settings.address = mysql::Address::Socket(server.socket());
        settings.databases = vec!["app".into()];
        Box::new(Mysql::new(settings).unwrap())
    }

    fn fill(&self, place: &Path, content: u32) {
        let server = self.at(place);
        server.sql("CREATE DATABASE IF NOT EXISTS app; USE app; DROP TABLE IF EXISTS one, two, both_have; DROP VIEW IF EXISTS seen;");
        if content > 0 {
            let name = ["one", "two"][content as usize - 1];
            server.sql_in(
                "app",
                &format!(
                    "CREATE TABLE {name} (id INT PRIMARY KEY, what TEXT) SELECT seq AS id, HEX(seq * 7919) AS what FROM seq_1_to_2000;
                     CREATE TABLE both_have (n INT) SELECT {content} AS n; CREATE VIEW seen AS SELECT * FROM {name};
                     CREATE TRIGGER later BEFORE INSERT ON {name} FOR EACH ROW SET NEW.what = 'x';"
                ),
            );
        }
    }

    fn read(&self, place: &Path) -> Vec<u8> {
        let server = self.at(place);
        if server.sql("SHOW DATABASES LIKE 'app'").is_empty() { Vec::new() } else { server.dump("app").into_bytes() }
    }

    fn names(&self, _: &Path, _: &[&[u8]]) -> bool {
        false
    }
}

#[test]
fn a_server_conforms() {
    let scratch = tempfile::tempdir().unwrap();
    suite(&Servers::default(), scratch.path());
}

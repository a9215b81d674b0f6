//! The `postgres` recipe passes the suite of `Data`, on real servers: one for each place.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::server::Server;
use recipes::data::conform::{Subject, suite};
use recipes::{Data, Postgres, postgres};

#[derive(Default)]
struct Servers {
    all: Mutex<HashMap<PathBuf, Arc<Server>>>,
}

impl Servers {
    fn at(&self, place: &Path) -> Arc<Server> {
        self.all
            .lock()
            .unwrap()
            .entry(place.to_path_buf())
            .or_insert_with(|| Arc::new(Server::start()))
            .clone()
    }
}

impl Subject for Servers {
    fn data(&self, place: &Path) -> Box<dyn Data> {
        if place.ends_with("nowhere") {
            return Box::new(Postgres::new(postgres::Settings::new("/nowhere", place.to_path_buf())).unwrap());
        }
        Box::new(self.at(place).recipe())
    }

    fn fill(&self, place: &Path, content: u32) {
        let server = self.at(place);
        for name in ["shop", "more"] {
            server.sql("postgres", &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
        }
        server.sql("postgres", "CREATE DATABASE shop");
        if content > 0 {
            server.sql(
                "shop",
                &format!("CREATE TABLE t{content} AS SELECT i, md5((i * {content})::text) AS text FROM generate_series(1, 30000) i"),
            );
        }
        if content > 0 {
            server.sql("postgres", "CREATE DATABASE more");
            server.sql("more", &format!("CREATE SEQUENCE s{content}; SELECT nextval('s{content}'); CREATE TABLE nothing ()"));
        }
    }

    fn read(&self, place: &Path) -> Vec<u8> {
        let server = self.at(place);
        let names =
            server.sql("postgres", "SELECT datname FROM pg_database WHERE NOT datistemplate AND datname NOT LIKE '%resilient%' ORDER BY 1");
        names.lines().map(|name| server.dump(name)).collect::<String>().into_bytes()
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

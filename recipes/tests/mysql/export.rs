//! What an export of MariaDB holds: on real servers, under load, and when the server dies.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use super::server::Server;
use recipes::data::conform::{Collect, Ends, Kind, Taken};
use recipes::data::{Body, Item, Sink, Stamp, Stop};
use recipes::{Data, Mysql, mysql};

fn settings(server: &Server, name: &str, databases: &[&str]) -> mysql::Settings {
    let mut settings = mysql::Settings::new(server.folder().join("scratch").join(name));
    settings.address = mysql::Address::Socket(server.socket());
    settings.databases = databases.iter().map(|name| (*name).to_owned()).collect();
    settings
}

fn text(taken: &Collect, path: &str) -> String {
    match &taken.get(path.as_bytes()).unwrap_or_else(|| panic!("{path} is there")).kind {
        Kind::File(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => panic!("{path} is {other:?}"),
    }
}

/// All rows of a table, from its pieces.
fn rows(taken: &[Taken], database: &str, table: &str) -> Vec<Vec<String>> {
    let folder = format!("databases/{database}/tables/{table}/");
    let mut all = Vec::new();
    for taken in taken.iter().filter(|taken| taken.path.starts_with(folder.as_bytes())) {
        let Kind::File(bytes) = &taken.kind else { panic!() };
        all.extend(
            String::from_utf8_lossy(bytes)
                .lines()
                .map(|line| line.split('\t').map(str::to_owned).collect::<Vec<_>>()),
        );
    }
    all
}

#[test]
fn an_export_has_each_table_as_text_and_an_unchanged_server_gives_the_same_tree() {
    let server = Server::start(&["--log-bin"]);
    server.sql(
        "CREATE DATABASE shop; USE shop; CREATE TABLE item (id INT PRIMARY KEY, what VARCHAR(20)); INSERT INTO item VALUES (1, 'a\\tb'), (2, NULL);
         CREATE TABLE old (id INT) ENGINE=MyISAM; INSERT INTO old VALUES (7); CREATE SEQUENCE s; CREATE TABLE none (id INT);
         CREATE DATABASE other; CREATE TABLE other.t (id INT);",
    );
    let data = Mysql::new(settings(&server, "a", &[])).unwrap();
    let taken = Collect::of(&data);
    assert_eq!(text(&taken, "databases/shop/tables/item/00000000"), "1\ta\\tb\n2\t\\N\n");
    assert_eq!(text(&taken, "databases/shop/tables/old/00000000"), "7\n");
    assert!(taken.get(b"databases/shop/tables/none/00000000").is_none() && taken.get(b"databases/shop/tables/none").is_some());
    // Elsewhere, which moves the position and nothing else.
    server.sql("CREATE DATABASE unseen; CREATE TABLE unseen.t (id INT); DROP DATABASE unseen;");
    assert!(Collect::of(&data).taken == taken.taken, "only the position differs, and that is not told again");
    server.sql("INSERT INTO shop.item VALUES (3, 'c')");
    let again = Collect::of(&data);
    let differ = |path: &str| again.get(path.as_bytes()) != taken.get(path.as_bytes());
    assert!(differ("manifest.json") && differ("databases/shop/tables/item/00000000") && !differ("databases/shop/tables/old/00000000"));
    let mut narrow = settings(&server, "b", &[]);
    (narrow.exclude, narrow.exclude_tables) = (vec!["other".into()], vec!["shop.item".into()]);
    let narrow = Collect::of(&Mysql::new(narrow).unwrap());
    assert!(narrow.get(b"databases/other").is_none() && narrow.get(b"databases/shop/tables/item").is_none());
    assert!(!text(&narrow, "databases/shop/schema.sql").contains("`item`"));
}

#[test]
fn a_large_table_comes_in_pieces_and_a_change_touches_one() {
    let server = Server::start(&[]);
    server.sql(
        "CREATE DATABASE shop; USE shop; CREATE TABLE big (id BIGINT PRIMARY KEY, filler CHAR(200) NOT NULL, n INT NOT NULL)
         SELECT CAST(seq AS SIGNED) * 3 - 7 AS id, REPEAT(MD5(seq), 6) AS filler, seq AS n FROM seq_1_to_200000; ANALYZE TABLE big;",
    );
    let data = Mysql::new(settings(&server, "a", &[])).unwrap();
    let taken = Collect::of(&data);
    let pieces = |taken: &Collect| taken.paths().iter().filter(|path| path.starts_with(b"databases/shop/tables/big/")).count();
    assert!((4..=20).contains(&pieces(&taken)), "{}", pieces(&taken));
    let ids: Vec<i64> = rows(&taken.taken, "shop", "big").iter().map(|row| row[0].parse().unwrap()).collect();
    assert!(ids.iter().copied().eq((1..=200_000).map(|seq| seq * 3 - 7)), "each row once, in order");
    server.sql("UPDATE shop.big SET n = 0 WHERE id = 300002; DELETE FROM shop.big WHERE n BETWEEN 5 AND 9");
    let again = Collect::of(&data);
    let changed = again.taken.iter().filter(|now| taken.get(&now.path) != Some(now)).count();
    assert_eq!((pieces(&again), changed), (pieces(&taken), 3), "two pieces and the manifest");
}

#[test]
fn what_is_exported_under_load_is_of_one_moment() {
    let server = Server::start(&["--log-bin"]);
    server.sql("CREATE DATABASE bank; USE bank;");
    for table in 0..6 {
        let engine = if table == 5 { "ENGINE=MyISAM" } else { "" };
        server.sql_in("bank", &format!("CREATE TABLE a{table} (id INT PRIMARY KEY, balance BIGINT NOT NULL, filler CHAR(200)) {engine} SELECT seq AS id, 1000 AS balance, REPEAT('x', 200) AS filler FROM seq_1_to_5000"));
    }
    let mut settings = settings(&server, "a", &["bank"]);
    settings.jobs = 3;
    let data = Mysql::new(settings).unwrap();
    let over = AtomicBool::new(false);
    let moved = std::thread::scope(|scope| {
        let load = |seed: usize| {
            let (over, server) = (&over, &server);
            scope.spawn(move || {
                let mut moved = 0;
                while !over.load(Ordering::Relaxed) {
                    let mut sql = String::new();
                    for step in 0..200 {
                        let (from, to) = ((seed + step) % 5, (seed + step * 7 + 1) % 5);
                        let (one, two) = ((moved + step * 31) % 5000 + 1, (moved + step * 17) % 5000 + 1);
                        sql += &format!("BEGIN; UPDATE a{from} SET balance = balance - 5 WHERE id = {one}; UPDATE a{to} SET balance = balance + 5 WHERE id = {two}; COMMIT;\n");
                    }
                    // A deadlock ends one client's batch, its transaction undone.
                    moved += usize::from(server.client("bank", &sql).status.success()) * 200;
                }
                moved
            })
        };
        let (ends, loads) = (Ends(&over), [load(0), load(1)]);
        for round in 0..10 {
            let taken = Collect::of(&data);
            let sum: i64 = (0..5)
                .flat_map(|table| rows(&taken.taken, "bank", &format!("a{table}")))
                .map(|row| row[1].parse::<i64>().unwrap())
                .sum();
            assert_eq!(sum, 5 * 5000 * 1000, "round {round}");
        }
        drop(ends);
        loads.map(|load| load.join().unwrap())
    });
    assert!(moved.iter().sum::<usize>() > 200, "there was a load: {moved:?}");
}

#[test]
fn tables_without_transactions_are_of_the_same_moment() {
    let server = Server::start(&["--innodb-flush-log-at-trx-commit=0"]);
    let tables = [("isam", "MyISAM"), ("aria", "Aria"), ("inno", "InnoDB")];
    server.sql("CREATE DATABASE shop");
    for (name, engine) in tables {
        server.sql_in("shop", &format!("CREATE TABLE {name} (id INT PRIMARY KEY) ENGINE={engine}"));
    }
    let data = Mysql::new(settings(&server, "a", &["shop"])).unwrap();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (ends, ended, server) = (Ends(&over), &over, &server);
        let load = scope.spawn(move || {
            let mut id = 0;
            while !ended.load(Ordering::Relaxed) {
                let one = |id: usize| tables.iter().map(|(name, _)| format!("INSERT INTO {name} VALUES ({id});\n")).collect::<String>();
                let batch: String = (id..id + 50).map(one).collect();
                server.sql_in("shop", &batch);
                id += 50;
            }
            id
        });
        let mut rounds = 0;
        loop {
            let taken = Collect::of(&data);
            let [isam, aria, inno] = tables.map(|(name, _)| rows(&taken.taken, "shop", name).len());
            assert!(isam >= aria && aria >= inno && inno + 1 >= isam, "{isam} {aria} {inno}");
            rounds += 1;
            if rounds >= 20 && inno > 200 || load.is_finished() {
                break;
            }
        }
        drop(ends);
        assert!(load.join().unwrap() > 200);
    });
}

/// Takes items, and does something once when it is within a stream.
struct Within<F: FnMut()> {
    act: Option<F>,
    read: BTreeMap<Vec<u8>, Result<u64, String>>,
}

impl<F: FnMut()> Sink for Within<F> {
    fn unchanged(&mut self, _: &[u8], _: &Stamp) -> Result<bool, Stop> {
        Ok(false)
    }

    fn item(&mut self, item: Item) -> Result<(), Stop> {
        let Body::Stream(mut stream) = item.body else { return Ok(()) };
        if item.path.windows(5).any(|part| part == b"/big/") {
            stream.read_exact(&mut [0; 1000]).unwrap();
            if let Some(mut act) = self.act.take() {
                act();
            }
        }
        let read = std::io::copy(&mut stream, &mut std::io::sink()).map_err(|error| error.to_string());
        self.read.insert(item.path, read);
        Ok(())
    }

    fn trouble(&mut self, path: &[u8], error: std::io::Error) {
        panic!("{path:?}: {error}");
    }
}

const BIG: &str = "CREATE DATABASE shop; USE shop; CREATE TABLE big (filler LONGTEXT NOT NULL) SELECT REPEAT(MD5(seq), 30) AS filler FROM seq_1_to_100000";

#[test]
fn a_server_that_dies_fails_the_export_and_no_stream_is_short() {
    let mut server = Server::start(&[]);
    server.sql(BIG);
    let data = Mysql::new(settings(&server, "a", &["shop"])).unwrap();
    let server = &mut server;
    let mut sink = Within { act: Some(|| server.kill()), read: BTreeMap::new() };
    let error = data.export(&mut sink).unwrap_err();
    assert!(matches!(error, recipes::Error::Io { .. }), "{error}");
    assert!(sink.read[b"databases/shop/tables/big/00000000".as_slice()].is_err());
    assert!(!sink.read.contains_key(b"manifest.json".as_slice()));
    server.run();
    let mut whole = Within { act: None::<fn()>, read: BTreeMap::new() };
    data.export(&mut whole).unwrap();
    assert!(whole.read.values().all(Result::is_ok));
}

#[test]
fn a_table_that_is_altered_meanwhile_fails_the_export_and_its_owner_does_not_wait() {
    let server = Server::start(&[]);
    server.sql(BIG);
    server.sql_in("shop", "CREATE TABLE last (id INT); INSERT INTO last VALUES (1), (2)");
    let data = Mysql::new(settings(&server, "a", &["shop"])).unwrap();
    let mut sink = Within {
        act: Some(|| {
            server
                .sql_in("shop", "SET lock_wait_timeout = 5; ALTER TABLE last ADD COLUMN more INT DEFAULT 4, ALGORITHM=COPY")
                .truncate(0)
        }),
        read: BTreeMap::new(),
    };
    // Read ahead before it was altered, or refused: never rows of another shape.
    match data.export(&mut sink) {
        Ok(()) => assert_eq!(sink.read[b"databases/shop/tables/last/00000000".as_slice()], Ok(4)),
        Err(error) => assert!(!sink.read.contains_key(b"manifest.json".as_slice()), "{error}"),
    }
}

#[test]
fn a_server_is_reached_by_its_port_as_well() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = Server::start(&["--skip-networking=0", "--bind-address=127.0.0.1", &format!("--port={port}")]);
    server.sql("CREATE DATABASE shop; CREATE TABLE shop.t (id INT); INSERT INTO shop.t VALUES (1); CREATE USER 'far'@'%' IDENTIFIED BY 'far away'; GRANT ALL ON *.* TO 'far'@'%' WITH GRANT OPTION");
    let mut settings = settings(&server, "a", &["shop"]);
    settings.address = mysql::Address::Network { host: "127.0.0.1".into(), port };
    settings.user = "far".into();
    settings.verify = mysql::Verify::Counts;
    settings.password_file = Some(server.folder().join("password"));
    std::fs::write(server.folder().join("password"), "far away").unwrap();
    std::fs::set_permissions(server.folder().join("password"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let data = Mysql::new(settings).unwrap();
    let taken = Collect::of(&data).taken;
    server.sql("DELETE FROM shop.t");
    recipes::data::conform::import(&data, &taken);
    assert_eq!(server.sql("SELECT * FROM shop.t"), "1\n");
}

#[test]
fn a_password_is_read_from_its_file_and_shows_nowhere() {
    let server = Server::start(&["--general-log", "--log-output=FILE", "--general-log-file=general.log"]);
    server.sql("CREATE DATABASE shop; CREATE TABLE shop.t (id INT); CREATE USER 'backup'@'localhost' IDENTIFIED BY 'quite secret'; GRANT ALL ON *.* TO 'backup'@'localhost' WITH GRANT OPTION; SET GLOBAL general_log_file = 'second.log';");
    let mut settings = settings(&server, "a", &["shop"]);
    let file = server.folder().join("password");
    std::fs::write(&file, "quite secret\n").unwrap();
    settings.user = "backup".into();
    settings.password_file = Some(file.clone());
    let error = Mysql::new(settings.clone()).unwrap().export(&mut Collect::default()).unwrap_err();
    assert!(matches!(error, recipes::Error::Io { .. }), "others may read it: {error}");
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let data = Mysql::new(settings.clone()).unwrap();
    let taken = Collect::of(&data).taken;
    recipes::data::conform::import(&data, &taken);
    let log = std::fs::read_to_string(server.folder().join("data/second.log")).unwrap();
    assert!(log.contains("BACKUP STAGE") && !log.contains("quite secret"));
    assert!(!log.contains("IDENTIFIED BY"));
    std::fs::write(&file, "quite wrong\n").unwrap();
    let error = data.export(&mut Collect::default()).unwrap_err();
    assert!(!format!("{error:?}").contains("quite wrong"), "{error:?}");
}

//! Tables that did not change stay where they are, and all of it is what it would have been.

use super::import::data;
use super::server::Server;
use recipes::data::conform::{Collect, write_tree};
use recipes::data::{Data, Finding};

const TABLES: &str = "CREATE DATABASE app; USE app; CREATE TABLE region (id INT PRIMARY KEY, name TEXT); \
    CREATE TABLE customer (id INT PRIMARY KEY, region INT, CONSTRAINT within FOREIGN KEY (region) REFERENCES region (id)); \
    CREATE TABLE sale (id INT AUTO_INCREMENT PRIMARY KEY, customer INT, FOREIGN KEY (customer) REFERENCES customer (id), total INT); \
    CREATE TABLE steady (id INT PRIMARY KEY, text TEXT); CREATE TABLE other (id INT PRIMARY KEY, steady INT REFERENCES steady (id)); CREATE TABLE log (at INT); \
    CREATE VIEW joined AS SELECT steady.text, log.at FROM steady JOIN log ON log.at = steady.id; \
    CREATE TRIGGER logged AFTER INSERT ON steady FOR EACH ROW INSERT INTO log VALUES (NEW.id); \
    INSERT INTO region VALUES (1, 'north'), (2, 'south'); INSERT INTO customer VALUES (1, 1), (2, 2); INSERT INTO sale (customer, total) VALUES (1, 10), (2, 20); \
    INSERT INTO steady SELECT seq, REPEAT(MD5(seq), 10) FROM seq_1_to_500; INSERT INTO other VALUES (1, 1)";

/// What happens in an hour, and how many of the six tables stay. Tables that refer to each other are three and two.
const HOURS: [(&str, usize); 5] = [
    ("INSERT INTO log VALUES (4711)", 5),
    ("UPDATE region SET name = CONCAT(name, '!')", 3),
    ("DELETE FROM other", 4),
    ("SELECT 1", 6),
    ("ALTER TABLE log ADD COLUMN why TEXT", 5),
];

fn import(from: &Server, to: &Server) -> Vec<Finding> {
    let (taken, target) = (Collect::of(&data(from, &["app"])).taken, data(to, &["app"]));
    let staging = target.stage().unwrap();
    staging.places().iter().for_each(|place| write_tree(&taken, place));
    staging.commit(&mut |_| false).unwrap()
}

fn stayed(found: &[Finding]) -> usize {
    let what = found
        .iter()
        .map(|finding| finding.what.as_str())
        .find(|what| what.contains("databases with"))
        .expect("it is told");
    let Some((before, _)) = what.split_once(" tables of them unchanged") else { return 0 };
    before.rsplit(' ').next().expect("a number").parse().expect("a number")
}

#[track_caller]
fn same(from: &Server, to: &Server) {
    let (wanted, found) = (from.dump("app"), to.dump("app"));
    for (wanted, found) in wanted.lines().zip(found.lines()) {
        assert_eq!(found, wanted);
    }
    assert_eq!(found.len(), wanted.len());
    assert_eq!(to.sql_in("app", "SELECT COUNT(*) FROM joined"), from.sql_in("app", "SELECT COUNT(*) FROM joined"));
}

#[test]
fn what_did_not_change_stays_and_all_is_as_at_the_source() {
    let (from, to) = (Server::start(&[]), Server::start(&[]));
    from.sql(TABLES);
    assert_eq!(stayed(&import(&from, &to)), 0, "nothing was there");
    for (hour, stays) in HOURS {
        from.sql_in("app", hour);
        assert_eq!(stayed(&import(&from, &to)), stays, "{hour}");
        same(&from, &to);
    }
    // Back one hour, with tables that never moved; and on from there.
    data(&to, &["app"]).rollback().unwrap();
    assert_eq!(to.sql_in("app", "SHOW COLUMNS FROM log LIKE 'why'; SELECT COUNT(*) FROM steady"), "500\n");
    assert_eq!(stayed(&import(&from, &to)), 5);
    same(&from, &to);
    // A key that refers from one that comes to one that stayed.
    from.sql_in("app", "ALTER TABLE log ADD COLUMN region INT REFERENCES region (id)");
    assert_eq!(stayed(&import(&from, &to)), 2, "what refers to each other comes together");
    same(&from, &to);
    to.sql("SET GLOBAL read_only = 0");
    to.sql_in("app", "INSERT INTO log (at, region) VALUES (1, 2)");
    assert!(!to.client("app", "INSERT INTO log (at, region) VALUES (1, 77)").status.success(), "the key holds");
}

#[test]
fn one_that_was_written_to_is_found_out_and_loaded_anew() {
    let (from, to) = (Server::start(&[]), Server::start(&[]));
    from.sql(TABLES);
    import(&from, &to);
    for wrote in ["UPDATE steady SET text = 'mine' WHERE id = 7", "ALTER TABLE steady ADD COLUMN mine INT"] {
        to.sql("SET GLOBAL read_only = 0");
        to.sql_in("app", wrote);
        assert_eq!(stayed(&import(&from, &to)), 4, "it, and the one that refers to it, are loaded: {wrote}");
        same(&from, &to);
    }
}

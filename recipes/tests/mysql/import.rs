//! What an import into MariaDB makes: equal to the source by another program's account, atomic under readers, and nothing that was not asked for.

use std::sync::atomic::{AtomicBool, Ordering};

use super::server::Server;
use recipes::data::conform::{Collect, Ends, Kind, Taken, import};
use recipes::data::{Data, Served};
use recipes::{Mysql, mysql};

pub fn data(server: &Server, databases: &[&str]) -> Mysql {
    let mut settings = mysql::Settings::new(server.folder().join("scratch"));
    settings.address = mysql::Address::Socket(server.socket());
    settings.databases = databases.iter().map(|name| (*name).to_owned()).collect();
    Mysql::new(settings).unwrap()
}

pub const EVERYTHING: &str = r#"
CREATE DATABASE app CHARACTER SET latin1 COLLATE latin1_german1_ci; USE app; SET sql_mode = '';
CREATE TABLE parent (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(50) CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci COMMENT 'it''s a name', UNIQUE (name)) AUTO_INCREMENT = 77 COMMENT 'p';
INSERT INTO parent VALUES (1, 'Grüße 😀'), (2, 'tab\tnew\nline\\'), (3, ''), (4, NULL);
INSERT INTO parent VALUES (NULL, 'next'); SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO'; INSERT INTO parent VALUES (0, 'zero'); SET sql_mode = '';
CREATE TABLE child (id INT PRIMARY KEY, parent_id INT, CONSTRAINT fk FOREIGN KEY (parent_id) REFERENCES parent (id) ON DELETE CASCADE, CHECK (id < 1000));
INSERT INTO child VALUES (1, 1), (2, NULL);
CREATE TABLE a_child_first (id INT PRIMARY KEY REFERENCES parent (id)); INSERT INTO a_child_first VALUES (1);
CREATE TABLE types (
  i BIGINT UNSIGNED PRIMARY KEY, t TINYINT, f FLOAT, d DOUBLE, dec1 DECIMAL(65,30), b BIT(33), b1 BIT(1), y YEAR, da DATE, ti TIME(6), dt DATETIME(6), ts TIMESTAMP(3) NULL,
  bl BLOB, vb VARBINARY(300), bi BINARY(5), l1 VARCHAR(20) CHARACTER SET latin1, u16 VARCHAR(20) CHARACTER SET utf16, sj VARCHAR(20) CHARACTER SET sjis, u8 LONGTEXT CHARACTER SET utf8mb4,
  e ENUM('ä','b') CHARACTER SET latin1, s SET('a','ü','c') CHARACTER SET utf8mb4, js JSON, g GEOMETRY, u UUID, n6 INET6, n4 INET4,
  gen INT AS (t + 1) VIRTUAL, gens VARCHAR(40) AS (CONCAT(l1, '!')) STORED, hidden INT INVISIBLE DEFAULT 5, KEY (gens), FULLTEXT (u8));
INSERT INTO types (i, t, f, d, dec1, b, b1, y, da, ti, dt, ts, bl, vb, bi, l1, u16, sj, u8, e, s, js, g, u, n6, n4, hidden) VALUES
  (18446744073709551615, -128, 0.1, 1e0/3, 12345678901234567890123456789012345.123456789012345678901234567891, b'100000000000000000000000000000001', 1, 1901, '0000-00-00', '-838:59:59.999999', '9999-12-31 23:59:59.999999', '2038-01-19 03:14:07.999',
   UNHEX('00090A0D5C1A2227FF'), UNHEX('5C4E'), 'ab', 'Grüße', '😀ä', '表', '\\N', 'ä', 'a,c', '{"a": [1, "x\\n"]}', ST_GeomFromText('POLYGON((0 0,0 1,1 1,0 0))', 4326), UUID(), '::ffff:1.2.3.4', '10.0.0.1', 9),
  (0, 0, -0.0, -0.0, 0, 0, 0, 0, '2020-00-00', '00:00:00', '0000-00-00 00:00:00', '1970-01-01 00:00:01', '', '', '', '', '', '', '', '', '', 'null', NULL, NULL, NULL, NULL, NULL),
  (2, NULL, 3.4028235e38, 2.2250738585072014e-308, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO types (i, f, d, bl, u8) SELECT seq, RAND(seq) * 1e-20, RAND(seq) * POW(10, seq MOD 300), CHAR(seq MOD 256, seq DIV 256), REPEAT(CHAR(0x1F600 + seq MOD 64 USING utf32), seq) FROM seq_10_to_600;
CREATE TABLE every_byte (id INT PRIMARY KEY, b VARBINARY(1), t VARCHAR(1) CHARACTER SET latin1); INSERT INTO every_byte SELECT seq, CHAR(seq), CHAR(seq USING latin1) FROM seq_0_to_255;
CREATE TABLE parts (id INT, at DATE, PRIMARY KEY (id, at)) PARTITION BY RANGE (YEAR(at)) SUBPARTITION BY HASH (id) SUBPARTITIONS 2 (PARTITION p0 VALUES LESS THAN (2020) COMMENT = 'old', PARTITION p1 VALUES LESS THAN MAXVALUE);
INSERT INTO parts SELECT seq, '2019-06-01' + INTERVAL seq DAY FROM seq_1_to_500;
CREATE TABLE no_key (a INT, b TEXT); INSERT INTO no_key VALUES (1, 'x'), (1, 'x'), (NULL, NULL);
CREATE TABLE isam (id INT PRIMARY KEY, t TEXT) ENGINE=MyISAM; INSERT INTO isam VALUES (1, 'one'); CREATE TABLE aria (id INT) ENGINE=Aria TRANSACTIONAL=0; INSERT INTO aria VALUES (2);
CREATE TABLE versioned (id INT PRIMARY KEY, v INT) WITH SYSTEM VERSIONING; INSERT INTO versioned VALUES (1, 1);
CREATE TABLE `select``from "x" é` (`a b` INT, `gr``oup` INT, KEY `we"ird` (`a b`)); INSERT INTO `select``from "x" é` VALUES (1, 2); CREATE TABLE `--help` (id INT); INSERT INTO `--help` VALUES (1);
CREATE SEQUENCE numbers START WITH 5 INCREMENT BY 3 CACHE 10 CYCLE MAXVALUE 500; SELECT NEXTVAL(numbers);
SET sql_mode = 'ANSI_QUOTES,PIPES_AS_CONCAT'; SET NAMES utf8mb4; SET time_zone = '+02:00';
CREATE VIEW b_second AS SELECT * FROM (SELECT id FROM child) x; CREATE VIEW a_first AS SELECT b_second.id, app.parent.name FROM b_second LEFT JOIN app.parent ON app.parent.id = b_second.id; CREATE VIEW checked AS SELECT * FROM child WHERE id < 500 WITH CASCADED CHECK OPTION;
CREATE DEFINER='gone'@'%' SQL SECURITY INVOKER VIEW others AS SELECT 1 AS one;
DELIMITER //
CREATE PROCEDURE fill(IN n INT, OUT total INT) COMMENT 'ü' BEGIN DECLARE "quoted" INT DEFAULT 1; INSERT INTO app.no_key VALUES (n, 'a;b' || '//'); SELECT COUNT(*) INTO total FROM app.no_key; END//
CREATE FUNCTION twice(n INT) RETURNS INT DETERMINISTIC RETURN n * 2//
CREATE TRIGGER before_child BEFORE INSERT ON child FOR EACH ROW BEGIN SET NEW.id = NEW.id + 0; INSERT INTO app.no_key VALUES (99, 'trigger'); END//
CREATE TRIGGER again BEFORE INSERT ON child FOR EACH ROW FOLLOWS before_child SET NEW.id = NEW.id//
CREATE EVENT every_second ON SCHEDULE EVERY 1 SECOND STARTS '2020-01-01 00:00:00' ON COMPLETION PRESERVE COMMENT 'ENABLE' DO INSERT INTO app.no_key VALUES (3, 'event')//
CREATE EVENT sleeping ON SCHEDULE EVERY 1 DAY STARTS '2020-01-01 00:00:00' ON COMPLETION PRESERVE DISABLE DO SELECT 1//
SET sql_mode = 'ORACLE'//
CREATE PACKAGE pack AS FUNCTION one RETURN INT; END//
CREATE PACKAGE BODY pack AS FUNCTION one RETURN INT AS BEGIN RETURN 1; END; END//
DELIMITER ;
"#;

#[test]
fn what_is_imported_is_what_was_exported() {
    let (from, to) = (Server::start(&[]), Server::start(&[]));
    from.sql(EVERYTHING);
    let (source, target) = (data(&from, &["app"]), data(&to, &["app"]));
    let taken = Collect::of(&source);
    assert!(taken.troubles.is_empty());
    target.guard().unwrap();
    import(&target, &taken.taken);
    target.lift().unwrap();
    let (wanted, found) = (from.dump("app"), to.dump("app"));
    for (wanted, found) in wanted.lines().zip(found.lines()) {
        assert_eq!(found, wanted);
    }
    assert_eq!(found.len(), wanted.len());
    let checks = "SET SESSION group_concat_max_len = 1000000; SELECT GROUP_CONCAT(f ORDER BY i), GROUP_CONCAT(CAST(f AS DOUBLE) ORDER BY i), GROUP_CONCAT(d ORDER BY i), MAX(hidden) FROM types; CHECKSUM TABLE types, parent, every_byte, no_key EXTENDED; SELECT TIME_ZONE, STARTS, EVENT_NAME, STATUS, SQL_MODE, DEFINER FROM information_schema.EVENTS; SELECT TRIGGER_NAME, ACTION_ORDER FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = 'app' ORDER BY 1; SELECT ROUTINE_NAME, DEFINER, SQL_MODE, DATABASE_COLLATION, CHARACTER_SET_CLIENT FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = 'app' ORDER BY 1; SELECT NEXTVAL(numbers);";
    assert_eq!(to.sql_in("app", checks), from.sql_in("app", checks));
    let own = to.sql("SELECT User FROM mysql.user WHERE User LIKE 'resilient%'; SHOW DATABASES LIKE '%\\_\\_%'");
    assert_eq!(own, "app__old\n", "no account stays, and what was before");
    assert_eq!(
        Collect::of(&target)
            .taken
            .iter()
            .filter(|taken| taken.path.starts_with(b"databases/app/tables/"))
            .collect::<Vec<_>>(),
        taken
            .taken
            .iter()
            .filter(|taken| taken.path.starts_with(b"databases/app/tables/"))
            .collect::<Vec<_>>()
    );
}

#[test]
fn events_and_triggers_do_nothing_on_a_host_that_stands_by() {
    let (from, to) = (Server::start(&[]), Server::start(&["--event-scheduler=ON"]));
    from.sql(EVERYTHING);
    to.sql("CREATE USER app@localhost; GRANT ALL ON app.* TO app@localhost");
    let target = data(&to, &[]);
    import(&target, &Collect::of(&data(&from, &[])).taken);
    target.guard().unwrap();
    assert_eq!(
        to.sql("SELECT EVENT_NAME, STATUS FROM information_schema.EVENTS ORDER BY 1"),
        "every_second\tSLAVESIDE_DISABLED\nsleeping\tDISABLED\n"
    );
    assert_eq!(to.sql("SELECT @@event_scheduler, @@read_only"), "OFF\t1\n");
    let refused = to
        .program("mariadb")
        .args(["--user=app", "-e", "INSERT INTO app.no_key VALUES (5, 'x')"])
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("read-only"), "{}", String::from_utf8_lossy(&refused.stderr));
    import(&target, &Collect::of(&data(&from, &[])).taken);
    assert_eq!(to.sql("SELECT COUNT(*) FROM app.no_key; SELECT COUNT(*) FROM app.child"), "3\n2\n", "neither fired");
    // Switched on all the same, nothing runs.
    to.sql("SET GLOBAL event_scheduler = ON; SELECT SLEEP(2.5)");
    assert_eq!(to.sql("SELECT COUNT(*) FROM app.no_key"), "3\n");
    to.sql("SET GLOBAL event_scheduler = OFF");
    target.lift().unwrap();
    assert_eq!(
        to.sql("SELECT EVENT_NAME, STATUS, DEFINER FROM information_schema.EVENTS ORDER BY 1"),
        "every_second\tENABLED\troot@localhost\nsleeping\tDISABLED\troot@localhost\n"
    );
    assert_eq!(to.sql("SELECT @@read_only"), "0\n");
}

#[test]
fn readers_see_each_switch_as_a_whole() {
    let (from, to) = (Server::start(&[]), Server::start(&["--max-connections=50"]));
    from.sql("CREATE DATABASE app; USE app; CREATE TABLE a (version INT, filler CHAR(200)); CREATE TABLE b (version INT); CREATE VIEW v AS SELECT * FROM a");
    let (source, target) = (data(&from, &["app"]), data(&to, &["app"]));
    let version = |number: usize| {
        from.sql_in(
            "app",
            &format!("DELETE FROM a; DELETE FROM b; INSERT INTO a SELECT {number}, 'x' FROM seq_1_to_500; INSERT INTO b VALUES ({number})"),
        );
        import(&target, &Collect::of(&source).taken);
    };
    let switches = if std::env::var_os("RESILIENT_LONG").is_some() { 50 } else { 10 };
    version(0);
    let over = AtomicBool::new(false);
    let (reads, broken) = std::thread::scope(|scope| {
        let reader = |within: bool| {
            let (over, to) = (&over, &to);
            scope.spawn(move || {
                let (mut reads, mut broken) = (0, 0);
                let (begin, end) = if within {
                    ("START TRANSACTION WITH CONSISTENT SNAPSHOT; ", "; SELECT SLEEP(0.2); SELECT COUNT(*) FROM v; COMMIT")
                } else {
                    ("", "")
                };
                let sql = format!("{begin}SELECT MIN(a.version), MAX(a.version), COUNT(*), MIN(b.version) FROM a JOIN b{end}");
                let mut again = false;
                while !over.load(Ordering::Relaxed) || again {
                    let output = to.client("app", &sql);
                    if !output.status.success() {
                        let words = String::from_utf8_lossy(&output.stderr).into_owned();
                        let known = ["2013", "2006", "1412", "1053", "1317", "1927", "2026"].iter().any(|code| words.contains(code));
                        assert!(known && !again, "once more than once: {words}");
                        (again, broken) = (true, broken + 1);
                        continue;
                    }
                    again = false;
                    reads += 1;
                    let text = String::from_utf8_lossy(&output.stdout).into_owned();
                    let row: Vec<&str> = text.lines().next().unwrap().split('\t').collect();
                    assert!(row[0] == row[1] && row[1] == row[3] && row[2] == "500", "a mixture: {text}");
                }
                (reads, broken)
            })
        };
        let (ends, readers) = (Ends(&over), [reader(false), reader(false), reader(true)]);
        (1..=switches).for_each(version);
        drop(ends);
        readers
            .map(|reader| reader.join().unwrap())
            .into_iter()
            .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    });
    println!("{reads} reads, {broken} of them again");
    assert!(reads > 50, "{reads}");
    assert_eq!(to.sql("SELECT MAX(version) FROM app.b"), format!("{switches}\n"));
    target.rollback().unwrap();
    assert_eq!(to.sql("SELECT MAX(version) FROM app.b; SELECT COUNT(*) FROM app.v"), format!("{}\n500\n", switches - 1));
    assert!(target.rollback().is_err(), "no second one is kept");
}

#[test]
fn hostile_names_are_names() {
    let (from, to) = (Server::start(&[]), Server::start(&[]));
    let names = [
        "back`tick",
        "it's \"quoted\"",
        "new\nline",
        "größe",
        "per%cent_under",
        "a b/c.d",
        "--help",
        "; DROP DATABASE mysql; --",
        &"l".repeat(64),
    ];
    for name in names {
        let quoted = format!("`{}`", name.replace('`', "``"));
        from.sql(&format!("CREATE DATABASE {quoted}; CREATE TABLE {quoted}.{quoted} ({quoted} INT PRIMARY KEY); INSERT INTO {quoted}.{quoted} VALUES (1), (2);"));
        from.sql(&format!("CREATE VIEW {quoted}.`v``{name2}` AS SELECT * FROM {quoted}.{quoted}; CREATE TRIGGER {quoted}.{quoted} BEFORE INSERT ON {quoted}.{quoted} FOR EACH ROW SET @x = 1; CREATE PROCEDURE {quoted}.{quoted}() SELECT 1;", name2 = name.chars().take(10).collect::<String>().replace('`', "``")));
    }
    let taken = Collect::of(&data(&from, &[])).taken;
    let target = data(&to, &[]);
    import(&target, &taken);
    import(&target, &taken);
    for name in names {
        assert_eq!(to.dump(name), from.dump(name), "{name}");
    }
    assert_eq!(
        Collect::of(&target)
            .taken
            .iter()
            .filter(|taken| taken.path.starts_with(b"databases"))
            .collect::<Vec<_>>(),
        taken.iter().filter(|taken| taken.path.starts_with(b"databases")).collect::<Vec<_>>()
    );
}

/// The tree with one file of it changed, and the manifest's hash of the schema with it, as a liar would.
fn lied(taken: &[Taken], change: impl Fn(&str) -> String) -> Vec<Taken> {
    let mut taken = taken.to_vec();
    let file = |taken: &mut [Taken], path: &[u8], change: &dyn Fn(&str) -> String| {
        let found = taken.iter_mut().find(|taken| taken.path == path).unwrap();
        let Kind::File(bytes) = &mut found.kind else { panic!() };
        *bytes = change(std::str::from_utf8(bytes).unwrap()).into_bytes();
        format!("{:032x}", xxhash_rust::xxh3::xxh3_128(bytes))
    };
    let schema = b"databases/app/schema.sql";
    let (before, after) = (file(&mut taken, schema, &str::to_owned), file(&mut taken, schema, &change));
    file(&mut taken, b"manifest.json", &|text| text.replace(&before, &after));
    taken
}

#[test]
fn a_schema_that_lies_reaches_no_other_database() {
    let (from, to) = (Server::start(&[]), Server::start(&[]));
    from.sql("CREATE DATABASE app; USE app; CREATE TABLE t (id INT); INSERT INTO t VALUES (1); CREATE PROCEDURE p() SELECT 1;");
    to.sql("CREATE DATABASE other; CREATE TABLE other.t (id INT); INSERT INTO other.t VALUES (7); CREATE DATABASE app; CREATE TABLE app.mine (id INT);");
    let taken = Collect::of(&data(&from, &["app"])).taken;
    let target = data(&to, &[]);
    let state = || (to.dump("other"), to.dump("app"), to.sql("SHOW DATABASES; SELECT User FROM mysql.user ORDER BY 1"));
    let before = state();
    let statement = |name: &str, was: &str, now: &str| {
        let (name, was, now) = (name.to_owned(), was.to_owned(), now.to_owned());
        move |text: &str| {
            let begin = text.find(&was).unwrap_or_else(|| panic!("{was} in {text}"));
            let end = begin + text[begin..].find("\n;;\n").unwrap();
            let old = format!("\"name\":\"{name}\",\"bytes\":{}", end - begin);
            assert!(text.contains(&old), "{old} in {text}");
            format!("{}{now}{}", &text[..begin], &text[end..]).replace(&old, &format!("\"name\":\"{name}\",\"bytes\":{}", now.len()))
        }
    };
    let refuse = |what: &str, lie: Vec<Taken>| {
        let mut staging = target.stage().unwrap();
        for place in staging.places() {
            recipes::data::conform::write_tree(&lie, place);
        }
        let error = staging.prepare().expect_err(what);
        assert!(matches!(error.kind(), recipes::Kind::Refuse), "{what}: {error}");
        drop(staging);
        assert_eq!(state(), before, "{what}");
    };
    let table = "CREATE TABLE `t`";
    for now in [
        "CREATE TABLE other.x (id INT)",
        "CREATE TABLE t AS SELECT * FROM other.t",
        "CREATE DATABASE more",
        "CREATE USER evil",
        "CREATE TABLE t (id INT); DROP DATABASE other",
        "CREATE OR REPLACE TABLE other.t (id INT)",
        "CREATE TABLE app.mine2 (id INT)",
        "CREATE TABLE u (id INT)",
    ] {
        refuse(now, lied(&taken, statement("t", table, now)));
    }
    refuse("DROP", lied(&taken, statement("t", table, "DROP DATABASE other")));
    refuse(
        "USE other",
        lied(&taken, |text| text.replacen("SET foreign_key_checks = 0;\n", "SET foreign_key_checks = 0;\nUSE other;\n", 1)),
    );
    // Code is made last; what is not such is told and not made, and all else is as it should be.
    for now in [
        "CREATE PROCEDURE other.p() SELECT 1",
        "CREATE USER evil",
        "CREATE DEFINER=`root`@`localhost` PROCEDURE other.p() SELECT 1",
        "CREATE /*!99999 x */ DATABASE more",
        "CREATE DATABASE more",
    ] {
        import(&target, &lied(&taken, statement("p", "CREATE DEFINER=", now)));
        assert_eq!(to.dump("other"), before.0, "{now}");
        assert_eq!(to.sql("SELECT User FROM mysql.user WHERE User LIKE 'evil'; SHOW DATABASES LIKE 'more'"), "", "{now}");
        assert_eq!(to.sql("SELECT id FROM app.t"), "1\n");
    }
    // A table that is not what it was is loaded again.
    to.sql("INSERT INTO app.t VALUES (7)");
    let mut rows = taken.clone();
    let piece = rows.iter_mut().find(|taken| taken.path.ends_with(b"00000000")).unwrap();
    piece.kind = Kind::File(b"2\n".to_vec());
    let mut staging = target.stage().unwrap();
    staging.places().iter().for_each(|place| recipes::data::conform::write_tree(&rows, place));
    let error = staging.prepare().unwrap_err();
    assert!(error.to_string().contains("they are others"), "{error}");
}

#[test]
fn what_is_in_the_way_is_said_and_not_dropped() {
    let (from, to) = (Server::start(&[]), Server::start(&["--local-infile=0"]));
    from.sql("CREATE DATABASE app; CREATE TABLE app.t (id INT); INSERT INTO app.t VALUES (1)");
    to.sql("CREATE DATABASE app__new; CREATE TABLE app__new.precious (id INT)");
    let target = data(&to, &[]);
    let mut staging = target.stage().unwrap();
    let taken = Collect::of(&data(&from, &[])).taken;
    staging.places().iter().for_each(|place| recipes::data::conform::write_tree(&taken, place));
    let error = staging.prepare().unwrap_err().to_string();
    assert!(error.contains("app__new") && error.contains("local_infile = 1"), "{error}");
    drop(staging);
    assert_eq!(to.sql("SHOW TABLES IN app__new"), "precious\n");
    to.sql("DROP DATABASE app__new; SET GLOBAL local_infile = 1; CREATE DATABASE app__old; CREATE TABLE app__old.precious (id INT)");
    let mut staging = target.stage().unwrap();
    staging.places().iter().for_each(|place| recipes::data::conform::write_tree(&taken, place));
    staging.prepare().unwrap();
    let error = staging.commit(&mut |_| true).unwrap_err().to_string();
    assert!(error.contains("app__old"), "{error}");
    assert_eq!(to.sql("SHOW TABLES IN app__old"), "precious\n");
}

#[test]
fn what_the_source_drops_goes_and_what_was_made_here_stays() {
    let (from, to) = (Server::start(&[]), Server::start(&[]));
    from.sql("CREATE DATABASE one; CREATE TABLE one.t (id INT); CREATE VIEW one.v AS SELECT * FROM one.t; CREATE DATABASE two; CREATE TABLE two.t (id INT);");
    to.sql("CREATE DATABASE local; CREATE TABLE local.t (id INT);");
    let (source, target) = (data(&from, &[]), data(&to, &[]));
    import(&target, &Collect::of(&source).taken);
    let whole = to.dump("one");
    from.sql("DROP DATABASE one");
    import(&target, &Collect::of(&source).taken);
    assert_eq!(to.sql("SHOW DATABASES LIKE 'one'; SHOW TABLES IN local; SHOW TABLES IN two"), "t\nt\n");
    target.rollback().unwrap();
    assert_eq!(to.dump("one"), whole);
}

//! A database whose tables changed in part is loaded in part, and is what it would have been.

use super::server::Server;
use recipes::Postgres;
use recipes::data::conform::Collect;
use recipes::data::{Data, Finding, Mode};
use recipes::postgres::{Settings, Verify};

const TABLES: &str = "CREATE TABLE region (id int PRIMARY KEY, name text); CREATE TABLE customer (id int PRIMARY KEY, region int, seen timestamptz, \
      CONSTRAINT \"in region\" FOREIGN KEY (region) REFERENCES region ON DELETE SET NULL); COMMENT ON CONSTRAINT \"in region\" ON customer IS 'where'; \
    CREATE TABLE sale (id bigserial, customer int REFERENCES customer, at date, total int, PRIMARY KEY (id, at)) PARTITION BY RANGE (at); \
    CREATE TABLE sale_2025 PARTITION OF sale FOR VALUES FROM ('2025-01-01') TO ('2026-01-01'); CREATE TABLE sale_rest PARTITION OF sale DEFAULT; \
    CREATE TABLE refund (sale bigint, at date, FOREIGN KEY (sale, at) REFERENCES sale); CREATE TABLE steady (id int, text text); CREATE TABLE empty_soon (x int); \
    CREATE MATERIALIZED VIEW totals AS SELECT customer, sum(total) FROM sale GROUP BY 1; CREATE MATERIALIZED VIEW many AS SELECT count(*) FROM totals; \
    CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN NEW.seen := now(); RETURN NEW; END $f$; \
    CREATE TRIGGER stamped BEFORE INSERT OR UPDATE ON customer FOR EACH ROW EXECUTE FUNCTION stamp(); \
    INSERT INTO region SELECT i, 'r' || i FROM generate_series(1, 10) i; INSERT INTO customer SELECT i, 1 + i % 10 FROM generate_series(1, 500) i; \
    INSERT INTO sale (customer, at, total) SELECT 1 + i % 500, '2025-06-01'::date + i % 400, i FROM generate_series(1, 2000) i; \
    INSERT INTO refund SELECT id, at FROM sale WHERE id % 50 = 0; INSERT INTO steady SELECT i, repeat(md5(i::text), 10) FROM generate_series(1, 3000) i; \
    INSERT INTO empty_soon VALUES (1); REFRESH MATERIALIZED VIEW totals; REFRESH MATERIALIZED VIEW many";

/// What happens in an hour.
const HOURS: [&str; 5] = [
    "UPDATE region SET name = name || '!'",
    "INSERT INTO sale (customer, at, total) VALUES (7, '2025-07-07', 700), (8, '2027-01-01', 800); REFRESH MATERIALIZED VIEW totals; REFRESH MATERIALIZED VIEW many",
    "DELETE FROM empty_soon; UPDATE customer SET region = 2 WHERE id % 7 = 0",
    "SELECT 1",
    "INSERT INTO refund SELECT id, at FROM sale WHERE id % 70 = 0",
];

fn import(from: &Server, to: &Server) -> Vec<Finding> {
    import_by(from, &to.recipe())
}

fn import_by(from: &Server, recipe: &Postgres) -> Vec<Finding> {
    let taken = Collect::of(&from.recipe()).taken;
    let staging = recipe.stage().expect("it begins");
    for place in staging.places() {
        assert_eq!(place.mode, Mode::Switch);
        recipes::data::conform::write_tree(&taken, place);
    }
    staging.commit(&mut |_| false).expect("it is switched")
}

#[test]
fn what_was_active_in_between_is_loaded_anew() {
    let (from, to) = (Server::start(), Server::start());
    from.sql("postgres", "CREATE DATABASE shop");
    from.sql("shop", TABLES);
    (0..2).for_each(|_| drop(import(&from, &to)));
    to.recipe().served().expect("it is a server").lift().expect("it is lifted");
    to.sql("shop", "ALTER TABLE steady ADD COLUMN mine int");
    for turn in 0..2 {
        assert!(!renewed(&import(&from, &to)), "import {turn}");
        same(&from, &to);
    }
    assert!(renewed(&import(&from, &to)));
    same(&from, &to);
}

fn renewed(found: &[Finding]) -> bool {
    found.iter().any(|finding| finding.what.contains("only tables that changed were loaded"))
}

fn same(from: &Server, to: &Server) {
    let (one, two) = (from.dump("shop"), to.dump("shop"));
    let differing = one.lines().zip(two.lines()).find(|(one, two)| one != two);
    assert!(differing.is_none() && one.len() == two.len(), "{differing:?}");
    for view in ["totals ORDER BY customer", "many"] {
        let query = format!("SELECT * FROM {view}");
        assert_eq!(from.sql("shop", &query), to.sql("shop", &query));
    }
}

#[test]
fn only_what_changed_is_loaded_and_all_of_it_is_as_at_the_source() {
    let (from, to) = (Server::start(), Server::start());
    from.sql("postgres", "CREATE DATABASE shop");
    from.sql("shop", TABLES);
    for turn in 0..2 {
        assert!(!renewed(&import(&from, &to)), "there was nothing to make it of, import {turn}");
    }
    for hour in HOURS {
        from.sql("shop", hour);
        let found = import(&from, &to);
        assert!(renewed(&found), "{hour}: {found:?}");
        same(&from, &to);
    }
    let recipe = to.recipe();
    recipe.rollback().expect("what was before is there");
    assert_eq!(to.sql("shop", "SELECT count(*) FROM refund WHERE sale % 70 = 0 AND sale % 50 <> 0"), "0\n");
    from.sql("shop", "UPDATE region SET name = name || '?' WHERE id = 3");
    import(&from, &to);
    same(&from, &to);
    // Another definition, and everything is loaded.
    from.sql("shop", "ALTER TABLE region ADD COLUMN code int DEFAULT 5");
    for turn in 0..2 {
        assert!(!renewed(&import(&from, &to)), "import {turn}");
        same(&from, &to);
    }
    assert!(renewed(&import(&from, &to)));
}

#[test]
fn one_that_was_written_to_is_found_out_and_loaded_anew() {
    let (from, to) = (Server::start(), Server::start());
    from.sql("postgres", "CREATE DATABASE shop");
    from.sql("shop", TABLES);
    (0..2).for_each(|_| drop(import(&from, &to)));
    // By somebody who may do anything, in the one that is kept; as many rows as before, and only those are to be counted of what is loaded.
    to.sql("shop__resilient_old", "UPDATE steady SET text = 'mine' WHERE id = 77");
    let counting = Postgres::new(Settings { verify: Verify::Counts, ..to.settings() }).unwrap();
    let found = import_by(&from, &counting);
    assert!(
        found
            .iter()
            .any(|finding| finding.what.contains("steady\" has other rows") && finding.what.contains("loaded anew")),
        "{found:?}"
    );
    same(&from, &to);
}

//! Everything a database may have comes through, and is equal by the server's own tool, which knows nothing of ours.

use super::server::Server;
use recipes::Data;
use recipes::data::conform::{Collect, Kind, import};

const ROLES: &str = "CREATE ROLE owner LOGIN PASSWORD 'one'; CREATE ROLE app LOGIN PASSWORD 'two' CONNECTION LIMIT 7 VALID UNTIL '2030-01-01'; \
    CREATE ROLE team NOLOGIN; GRANT team TO app; GRANT team TO owner WITH ADMIN OPTION; CREATE ROLE \"Boss \"\"x\"\"\" SUPERUSER LOGIN; \
    COMMENT ON ROLE team IS 'who works'; ALTER ROLE app SET search_path = \"$user\", sales, public";

const DATABASE: &str = "ALTER DATABASE shop OWNER TO owner; COMMENT ON DATABASE shop IS 'it''s a shop'; ALTER DATABASE shop SET work_mem = '7MB'; \
    ALTER DATABASE shop SET search_path = sales, \"Mixed Case\", public; ALTER ROLE app IN DATABASE shop SET statement_timeout = '5s'; \
    REVOKE CONNECT ON DATABASE shop FROM PUBLIC; GRANT CONNECT, TEMPORARY ON DATABASE shop TO app; ALTER DATABASE shop SET my.own = 'a, b'";

const CONTENT: &str = r#"
CREATE SCHEMA sales AUTHORIZATION owner; CREATE SCHEMA "Mixed Case"; CREATE EXTENSION hstore; CREATE EXTENSION pg_trgm WITH SCHEMA sales;
CREATE TYPE sales.mood AS ENUM ('sad', 'ok', 'happy'); CREATE DOMAIN sales.email AS text CHECK (VALUE LIKE '%@%');
CREATE COLLATION sales.german (provider = icu, locale = 'de-DE-x-icu');
CREATE TABLE sales.customer (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text COLLATE sales.german NOT NULL, mail sales.email, mood sales.mood DEFAULT 'ok',
  tags hstore, doc jsonb, pic bytea, nums numeric[], seen timestamptz, span interval, pt point, r int4range, bits bit varying(9), f float8, u uuid DEFAULT gen_random_uuid(), lower_name text GENERATED ALWAYS AS (lower(name)) STORED);
INSERT INTO sales.customer (name, mail, tags, doc, pic, nums, seen, span, pt, r, bits, f)
  SELECT E'n\\ame\t' || i || E'\nline 2\r', 'a@' || i, hstore('k', i::text), jsonb_build_object('i', i, 'x', E'\u00e4"\\'), decode(repeat('00ff0a5c', i % 50), 'hex'), ARRAY[i, i / 7.0, NULL], '2026-01-01 00:00Z'::timestamptz + i * interval '1h', i * interval '1 day 3s', point(i, -i), int4range(i, i + 5), B'10101', i / 3.0 FROM generate_series(1, 3000) i;
INSERT INTO sales.customer (name, f) VALUES ('', 'NaN'), ('\.', '-Infinity'), ('\N', 1e-320), ('x', NULL);
CREATE TABLE sales.orders (id bigserial, customer int REFERENCES sales.customer, at date NOT NULL, total numeric(12, 2), PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE sales.orders_2025 PARTITION OF sales.orders FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE sales.orders_rest PARTITION OF sales.orders DEFAULT PARTITION BY HASH (id);
CREATE TABLE sales.orders_rest0 PARTITION OF sales.orders_rest FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE sales.orders_rest1 PARTITION OF sales.orders_rest FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO sales.orders (customer, at, total) SELECT 1 + i % 3000, '2025-06-01'::date + i, i * 1.01 FROM generate_series(1, 2000) i;
CREATE INDEX ON sales.customer USING gin (name sales.gin_trgm_ops); CREATE INDEX ON sales.customer (lower(name)) WHERE mood = 'ok';
CREATE UNLOGGED TABLE "Mixed Case"."odd ""name"".x" ("a b" int, "C" text); INSERT INTO "Mixed Case"."odd ""name"".x" VALUES (1, NULL), (2, 'z');
CREATE TABLE "Mixed Case"."--help" (x int); INSERT INTO "Mixed Case"."--help" VALUES (1); CREATE TABLE nothing (); INSERT INTO nothing DEFAULT VALUES;
CREATE TABLE parent (a int); CREATE TABLE child (b int) INHERITS (parent); INSERT INTO parent VALUES (1); INSERT INTO child VALUES (2, 3);
CREATE TABLE wide (x text); INSERT INTO wide SELECT string_agg(md5(i::text), '') FROM generate_series(1, 40000) i;
CREATE TABLE dropped (a int, gone int, b int); ALTER TABLE dropped DROP COLUMN gone; INSERT INTO dropped VALUES (1, 2);
CREATE VIEW sales.happy WITH (security_barrier) AS SELECT id, name FROM sales.customer WHERE mood = 'happy';
CREATE MATERIALIZED VIEW sales.sums AS SELECT customer, sum(total) FROM sales.orders GROUP BY 1; CREATE UNIQUE INDEX ON sales.sums (customer);
CREATE MATERIALIZED VIEW sales.sums2 AS SELECT count(*) FROM sales.sums; CREATE MATERIALIZED VIEW sales.unfilled AS SELECT 1 AS one WITH NO DATA;
CREATE FUNCTION sales.stamp() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN NEW.seen := now(); RETURN NEW; END $f$;
CREATE TRIGGER stamped BEFORE INSERT OR UPDATE ON sales.customer FOR EACH ROW EXECUTE FUNCTION sales.stamp();
CREATE PROCEDURE sales.clean() LANGUAGE sql AS 'DELETE FROM sales.orders WHERE false';
CREATE AGGREGATE sales.joined (text) (sfunc = textcat, stype = text, initcond = ''); CREATE OPERATOR sales.=== (leftarg = int, rightarg = int, function = int4eq);
CREATE RULE quiet AS ON DELETE TO parent DO INSTEAD NOTHING; CREATE STATISTICS sales.stat ON customer, total FROM sales.orders;
CREATE FUNCTION public.seen_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $f$ BEGIN PERFORM 1; END $f$; CREATE EVENT TRIGGER watch ON ddl_command_end EXECUTE FUNCTION public.seen_ddl();
ALTER TABLE sales.customer ENABLE ROW LEVEL SECURITY; ALTER TABLE sales.customer FORCE ROW LEVEL SECURITY; CREATE POLICY own ON sales.customer USING (name = current_user);
CREATE SEQUENCE sales.never; CREATE SEQUENCE sales.odd INCREMENT -3 MAXVALUE 100 START 50 CYCLE; SELECT nextval('sales.odd'), nextval('sales.odd'); ALTER TABLE sales.customer OWNER TO owner;
GRANT SELECT (id, name), UPDATE (mail) ON sales.customer TO app; GRANT USAGE ON SCHEMA sales TO app, team WITH GRANT OPTION; ALTER DEFAULT PRIVILEGES IN SCHEMA sales GRANT SELECT ON TABLES TO team;
COMMENT ON TABLE sales.customer IS 'who buys'; COMMENT ON COLUMN sales.customer.mail IS E'a\nb'; CREATE PUBLICATION pub FOR TABLE sales.customer;
SELECT lo_from_bytea(4242, decode(repeat('00ff10', 70000), 'hex')); SELECT lo_from_bytea(4243, ''); ALTER LARGE OBJECT 4242 OWNER TO owner; COMMENT ON LARGE OBJECT 4243 IS 'empty'; GRANT SELECT ON LARGE OBJECT 4242 TO app;
"#;

pub fn full() -> Server {
    let server = Server::start();
    server.sql("postgres", ROLES);
    server.sql("postgres", "CREATE DATABASE shop TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C.UTF-8'");
    server.sql("postgres", DATABASE);
    server.sql("shop", CONTENT);
    server
}

const SUMS: &str = "SELECT loid, md5(string_agg(data, '' ORDER BY pageno)) FROM pg_largeobject GROUP BY 1 ORDER BY 1";

#[test]
fn everything_a_database_has_arrives() {
    let (from, to) = (full(), Server::start());
    let taken = Collect::of(&from.recipe());
    assert!(taken.troubles.is_empty(), "{:?}", taken.troubles);
    to.sql("postgres", "CREATE ROLE postgres2");
    import(&to.recipe(), &taken.taken);
    similar_asserts(&from.dump("shop"), &to.dump("shop"));
    assert_eq!(from.sql("shop", SUMS), to.sql("shop", SUMS));
    let (sums, ordered) = ("SELECT * FROM sales.sums2", "SELECT * FROM sales.sums ORDER BY 1");
    assert_eq!((from.sql("shop", sums), from.sql("shop", ordered)), (to.sql("shop", sums), to.sql("shop", ordered)));
    let roles = "SELECT rolname, rolpassword, rolconnlimit, rolvaliduntil, rolinherit FROM pg_authid WHERE rolname IN ('owner', 'app', 'team') ORDER BY 1";
    assert_eq!(from.sql("postgres", roles), to.sql("postgres", roles));
    let settings = "SELECT rolname, setconfig FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = setrole LEFT JOIN pg_database d ON d.oid = setdatabase \
                    WHERE rolname IN ('owner', 'app', 'team') AND datname IS DISTINCT FROM 'shop__resilient_old' ORDER BY 1, 2";
    assert_eq!(from.sql("postgres", settings), to.sql("postgres", settings));
    // And back out of what was imported: the same rows with the same hashes.
    let again = Collect::of(&to.recipe());
    let rows = |collected: &Collect| {
        let manifest = collected.get(b"manifest.json").expect("there is one").kind.clone();
        let Kind::File(text) = manifest else { panic!("{manifest:?}") };
        let manifest: serde_json::Value = serde_json::from_slice(&text).expect("it is JSON");
        manifest["databases"][0]["tables"]
            .as_array()
            .expect("tables")
            .iter()
            .map(|table| (table["name"].clone(), table["rows"].clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(rows(&taken), rows(&again));
}

/// The first line that differs says more than two long texts.
fn similar_asserts(one: &str, two: &str) {
    let differing = one.lines().zip(two.lines()).enumerate().find(|(_, (one, two))| one != two);
    assert!(
        differing.is_none() && one.lines().count() == two.lines().count(),
        "{differing:?}, {} and {} lines",
        one.lines().count(),
        two.lines().count()
    );
}

#[test]
fn a_superuser_does_not_arrive_unasked_and_nobody_logs_in_before_the_guard_is_lifted() {
    let (from, to) = (full(), Server::start());
    let taken = Collect::of(&from.recipe());
    // One that is here already, and one that no snapshot knows.
    to.sql("postgres", "CREATE ROLE app LOGIN; CREATE ROLE neighbour LOGIN");
    import(&to.recipe(), &taken.taken);
    let may = "SELECT rolname FROM pg_roles WHERE rolname !~ '^pg_' AND rolcanlogin ORDER BY 1";
    let supers = "SELECT rolname FROM pg_roles WHERE rolsuper ORDER BY 1";
    assert_eq!((to.sql("postgres", may).as_str(), to.sql("postgres", supers).as_str()), ("neighbour\npostgres\n", "postgres\n"));
    let recipe = to.recipe();
    recipe.served().expect("it has a guard").lift().expect("it is lifted");
    assert_eq!(to.sql("postgres", may), "app\nneighbour\nowner\npostgres\n");
    assert_eq!(to.sql("postgres", supers), "postgres\n");
    recipe.served().expect("it has a guard").guard().expect("it is guarded");
    recipe.served().expect("it has a guard").guard().expect("a second time does no more");
    assert_eq!(to.sql("postgres", may), "neighbour\npostgres\n");
    recipe.served().expect("it has a guard").lift().expect("it is lifted");
    assert_eq!(to.sql("postgres", may), "app\nneighbour\nowner\npostgres\n");
}

#[test]
fn hostile_names_stay_names() {
    let (from, to) = (Server::start(), Server::start());
    let names = ["it's", "two words", "Größe", "new\nline", "a\"quote", "--version", "dbname=postgres", "../up", "back\\slash", "%00"];
    for name in names {
        from.sql("postgres", &format!("CREATE DATABASE \"{}\"", name.replace('"', "\"\"")));
        from.sql(name, &format!("CREATE TABLE \"{0}\" (\"{0}\" text); INSERT INTO \"{0}\" VALUES ('x')", name.replace('"', "\"\"")));
    }
    let taken = Collect::of(&from.recipe());
    for round in 0..2 {
        import(&to.recipe(), &taken.taken);
        for name in names {
            similar_asserts(&from.dump(name), &to.dump(name));
        }
        assert!(round == 1 || to.sql("postgres", "SELECT count(*) FROM pg_database WHERE datname LIKE '%resilient%'") == "0\n");
    }
    assert_eq!(
        to.sql("postgres", "SELECT count(*) FROM pg_database"),
        format!("{}\n", 3 + 2 * names.len()),
        "each with what it was before, and nothing else"
    );
}

#[test]
fn two_sources_on_one_server_leave_each_other_alone() {
    let (from, to) = (Server::start(), Server::start());
    for name in ["one", "two"] {
        from.sql("postgres", &format!("CREATE DATABASE {name}"));
        from.sql(name, &format!("CREATE TABLE t AS SELECT '{name}' AS name"));
    }
    let of = |server: &Server, name: &str| {
        let scratch = server.scratch().join(name);
        recipes::Postgres::new(recipes::postgres::Settings { databases: vec![name.into()], scratch, ..server.settings() }).unwrap()
    };
    let (first, second) = (of(&to, "one"), of(&to, "two"));
    let taken = Collect::of(&of(&from, "one")).taken;
    let mut staging = first.stage().unwrap();
    recipes::data::conform::write_tree(&taken, &staging.places()[0]);
    staging.prepare().unwrap();
    import(&second, &Collect::of(&of(&from, "two")).taken);
    staging.commit(&mut |_| true).unwrap();
    for name in ["one", "two"] {
        assert_eq!(to.sql(name, "SELECT name FROM t"), format!("{name}\n"));
    }
}

//! Exports while others write, and swaps while others read.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use postgres::{Client, NoTls};
use recipes::Data;
use recipes::data::conform::{Collect, Ends, Kind, import};

use super::server::Server;

fn connect(server: &Server) -> Result<Client, postgres::Error> {
    postgres::Config::new().host_path(server.host()).user("postgres").dbname("shop").connect(NoTls)
}

const ACCOUNTS: i64 = 40_000;
const EACH: i64 = 1000;

/// Two tables that together hold the same sum always, one of them so large that it comes in ranges.
fn bank() -> Server {
    let server = Server::start();
    server.sql("postgres", "CREATE DATABASE shop");
    server.sql(
        "shop",
        &format!(
            "CREATE TABLE account AS SELECT i AS id, {EACH}::bigint AS balance, repeat('x', 300) AS filler FROM generate_series(1, {ACCOUNTS}) i; \
             ALTER TABLE account ADD PRIMARY KEY (id); CREATE TABLE safe (id int PRIMARY KEY, balance bigint); INSERT INTO safe SELECT i, 0 FROM generate_series(1, 10) i"
        ),
    );
    server
}

/// Moves sums between the tables until it is told to stop; how often it did.
fn moves(server: &Server, seed: i64, over: &AtomicBool) -> usize {
    let mut client = connect(server).expect("it is up");
    let mut done = 0;
    while !over.load(Ordering::Relaxed) {
        let number = done as i64 * 7919 + seed * 104_729;
        let (account, safe, sum) = ((number % ACCOUNTS + 1) as i32, (number % 10 + 1) as i32, number % 50);
        let mut transaction = client.transaction().expect("it begins");
        transaction
            .execute("UPDATE account SET balance = balance - $1 WHERE id = $2", &[&sum, &account])
            .expect("it is taken");
        transaction
            .execute("UPDATE safe SET balance = balance + $1 WHERE id = $2", &[&sum, &safe])
            .expect("it is given");
        transaction.commit().expect("it is moved");
        done += 1;
    }
    done
}

fn sum(collected: &Collect) -> (i64, i64) {
    let (mut rows, mut sum) = (0, 0);
    for taken in &collected.taken {
        let path = String::from_utf8_lossy(&taken.path);
        if let (true, Kind::File(text)) = (path.contains("/tables/"), &taken.kind) {
            for line in String::from_utf8_lossy(text).lines() {
                rows += 1;
                sum += line.split('\t').nth(1).expect("a balance").parse::<i64>().expect("a number");
            }
        }
    }
    (rows, sum)
}

#[test]
fn while_others_write_each_snapshot_is_one_state_of_all_tables() {
    let (from, to, over) = (bank(), Server::start(), AtomicBool::new(false));
    thread::scope(|scope| {
        let ends = Ends(&over);
        let writers: Vec<_> = (0..3)
            .map(|seed| {
                scope.spawn({
                    let (from, over) = (&from, &over);
                    move || moves(from, seed, over)
                })
            })
            .collect();
        for _ in 0..4 {
            let collected = Collect::of(&from.recipe());
            assert_eq!(sum(&collected), (ACCOUNTS + 10, ACCOUNTS * EACH), "money is neither made nor lost");
            import(&to.recipe(), &collected.taken);
            let there = to.sql(
                "shop",
                "SELECT (SELECT sum(balance) FROM account) + (SELECT sum(balance) FROM safe), (SELECT sum(balance) FROM safe) > 0",
            );
            assert!(there.starts_with(&format!("{}|", ACCOUNTS * EACH)), "{there}");
        }
        drop(ends);
        let done: usize = writers.into_iter().map(|writer| writer.join().expect("the writer ended well")).sum();
        assert!(done > 20, "there was a load: {done}");
    });
}

/// Reads until it is told to stop. Each query is tried again once, on a new connection; what it sees must be of one snapshot.
fn reads(server: &Server, over: &AtomicBool) -> (usize, usize) {
    let (mut done, mut again) = (0, 0);
    let mut client = connect(server).expect("it is up");
    let query = "SELECT min(version), max(version), count(*), (SELECT version FROM other) FROM version";
    let mut last = 0;
    while !over.load(Ordering::Relaxed) {
        let row = match client.query_one(query, &[]) {
            Ok(row) => row,
            Err(_) => {
                again += 1;
                client = connect(server).expect("the second connection is let in");
                client.query_one(query, &[]).expect("the second try succeeds")
            }
        };
        let (low, high, count, other): (i32, i32, i64, i32) = (row.get(0), row.get(1), row.get(2), row.get(3));
        assert!(low == high && count == 500 && other == low && low >= last, "{low} {high} {count} {other} after {last}");
        last = low;
        done += 1;
    }
    (done, again)
}

#[test]
fn readers_see_one_snapshot_after_the_other_and_connect_anew_once_for_each() {
    let swaps = if std::env::var_os("RESILIENT_LONG").is_some() { 50 } else { 8 };
    let (from, to, over, imported) = (Server::start(), Server::start(), AtomicBool::new(false), AtomicUsize::new(0));
    from.sql("postgres", "CREATE DATABASE shop");
    let bring = |version: usize| {
        let (sql, rows) = ("DROP TABLE IF EXISTS version, other; CREATE TABLE version AS SELECT", "FROM generate_series(1, 500)");
        from.sql("shop", &format!("{sql} {version} AS version {rows}; CREATE TABLE other AS SELECT {version} AS version"));
        import(&to.recipe(), &Collect::of(&from.recipe()).taken);
        imported.fetch_add(1, Ordering::Relaxed);
    };
    bring(1);
    thread::scope(|scope| {
        let ends = Ends(&over);
        let readers: Vec<_> = (0..3).map(|_| scope.spawn(|| reads(&to, &over))).collect();
        (2..swaps + 2).for_each(bring);
        drop(ends);
        for reader in readers {
            let (done, again) = reader.join().expect("no query failed twice");
            assert!(done > swaps && again <= swaps, "{done} queries, {again} tried again, {swaps} swaps");
        }
    });
}

#[test]
fn whoever_holds_the_table_of_roles_in_a_long_transaction_delays_a_swap_and_does_not_prevent_it() {
    let (from, to) = (bank(), Server::start());
    let taken = Collect::of(&from.recipe()).taken;
    import(&to.recipe(), &taken);
    // One within the database that is exchanged, and one elsewhere, where it cannot be sent away.
    let mut within = connect(&to).expect("it is up");
    let mut elsewhere = postgres::Config::new()
        .host_path(to.host())
        .user("postgres")
        .dbname("postgres")
        .connect(NoTls)
        .expect("it is up");
    for client in [&mut within, &mut elsewhere] {
        client.batch_execute("BEGIN; SELECT * FROM pg_authid").expect("it reads");
    }
    import(&to.recipe(), &taken);
    assert!(within.batch_execute("COMMIT").is_err(), "it was sent away");
    elsewhere.batch_execute("COMMIT").expect("it was left alone");
}

#[test]
fn what_did_not_change_is_the_same_bytes_and_what_did_is_only_its_range() {
    let server = bank();
    let (one, two) = (Collect::of(&server.recipe()), Collect::of(&server.recipe()));
    assert_eq!(one.taken, two.taken, "positions are those of the first");
    let ranges = one
        .taken
        .iter()
        .filter(|taken| taken.path.starts_with(b"databases/shop/tables/public/account/"))
        .count();
    assert!(ranges >= 2, "it is large enough to come in ranges");
    server.sql("shop", "UPDATE safe SET balance = 1 WHERE id = 1");
    let three = Collect::of(&server.recipe());
    let differing: Vec<String> = one
        .taken
        .iter()
        .zip(&three.taken)
        .filter(|(one, three)| one != three)
        .map(|(one, _)| String::from_utf8_lossy(&one.path).into_owned())
        .collect();
    assert_eq!(differing, ["databases/shop/tables/public/safe/00000000", "manifest.json"]);
}

#[test]
fn no_password_is_in_arguments_or_environment() {
    let server = Server::start();
    server.sql("postgres", "CREATE DATABASE shop");
    server.sql("postgres", "ALTER ROLE postgres PASSWORD E'ver:y\\\\secret'");
    std::fs::write(server.data().join("pg_hba.conf"), "local all all scram-sha-256\n").unwrap();
    let password = server.host().join("password");
    std::fs::write(&password, "ver:y\\secret\n").unwrap();
    std::fs::set_permissions(&password, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    server.reload();
    let without = recipes::Postgres::new(server.settings()).unwrap();
    assert!(without.check().unwrap().iter().any(|finding| finding.level == recipes::data::Level::Fault), "it is asked for");
    let recipe = recipes::Postgres::new(recipes::postgres::Settings { password_file: Some(password), ..server.settings() }).unwrap();
    assert_eq!(recipe.check().unwrap(), []);
    import(&recipe, &Collect::of(&recipe).taken);
}

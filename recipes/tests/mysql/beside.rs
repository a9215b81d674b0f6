//! What was captured, loaded beside what is there; and the guard of a server that does not run yet.

use super::import::{EVERYTHING, data};
use super::server::Server;
use recipes::data::conform::{Collect, Taken, import, write};
use recipes::data::{Data, Part, To};
use recipes::{Mysql, mysql};

const DATABASES: &str = "SHOW DATABASES; SELECT User FROM mysql.user ORDER BY 1";

fn part(tables: &[&str]) -> Part {
    Part { database: None, tables: tables.iter().map(|table| (*table).to_owned()).collect() }
}

#[test]
fn a_rehearsal_compares_asks_and_leaves_nothing() {
    let (from, to) = (Server::start(&[]), Server::start(&[]));
    from.sql(EVERYTHING);
    let taken = Collect::of(&data(&from, &["app"])).taken;
    let recipe = data(&to, &["app"]);
    let served = recipe.served().expect("it is a server");
    std::fs::create_dir_all(to.folder().join("scratch")).unwrap();
    let rehearse = |question: &str| {
        let place = tempfile::tempdir_in(to.folder().join("scratch")).unwrap();
        write(&taken, place.path());
        served.rehearse(place.path(), &[question.to_owned()])
    };
    let before = to.sql(DATABASES);
    let found = rehearse("SELECT COUNT(*) = 6 FROM parent").expect("it is whole");
    assert!(found.iter().any(|finding| finding.what.contains("the database app is whole")), "{found:?}");
    assert_eq!(to.sql(DATABASES), before);
    let error = rehearse("SELECT COUNT(*) = 7 FROM parent").unwrap_err().to_string();
    assert!(error.contains("was answered by a row that begins with \"0\""), "{error}");
    assert!(rehearse("DELETE FROM parent").is_err(), "a question changes nothing");
    assert_eq!(to.sql(DATABASES), before);
}

#[test]
fn the_live_database_answers_and_is_not_changed() {
    let server = Server::start(&[]);
    server.sql(EVERYTHING);
    let recipe = data(&server, &["app"]);
    let ask = |database, question| recipe.ask(database, question).expect("it takes questions");
    ask(None, "SELECT COUNT(*) = 6 FROM parent").expect("it is so");
    let error = ask(Some("app"), "SELECT COUNT(*) = 7 FROM parent").unwrap_err().to_string();
    assert!(error.contains("was answered by a row that begins with \"0\""), "{error}");
    assert!(ask(None, "DELETE FROM parent").is_err(), "a question changes nothing");
    assert!(ask(Some("mysql"), "SELECT 1").is_err(), "only what is exported is asked");
    ask(None, "SELECT COUNT(*) = 6 FROM parent").expect("it is so still");
}

#[test]
fn a_table_comes_back_as_a_database_of_its_own_or_as_sql() {
    let server = Server::start(&[]);
    server.sql(EVERYTHING);
    let recipe = data(&server, &["app"]);
    let taken = Collect::of(&recipe).taken;
    let served = recipe.served().expect("it is a server");
    let fetch = |part: &Part| {
        let place = tempfile::tempdir_in(server.folder().join("scratch")).unwrap();
        let manifest: Vec<Taken> = taken
            .iter()
            .filter(|taken| taken.path.is_empty() || taken.path == b"manifest.json")
            .cloned()
            .collect();
        write(&manifest, place.path());
        let needed = served.needs(place.path(), part).expect("it is known");
        let within = |path: &[u8]| needed.iter().any(|needed| path.starts_with(needed) || needed.starts_with(path));
        write(&taken.iter().filter(|taken| within(&taken.path)).cloned().collect::<Vec<_>>(), place.path());
        place
    };
    // One that refers to a table that does not come.
    let wanted = part(&["child", "app.types"]);
    served.bring(fetch(&wanted).path(), &wanted, To::Database("app_then")).expect("it is brought back");
    assert_eq!(server.sql("SHOW TABLES FROM app_then"), "child\ntypes\n");
    let sum = |name: &str| server.sql(&format!("CHECKSUM TABLE {name}.child, {name}.types EXTENDED")).replace(name, "");
    assert_eq!(sum("app_then"), sum("app"));
    server.sql("INSERT INTO app_then.child VALUES (7, 4711)");
    let error = served.bring(fetch(&wanted).path(), &wanted, To::Database("app_then")).unwrap_err();
    assert!(error.to_string().contains("is taken"), "{error}");
    let wanted = part(&["parent"]);
    let mut sql = Vec::new();
    served.bring(fetch(&wanted).path(), &wanted, To::Sql(&mut sql)).expect("it is written");
    server.sql("CREATE DATABASE back");
    server.sql_in("back", std::str::from_utf8(&sql).unwrap());
    assert_eq!(server.sql("SELECT * FROM back.parent ORDER BY id"), server.sql("SELECT * FROM app.parent ORDER BY id"));
    let left = server.sql("SELECT COUNT(*) FROM mysql.user WHERE User LIKE 'resilient%'; SHOW DATABASES LIKE '%\\_\\_%'");
    assert_eq!(left, "0\n");
}

#[test]
fn a_server_that_is_started_is_guarded_from_its_first_moment() {
    let (from, mut to) = (Server::start(&[]), Server::start(&["--event-scheduler=ON"]));
    from.sql(EVERYTHING);
    let options = to.folder().join("resilient.cnf");
    let mut settings = mysql::Settings::new(to.folder().join("scratch"));
    (settings.address, settings.option_file) = (mysql::Address::Socket(to.socket()), Some(options.clone()));
    settings.databases = vec!["app".into()];
    let recipe = Mysql::new(settings).unwrap();
    let served = recipe.served().expect("it is a server");
    import(&recipe, &Collect::of(&data(&from, &["app"])).taken);
    to.kill();
    let found = served.guard().expect("its file is written");
    assert!(found[0].what.contains("does not run"), "{found:?}");
    to.defaults = Some(options.clone());
    to.replace_arguments(&[]);
    to.run();
    assert_eq!(to.sql("SELECT @@read_only, @@event_scheduler"), "1\tOFF\n");
    served.guard().expect("a second time does no more");
    served.lift().expect("it is lifted");
    assert!(!options.exists());
    assert_eq!(to.sql("SELECT @@read_only"), "0\n");
}

//! Sources: their names, this node's overrides, and the keys of each recipe.

use super::{FILES, example, minimal, mistakes, node};
use console::node_file::{Command, Databases, Mysql, Settings, Sqlite, Verify};
use std::time::Duration;

#[test]
fn sources_have_names_of_their_own() {
    let two = "source = [{ recipe = \"files\", paths = [\"/a\"] }, { recipe = \"files\", paths = [\"/b\"] }]\n";
    insta::assert_snapshot!(mistakes(&minimal(two)), @"node.toml: line 8: dataset.source.name: is missing; 2 sources of recipe `files` cannot share its name");
    let same = "source = [{ recipe = \"files\", paths = [\"/a\"] }, { name = \"files\", recipe = \"postgres\" }]\n";
    insta::assert_snapshot!(mistakes(&minimal(same)), @"node.toml: line 8: dataset.source.name: `files` is the name of another source of this dataset");
    let twice = format!("{FILES}[[dataset]]\nname = \"shop\"\n{FILES}");
    insta::assert_snapshot!(mistakes(&minimal(&twice)), @"node.toml: line 10: dataset.name: `shop` is the name of another dataset");
}

#[test]
fn overrides_must_meet_a_source() {
    let over = |line: &str| example().replace("source.shop.uploads.paths = [\"/data/uploads\"]", line);
    insta::assert_snapshot!(mistakes(&over("source.shop.upload.paths = [\"/data\"]")), @"node.toml: line 7: node.source.shop.upload: dataset `shop` has no source `upload`; did you mean `uploads`?");
    insta::assert_snapshot!(mistakes(&over("source.shpo.uploads.paths = [\"/data\"]")), @"node.toml: line 7: node.source.shpo.uploads: there is no dataset `shpo`; did you mean `shop`?");
    insta::assert_snapshot!(mistakes(&over("source.shop.uploads.paths = \"/data\"")), @r#"node.toml: line 7: node.source.shop.uploads.paths: expected a list of texts, as ["..."], found text"#);
    insta::assert_snapshot!(mistakes(&over("source.shop.uploads.pats = [\"/data\"]")), @"node.toml: line 7: node.source.shop.uploads.pats: unknown key; did you mean `paths`?");
    insta::assert_snapshot!(mistakes(&over("source.shop.uploads.recipe = \"postgres\"")), @"node.toml: line 7: node.source.shop.uploads.recipe: cannot differ from host to host: sources match by name and recipe");
    insta::assert_snapshot!(mistakes(&over("source.shop.uploads = 1")), @"node.toml: line 7: node.source.shop.uploads: must be a table");
}

fn with_source(keys: &str) -> String {
    minimal(&format!("[[dataset.source]]\n{keys}\n"))
}

fn settings(text: &str) -> Settings {
    node(text).datasets[0].sources[0].settings.clone()
}

#[test]
fn keys_of_sqlite() {
    let text = with_source("name = \"db\"\nrecipe = \"sqlite\"\npath = \"/srv/shop.db\"");
    assert_eq!(settings(&text), Settings::Sqlite(Sqlite { path: "/srv/shop.db".into(), drill: vec![] }));
    let over = |line: &str| text.replace("name = \"web1\"", &format!("name = \"web1\"\n{line}"));
    assert_eq!(
        settings(&over("source.shop.db.path = \"/data/shop.db\"")),
        Settings::Sqlite(Sqlite { path: "/data/shop.db".into(), drill: vec![] })
    );
    insta::assert_snapshot!(mistakes(&over("source.shop.db.pth = \"/data/shop.db\"")), @r#"node.toml: line 4: node.source.shop.db.pth: unknown key; did you mean `path`?"#);
    insta::assert_snapshot!(mistakes(&over("source.shop.db.path = \"shop.db\"")), @r#"node.toml: line 4: node.source.shop.db.path: `shop.db` must be an absolute path, beginning with /"#);
    insta::assert_snapshot!(mistakes(&with_source("recipe = \"sqlite\"\npaths = [\"/srv/shop.db\"]")), @r#"
    node.toml has 2 mistakes:
      line 8: dataset.source.path: is missing; write it as path = "/var/lib/shop/shop.db"
      line 10: dataset.source.paths: unknown key; did you mean `path`?
    "#);
    insta::assert_snapshot!(mistakes(&with_source("recipe = \"sqlite\"\npath = \"/\"")), @r#"node.toml: line 10: dataset.source.path: must name the database file"#);
}

#[test]
fn keys_of_postgres() {
    let Settings::Postgres(none) = settings(&with_source("recipe = \"postgres\"")) else { panic!("it is of that recipe") };
    assert_eq!((none.host.as_str(), none.databases), ("/var/run/postgresql", Databases::default()));
    let all = "recipe = \"postgres\"\nhost = \"db.local\"\nport = 5433\nuser = \"backup\"\npassword_file = \"/etc/resilient/pg\"\ndatabases = [\"a\", \"b\"]\n\
               exclude_tables = [\"public.sessions\"]\nschemas = [\"public\"]\nsuperusers = [\"boss\"]\nreader = \"reports\"\njobs = 4\nverify = \"sampled\"";
    let Settings::Postgres(all) = settings(&with_source(all)) else { panic!("it is of that recipe") };
    assert_eq!((all.databases.port, all.databases.jobs, all.databases.verify), (Some(5433), Some(4), Verify::Sampled));
    assert_eq!((all.databases.names.len(), all.reader.as_deref()), (2, Some("reports")));
    let wrong = "recipe = \"postgres\"\npassword = \"secret\"\nport = 0\ndatabase = \"a\"\nexclude_databases = [\"b\"]\nexclude_tables = [\"sessions\"]\nverify = \"no\"\nshcemas = []";
    insta::assert_snapshot!(mistakes(&with_source(wrong)), @r#"
    node.toml has 6 mistakes:
      line 10: dataset.source.password: does not belong into this file: put it into a file of its own and name that as password_file
      line 11: dataset.source.port: must be from 1 to 65535, not 0
      line 13: dataset.source.exclude_databases: has nothing to leave out where databases are named
      line 14: dataset.source.exclude_tables: `sessions` must say where it is, as "public.sessions"
      line 15: dataset.source.verify: `no` is none of full, sampled, counts
      line 16: dataset.source.shcemas: unknown key; did you mean `schemas`?
    "#);
}

#[test]
fn keys_of_mariadb() {
    let none = |recipe: &str| settings(&with_source(&format!("recipe = {recipe:?}")));
    assert_eq!(none("mariadb"), Settings::Mysql(Mysql { host: None, socket: None, databases: Databases::default(), option_file: None }));
    assert_eq!(none("mariadb"), none("mysql"));
    let wrong = "recipe = \"mariadb\"\npassword = \"x\"\nsocket = \"/run/s\"\nport = 3306\nverify = \"sampled\"\nschemas = []";
    insta::assert_snapshot!(mistakes(&with_source(wrong)), @r#"
    node.toml has 4 mistakes:
      line 10: dataset.source.password: does not belong into this file: put it into a file of its own and name that as password_file
      line 12: dataset.source.port: is of a host, and none is named; without one the server is reached by its socket
      line 13: dataset.source.verify: `sampled` is for postgres; here it is full or counts
      line 14: dataset.source.schemas: unknown key; known here: database, databases, drill, exclude_databases, exclude_tables, host, jobs, name, option_file, password, password_file, port, recipe, socket, user, verify
    "#);
    insta::assert_snapshot!(mistakes(&with_source("recipe = \"mariadb\"\nhost = \"db\"\nsocket = \"/run/s\"")), @"node.toml: line 11: dataset.source.socket: is one way to the server and `host` is another; let one of them go");
}

#[test]
fn keys_of_programs() {
    let none = Command { folder: None, export: None, import: None, stream: false, timeout: None };
    assert_eq!(settings(&with_source("recipe = \"erp5\"")), Settings::Command(none));
    let words = |words: &[&str]| Some(words.iter().map(|word| word.to_string()).collect());
    let all = "recipe = \"erp5\"\nfolder = \"/opt/recipes\"\nexport = \"/opt/dump\"\nimport = [\"/opt/load\", \"-f\", \"a b\"]\nstream = true\ntimeout = \"90m\"";
    let wanted = Command {
        folder: Some("/opt/recipes".into()),
        export: words(&["/opt/dump"]),
        import: words(&["/opt/load", "-f", "a b"]),
        stream: true,
        timeout: Some(Duration::from_secs(5_400)),
    };
    assert_eq!(settings(&with_source(all)), Settings::Command(wanted));
    let wrong = "recipe = \"erp5\"\nexport = \"dump | gzip\"\nimport = []\nstraem = true\ntimeout = 60";
    insta::assert_snapshot!(mistakes(&with_source(wrong)), @r#"
    node.toml has 4 mistakes:
      line 10: dataset.source.export: `dump | gzip` must be an absolute path, beginning with /
      line 11: dataset.source.import: must name a program
      line 12: dataset.source.straem: unknown key; did you mean `stream`?
      line 13: dataset.source.timeout: expected text in quotes, found a whole number
    "#);
    insta::assert_snapshot!(mistakes(&with_source("recipe = \"erp5\"\nexport = [\"/opt/dump\", 1]\nimport = 5")), @r#"
    node.toml has 2 mistakes:
      line 10: dataset.source.export: expected a program, as "/path" or ["/path", "argument"], found a list
      line 11: dataset.source.import: expected a program, as "/path" or ["/path", "argument"], found a whole number
    "#);
    insta::assert_snapshot!(mistakes(&with_source("recipe = \"flies\"\npaths = [\"/srv\"]")), @r#"node.toml: line 9: dataset.source.recipe: `flies` is not built in; did you mean `files`? For programs of that name, say `folder` or `export` and `import`"#);
    let near = settings(&with_source("recipe = \"sqlite3\"\nfolder = \"/opt/recipes\""));
    assert!(matches!(near, Settings::Command(_)), "who names a folder means programs");
}

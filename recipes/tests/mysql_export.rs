//! What an export of MariaDB holds.

#[path = "servers/mariadb.rs"]
mod mariadb;

use mariadb::Server;
use recipes::data::conform::{Collect, Kind};
use recipes::{Mysql, mysql};

fn settings(server: &Server, name: &str, databases: &[&str]) -> mysql::Settings {
    let mut settings = mysql::Settings::new(server.folder().join("scratch").join(name));
    settings.address = mysql::Address::Socket(server.socket());
    settings.databases = databases.iter().map(|name| (*name).to_owned()).collect();
    settings
}

#[test]
fn an_export_has_each_table_as_text() {
    let server = Server::start(&[]);
    server.sql("CREATE DATABASE shop; USE shop; CREATE TABLE item (id INT PRIMARY KEY, what VARCHAR(20)) ENGINE=InnoDB; INSERT INTO item VALUES (1, 'a\\tb'), (2, NULL);");
    server.sql_in("shop", "CREATE TABLE old (id INT) ENGINE=MyISAM; INSERT INTO old VALUES (7); CREATE SEQUENCE s;");
    let taken = Collect::of(&Mysql::new(settings(&server, "a", &[])).unwrap());
    for taken in &taken.taken {
        let text = match &taken.kind { Kind::File(text) => String::from_utf8_lossy(text).into_owned(), _ => String::new() };
        println!("{}\n{}", String::from_utf8_lossy(&taken.path), text);
    }
    assert_eq!(taken.get(b"databases/shop/tables/item/00000000").unwrap().kind, Kind::File(b"1\ta\\tb\n2\t\\N\n".to_vec()));
}
